//! Every command line of the golden list sends exactly the golden request.

use dpvs_ctl::{ErrCode, Kind};

use crate::standin::{StandIn, golden};

/// Bytes from hexadecimal groups, `zN` for N zero bytes.
fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for group in text.split_whitespace() {
        match group.strip_prefix('z') {
            Some(count) => bytes.resize(bytes.len() + count.parse::<usize>().unwrap(), 0),
            None => {
                for pair in group.as_bytes().chunks(2) {
                    let pair = std::str::from_utf8(pair).unwrap();
                    bytes.push(u8::from_str_radix(pair, 16).unwrap());
                }
            }
        }
    }
    bytes
}

#[test]
fn requests_are_the_golden_ones() {
    let list = golden("requests.tsv");
    let mut checked = 0;
    for line in list.lines().filter(|line| !line.starts_with('#')) {
        let [_, command, id, kind, body] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("five fields expected: {line}");
        };
        let standin = StandIn::new(|request| match request.kind {
            Kind::Get => Err(ErrCode::NOTEXIST),
            Kind::Set => Ok(Vec::new()),
        });
        let said = standin.dpip(command);
        let seen = standin.seen();
        assert_eq!(seen.len(), 1, "{command}: {said:?}");
        let kind = if kind == "get" { Kind::Get } else { Kind::Set };
        assert_eq!(
            (seen[0].id, seen[0].kind),
            (id.parse().unwrap(), kind),
            "{command}"
        );
        assert_eq!(seen[0].body, bytes(body), "{command}");
        match kind {
            Kind::Set => assert_eq!((said.code, said.out.as_str()), (Some(0), ""), "{command}"),
            Kind::Get => {
                assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{command}");
                assert!(
                    said.err.ends_with("dpip: not exist\n"),
                    "{command}: {said:?}"
                );
            }
        }
        checked += 1;
    }
    assert!(checked > 30, "only {checked} lines");
}

#[test]
fn a_refusal_is_two_lines_and_a_failure() {
    for (line, id) in [
        ("addr add 10.0.0.1/24 dev dpdk0", 47),
        ("route add 10.0.0.0/8 dev dpdk0", 28),
        ("-6 route add default dev dpdk0", 33),
        ("neigh del 10.0.0.1 dev dpdk0", 71),
        ("link set dpdk0 promisc on", 54),
        ("link add bond0 bond-slave dpdk1", 55),
        ("vlan del dpdk0.100", 82),
    ] {
        let said = StandIn::new(|_| Err(ErrCode::EXIST)).dpip(line);
        assert_eq!(
            (said.code, said.err),
            (
                Some(1),
                format!(
                    "[sockopt_msg_recv] errcode set in socket msg#{id} header: already exist(-3)\n\
                     dpip: already exist\n"
                )
            ),
            "{line}"
        );
    }
}

#[test]
fn verbose_shows_the_route_before_it_is_sent() {
    let standin = StandIn::new(|_| Err(ErrCode::INVAL));
    let said = standin.dpip("-v route add 10.0.0.0/8 dev dpdk0 mtu 1500");
    assert_eq!(
        said.out,
        "inet 10.0.0.0/8 via 0.0.0.0 src 0.0.0.0 dev dpdk0 mtu 1500 tos 0 scope link metric 0 \
         proto auto \n"
    );
    let said = standin.dpip("-v -6 route add default via fe80::1 dev dpdk0");
    assert_eq!(
        said.out,
        "inet6 default via fe80::1 dev dpdk0 scope global\n"
    );
}

#[test]
fn nothing_is_sent_for_what_cannot_be_meant() {
    let standin = StandIn::new(|_| Ok(Vec::new()));
    for (line, complaint) in [
        ("addr add dev dpdk0", "missing IFADDR\n"),
        ("addr add 10.0.0.1", "no device specified.\n"),
        (
            "addr add 10.0.0.300 dev dpdk0",
            "invalid ipaddress: unspec 10.0.0.300\n",
        ),
        ("route add dev dpdk0", "missing prefix\n"),
        ("route flush", "no device specified\n"),
        ("route set 10.0.0.0/8 dev dpdk0", ""),
        ("-6 route set ::/8 dev dpdk0", ""),
        ("neigh flush dev dpdk0", ""),
        ("neigh add 10.0.0.1 dev dpdk0", "invalid MAC address\n"),
        (
            "link set dpdk0 promisc perhaps",
            "invalid arguement value for 'promisc'\n",
        ),
        (
            "link set dpdk0 colour blue",
            "invalid parameter name 'colour'\n",
        ),
        (
            "link set cpu1 promisc on",
            "cpu1: lcores can only be shown\n",
        ),
        ("vlan add id 1", "missing real device\n"),
    ] {
        let said = standin.dpip(line);
        assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{line}");
        let last = said
            .err
            .strip_prefix(complaint)
            .unwrap_or_else(|| panic!("{line}: {said:?}"));
        assert!(last.starts_with("dpip: "), "{line}: {said:?}");
        assert_eq!(last.lines().count(), 1, "{line}: {said:?}");
    }
    assert!(standin.seen().is_empty());
}
