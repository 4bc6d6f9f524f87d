//! See `dpvs_fuzz::ctl_client`.
#![cfg_attr(fuzzing, no_main)]

dpvs_fuzz::target!(dpvs_fuzz::ctl_client::TARGET);
