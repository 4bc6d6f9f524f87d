//! ICMP errors about packets of a connection reach the end they are about.
#![allow(clippy::unwrap_used)]

mod support;

use support::frames::frag_needed;
use support::{Bench, Packet, fold, service, snapshot, sum, tcp};

const SYN: u8 = 2;
const ACK: u8 = 16;

#[test]
fn frag_needed_both_ways() {
    let mut b = Bench::new(snapshot(vec![service(6, "192.0.2.10", 80, 1, 8080)]));
    let (c, v) = (("198.51.100.7", 40000), ("192.0.2.10", 80));
    let request = tcp(c, v, SYN, 1000, 0).bytes();
    let to_server = b.one(0, &request).unwrap();
    let syn = Packet::read(&to_server);
    let rs = syn.dst.0.to_string();
    let answer = tcp(
        (&rs, 8080),
        ("10.0.1.200", syn.src.1),
        SYN | ACK,
        7,
        syn.seq + 1,
    )
    .from_rs()
    .bytes();
    let to_client = b.one(1, &answer).unwrap();

    // From beyond the inside port, about what the server was sent: to the client.
    let error = frag_needed(
        &to_server,
        [10, 0, 1, 254],
        (support::MAC1, support::RS_MAC),
    );
    let out = b.one(1, &error).unwrap();
    assert_eq!(out[..6], support::CLIENT_MAC);
    assert_eq!(fold(sum(&out[14..34])), 0xffff);
    assert_eq!(fold(sum(&out[34..])), 0xffff, "ICMP checksum");
    assert_eq!(
        (out[26..30].to_vec(), out[30..34].to_vec()),
        (vec![192, 0, 2, 10], vec![198, 51, 100, 7])
    );
    // The MTU, less what TOA takes in a segment.
    assert_eq!(out[34..42], [3, 4, out[36], out[37], 0, 0, 5, 0x70]);
    // The quote is the client's own packet again.
    assert_eq!(
        out[42 + 12..42 + 28],
        request[26..42],
        "addresses, ports, sequence number"
    );
    assert_eq!(fold(sum(&out[42..62])), 0xffff, "quoted header checksum");

    // From the client's side, about the answer: to the server.
    let error = frag_needed(
        &to_client,
        [203, 0, 113, 1],
        (support::MAC0, support::CLIENT_MAC),
    );
    let out = b.one(0, &error).unwrap();
    assert_eq!(out[..6], support::RS_MAC);
    assert_eq!(fold(sum(&out[14..34])), 0xffff);
    assert_eq!(fold(sum(&out[34..])), 0xffff);
    assert_eq!(out[30..34], answer[26..30], "to the server");
    assert_eq!(out[42 + 12..42 + 28], answer[26..42]);

    // With a broken checksum, or about nobody's packet, nothing is translated.
    let mut bad = error.clone();
    bad[41] ^= 1;
    assert_eq!(b.one(0, &bad), None);
    let other = tcp(("192.0.2.10", 81), c, ACK, 1, 1).bytes();
    let error = frag_needed(
        &other,
        [203, 0, 113, 1],
        (support::MAC0, support::CLIENT_MAC),
    );
    assert_eq!(b.one(0, &error), None);
}
