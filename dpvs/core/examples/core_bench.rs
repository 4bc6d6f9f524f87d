//! The forwarding logic alone, on heap frames: nanoseconds a packet through
//! `Worker::process` with a given number of connections, without EAL or driver.
//!
//!     core_bench FLOWS [udp|tcp] [4|6] [SECONDS]
//!
//! Prints one JSON line: set-up rate (every packet a new flow), then the
//! established rate with flows met in random order. Time is what passes inside
//! `process` and `tick`; making the frames is not counted.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dpvs_core::frame::{BURST, Burst, Frame, Io, Now, PortId, WorkerId, empty_burst};
use dpvs_core::inet::route::{Fib, Route};
use dpvs_core::message::{FromWorker, ToWorker};
use dpvs_core::service::{Dest, DestId, FwdMode, Laddr, SchedKind, Service, ServiceId, ServiceKey};
use dpvs_core::snapshot::{Local, Port, PortAddr, Snapshot};
use dpvs_core::worker::{Worker, WorkerConf};

const HEADROOM: usize = 128;
const ROOM: usize = 2048;

/// A frame in a slot of its own, like an mbuf's data room.
struct Slot {
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

struct Pool {
    free: Vec<Slot>,
    sent: u64,
}

impl Pool {
    fn take(&mut self) -> Slot {
        let mut s = self.free.pop().unwrap();
        s.start = HEADROOM;
        s.end = HEADROOM;
        s
    }
}

impl Io for Pool {
    type Frame = Slot;
    fn alloc(&mut self) -> Option<Slot> {
        Some(self.take())
    }
    #[inline(always)]
    fn send(&mut self, _: PortId, frame: Slot) {
        self.sent += 1;
        self.free.push(frame);
    }
    fn to_host(&mut self, _: PortId, frame: Slot) {
        self.free.push(frame);
    }
    fn hand_over(&mut self, _: WorkerId, _: PortId, frame: Slot) {
        self.free.push(frame);
    }
    fn report(&mut self, _: FromWorker) {}
}

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

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

/// A 60-byte (IPv4) or 66/74-byte (IPv6) frame of flow `n`; `flags` for TCP.
fn write(frame: &mut Slot, v6: bool, tcp: bool, flags: u8, n: u32) {
    let l4 = if tcp { 20 } else { 8 };
    let (ip, len) = if v6 { (40, 54 + l4.max(12)) } else { (20, 60) };
    frame.end = frame.start + len;
    let b = frame.data_mut();
    b.fill(0);
    b[..6].copy_from_slice(&MAC);
    b[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 2]);
    let client = 0x0b00_0000 + (n >> 6);
    let cport = 1024 + (n & 63) as u16;
    if v6 {
        b[12..14].copy_from_slice(&[0x86, 0xdd]);
        b[14] = 0x60;
        b[18..20].copy_from_slice(&((len - 54) as u16).to_be_bytes());
        b[20] = if tcp { 6 } else { 17 };
        b[21] = 64;
        b[22..26].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
        b[34..38].copy_from_slice(&client.to_be_bytes());
        b[38..54].copy_from_slice(&vip6().octets());
    } else {
        b[12..14].copy_from_slice(&[8, 0]);
        b[14] = 0x45;
        b[16..18].copy_from_slice(&((len - 14) as u16).to_be_bytes());
        b[20] = 0x40;
        b[22] = 64;
        b[23] = if tcp { 6 } else { 17 };
        b[26..30].copy_from_slice(&client.to_be_bytes());
        b[30..34].copy_from_slice(&[192, 0, 2, 10]);
        let c = !sum(&b[14..34]);
        b[24..26].copy_from_slice(&c.to_be_bytes());
    }
    let o = 14 + ip;
    b[o..o + 2].copy_from_slice(&cport.to_be_bytes());
    b[o + 2..o + 4].copy_from_slice(&80u16.to_be_bytes());
    if tcp {
        b[o + 4..o + 8].copy_from_slice(&1u32.to_be_bytes());
        b[o + 12] = 0x50;
        b[o + 13] = flags;
        b[o + 16..o + 18].copy_from_slice(&[0x12, 0x34]);
    } else {
        let udp_len = (len - o) as u16;
        b[o + 4..o + 6].copy_from_slice(&udp_len.to_be_bytes());
        b[o + 6..o + 8].copy_from_slice(&[0x12, 0x34]);
    }
}

fn vip6() -> Ipv6Addr {
    "2001:db8:1::10".parse().unwrap()
}

