//! The installation under measurement: one service, wrr, 16 servers with known
//! neighbours, 32 local addresses; nothing else. With source NAT the clients are the
//! hosts inside, the servers whom they speak to, and the local addresses the WAN's.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use dpvs_core::frame::{Io, Now, PortId, WorkerId};
use dpvs_core::inet::route::{Fib, Route};
use dpvs_core::matching::Matching;
use dpvs_core::message::ToWorker;
use dpvs_core::service::{
    Dest, DestId, FwdMode, Laddr, Policy, SchedKind, Service, ServiceId, ServiceKey,
};
use dpvs_core::snapshot::{Local, Mac, Port, PortAddr, Settings, Snapshot};
use dpvs_core::worker::{Worker, WorkerConf};

use crate::frames::{Heap, Slot};

/// Port of the service and of its servers.
pub(crate) const VPORT: u16 = 80;
/// Flows of one client address.
pub(crate) const CLIENTS: u32 = 64;
/// Last byte of the first local address and of the first server.
pub(crate) const INSIDE: (u8, u8) = (200, 11);
const LADDRS: u8 = 32;
/// Servers.
pub(crate) const SERVERS: u8 = 16;

/// How it is forwarded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    FullNat,
    Nat,
    Dr,
    /// IP in IP.
    Tunnel,
    Snat,
    /// Clients speak IPv6, servers IPv4.
    Nat64,
}

impl Mode {
    pub(crate) const ALL: [(&str, Self); 6] = [
        ("fullnat", Self::FullNat),
        ("nat", Self::Nat),
        ("dr", Self::Dr),
        ("tunnel", Self::Tunnel),
        ("snat", Self::Snat),
        ("nat64", Self::Nat64),
    ];

    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|m| m.1 == self).map_or("", |m| m.0)
    }

    /// Whether answers come back through the director.
    pub(crate) fn two_ways(self) -> bool {
        !matches!(self, Self::Dr | Self::Tunnel)
    }

    fn of_dest(self) -> FwdMode {
        match self {
            Self::FullNat | Self::Nat64 => FwdMode::FullNat,
            Self::Nat => FwdMode::Masq,
            Self::Dr => FwdMode::Dr,
            Self::Tunnel => FwdMode::Tunnel,
            Self::Snat => FwdMode::Snat,
        }
    }
}

/// What kind of traffic the service is for.
#[derive(Clone, Copy)]
pub(crate) struct World {
    /// The clients' family.
    pub(crate) v6: bool,
    pub(crate) tcp: bool,
    pub(crate) mode: Mode,
    /// The service asks for the SYN proxy.
    pub(crate) synproxy: bool,
}

impl World {
    /// The same with the servers' family.
    pub(crate) fn inside(self) -> Self {
        Self {
            v6: self.v6 && self.mode != Mode::Nat64,
            ..self
        }
    }

    pub(crate) fn ip_len(self) -> usize {
        if self.v6 { 40 } else { 20 }
    }

    /// Offset of the source address in the IP header.
    pub(crate) fn addr_at(self) -> usize {
        if self.v6 { 8 } else { 12 }
    }

    pub(crate) fn addr_len(self) -> usize {
        if self.v6 { 16 } else { 4 }
    }

    fn net(self, v4: [u8; 4], v6_subnet: u16) -> u128 {
        if self.v6 {
            Ipv6Addr::new(0x2001, 0xdb8, v6_subnet, 0, 0, 0, 0, 0).to_bits()
        } else {
            u128::from(Ipv4Addr::from(v4).to_bits())
        }
    }

    fn ip(self, bits: u128) -> IpAddr {
        if self.v6 {
            Ipv6Addr::from_bits(bits).into()
        } else {
            Ipv4Addr::from_bits(bits as u32).into()
        }
    }

    /// Address of the client that has flow `n`.
    pub(crate) fn client(self, n: u32) -> u128 {
        self.net([11, 0, 0, 0], 0xc) + u128::from(n / CLIENTS)
    }

    pub(crate) fn vip(self) -> u128 {
        self.net([192, 0, 2, 10], 1)
    }

    pub(crate) fn laddr(self, i: u8) -> u128 {
        self.inside().net([10, 0, 1, 0], 2) + u128::from(INSIDE.0 + i)
    }

    pub(crate) fn server(self, i: u8) -> u128 {
        self.inside().net([10, 0, 1, 0], 2) + u128::from(INSIDE.1 + i)
    }

    /// Whom clients are behind, where they are found by a route.
    fn gateway(self) -> u128 {
        self.net([192, 0, 2, 254], 3)
    }

    pub(crate) fn mac(port: u16) -> Mac {
        [2, 0, 0, 0, 0, port as u8]
    }

