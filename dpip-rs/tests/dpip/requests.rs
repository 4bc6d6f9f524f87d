//! Every command line of the golden list sends exactly the golden request.

use dpvs_ctl::msg::{IpsetInfo, IpsetParam, encode_ipsets};
use dpvs_ctl::{ErrCode, Kind, Name, Wire, id};

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

/// A list of one set: `bar`, or `t-TYPE` of that type.
fn set_of_type(request: &[u8]) -> Option<Vec<u8>> {
    let name = IpsetParam::take(request).name;
    let kind = match &*name.text() {
        "bar" => "hash:net,port,iface".to_owned(),
        other => other.strip_prefix("t-")?.to_owned(),
    };
    let info = IpsetInfo {
        name,
        kind: Name::truncated(&kind),
        af: 2,
        ..IpsetInfo::default()
    };
    Some(encode_ipsets(&[(info, Vec::new())]))
}

#[test]
fn requests_are_the_golden_ones() {
    let list = golden("requests.tsv");
    let mut checked = 0;
    for line in list.lines().filter(|line| !line.starts_with('#')) {
        let [_, command, id, kind, body] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("five fields expected: {line}");
        };
        let standin = StandIn::new(|request| match (request.kind, request.id) {
            // The type of a set is asked for before its entries are.
            (_, id::GET_IPSET_LIST) => set_of_type(&request.body).ok_or(ErrCode::NOTEXIST),
            (Kind::Get, _) => Err(ErrCode::NOTEXIST),
            (Kind::Set, _) => Ok(Vec::new()),
        });
        let said = standin.dpip(command);
        let mut seen = standin.seen();
        if seen.len() == 2 {
            let first = seen.remove(0);
            assert_eq!(first.id, id::GET_IPSET_LIST, "{command}: {said:?}");
            // Name and opcode, nothing else.
            assert_eq!(first.body[32..64], seen[0].body[32..64], "{command}");
            assert_eq!(first.body[96..98], [7, 0], "{command}");
        }
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
    assert!(checked > 90, "only {checked} lines");
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
        ("qsch del dev dpdk0 root", 85),
        ("cls del dev dpdk0 handle 1:", 85),
        ("tunnel add t0 mode gre", 94),
        ("ipset destroy foo", 103),
        ("iftraf enable", 106),
        ("flow flush type kni dev dpdk0", 101),
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
        (
            "route set 10.0.0.0/8 dev dpdk0",
            "dpip: route has no command `set'; `dpip route help' lists what it has\n",
        ),
        (
            "-6 route set ::/8 dev dpdk0",
            "dpip: route has no command `set'; `dpip route help' lists what it has\n",
        ),
        (
            "neigh flush dev dpdk0",
            "dpip: neigh has no command `flush'; `dpip neigh help' lists what it has\n",
        ),
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
        ("qsch add root tbf", "missing device.\n"),
        ("cls add dev d match", "invalid match pattern.\n"),
        ("tunnel add t0", "missing tunnel type.\n"),
        (
            "ipset create s bitmap:ip",
            "bitmap's IP range MUST be specified\n",
        ),
        ("ipset flush", "missing set name\n"),
        ("flow add dev dpdk0 10.0.0.1", "missing flow type\n"),
        ("lldp show", "missing device name\n"),
        (
            "-w link set dpdk0 promisc on",
            "-w repeats `show', not `set': leave one of them out\n",
        ),
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
