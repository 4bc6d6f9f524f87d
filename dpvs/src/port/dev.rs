//! Ports: DPDK devices, physical or virtual. Find, configure, start, steer.
//!
//! A port is configured once, which gives out its queues. What a driver cannot
//! do (set an MTU, hash, filter multicast) is a note, not an error, wherever
//! forwarding works without. Does not know which lcore polls which queue.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char};
use std::marker::PhantomData;

use dpdk_sys as sys;

use super::eal::Eal;
use super::error::{Error, Result, check};
use super::pool::{DATA_ROOM, Pool};
use super::queue::{RxQueue, TxQueue};
use super::rss::RssKey;

/// A port. One owner (the master); not `Sync`, as DPDK's control calls are not.
#[derive(Debug)]
pub struct Port {
    id: u16,
    name: String,
    /// Multicast addresses listened to, each with its number of users.
    pub(super) multicast: Vec<([u8; 6], u32)>,
    _one_owner: PhantomData<Cell<()>>,
}

/// What a driver says of a port.
#[derive(Clone, Debug, Default)]
pub struct PortInfo {
    /// Driver ("net_ixgbe", "net_af_packet").
    pub driver: String,
    /// Device behind it (a PCI address, a vdev name), empty if unknown.
    pub device: String,
    /// Kernel interface index of drivers that sit on one, else 0.
    pub if_index: u32,
    /// Smallest and largest MTU.
    pub mtu: (u16, u16),
    /// Most receive and transmit queues.
    pub max_queues: (u16, u16),
    /// Receive and transmit queues configured now.
    pub queues: (u16, u16),
    /// Receive descriptors: smallest, largest number and alignment.
    pub rx_desc: (u16, u16, u16),
    /// Transmit descriptors: smallest, largest number and alignment.
    pub tx_desc: (u16, u16, u16),
    /// Smallest receive buffer and largest packet, in bytes.
    pub rx_sizes: (u32, u32),
    /// Most unicast filters, and most hash filters.
    pub max_macs: (u32, u32),
    /// Virtual functions, and VMDq pools.
    pub max_virtual: (u16, u16),
    /// `RTE_ETH_RX_OFFLOAD_*` the port and one queue can do.
    pub rx_offloads: (u64, u64),
    /// `RTE_ETH_TX_OFFLOAD_*` the port and one queue can do.
    pub tx_offloads: (u64, u64),
    /// Packet types it can hash (`RTE_ETH_RSS_*`); 0: none.
    pub rss_types: u64,
    /// Entries of the redirection table; 0: none.
    pub reta_size: u16,
    /// Bytes of the hash key; 0: fixed or unknown.
    pub hash_key_size: u8,
    /// `RTE_ETH_LINK_SPEED_*` bits.
    pub speeds: u32,
    /// `RTE_ETH_DEV_CAPA_*` bits.
    pub capabilities: u64,
    /// First VMDq queue, number of VMDq queues and first pool.
    pub vmdq: (u16, u16, u16),
}

impl PortInfo {
    /// Whether it computes the IPv4 header checksum of what it sends.
    #[must_use]
    pub fn tx_ip_checksum(&self) -> bool {
        self.tx_offloads.0 & sys::DPVS_K_ETH_TX_OFFLOAD_IPV4_CKSUM != 0
    }

    /// Whether it computes the TCP checksum of what it sends.
    #[must_use]
    pub fn tx_tcp_checksum(&self) -> bool {
        self.tx_offloads.0 & sys::DPVS_K_ETH_TX_OFFLOAD_TCP_CKSUM != 0
    }

    /// Whether it computes the UDP checksum of what it sends.
    #[must_use]
    pub fn tx_udp_checksum(&self) -> bool {
        self.tx_offloads.0 & sys::DPVS_K_ETH_TX_OFFLOAD_UDP_CKSUM != 0
    }

    /// Whether it checks IPv4 and L4 checksums of what it receives.
    #[must_use]
    pub fn rx_checksum(&self) -> bool {
        let all = sys::DPVS_K_ETH_RX_OFFLOAD_IPV4_CKSUM
            | sys::DPVS_K_ETH_RX_OFFLOAD_TCP_CKSUM
            | sys::DPVS_K_ETH_RX_OFFLOAD_UDP_CKSUM;
        self.rx_offloads.0 & all == all
    }

    /// Whether it inserts VLAN tags.
    #[must_use]
    pub fn tx_vlan_insert(&self) -> bool {
        self.tx_offloads.0 & sys::DPVS_K_ETH_TX_OFFLOAD_VLAN_INSERT != 0
    }

