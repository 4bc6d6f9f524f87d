//! See `dpvs_fuzz::vrrp`.
#![cfg_attr(fuzzing, no_main)]

dpvs_fuzz::target!(dpvs_fuzz::vrrp::TARGET);
