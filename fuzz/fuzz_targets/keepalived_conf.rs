//! See `dpvs_fuzz::keepalived_conf`.
#![cfg_attr(fuzzing, no_main)]

dpvs_fuzz::target!(dpvs_fuzz::keepalived_conf::TARGET);