fn snapshot(v6: bool, tcp: bool) -> Snapshot {
    let laddrs: Vec<IpAddr> = (0..32u8)
        .map(|i| {
            if v6 {
                IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 1, i.into()))
            } else {
                IpAddr::V4(Ipv4Addr::new(10, 0, 1, 200 + i))
            }
        })
        .collect();
    let vip = if v6 {
        IpAddr::V6(vip6())
    } else {
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10))
    };
    let port = |name: &str, mac, addrs: &[IpAddr], sapool| Port {
        name: name.into(),
        mac,
        mtu: 1500,
        addrs: addrs
            .iter()
            .map(|&addr| PortAddr {
                addr,
                plen: 32,
                sapool,
            })
            .collect(),
        ..Port::default()
    };
    let ports = vec![
        port("dpdk0", MAC, &[vip], false),
        port("dpdk1", [2, 0, 0, 0, 0, 9], &laddrs, true),
    ];
    let mut locals = HashMap::new();
    locals.insert(
        vip,
        Local::Own {
            port: PortId(0),
            sapool: false,
        },
    );
    for &l in &laddrs {
        locals.insert(
            l,
            Local::Own {
                port: PortId(1),
                sapool: true,
            },
        );
    }
    let inside: (IpAddr, u8) = if v6 {
        ("2001:db8:2::".parse().unwrap(), 64)
    } else {
        ("10.0.1.0".parse().unwrap(), 24)
    };
    let route = Route {
        dst: inside.0,
        plen: inside.1,
        gateway: None,
        src: None,
        port: PortId(1),
        mtu: 1500,
    };
    let mut snap = Snapshot {
        epoch: 1,
        ports: ports.into(),
        locals: Arc::new(locals),
        fib: Arc::new(Fib::new(&[route])),
        ..Snapshot::default()
    };
    let dests: Vec<Dest> = (0..16u32)
        .map(|i| Dest {
            id: DestId(i),
            addr: server(v6, i),
            port: 80,
            weight: 1,
            mode: FwdMode::FullNat,
            max_conn: 0,
            inhibited: false,
        })
        .collect();
    let proto = if tcp { 6 } else { 17 };
    snap.services.insert(Arc::new(Service {
        id: ServiceId(0),
        uid: 1,
        version: 1,
        key: ServiceKey {
            proto,
            addr: vip,
            port: 80,
        },
        sched: SchedKind::Wrr,
        conn_timeout: 3600,
        expire_quiescent: false,
        dests: dests.into(),
        laddrs: laddrs
            .iter()
            .map(|&addr| Laddr {
                addr,
                port: PortId(1),
            })
            .collect(),
    }));
    snap
}

fn server(v6: bool, i: u32) -> IpAddr {
    if v6 {
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x11 + i as u16))
    } else {
        IpAddr::V4(Ipv4Addr::new(10, 0, 1, 11 + i as u8))
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let arg = |i: usize, d: &str| args.get(i).cloned().unwrap_or_else(|| d.into());
    let flows: u32 = arg(0, "100000").parse().unwrap();
    let tcp = arg(1, "udp") == "tcp";
    let v6 = arg(2, "4") == "6";
    let seconds: f64 = arg(3, "2").parse().unwrap();
    let start = Instant::now();
    let now = || Now(start.elapsed().as_micros() as u64 + 1_000_000);
    let conf = WorkerConf {
        id: WorkerId(0),
        workers: 1,
        conns: flows as usize + 16,
        seed: [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
    };
    let mut worker: Worker<Slot> = Worker::new(conf, now());
    let free = (0..4096)
        .map(|_| Slot {
            buf: Box::new([0; ROOM]),
            start: HEADROOM,
            end: HEADROOM,
        })
        .collect();
    let mut io = Pool { free, sent: 0 };
    let snapshot = Arc::new(snapshot(v6, tcp));
    worker.handle(
        ToWorker::Install {
            snapshot,
            removed: vec![],
        },
        now(),
        &mut io,
    );
    for i in 0..16 {
        let (port, addr, mac) = (PortId(1), server(v6, i), [2, 0, 0, 0, 1, i as u8]);
        worker.handle(ToWorker::NeighAdd { port, addr, mac }, now(), &mut io);
    }

    let mut burst: Burst<Slot> = empty_burst();
    let mut run = |next: &mut dyn FnMut() -> u32, flags: u8, packets: u64, limit: Duration| {
        let (mut spent, mut done) = (Duration::ZERO, 0u64);
        io.sent = 0;
        while done < packets && spent < limit {
            for slot in &mut burst {
                let mut frame = io.take();
                write(&mut frame, v6, tcp, flags, next());
                *slot = Some(frame);
            }
            let t = now();
            let begin = Instant::now();
            worker.process(PortId(0), &mut burst, BURST, t, &mut io);
            worker.tick(t, &mut io);
            spent += begin.elapsed();
            done += BURST as u64;
        }
        assert_eq!(io.sent, done, "every packet is sent");
        spent.as_nanos() as f64 / done as f64
    };

    let mut n = 0u32;
    let mut in_order = || {
        n = (n + 1) % flows;
        n
    };
    let syn = if tcp { 2 } else { 0 };
    let setup = run(
        &mut in_order,
        syn,
        u64::from(flows).next_multiple_of(BURST as u64),
        Duration::MAX,
    );
    if tcp {
        // An acknowledgement makes them all established.
        run(
            &mut in_order,
            16,
            u64::from(flows).next_multiple_of(BURST as u64),
            Duration::MAX,
        );
    }
    let mut x = 0x9e37_79b9u32;
    let mut random = || {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        ((u64::from(x) * u64::from(flows)) >> 32) as u32
    };
    let limit = Duration::from_secs_f64(seconds);
    let ns = run(&mut random, 16, u64::MAX, limit);
    println!(
        "{{\"bench\":\"core\",\"proto\":\"{}\",\"af\":{},\"flows\":{flows},\"ns_per_packet\":{ns:.1},\"mpps\":{:.2},\"setup_ns_per_flow\":{setup:.1},\"conns\":{},\"table_bytes_per_conn\":{:.1}}}",
        if tcp { "tcp" } else { "udp" },
        if v6 { 6 } else { 4 },
        1000.0 / ns,
        worker.conns(),
        worker.table_bytes() as f64 / f64::from(flows),
    );
}
