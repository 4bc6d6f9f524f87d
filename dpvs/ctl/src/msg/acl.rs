//! Black and white list entries (ids 73 to 80); both have one layout.

use crate::types::{Be16, Ip16, Name};
use crate::wire::wire_struct;

wire_struct! {
    /// An entry: a service and an address, or a set, that is refused or let in.
    pub struct AclConf[68] {
        /// Address of the service.
        0 vaddr: Ip16,
        /// Port of the service.
        16 vport: Be16,
        /// IP protocol.
        18 proto: u8,
        /// Family of both addresses; [`crate::Af::from`] takes it.
        19 af: u8,
        /// The client; unused with a set.
        20 subject: Ip16,
        /// Name of the set; empty for an address entry.
        36 ipset: Name<32>,
    }
}