    /// Whether it strips VLAN tags.
    #[must_use]
    pub fn rx_vlan_strip(&self) -> bool {
        self.rx_offloads.0 & sys::DPVS_K_ETH_RX_OFFLOAD_VLAN_STRIP != 0
    }
}

/// How a port is to run.
#[derive(Clone, Debug)]
pub struct PortConf {
    /// Receive queues.
    pub rx_queues: u16,
    /// Transmit queues.
    pub tx_queues: u16,
    /// Descriptors of a receive queue, adjusted to what the driver takes.
    pub rx_desc: u16,
    /// Descriptors of a transmit queue, adjusted to what the driver takes.
    pub tx_desc: u16,
    /// MTU in bytes of IP.
    pub mtu: u16,
    /// Packet types to hash (see [`super::rss::rss_types`]), masked by what the driver can.
    pub rss: u64,
    /// Hash key.
    pub rss_key: RssKey,
    /// Receive queues that take part in spreading, from queue 0 on; 0 = all.
    pub rss_queues: u16,
    /// Receive frames for any MAC address.
    pub promiscuous: bool,
    /// Receive all multicast frames.
    pub allmulticast: bool,
    /// Let the driver free sent buffers without looking (needs one pool a queue).
    pub fast_free: bool,
    /// Let the driver check received checksums where it can.
    pub rx_checksum: bool,
}

impl Default for PortConf {
    fn default() -> Self {
        Self {
            rx_queues: 1,
            tx_queues: 1,
            rx_desc: 256,
            tx_desc: 512,
            mtu: 1500,
            rss: 0,
            rss_key: RssKey::Driver,
            rss_queues: 0,
            promiscuous: false,
            allmulticast: false,
            fast_free: false,
            rx_checksum: true,
        }
    }
}

/// A configured port and its queues; [`Port::start`] comes next.
#[derive(Debug)]
pub struct Ready {
    /// The port.
    pub port: Port,
    /// Its receive queues, in order.
    pub rx: Vec<RxQueue>,
    /// Its transmit queues, in order.
    pub tx: Vec<TxQueue>,
    /// Descriptors in use, receive and transmit.
    pub desc: (u16, u16),
    /// MTU in force.
    pub mtu: u16,
    /// Packet types hashed; 0 where it does not spread.
    pub rss: u64,
    /// What the driver would not do and forwarding does without.
    pub notes: Vec<String>,
}

/// Counters of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Packets received.
    pub ipackets: u64,
    /// Packets sent.
    pub opackets: u64,
    /// Bytes received.
    pub ibytes: u64,
    /// Bytes sent.
    pub obytes: u64,
    /// Packets the hardware dropped for want of descriptors.
    pub imissed: u64,
    /// Packets received wrong.
    pub ierrors: u64,
    /// Packets not sent.
    pub oerrors: u64,
    /// Receive buffers that could not be had.
    pub rx_nombuf: u64,
    /// Packets and bytes of the first queues: received packets, received
    /// bytes, sent packets, sent bytes, errors.
    pub queues: [[u64; 5]; 16],
}

impl Port {
    pub(super) fn new(id: u16) -> Option<Self> {
        // The longest name DPDK allows, RTE_ETH_NAME_MAX_LEN.
        let mut name: [c_char; 64] = [0; 64];
        // SAFETY: room for the longest name; the function checks the number.
        let ret = unsafe { sys::rte_eth_dev_get_name_by_port(id, name.as_mut_ptr()) };
        if ret != 0 {
            return None;
        }
        // SAFETY: NUL-terminated by the call, or all zero.
        let name = unsafe { CStr::from_ptr(name.as_ptr()) }
            .to_string_lossy()
            .into_owned();
        Some(Self {
            id,
            name,
            multicast: Vec::new(),
            _one_owner: PhantomData,
        })
    }

    /// The ports there are, in DPDK's order. Take them once: control calls on
    /// one port from two places at a time are not DPDK's to sort out.
    #[must_use]
    pub fn all(_: &Eal) -> Vec<Self> {
        let mut ports = Vec::new();
        let mut id = 0;
        loop {
            // SAFETY: a search in EAL's table, any start is allowed.
            let next = unsafe { sys::rte_eth_find_next(id) };
            if u64::from(next) >= sys::DPVS_K_MAX_ETHPORTS {
                return ports;
            }
            ports.extend(Self::new(next));
            id = next + 1;
        }
    }

