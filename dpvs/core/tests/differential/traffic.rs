//! Random traffic: new flows, packets of known ones, everything around them, and
//! all of it damaged now and then.

use std::net::IpAddr;

use crate::reference::wire::{self, ETH, Parts, Seen, TCP, UDP};
use crate::reference::{Conn, Director, tcp};
use crate::rng::Rng;
use crate::world::{CLIENT_MACS, ip};

/// An IP packet's envelope.
pub struct Envelope {
    pub macs: [[u8; 6]; 2],
    pub src: IpAddr,
    pub dst: IpAddr,
    pub ttl: u8,
    pub df: bool,
    pub fragment: u16,
    pub ident: u16,
    /// IPv4 options, or IPv6 extension headers (numbers).
    pub extra: Vec<u8>,
    pub headers: Vec<u8>,
}

pub fn envelope(r: &mut Rng, macs: [[u8; 6]; 2], src: IpAddr, dst: IpAddr) -> Envelope {
    let mut e = Envelope {
        macs,
        src,
        dst,
        ttl: if r.percent(3) {
            r.below(3) as u8
        } else {
            r.range(2, 255) as u8
        },
        df: r.percent(60),
        fragment: 0,
        ident: r.next() as u16,
        extra: vec![],
        headers: vec![],
    };
    if r.percent(4) {
        e.fragment = *r.pick(&[0x2000, 1, 0x2010, 0x1fff, 0x8000]);
    }
    if r.percent(8) {
        if src.is_ipv4() {
            let n = r.range(1, 10) * 4;
            e.extra = r.bytes(n);
        } else {
            for _ in 0..r.range(1, 3) {
                let kind = *r.pick(&[0u8, 43, 60, 60, 135, 51, 44]);
                e.headers.push(kind);
            }
        }
    }
    e
}

pub fn wrap(r: &mut Rng, e: &Envelope, proto: u8, l4: &[u8]) -> Vec<u8> {
    let mut f = e.macs.concat();
    let addrs = [wire::octets(e.src), wire::octets(e.dst)].concat();
    if e.src.is_ipv4() {
        f.extend([8, 0]);
        let mut h = vec![0x45 + (e.extra.len() / 4) as u8, r.next() as u8];
        h.extend((20 + e.extra.len() as u16 + l4.len() as u16).to_be_bytes());
        h.extend(e.ident.to_be_bytes());
        let word = e.fragment | if e.df { 0x4000 } else { 0 };
        h.extend(word.to_be_bytes());
        h.extend([e.ttl, proto, 0, 0]);
        h.extend(addrs);
        h.extend(&e.extra);
        wire::seal4(&mut h);
        f.extend(h);
    } else {
        let mut chain = Vec::new();
        for (i, kind) in e.headers.iter().enumerate() {
            let next = e.headers.get(i + 1).copied().unwrap_or(proto);
            match kind {
                44 => chain.extend([next, 0, 0, (e.fragment & 1) as u8, 0, 0, 0, 9]),
                51 => chain.extend([next, 1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]),
                _ => {
                    let units = r.below(3);
                    chain.extend([next, units as u8]);
                    chain.extend(r.bytes(6 + units * 8));
                }
            }
        }
        f.extend([0x86, 0xdd, 0x60, r.below(256) as u8, 0, 0]);
        f.extend(((chain.len() + l4.len()) as u16).to_be_bytes());
        f.extend([e.headers.first().copied().unwrap_or(proto), e.ttl]);
        f.extend(addrs);
        f.extend(chain);
    }
    f.extend(l4);
    f
}

