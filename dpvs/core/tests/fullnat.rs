//! FullNAT from the first packet to the last, with every checksum checked.

mod support;

use dpvs_core::message::{Query, Reply};
use dpvs_core::stats::Reason;
use support::{Bench, CLIENT_MAC, MAC0, MAC1, Packet, RS_MAC, ip, service, snapshot, tcp, udp};

const SYN: u8 = 2;
const ACK: u8 = 16;
const PSH: u8 = 8;
const FIN: u8 = 1;
const RST: u8 = 4;

struct Flow<'a> {
    vip: &'a str,
    client: &'a str,
    lip: &'a str,
    toa: usize,
}

const V4: Flow<'_> = Flow {
    vip: "192.0.2.10",
    client: "198.51.100.7",
    lip: "10.0.1.200",
    toa: 8,
};
const V6: Flow<'_> = Flow {
    vip: "2001:db8:1::10",
    client: "2001:db8:ff::7",
    lip: "2001:db8:2::200",
    toa: 20,
};

#[test]
fn a_whole_tcp_life() {
    for f in [V4, V6] {
        let mut b = Bench::new(snapshot(vec![service(6, f.vip, 80, 2, 8080)]));
        let (c, v) = ((f.client, 40000), (f.vip, 80));
        // SYN with MSS, SACK permitted, timestamp, window scale.
        let mut syn = tcp(c, v, SYN, 1000, 0);
        syn.options = vec![
            2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7,
        ];
        let out = Packet::read(&b.one(0, &syn.bytes()).unwrap());
        assert_eq!(out.macs, (RS_MAC, MAC1));
        assert_eq!(out.src.0, ip(f.lip));
        assert_eq!(out.dst.1, 8080);
        assert_eq!(out.options[6..16], [1; 10], "timestamp blanked");
        let delta = out.seq.wrapping_sub(1000);
        assert_ne!(delta, 0);
        let (lip, rs) = ((f.lip, out.src.1), (&out.dst.0.to_string()[..], 8080));

        // The SYN again is the same.
        let again = Packet::read(&b.one(0, &syn.bytes()).unwrap());
        assert_eq!(
            (again.src, again.dst, again.seq),
            (out.src, out.dst, out.seq)
        );

        // SYN-ACK: MSS makes room for the option, the acknowledgement is turned back.
        let mut synack = tcp(rs, lip, SYN | ACK, 5000, out.seq.wrapping_add(1)).from_rs();
        synack.options = vec![2, 4, 5, 0xb4];
        let back = Packet::read(&b.one(1, &synack.bytes()).unwrap());
        assert_eq!(
            back.macs,
            (CLIENT_MAC, MAC0),
            "back to where the request came from"
        );
        assert_eq!(
            (back.src, back.dst),
            ((ip(f.vip), 80), (ip(f.client), 40000))
        );
        assert_eq!((back.seq, back.ack), (5000, 1001));
        let mss = u16::from_be_bytes([back.options[2], back.options[3]]);
        assert_eq!(usize::from(mss), 1460 - f.toa);

        // The handshake's ACK and the request carry the client's address.
        for payload in [&b""[..], b"GET / HTTP/1.0\r\n\r\n"] {
            let mut p = tcp(c, v, ACK, 1001, 5001);
            p.payload = payload.to_vec();
            let out = Packet::read(&b.one(0, &p.bytes()).unwrap());
            assert_eq!(out.options.len(), f.toa);
            assert_eq!(out.options[..4], [254, f.toa as u8, 0x9c, 0x40]);
            assert_eq!((out.seq, out.ack), (1001u32.wrapping_add(delta), 5001));
            assert_eq!(out.payload, payload);
        }
        let Reply::Dests(d) = b.query(Query::Dests(
            (0..2).map(dpvs_core::service::DestId).collect(),
        )) else {
            panic!()
        };
        assert_eq!(d.iter().map(|d| d.active).sum::<u32>(), 1);
        assert_eq!(d.iter().map(|d| d.conns).sum::<u64>(), 1);

        // Data with a SACK option from the server.
        let mut data = tcp(rs, lip, ACK | PSH, 5001, 1019u32.wrapping_add(delta)).from_rs();
        data.payload = vec![b'x'; 100];
        data.options = vec![1, 1, 5, 10];
        data.options
            .extend(2000u32.wrapping_add(delta).to_be_bytes());
        data.options
            .extend(2100u32.wrapping_add(delta).to_be_bytes());
        let back = Packet::read(&b.one(1, &data.bytes()).unwrap());
        assert_eq!(back.ack, 1019);
        assert_eq!(back.options[4..8], 2000u32.to_be_bytes());
        assert_eq!(back.options[8..12], 2100u32.to_be_bytes());

        // Once data is acknowledged the option is gone.
        let out = Packet::read(&b.one(0, &tcp(c, v, ACK, 1019, 5101).bytes()).unwrap());
        assert!(out.options.is_empty());

        // Both FINs; then the connection ends by itself.
        b.one(0, &tcp(c, v, FIN | ACK, 1019, 5101).bytes()).unwrap();
        b.one(
            1,
            &tcp(rs, lip, FIN | ACK, 5101, 1020u32.wrapping_add(delta))
                .from_rs()
                .bytes(),
        )
        .unwrap();
        b.one(0, &tcp(c, v, ACK, 1020, 5102).bytes()).unwrap();
        assert_eq!(b.worker.conns(), 1);
        b.pass(8500);
        assert_eq!(b.worker.conns(), 0);
        assert!(b.io.sent.is_empty(), "no reset after a clean end");
        let Reply::Laddrs(l) = b.query(Query::Laddrs) else {
            panic!()
        };
        assert!(l.iter().all(|l| l.used == 0), "ports are back");
    }
}

