//! What the benchmarks of the core stand on: frames in slots like mbufs, an `Io`
//! that keeps what is sent, one service with sixteen servers, and the frames of
//! numbered flows. Knows nothing of the clock and measures nothing.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use dpvs_core::frame::{Frame, Io, Now, PortId, WorkerId};
use dpvs_core::inet::route::{Fib, Route};
use dpvs_core::message::{FromWorker, ToWorker};
use dpvs_core::service::{Dest, DestId, FwdMode, Laddr, SchedKind, Service, ServiceId, ServiceKey};
use dpvs_core::snapshot::{Local, Port, PortAddr, Snapshot};
use dpvs_core::worker::{Worker, WorkerConf};

const HEADROOM: usize = 128;
const ROOM: usize = 2048;

/// A frame in a slot of its own, like an mbuf's data room.
pub struct Slot {
    buf: Box<[u8; ROOM]>,
    start: usize,
    end: usize,
}

impl Frame for Slot {
    #[inline(always)]
    fn data(&self) -> &[u8] {
        &self.buf[self.start..self.end]
    }
    #[inline(always)]
    fn data_mut(&mut self) -> &mut [u8] {
        &mut self.buf[self.start..self.end]
    }
    #[inline(always)]
    fn total_len(&self) -> usize {
        self.end - self.start
    }
    fn push_front(&mut self, n: usize) -> bool {
        self.start.checked_sub(n).map(|s| self.start = s).is_some()
    }
    fn pull_front(&mut self, n: usize) -> bool {
        self.start += n;
        true
    }
    fn push_back(&mut self, n: usize) -> bool {
        self.end += n;
        self.end <= ROOM
    }
    fn truncate(&mut self, len: usize) {
        self.end = self.end.min(self.start + len);
    }
}

/// Frames to be had, and those that were sent, in order.
pub struct Pool {
    free: Vec<Slot>,
    pub sent: Vec<Slot>,
}

impl Pool {
    pub fn new() -> Self {
        let free = (0..1024)
            .map(|_| Slot {
                buf: Box::new([0; ROOM]),
                start: HEADROOM,
                end: HEADROOM,
            })
            .collect();
        Self {
            free,
            sent: Vec::with_capacity(1024),
        }
    }

    pub fn take(&mut self) -> Slot {
        let mut s = self.free.pop().unwrap();
        s.start = HEADROOM;
        s.end = HEADROOM;
        s
    }

    /// What was sent may be used again.
    pub fn recycle(&mut self) {
        self.free.append(&mut self.sent);
    }
}

impl Io for Pool {
    type Frame = Slot;
    fn alloc(&mut self) -> Option<Slot> {
        if self.free.is_empty() {
            self.recycle();
        }
        Some(self.take())
    }
    #[inline(always)]
    fn send(&mut self, _: PortId, frame: Slot) {
        self.sent.push(frame);
    }
    fn to_host(&mut self, _: PortId, frame: Slot) {
        self.free.push(frame);
    }
    fn hand_over(&mut self, _: WorkerId, _: PortId, frame: Slot) {
        self.free.push(frame);
    }
    fn report(&mut self, _: FromWorker) {}
}

const MAC_OUT: [u8; 6] = [2, 0, 0, 0, 0, 1];
const MAC_IN: [u8; 6] = [2, 0, 0, 0, 0, 9];
const SERVERS: u32 = 16;
const LADDRS: u8 = 64;

fn sum(bytes: &[u8]) -> u16 {
    let mut s: u32 = bytes
        .chunks(2)
        .map(|c| u32::from(c[0]) << 8 | u32::from(c[1]))
        .sum();
    while s > 0xffff {
        s = (s & 0xffff) + (s >> 16);
    }
    s as u16
}

/// IPv4 addresses and ports of a packet, in host order.
#[derive(Clone, Copy, Default)]
pub struct Ends {
    pub src: u32,
    pub dst: u32,
    pub sport: u16,
    pub dport: u16,
}

impl Ends {
    /// Client to service.
    pub fn client(n: u32) -> Self {
        Self {
            src: 0x0b00_0000 + (n >> 6),
            dst: 0xc000_020a,
            sport: 1024 + (n & 63) as u16,
            dport: 80,
        }
    }

    /// The answer to a frame that was forwarded.
    pub fn answer_to(frame: &Slot) -> Self {
        let b = frame.data();
        let w = |o: usize| u32::from_be_bytes(b[o..o + 4].try_into().unwrap());
        let h = |o: usize| u16::from_be_bytes(b[o..o + 2].try_into().unwrap());
        Self {
            src: w(30),
            dst: w(26),
            sport: h(36),
            dport: h(34),
        }
    }
}

