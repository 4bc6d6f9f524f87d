//! What a client and a server say to each other through the SYN proxy arrives
//! unchanged, whatever the network does to it.
//!
//! Two small endpoints of our own (go back N, data in order only) on a network that
//! loses, doubles and overtakes, with the director between them; every number, edge
//! and checksum they get has to be one of theirs.

#![allow(clippy::unwrap_used, clippy::panic, clippy::type_complexity)]

#[path = "support/rng.rs"]
mod rng;
mod support;

use std::collections::VecDeque;

use dpvs_core::frame::PortId;
use dpvs_core::proto::tcp::State;
use proptest::prelude::*;
use rng::Rng;
use support::{Bench, Packet, service, snapshot, tcp};

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;
/// SACK edges are so far behind the other side's first byte.
const EDGE: u32 = 77;

/// One side of a connection.
struct End {
    isn: u32,
    /// The other's, as seen here.
    peer: Option<u32>,
    data: Vec<u8>,
    /// Of `data`, acknowledged; one more for the FIN.
    acked: usize,
    got: Vec<u8>,
    /// The other has said that it is done.
    done: bool,
    mss: usize,
    client: bool,
    /// The handshake is over here.
    open: bool,
}

impl End {
    fn new(isn: u32, data: Vec<u8>, mss: usize, client: bool) -> Self {
        Self {
            isn,
            peer: None,
            data,
            acked: 0,
            got: Vec::new(),
            done: false,
            mss,
            client,
            open: false,
        }
    }

    fn finished(&self) -> bool {
        self.done && self.acked == self.data.len() + 1
    }

    /// What it acknowledges.
    fn ack(&self) -> u32 {
        let read = self.got.len() as u32 + u32::from(self.done);
        self.peer.unwrap_or(0).wrapping_add(1).wrapping_add(read)
    }

    fn segment(&self, flags: u8, at: usize, payload: &[u8]) -> (u8, u32, u32, Vec<u8>, Vec<u8>) {
        let seq = self.isn.wrapping_add(1).wrapping_add(at as u32);
        let mut options = Vec::new();
        if flags & SYN == 0 {
            let peer = self.peer.unwrap_or(0);
            options.extend([1, 1, 5, 10]);
            options.extend(peer.wrapping_add(EDGE).to_be_bytes());
            options.extend(peer.wrapping_add(EDGE + 9).to_be_bytes());
        }
        (flags, seq, self.ack(), options, payload.to_vec())
    }

    /// What it sends now, again or for the first time.
    fn speak(&self, out: &mut Vec<(u8, u32, u32, Vec<u8>, Vec<u8>)>) {
        if !self.open {
            let Some(_) = self.peer.or(self.client.then_some(0)) else {
                return;
            };
            let flags = if self.client { SYN } else { SYN | ACK };
            let mut syn = self.segment(flags, 0, &[]);
            syn.1 = self.isn;
            if self.client {
                syn.2 = 0;
            }
            syn.3 = vec![2, 4, 5, 0xb4, 4, 2, 1, 1];
            out.push(syn);
            return;
        }
        if self.client && self.acked == 0 {
            out.push(self.segment(ACK, 0, &[]));
        }
        let mut at = self.acked;
        // Only the first segment shows the cookie: what overtakes it is not known.
        let most = if self.client && self.acked == 0 { 1 } else { 3 };
        for _ in 0..most {
            if at < self.data.len() {
                let end = (at + self.mss).min(self.data.len());
                out.push(self.segment(ACK, at, &self.data[at..end]));
                at = end;
            }
        }
        if at == self.data.len() {
            out.push(self.segment(ACK | FIN, at, &[]));
        }
    }

    /// Hears a segment; says whether it answers.
    fn hear(&mut self, p: &Packet) -> bool {
        assert_eq!(p.flags & RST, 0, "nobody resets");
        if let Some(at) = p.options.windows(2).position(|o| o == [5, 10]) {
            let edge = |i: usize| u32::from_be_bytes(p.options[i..i + 4].try_into().unwrap());
            assert_eq!(edge(at + 2).wrapping_sub(self.isn), EDGE, "left edge");
            assert_eq!(edge(at + 6).wrapping_sub(self.isn), EDGE + 9, "right edge");
        }
        if p.flags & SYN != 0 {
            if self.client {
                assert_eq!(p.ack, self.isn.wrapping_add(1), "of our SYN");
                if self.peer.is_some_and(|peer| peer != p.seq) {
                    // Another cookie for a SYN that was sent again.
                    return true;
                }
                self.open = true;
            } else if self.peer.is_some_and(|peer| peer != p.seq) {
                panic!("the server gets one SYN");
            }
            self.peer = Some(p.seq);
            return self.client;
        }
        let Some(peer) = self.peer else { return false };
        let acked = p.ack.wrapping_sub(self.isn.wrapping_add(1)) as usize;
        assert!(
            acked <= self.data.len() + 1,
            "acknowledges what was never sent: {acked}"
        );
        self.open = true;
        self.acked = self.acked.max(acked);
        let offset = p.seq.wrapping_sub(peer.wrapping_add(1)) as usize;
        assert!(offset <= 1 << 20, "a number of another stream: {offset}");
        if offset <= self.got.len() && !self.done {
            let known = self.got.len() - offset;
            if let Some(new) = p.payload.get(known..) {
                self.got.extend(new);
            }
            if p.flags & FIN != 0 && offset + p.payload.len() == self.got.len() {
                self.done = true;
            }
        }
        !p.payload.is_empty() || p.flags & FIN != 0
    }
}

