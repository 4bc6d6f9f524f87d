//! A worker on a bench: heap frames in, frames and counters out, time by hand.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::wrong_self_convention)]

pub mod frames;

use std::net::IpAddr;
use std::sync::Arc;

use dpvs_core::frame::{Frame, HeapFrame, Io, Now, PortId, WorkerId, empty_burst};
use dpvs_core::inet::route::{Fib, Route};
use dpvs_core::message::{FromWorker, Query, Reply, ToWorker};
use dpvs_core::service::{Dest, DestId, Laddr, Policy, SchedKind, Service, ServiceId, ServiceKey};
use dpvs_core::snapshot::{Local, Locals, Port, PortAddr, Settings, Snapshot};
use dpvs_core::worker::{Worker, WorkerConf};

/// Collects what a worker sends.
#[derive(Default)]
pub struct Sink {
    pub sent: Vec<(PortId, Vec<u8>)>,
    pub host: Vec<(PortId, Vec<u8>)>,
    pub handed: Vec<(WorkerId, PortId, Vec<u8>)>,
    pub events: Vec<FromWorker>,
    pub empty: bool,
}

impl Io for Sink {
    type Frame = HeapFrame;
    fn alloc(&mut self) -> Option<HeapFrame> {
        (!self.empty).then(|| HeapFrame::new(&[]))
    }
    fn send(&mut self, port: PortId, frame: HeapFrame) {
        self.sent.push((port, frame.data().to_vec()));
    }
    fn to_host(&mut self, port: PortId, frame: HeapFrame) {
        self.host.push((port, frame.data().to_vec()));
    }
    fn hand_over(&mut self, worker: WorkerId, port: PortId, frame: HeapFrame) {
        self.handed.push((worker, port, frame.data().to_vec()));
    }
    fn report(&mut self, event: FromWorker) {
        self.events.push(event);
    }
}

pub const MAC0: [u8; 6] = [2, 0, 0, 0, 0, 0x10];
pub const MAC1: [u8; 6] = [2, 0, 0, 0, 0, 0x11];
pub const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xc1];
pub const RS_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xd1];

pub fn ip(s: &str) -> IpAddr {
    s.parse().unwrap()
}

/// A two-armed director: port 0 outside (192.0.2.0/24, 2001:db8:1::/64), port 1
/// inside (10.0.1.0/24, 2001:db8:2::/64).
pub struct Bench {
    pub worker: Worker<HeapFrame>,
    pub io: Sink,
    pub now: Now,
    pub snap: Snapshot,
}

pub fn snapshot(services: Vec<Service>) -> Snapshot {
    let port = |name: &str, mac, addrs: &[(&str, u8, bool)]| Port {
        name: name.into(),
        mac,
        mtu: 1500,
        has_host: true,
        addrs: addrs
            .iter()
            .map(|(a, plen, sapool)| PortAddr {
                addr: ip(a),
                plen: *plen,
                sapool: *sapool,
            })
            .collect(),
        ..Port::default()
    };
    let ports = vec![
        port(
            "dpdk0",
            MAC0,
            &[
                ("192.0.2.1", 24, false),
                ("192.0.2.10", 32, false),
                ("2001:db8:1::1", 64, false),
            ],
        ),
        port(
            "dpdk1",
            MAC1,
            &[
                ("10.0.1.1", 24, false),
                ("10.0.1.200", 32, true),
                ("2001:db8:2::1", 64, false),
                ("2001:db8:2::200", 128, true),
            ],
        ),
    ];
    let mut locals = Locals::default();
    let mut routes = Vec::new();
    for (i, p) in ports.iter().enumerate() {
        let port = PortId(i as u16);
        for a in &p.addrs {
            locals.insert(
                a.addr,
                Local::Own {
                    port,
                    sapool: a.sapool,
                },
            );
            routes.push(Route {
                dst: a.addr,
                plen: a.plen,
                gateway: None,
                src: Some(a.addr),
                port,
                mtu: p.mtu,
            });
        }
    }
    locals.insert(ip("192.0.2.2"), Local::Host { port: PortId(0) });
    let mut snap = Snapshot {
        epoch: 1,
        ports: ports.into(),
        locals,
        fib: Arc::new(Fib::new(&routes)),
        ..Snapshot::default()
    };
    for s in services {
        snap.services.insert(Arc::new(s));
    }
    snap
}