/// A 60-byte IPv4 frame; `flags` for TCP, `None` for UDP. `inside`: comes in on
/// the servers' port.
pub fn write(frame: &mut Slot, ends: Ends, flags: Option<u8>, inside: bool) {
    frame.end = frame.start + 60;
    let b = frame.data_mut();
    b.fill(0);
    b[..6].copy_from_slice(if inside { &MAC_IN } else { &MAC_OUT });
    b[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 2]);
    b[12..14].copy_from_slice(&[8, 0]);
    b[14] = 0x45;
    b[16..18].copy_from_slice(&46u16.to_be_bytes());
    b[20] = 0x40;
    b[22] = 64;
    b[23] = if flags.is_some() { 6 } else { 17 };
    b[26..30].copy_from_slice(&ends.src.to_be_bytes());
    b[30..34].copy_from_slice(&ends.dst.to_be_bytes());
    let c = !sum(&b[14..34]);
    b[24..26].copy_from_slice(&c.to_be_bytes());
    b[34..36].copy_from_slice(&ends.sport.to_be_bytes());
    b[36..38].copy_from_slice(&ends.dport.to_be_bytes());
    if let Some(flags) = flags {
        b[38..42].copy_from_slice(&1u32.to_be_bytes());
        b[46] = 0x50;
        b[47] = flags;
        b[50..52].copy_from_slice(&[0x12, 0x34]);
    } else {
        b[38..40].copy_from_slice(&26u16.to_be_bytes());
        b[40..42].copy_from_slice(&[0x12, 0x34]);
    }
}

fn server(i: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 1, 11 + i as u8))
}

/// A worker with one service of that protocol, its servers' neighbours known.
pub fn worker(
    conns: usize,
    tcp: bool,
    sched: SchedKind,
    conn_timeout: u32,
    io: &mut Pool,
) -> Worker<Slot> {
    let laddrs: Vec<IpAddr> = (0..LADDRS)
        .map(|i| IpAddr::V4(Ipv4Addr::new(10, 0, 2, i)))
        .collect();
    let vip = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10));
    let port = |name: &str, mac, addrs: &[IpAddr], sapool| Port {
        name: name.into(),
        mac,
        mtu: 1500,
        addrs: addrs
            .iter()
            .map(|&addr| PortAddr {
                addr,
                plen: 16,
                sapool,
            })
            .collect(),
        ..Port::default()
    };
    let ports = vec![
        port("dpdk0", MAC_OUT, &[vip], false),
        port("dpdk1", MAC_IN, &laddrs, true),
    ];
    let own = |port, sapool| Local::Own {
        port: PortId(port),
        sapool,
    };
    let mut locals = vec![(vip, own(0, false))];
    locals.extend(laddrs.iter().map(|&l| (l, own(1, true))));
    let route = Route {
        dst: "10.0.0.0".parse().unwrap(),
        plen: 16,
        gateway: None,
        src: None,
        port: PortId(1),
        mtu: 1500,
    };
    let mut snap = Snapshot {
        epoch: 1,
        ports: ports.into(),
        locals: locals.into_iter().collect(),
        fib: Arc::new(Fib::new(&[route])),
        ..Snapshot::default()
    };
    snap.services.insert(Arc::new(Service {
        id: ServiceId(0),
        uid: 1,
        version: 1,
        key: ServiceKey {
            proto: if tcp { 6 } else { 17 },
            addr: vip,
            port: 80,
        },
        sched,
        conn_timeout,
        expire_quiescent: false,
        dests: (0..SERVERS)
            .map(|i| Dest {
                id: DestId(i),
                addr: server(i),
                port: 80,
                weight: 1,
                mode: FwdMode::FullNat,
                max_conn: 0,
                inhibited: false,
            })
            .collect(),
        laddrs: laddrs
            .iter()
            .map(|&addr| Laddr {
                addr,
                port: PortId(1),
            })
            .collect(),
    }));
    let conf = WorkerConf {
        id: WorkerId(0),
        workers: 1,
        conns,
        seed: [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
    };
    let start = Now(1_000_000);
    let mut worker = Worker::new(conf, start);
    let snapshot = Arc::new(snap);
    let removed = vec![];
    worker.handle(ToWorker::Install { snapshot, removed }, start, io);
    for i in 0..SERVERS {
        let (port, addr, mac) = (PortId(1), server(i), [2, 0, 0, 0, 1, i as u8]);
        worker.handle(ToWorker::NeighAdd { port, addr, mac }, start, io);
    }
    worker
}
