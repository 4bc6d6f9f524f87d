/*
 * What the daemon uses of DPDK, for bindgen. Three kinds of thing:
 *  - the public headers;
 *  - DPVS_K_*: macro constants as 64-bit values (bindgen drops those with
 *    bit 63 set and gives the small ones a narrower type than the fields);
 *  - dpvs_*: small inlines over things bindgen cannot express (thread-locals,
 *    bit fields, members that moved between DPDK releases).
 * Differences between DPDK releases are settled here and nowhere else.
 */
#ifndef DPVS_DPDK_WRAPPER_H
#define DPVS_DPDK_WRAPPER_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <rte_version.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_launch.h>
#include <rte_log.h>
#include <rte_malloc.h>
#include <rte_memory.h>
#include <rte_cycles.h>
#include <rte_dev.h>
#include <rte_mempool.h>
#include <rte_mbuf.h>
#include <rte_ring.h>
#include <rte_ethdev.h>
#include <rte_flow.h>
#include <rte_eth_bond.h>
#include <rte_eth_bond_8023ad.h>
#include <rte_ether.h>

#if RTE_VERSION < RTE_VERSION_NUM(22, 11, 0, 0)
#error "DPDK 22.11 or newer is needed"
#endif

#define K(name) static const uint64_t DPVS_K_##name = (uint64_t)(RTE_##name)

K(ETH_RX_OFFLOAD_VLAN_STRIP);
K(ETH_RX_OFFLOAD_IPV4_CKSUM);
K(ETH_RX_OFFLOAD_UDP_CKSUM);
K(ETH_RX_OFFLOAD_TCP_CKSUM);
K(ETH_RX_OFFLOAD_SCATTER);
K(ETH_RX_OFFLOAD_RSS_HASH);

K(ETH_TX_OFFLOAD_VLAN_INSERT);
K(ETH_TX_OFFLOAD_IPV4_CKSUM);
K(ETH_TX_OFFLOAD_UDP_CKSUM);
K(ETH_TX_OFFLOAD_TCP_CKSUM);
K(ETH_TX_OFFLOAD_SCTP_CKSUM);
K(ETH_TX_OFFLOAD_MULTI_SEGS);
K(ETH_TX_OFFLOAD_MBUF_FAST_FREE);

K(ETH_RSS_IPV4);
K(ETH_RSS_IPV6);
K(ETH_RSS_NONFRAG_IPV4_TCP);
K(ETH_RSS_NONFRAG_IPV4_UDP);
K(ETH_RSS_NONFRAG_IPV6_TCP);
K(ETH_RSS_NONFRAG_IPV6_UDP);
K(ETH_RSS_IP);
K(ETH_RSS_TCP);
K(ETH_RSS_UDP);
K(ETH_RSS_SCTP);
K(ETH_RSS_L2_PAYLOAD);
K(ETH_RSS_PORT);
K(ETH_RSS_TUNNEL);

K(ETH_MQ_RX_NONE);
K(ETH_MQ_RX_RSS);

K(MBUF_F_RX_VLAN);
K(MBUF_F_RX_VLAN_STRIPPED);
K(MBUF_F_RX_RSS_HASH);
K(MBUF_F_RX_IP_CKSUM_MASK);
K(MBUF_F_RX_IP_CKSUM_BAD);
K(MBUF_F_RX_IP_CKSUM_GOOD);
K(MBUF_F_RX_L4_CKSUM_MASK);
K(MBUF_F_RX_L4_CKSUM_BAD);
K(MBUF_F_RX_L4_CKSUM_GOOD);

K(MBUF_F_TX_VLAN);
K(MBUF_F_TX_IPV4);
K(MBUF_F_TX_IPV6);
K(MBUF_F_TX_IP_CKSUM);
K(MBUF_F_TX_TCP_CKSUM);
K(MBUF_F_TX_UDP_CKSUM);
K(MBUF_F_TX_SCTP_CKSUM);
K(MBUF_F_TX_L4_MASK);

K(PKTMBUF_HEADROOM);
K(MBUF_DEFAULT_BUF_SIZE);
K(MAX_LCORE);
K(MAX_ETHPORTS);
K(MEMPOOL_CACHE_MAX_SIZE);

static const uint64_t DPVS_K_RING_F_SP_ENQ = RING_F_SP_ENQ;
static const uint64_t DPVS_K_RING_F_SC_DEQ = RING_F_SC_DEQ;

/* Where the members of struct rte_mbuf are. 24.11 wrapped them in anonymous
 * unions, so their names as bindgen sees them differ between releases. */
#define OFF(member) \
	static const uint64_t DPVS_MBUF_OFF_##member = offsetof(struct rte_mbuf, member)

OFF(buf_addr);
OFF(data_off);
OFF(refcnt);
OFF(nb_segs);
OFF(port);
OFF(ol_flags);
OFF(pkt_len);
OFF(data_len);
OFF(vlan_tci);
OFF(buf_len);
OFF(next);
OFF(tx_offload);
static const uint64_t DPVS_MBUF_OFF_rss = offsetof(struct rte_mbuf, hash);