    /// The port of that DPDK name ("net_null0", "0000:01:00.0").
    #[must_use]
    pub fn by_name(_: &Eal, name: &str) -> Option<Self> {
        let cname = CString::new(name).ok()?;
        let mut id = 0;
        // SAFETY: a C string and a valid place.
        let ret = unsafe { sys::rte_eth_dev_get_port_by_name(cname.as_ptr(), &raw mut id) };
        if ret == 0 { Self::new(id) } else { None }
    }

    /// DPDK's number.
    #[must_use]
    pub fn id(&self) -> u16 {
        self.id
    }

    /// DPDK's name ("net_null0", "0000:01:00.0").
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// NUMA node; 0 if the driver does not say.
    #[must_use]
    pub fn socket(&self) -> u32 {
        // SAFETY: a valid port number.
        u32::try_from(unsafe { sys::rte_eth_dev_socket_id(self.id) }).unwrap_or(0)
    }

    pub(super) fn what(&self, doing: &str) -> String {
        format!("port {} ({}): cannot {doing}", self.id, self.name)
    }

    pub(super) fn raw_info(&self) -> Result<sys::rte_eth_dev_info> {
        let mut info = sys::rte_eth_dev_info::default();
        // SAFETY: a valid place.
        let ret = unsafe { sys::rte_eth_dev_info_get(self.id, &raw mut info) };
        check(ret, || self.what("read what the driver can do"))?;
        Ok(info)
    }

    /// What the driver says of the port.
    ///
    /// # Errors
    /// The driver does not answer.
    pub fn info(&self) -> Result<PortInfo> {
        let raw = self.raw_info()?;
        let text = |s: *const c_char| {
            if s.is_null() {
                return String::new();
            }
            // SAFETY: a static string of the driver or the bus.
            unsafe { CStr::from_ptr(s) }.to_string_lossy().into_owned()
        };
        let limits = |l: sys::rte_eth_desc_lim| (l.nb_min, l.nb_max, l.nb_align);
        Ok(PortInfo {
            driver: text(raw.driver_name),
            // SAFETY: filled in above; null is allowed for.
            device: text(unsafe { sys::dpvs_eth_bus_name(&raw const raw) }),
            if_index: raw.if_index,
            mtu: (raw.min_mtu, raw.max_mtu),
            max_queues: (raw.max_rx_queues, raw.max_tx_queues),
            queues: (raw.nb_rx_queues, raw.nb_tx_queues),
            rx_desc: limits(raw.rx_desc_lim),
            tx_desc: limits(raw.tx_desc_lim),
            rx_sizes: (raw.min_rx_bufsize, raw.max_rx_pktlen),
            max_macs: (raw.max_mac_addrs, raw.max_hash_mac_addrs),
            max_virtual: (raw.max_vfs, raw.max_vmdq_pools),
            rx_offloads: (raw.rx_offload_capa, raw.rx_queue_offload_capa),
            tx_offloads: (raw.tx_offload_capa, raw.tx_queue_offload_capa),
            rss_types: raw.flow_type_rss_offloads,
            reta_size: raw.reta_size,
            hash_key_size: raw.hash_key_size,
            speeds: raw.speed_capa,
            capabilities: raw.dev_capa,
            vmdq: (raw.vmdq_queue_base, raw.vmdq_queue_num, raw.vmdq_pool_base),
        })
    }

