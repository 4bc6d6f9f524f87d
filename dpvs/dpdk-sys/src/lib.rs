//! Raw bindings to DPDK, 22.11 and newer.
//!
//! Generated from `wrapper.h` over a narrow list of names (see `build.rs`);
//! DPDK's inlines are compiled once as C. Nothing here is safe or friendly:
//! the daemon's `port` module is the only user, and wraps all of it.
#![allow(
    clippy::all,
    clippy::pedantic,
    clippy::undocumented_unsafe_blocks,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    rustdoc::all,
    unsafe_code,
    unsafe_op_in_unsafe_fn,
    unused_qualifications
)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
