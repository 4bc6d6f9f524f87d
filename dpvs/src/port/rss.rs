//! Receive-side scaling: which packets are hashed, with which key, onto which
//! queues.

use dpdk_sys as sys;

use super::dev::Port;
use super::error::{Result, check};

/// The hash key of a port that spreads packets over queues.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RssKey {
    /// The driver's own.
    #[default]
    Driver,
    /// Both directions of a flow give the same hash.
    Symmetric,
    /// These bytes, repeated or cut to the length the driver wants.
    Bytes(Vec<u8>),
}

impl RssKey {
    pub(super) fn bytes(&self, len: usize) -> Option<Vec<u8>> {
        // Toeplitz needs 40 bytes for two IPv6 addresses and ports.
        let len = if len == 0 { 40 } else { len };
        let pattern: &[u8] = match self {
            RssKey::Driver => return None,
            RssKey::Symmetric => &[0x6d, 0x5a],
            RssKey::Bytes(bytes) => bytes,
        };
        (!pattern.is_empty()).then(|| pattern.iter().copied().cycle().take(len).collect())
    }
}

/// Packet types of a name in `rss` of dpvs.conf; `None` for an unknown name.
#[must_use]
pub fn rss_types(name: &str) -> Option<u64> {
    Some(match name {
        "all" => sys::DPVS_K_ETH_RSS_IP | sys::DPVS_K_ETH_RSS_TCP | sys::DPVS_K_ETH_RSS_UDP,
        "ip" => sys::DPVS_K_ETH_RSS_IP,
        "tcp" => sys::DPVS_K_ETH_RSS_TCP,
        "udp" => sys::DPVS_K_ETH_RSS_UDP,
        "sctp" => sys::DPVS_K_ETH_RSS_SCTP,
        "ether" => sys::DPVS_K_ETH_RSS_L2_PAYLOAD,
        "port" => sys::DPVS_K_ETH_RSS_PORT,
        "tunnel" => sys::DPVS_K_ETH_RSS_TUNNEL,
        _ => return None,
    })
}

impl Port {
    /// Spreads hash values over queues 0 .. `queues` in turn.
    pub(super) fn fill_reta(&self, queues: u16) -> Result<()> {
        let info = self.raw_info()?;
        if info.reta_size == 0 || info.flow_type_rss_offloads == 0 || queues == 0 {
            return Ok(());
        }
        let mut table: Vec<sys::rte_eth_rss_reta_entry64> = Vec::new();
        let mut next = (0..queues).cycle();
        for _ in 0..info.reta_size.div_ceil(64) {
            let mut group = sys::rte_eth_rss_reta_entry64 {
                mask: u64::MAX,
                ..Default::default()
            };
            for (slot, queue) in group.reta.iter_mut().zip(&mut next) {
                *slot = queue;
            }
            table.push(group);
        }
        if let (Some(group), rest @ 1..) = (table.last_mut(), info.reta_size % 64) {
            group.mask = (1 << rest) - 1;
        }
        // SAFETY: the table covers `reta_size` entries.
        let ret = unsafe {
            sys::rte_eth_dev_rss_reta_update(self.id(), table.as_mut_ptr(), info.reta_size)
        };
        check(ret, || self.what("fill the redirection table")).map(drop)
    }
}