#[test]
fn silence_resets_both_ends() {
    for f in [V4, V6] {
        let mut b = Bench::new(snapshot(vec![service(6, f.vip, 80, 1, 8080)]));
        let (c, v) = ((f.client, 40000), (f.vip, 80));
        let syn = Packet::read(&b.one(0, &tcp(c, v, SYN, 1000, 0).bytes()).unwrap());
        let (lip, rs) = ((f.lip, syn.src.1), (&syn.dst.0.to_string()[..], 8080));
        let server = tcp(rs, lip, SYN | ACK, 5000, syn.seq.wrapping_add(1)).from_rs();
        b.one(1, &server.bytes()).unwrap();
        b.one(0, &tcp(c, v, ACK, 1001, 5001).bytes()).unwrap();
        b.pass(89_000);
        assert_eq!(b.worker.conns(), 1);
        b.pass(2_000);
        assert_eq!(b.worker.conns(), 0);
        let sent: Vec<_> = b.io.sent.iter().map(|(_, f)| Packet::read(f)).collect();
        assert_eq!(sent.len(), 2);
        assert_eq!((sent[0].dst, sent[0].src), (syn.dst, syn.src));
        assert_eq!((sent[0].flags, sent[0].seq), (RST, syn.seq.wrapping_add(1)));
        assert_eq!(sent[1].dst, (ip(f.client), 40000));
        assert_eq!((sent[1].flags, sent[1].seq), (RST, 5001));
    }
}

#[test]
fn udp_both_ways_and_expiry() {
    for f in [V4, V6] {
        let mut b = Bench::new(snapshot(vec![service(17, f.vip, 53, 2, 5353)]));
        let query = udp((f.client, 1111), (f.vip, 53), b"hello");
        let out = Packet::read(&b.one(0, &query.bytes()).unwrap());
        assert_eq!((out.src.0, out.dst.1), (ip(f.lip), 5353));
        let rs = out.dst.0.to_string();
        let answer = udp((&rs, 5353), (f.lip, out.src.1), b"world!").from_rs();
        let back = Packet::read(&b.one(1, &answer.bytes()).unwrap());
        assert_eq!(
            (back.src, back.dst),
            ((ip(f.vip), 53), (ip(f.client), 1111))
        );
        assert_eq!(back.payload, b"world!");
        // Round robin: the next flow goes to the other server, a whole burst of
        // one new flow to one.
        let other = udp((f.client, 2222), (f.vip, 53), b"x").bytes();
        let out2 = b.burst(0, &[&other, &other, &other]);
        assert_eq!(out2.len(), 3);
        assert_eq!(b.worker.conns(), 2);
        assert_ne!(Packet::read(&out2[0].1).dst, out.dst);
        b.pass(299_000);
        assert_eq!(b.worker.conns(), 2);
        b.pass(3_000);
        assert_eq!(b.worker.conns(), 0);
    }
}

#[test]
fn udp_without_checksum_keeps_none() {
    let mut b = Bench::new(snapshot(vec![service(17, V4.vip, 53, 1, 53)]));
    let mut frame = udp((V4.client, 1111), (V4.vip, 53), b"hello").bytes();
    frame[40..42].fill(0);
    let out = b.one(0, &frame).unwrap();
    assert_eq!(out[40..42], [0, 0]);
    Packet::read(&out);
}

#[test]
fn strangers_are_not_ours() {
    let mut b = Bench::new(snapshot(vec![service(6, V4.vip, 80, 1, 80)]));
    // No connection and no SYN: the kernel's business, or dropped by the defence.
    let stray = tcp((V4.client, 1), (V4.vip, 80), ACK, 1, 1).bytes();
    assert_eq!(b.one(0, &stray), None);
    assert_eq!(b.io.host.len(), 1);
    b.settings(|s| s.defence_tcp_drop = true);
    assert_eq!(b.one(0, &stray), None);
    assert_eq!(b.worker.stats().dropped(Reason::DefenceTcp), 1);
    // Spoofed sources make no connection.
    for src in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"] {
        assert_eq!(
            b.one(0, &tcp((src, 1), (V4.vip, 80), SYN, 1, 0).bytes()),
            None
        );
    }
    assert_eq!(b.worker.stats().dropped(Reason::BadAddress), 4);
    // Padding is cut, a bad checksum and a foreign MAC are dropped.
    let good = tcp((V4.client, 1), (V4.vip, 80), SYN, 1, 0).bytes();
    let mut padded = good.clone();
    padded.resize(60, 0xee);
    Packet::read(&b.one(0, &padded).unwrap());
    let mut broken = good.clone();
    broken[24] ^= 1;
    assert_eq!(b.one(0, &broken), None);
    assert_eq!(b.worker.stats().dropped(Reason::BadChecksum), 1);
    let mut foreign = good;
    foreign[5] ^= 1;
    assert_eq!(b.one(0, &foreign), None);
    assert_eq!(b.worker.stats().dropped(Reason::OtherHost), 1);
}
