// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Reads TOA (TCP option 254) on a real server without a kernel module: accept(2)
// and getpeername(2) of the programs in a cgroup give the client's address.
//
// Two parts. When a connection is accepted the kernel shows us the segment that
// completed the handshake; the load balancer has put the client's address and port
// into it, and we keep them with the socket. When a program asks who the peer is,
// the answer is taken from there. Connections without the option are left alone, and
// so are those from elsewhere than the load balancer's local addresses if FROM is
// given: whoever can reach the server directly could forge the option.
//
//   clang -O2 -g -target bpf -I/usr/include/$(uname -m)-linux-gnu -c toa.bpf.c
//   bpftool prog loadall toa.bpf.o /sys/fs/bpf/toa
//   for hook in sock_ops:toa cgroup_inet4_getpeername:peer4 cgroup_inet6_getpeername:peer6; do
//       bpftool cgroup attach CGROUP ${hook%:*} pinned /sys/fs/bpf/toa/${hook#*:}
//   done
//
// CGROUP is that of the service, /sys/fs/cgroup/system.slice/nginx.service for one
// (cgroup version 2). Needs Linux 5.10. docs/client-address.md has more.
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#ifndef FROM      // -DFROM=0x0a0001c0 -DFROM_MASK=0xffffffc0: 10.0.1.192/26 only
#define FROM 0
#define FROM_MASK 0
#endif

struct client {
	__u32 ip[4];  // network order; of an IPv4 client the last word
	__u16 port;   // network order
	__u16 v6;
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct client);
} clients SEC(".maps");

SEC("sockops")
int toa(struct bpf_sock_ops *ops)
{
	if (ops->op != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB || !ops->sk)
		return 1;
	if (ops->family == 2 &&
	    (bpf_ntohl(ops->remote_ip4) & FROM_MASK) != (FROM & FROM_MASK))
		return 1;

	// The TCP header with its options.
	__u8 *at = ops->skb_data, *end = ops->skb_data_end;
	at += 20;
#pragma unroll
	for (int i = 0; i < 40; i++) {
		if (at + 2 > end || at[0] == 0)
			return 1;
		if (at[0] == 1) {
			at++;
			continue;
		}
		__u8 len = at[1];
		if (len < 2 || len > 40)
			return 1;
		if (at[0] == 254 && (len == 8 || len == 20))
			break;
		at += len;
	}
	if (at + 8 > end || at[0] != 254)
		return 1;

	struct client c = {};
	__builtin_memcpy(&c.port, at + 2, 2);
	if (at[1] == 8) {
		__builtin_memcpy(&c.ip[3], at + 4, 4);
	} else {
		if (at + 20 > end)
			return 1;
		__builtin_memcpy(c.ip, at + 4, 16);
		c.v6 = 1;
	}
	bpf_sk_storage_get(&clients, ops->sk, &c, BPF_SK_STORAGE_GET_F_CREATE);
	return 1;
}

SEC("cgroup/getpeername4")
int peer4(struct bpf_sock_addr *ctx)
{
	struct client *c = ctx->sk ? bpf_sk_storage_get(&clients, ctx->sk, 0, 0) : 0;

	// An IPv6 client has no place in an IPv4 address (NAT64): listen on [::].
	if (c && !c->v6) {
		ctx->user_ip4 = c->ip[3];
		ctx->user_port = c->port;
	}
	return 1;
}

SEC("cgroup/getpeername6")
int peer6(struct bpf_sock_addr *ctx)
{
	struct client *c = ctx->sk ? bpf_sk_storage_get(&clients, ctx->sk, 0, 0) : 0;

	if (c) {
		ctx->user_ip6[0] = c->ip[0];
		ctx->user_ip6[1] = c->ip[1];
		ctx->user_ip6[2] = c->v6 ? c->ip[2] : bpf_htonl(0xffff);
		ctx->user_ip6[3] = c->ip[3];
		ctx->user_port = c->port;
	}
	return 1;
}

char _license[] SEC("license") = "Dual MIT/GPL";
