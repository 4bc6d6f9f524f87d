//! A full table: connections nobody has answered give way, oldest first; those
//! that were established stay, and new clients get in.
#![allow(clippy::unwrap_used)]

mod support;

use dpvs_core::message::{ConnTuple, Query, Reply};
use dpvs_core::stats::Reason;
use support::{Bench, Packet, ip, service, snapshot, tcp, udp};

const SYN: u8 = 2;
const ACK: u8 = 16;
/// Connections of each family a bench has room for.
const ROOM: u32 = 10_000;

const VIP: &str = "192.0.2.10";

/// Client number n.
fn client(n: u32) -> (String, u16) {
    let host = n / 200;
    (
        format!("198.51.{}.{}", host / 250, host % 250 + 1),
        1024 + (n % 200) as u16,
    )
}

fn bench(proto: u8) -> Bench {
    let mut b = Bench::new(snapshot(vec![
        service(proto, VIP, 80, 4, 8080),
        // A second one of the other family, with servers of its own.
        {
            let mut s = service(proto, "2001:db8:1::10", 80, 1, 8080);
            s.id.0 = 1;
            s.uid = 2;
            let mut dest = s.dests[0];
            dest.id.0 = 9;
            s.dests = vec![dest].into();
            s
        },
    ]));
    b.settings(|s| s.timeouts.udp = [2, 3600, 3600]);
    b
}

/// A client's SYN; what the server got.
fn syn(b: &mut Bench, n: u32) -> Option<Packet> {
    let (addr, port) = client(n);
    b.one(0, &tcp((&addr, port), (VIP, 80), SYN, 7, 0).bytes())
        .map(|f| Packet::read(&f))
}

/// The rest of the handshake; false if the director does not know it any more.
fn shake(b: &mut Bench, n: u32, at_server: &Packet) -> bool {
    let (addr, port) = client(n);
    let (from, to) = (at_server.dst.0.to_string(), at_server.src.0.to_string());
    let answer = tcp(
        (&from, at_server.dst.1),
        (&to, at_server.src.1),
        SYN | ACK,
        100,
        at_server.seq.wrapping_add(1),
    );
    let mut answer = answer;
    answer.macs = (support::MAC1, support::RS_MAC);
    let Some(back) = b.one(1, &answer.bytes()) else {
        return false;
    };
    let back = Packet::read(&back);
    assert_eq!((back.dst.0, back.dst.1), (ip(&addr), port));
    b.one(
        0,
        &tcp((&addr, port), (VIP, 80), ACK, 8, back.seq.wrapping_add(1)).bytes(),
    )
    .is_some()
}

fn knows(b: &mut Bench, proto: u8, n: u32) -> bool {
    let (addr, sport) = client(n);
    let found = b.query(Query::ConnFind(ConnTuple {
        proto,
        src: ip(&addr),
        sport,
        dst: ip(VIP),
        dport: 80,
    }));
    matches!(found, Reply::ConnFind(Some(_)))
}

#[test]
fn new_clients_get_in_and_established_ones_stay() {
    let mut b = bench(6);
    for n in 0..100 {
        let s = syn(&mut b, n).unwrap();
        assert!(shake(&mut b, n, &s));
    }
    // The flood, three times what there is room for, with a client now and then
    // whose handshake takes a while.
    let mut patient = 200_000;
    for wave in 0..30 {
        let s = syn(&mut b, patient).unwrap();
        for n in 0..1000 {
            assert!(syn(&mut b, 1000 + wave * 1000 + n).is_some());
        }
        assert!(shake(&mut b, patient, &s), "client in wave {wave}");
        patient += 1;
    }
    assert_eq!(b.worker.conns(), ROOM as usize);
    let stats = b.worker.stats();
    assert_eq!(stats.dropped(Reason::ConnTableFull), 0);
    assert_eq!(
        stats.conns_evicted,
        100 + 30 + 30_000 - u64::from(ROOM),
        "one for each that found the table full"
    );
    assert_eq!(stats.conns_made - stats.conns_gone, u64::from(ROOM));
    for n in (0..100).chain(200_000..patient) {
        assert!(knows(&mut b, 6, n), "established {n}");
    }
    // Oldest first: what is left of the flood is its end.
    let left = ROOM - 130;
    assert!(!knows(&mut b, 6, 31_000 - left - 1));
    assert!(knows(&mut b, 6, 31_000 - left));
    assert!(knows(&mut b, 6, 30_999));
}

