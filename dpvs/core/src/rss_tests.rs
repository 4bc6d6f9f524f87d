//! The hash against Microsoft's published vectors; owners and lanes against the
//! definition.

use super::*;
use crate::rng::Rng;

fn ip(s: &str) -> IpAddr {
    s.parse().unwrap()
}

/// "Verifying the RSS hash calculation", Windows driver documentation: source,
/// destination, hash of addresses, hash of addresses and ports.
#[test]
fn microsoft_vectors() {
    let t = Toeplitz::new(&DEFAULT_KEY).unwrap();
    for (src, sport, dst, dport, addrs, all) in [
        (
            "66.9.149.187",
            2794,
            "161.142.100.80",
            1766,
            0x323e_8fc2,
            0x51cc_c178,
        ),
        (
            "199.92.111.2",
            14230,
            "65.69.140.83",
            4739,
            0xd718_262a,
            0xc626_b0ea,
        ),
        (
            "24.19.198.95",
            12898,
            "12.22.207.184",
            38024,
            0xd2d0_a5de,
            0x5c2b_394a,
        ),
        (
            "38.27.205.30",
            48228,
            "209.142.163.6",
            2217,
            0x8298_9176,
            0xafc7_327f,
        ),
        (
            "153.39.163.191",
            44251,
            "202.188.127.2",
            1303,
            0x5d18_09c5,
            0x10e8_28a2,
        ),
        (
            "3ffe:2501:200:1fff::7",
            2794,
            "3ffe:2501:200:3::1",
            1766,
            0x2cc1_8cd5,
            0x4020_7d3d,
        ),
        (
            "3ffe:501:8::260:97ff:fe40:efab",
            14230,
            "ff02::1",
            4739,
            0x0f0c_461c,
            0xdde5_1bbf,
        ),
        (
            "3ffe:1900:4545:3:200:f8ff:fe21:67cf",
            44251,
            "fe80::200:f8ff:fe21:67cf",
            38024,
            0x4b61_e985,
            0x02d1_feef,
        ),
    ] {
        let (src, dst) = (ip(src), ip(dst));
        assert_eq!(t.hash(src, dst, None), Some(addrs), "{src} {dst}");
        assert_eq!(
            t.hash(src, dst, Some((sport, dport))),
            Some(all),
            "{src} {dst}"
        );
    }
    assert_eq!(t.hash(ip("::1"), ip("1.1.1.1"), None), None);
    assert!(Toeplitz::new(&DEFAULT_KEY[..39]).is_none());
    // Longer keys (i40e and ice have 52 bytes) begin with what is used here.
    let long = [&DEFAULT_KEY[..], &[9; 12]].concat();
    let long = Toeplitz::new(&long)
        .unwrap()
        .hash(ip("66.9.149.187"), ip("161.142.100.80"), None);
    assert_eq!(long, Some(0x323e_8fc2));
}

/// The definition, bit by bit: for every set bit of the input, the 32 bits of
/// key from there on.
#[test]
fn hash_is_the_definition() {
    let mut rng = Rng(7);
    let mut random = || rng.next() as u8;
    for _ in 0..50 {
        let key: Vec<u8> = (0..KEY_LEN).map(|_| random()).collect();
        let input: [u8; INPUT] = std::array::from_fn(|_| random());
        let key_bit = |i: usize| u32::from(key[i / 8] >> (7 - i % 8) & 1);
        let mut want = 0;
        for i in 0..INPUT * 8 {
            if input[i / 8] >> (7 - i % 8) & 1 != 0 {
                want ^= (0..32).fold(0, |w, b| w << 1 | key_bit(i + b));
            }
        }
        assert_eq!(Toeplitz::new(&key).unwrap().part(0, &input), want);
    }
}

const ALL: Hashed = Hashed {
    ip: [true; 2],
    tcp: [true; 2],
    udp: [true; 2],
};

fn table(entries: usize, workers: u8) -> Vec<Option<WorkerId>> {
    (0..entries)
        .map(|i| Some(WorkerId((i % usize::from(workers)) as u8)))
        .collect()
}