static const uint64_t DPVS_MBUF_L2_LEN_BITS = RTE_MBUF_L2_LEN_BITS;
static const uint64_t DPVS_MBUF_L3_LEN_BITS = RTE_MBUF_L3_LEN_BITS;

static const uint64_t DPVS_MBUF_SIZE = sizeof(struct rte_mbuf);

/* rte_errno is a thread-local macro. */
static inline int dpvs_errno(void)
{
	return rte_errno;
}

struct dpvs_link {
	uint32_t speed_mbps; /* UINT32_MAX: unknown */
	uint8_t up;
	uint8_t full_duplex;
	uint8_t autoneg;
};

/* struct rte_eth_link is bit fields, and a union since 24.07. */
static inline int dpvs_eth_link_get(uint16_t port, struct dpvs_link *out)
{
	struct rte_eth_link link;
	int ret;

	memset(&link, 0, sizeof(link));
	ret = rte_eth_link_get_nowait(port, &link);
	if (ret != 0)
		return ret;
	out->speed_mbps = link.link_speed;
	out->up = link.link_status == RTE_ETH_LINK_UP;
	out->full_duplex = link.link_duplex == RTE_ETH_LINK_FULL_DUPLEX;
	out->autoneg = link.link_autoneg == RTE_ETH_LINK_AUTONEG;
	return 0;
}

/* Name and bus of the device behind a port; NULL where there is none. */
static inline const char *dpvs_eth_bus_name(const struct rte_eth_dev_info *info)
{
	return info->device ? rte_dev_name(info->device) : NULL;
}

/* Bytes of one pool element without and with its header and trailer. */
static inline uint64_t dpvs_mempool_element_size(uint32_t elt_size)
{
	struct rte_mempool_objsz sz;

	return rte_mempool_calc_obj_size(elt_size, 0, &sz);
}

/* One packet and its chained segments. */
static inline void dpvs_pktmbuf_free(struct rte_mbuf *m)
{
	rte_pktmbuf_free(m);
}

/* A flow rule: packets of a protocol for an address and some of its ports go
 * to a receive queue. Addresses, port and mask as in the packet. */
struct dpvs_steer {
	uint8_t v6;
	uint8_t tcp; /* else UDP */
	uint8_t whole; /* all packets for the address */
	uint8_t fuzzy; /* signature mode of ixgbe's flow director */
	uint8_t addr[16];
	uint16_t port;
	uint16_t port_mask;
	uint16_t queue;
};

/* Validates the rule, and creates it where `flow` is not NULL. 0 or a negative
 * errno; `why` gets the driver's reason, or an empty string. In C, because the
 * items are bit fields and unions whose names changed between releases. */
static inline int dpvs_flow_steer(uint16_t port, const struct dpvs_steer *s,
				  struct rte_flow **flow, char *why, size_t len)
{
	struct rte_flow_attr attr = { .ingress = 1 };
	struct rte_flow_item_fuzzy fz = { .thresh = 1 };
	struct rte_flow_item_fuzzy fz_last = { .thresh = UINT32_MAX };
	struct rte_flow_item_fuzzy fz_mask = { .thresh = UINT32_MAX };
	struct rte_flow_item_ipv4 ip4, ip4_mask;
	struct rte_flow_item_ipv6 ip6, ip6_mask;
	struct rte_flow_item_tcp tcp, tcp_mask;
	struct rte_flow_item_udp udp, udp_mask;
	struct rte_flow_action_queue to = { .index = s->queue };
	struct rte_flow_item items[5];
	struct rte_flow_action actions[2];
	struct rte_flow_error error;
	struct rte_flow *made;
	int n = 0, ret;

	memset(&ip4, 0, sizeof(ip4));
	memset(&ip4_mask, 0, sizeof(ip4_mask));
	memset(&ip6, 0, sizeof(ip6));
	memset(&ip6_mask, 0, sizeof(ip6_mask));
	memset(&tcp, 0, sizeof(tcp));
	memset(&tcp_mask, 0, sizeof(tcp_mask));
	memset(&udp, 0, sizeof(udp));
	memset(&udp_mask, 0, sizeof(udp_mask));
	memset(items, 0, sizeof(items));
	memset(actions, 0, sizeof(actions));
	memset(&error, 0, sizeof(error));

