// SPDX-License-Identifier: GPL-2.0-only
/* The hooks of a VM's tap. */
#include "follow_kern.h"

/* Bit per enum tap_check that the frame offends. */
static __always_inline __u32 offended_checks(const struct tap_config *config,
					     const struct port_ref *ref, const struct frame *frame)
{
	__u32 checks = 0;

	if (frame->bpdu < TAP_BPDU_KINDS)
		checks |= 1U << TAP_CHECK_BPDU;
	if (frame->tags > 1)
		checks |= 1U << TAP_CHECK_VLAN;
	if (is_oversized(frame, ref->port->mtu_bytes))
		checks |= 1U << TAP_CHECK_SIZE;
	if (frame->found & FOUND_SERVER)
		checks |= 1U << TAP_CHECK_ROGUE_DHCP;
	if (found_message(frame->found) && is_dhcp_flood(config, ref))
		checks |= 1U << TAP_CHECK_DHCP_FLOOD;
	return checks & ~ref->port->trusted_checks;
}

static __always_inline __u8 offence_kind(const struct frame *frame, enum tap_check check)
{
	if (check == TAP_CHECK_BPDU)
		return frame->bpdu;
	if (check == TAP_CHECK_ROGUE_DHCP || check == TAP_CHECK_DHCP_FLOOD)
		return found_type(frame->found);
	return frame->tags;
}

/* Every check that the frame offends, until one of them drops it. */
static __always_inline enum tap_verdict judge_frame(struct __sk_buff *skb,
						    const struct port_ref *ref,
						    const struct frame *frame,
						    struct tap_counters *counters)
{
	const struct tap_config *config = config_get();
	struct offence offence = {
		.direction = TAP_IN,
		.offender_ifindex = skb->ifindex,
		.frame_bytes = frame_bytes(skb),
		.wire_bytes = frame->wire_bytes,
		.tags = frame->tags,
		.role = TAP_ROLE_PORT,
		.slot = ref->slot,
	};
	__u32 checks;

	if (!config)
		return TAP_VERDICT_PASSED;
	checks = offended_checks(config, ref, frame);
	if (!checks)
		return TAP_VERDICT_PASSED;
#pragma unroll
	for (int check = 0; check < TAP_CHECKS; check++) {
		if (!(checks & (1U << check)))
			continue;
		offence.check = check;
		offence.kind = offence_kind(frame, check);
		offence.verdict = judge(config, ref, check);
		tell(skb, config, &offence, counters);
		if (offence.verdict != TAP_VERDICT_PASSED) {
			counters->dropped[check]++;
			return offence.verdict;
		}
	}
	return TAP_VERDICT_PASSED;
}

SEC("tc")
int tap_from_guest(struct __sk_buff *skb)
{
	__u64 verdict = TAP_VERDICT_DROPPED;
	struct tap_counters *counters;
	enum glance glance;
	struct port_ref ref;
	struct frame frame;

	if (!port_find(skb->ifindex, &ref))
		return VERDICT_NEXT;
	counters = counters_at(ref.slot, TAP_IN);
	if (!counters)
		return VERDICT_NEXT;
	count_frame(skb, counters);
	glance = frame_glance(skb);
	if (frame_is_ordinary(skb, glance, ref.port->mtu_bytes))
		return frame_end(&ref, counters, TAP_IN, glance == GLANCE_QUIET);
	frame = frame_examine(skb, &ref, counters, TAP_IN, false);
	if (frame_end(&ref, counters, TAP_IN, frame.found & FOUND_QUIET) == VERDICT_NEXT)
		verdict = judge_frame(skb, &ref, &frame, counters);
	forget_ways(verdict, frame.wire_bytes);
	if (found_message(frame.found))
		follow_guest(skb, ref.slot, counters, frame.found, verdict);
	return verdict == TAP_VERDICT_PASSED ? VERDICT_NEXT : VERDICT_DROP;
}

SEC("tc")
int tap_to_guest(struct __sk_buff *skb)
{
	return count_only(skb, TAP_OUT);
}

char LICENSE[] SEC("license") = "GPL";