/// Every worker finds local ports for any server that bring the replies to it,
/// about as many as its share of the table, and no port is two workers'.
#[test]
fn lanes_lead_to_the_own_worker() {
    for (entries, workers) in [(128, 1u8), (128, 2), (128, 3), (512, 8), (64, 6), (1024, 7)] {
        let nic = Nic::new(&DEFAULT_KEY, ALL, &table(entries, workers), None, workers).unwrap();
        for (server, laddr) in [
            ("10.0.1.11", "10.0.1.200"),
            ("10.7.99.3", "10.0.1.201"),
            ("2001:db8:2::11", "2001:db8:2::200"),
        ] {
            let (server, laddr) = (ip(server), ip(laddr));
            let layout = nic.layout(server.is_ipv6());
            if workers.is_power_of_two() {
                assert_eq!(layout.lanes(), u32::from(workers), "the table's period");
            }
            let rest = nic.rest_of_reply(server, 8080, laddr) & (layout.lanes() - 1);
            let mut ports = std::collections::HashSet::new();
            for w in 0..workers {
                let picker = nic.picker(WorkerId(w));
                let mut open = [0; crate::lanes::MAX_LANES / 64];
                for lane in 0..layout.lanes() {
                    open[lane as usize / 64] |= 1 << (lane % 64);
                }
                let mut count = 0;
                while let Some((lane, _)) = picker.pick(rest, &open, 5 % layout.lanes()) {
                    open[lane as usize / 64] &= !(1 << (lane % 64));
                    for i in 0..layout.ports_per_lane() {
                        let port = layout.port((lane * layout.ports_per_lane() + i) as u16);
                        let owner = nic.owner(TCP, server, laddr, (8080, port));
                        assert_eq!(owner, Some(WorkerId(w)));
                        assert!(ports.insert(port), "{port} twice");
                        count += 1;
                    }
                }
                let share = 65536 / u32::from(workers);
                assert!(count > share / 2 && count < share * 2, "{count} of {share}");
            }
            assert_eq!(ports.len(), 65536);
        }
    }
}

#[test]
fn unfit_ports_say_why() {
    let new = |key: &[u8], hashed, table: &[Option<WorkerId>], workers| {
        Nic::new(key, hashed, table, None, workers).err()
    };
    assert_eq!(new(&[1; 39], ALL, &table(128, 2), 2), Some(Unfit::Key));
    assert_eq!(new(&DEFAULT_KEY, ALL, &[], 2), Some(Unfit::Table));
    assert_eq!(
        new(&DEFAULT_KEY, ALL, &table(100, 2), 2),
        Some(Unfit::Table)
    );
    assert_eq!(
        new(&DEFAULT_KEY, ALL, &table(128, 2), 3),
        Some(Unfit::Worker(WorkerId(2)))
    );
    let ip_only = Hashed {
        ip: [true; 2],
        ..Hashed::default()
    };
    assert_eq!(
        new(&DEFAULT_KEY, ip_only, &table(128, 2), 2),
        Some(Unfit::Ports)
    );
    // A key under which ports do not matter.
    let mut key = DEFAULT_KEY;
    key[8..20].fill(0);
    assert_eq!(new(&key, ALL, &table(128, 3), 3), Some(Unfit::Rank));
    assert_eq!(new(&DEFAULT_KEY, ALL, &table(128, 3), 3), None);
}

#[test]
fn owners_follow_what_is_hashed() {
    let tcp_only = Hashed {
        tcp: [true; 2],
        ..Hashed::default()
    };
    let rest = Some(WorkerId(1));
    let nic = Nic::new(&DEFAULT_KEY, tcp_only, &table(128, 2), rest, 2).unwrap();
    let (a, b) = (ip("10.0.0.1"), ip("10.0.0.2"));
    // What is not hashed all goes to queue 0.
    assert!((0..100).all(|p| nic.owner(UDP, a, b, (p, 9)) == rest));
    assert!(!nic.matches(UDP, false) && nic.matches(TCP, true));
    let owners: Vec<_> = (0..100).map(|p| nic.owner(TCP, a, b, (p, 9))).collect();
    assert!(owners.contains(&Some(WorkerId(0))) && owners.contains(&Some(WorkerId(1))));
    // Addresses only: ports do not matter.
    let with_ip = Hashed {
        ip: [true; 2],
        ..tcp_only
    };
    let nic = Nic::new(&DEFAULT_KEY, with_ip, &table(128, 2), None, 2).unwrap();
    let first = nic.owner(UDP, a, b, (0, 9));
    assert!(first.is_some() && (0..100).all(|p| nic.owner(UDP, a, b, (p, 9)) == first));
}
