/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What becomes of an offending frame: the check's action, its threshold in a
 * window, the port's latch, and the fuse over all latches.
 *
 * Windows and latches are shared between CPUs and written without a lock: two
 * CPUs that race may let a window start twice, never let a frame through.
 */
#ifndef TAP_JUDGE_KERN_H
#define TAP_JUDGE_KERN_H

#include "parse_kern.h"
#include "port_kern.h"

/* Begins a new window where the last one is over. */
static __always_inline void window_turn(struct tap_window *window, __u64 window_ticks)
{
	__u64 now_ticks = bpf_jiffies64();

	if (now_ticks - window->start_ticks >= window_ticks) {
		window->start_ticks = now_ticks;
		window->offences = 0;
	}
}

/* Counts one offence; the offences of the window that it falls in. */
static __always_inline __u32 window_add(struct tap_window *window, __u64 window_ticks)
{
	window_turn(window, window_ticks);
	__sync_fetch_and_add(&window->offences, 1);
	return window->offences;
}

/*
 * Shuts the port, unless the fuse forbids it. Added first and looked at then,
 * so that ports shut on several CPUs at once never exceed the fuse together.
 */
static __always_inline enum tap_verdict latch_port(const struct tap_config *config,
						   struct tap_port *port, enum tap_check check)
{
	struct tap_state *state = state_get();

	if (!state)
		return TAP_VERDICT_DROPPED;
	if (port->latch != TAP_LATCH_OPEN)
		return TAP_VERDICT_DROPPED;
	__sync_fetch_and_add(&state->quarantined, 1);
	if (*(volatile __u32 *)&state->quarantined > config->max_quarantined) {
		__sync_fetch_and_add(&state->quarantined, -1);
		__sync_fetch_and_add(&state->fuse_refusals, 1);
		return TAP_VERDICT_FUSED;
	}
	port->latched_at_ns = bpf_ktime_get_ns();
	port->latch = TAP_LATCH_CHECK + check;
	return TAP_VERDICT_LATCHED;
}

static __always_inline enum tap_verdict judge(const struct tap_config *config,
					      const struct port_ref *ref, enum tap_check check)
{
	const struct tap_check_policy *policy = &config->checks[check];
	struct tap_window *window;

	if (policy->action == TAP_ACTION_COUNT)
		return TAP_VERDICT_PASSED;
	if (policy->action == TAP_ACTION_DROP || !ref->port)
		return TAP_VERDICT_DROPPED;
	/* A flood's threshold was passed before it was an offence at all. */
	if (policy->threshold > 1 && check != TAP_CHECK_DHCP_FLOOD) {
		window = window_at(ref->slot, check);
		if (!window || window_add(window, policy->window_ticks) < policy->threshold)
			return TAP_VERDICT_DROPPED;
	}
	return latch_port(config, ref->port, check);
}

/* Whether this message is more than the check allows in its window. */
static __always_inline bool is_dhcp_flood(const struct tap_config *config,
					  const struct port_ref *ref)
{
	const struct tap_check_policy *policy = &config->checks[TAP_CHECK_DHCP_FLOOD];
	struct tap_window *window = window_at(ref->slot, TAP_CHECK_DHCP_FLOOD);

	if (!window)
		return false;
	window_turn(window, policy->window_ticks);
	/* Every message comes by here, most of them in order: a locked add is dear. */
	return ++window->offences > policy->threshold;
}

#endif
