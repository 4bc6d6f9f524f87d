use proptest::prelude::*;

use super::*;
use dpvs_wire::checksum;

/// A segment with these options (padded with EOL) and some payload; the checksum
/// is right for a pseudo header that sums to 0.
fn segment(options: &[u8]) -> Vec<u8> {
    let mut bytes = vec![
        0x30, 0x39, 0, 80, 1, 2, 3, 4, 5, 6, 7, 8, 0x50, 0x18, 0x10, 0, 0, 0, 0, 0,
    ];
    bytes.extend(options);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes[12] = (bytes.len() as u8 / 4) << 4;
    bytes.extend(b"payload");
    let sum = checksum::checksum(&bytes);
    bytes[16..18].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// Applies a delta and looks whether the checksum is right again.
fn settle(bytes: &mut [u8], delta: Delta) {
    let mut tcp = Tcp::new_checked(&mut *bytes).unwrap();
    tcp.set_checksum(delta.apply(tcp.checksum()));
    assert_eq!(checksum::sum(bytes), 0xffff, "checksum");
}

const TIMESTAMP: [u8; 10] = [8, 10, 1, 2, 3, 4, 5, 6, 7, 8];

#[test]
fn timestamp() {
    for lead in 0..4 {
        let mut options = vec![1; lead];
        options.extend(TIMESTAMP);
        let mut bytes = segment(&options);
        let delta = blank_timestamp(&mut bytes);
        assert!(bytes[20..20 + lead + 10].iter().all(|b| *b == 1));
        settle(&mut bytes, delta);
    }
    // Not one, or not one of the right length.
    for options in [
        &[2, 4, 5, 0xb4][..],
        &[8, 9, 1, 2, 3, 4, 5, 6, 7],
        &[8, 10, 1],
    ] {
        let mut bytes = segment(options);
        let before = bytes.clone();
        assert_eq!(blank_timestamp(&mut bytes), Delta::new());
        assert_eq!(bytes, before);
    }
}

#[test]
fn fast_open() {
    for (options, want) in [
        (&[34, 2][..], &[1, 1][..]),
        (
            &[1, 34, 6, 9, 8, 7, 6, 2, 4, 5, 0xb4, 34, 3, 7],
            &[1, 1, 1, 1, 1, 1, 1, 2, 4, 5, 0xb4, 1, 1, 1],
        ),
        (&[254, 6, 0xf9, 0x89, 3, 4], &[1; 6]),
        // A client's address, and an end before it.
        (&[254, 8, 0, 80, 1, 2, 3, 4], &[254, 8, 0, 80, 1, 2, 3, 4]),
        (&[0, 34, 2], &[0, 34, 2]),
        (&[34, 9], &[34, 9]),
    ] {
        let mut bytes = segment(options);
        let delta = blank_fast_open(&mut bytes);
        assert_eq!(bytes[20..20 + want.len()], *want);
        settle(&mut bytes, delta);
    }
}

#[test]
fn client_address() {
    let mut bytes = segment(&[1, 254, 8, 0, 80, 1, 2, 3, 4, 2, 4, 5, 0xb4, 254, 3, 9]);
    let delta = blank_client_address(&mut bytes);
    assert_eq!(bytes[20..33], [1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 4, 5, 0xb4]);
    assert_eq!(bytes[33..36], [1; 3]);
    settle(&mut bytes, delta);
}

#[test]
fn mss() {
    for (lead, old, by, new) in [
        (0, 1460, 8, 1452u16),
        (1, 1440, 20, 1420),
        (2, 0xffff, 8, 0xfff7),
        (3, 5, 8, 0),
    ] {
        let mut options = vec![1; lead];
        options.extend([2, 4]);
        options.extend(u16::to_be_bytes(old));
        let mut bytes = segment(&options);
        let delta = reduce_mss(&mut bytes, by);
        assert_eq!(bytes[22 + lead..24 + lead], new.to_be_bytes());
        settle(&mut bytes, delta);
    }
    let mut bytes = segment(&[1, 1, 1, 1]);
    let before = bytes.clone();
    assert_eq!(reduce_mss(&mut bytes, 8), Delta::new());
    assert_eq!(bytes, before);
}

#[test]
fn sack() {
    for lead in 0..3 {
        let mut options = vec![1; lead];
        options.extend([5, 18]);
        for edge in [0u32, 1, 0xffff_fff0, 0x8000_0000] {
            options.extend(edge.to_be_bytes());
        }
        // Only the first one counts.
        options.extend([5, 10, 9, 9, 9, 9, 9, 9, 9, 9]);
        let mut bytes = segment(&options);
        let delta = shift_sack(&mut bytes, 0x20);
        let blocks = &bytes[22 + lead..38 + lead];
        let edges: Vec<u32> = blocks
            .chunks(4)
            .map(|e| u32::from_be_bytes(e.try_into().unwrap()))
            .collect();
        assert_eq!(edges, [0x20, 0x21, 0x10, 0x8000_0020]);
        assert_eq!(bytes[40 + lead..48 + lead], [9; 8]);
        settle(&mut bytes, delta);
    }
    for options in [
        &[5, 9, 1, 2, 3, 4, 5, 6, 7][..],
        &[1, 1, 8, 10, 5, 10, 5, 10, 5, 10, 5, 10],
    ] {
        let mut bytes = segment(options);
        let before = bytes.clone();
        assert_eq!(shift_sack(&mut bytes, 7), Delta::new());
        assert_eq!(bytes, before);
    }
}

#[test]
fn sack_beside_a_timestamp() {
    let mut options = vec![1, 1];
    options.extend(TIMESTAMP);
    options.extend([1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
    let mut bytes = segment(&options);
    let delta = shift_sack(&mut bytes, 1);
    assert_eq!(bytes[36..44], [0, 0, 0, 2, 0, 0, 0, 3]);
    settle(&mut bytes, delta);
}

fn options() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(prop_oneof![0u8..12, any::<u8>()], 0..=40),
        prop::collection::vec(
            prop_oneof![
                Just(vec![1u8]),
                any::<u16>().prop_map(|m| vec![2, 4, (m >> 8) as u8, m as u8]),
                any::<[u8; 8]>().prop_map(|t| [vec![8, 10], t.to_vec()].concat()),
                (1usize..4, any::<[u8; 32]>()).prop_map(|(n, e)| [
                    vec![5, 2 + 8 * n as u8],
                    e[..8 * n].to_vec()
                ]
                .concat()),
            ],
            0..5
        )
        .prop_map(|o| {
            let mut all = o.concat();
            all.truncate(40);
            all
        }),
    ]
}

proptest! {
    #[test]
    fn checksum_stays_right(options in options(), by: u32, small: u16) {
        let mut bytes = segment(&options);
        let len = bytes.len();
        let delta = blank_timestamp(&mut bytes)
            .and(reduce_mss(&mut bytes, small))
            .and(shift_sack(&mut bytes, by));
        prop_assert_eq!(bytes.len(), len);
        settle(&mut bytes, delta);
        prop_assert_eq!(&bytes[len - 7..], &b"payload"[..]);
    }

    #[test]
    fn shift_back(options in options(), by: u32) {
        let mut bytes = segment(&options);
        let before = bytes.clone();
        let there = shift_sack(&mut bytes, by);
        let back = shift_sack(&mut bytes, 0u32.wrapping_sub(by));
        prop_assert_eq!(&bytes, &before);
        settle(&mut bytes, there.and(back));
    }

    #[test]
    fn arbitrary(mut bytes in prop::collection::vec(any::<u8>(), 0..80), by: u32) {
        let len = bytes.len();
        let _ = blank_timestamp(&mut bytes);
        let _ = reduce_mss(&mut bytes, by as u16);
        let _ = shift_sack(&mut bytes, by);
        prop_assert_eq!(bytes.len(), len);
    }
}
