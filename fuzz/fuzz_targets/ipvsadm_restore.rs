//! See `dpvs_fuzz::ipvsadm_restore`.
#![cfg_attr(fuzzing, no_main)]

dpvs_fuzz::target!(dpvs_fuzz::ipvsadm_restore::TARGET);
