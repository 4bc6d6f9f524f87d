//! See `dpvs_fuzz::ipvsadm_args`.
#![cfg_attr(fuzzing, no_main)]

dpvs_fuzz::target!(dpvs_fuzz::ipvsadm_args::TARGET);
