use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000;

fn tuple4(src: u32, dst: u32, sport: u16, dport: u16) -> Tuple<u32> {
    Tuple {
        src,
        dst,
        sport,
        dport,
        proto: 6,
    }
}

fn offer() -> impl Strategy<Value = Offer> {
    (
        0..MSS.len(),
        prop::option::of(0u8..=14),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(mss, wscale, sack, timestamp)| Offer {
            mss: MSS[mss],
            wscale,
            sack,
            timestamp,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// A cookie says what the SYN said for three minutes whenever it was made, and
    /// nothing after four, over every change of keys.
    #[test]
    fn is_good_for_its_time(
        keys in any::<(u64, u64)>(),
        ends in any::<(u32, u32, u16, u16)>(),
        seq in any::<u32>(),
        offer in offer(),
        made in 0..200 * MINUTE,
        later in 0..10 * MINUTE,
    ) {
        let mut cookies = Cookies::new(keys.0, keys.1);
        let t = tuple4(ends.0, ends.1, ends.2, ends.3);
        let cookie = cookies.make(&t, seq, offer, Now(made));
        let then = Now(made + later);
        let got = cookies.check(&t, seq, cookie, then);
        if later <= 3 * MINUTE {
            prop_assert_eq!(got, Some(offer));
            prop_assert!(cookies.any(then));
        }
        if later >= 4 * MINUTE {
            prop_assert_eq!(got, None);
        }
        if later >= 5 * MINUTE {
            prop_assert!(!cookies.any(then));
        }
    }

    /// IPv6, and what was offered is rounded down.
    #[test]
    fn rounds_the_segment_size_down(
        ends in any::<(u128, u128, u16, u16)>(),
        seq in any::<u32>(),
        mss in 64u16..,
    ) {
        let mut cookies = Cookies::new(1, 2);
        let t = Tuple { src: ends.0, dst: ends.1, sport: ends.2, dport: ends.3, proto: 6 };
        let offer = Offer { mss, wscale: None, sack: false, timestamp: false };
        let cookie = cookies.make(&t, seq, offer, Now(0));
        let got = cookies.check(&t, seq, cookie, Now(0)).unwrap();
        prop_assert!(got.mss <= mss);
        prop_assert!(MSS.iter().all(|m| *m <= got.mss || *m > mss));
    }
}

/// Guessing is left to chance: of a million numbers at most a few are cookies
/// (one in 2^20 on average).
#[test]
fn cannot_be_guessed() {
    let mut cookies = Cookies::new(3, 4);
    let t = tuple4(0x0a00_0001, 0xc000_020a, 1234, 80);
    let hits = (0..1_000_000u32)
        .filter(|n| {
            let guess = n.wrapping_mul(0x9e37_79b1);
            cookies.check(&t, 77, guess, Now(9 * MINUTE)).is_some()
        })
        .count();
    assert!(hits < 12, "{hits}");
}

/// It belongs to one SYN of one client at one address, and to one secret.
#[test]
fn belongs_to_its_syn() {
    let mut cookies = Cookies::new(3, 4);
    let offer = Offer {
        mss: 1460,
        wscale: Some(7),
        sack: true,
        timestamp: false,
    };
    let t = tuple4(1, 2, 3, 4);
    let now = Now(7 * SECOND);
    let cookie = cookies.make(&t, 100, offer, now);
    for other in [
        tuple4(2, 2, 3, 4),
        tuple4(1, 3, 3, 4),
        tuple4(1, 2, 4, 4),
        tuple4(1, 2, 3, 5),
        tuple4(2, 1, 4, 3),
    ] {
        assert_eq!(cookies.check(&other, 100, cookie, now), None);
    }
    assert_eq!(cookies.check(&t, 101, cookie, now), None);
    assert_eq!(cookies.check(&t, 100, cookie ^ 1, now), None);
    // Later, when both sides have sent as much.
    for n in 1..5000 {
        assert_eq!(
            cookies.check(&t, 100 + n, cookie.wrapping_add(n), now),
            None
        );
    }
    assert_eq!(Cookies::new(3, 5).check(&t, 100, cookie, now), None);
    // Another instance with the same secret.
    let same = Cookies::new(3, 4).check(&t, 100, cookie, now);
    assert_eq!(same, Some(offer));
}

/// Keys change, and cookies with them: the same SYN an era later.
#[test]
fn keys_rotate() {
    let mut cookies = Cookies::new(3, 4);
    let t = tuple4(1, 2, 3, 4);
    let offer = Offer {
        mss: 536,
        wscale: None,
        sack: false,
        timestamp: false,
    };
    let mut seen = std::collections::HashSet::new();
    for era in 0..8 {
        let now = Now(era * ERA * MINUTE);
        let [key, before] = cookies.keys(cookies.minute(now) / ERA);
        assert!(seen.insert(key));
        assert!(era == 0 || seen.contains(&before));
        let cookie = cookies.make(&t, 5, offer, now);
        assert_eq!(cookies.check(&t, 5, cookie, now), Some(offer));
    }
}
