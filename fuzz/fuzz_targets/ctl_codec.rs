//! See `dpvs_fuzz::ctl_codec`.
#![cfg_attr(fuzzing, no_main)]

dpvs_fuzz::target!(dpvs_fuzz::ctl_codec::TARGET);
