//! Eight workers behind model NICs, in one thread: each frame goes to the worker
//! whose queue the NIC would put it on. Replies reach the worker that owns the
//! connection: by matched ports or flow rules without any handing over, and
//! without the NIC's help by handing over, once, and right.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashMap;
use std::sync::Arc;

use dpvs_core::frame::{HeapFrame, PortId, WorkerId, empty_burst};
use dpvs_core::rss::{DEFAULT_KEY, Hashed, Nic, Returns, Toeplitz};
use dpvs_core::snapshot::Snapshot;
use support::frames::frag_needed;
use support::{
    Bench, CLIENT_MAC, MAC0, MAC1, Packet, RS_MAC, fold, ip, service, snapshot, sum, tcp, udp,
};

const SYN: u8 = 2;
const ACK: u8 = 16;
const FIN: u8 = 1;

/// What a NIC hashes; addresses of everything.
fn hashed(udp: bool) -> Hashed {
    Hashed {
        ip: [true; 2],
        tcp: [true; 2],
        udp: [udp; 2],
    }
}

/// A NIC: a hash, a redirection table, and perhaps rules.
struct Wire {
    toeplitz: Toeplitz,
    hashed: Hashed,
    table: Vec<u8>,
    /// Local ports of these low bits go to the worker they name.
    rules: Option<u16>,
}

impl Wire {
    fn new(key: &[u8], udp: bool, workers: u8) -> Self {
        Self {
            toeplitz: Toeplitz::new(key).unwrap(),
            hashed: hashed(udp),
            table: (0..128).map(|i| i % workers).collect(),
            rules: None,
        }
    }

    /// The worker that gets a frame, by what is in the frame.
    fn worker(&self, frame: &[u8]) -> u8 {
        let v6 = frame[12..14] == [0x86, 0xdd];
        let (proto, addrs, l4) = if v6 {
            (frame[20], &frame[22..54], 54)
        } else {
            (frame[23], &frame[26..34], 34)
        };
        let local = [10, 0, 1, 200] == addrs[addrs.len() - 4..]
            || addrs.ends_with(&[0x20, 1, 0xd, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0]);
        let dport = u16::from_be_bytes([frame[l4 + 2], frame[l4 + 3]]);
        if let (Some(mask), true, 6 | 17) = (self.rules, local, proto) {
            return (dport & mask) as u8;
        }
        let mut hash = self.toeplitz.part(0, addrs);
        if self.hashed.ports(proto, v6) {
            hash ^= self.toeplitz.part(addrs.len(), &frame[l4..l4 + 4]);
        }
        self.table[hash as usize % self.table.len()]
    }

    /// What its owner tells the workers of it.
    fn told(&self, workers: u8, key: &[u8]) -> Arc<Nic> {
        let table: Vec<_> = self.table.iter().map(|w| Some(WorkerId(*w))).collect();
        Arc::new(Nic::new(key, self.hashed, &table, None, workers).unwrap())
    }
}

struct Cluster {
    workers: Vec<Bench>,
    wires: [Wire; 2],
    handed: usize,
}

impl Cluster {
    fn new(snap: &Snapshot, wires: [Wire; 2], workers: u8) -> Self {
        Self {
            workers: (0..workers)
                .map(|n| Bench::with_workers(snap.clone(), n, workers))
                .collect(),
            wires,
            handed: 0,
        }
    }

    /// A frame off the wire: what leaves, from whatever worker.
    fn send(&mut self, port: u16, frame: &[u8]) -> Vec<Vec<u8>> {
        let first = usize::from(self.wires[usize::from(port)].worker(frame));
        let mut out = self.workers[first].burst(port, &[frame]);
        for (to, port, bytes) in std::mem::take(&mut self.workers[first].io.handed) {
            assert_ne!(usize::from(to.0), first);
            self.handed += 1;
            let b = &mut self.workers[usize::from(to.0)];
            let mut burst = empty_burst();
            burst[0] = Some(HeapFrame::new(&bytes));
            b.worker
                .process_handed(port, &mut burst, 1, b.now, &mut b.io);
            assert!(b.io.handed.is_empty(), "handed over twice");
            out.append(&mut b.io.sent);
        }
        out.into_iter().map(|(_, bytes)| bytes).collect()
    }

