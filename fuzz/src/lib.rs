//! What the fuzz targets do with their bytes, one target a file, and the
//! driver that runs them where there is no cargo-fuzz.
//!
//! A target panics when something is wrong: the code under test panicked, or a
//! rule stated in the target's file does not hold. `target!` makes a program of
//! it: a libFuzzer one under `--cfg fuzzing`, else a bounded random one.

pub mod corpus;
#[cfg(feature = "programs")]
pub mod ctl_client;
#[cfg(feature = "programs")]
pub mod ctl_codec;
#[cfg(feature = "programs")]
pub mod dpip_args;
#[cfg(feature = "programs")]
pub mod dpvs_conf;
pub mod driver;
pub mod input;
#[cfg(feature = "programs")]
pub mod ipvsadm_args;
#[cfg(feature = "programs")]
pub mod ipvsadm_restore;
#[cfg(feature = "programs")]
pub mod keepalived_conf;
#[cfg(feature = "programs")]
pub mod master;
pub mod modes;
mod mutate;
mod target;
#[cfg(feature = "programs")]
mod text;
#[cfg(feature = "programs")]
pub mod vrrp;
pub mod worker;

pub use target::Target;

/// The program of a target, and a test that replays its regressions.
#[macro_export]
macro_rules! target {
    ($target:expr) => {
        #[cfg(fuzzing)]
        libfuzzer_sys::fuzz_target!(|data: &[u8]| ($target.run)(data));

        #[cfg(not(fuzzing))]
        fn main() -> std::process::ExitCode {
            $crate::driver::main(&$target)
        }

        #[cfg(test)]
        #[test]
        fn seeds_and_regressions_pass() {
            $crate::driver::replay_all(&$target);
        }
    };
}
