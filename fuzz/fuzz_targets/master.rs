//! See `dpvs_fuzz::master`.
#![cfg_attr(fuzzing, no_main)]

dpvs_fuzz::target!(dpvs_fuzz::master::TARGET);
