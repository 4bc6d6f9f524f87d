//! The light IP stack: what a box needs to be a good neighbour on a wire.
//!
//! Pure functions on frames. A frame here starts with its Ethernet header and
//! carries no VLAN tag any more. Nothing in here keeps state, knows services or
//! decides where a frame goes; the pipeline does.

pub mod arp;
pub(crate) mod cross;
pub mod encap;
pub mod frag;
pub mod icmp;
pub mod icmpv6;
pub mod ndisc;
pub mod route;
pub mod tunnel;
pub mod vlan;

/// What became of a frame that might be an echo request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// It is the reply now: IP and ICMP are done, the Ethernet header is still
    /// that of the request.
    Replied,
    /// The ICMP checksum is wrong: drop it.
    BadChecksum,
    /// Something else (or not in one piece): not answered, nothing changed.
    NotEcho,
}

/// Makes what precedes the network header exactly `want` bytes.
fn set_front<F: crate::frame::Frame>(frame: &mut F, have: usize, want: usize) -> bool {
    if have < want {
        frame.push_front(want - have)
    } else {
        frame.pull_front(have - want)
    }
}
