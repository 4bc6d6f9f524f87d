//! Receive-side scaling: which packets are hashed, with which key, onto which
//! queues; set at start and read back, since drivers keep their own mind.

use dpdk_sys as sys;
use dpvs_core::rss::{DEFAULT_KEY, Hashed, KEY_LEN};

use super::dev::Port;
use super::error::{Error, Result, check};

/// Entries of the redirection table before queues repeat, if they are no power
/// of two: local ports are matched to the table better the shorter its period.
const PERIOD: u16 = 256;

/// The hash key of a port that spreads packets over queues.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RssKey {
    /// The driver's own.
    #[default]
    Driver,
    /// Microsoft's published key, so that every driver hashes alike.
    Standard,
    /// Both directions of a flow give the same hash.
    Symmetric,
    /// These bytes, repeated or cut to the length the driver wants.
    Bytes(Vec<u8>),
}

impl RssKey {
    pub(super) fn bytes(&self, len: usize) -> Option<Vec<u8>> {
        // Toeplitz needs 40 bytes for two IPv6 addresses and ports.
        let len = if len == 0 { KEY_LEN } else { len };
        let pattern: &[u8] = match self {
            RssKey::Driver => return None,
            RssKey::Standard => &DEFAULT_KEY,
            RssKey::Symmetric => &[0x6d, 0x5a],
            RssKey::Bytes(bytes) => bytes,
        };
        (!pattern.is_empty()).then(|| pattern.iter().copied().cycle().take(len).collect())
    }
}

/// How a port spreads packets, as it says itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spreading {
    /// The hash key.
    pub key: Vec<u8>,
    /// What is hashed.
    pub hashed: Hashed,
    /// Queue of each entry of the redirection table.
    pub table: Vec<u16>,
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

/// Which fields count, from a driver's packet types.
fn hashed(types: u64) -> Hashed {
    let on = |v4, v6| [types & v4 != 0, types & v6 != 0];
    Hashed {
        ip: on(sys::DPVS_K_ETH_RSS_IPV4, sys::DPVS_K_ETH_RSS_IPV6),
        tcp: on(
            sys::DPVS_K_ETH_RSS_NONFRAG_IPV4_TCP,
            sys::DPVS_K_ETH_RSS_NONFRAG_IPV6_TCP,
        ),
        udp: on(
            sys::DPVS_K_ETH_RSS_NONFRAG_IPV4_UDP,
            sys::DPVS_K_ETH_RSS_NONFRAG_IPV6_UDP,
        ),
    }
}

/// The queue of each of `entries` entries: 0 .. `queues` in turn.
fn deal(entries: u16, queues: u16) -> Vec<u16> {
    let period = if queues.is_power_of_two() {
        entries
    } else {
        entries.min(PERIOD.max(queues))
    };
    (0..entries).map(|i| i % period % queues).collect()
}

impl Port {
    /// Spreads hash values over queues 0 .. `queues` in turn.
    pub(super) fn fill_reta(&self, queues: u16) -> Result<()> {
        let info = self.raw_info()?;
        if info.reta_size == 0 || info.flow_type_rss_offloads == 0 || queues == 0 {
            return Ok(());
        }
        let mut table = groups(info.reta_size);
        for (group, queues) in table
            .iter_mut()
            .zip(deal(info.reta_size, queues).chunks(64))
        {
            group.reta[..queues.len()].copy_from_slice(queues);
        }
        // SAFETY: the table covers `reta_size` entries.
        let ret = unsafe {
            sys::rte_eth_dev_rss_reta_update(self.id(), table.as_mut_ptr(), info.reta_size)
        };
        check(ret, || self.what("fill the redirection table")).map(drop)
    }

    /// How the port spreads packets now: read from the driver, nothing guessed.
    ///
    /// # Errors
    /// The driver does not hash, or does not say how.
    pub fn spreading(&self) -> Result<Spreading> {
        let info = self.raw_info()?;
        let none = |what: &str| Err(Error::new(self.what(what), libc::ENOTSUP));
        if info.flow_type_rss_offloads == 0 {
            return none("hash packets");
        }
        if info.reta_size == 0 {
            return none("read its redirection table: it has none");
        }
        let len = match usize::from(info.hash_key_size) {
            0 => KEY_LEN,
            len => len,
        };
        // Room for a driver that writes more than it says.
        let mut key = vec![0; len.max(256)];
        let mut conf = sys::rte_eth_rss_conf {
            rss_key: key.as_mut_ptr(),
            rss_key_len: len.min(255) as u8,
            ..Default::default()
        };
        // SAFETY: `key` has at least the length the driver states and outlives
        // the call.
        let ret = unsafe { sys::rte_eth_dev_rss_hash_conf_get(self.id(), &raw mut conf) };
        check(ret, || self.what("read its hash key"))?;
        key.truncate(len);
        if key.iter().all(|byte| *byte == 0) {
            return none("read its hash key: it says all zero");
        }
        let mut table = groups(info.reta_size);
        // SAFETY: the table covers `reta_size` entries.
        let ret = unsafe {
            sys::rte_eth_dev_rss_reta_query(self.id(), table.as_mut_ptr(), info.reta_size)
        };
        check(ret, || self.what("read its redirection table"))?;
        Ok(Spreading {
            key,
            hashed: hashed(conf.rss_hf),
            table: table
                .iter()
                .flat_map(|group| group.reta)
                .take(info.reta_size.into())
                .collect(),
        })
    }
}

/// A redirection table of that many entries, all of them asked for.
fn groups(entries: u16) -> Vec<sys::rte_eth_rss_reta_entry64> {
    let mut table = vec![
        sys::rte_eth_rss_reta_entry64 {
            mask: u64::MAX,
            ..Default::default()
        };
        entries.div_ceil(64).into()
    ];
    if let (Some(group), rest @ 1..) = (table.last_mut(), entries % 64) {
        group.mask = (1 << rest) - 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_in_turn_with_a_short_period() {
        assert_eq!(deal(4, 2), [0, 1, 0, 1]);
        assert_eq!(deal(5, 3), [0, 1, 2, 0, 1]);
        let table = deal(2048, 12);
        assert_eq!(table[..256], table[256..512]);
        for queue in 0..12 {
            let count = table.iter().filter(|q| **q == queue).count();
            assert!((160..=176).contains(&count), "{count}");
        }
    }

    #[test]
    fn fields_of_packet_types() {
        let tcp = hashed(rss_types("tcp").unwrap());
        assert_eq!(
            (tcp.ip, tcp.tcp, tcp.udp),
            ([false; 2], [true; 2], [false; 2])
        );
        let all = hashed(rss_types("all").unwrap());
        assert_eq!(
            (all.ip, all.tcp, all.udp),
            ([true; 2], [true; 2], [true; 2])
        );
        assert_eq!(hashed(rss_types("sctp").unwrap()), Hashed::default());
    }

    #[test]
    fn keys_fill_what_the_driver_wants() {
        assert_eq!(RssKey::Driver.bytes(40), None);
        assert_eq!(RssKey::Standard.bytes(0).unwrap(), DEFAULT_KEY);
        let long = RssKey::Standard.bytes(52).unwrap();
        assert_eq!(
            (&long[..40], &long[40..]),
            (&DEFAULT_KEY[..], &DEFAULT_KEY[..12])
        );
        assert_eq!(RssKey::Symmetric.bytes(3).unwrap(), [0x6d, 0x5a, 0x6d]);
    }
}
