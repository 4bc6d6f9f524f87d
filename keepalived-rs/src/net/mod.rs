//! The kernel's side of the network: interfaces, addresses, raw sockets.
//!
//! With a DPDK port these are its twin `<port>.kni`. No state of VRRP or of
//! services is known here, and no unsafe code is needed.

pub(crate) mod announce;
pub(crate) mod link;
pub(crate) mod raw;
pub(crate) mod rtnl;