    /// Configures the port and gives out its queues, which receive into
    /// `pool`. Takes the port, so that this happens once.
    ///
    /// # Errors
    /// More queues than the driver has, or the driver's refusal.
    pub fn configure(self, conf: &PortConf, pool: Pool) -> Result<Ready> {
        let info = self.raw_info()?;
        self.check_queues(conf, &info)?;
        let mut notes = Vec::new();

        let mut raw = sys::rte_eth_conf::default();
        // Both ends of the range are 0 where a driver does not say.
        let max_mtu = if info.max_mtu == 0 {
            u16::MAX
        } else {
            info.max_mtu
        };
        let mtu = conf.mtu.clamp(info.min_mtu.min(max_mtu), max_mtu);
        if mtu != conf.mtu {
            notes.push(format!(
                "MTU {} lowered or raised to {mtu}, the driver's limit",
                conf.mtu
            ));
        }
        raw.rxmode.mtu = u32::from(mtu);
        self.choose_offloads(conf, &info, mtu, &mut raw, &mut notes);

        let rss = if conf.rx_queues > 1 {
            conf.rss & info.flow_type_rss_offloads
        } else {
            0
        };
        let mut key = conf.rss_key.bytes(usize::from(info.hash_key_size));
        if rss != 0 {
            raw.rxmode.mq_mode = sys::DPVS_K_ETH_MQ_RX_RSS as u32;
            raw.rx_adv_conf.rss_conf.rss_hf = rss;
            if let Some(key) = &mut key {
                raw.rx_adv_conf.rss_conf.rss_key = key.as_mut_ptr();
                raw.rx_adv_conf.rss_conf.rss_key_len = key.len().min(255) as u8;
            }
            if rss != conf.rss {
                notes.push(format!(
                    "of the packet types {:#x} to hash the driver knows {rss:#x}",
                    conf.rss
                ));
            }
        } else if conf.rx_queues > 1 {
            notes.push(
                "the driver does not hash: it decides itself which queue a packet is on".into(),
            );
        }

        let (mut rx_desc, mut tx_desc) = (conf.rx_desc, conf.tx_desc);
        // SAFETY: `raw` and the key it points to outlive every call.
        let configure = |raw: &sys::rte_eth_conf| unsafe {
            sys::rte_eth_dev_configure(self.id, conf.rx_queues, conf.tx_queues, raw)
        };
        let mut ret = configure(&raw);
        if ret < 0 && !raw.rx_adv_conf.rss_conf.rss_key.is_null() {
            // Some drivers have a key of their own and no other.
            raw.rx_adv_conf.rss_conf.rss_key = std::ptr::null_mut();
            raw.rx_adv_conf.rss_conf.rss_key_len = 0;
            ret = configure(&raw);
            if ret >= 0 {
                notes.push("the driver keeps its own hash key".into());
            }
        }
        if ret == -libc::EINVAL {
            // Some virtual drivers only know their default MTU.
            raw.rxmode.mtu = 0;
            ret = configure(&raw);
        }
        check(ret, || self.what("configure"))?;

        // SAFETY: two valid places.
        let ret = unsafe {
            sys::rte_eth_dev_adjust_nb_rx_tx_desc(self.id, &raw mut rx_desc, &raw mut tx_desc)
        };
        check(ret, || self.what("adjust descriptors"))?;
        if (rx_desc, tx_desc) != (conf.rx_desc, conf.tx_desc) {
            notes.push(format!(
                "descriptors rx {} tx {} adjusted to rx {rx_desc} tx {tx_desc}",
                conf.rx_desc, conf.tx_desc
            ));
        }
        self.setup_queues(conf, &info, &raw, (rx_desc, tx_desc), pool)?;

        let mtu = self.apply_mtu(mtu, &mut notes)?;
        let id = self.id;
        Ok(Ready {
            rx: (0..conf.rx_queues)
                .map(|queue| RxQueue::new(id, queue))
                .collect(),
            tx: (0..conf.tx_queues)
                .map(|queue| TxQueue::new(id, queue))
                .collect(),
            port: self,
            desc: (rx_desc, tx_desc),
            mtu,
            rss,
            notes,
        })
    }

    fn check_queues(&self, conf: &PortConf, info: &sys::rte_eth_dev_info) -> Result<()> {
        let sides = [
            ("rx", conf.rx_queues, info.max_rx_queues),
            ("tx", conf.tx_queues, info.max_tx_queues),
        ];
        for (side, wanted, max) in sides {
            if wanted > max {
                return Err(Error::new(
                    self.what(&format!(
                        "have {wanted} {side} queues: it has at most {max}"
                    )),
                    libc::EINVAL,
                )
                .hint(
                    "lower queue_number and the queues workers are given, or, for a virtual port, \
                     add queues to its --vdev argument (net_af_packet: qpairs=N)",
                ));
            }
        }
        Ok(())
    }

