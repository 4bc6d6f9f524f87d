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

#include <stddef.h>
#include <stdint.h>
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

#undef K
#undef OFF
#endif
