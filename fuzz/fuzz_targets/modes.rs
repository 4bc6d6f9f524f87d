//! See `dpvs_fuzz::modes`.
#![cfg_attr(fuzzing, no_main)]

dpvs_fuzz::target!(dpvs_fuzz::modes::TARGET);

#[cfg(test)]
mod reach {
    use std::collections::BTreeMap;

    use dpvs_fuzz::modes::{TARGET, play};

    const SAME: [&str; 2] = ["4-4", "6-6"];
    const ALL: [&str; 4] = ["4-4", "6-6", "4-6", "6-4"];

    /// What nothing of the seeds gets to, random inputs made of them hardly will:
    /// connections of every mode, family and protocol, fragments, errors, cookies.
    #[test]
    fn the_seeds_reach_every_mode() {
        let mut conns = BTreeMap::<String, u64>::new();
        let mut errors = BTreeMap::<&str, u64>::new();
        let mut tracked = [0; 2];
        let (mut cookies, mut opened, mut handed, mut scheduled) = (0, 0, 0, 0);
        let (mut tagged, mut tunnelled, mut matched) = (0, 0, 0);
        for seed in (TARGET.seeds)() {
            let reached = play(&seed);
            for (name, n) in reached.conns {
                *conns.entry(name).or_default() += n;
            }
            for (name, n) in reached.errors {
                *errors.entry(name).or_default() += n;
            }
            for (sum, n) in tracked.iter_mut().zip(reached.tracked) {
                *sum += n;
            }
            for stats in reached.stats {
                cookies += stats.synproxy.syn;
                opened += stats.synproxy.ok_ack;
                handed += stats.handed_over;
            }
            scheduled += reached.scheduled;
            tagged += reached.tagged;
            tunnelled += reached.tunnelled;
            matched += reached.matched;
        }
        let modes: [(&str, &[&str]); 7] = [
            ("FullNat", &ALL),
            ("Masq", &SAME),
            ("Snat", &SAME),
            ("Dr", &SAME),
            ("Ip", &ALL),
            ("Gre", &ALL),
            ("Gue", &ALL),
        ];
        let mut missing = Vec::new();
        for (mode, families) in modes {
            for family in families {
                // TCP, UDP, SCTP, and echoes in the client's family.
                let echo = if family.starts_with('4') { 1 } else { 58 };
                for proto in [6, 17, 132, echo] {
                    let name = format!("{mode} {family} {proto}");
                    if !conns.contains_key(&name) {
                        missing.push(name);
                    }
                }
            }
        }
        assert!(missing.is_empty(), "{missing:?} of {conns:#?}");
        for family in ALL {
            assert!(errors.contains_key(family), "errors {family}: {errors:?}");
        }
        assert!(tracked.iter().all(|n| *n > 0), "fragments {tracked:?}");
        assert!(cookies > 0 && opened > 0, "cookies {cookies} {opened}");
        let rest = [handed, scheduled, tagged, tunnelled, matched];
        assert!(rest.iter().all(|n| *n > 0), "{rest:?}");
    }
}
