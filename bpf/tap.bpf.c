// SPDX-License-Identifier: GPL-2.0-only
/* The hooks of a VM's tap. */
#include "frame_kern.h"

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
	if (is_server_message(frame))
		checks |= 1U << TAP_CHECK_ROGUE_DHCP;
	if (frame->dhcp < TAP_DHCP_TYPES && is_dhcp_flood(config, ref))
		checks |= 1U << TAP_CHECK_DHCP_FLOOD;
	return checks & ~ref->port->trusted_checks;
}

static __always_inline __u8 offence_kind(const struct frame *frame, enum tap_check check)
{
	if (check == TAP_CHECK_BPDU)
		return frame->bpdu;
	if (check == TAP_CHECK_ROGUE_DHCP || check == TAP_CHECK_DHCP_FLOOD)
		return frame->dhcp;
	return frame->tags;
}

/* Every check that the frame offends, until one of them drops it. */
static __always_inline int judge_frame(struct __sk_buff *skb, const struct port_ref *ref,
				       const struct frame *frame, struct tap_counters *counters)
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
		return VERDICT_NEXT;
	checks = offended_checks(config, ref, frame);
	if (!checks)
		return VERDICT_NEXT;
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
			return VERDICT_DROP;
		}
	}
	return VERDICT_NEXT;
}

SEC("tc")
int tap_from_guest(struct __sk_buff *skb)
{
	struct tap_counters *counters;
	struct port_ref ref;
	struct frame frame;
	bool is_ordinary;

	if (!port_find(skb->ifindex, &ref))
		return VERDICT_NEXT;
	counters = counters_at(ref.slot, TAP_IN);
	if (!counters)
		return VERDICT_NEXT;
	count_frame(skb, counters);
	is_ordinary = frame_is_ordinary(skb, ref.port->mtu_bytes);
	if (!is_ordinary)
		frame = frame_examine(skb, counters, ref.port->mtu_bytes, false);
	if (ref.port->latch != TAP_LATCH_OPEN) {
		counters->dropped[TAP_DROP_QUARANTINE]++;
		return VERDICT_DROP;
	}
	return is_ordinary ? VERDICT_NEXT : judge_frame(skb, &ref, &frame, counters);
}

SEC("tc")
int tap_to_guest(struct __sk_buff *skb)
{
	return count_only(skb, TAP_OUT);
}

char LICENSE[] SEC("license") = "GPL";
