//! A daemon that answers short, long, wrong or not at all gets an error line,
//! never a panic, a hang or a listing made up from garbage.

use dpvs_ctl::server::Request;
use dpvs_ctl::{ErrCode, Kind, PROTOCOL_VERSION, ReplyHead, RequestHead, Wire};

use crate::standin::StandIn;

const SHOWS: [&str; 32] = [
    "addr show",
    "-v -s addr show",
    "route show",
    "-6 route show",
    "neigh show",
    "link show",
    "link show dpdk0",
    "-s -v link show dpdk0",
    "-v link show dpdk0",
    "link show bond0 status",
    "link show cpu",
    "-s link show cpu1",
    "maddr show",
    "maddr show dev dpdk0",
    "vlan show dpdk0.1",
    "ipv6 show all",
    "tunnel show",
    "-s qsch show dev d",
    "cls show dev d",
    "ipset show",
    "ipset test s 10.0.0.1",
    "iftraf show dev d",
    "eal-mem show seg",
    "eal-mem show zone",
    "eal-mem show ring",
    "eal-mem show pool",
    "flow show type kni dev d",
    "flow show",
    "drop show",
    "counter show",
    "lldp show dev d",
    "-j link show",
];

/// A reply header that announces `len` bytes, and `body` after it.
fn reply(request: &Request, len: u64, body: &[u8]) -> Vec<u8> {
    let head = RequestHead::new(request.id, request.kind, 0);
    let head = ReplyHead {
        len,
        ..ReplyHead::new(&head, ErrCode::OK, 0)
    };
    let mut bytes = head.encode();
    bytes.extend_from_slice(body);
    bytes
}

/// Every listing must end with 1 and a line that names the program.
fn all_fail(why: &str, answer: impl Fn(&Request) -> Vec<u8> + Clone + Send + 'static) {
    for line in SHOWS {
        let said = StandIn::raw(answer.clone()).dpip(line);
        assert_eq!(said.code, Some(1), "{why}: {line}: {said:?}");
        let last = said.err.lines().last().unwrap_or_default();
        assert!(last.starts_with("dpip: "), "{why}: {line}: {said:?}");
        assert!(!said.err.contains("panicked"), "{why}: {line}: {said:?}");
    }
}

#[test]
fn no_answer() {
    all_fail("closed at once", |_| Vec::new());
    all_fail("half a header", |request| {
        reply(request, 0, &[])[..40].to_vec()
    });
}

#[test]
fn fewer_bytes_than_announced() {
    all_fail("3 of 100", |request| reply(request, 100, &[1, 2, 3]));
}

#[test]
fn a_body_too_short_for_its_message() {
    all_fail("3 bytes", |request| reply(request, 3, &[1, 2, 3]));
}

#[test]
fn an_impossible_length() {
    all_fail("2^64-1", |request| reply(request, u64::MAX, &[0; 64]));
    all_fail("2^40", |request| reply(request, 1 << 40, &[0; 64]));
}

#[test]
fn a_count_that_cannot_fit() {
    // Every list counts within its first twelve bytes.
    for ones in [[0xff; 12], [0x7f; 12]] {
        all_fail("huge count", move |request| match request.id {
            // These count nothing; too short is all that can be wrong.
            57..=59 | 61 | 62 | 64 | 65 | 93 => reply(request, 5, &[0xff; 5]),
            _ => reply(request, 12, &ones),
        });
    }
}

#[test]
fn another_protocol_version() {
    all_fail("version", |request| {
        let mut bytes = reply(request, 0, &[]);
        (PROTOCOL_VERSION + 1).put(&mut bytes);
        bytes
    });
}

#[test]
fn garbage_is_survived() {
    // A fixed sequence, so that a failure can be repeated.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..12 {
        let mut body = vec![0; 1 << (4 + round)];
        for byte in &mut body {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            *byte = state.to_be_bytes()[0];
        }
        for line in SHOWS {
            let body = body.clone();
            let said =
                StandIn::raw(move |request| reply(request, body.len() as u64, &body)).dpip(line);
            assert!(matches!(said.code, Some(0 | 1)), "{line}: {said:?}");
            assert!(!said.err.contains("panicked"), "{line}: {said:?}");
        }
    }
}

#[test]
fn unknown_codes_and_texts() {
    let said = StandIn::raw(|request| {
        let head = RequestHead::new(request.id, Kind::Get, 0);
        let head = ReplyHead {
            code: ErrCode(-99),
            ..ReplyHead::new(&head, ErrCode::OK, 0)
        };
        let mut bytes = head.encode();
        bytes[16..80].fill(b'%');
        bytes
    })
    .dpip("addr show");
    assert_eq!(said.code, Some(1));
    assert!(
        said.err.ends_with(&format!("dpip: {}\n", "%".repeat(64))),
        "{said:?}"
    );
}
