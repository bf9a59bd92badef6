// SPDX-License-Identifier: GPL-2.0-only
/*
 * The hooks of the uplink, through which the host reaches the switch: the
 * backstop. A bridged frame still says which device it came in by, so a guest's
 * BPDU dies here even where its tap is not attached.
 */
#include "follow_kern.h"

/* Where a frame that leaves by the wire came from. */
enum origin {
	ORIGIN_HOST, /* the host made it: its own bridge's STP, for one */
	ORIGIN_WIRE, /* another uplink, forwarded */
	ORIGIN_PORT, /* a port with a slot */
	ORIGIN_UNKNOWN, /* a tap not attached yet, or a device in between */
};

static __always_inline enum origin frame_origin(const struct __sk_buff *skb, struct port_ref *ref)
{
	if (!skb->ingress_ifindex)
		return ORIGIN_HOST;
	if (!port_find(skb->ingress_ifindex, ref)) {
		ref->port = 0;
		return ORIGIN_UNKNOWN;
	}
	return ref->port->role == TAP_ROLE_UPLINK ? ORIGIN_WIRE : ORIGIN_PORT;
}

static __always_inline enum tap_verdict judge_bpdu(const struct tap_config *config,
						   enum origin origin, const struct port_ref *from)
{
	if (origin == ORIGIN_WIRE)
		return TAP_VERDICT_PASSED;
	if (origin == ORIGIN_HOST)
		return config->host_bpdu_action == TAP_ACTION_COUNT ? TAP_VERDICT_PASSED
								    : TAP_VERDICT_DROPPED;
	if (origin == ORIGIN_PORT && port_trusted(from->port, TAP_CHECK_BPDU))
		return TAP_VERDICT_PASSED;
	return judge(config, from, TAP_CHECK_BPDU);
}

static __always_inline int stop_bpdu(struct __sk_buff *skb, enum origin origin,
				     const struct port_ref *uplink, const struct port_ref *from,
				     const struct frame *frame, struct tap_counters *counters)
{
	const struct tap_config *config = config_get();
	struct offence offence = {
		.check = TAP_CHECK_BPDU,
		.kind = frame->bpdu,
		.direction = TAP_OUT,
		.offender_ifindex = skb->ingress_ifindex,
		.frame_bytes = frame_bytes(skb),
		.wire_bytes = frame->wire_bytes,
		.tags = frame->tags,
		.role = TAP_ROLE_UPLINK,
		.slot = origin == ORIGIN_PORT ? from->slot : uplink->slot,
	};

	if (!config)
		return VERDICT_NEXT;
	offence.verdict = judge_bpdu(config, origin, from);
	/* What the host or another wire may send is counted, and no guest's offence. */
	if (offence.verdict == TAP_VERDICT_PASSED &&
	    (origin == ORIGIN_HOST || origin == ORIGIN_WIRE))
		return VERDICT_NEXT;
	tell(skb, config, &offence, counters);
	if (offence.verdict == TAP_VERDICT_PASSED)
		return VERDICT_NEXT;
	counters->dropped[TAP_DROP_BPDU]++;
	return VERDICT_DROP;
}

/* What leaves: not what a port that is shut has sent. */
static __always_inline bool is_shut(enum origin origin, const struct port_ref *from)
{
	return origin == ORIGIN_PORT && from->port->latch != TAP_LATCH_OPEN;
}

SEC("tc")
int uplink_to_wire(struct __sk_buff *skb)
{
	struct port_ref uplink, from = {};
	struct tap_counters *counters;
	struct frame frame = { .bpdu = TAP_BPDU_KINDS, .found = FOUND_NOTHING };
	int verdict = VERDICT_NEXT;
	enum origin origin;
	enum glance glance;

	if (!port_find(skb->ifindex, &uplink))
		return VERDICT_NEXT;
	counters = counters_at(uplink.slot, TAP_OUT);
	if (!counters)
		return VERDICT_NEXT;
	count_frame(skb, counters);
	glance = frame_glance(skb);
	if (!frame_is_ordinary(skb, glance, uplink.port->mtu_bytes))
		frame = frame_examine(skb, &uplink, counters, TAP_OUT, !skb->ingress_ifindex);
	else if (glance == GLANCE_QUIET)
		frame.found |= FOUND_QUIET;
	/* Asked after reading: before it, a verifier would read the frame once for each. */
	origin = frame_origin(skb, &from);
	if (is_shut(origin, &from)) {
		counters->dropped[TAP_DROP_QUARANTINE]++;
		verdict = VERDICT_DROP;
	} else if (frame.bpdu < TAP_BPDU_KINDS) {
		verdict = stop_bpdu(skb, origin, &uplink, &from, &frame, counters);
	}
	if (verdict == VERDICT_NEXT)
		clock_stamp(&uplink, TAP_OUT, frame.found & FOUND_QUIET);
	if (found_message(frame.found) && !(frame.found & FOUND_SERVER))
		follow_to_wire(skb, uplink.slot, frame.found,
			       verdict == VERDICT_NEXT ? TAP_VERDICT_PASSED : TAP_VERDICT_DROPPED);
	return verdict;
}

SEC("tc")
int uplink_from_wire(struct __sk_buff *skb)
{
	return count_only(skb, TAP_IN);
}

char LICENSE[] SEC("license") = "GPL";
