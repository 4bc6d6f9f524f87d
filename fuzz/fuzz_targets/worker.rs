//! See `dpvs_fuzz::worker`.
#![cfg_attr(fuzzing, no_main)]

dpvs_fuzz::target!(dpvs_fuzz::worker::TARGET);

/// The seeds get as far as connections of all kinds that are answered.
#[cfg(test)]
#[test]
fn the_seeds_reach_the_packet_path() {
    use dpvs_core::stats::{Reason, WorkerStats};
    let total = |f: fn(&WorkerStats) -> u64| -> u64 {
        let seeds = (dpvs_fuzz::worker::TARGET.seeds)();
        seeds
            .iter()
            .flat_map(|s| dpvs_fuzz::worker::play(s))
            .map(|s| f(&s))
            .sum()
    };
    assert!(total(|s| s.conns_made) >= 8);
    assert!(
        total(|s| s.conn_hits) > total(|s| s.conns_made),
        "no second packet"
    );
    assert!(total(|s| s.ip6.in_pkts) > 0 && total(|s| s.dropped_total()) > 0);
    assert!(total(|s| s.dropped(Reason::Consumed)) + total(|s| s.to_host) > 0);
}