/// A FullNAT service with servers 10.0.1.11.. or 2001:db8:2::11.. on the given port.
pub fn service(proto: u8, vip: &str, vport: u16, servers: u32, rport: u16) -> Service {
    let vip = ip(vip);
    let v4 = vip.is_ipv4();
    let dests: Vec<Dest> = (0..servers)
        .map(|i| {
            Dest::new(
                DestId(i),
                if v4 {
                    ip(&format!("10.0.1.{}", 11 + i))
                } else {
                    ip(&format!("2001:db8:2::{:x}", 0x11 + i))
                },
                rport,
            )
        })
        .collect();
    let laddr = if v4 {
        ip("10.0.1.200")
    } else {
        ip("2001:db8:2::200")
    };
    Service {
        id: ServiceId(0),
        uid: 1,
        version: 1,
        key: ServiceKey {
            proto,
            addr: vip,
            port: vport,
        },
        sched: SchedKind::Rr,
        proxy: None,
        matching: None,
        conn_timeout: 0,
        expire_quiescent: false,
        synproxy: false,
        syns: Arc::default(),
        dests: dests.into(),
        laddrs: vec![Laddr {
            addr: laddr,
            port: PortId(1),
        }]
        .into(),
        policy: Policy::default(),
    }
}

impl Bench {
    pub fn new(snap: Snapshot) -> Self {
        Self::with_workers(snap, 0, 1)
    }

    pub fn with_workers(snap: Snapshot, id: u8, workers: u8) -> Self {
        let now = Now(1_000_000);
        let conf = WorkerConf {
            id: WorkerId(id),
            workers,
            conns: 10_000,
            seed: [11, 22, 33, 44],
        };
        let mut bench = Self {
            worker: Worker::new(conf, now),
            io: Sink::default(),
            now,
            snap: snap.clone(),
        };
        bench.install(snap);
        for i in 11..20u32 {
            bench.neigh(1, &format!("10.0.1.{i}"), RS_MAC);
            bench.neigh(1, &format!("2001:db8:2::{i}"), RS_MAC);
        }
        bench.io.events.clear();
        bench
    }

    pub fn install(&mut self, mut snap: Snapshot) {
        snap.epoch = self.snap.epoch + 1;
        self.snap = snap.clone();
        self.handle(ToWorker::Install {
            snapshot: Arc::new(snap),
            removed: Vec::new(),
        });
    }

    pub fn neigh(&mut self, port: u16, addr: &str, mac: [u8; 6]) {
        self.handle(ToWorker::NeighAdd {
            port: PortId(port),
            addr: ip(addr),
            mac,
        });
    }

    pub fn handle(&mut self, message: ToWorker) {
        self.worker.handle(message, self.now, &mut self.io);
    }

    /// Sends frames in as one burst and returns what was sent.
    pub fn burst(&mut self, port: u16, frames: &[&[u8]]) -> Vec<(PortId, Vec<u8>)> {
        let mut burst = empty_burst();
        for (slot, bytes) in burst.iter_mut().zip(frames) {
            *slot = Some(HeapFrame::new(bytes));
        }
        self.worker.process(
            PortId(port),
            &mut burst,
            frames.len(),
            self.now,
            &mut self.io,
        );
        assert!(burst.iter().all(Option::is_none), "a burst is taken whole");
        std::mem::take(&mut self.io.sent)
    }

