//! Words in, message out.

use super::*;

fn flow(line: &str, command: Command) -> Result<KniFlow, Failure> {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    parse(&words, command, Family::Unspec)
}

#[test]
fn the_type_stands_first() {
    let one = flow("type kni dev dpdk0 2001:db8::1", Command::Add).unwrap();
    assert_eq!((one.kind, one.af), (ADDRESS_FLOW, Af::INET6));
    assert_eq!(text(&one), "kni addr flow 2001:db8::1 dev dpdk0\n");
    for (line, command, complaint) in [
        (
            "dev dpdk0 type kni 10.0.0.1",
            Command::Add,
            "missing flow type",
        ),
        ("", Command::Flush, "missing flow type"),
        ("type", Command::Add, "missing argument for `type'"),
        (
            "type rss dev d",
            Command::Show,
            "invalid flow type: `rss' (the only one is kni)",
        ),
        ("type kni 10.0.0.1", Command::Add, "no device specified."),
        ("type kni dev d", Command::Del, "missing ip address"),
        (
            "type kni dev d x",
            Command::Del,
            "invalid ipaddress: unspec x",
        ),
    ] {
        let lines = flow(line, command).unwrap_err().lines("dpip");
        assert_eq!(lines, [complaint, "dpip: invalid parameter"], "{line}");
    }
}