/// Sets the transport checksum for the whole of `l4`.
pub fn seal(src: IpAddr, dst: IpAddr, proto: u8, l4: &mut [u8]) {
    let at = match proto {
        TCP => 16,
        UDP => 6,
        _ => 2,
    };
    l4[at..at + 2].fill(0);
    let mut rest = wire::words(l4);
    if proto != 1 {
        rest += wire::pseudo(src, dst, proto, l4.len());
    }
    let mut sum = ((65535 - rest % 65535) % 65535) as u16;
    if proto == UDP && sum == 0 {
        sum = 0xffff;
    }
    l4[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

fn payload(r: &mut Rng) -> Vec<u8> {
    let n = match r.below(40) {
        0..=11 => 0,
        12..=34 => r.below(64),
        35 => r.range(430, 480),
        36 => r.range(900, 1000),
        _ => r.range(1390, 1490),
    };
    r.bytes(n)
}

fn udp(r: &mut Rng, sport: u16, dport: u16) -> Vec<u8> {
    let payload = payload(r);
    let mut l4 = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
    l4.extend((8 + payload.len() as u16).to_be_bytes());
    l4.extend([0, 0]);
    l4.extend(payload);
    l4
}

fn options(r: &mut Rng, shift: u32) -> Vec<u8> {
    let mut all = Vec::new();
    if r.percent(40) {
        return all;
    }
    if r.percent(40) {
        // What nearly every segment has.
        all.extend([1, 1, 8, 10]);
        all.extend(r.bytes(8));
        if r.percent(70) {
            return all;
        }
    }
    for _ in 0..r.range(1, 4) {
        let one = match r.below(10) {
            0 => vec![1],
            1 => [vec![2, 4], r.bytes(2)].concat(),
            2 => vec![3, 3, 7],
            3 => vec![4, 2],
            4 | 5 => {
                let n = r.range(1, 4);
                let mut sack = vec![5, 2 + 8 * n as u8];
                for _ in 0..2 * n {
                    sack.extend(shift.wrapping_add(r.below(100_000) as u32).to_be_bytes());
                }
                sack
            }
            6 => [vec![8, 10], r.bytes(8)].concat(),
            7 => [vec![254, 8], r.bytes(6)].concat(),
            8 => {
                let n = r.below(12);
                [vec![*r.pick(&[30, 34, 99, 5, 8]), 2 + n as u8], r.bytes(n)].concat()
            }
            _ => {
                let n = r.below(6);
                r.bytes(n)
            }
        };
        if all.len() + one.len() <= 40 {
            all.extend(one);
        }
    }
    let fill = if r.percent(50) { 0 } else { 1 };
    all.resize(all.len().next_multiple_of(4), fill);
    all
}

fn segment(r: &mut Rng, ports: [u16; 2], flags: u8, seq: u32, ack: u32, shift: u32) -> Vec<u8> {
    let options = options(r, shift);
    let mut l4 = [ports[0].to_be_bytes(), ports[1].to_be_bytes()].concat();
    l4.extend(seq.to_be_bytes());
    l4.extend(ack.to_be_bytes());
    l4.push(
        (((20 + options.len()) / 4) << 4) as u8 | if r.percent(5) { r.below(16) as u8 } else { 0 },
    );
    l4.push(flags);
    l4.extend(r.bytes(2));
    l4.extend([0, 0]);
    l4.extend(if r.percent(2) { r.bytes(2) } else { vec![0, 0] });
    l4.extend(options);
    if flags & tcp::SYN == 0 || r.percent(3) {
        l4.extend(payload(r));
    }
    l4
}

/// Random traffic against a director.
pub struct Traffic {
    pub rng: Rng,
    /// The last frames, to be sent again.
    pub last: Vec<(u16, Vec<u8>)>,
}

impl Traffic {
    /// A frame for a port.
    pub fn frame(&mut self, port: u16, d: &Director) -> Vec<u8> {
        let r = &mut self.rng;
        let mac = d.config.ports[usize::from(port)].mac;
        let from = *r.pick(&CLIENT_MACS);
        let macs = [mac, from];
        let mut f = match r.below(100) {
            0..=29 if port != 1 => newcomer(r, macs, d),
            0..=84 => known(r, macs, port, d),
            85..=88 => crate::traffic_other::arp(r, macs, port, d),
            89..=91 => crate::traffic_other::discovery(r, macs, port, d),
            92..=94 => {
                let ends = stray(r);
                crate::traffic_other::icmp(r, macs, ends)
            }
            95..=96 => {
                let (src, dst) = stray(r);
                let e = envelope(r, macs, src, dst);
                let proto = *r.pick(&[TCP, UDP, UDP, 47, 89, 132]);
                let mut l4 = if proto == TCP {
                    segment(r, [9, 9], 16, 1, 1, 0)
                } else {
                    udp(r, 9, 9)
                };
                seal(src, dst, proto, &mut l4);
                wrap(r, &e, proto, &l4)
            }
            97 => {
                // Again what came before.
                match self.last.iter().rev().find(|(p, _)| *p == port) {
                    Some((_, f)) => f.clone(),
                    None => newcomer(r, macs, d),
                }
            }
            98 => crate::traffic_other::related(r, macs, d),
            _ => {
                let n = r.below(80);
                [
                    &macs.concat()[..],
                    &[0x88, *r.pick(&[0xcc, 0xa8])],
                    &r.bytes(n),
                ]
                .concat()
            }
        };
        self.last.push((port, f.clone()));
        if self.last.len() > 8 {
            self.last.remove(0);
        }
        self.damage(&mut f);
        f
    }

    fn damage(&mut self, f: &mut Vec<u8>) {
        let r = &mut self.rng;
        match r.below(200) {
            0..=19 => {
                // Padding, as short frames get, or more of it.
                let n = if r.percent(70) {
                    60
                } else {
                    f.len() + r.below(20)
                };
                if f.len() < n {
                    let more = r.bytes(n - f.len());
                    f.extend(more);
                }
            }
            20..=22 => f.truncate(r.below(f.len() + 1)),
            23..=25 if f.len() > ETH => {
                let at = r.range(ETH, f.len() - 1);
                f[at] ^= 1 << r.below(8);
            }
            26..=27 if f.len() > 60 => {
                // In the transport header or its data: nobody may notice.
                let at = r.range(50, f.len() - 1);
                f[at] ^= 1 << r.below(8);
            }
            28 if f.len() > 24 => {
                f[14] ^= r.next() as u8;
                if f[12..14] == [8, 0] {
                    let end = (ETH + usize::from(f[14] & 15) * 4).min(f.len());
                    if end >= ETH + 20 {
                        wire::seal4(&mut f[ETH..end]);
                    }
                }
            }
            29..=30 if f.len() >= 6 => f[5] ^= 1,
            31 if f.len() >= 6 => f[..6].fill(0xff),
            32 if f.len() >= 6 => f[..6].copy_from_slice(&[1, 0, 0x5e, 0, 0, 5]),
            _ => {}
        }
    }
}

/// Ends of a packet that belongs to nobody's flow.
fn stray(r: &mut Rng) -> (IpAddr, IpAddr) {
    if r.percent(60) {
        let src = *r.pick(&[
            "198.51.100.7",
            "192.0.2.50",
            "10.0.1.12",
            "100.64.0.1",
            "127.0.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "10.0.1.16",
            "203.0.113.200",
        ]);
        let dst = *r.pick(&[
            "192.0.2.1",
            "192.0.2.10",
            "192.0.2.2",
            "10.0.1.1",
            "10.0.1.200",
            "10.0.1.12",
            "198.51.100.7",
            "224.0.0.5",
            "255.255.255.255",
            "100.64.0.9",
            "10.0.1.77",
            "203.0.113.9",
            "203.0.113.200",
            "10.0.2.9",
        ]);
        (ip(src), ip(dst))
    } else {
        let src = *r.pick(&[
            "2001:db8:ff::7",
            "2001:db8:1::50",
            "2001:db8:2::12",
            "fe80::7",
            "::1",
            "::",
            "ff02::1",
            "2001:db8:77::1",
        ]);
        let dst = *r.pick(&[
            "2001:db8:1::1",
            "2001:db8:1::10",
            "2001:db8:2::12",
            "2001:db8:ff::7",
            "ff02::1",
            "ff01::1",
            "fe80::9",
            "::1",
            "2001:db8:77::1",
            "2001:db8:2::99",
        ]);
        (ip(src), ip(dst))
    }
}

/// A packet from a client to a service, or to what is nearly one.
fn newcomer(r: &mut Rng, macs: [[u8; 6]; 2], d: &Director) -> Vec<u8> {
    let keys: Vec<_> = d.config.services.keys().copied().collect();
    let mut proto = *r.pick(&[TCP, UDP]);
    let (mut vip, mut vport) = (ip("192.0.2.10"), 81);
    if !keys.is_empty() && r.percent(96) {
        let key = r.pick(&keys);
        (proto, vip, vport) = (key.proto, key.addr, key.port);
        if r.percent(4) {
            proto = TCP + UDP - proto;
        }
    }
    let src = if vip.is_ipv4() {
        match r.below(20) {
            0 => ip(r.pick::<&str>(&[
                "127.0.0.1",
                "0.0.0.0",
                "224.1.1.1",
                "255.255.255.255",
                "100.64.0.1",
            ])),
            1..=3 => IpAddr::from([192, 0, 2, r.range(50, 54) as u8]),
            _ => IpAddr::from([198, 51, 100, r.range(1, 12) as u8]),
        }
    } else {
        match r.below(20) {
            0 => ip(r.pick::<&str>(&["::1", "::", "ff02::1", "fe80::9", "2001:db8:77::1"])),
            1..=3 => ip(&format!("2001:db8:1::{}", r.range(50, 54))),
            _ => ip(&format!("2001:db8:ff::{}", r.range(1, 12))),
        }
    };
    let sport = r.range(1000, 1015) as u16;
    let e = envelope(r, macs, src, vip);
    let mut l4 = if proto == TCP {
        let flags = *r.pick(&[2, 2, 2, 2, 2, 2, 2, 2, 0xc2, 16, 18, 3, 6, 4, 0, 17]);
        let (seq, ack) = (r.next() as u32, r.next() as u32);
        segment(r, [sport, vport], flags, seq, ack, 0)
    } else {
        udp(r, sport, vport)
    };
    finish(r, e, proto, &mut l4, None)
}

/// A packet of a connection, in either direction.
fn known(r: &mut Rng, macs: [[u8; 6]; 2], port: u16, d: &Director) -> Vec<u8> {
    let from_server = port == 1 || r.percent(3);
    if d.conns.is_empty() {
        return newcomer(r, macs, d);
    }
    let (_, conn) = d.conns.iter().nth(r.below(d.conns.len())).unwrap();
    let t = conn.tuple(from_server);
    let mut e = envelope(r, macs, t.src, t.dst);
    e.macs = macs;
    let mut l4 = if t.proto == TCP {
        let shift = d.shift_of(conn).unwrap_or(0);
        let flags = *r.pick(&[
            16, 16, 16, 16, 16, 24, 24, 17, 18, 18, 2, 4, 20, 0, 0x30, 1, 3, 6, 8, 0x90,
        ]);
        let near = r.below(4) as u32;
        let (seq, ack) = if from_server {
            let (end, ack) = conn
                .said
                .unwrap_or((7000, conn.client_isn.wrapping_add(shift)));
            match r.below(4) {
                0 => (r.next() as u32, r.next() as u32),
                1 => (end, ack.wrapping_sub(1)),
                _ => (end, ack.wrapping_add(near)),
            }
        } else {
            let fdata = conn.fdata.unwrap_or(1);
            let seq = if r.percent(50) {
                conn.client_isn
            } else {
                r.next() as u32
            };
            match r.below(3) {
                0 => (seq, r.next() as u32),
                _ => (seq.wrapping_add(near & 1), fdata),
            }
        };
        segment(r, [t.sport, t.dport], flags, seq, ack, shift)
    } else {
        udp(r, t.sport, t.dport)
    };
    finish(r, e, t.proto, &mut l4, Some((conn, from_server, d)))
}

/// Seals a packet. Often its checksums, or those it will have when it has been
/// translated, are made to be 0: where sums go wrong if they do.
fn finish(
    r: &mut Rng,
    mut e: Envelope,
    proto: u8,
    l4: &mut Vec<u8>,
    conn: Option<(&Conn, bool, &Director)>,
) -> Vec<u8> {
    let (src, dst) = (e.src, e.dst);
    // Every envelope of this packet is made with the same numbers.
    let seed = Rng(r.next());
    seal(src, dst, proto, l4);
    let header = if proto == TCP {
        usize::from(l4[12] >> 4) * 4
    } else {
        8
    };
    let at = if proto == TCP { 16 } else { 6 };
    let become_zero = |field: u16, word: u16| {
        // One's complement: what has to be added so that the field gets 0.
        let sum = u32::from(word) + u32::from(field);
        (sum % 65535) as u16
    };
    if r.percent(25) {
        let mut field = wire::be16(l4, at);
        let mut ident = None;
        if let Some((conn, from_server, d)) = conn
            && r.percent(70)
        {
            let (there, own) = translated(&seed, &e, proto, l4, conn, from_server, d);
            field = there;
            ident = own;
        }
        if l4.len() >= header + 2 && header % 2 == 0 {
            let word = wire::be16(l4, header);
            let word = become_zero(field, word);
            l4[header..header + 2].copy_from_slice(&word.to_be_bytes());
            seal(src, dst, proto, l4);
        }
        if e.src.is_ipv4() {
            let field = ident.unwrap_or_else(|| {
                let f = wrap(&mut seed.clone(), &e, proto, l4);
                wire::be16(&f, ETH + 10)
            });
            e.ident = become_zero(field, e.ident);
        }
    }
    if proto == UDP && r.percent(5) {
        l4[6..8].fill(0);
    }
    if r.percent(2) {
        let i = r.below(l4.len());
        l4[i] ^= 1 << r.below(8);
    }
    if proto == UDP && r.percent(2) {
        // The datagram ends before the packet does.
        l4.extend([1, 2, 3]);
        if r.percent(50) {
            seal(src, dst, proto, l4);
        }
    }
    wrap(&mut seed.clone(), &e, proto, l4)
}

/// Checksums of transport and IPv4 header after translation.
fn translated(
    seed: &Rng,
    e: &Envelope,
    proto: u8,
    l4: &[u8],
    conn: &Conn,
    from_server: bool,
    d: &Director,
) -> (u16, Option<u16>) {
    let f = wrap(&mut seed.clone(), e, proto, l4);
    let Seen::Ip(ip) = wire::look(&f, e.macs[0]) else {
        return (0, None);
    };
    if ip.ports.is_none() {
        return (0, None);
    }
    let mut parts = Parts::cut(&f, &ip);
    let shift = d.shift_of(conn).unwrap_or(0);
    if from_server {
        parts.set_ends(conn.vip, conn.client);
    } else {
        parts.set_ends(conn.laddr, conn.server);
    }
    if proto == TCP && from_server {
        tcp::shift_out(&mut parts.l4, shift);
    } else if proto == TCP {
        tcp::shift_in(&mut parts.l4, shift);
    }
    let out = parts.join();
    let at = ip.l4 + if proto == TCP { 16 } else { 6 };
    (
        wire::be16(&out, at),
        (!ip.v6).then(|| wire::be16(&out, ETH + 10)),
    )
}