    fn one(&mut self, port: u16, frame: &[u8]) -> Vec<u8> {
        let mut out = self.send(port, frame);
        assert_eq!(out.len(), 1, "{out:x?}");
        out.remove(0)
    }

    fn hits(&self) -> Vec<u64> {
        let each = self.workers.iter();
        each.map(|b| b.worker.stats().conns_made).collect()
    }
}

/// A whole conversation; says the packets as the server and the client got them.
fn talk(c: &mut Cluster, proto: u8, vip: &str, client: (&str, u16)) -> (Vec<u8>, Vec<u8>) {
    let vport = if proto == 6 { 80 } else { 53 };
    let request = |flags, seq, ack| {
        if proto == 6 {
            tcp(client, (vip, vport), flags, seq, ack)
        } else {
            udp(client, (vip, vport), b"query")
        }
    };
    let to_server = c.one(0, &request(SYN, 1000, 0).bytes());
    let got = Packet::read(&to_server);
    assert_eq!((got.macs.0, got.dst.1), (RS_MAC, 8080));
    let reply = |flags, seq, ack| {
        let (rs, laddr) = (got.dst.0.to_string(), got.src.0.to_string());
        let (rs, laddr) = ((&*rs, 8080), (&*laddr, got.src.1));
        let reply = if proto == 6 {
            tcp(rs, laddr, flags, seq, ack)
        } else {
            udp(rs, laddr, b"answer")
        };
        reply.from_rs().bytes()
    };
    let to_client = c.one(1, &reply(SYN | ACK, 7, got.seq + 1));
    let answer = Packet::read(&to_client);
    assert_eq!(
        (answer.src, answer.dst, answer.macs.0),
        ((ip(vip), vport), (ip(client.0), client.1), CLIENT_MAC)
    );
    if proto == 6 {
        assert_eq!(answer.ack, 1001);
        for (from_client, flags) in [
            (true, ACK),
            (false, ACK),
            (true, ACK | FIN),
            (false, ACK | FIN),
        ] {
            let out = if from_client {
                c.one(0, &request(flags, 1001, answer.seq + 1).bytes())
            } else {
                c.one(1, &reply(flags, 8, got.seq + 1))
            };
            let p = Packet::read(&out);
            assert_eq!(p.dst.0, if from_client { got.dst.0 } else { ip(client.0) });
        }
    }
    (to_server, to_client)
}

const VIPS: [&str; 2] = ["192.0.2.10", "2001:db8:1::10"];

fn client(vip: &str, i: u16) -> (String, u16) {
    let host = if vip.contains(':') {
        format!("2001:db8:ff::{:x}", i % 7 + 1)
    } else {
        format!("198.51.100.{}", i % 7 + 1)
    };
    (host, 20_000 + i * 31)
}

fn laddr_of(vip: &str) -> std::net::IpAddr {
    ip(if vip.contains(':') {
        "2001:db8:2::200"
    } else {
        "10.0.1.200"
    })
}

/// Runs 60 flows; says how many frames were handed over.
fn flows(c: &mut Cluster, proto: u8, vip: &str) -> usize {
    let before = c.handed;
    for i in 0..60 {
        let (host, port) = client(vip, i);
        talk(c, proto, vip, (&host, port));
    }
    let made = c.hits();
    assert!(made.iter().filter(|n| **n > 0).count() > 1, "{made:?}");
    c.handed - before
}

fn cluster(proto: u8, vip: &str, wires: [Wire; 2], workers: u8, returns: Returns) -> Cluster {
    let vport = if proto == 6 { 80 } else { 53 };
    let mut snap = snapshot(vec![service(proto, vip, vport, 3, 8080)]);
    snap.returns = returns;
    Cluster::new(&snap, wires, workers)
}

const OTHER_KEY: [u8; 40] = {
    let mut key = DEFAULT_KEY;
    let mut i = 0;
    while i < key.len() {
        key[i] = DEFAULT_KEY[(i + 7) % key.len()];
        i += 1;
    }
    key
};

