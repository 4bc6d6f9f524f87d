//! See `dpvs_fuzz::modes`.
#![cfg_attr(fuzzing, no_main)]

dpvs_fuzz::target!(dpvs_fuzz::modes::TARGET);
