/* SPDX-License-Identifier: GPL-2.0-only */
/* One record of the message ring: a DHCP message as it was seen. */
#ifndef TAP_MESSAGE_KERN_H
#define TAP_MESSAGE_KERN_H

#include <stddef.h>

#include "frame_kern.h"

#define OWNER_NONE (~0U) /* no slot: the maps have nothing there */

/* A message at a hook. */
struct telling {
	__u32 found;
	__u32 slot; /* of the device that saw it */
	__u32 owner; /* slot of the port whose exchange it is; OWNER_NONE: unknown */
	enum tap_role role;
	enum tap_direction direction;
	enum tap_verdict verdict;
};

/* As copy_head() in tell_kern.h. The bytes copied, 0 for none. */
static __always_inline __u32 copy_frame(struct __sk_buff *skb, struct tap_message *message)
{
	__u64 last = (skb->len < TAP_MESSAGE_BYTES ? skb->len : TAP_MESSAGE_BYTES) - 1;

	forget_bound(last);
	if (last >= TAP_MESSAGE_BYTES)
		return 0;
	return bpf_skb_load_bytes(skb, 0, message->frame, last + 1) ? 0 : last + 1;
}

static __always_inline void message_of_whom(struct tap_message *message, __u32 owner)
{
	struct tap_port *port = port_at(owner);
	struct tap_talk *talk = talk_at(owner);

	message->port_ifindex = port ? port->ifindex : 0;
	message->sent_ns = port ? port->seen_ns[TAP_IN] : 0;
	message->received_ns = port ? port->seen_ns[TAP_OUT] : 0;
	message->missed = talk ? talk->missed : 0;
}

/* False: the ring was full. */
static __always_inline bool message_send(struct __sk_buff *skb, const struct telling *telling)
{
	struct tap_message *message = draft_get();
	__u64 bytes;

	if (!message)
		return false;
	message->time_ns = bpf_ktime_get_ns();
	message_of_whom(message, telling->owner);
	message->ifindex = skb->ifindex;
	message->frame_bytes = frame_bytes(skb);
	message->type = found_type(telling->found);
	message->direction = telling->direction;
	message->role = telling->role;
	message->verdict = telling->verdict;
	message->outer_tpid = skb->vlan_present ? (__be16)skb->vlan_proto : 0;
	message->outer_tci = skb->vlan_present ? skb->vlan_tci : 0;
	bytes = copy_frame(skb, message);
	message->head_bytes = bytes;
	bytes += offsetof(struct tap_message, frame);
	return bytes <= sizeof(*message) && draft_send(message, bytes);
}

/* Tells, or counts as lost; whoever's leases that concerns learns of it. False: lost. */
static __always_inline bool message_tell(struct __sk_buff *skb, const struct telling *telling)
{
	struct tap_counters *counters = counters_at(telling->slot, telling->direction);
	struct tap_talk *talk;

	if (!counters)
		return false;
	if (message_send(skb, telling)) {
		counters->messages_told++;
		return true;
	}
	counters->messages_lost++;
	talk = talk_at(telling->owner == OWNER_NONE ? telling->slot : telling->owner);
	if (talk)
		__sync_fetch_and_add(&talk->missed, 1);
	return false;
}

static __always_inline void message_suppress(__u32 slot, enum tap_direction direction)
{
	struct tap_counters *counters = counters_at(slot, direction);

	if (counters)
		counters->messages_suppressed++;
}

#endif