/// Whoever forges his address cannot hear the server: an acknowledgement of what it
/// never said opens the connection for nobody.
#[test]
fn blind_acknowledgements_do_not_fill_the_table() {
    let mut b = bench(6);
    for n in 0..100 {
        let s = syn(&mut b, n).unwrap();
        assert!(shake(&mut b, n, &s));
    }
    // What came out for the server, whatever else did: those that give way are reset.
    let sent = |b: &mut Bench, port: u16, frame: &[u8]| {
        let out = b.burst(port, &[frame]);
        let last = out.last().map(|(_, f)| Packet::read(f));
        last.unwrap_or_else(|| panic!("refused: {:?}", b.worker.stats().drops))
    };
    for n in 1000..1000 + 2 * ROOM {
        let (addr, port) = client(n);
        let from_client = |flags, seq, ack| tcp((&addr, port), (VIP, 80), flags, seq, ack).bytes();
        let at_server = sent(&mut b, 0, &from_client(SYN, 7, 0));
        let isn = n.wrapping_mul(0x9e37_79b1);
        // Before the server's answer, and after it one that acknowledges too much, too
        // little, or makes the server ask back.
        if n % 4 == 0 {
            sent(&mut b, 0, &from_client(ACK, 8, 101));
        }
        let (from, to) = (at_server.dst.0.to_string(), at_server.src.0.to_string());
        let ends = ((&from[..], at_server.dst.1), (&to[..], at_server.src.1));
        let answer = |b: &mut Bench, flags| {
            let ack = at_server.seq.wrapping_add(1);
            let mut answer = tcp(ends.0, ends.1, flags, isn, ack);
            answer.macs = (support::MAC1, support::RS_MAC);
            sent(b, 1, &answer.bytes());
        };
        answer(&mut b, SYN | ACK);
        match n % 4 {
            0 => {}
            1 => drop(sent(&mut b, 0, &from_client(ACK, 8, isn.wrapping_add(2)))),
            2 => drop(sent(
                &mut b,
                0,
                &from_client(ACK, 8, isn.wrapping_sub(70_000)),
            )),
            _ => answer(&mut b, ACK),
        }
    }
    // An honest client gets in.
    let (addr, port) = client(300_000);
    let s = sent(&mut b, 0, &tcp((&addr, port), (VIP, 80), SYN, 7, 0).bytes());
    assert!(shake(&mut b, 300_000, &s));
    let stats = b.worker.stats();
    assert_eq!(stats.dropped(Reason::ConnTableFull), 0);
    assert_eq!(b.worker.conns(), ROOM as usize);
    for n in (0..100).chain([300_000]) {
        assert!(knows(&mut b, 6, n), "established {n}");
    }
    assert!(!knows(&mut b, 6, 1000) && !knows(&mut b, 6, 1001));
}

/// A client that hears the server late stays as well, and takes the short way.
#[test]
fn a_client_is_known_by_its_first_good_acknowledgement() {
    let mut b = bench(6);
    let s = syn(&mut b, 7).unwrap();
    let (addr, port) = client(7);
    // Nothing of what the server said.
    let early = tcp((&addr, port), (VIP, 80), ACK, 8, 4242);
    assert!(b.one(0, &early.bytes()).is_some());
    assert!(shake(&mut b, 7, &s));
    for n in 1000..1000 + 2 * ROOM {
        assert!(syn(&mut b, n).is_some());
    }
    assert!(knows(&mut b, 6, 7));
}

#[test]
fn a_table_of_established_connections_refuses() {
    let mut b = bench(6);
    for n in 0..ROOM {
        let s = syn(&mut b, n).unwrap();
        assert!(shake(&mut b, n, &s));
    }
    assert!(syn(&mut b, ROOM).is_none());
    let stats = b.worker.stats();
    assert_eq!(stats.dropped(Reason::ConnTableFull), 1);
    assert_eq!((stats.conns_evicted, stats.conns_gone), (0, 0));
    // The other family has room of its own.
    let six = tcp(("2001:db8:ff::7", 4000), ("2001:db8:1::10", 80), SYN, 7, 0);
    assert!(b.one(0, &six.bytes()).is_some());
    // The port of the one that was refused is free again.
    let Reply::Laddrs(uses) = b.query(Query::Laddrs) else {
        unreachable!()
    };
    assert_eq!(uses.iter().map(|u| u.used).sum::<u32>(), ROOM + 1);
}

#[test]
fn of_udp_those_with_answers_stay() {
    let mut b = bench(17);
    let packet = |n: u32| {
        let (addr, port) = client(n);
        udp((&addr, port), (VIP, 80), b"x").bytes()
    };
    for n in 0..50 {
        let out = Packet::read(&b.one(0, &packet(n)).unwrap());
        let (from, to) = (out.dst.0.to_string(), out.src.0.to_string());
        let mut answer = udp((&from, out.dst.1), (&to, out.src.1), b"y");
        answer.macs = (support::MAC1, support::RS_MAC);
        assert!(b.one(1, &answer.bytes()).is_some());
    }
    for n in 0..2 * ROOM {
        assert!(b.one(0, &packet(1000 + n)).is_some());
    }
    assert_eq!(b.worker.conns(), ROOM as usize);
    for n in 0..50 {
        assert!(knows(&mut b, 17, n));
    }
    assert!(!knows(&mut b, 17, 1000));
    assert_eq!(b.worker.stats().conns_evicted, u64::from(ROOM + 50));
}