struct Net {
    bench: Bench,
    vip: &'static str,
    client: &'static str,
    /// Frames on their way: to the director by a port, or from it.
    wire: VecDeque<(bool, PortId, Vec<u8>)>,
    /// The server's end of the connection as the director uses it.
    server: Option<((std::net::IpAddr, u16), (std::net::IpAddr, u16))>,
}

impl Net {
    fn send(&mut self, client: bool, s: (u8, u32, u32, Vec<u8>, Vec<u8>)) {
        let (flags, seq, ack, options, payload) = s;
        let mut p = tcp((self.client, 4000), (self.vip, 80), flags, seq, ack);
        if !client {
            let Some((laddr, server)) = self.server else {
                return;
            };
            p = p.from_rs();
            (p.src, p.dst) = (server, laddr);
        }
        (p.options, p.payload) = (options, payload);
        let port = PortId(u16::from(!client));
        self.wire.push_back((true, port, p.bytes()));
    }

    fn out(&mut self) {
        for (port, frame) in std::mem::take(&mut self.bench.io.sent) {
            self.wire.push_back((false, port, frame));
        }
    }
}

/// One connection, of a client and a server of these families (IPv6 or not); `luck`
/// decides what the network does, step by step.
fn exchange(
    (v6, server_v6): (bool, bool),
    isns: (u32, u32),
    data: [Vec<u8>; 2],
    mss: [usize; 2],
    luck: u64,
) {
    let (vip, client) = if v6 {
        ("2001:db8:1::10", "2001:db8:9::7")
    } else {
        ("192.0.2.10", "198.51.100.7")
    };
    let mut proxied = service(6, vip, 80, 1, 8080);
    proxied.synproxy = true;
    if server_v6 != v6 {
        let other = if server_v6 {
            "2001:db8:1::10"
        } else {
            "192.0.2.10"
        };
        let other = service(6, other, 80, 1, 8080);
        (proxied.dests, proxied.laddrs) = (other.dests, other.laddrs);
    }
    let mut net = Net {
        bench: Bench::new(snapshot(vec![proxied])),
        vip,
        client,
        wire: VecDeque::new(),
        server: None,
    };
    net.bench.settings(|s| {
        s.timeouts.tcp = [3600; 11];
        s.timeouts.tcp[State::SynSent.index()] = 3;
        s.synproxy.rs_syn_max_retry = 99;
    });
    let [a, b] = data;
    let mut client = End::new(isns.0, a.clone(), mss[0], true);
    let mut server = End::new(isns.1, b.clone(), mss[1], false);
    let mut rng = Rng(luck);
    let mut dice = move |n: u64| rng.number(n);
    let mut steps = 0;
    while !(client.finished() && server.finished()) {
        steps += 1;
        assert!(
            steps < 20_000,
            "it does not end: {:?}",
            net.bench.worker.stats().synproxy
        );
        // A network of rare mercy at first, a good one in the end.
        let bad = steps < 3_000;
        net.bench.now.0 += 3_000;
        if steps % 64 == 0 {
            net.bench.now.0 += 120_000;
        }
        net.bench.worker.tick(net.bench.now, &mut net.bench.io);
        net.out();
        if net.wire.is_empty() || dice(12) == 0 {
            let from_client = dice(2) == 0;
            let end = if from_client { &client } else { &server };
            let mut said = Vec::new();
            end.speak(&mut said);
            for s in said {
                net.send(from_client, s);
            }
        }
        let n = net.wire.len() as u64;
        if n == 0 {
            continue;
        }
        let at = if bad && dice(4) == 0 { dice(n) } else { 0 } as usize;
        let Some((inward, port, frame)) = net.wire.remove(at) else {
            continue;
        };
        if bad && dice(8) == 0 || net.wire.len() > 60 {
            continue;
        }
        if bad && dice(16) == 0 {
            net.wire.push_back((inward, port, frame.clone()));
        }
        if inward {
            let sent = net.bench.burst(port.0, &[&frame]);
            net.wire
                .extend(sent.into_iter().map(|(p, f)| (false, p, f)));
            continue;
        }
        let p = Packet::read(&frame);
        let to_client = port == PortId(0);
        if !to_client {
            net.server.get_or_insert((p.src, p.dst));
        }
        let end = if to_client { &mut client } else { &mut server };
        if end.hear(&p) && end.peer.is_some() {
            let ack = end.segment(ACK, end.acked.min(end.data.len()), &[]);
            net.send(to_client, ack);
        }
    }
    assert_eq!(server.got, a, "client to server");
    assert_eq!(client.got, b, "server to client");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn the_stream_arrives_unchanged(
        v6 in any::<(bool, bool)>(),
        isns in any::<(u32, u32)>(),
        a in prop::collection::vec(any::<u8>(), 1..6000),
        b in prop::collection::vec(any::<u8>(), 0..6000),
        mss in [100usize..1400, 100usize..1400],
        luck in any::<u64>(),
    ) {
        exchange(v6, isns, [a, b], mss, luck);
    }
}

/// Numbers that pass zero on their way.
#[test]
fn numbers_wrap() {
    let data = || (0..5000u32).map(|i| (i * 7) as u8).collect::<Vec<u8>>();
    for luck in 1..20 {
        exchange(
            (luck % 2 == 0, luck % 4 < 2),
            (u32::MAX - 700, u32::MAX - 1300),
            [data(), data()],
            [500, 600],
            luck,
        );
    }
}