    /// A worker that forwards by [`Self::snapshot`] and knows the servers'
    /// neighbours.
    pub(crate) fn worker(
        self,
        conf: WorkerConf,
        settings: Settings,
        now: Now,
        io: &mut Heap,
    ) -> Worker<Slot> {
        let mut worker = Worker::new(conf, now);
        install(&mut worker, Arc::new(self.snapshot(1, settings)), now, io);
        for i in 0..SERVERS {
            let (port, addr) = (PortId(1), self.inside().ip(self.server(i)));
            let mac = [2, 0, 0, 0, 2, i];
            worker.handle(ToWorker::NeighAdd { port, addr, mac }, now, io);
        }
        let (port, addr) = (PortId(0), self.ip(self.gateway()));
        let mac = [2, 0, 0, 0, 1, 0];
        worker.handle(ToWorker::NeighAdd { port, addr, mac }, now, io);
        worker
    }

    /// Everything a worker forwards by.
    pub(crate) fn snapshot(self, epoch: u64, settings: Settings) -> Snapshot {
        let vip = self.ip(self.vip());
        let ends = self.inside();
        let laddrs: Vec<IpAddr> = (0..LADDRS).map(|i| ends.ip(self.laddr(i))).collect();
        let port = |id: u16, addrs: &[IpAddr], sapool| Port {
            name: format!("dpdk{id}"),
            mac: Self::mac(id),
            mtu: 1500,
            addrs: addrs
                .iter()
                .map(|&addr| PortAddr {
                    addr,
                    plen: if addr.is_ipv6() { 128 } else { 32 },
                    sapool,
                })
                .collect(),
            ..Port::default()
        };
        let own = |port: u16, sapool| Local::Own {
            port: PortId(port),
            sapool,
        };
        let mut locals: HashMap<IpAddr, Local> =
            laddrs.iter().map(|&laddr| (laddr, own(1, true))).collect();
        locals.insert(vip, own(0, false));
        let inside = Route {
            dst: ends.ip(ends.net([10, 0, 1, 0], 2)),
            plen: if ends.v6 { 64 } else { 24 },
            gateway: None,
            src: None,
            port: PortId(1),
            mtu: 1500,
        };
        let outside = Route {
            dst: self.ip(self.net([11, 0, 0, 0], 0xc)),
            plen: if self.v6 { 64 } else { 8 },
            gateway: Some(self.ip(self.gateway())),
            port: PortId(0),
            ..inside
        };
        let mut snapshot = Snapshot {
            epoch,
            ports: vec![port(0, &[vip], false), port(1, &laddrs, true)].into(),
            locals: locals.into_iter().collect(),
            fib: Arc::new(Fib::new(&[inside, outside])),
            settings: Arc::new(settings),
            ..Snapshot::default()
        };
        snapshot.services.insert(Arc::new(Service {
            laddrs: laddrs
                .iter()
                .map(|&addr| Laddr {
                    addr,
                    port: PortId(1),
                })
                .collect(),
            ..self.service(0, VPORT)
        }));
        snapshot
    }

    /// A service nobody asks for, one of many.
    pub(crate) fn idle_service(self, i: u32) -> Arc<Service> {
        Arc::new(self.service(1 + i, 10_000 + (i % 50_000) as u16))
    }

    /// A service without local addresses.
    fn service(self, id: u32, port: u16) -> Service {
        Service {
            id: ServiceId(id),
            uid: 1 + u64::from(id),
            version: 1,
            key: ServiceKey {
                proto: if self.tcp { 6 } else { 17 },
                addr: self.ip(self.vip()),
                port,
            },
            sched: SchedKind::Wrr,
            proxy: None,
            matching: (self.mode == Mode::Snat).then(|| Matching {
                iif: Some(PortId(0)),
                ..Matching::default()
            }),
            conn_timeout: 0,
            expire_quiescent: false,
            synproxy: self.synproxy,
            syns: Arc::default(),
            dests: match self.mode {
                Mode::Snat => (0..LADDRS).map(|i| self.dest(i, self.laddr(i))).collect(),
                _ => (0..SERVERS).map(|i| self.dest(i, self.server(i))).collect(),
            },
            laddrs: Arc::default(),
            policy: Policy::default(),
        }
    }

    fn dest(self, i: u8, addr: u128) -> Dest {
        let port = if self.mode == Mode::Snat { 0 } else { VPORT };
        Dest {
            mode: self.mode.of_dest(),
            ..Dest::new(DestId(i.into()), self.inside().ip(addr), port)
        }
    }
}

/// Has the worker forward by a snapshot.
pub(crate) fn install<I: Io<Frame = Slot>>(
    worker: &mut Worker<Slot>,
    snapshot: Arc<Snapshot>,
    now: Now,
    io: &mut I,
) {
    let removed = vec![];
    worker.handle(ToWorker::Install { snapshot, removed }, now, io);
}

/// Configuration of worker `id` of `workers` with room for so many connections.
pub(crate) fn conf(id: u8, workers: u8, conns: usize) -> WorkerConf {
    WorkerConf {
        id: WorkerId(id),
        workers,
        conns,
        seed: [
            0x243f_6a88_85a3_08d3,
            0x1319_8a2e_0370_7344,
            0xa409_3822,
            u64::from(id),
        ],
    }
}
