//! Words in, message out; message in, line out.

use super::*;

fn vlan(line: &str, command: Command) -> Result<Vlan, Failure> {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let vlan = parse(&words).map_err(|failure| failure.at("parse"))?;
    check(&vlan, command).map_err(|failure| failure.at("check"))?;
    Ok(vlan)
}

#[test]
fn words_in_any_order() {
    let one = vlan("link dpdk0 id 100", Command::Add).unwrap();
    assert_eq!((one.vlan_proto, one.vlan_id), (DOT1Q, 100));
    assert!(one.ifname.is_empty());
    let two = vlan("id 7 proto qinq v7 link dpdk0", Command::Add).unwrap();
    assert_eq!(
        (two.vlan_proto, two.vlan_id, two.ifname),
        (DOT1AD, 7, Name::truncated("v7"))
    );
    for (word, proto) in [
        ("802.1q", DOT1Q),
        ("vlan", DOT1Q),
        ("802.1ad", DOT1AD),
        ("QinQ", DOT1AD),
    ] {
        assert_eq!(
            vlan(&format!("link d proto {word} id 1"), Command::Add)
                .unwrap()
                .vlan_proto,
            proto
        );
    }
    // A removal is not checked.
    assert_eq!(
        vlan("", Command::Del).unwrap(),
        Vlan {
            vlan_proto: DOT1Q,
            ..Vlan::default()
        }
    );
}

#[test]
fn complaints() {
    let said = |line: &str, command| vlan(line, command).unwrap_err().lines("dpip");
    for (line, complaint, step) in [
        ("id 100", "missing real device", "check"),
        ("link dpdk0", "missing or invalid VLAN ID", "check"),
        ("link dpdk0 id 4095", "missing or invalid VLAN ID", "check"),
        ("link dpdk0 id 0", "missing or invalid VLAN ID", "check"),
        ("link dpdk0 id 65536", "invalid id: 65536", "parse"),
        ("link dpdk0 id 1 proto ipx", "invalid proto: ipx", "parse"),
        ("link", "missing argument for `link'", "parse"),
        ("one two link dpdk0 id 1", "too many arguments", "parse"),
    ] {
        let expected = [
            complaint.to_owned(),
            format!("dpip: {step}: invalid parameter"),
        ];
        assert_eq!(said(line, Command::Add), expected, "{line}");
    }
    assert_eq!(
        said("", Command::Show)[0],
        "missing both vlan and real device"
    );
}

#[test]
fn lines() {
    let mut one = vlan("dpdk0.100 link dpdk0 id 100", Command::Add).unwrap();
    assert_eq!(text(&one), "dpdk0.100 link dpdk0 proto 802.1q id 100");
    one.vlan_proto = DOT1AD;
    assert_eq!(text(&one), "dpdk0.100 link dpdk0 proto 802.1ad id 100");
    one.vlan_proto = 0x9100;
    assert_eq!(text(&one), "dpdk0.100 link dpdk0 proto 0x9100 id 100");
}
