//! See `dpvs_fuzz::dpvs_conf`.
#![cfg_attr(fuzzing, no_main)]

dpvs_fuzz::target!(dpvs_fuzz::dpvs_conf::TARGET);
