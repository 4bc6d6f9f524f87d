//! Words in, message out.

use super::*;
use dpvs_ctl::Wire;

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn change(line: &str) -> Result<Change, Failure> {
    parse(&words(line)).map(|(change, _)| change)
}

fn said(line: &str) -> String {
    change(line).unwrap_err().lines("dpip").remove(0)
}

#[test]
fn switches_set_one_bit() {
    for (line, bit) in [
        ("promisc on", 0),
        ("promisc off", 1),
        ("allmulticast on", 2),
        ("allmulticast off", 3),
        ("link up", 4),
        ("link down", 5),
        ("forward2kni on", 6),
        ("forward2kni off", 7),
        ("tc-egress on", 8),
        ("tc-egress off", 9),
        ("tc-ingress on", 10),
        ("tc-ingress off", 11),
        ("lldp on", 12),
        ("lldp off", 13),
    ] {
        match change(&format!("dpdk0 {line}")).unwrap() {
            Change::Port(set) => {
                assert_eq!(set.flags, 1 << bit, "{line}");
                assert_eq!(
                    (set.pname.text(), set.macaddr.is_empty()),
                    ("dpdk0".into(), true)
                );
            }
            other => panic!("{line}: {other:?}"),
        }
    }
}

#[test]
fn bonds_take_numbers_or_names() {
    for (line, opt, param) in [
        ("bond-mode 4", 1, 4_i32.encode()),
        ("bond-primary dpdk1", 3, b"dpdk1".to_vec()),
        ("bond-xmit-policy layer34", 4, b"LAYER34".to_vec()),
        ("bond-xmit-policy LAYER2", 4, b"LAYER2".to_vec()),
        ("bond-monitor-interval 100", 5, 100_i32.encode()),
        ("bond-link-down-prop 0", 6, 0_i32.encode()),
        ("bond-link-up-prop 7", 7, 7_i32.encode()),
    ] {
        let mut expected = [0; 32];
        expected[..param.len()].copy_from_slice(&param);
        match change(&format!("bond0 {line}")).unwrap() {
            Change::Bond(set) => {
                assert_eq!((set.act, set.opt), (3, opt), "{line}");
                assert_eq!(set.param.0, expected, "{line}");
            }
            other => panic!("{line}: {other:?}"),
        }
    }
}

#[test]
fn members() {
    let member = |command, line| parse_member(command, &words(line));
    let add = member(Command::Add, "bond0 bond-slave dpdk1").unwrap();
    assert_eq!((add.act, add.opt, add.name.text()), (1, 2, "bond0".into()));
    let del = member(Command::Del, "bond0 bond-slave dpdk1").unwrap();
    assert_eq!((del.act, del.param), (2, add.param));
    for (line, complaint) in [
        ("bond0 bond-mode 4", "invalid parameter name 'bond-mode'"),
        ("bond0 bond-slave", "missing argument for `bond-slave'"),
        ("bond0", "missing bond or member"),
        ("", "missing bond or member"),
    ] {
        assert_eq!(
            member(Command::Add, line).unwrap_err().lines("dpip")[0],
            complaint
        );
    }
}

#[test]
fn complaints_keep_their_spelling() {
    for (line, complaint) in [
        (
            "dpdk0 promisc maybe",
            "invalid arguement value for 'promisc'",
        ),
        ("dpdk0 lldp up", "invalid arguement value for 'lldp'"),
        ("dpdk0 link on", "invalid argument value for 'link'"),
        ("bond0 bond-mode 7", "invalid bonding mode: 7"),
        ("bond0 bond-mode -1", "invalid bonding mode: -1"),
        (
            "bond0 bond-xmit-policy layer4",
            "invalid xmit-poliy: layer4",
        ),
        (
            "bond0 bond-monitor-interval 0",
            "invalid link_monitor_interval: 0",
        ),
        ("bond0 bond-link-down-prop x", "invalid link_down_prop: x"),
        ("bond0 bond-link-up-prop -1", "invalid link_up_prop: -1"),
        ("dpdk0 mtu 9000", "invalid parameter name 'mtu'"),
        (
            "dpdk0 addr 01:00:5e:00:00:01",
            "invalid argument value for 'addr': 01:00:5e:00:00:01",
        ),
        ("dpdk0 addr 0:1", "invalid argument value for 'addr': 0:1"),
        ("dpdk0 promisc", "missing argument for `promisc'"),
        ("dpdk0", "missing device or item"),
        (
            "a-device-name-of-thirty-two-chars promisc on",
            "invalid device name: 'a-device-name-of-thirty-two-chars' (1 to 31 characters)",
        ),
    ] {
        assert_eq!(said(line), complaint);
    }
}

#[test]
fn the_mac_is_sent_as_text() {
    match change("dpdk0 addr 02:00:00:00:00:AB").unwrap() {
        Change::Port(set) => {
            assert_eq!(
                (set.macaddr.text(), set.flags),
                ("02:00:00:00:00:AB".into(), 0)
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_the_first_pair_counts() {
    let all = words("dpdk0 promisc on lldp on");
    let (_, rest) = parse(&all).unwrap();
    assert_eq!(rest, ["lldp", "on"]);
}