#[test]
fn matched_ports_hand_nothing_over() {
    for workers in [2, 3, 8] {
        for vip in VIPS {
            for proto in [6, 17] {
                // The two NICs hash differently, as two drivers may.
                let wires = [
                    Wire::new(&OTHER_KEY, true, workers),
                    Wire::new(&DEFAULT_KEY, true, workers),
                ];
                let nics = vec![
                    Some(wires[0].told(workers, &OTHER_KEY)),
                    Some(wires[1].told(workers, &DEFAULT_KEY)),
                ];
                let returns = Returns::new(nics, HashMap::from([(laddr_of(vip), PortId(1))]));
                let mut c = cluster(proto, vip, wires, workers, returns);
                assert_eq!(flows(&mut c, proto, vip), 0);
            }
        }
    }
}

#[test]
fn flow_rules_hand_nothing_over() {
    for workers in [3, 8] {
        for vip in VIPS {
            for proto in [6, 17] {
                let mut wires = [DEFAULT_KEY, OTHER_KEY].map(|key| Wire::new(&key, true, workers));
                wires[1].rules = Some(u16::from(workers.next_power_of_two()) - 1);
                let mut c = cluster(proto, vip, wires, workers, Returns::default());
                assert_eq!(flows(&mut c, proto, vip), 0);
            }
        }
    }
}

/// Slices without a NIC's help; a NIC whose hash is not what it says; a
/// protocol it does not hash: all comes out right, through the rings.
#[test]
fn what_lands_elsewhere_is_handed_over_and_right() {
    let workers = 8;
    for vip in VIPS {
        for proto in [6, 17] {
            for lie in [false, true] {
                let udp = !lie;
                let wires = [DEFAULT_KEY, DEFAULT_KEY].map(|key| Wire::new(&key, udp, workers));
                let returns = if lie {
                    let nics = vec![None, Some(wires[1].told(workers, &OTHER_KEY))];
                    Returns::new(nics, HashMap::from([(laddr_of(vip), PortId(1))]))
                } else {
                    Returns::default()
                };
                let mut c = cluster(proto, vip, wires, workers, returns);
                let handed = flows(&mut c, proto, vip);
                // One reply of UDP, three of TCP; seven of eight go astray, fewer
                // where all replies of a server arrive at one worker.
                assert!(handed > 30, "{handed}");
            }
        }
    }
}

/// ICMP errors are spread by the router's address: they find the connection all
/// the same, from either side, and come out once.
#[test]
fn icmp_errors_find_their_worker() {
    let workers = 8;
    let vip = VIPS[0];
    for known in [true, false] {
        for proto in [6, 17] {
            let wires = [OTHER_KEY, DEFAULT_KEY].map(|key| Wire::new(&key, true, workers));
            let returns = if known {
                let nics = vec![
                    Some(wires[0].told(workers, &OTHER_KEY)),
                    Some(wires[1].told(workers, &DEFAULT_KEY)),
                ];
                Returns::new(nics, HashMap::from([(laddr_of(vip), PortId(1))]))
            } else {
                Returns::default()
            };
            let mut c = cluster(proto, vip, wires, workers, returns);
            for i in 0..40u16 {
                let (host, port) = client(vip, i);
                let (to_server, to_client) = talk(&mut c, proto, vip, (&host, port));
                let router = [10, 9, (i / 7) as u8, i as u8];
                let error = c.one(1, &frag_needed(&to_server, router, (MAC1, RS_MAC)));
                assert_eq!(error[..6], CLIENT_MAC);
                assert_eq!(error[30..34], to_client[30..34], "to the client");
                let error = c.one(0, &frag_needed(&to_client, router, (MAC0, CLIENT_MAC)));
                assert_eq!(error[..6], RS_MAC);
                assert_eq!(error[30..34], to_server[30..34], "to the server");
                // About a connection nobody has: the kernel's, once; where copies went
                // to all (or may have: with UDP it could be about a tunnel), nobody's.
                let mut other = to_client.clone();
                other[36..38].copy_from_slice(&9u16.to_be_bytes());
                let out = c.send(0, &frag_needed(&other, router, (MAC0, CLIENT_MAC)));
                assert_eq!(out, Vec::<Vec<u8>>::new());
                let host: usize = c
                    .workers
                    .iter_mut()
                    .map(|b| b.io.host.drain(..).count())
                    .sum();
                let least = usize::from(known && proto == 6);
                assert!((least..=1).contains(&host), "{host} for the kernel");
            }
            assert!(c.handed > 0);
        }
    }
}