	if (s->fuzzy) {
		items[n].type = RTE_FLOW_ITEM_TYPE_FUZZY;
		items[n].spec = &fz;
		items[n].last = &fz_last;
		items[n++].mask = &fz_mask;
	}
	items[n++].type = RTE_FLOW_ITEM_TYPE_ETH;
	if (s->v6) {
		memcpy(&ip6.hdr.dst_addr, s->addr, 16);
		memset(&ip6_mask.hdr.dst_addr, 0xff, 16);
		items[n].type = RTE_FLOW_ITEM_TYPE_IPV6;
		items[n].spec = &ip6;
		items[n++].mask = &ip6_mask;
	} else {
		memcpy(&ip4.hdr.dst_addr, s->addr, 4);
		memset(&ip4_mask.hdr.dst_addr, 0xff, 4);
		items[n].type = RTE_FLOW_ITEM_TYPE_IPV4;
		items[n].spec = &ip4;
		items[n++].mask = &ip4_mask;
	}
	if (s->whole) {
		/* nothing more is looked at */
	} else if (s->tcp) {
		tcp.hdr.dst_port = s->port;
		tcp_mask.hdr.dst_port = s->port_mask;
		items[n].type = RTE_FLOW_ITEM_TYPE_TCP;
		items[n].spec = &tcp;
		items[n++].mask = &tcp_mask;
	} else {
		udp.hdr.dst_port = s->port;
		udp_mask.hdr.dst_port = s->port_mask;
		items[n].type = RTE_FLOW_ITEM_TYPE_UDP;
		items[n].spec = &udp;
		items[n++].mask = &udp_mask;
	}
	items[n].type = RTE_FLOW_ITEM_TYPE_END;
	actions[0].type = RTE_FLOW_ACTION_TYPE_QUEUE;
	actions[0].conf = &to;
	actions[1].type = RTE_FLOW_ACTION_TYPE_END;

	if (len > 0)
		why[0] = 0;
	ret = rte_flow_validate(port, &attr, items, actions, &error);
	if (ret == 0 && flow != NULL) {
		made = rte_flow_create(port, &attr, items, actions, &error);
		*flow = made;
		if (made == NULL)
			ret = rte_errno > 0 ? -rte_errno : -EIO;
	}
	if (ret != 0 && error.message != NULL && len > 0)
		snprintf(why, len, "%s", error.message);
	return ret;
}

static inline int dpvs_flow_remove(uint16_t port, struct rte_flow *flow)
{
	struct rte_flow_error error;

	return rte_flow_destroy(port, flow, &error);
}

/* Bonds: DPDK calls their ports members since 23.11. */
#if RTE_VERSION >= RTE_VERSION_NUM(23, 11, 0, 0)
#define DPVS_MEMBER(what) rte_eth_bond_member_##what
#define DPVS_MEMBERS(what) rte_eth_bond_##what##members_get
#else
#define DPVS_MEMBER(what) rte_eth_bond_slave_##what
#define DPVS_MEMBERS(what) rte_eth_bond_##what##slaves_get
#endif

static inline int dpvs_bond_create(const char *name, uint8_t mode, uint8_t socket)
{
	return rte_eth_bond_create(name, mode, socket);
}

static inline int dpvs_bond_add(uint16_t bond, uint16_t port)
{
	return DPVS_MEMBER(add)(bond, port);
}

static inline int dpvs_bond_remove(uint16_t bond, uint16_t port)
{
	return DPVS_MEMBER(remove)(bond, port);
}

static inline int dpvs_bond_members(uint16_t bond, uint16_t *ports, uint16_t len, int active)
{
	return active ? DPVS_MEMBERS(active_)(bond, ports, len) : DPVS_MEMBERS()(bond, ports, len);
}

/* Numbers of a bond that can be read, and most of them set; the order is ours. */
enum {
	DPVS_BOND_MODE,
	DPVS_BOND_PRIMARY,
	DPVS_BOND_XMIT_POLICY,
	/* set only: the library has the other half, and the delays of links, in its
	 * headers and does not export them */
	DPVS_BOND_MONITOR_MS,
	/* set only; mode 4 */
	DPVS_BOND_DEDICATED_QUEUES,
};

static inline int dpvs_bond_get(uint16_t bond, int what)
{
	switch (what) {
	case DPVS_BOND_MODE: return rte_eth_bond_mode_get(bond);
	case DPVS_BOND_PRIMARY: return rte_eth_bond_primary_get(bond);
	case DPVS_BOND_XMIT_POLICY: return rte_eth_bond_xmit_policy_get(bond);
	default: return -EINVAL;
	}
}

static inline int dpvs_bond_set(uint16_t bond, int what, uint32_t value)
{
	switch (what) {
	case DPVS_BOND_MODE: return rte_eth_bond_mode_set(bond, value);
	case DPVS_BOND_PRIMARY: return rte_eth_bond_primary_set(bond, value);
	case DPVS_BOND_XMIT_POLICY: return rte_eth_bond_xmit_policy_set(bond, value);
	case DPVS_BOND_MONITOR_MS: return rte_eth_bond_link_monitoring_set(bond, value);
	case DPVS_BOND_DEDICATED_QUEUES:
		return value ? rte_eth_bond_8023ad_dedicated_queues_enable(bond) :
			       rte_eth_bond_8023ad_dedicated_queues_disable(bond);
	default: return -EINVAL;
	}
}

#undef K
#undef OFF
#endif
