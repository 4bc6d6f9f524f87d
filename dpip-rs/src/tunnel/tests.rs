//! Words in, message out; message in, line out.

use super::*;
use proptest::prelude::*;

fn tunnel(line: &str, command: Command) -> Result<Tunnel, Failure> {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let tunnel = parse(&words).map_err(|failure| failure.at("parse"))?;
    check(&tunnel, command).map_err(|failure| failure.at("check"))?;
    Ok(tunnel)
}

#[test]
fn every_attribute() {
    let line = "gre1 type gre remote 192.0.2.2 local 192.0.2.1 iseq csum okey 0.0.1.2 ikey 7 ttl 64 \
                tos inherit dev dpdk0";
    let gre = tunnel(line, Command::Add).unwrap();
    assert_eq!(gre.kind, Name::truncated("gre"));
    assert_eq!(gre.i_flags.get(), SEQ | CSUM | KEY);
    assert_eq!(gre.o_flags.get(), CSUM | KEY);
    assert_eq!((gre.i_key.get(), gre.o_key.get()), (7, 0x102));
    assert_eq!((gre.ttl, gre.tos), (64, 1));
    assert_eq!(
        text(&gre),
        "gre1:  gre remote 192.0.2.2 local 192.0.2.1 dev dpdk0 ttl 64 tos 0x1 i_flags 0xd \
         o_flags 0x5 i_key 0x7 o_key 0x102 \n"
    );
    let plain = tunnel("t0 mode ipip remote any ttl inherit", Command::Add).unwrap();
    assert_eq!(
        text(&plain),
        "t0: ipip remote 0.0.0.0 local 0.0.0.0 ttl inherit \n"
    );
}

#[test]
fn complaints() {
    for (line, command, complaint, step) in [
        ("t0", Command::Add, "missing tunnel type.", "check"),
        ("", Command::Del, "missing tunnel dev name.", "check"),
        (
            "mode gre",
            Command::Set,
            "missing tunnel dev name.",
            "check",
        ),
        (
            "mode sit",
            Command::Add,
            "invalid tunnel type: `sit' (ipip or gre)",
            "parse",
        ),
        (
            "t0 remote x",
            Command::Add,
            "invalid remote address: `x'",
            "parse",
        ),
        (
            "t0 local ::1",
            Command::Add,
            "invalid local address: `::1'",
            "parse",
        ),
        ("a b", Command::Show, "Is `a' or `b' garbage ?", "parse"),
        ("t0 ttl 256", Command::Add, "invalid ttl: 256", "parse"),
        ("t0 tos 0x100", Command::Add, "invalid tos: 0x100", "parse"),
        ("t0 key x", Command::Add, "invalid key: x", "parse"),
        (
            "t0 mode",
            Command::Add,
            "missing argument for `mode'",
            "parse",
        ),
    ] {
        let lines = tunnel(line, command).unwrap_err().lines("dpip");
        let last = format!("dpip: {step}: invalid parameter");
        assert_eq!(lines, [complaint.to_owned(), last], "{line}");
    }
}

proptest! {
    #[test]
    fn any_words_give_an_answer(line in "((mode|gre|remote|local|key|ttl|tos|dev|any|1|\\PC{0,6}) ){0,9}") {
        if let Err(failure) = tunnel(&line, Command::Add) {
            prop_assert!(failure.lines("dpip").len() >= 2);
        }
    }
}
