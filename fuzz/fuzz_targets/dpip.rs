//! See `dpvs_fuzz::dpip_args`.
#![cfg_attr(fuzzing, no_main)]

dpvs_fuzz::target!(dpvs_fuzz::dpip_args::TARGET);
