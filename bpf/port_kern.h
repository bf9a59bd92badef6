/* SPDX-License-Identifier: GPL-2.0-only */
/* From an ifindex to its slot. */
#ifndef TAP_PORT_KERN_H
#define TAP_PORT_KERN_H

#include "maps_kern.h"

struct port_ref {
	struct tap_port *port;
	__u32 slot;
};

/*
 * An array access instead of a hash in all but the rare case: a port lives in
 * the slot its ifindex names, unless another port was there first.
 */
static __always_inline bool port_find(__u32 ifindex, struct port_ref *ref)
{
	__u32 *stray;

	ref->slot = ifindex % TAP_MAX_PORTS;
	ref->port = port_at(ref->slot);
	if (ref->port && ref->port->ifindex == ifindex)
		return true;
	stray = stray_slot(ifindex);
	if (!stray)
		return false;
	ref->slot = *stray % TAP_MAX_PORTS;
	ref->port = port_at(ref->slot);
	return ref->port && ref->port->ifindex == ifindex;
}

static __always_inline bool port_trusted(const struct tap_port *port, enum tap_check check)
{
	return port->trusted_checks & (1U << check);
}

#endif
