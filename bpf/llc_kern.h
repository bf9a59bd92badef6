/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * LLC and SNAP: which frame is a BPDU. The rules lean towards the reader who
 * might see one: any frame that a switch, a bridge or a dissector could take for
 * spanning tree is one, whatever its destination and its length field say. IEEE
 * 802.1Q-2018 clause 14, IEEE 802.2, and Cisco's SNAP encapsulations of PVST+.
 */
#ifndef TAP_LLC_KERN_H
#define TAP_LLC_KERN_H

#include "cursor_kern.h"

#define ETH_P_JUMBO_LLC 0x8870 /* LLC in a frame too long for a length field */
#define ETH_P_STP 0x8181 /* no bridge sends it; dissectors read a BPDU behind it */

#define LLC_SAP_STP 0x42
#define LLC_SAP_SNAP 0xaa
#define LLC_UI 0x03
#define LLC_POLL_FINAL 0x10
#define LLC_NUMBERED 0x01 /* clear in information frames alone, of two control bytes */

#define OUI_RFC1042 0x000000 /* an ethertype follows */
#define OUI_8021H 0x0000f8 /* as does here */
#define OUI_CISCO 0x00000c
#define OUI_8021 0x0080c2
#define PID_PVST 0x010b
#define PID_VLAN_BRIDGE 0x010c
#define PID_BPDU 0x000e /* RFC 2684 section 5.2 */

struct llc_header {
	__u8 dsap;
	__u8 ssap;
	__u8 control;
} __attribute__((packed));

struct snap_header {
	__u8 oui[3];
	__be16 pid;
} __attribute__((packed));

struct bpdu_header {
	__be16 protocol;
	__u8 version;
	__u8 type;
} __attribute__((packed));

static __always_inline bool is_llc(__u16 ethertype)
{
	return ethertype < ETH_P_802_3_MIN || ethertype == ETH_P_JUMBO_LLC;
}

/*
 * GARP shares STP's LLC header. Its addresses are 01:80:c2:00:00:20 to :2f (IEEE
 * 802.1D-2004 table 12-1), and :0d between provider bridges (IEEE 802.1ad).
 */
static __always_inline bool is_garp(const __u8 *to, const struct bpdu_header *bpdu)
{
	if (to[0] != 0x01 || to[1] != 0x80 || to[2] != 0xc2 || to[3] || to[4])
		return false;
	if (to[5] == 0x0d)
		return bpdu && bpdu->protocol == bpf_htons(1);
	return (to[5] & 0xf0) == 0x20;
}

/* By version and type: IEEE 802.1D-2004 section 9.3, IEEE 802.1Q-2018 section 14.4. */
static __always_inline __u8 bpdu_kind(const struct bpdu_header *bpdu)
{
	if (bpdu->protocol != 0)
		return TAP_BPDU_OTHER;
	if (bpdu->version == 0 && (bpdu->type == 0x00 || bpdu->type == 0x80))
		return TAP_BPDU_STP;
	if (bpdu->version == 2 && bpdu->type == 0x02)
		return TAP_BPDU_RSTP;
	if (bpdu->version == 3 && bpdu->type == 0x02)
		return TAP_BPDU_MSTP;
	return TAP_BPDU_OTHER;
}

/* What llc_read() finds beside an enum tap_bpdu: nothing, or what type follows SNAP. */
#define LLC_NOTHING TAP_BPDU_KINDS
#define LLC_ETHERTYPE 0x10000 /* and the type */
#define LLC_SNAP_BYTES (sizeof(struct llc_header) + sizeof(struct snap_header))

static __always_inline __u32 stp_read(struct cursor *cursor, const __u8 *to)
{
	struct bpdu_header *bpdu = cursor_take(cursor, struct bpdu_header);

	if (is_garp(to, bpdu))
		return LLC_NOTHING;
	return bpdu ? bpdu_kind(bpdu) : TAP_BPDU_OTHER;
}

/* A BPDU at `offset` with nothing that says so. */
static __always_inline __u32 bare_stp_read(const struct __sk_buff *skb, __u32 offset)
{
	struct cursor cursor = cursor_at(skb, offset);
	struct bpdu_header *bpdu = cursor_take(&cursor, struct bpdu_header);

	return bpdu ? bpdu_kind(bpdu) : TAP_BPDU_OTHER;
}

/* Behind SNAP stands a BPDU, or the type that a frame without LLC would have had. */
static __always_inline __u32 snap_read(struct cursor *cursor, const __u8 *to)
{
	struct snap_header *snap = cursor_take(cursor, struct snap_header);
	__u32 oui;
	__u16 pid;

	if (!snap)
		return LLC_NOTHING;
	oui = snap->oui[0] << 16 | snap->oui[1] << 8 | snap->oui[2];
	pid = bpf_ntohs(snap->pid);
	if (oui == OUI_CISCO && (pid == PID_PVST || pid == PID_VLAN_BRIDGE))
		return TAP_BPDU_PVST;
	if (oui == OUI_8021 && pid == PID_BPDU)
		return stp_read(cursor, to);
	if (oui == OUI_RFC1042 || oui == OUI_8021H)
		return LLC_ETHERTYPE | pid;
	return LLC_NOTHING;
}

/* An LLC header at `offset`: an enum tap_bpdu, LLC_NOTHING, or LLC_ETHERTYPE and a type. */
static __always_inline __u32 llc_read(const struct __sk_buff *skb, __u32 offset)
{
	struct cursor start = cursor_at(skb, 0);
	struct mac_header *mac = cursor_take(&start, struct mac_header);
	struct cursor cursor = cursor_at(skb, offset);
	struct llc_header *llc = cursor_take(&cursor, struct llc_header);

	if (!mac || !llc)
		return LLC_NOTHING;
	if ((llc->control & ~LLC_POLL_FINAL) == LLC_UI) {
		if (llc->dsap == LLC_SAP_STP)
			return stp_read(&cursor, mac->to);
		if (llc->dsap == LLC_SAP_SNAP && llc->ssap == LLC_SAP_SNAP)
			return snap_read(&cursor, mac->to);
	} else if (!(llc->control & LLC_NUMBERED) && llc->dsap == LLC_SAP_STP &&
		   cursor_take(&cursor, __u8)) {
		return stp_read(&cursor, mac->to);
	}
	return LLC_NOTHING;
}

#endif