/// A router's error about an IPv6 packet in an IPv4 tunnel is an IPv4 packet: it is
/// handed over, and counted, as such.
#[test]
fn errors_about_tunnels_are_counted_in_their_own_family() {
    let workers = 4;
    let vip = VIPS[1];
    let wires = [OTHER_KEY, DEFAULT_KEY].map(|key| Wire::new(&key, true, workers));
    // Clients come by the same port as errors do.
    let nics = vec![None, Some(wires[1].told(workers, &DEFAULT_KEY))];
    let mut tunnelled = service(17, vip, 53, 1, 53);
    let mut dests = tunnelled.dests.to_vec();
    dests[0].addr = ip("10.0.1.11");
    dests[0].mode = dpvs_core::service::FwdMode::Tunnel;
    tunnelled.dests = dests.into();
    let mut snap = snapshot(vec![tunnelled]);
    snap.returns = Returns::new(nics, HashMap::new());
    let mut c = Cluster::new(&snap, wires, workers);
    for i in 0..16u16 {
        let (host, port) = client(vip, i);
        let wrapped = c.one(
            1,
            &udp((&host, port), (vip, 53), b"query").from_rs().bytes(),
        );
        assert_eq!((wrapped[23], wrapped[34] >> 4), (41, 6));
        let quote = &wrapped[14..14 + 20 + 48];
        let mut header = vec![0x45, 0, 0, 0, 0, 1, 0, 0, 60, 1, 0, 0, 10, 9, 9, i as u8];
        header.extend(&quote[12..16]);
        header[3] = (28 + quote.len()) as u8;
        let sum_of = !fold(sum(&header));
        header[10..12].copy_from_slice(&sum_of.to_be_bytes());
        let mut icmp = [&[3, 4, 0, 0, 0, 0, 5, 0x78], quote].concat();
        let sum_of = !fold(sum(&icmp));
        icmp[2..4].copy_from_slice(&sum_of.to_be_bytes());
        let error = [&MAC1[..], &RS_MAC, &[8, 0], &header, &icmp].concat();
        let told = c.one(1, &error);
        assert_eq!((&told[12..14], told[54]), (&[0x86, 0xdd][..], 2));
    }
    assert!(c.handed > 0);
    let count = |f: fn(&dpvs_core::stats::WorkerStats) -> u64| -> u64 {
        c.workers.iter().map(|b| f(b.worker.stats())).sum()
    };
    assert_eq!(
        (count(|s| s.ip4.in_pkts), count(|s| s.ip6.in_pkts)),
        (16, 16)
    );
}

/// Errors whose owner cannot be told are copied, but not without limit.
#[test]
fn copies_of_errors_are_limited() {
    let workers = 8;
    let wires = [DEFAULT_KEY, DEFAULT_KEY].map(|key| Wire::new(&key, true, workers));
    let mut c = cluster(17, VIPS[0], wires, workers, Returns::default());
    let (_, to_client) = talk(&mut c, 17, VIPS[0], ("198.51.100.7", 999));
    let mut other = to_client;
    other[36..38].copy_from_slice(&9u16.to_be_bytes());
    c.handed = 0;
    for _ in 0..1000 {
        c.send(0, &frag_needed(&other, [10, 9, 9, 9], (MAC0, CLIENT_MAC)));
    }
    assert!((993..=1000).contains(&c.handed), "{}", c.handed);
}

/// A packet handed over counts as received where it is handled, once.
#[test]
fn handed_packets_are_counted_once() {
    let workers = 8;
    let wires = [DEFAULT_KEY, OTHER_KEY].map(|key| Wire::new(&key, true, workers));
    let mut c = cluster(17, VIPS[0], wires, workers, Returns::default());
    assert!(flows(&mut c, 17, VIPS[0]) > 30);
    let received: u64 = c.workers.iter().map(|b| b.worker.stats().ip4.in_pkts).sum();
    let handed: u64 = c.workers.iter().map(|b| b.worker.stats().handed_over).sum();
    assert_eq!((received, handed), (120, c.handed as u64));
}