    /// One frame in, the one frame that comes out.
    pub fn one(&mut self, port: u16, frame: &[u8]) -> Option<Vec<u8>> {
        let mut out = self.burst(port, &[frame]);
        assert!(out.len() <= 1, "more than one frame came out");
        out.pop().map(|(_, f)| f)
    }

    pub fn pass(&mut self, millis: u64) {
        let end = self.now.0 + millis * 1000;
        while self.now.0 < end {
            self.now.0 = (self.now.0 + 20_000).min(end);
            self.worker.tick(self.now, &mut self.io);
        }
    }

    pub fn query(&mut self, query: Query) -> Reply {
        self.handle(ToWorker::Query { token: 7, query });
        let found = self
            .io
            .events
            .iter()
            .rposition(|e| matches!(e, FromWorker::Reply { .. }));
        match self.io.events.remove(found.unwrap()) {
            FromWorker::Reply { reply, .. } => reply,
            _ => unreachable!(),
        }
    }

    pub fn settings(&mut self, change: impl FnOnce(&mut Settings)) {
        let mut settings = (*self.snap.settings).clone();
        change(&mut settings);
        let mut snap = self.snap.clone();
        snap.settings = Arc::new(settings);
        self.install(snap);
    }
}

/// A TCP segment or UDP datagram on its way.
#[derive(Clone, Debug)]
pub struct Packet {
    pub macs: ([u8; 6], [u8; 6]),
    pub src: (IpAddr, u16),
    pub dst: (IpAddr, u16),
    pub proto: u8,
    pub flags: u8,
    pub seq: u32,
    pub ack: u32,
    pub options: Vec<u8>,
    pub payload: Vec<u8>,
    pub ttl: u8,
    pub df: bool,
}

/// The 16-bit words of that, not folded.
pub fn sum(bytes: &[u8]) -> u32 {
    bytes
        .chunks(2)
        .map(|c| u32::from(c[0]) << 8 | u32::from(*c.get(1).unwrap_or(&0)))
        .sum()
}

pub fn fold(mut s: u32) -> u16 {
    while s > 0xffff {
        s = (s & 0xffff) + (s >> 16);
    }
    s as u16
}

