use super::*;
use proptest::prelude::*;

/// Byte by byte, as the definition says.
fn slow_sum(data: &[u8]) -> u16 {
    let mut sum = 0u64;
    for pair in data.chunks(2) {
        sum += u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

/// 0 and 0xffff are the same number.
fn same(a: u16, b: u16) -> bool {
    a % 0xffff == b % 0xffff
}

#[test]
fn rfc1071_example() {
    let data = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
    assert_eq!(sum(&data), 0xddf2);
    assert_eq!(checksum(&data), 0x220d);
    assert_eq!(sum(&[]), 0);
    assert_eq!(sum(&[0xab]), 0xab00);
}

#[test]
fn rfc1624_example() {
    // Section 4: the example the older equation gets wrong.
    assert_eq!(update16(0xdd2f, 0x5555, 0x3285), 0x0000);
}

#[test]
fn known_packets() {
    // An empty datagram over IPv4, added up by hand.
    let udp: [u8; 8] = [0xc0, 0x00, 0x00, 0x35, 0x00, 0x08, 0, 0];
    let pseudo = pseudo_v4([192, 0, 2, 1].into(), [192, 0, 2, 2].into(), 17, 8);
    let by_hand = 0xc000u32 + 0x0201 + 0xc000 + 0x0202 + 17 + 8 + 0xc000 + 0x35 + 8;
    let by_hand = (by_hand & 0xffff) + (by_hand >> 16);
    assert_eq!(transport(pseudo, &udp), !(by_hand as u16));
    // Pseudo headers are sums over their bytes.
    let (src, dst): (Ipv6Addr, Ipv6Addr) = (
        "2001:db8::1".parse().unwrap(),
        "fe80::ffff:2".parse().unwrap(),
    );
    let mut bytes = Vec::new();
    bytes.extend(src.octets());
    bytes.extend(dst.octets());
    bytes.extend(70000u32.to_be_bytes());
    bytes.extend([0, 0, 0, 58]);
    assert_eq!(pseudo_v6(src, dst, 58, 70000), slow_sum(&bytes));
}

#[test]
fn zeros_of_udp() {
    assert_eq!(udp_field(0), 0xffff);
    assert_eq!(udp_field(5), 5);
    let delta = Delta::new().add(7u16).sub(9u16);
    assert_eq!(delta.apply_udp(0), 0, "no checksum stays none");
    // A change after which the checksum would be 0.
    let delta = Delta::new().add(0xffff_u16 - 0x1234).sub(0u16);
    assert_eq!(delta.apply(!0x1234), 0);
    assert_eq!(delta.apply_udp(!0x1234), 0xffff);
}

/// Where the last carry of folding is needed, which random bytes hardly hit.
#[test]
fn folding_loses_no_carry() {
    let edges = [0u64, 1, 2, 0x7fff, 0xfffd, 0xfffe, 0xffff];
    for a in edges {
        for b in edges {
            for c in edges {
                for d in edges {
                    let n = a << 48 | b << 32 | c << 16 | d;
                    let folded = fold(n);
                    assert!(same(folded, (n % 0xffff) as u16), "{n:x}");
                    assert_eq!(folded == 0, n == 0, "{n:x}");
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn fast_is_slow(data in prop::collection::vec(any::<u8>(), 0..300), skip in 0usize..8) {
        // Unaligned starts too.
        let data = &data[skip.min(data.len())..];
        prop_assert_eq!(sum(data), slow_sum(data));
    }

    #[test]
    fn all_ones_and_zeros(len in 0usize..200, ones: bool) {
        let data = vec![if ones { 0xff } else { 0 }; len];
        prop_assert_eq!(sum(&data), slow_sum(&data));
    }

    #[test]
    fn long_data_loses_no_carry(len in 0usize..70_000) {
        let data = vec![0xff; len];
        prop_assert_eq!(sum(&data), slow_sum(&data));
    }

    #[test]
    fn incremental_is_full(
        mut data in prop::collection::vec(
            prop_oneof![any::<u8>(), Just(0), Just(0xff)], 8..120),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0usize..5,
            prop_oneof![any::<u128>(), Just(0), Just(u128::MAX)]), 1..6),
    ) {
        // A checksum field at the front, then what it covers. What is real has
        // always a byte that is not zero (a protocol, a version).
        data[0] = 0;
        data[1] = 0;
        data[2] = 0x45;
        let mut field = checksum(&data);
        let mut delta = Delta::new();
        let mut parts = Delta::new();
        for (at, kind, value) in changes {
            let len = [2, 4, 8, 16, 2][kind];
            if data.len() < 4 + len {
                continue;
            }
            let at = 4 + at.index(data.len() - len - 3) / 2 * 2;
            let old = data[at..at + len].to_vec();
            let new = value.to_be_bytes()[..len].to_vec();
            data[at..at + len].copy_from_slice(&new);
            let d = Delta::new();
            let d = match kind {
                0 => d.add(u16::from_be_bytes(new.clone().try_into().unwrap()))
                    .sub(u16::from_be_bytes(old.clone().try_into().unwrap())),
                1 => d.add(Ipv4Addr::from(<[u8; 4]>::try_from(new.clone()).unwrap()))
                    .sub(u32::from_be_bytes(old.clone().try_into().unwrap())),
                2 => d.add(u64::from_be_bytes(new.clone().try_into().unwrap()))
                    .sub(u64::from_be_bytes(old.clone().try_into().unwrap())),
                3 => d.add(IpAddr::from(<[u8; 16]>::try_from(new.clone()).unwrap()))
                    .sub(Ipv6Addr::from(<[u8; 16]>::try_from(old.clone()).unwrap())),
                _ => d.add_bytes(&new).sub_bytes(&old),
            };
            delta = delta.add_bytes(&new).sub_bytes(&old);
            parts = parts.and(d);
            field = Delta::from_bits(d.to_bits()).apply(field);
        }
        data[0] = 0;
        data[1] = 0;
        prop_assert_eq!(field, checksum(&data), "one by one");
        // All at once, from the original: undo all, then do all.
        let original = parts.inverse().apply(field);
        prop_assert!(same(delta.apply(original), field));
        prop_assert!(same(parts.apply(original), field));
        data[..2].copy_from_slice(&field.to_be_bytes());
        prop_assert_eq!(sum(&data), 0xffff);
    }

    #[test]
    fn updates_are_full(words in prop::collection::vec(any::<u16>(), 3..20), new: u32) {
        let bytes = |w: &[u16]| w.iter().flat_map(|w| w.to_be_bytes()).collect::<Vec<u8>>();
        let mut words = words;
        words[2] |= 1;
        let before = checksum(&bytes(&words));
        let old = u32::from(words[0]) << 16 | u32::from(words[1]);
        words[0] = (new >> 16) as u16;
        words[1] = new as u16;
        prop_assert_eq!(update32(before, old, new), checksum(&bytes(&words)));
        let step = update16(before, (old >> 16) as u16, words[0]);
        prop_assert_eq!(update16(step, old as u16, words[1]), checksum(&bytes(&words)));
    }

    #[test]
    fn odd_offsets(
        mut data in prop::collection::vec(any::<u8>(), 30..60),
        new in prop::collection::vec(any::<u8>(), 1..20),
        at in 3usize..10,
    ) {
        data[0] = 1;
        let before = checksum(&data);
        let range = at..at + new.len();
        let delta = Delta::new().sub_bytes(&data[range.clone()]).add_bytes(&new);
        data[range].copy_from_slice(&new);
        let delta = if at.is_multiple_of(2) { delta } else { delta.swapped() };
        prop_assert_eq!(delta.apply(before), checksum(&data));
    }

    #[test]
    fn combine_is_a_group(a: u16, b: u16, c: u16) {
        prop_assert_eq!(combine(a, b), combine(b, a));
        prop_assert_eq!(combine(combine(a, b), c), combine(a, combine(b, c)));
        prop_assert!(same(combine(combine(a, b), !b), a));
    }
}
