/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which DHCP messages are told at which hook, and whose they are.
 *
 * A guest's own are told at its port's rate, and make their answers expected:
 * those are told wherever they pass. Others' answers are told as far as there is
 * room for them: the bridge floods a broadcast to every port, and nobody's flood
 * may take a neighbour's room.
 *
 * Global functions: verified once, apart from the programs, whose registers they
 * do not burden. They return 0, which is nobody's business.
 */
#ifndef TAP_FOLLOW_KERN_H
#define TAP_FOLLOW_KERN_H

#include "exchange_kern.h"
#include "message_kern.h"

/* Answers that nobody waits for are told at all devices together at the rate of so many. */
#define STRANGERS_DEVICES 16

/* Whether a rate leaves room for one message more. */
static __always_inline bool rate_admits(__u64 *start_ticks, __u32 *told, __u64 most,
					__u64 window_ticks)
{
	__u64 now_ticks = bpf_jiffies64();

	if (now_ticks - *start_ticks >= window_ticks) {
		*start_ticks = now_ticks;
		*told = 0;
	}
	if (*told >= most)
		return false;
	++*told;
	return true;
}

static __always_inline bool talk_admits(const struct tap_config *config, struct tap_talk *talk,
					enum tap_direction direction)
{
	return rate_admits(&talk->start_ticks[direction], &talk->told[direction],
			   config->messages_per_window, config->event_window_ticks);
}

/* An answer that nobody waits for, at a device. */
static __always_inline bool stranger_admitted(__u32 slot, enum tap_direction direction)
{
	const struct tap_config *config = config_get();
	struct tap_gate *gate = strangers_get();
	struct tap_talk *talk = talk_at(slot);

	return config && gate && talk && talk_admits(config, talk, direction) &&
	       rate_admits(&gate->start_ticks, &gate->told,
			   (__u64)config->messages_per_window * STRANGERS_DEVICES,
			   config->event_window_ticks);
}

/* After so many windows an exchange may make room for another port's. */
#define EXCHANGE_WINDOWS 60

/* What a guest sent and its port's rate admits. */
__noinline int follow_from_guest(struct __sk_buff *skb, __u32 slot, __u32 found, __u32 verdict)
{
	struct telling telling = {
		.found = found,
		.slot = slot,
		.owner = slot,
		.role = TAP_ROLE_PORT,
		.direction = TAP_IN,
		.verdict = verdict,
	};
	const struct tap_config *config = config_get();

	if (config && message_tell(skb, &telling) && verdict == TAP_VERDICT_PASSED &&
	    !(found & FOUND_SERVER))
		exchange_open(skb, found, slot, config->event_window_ticks * EXCHANGE_WINDOWS);
	return 0;
}

/* An answer on its way to a guest; another port's is told there. */
__noinline int follow_to_guest(struct __sk_buff *skb, __u32 slot, __u32 found, __u32 verdict)
{
	struct exchange *exchange = exchange_of(skb, found);
	struct telling telling = {
		.found = found,
		.slot = slot,
		.owner = slot,
		.role = TAP_ROLE_PORT,
		.direction = TAP_OUT,
		.verdict = verdict,
	};

	if (exchange && exchange->slot != slot)
		return 0;
	if (exchange ? exchange_answer(exchange, EXCHANGE_AT_PORT)
		     : stranger_admitted(slot, TAP_OUT))
		message_tell(skb, &telling);
	else
		message_suppress(slot, TAP_OUT);
	return 0;
}

/* What a guest asked and was told at its port, unless another port's guest repeats it. */
__noinline int follow_to_wire(struct __sk_buff *skb, __u32 slot, __u32 found, __u32 verdict)
{
	struct exchange *exchange = exchange_of(skb, found);
	struct telling telling = {
		.found = found,
		.slot = slot,
		.role = TAP_ROLE_UPLINK,
		.direction = TAP_OUT,
		.verdict = verdict,
	};
	struct port_ref from;

	if (!exchange)
		return 0;
	telling.owner = exchange->slot;
	if (port_find(skb->ingress_ifindex, &from) && from.port->role == TAP_ROLE_PORT &&
	    from.slot != telling.owner)
		return 0;
	if (exchange_answer(exchange, EXCHANGE_AT_UPLINK))
		message_tell(skb, &telling);
	else
		message_suppress(slot, TAP_OUT);
	return 0;
}

/* An answer from the wire. */
__noinline int follow_from_wire(struct __sk_buff *skb, __u32 slot, __u32 found, __u32 verdict)
{
	struct exchange *exchange = exchange_of(skb, found);
	struct telling telling = {
		.found = found,
		.slot = slot,
		.owner = exchange ? exchange->slot : OWNER_NONE,
		.role = TAP_ROLE_UPLINK,
		.direction = TAP_IN,
		.verdict = verdict,
	};

	if (exchange ? exchange_answer(exchange, EXCHANGE_AT_UPLINK)
		     : stranger_admitted(slot, TAP_IN))
		message_tell(skb, &telling);
	else
		message_suppress(slot, TAP_IN);
	return 0;
}

/* Everything that a guest sends, at its port's rate: decided here, for a flood's sake. */
static __always_inline void follow_guest(struct __sk_buff *skb, __u32 slot,
					 struct tap_counters *counters, __u32 found, __u32 verdict)
{
	const struct tap_config *config = config_get();
	struct tap_talk *talk = talk_at(slot);

	if (!config || !talk)
		return;
	if (talk_admits(config, talk, TAP_IN)) {
		follow_from_guest(skb, slot, found, verdict);
	} else {
		counters->messages_suppressed++;
		talk->missed++;
	}
}

/*
 * The directions that are counted and never judged: to a guest, and from the
 * wire. A client's message that goes there is another client's broadcast.
 */
static __always_inline int count_only(struct __sk_buff *skb, enum tap_direction direction)
{
	struct tap_counters *counters;
	enum glance glance;
	struct port_ref ref;
	struct frame frame;
	__u32 verdict;

	if (!port_find(skb->ifindex, &ref))
		return VERDICT_NEXT;
	counters = counters_at(ref.slot, direction);
	if (!counters)
		return VERDICT_NEXT;
	count_frame(skb, counters);
	glance = frame_glance(skb);
	if (frame_is_ordinary(skb, glance, ref.port->mtu_bytes))
		return frame_end(&ref, counters, direction, glance == GLANCE_QUIET);
	frame = frame_examine(skb, &ref, counters, direction, false);
	verdict = frame_end(&ref, counters, direction, frame.found & FOUND_QUIET) == VERDICT_NEXT
			  ? TAP_VERDICT_PASSED
			  : TAP_VERDICT_DROPPED;
	if (frame.found & FOUND_SERVER) {
		if (direction == TAP_OUT)
			follow_to_guest(skb, ref.slot, frame.found, verdict);
		else
			follow_from_wire(skb, ref.slot, frame.found, verdict);
	}
	return verdict == TAP_VERDICT_PASSED ? VERDICT_NEXT : VERDICT_DROP;
}

#endif
