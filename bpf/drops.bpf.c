// SPDX-License-Identifier: GPL-2.0-only
/* The hook of all drops of the host: tracepoint skb:kfree_skb, with a reason since 5.17. */
#include "drop_kern.h"

/* Of its arguments the first three: the frame, who gave it up, why. */
SEC("tp_btf/kfree_skb")
int drop_seen(__u64 *arguments)
{
	drop_count((const struct sk_buff *)arguments[0], arguments[1], arguments[2]);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
