//! See `dpvs_fuzz::master`.
#![cfg_attr(fuzzing, no_main)]

dpvs_fuzz::target!(dpvs_fuzz::master::TARGET);

/// The seeds get as far as whole services.
#[cfg(test)]
#[test]
fn the_seeds_reach_the_model() {
    let seeds = (dpvs_fuzz::master::TARGET.seeds)();
    let held: Vec<_> = seeds.iter().map(|s| dpvs_fuzz::master::play(s)).collect();
    assert!(
        held.iter()
            .any(|h| h.services > 0 && h.dests > 0 && h.laddrs > 0),
        "{held:?}"
    );
}