    fn choose_offloads(
        &self,
        conf: &PortConf,
        info: &sys::rte_eth_dev_info,
        mtu: u16,
        raw: &mut sys::rte_eth_conf,
        notes: &mut Vec<String>,
    ) {
        // Ethernet header, two VLAN tags and the frame check sequence.
        const OVERHEAD: u32 = 14 + 8 + 4;
        let (can_rx, can_tx) = (info.rx_offload_capa, info.tx_offload_capa);
        if conf.rx_checksum {
            raw.rxmode.offloads |= can_rx & sys::DPVS_K_ETH_RX_OFFLOAD_IPV4_CKSUM;
        }
        let chained = u32::from(mtu) + OVERHEAD > u32::from(DATA_ROOM);
        if chained {
            raw.rxmode.offloads |= can_rx & sys::DPVS_K_ETH_RX_OFFLOAD_SCATTER;
            raw.txmode.offloads |= can_tx & sys::DPVS_K_ETH_TX_OFFLOAD_MULTI_SEGS;
            if can_rx & sys::DPVS_K_ETH_RX_OFFLOAD_SCATTER == 0 {
                notes.push(format!(
                    "the driver does not chain buffers: frames over {DATA_ROOM} bytes are lost"
                ));
            }
        } else if conf.fast_free {
            raw.txmode.offloads |= can_tx & sys::DPVS_K_ETH_TX_OFFLOAD_MBUF_FAST_FREE;
        }
    }

    fn setup_queues(
        &self,
        conf: &PortConf,
        info: &sys::rte_eth_dev_info,
        raw: &sys::rte_eth_conf,
        (rx_desc, tx_desc): (u16, u16),
        pool: Pool,
    ) -> Result<()> {
        // SAFETY: a valid port number. -1 means "any node" here and below.
        let socket = unsafe { sys::rte_eth_dev_socket_id(self.id) }.cast_unsigned();
        let mut rxconf = info.default_rxconf;
        rxconf.offloads = raw.rxmode.offloads;
        let mut txconf = info.default_txconf;
        txconf.offloads = raw.txmode.offloads;
        for queue in 0..conf.rx_queues {
            // SAFETY: a configured port, a live configuration and a pool that
            // is never freed.
            let ret = unsafe {
                sys::rte_eth_rx_queue_setup(
                    self.id,
                    queue,
                    rx_desc,
                    socket,
                    &raw const rxconf,
                    pool.raw(),
                )
            };
            check(ret, || {
                self.what(&format!(
                    "set up rx queue {queue} with {rx_desc} descriptors"
                ))
            })
            .map_err(|error| self.explain_rx(error, pool))?;
        }
        for queue in 0..conf.tx_queues {
            // SAFETY: as above.
            let ret = unsafe {
                sys::rte_eth_tx_queue_setup(self.id, queue, tx_desc, socket, &raw const txconf)
            };
            check(ret, || {
                self.what(&format!(
                    "set up tx queue {queue} with {tx_desc} descriptors"
                ))
            })?;
        }
        Ok(())
    }

    /// A pcap port that loops reads its whole file into the pool.
    fn explain_rx(&self, error: Error, pool: Pool) -> Error {
        if pool.available() < pool.size() / 8 {
            error.hint(format!(
                "the packet pool of {} is used up: raise pktpool_size",
                pool.size()
            ))
        } else {
            error
        }
    }

    fn apply_mtu(&self, mtu: u16, notes: &mut Vec<String>) -> Result<u16> {
        match self.set_mtu(mtu) {
            Ok(()) => {}
            Err(error) if error.unsupported() => {
                notes.push("the driver has no MTU to set; frames are checked in software".into());
                return Ok(mtu);
            }
            Err(error) => notes.push(error.to_string()),
        }
        self.mtu()
    }

    /// Starts the port and applies what needs a running one. What the driver
    /// would not do is returned.
    ///
    /// # Errors
    /// The driver's refusal to start.
    pub fn start(&self, conf: &PortConf) -> Result<Vec<String>> {
        // SAFETY: a configured port.
        check(unsafe { sys::rte_eth_dev_start(self.id) }, || {
            self.what("start")
        })?;
        let mut notes = Vec::new();
        let mut note = |result: Result<()>| notes.extend(result.err().map(|e| e.to_string()));
        if conf.promiscuous {
            note(self.set_promiscuous(true));
        }
        if conf.allmulticast {
            note(self.set_allmulticast(true));
        }
        let spread = if conf.rss_queues == 0 {
            conf.rx_queues
        } else {
            conf.rss_queues
        };
        if conf.rx_queues > 1 && conf.rss != 0 {
            note(self.fill_reta(spread.min(conf.rx_queues)));
        }
        Ok(notes)
    }

    /// Stops the port.
    ///
    /// # Errors
    /// The driver's refusal.
    pub fn stop(&self) -> Result<()> {
        // SAFETY: a valid port number.
        check(unsafe { sys::rte_eth_dev_stop(self.id) }, || {
            self.what("stop")
        })
        .map(drop)
    }
}
