//! Keywords of earlier versions of DPVS that are none any more.

/// Why a keyword that DPVS 1.7 to 1.9 had in this block is no longer one. Files that
/// still have it start the C daemon, which skips what it does not know.
pub(super) fn past(block: &str, name: &str) -> Option<&'static str> {
    match (block, name) {
        ("device", "fdir") => Some("`sa_pool/flow_enable` says whether there are flow rules"),
        ("netif_defs", "mode") => Some("it is called `fdir_mode` now"),
        ("ctrl_defs", "ipc_msg") => Some("the control socket is named by `-x`"),
        ("lcore_msg", "multicast_queue_length") => Some("`ring_size` bounds all messages"),
        ("lpm", "rt6_array_size") => Some("the route table grows as needed"),
        _ => None,
    }
}
