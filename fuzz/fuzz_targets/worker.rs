//! See `dpvs_fuzz::worker`.
#![cfg_attr(fuzzing, no_main)]

dpvs_fuzz::target!(dpvs_fuzz::worker::TARGET);