fn octets(a: IpAddr) -> Vec<u8> {
    match a {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

/// The transport checksum computed the plain way; 0xffff folded means right.
fn l4_sum(src: IpAddr, dst: IpAddr, proto: u8, l4: &[u8]) -> u16 {
    fold(sum(&octets(src)) + sum(&octets(dst)) + u32::from(proto) + l4.len() as u32 + sum(l4))
}

pub fn udp(src: (&str, u16), dst: (&str, u16), payload: &[u8]) -> Packet {
    Packet {
        macs: (MAC0, CLIENT_MAC),
        src: (ip(src.0), src.1),
        dst: (ip(dst.0), dst.1),
        proto: 17,
        flags: 0,
        seq: 0,
        ack: 0,
        options: vec![],
        payload: payload.to_vec(),
        ttl: 64,
        df: true,
    }
}

pub fn tcp(src: (&str, u16), dst: (&str, u16), flags: u8, seq: u32, ack: u32) -> Packet {
    Packet {
        proto: 6,
        flags,
        seq,
        ack,
        ..udp(src, dst, &[])
    }
}

impl Packet {
    /// As sent by a server: to the inside port.
    pub fn from_rs(mut self) -> Self {
        self.macs = (MAC1, RS_MAC);
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut l4 = Vec::new();
        l4.extend(self.src.1.to_be_bytes());
        l4.extend(self.dst.1.to_be_bytes());
        if self.proto == 6 {
            l4.extend(self.seq.to_be_bytes());
            l4.extend(self.ack.to_be_bytes());
            l4.push(((20 + self.options.len()) / 4 * 16) as u8);
            l4.push(self.flags);
            l4.extend([0x20, 0, 0, 0, 0, 0]);
            l4.extend(&self.options);
        } else {
            l4.extend(((8 + self.payload.len()) as u16).to_be_bytes());
            l4.extend([0, 0]);
        }
        l4.extend(&self.payload);
        let c = !l4_sum(self.src.0, self.dst.0, self.proto, &l4);
        let at = if self.proto == 6 { 16 } else { 6 };
        l4[at..at + 2].copy_from_slice(&c.to_be_bytes());
        let mut out = Vec::new();
        out.extend(self.macs.0);
        out.extend(self.macs.1);
        if self.src.0.is_ipv4() {
            out.extend([8, 0]);
            let mut h = vec![0x45, 0];
            h.extend(((20 + l4.len()) as u16).to_be_bytes());
            h.extend([
                0x12,
                0x34,
                if self.df { 0x40 } else { 0 },
                0,
                self.ttl,
                self.proto,
                0,
                0,
            ]);
            h.extend(octets(self.src.0));
            h.extend(octets(self.dst.0));
            let c = !fold(sum(&h));
            h[10..12].copy_from_slice(&c.to_be_bytes());
            out.extend(h);
        } else {
            out.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            out.extend((l4.len() as u16).to_be_bytes());
            out.extend([self.proto, self.ttl]);
            out.extend(octets(self.src.0));
            out.extend(octets(self.dst.0));
        }
        out.extend(l4);
        out
    }

    /// Reads a frame and checks every checksum and length in it.
    pub fn read(frame: &[u8]) -> Self {
        let v4 = frame[12..14] == [8, 0];
        let (src, dst, proto, ttl, df, l4) = if v4 {
            let ihl = usize::from(frame[14] & 15) * 4;
            assert_eq!(
                fold(sum(&frame[14..14 + ihl])),
                0xffff,
                "IPv4 header checksum"
            );
            let len = usize::from(frame[16]) << 8 | usize::from(frame[17]);
            assert_eq!(frame.len(), 14 + len, "IPv4 length");
            let a = |o: usize| IpAddr::from(<[u8; 4]>::try_from(&frame[o..o + 4]).unwrap());
            (
                a(26),
                a(30),
                frame[23],
                frame[22],
                frame[20] & 0x40 != 0,
                &frame[14 + ihl..],
            )
        } else {
            assert_eq!(frame[12..14], [0x86, 0xdd]);
            let len = usize::from(frame[18]) << 8 | usize::from(frame[19]);
            assert_eq!(frame.len(), 54 + len, "IPv6 length");
            let a = |o: usize| IpAddr::from(<[u8; 16]>::try_from(&frame[o..o + 16]).unwrap());
            (a(22), a(38), frame[20], frame[21], true, &frame[54..])
        };
        let no_sum = proto == 17 && l4[6..8] == [0, 0];
        if !no_sum {
            assert_eq!(l4_sum(src, dst, proto, l4), 0xffff, "transport checksum");
        }
        let p = |o: usize| u16::from_be_bytes([l4[o], l4[o + 1]]);
        let w = |o: usize| u32::from_be_bytes(l4[o..o + 4].try_into().unwrap());
        let mut packet = Self {
            macs: (
                frame[..6].try_into().unwrap(),
                frame[6..12].try_into().unwrap(),
            ),
            src: (src, p(0)),
            dst: (dst, p(2)),
            proto,
            flags: 0,
            seq: 0,
            ack: 0,
            options: vec![],
            payload: vec![],
            ttl,
            df,
        };
        if proto == 6 {
            let header = usize::from(l4[12] >> 4) * 4;
            packet.seq = w(4);
            packet.ack = w(8);
            packet.flags = l4[13];
            packet.options = l4[20..header].to_vec();
            packet.payload = l4[header..].to_vec();
        } else {
            assert_eq!(usize::from(p(4)), l4.len(), "UDP length");
            packet.payload = l4[8..].to_vec();
        }
        packet
    }
}
