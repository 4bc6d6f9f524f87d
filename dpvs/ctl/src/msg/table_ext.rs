//! What `ipvsadm` has to say beyond DPVS's own messages (ids 7520 to 7533, ours):
//! time-outs, connection synchronisation, persistence engines, encapsulation
//! towards a dest.
//!
//! The bodies of ids 9 to 15 never grow: a service or dest that needs more
//! travels whole in one of these, so that a request applies fully or not at all.

use super::service::{Service, ServiceDest};
use crate::types::{Af, Ip16, Name};
use crate::wire::wire_struct;

wire_struct! {
    /// Seconds until an idle connection ends. In a set request 0 leaves one as it is.
    pub struct TableTimeouts[12] {
        /// Established TCP connections.
        0 tcp: u32,
        /// TCP connections after a FIN.
        4 tcp_fin: u32,
        /// UDP.
        8 udp: u32,
    }
}

wire_struct! {
    /// A daemon that sends (master) or receives (backup) connections.
    pub struct SyncDaemon[56] {
        /// [`sync_role`].
        0 role: u32,
        /// Only daemons of the same number exchange connections, 0 to 255.
        4 sync_id: u32,
        /// Device of the multicast.
        8 ifname: Name<16>,
        /// Largest message in bytes; 0: what fits the device.
        24 max_len: u32,
        /// UDP port; 0: 8848.
        28 port: u32,
        /// Time to live; 0: 1.
        32 ttl: u32,
        /// Family of the group; unspecified: 224.0.0.81.
        36 af: Af,
        /// Multicast group.
        40 group: Ip16,
    }
}

/// Values of [`SyncDaemon::role`].
pub mod sync_role {
    /// Sends.
    pub const MASTER: u32 = 1;
    /// Receives.
    pub const BACKUP: u32 = 2;
}

wire_struct! {
    /// A service with what [`Service`] has no room for.
    pub struct ServiceExt[280] {
        /// The service.
        0 service: Service,
        /// Name of its persistence engine; empty: none.
        264 pe: Name<16>,
    }
}

wire_struct! {
    /// How packets are wrapped on their way to a dest.
    pub struct Encap[52] {
        /// [`encap_kind`].
        0 kind: u32,
        /// [`encap_csum`]; of GUE and GRE.
        4 csum: u32,
        /// UDP port of GUE.
        8 port: u32,
        /// Tenant of VxLAN, 24 bits.
        12 vni: u32,
        /// Family of the outer addresses of VxLAN.
        16 af: Af,
        /// Outer source of VxLAN.
        20 src: Ip16,
        /// Outer destination of VxLAN.
        36 dst: Ip16,
    }
}

/// Values of [`Encap::kind`].
pub mod encap_kind {
    /// IP in IP, or none: what [`crate::msg::fwd_mode`] says.
    pub const PLAIN: u32 = 0;
    /// Generic UDP encapsulation.
    pub const GUE: u32 = 1;
    /// GRE.
    pub const GRE: u32 = 2;
    /// VxLAN (RFC 7348).
    pub const VXLAN: u32 = 3;
}

/// Values of [`Encap::csum`].
pub mod encap_csum {
    /// Without outer checksum.
    pub const NONE: u32 = 0;
    /// With outer checksum.
    pub const FULL: u32 = 1;
    /// Remote checksum offload (GUE).
    pub const REMOTE: u32 = 2;
}

wire_struct! {
    /// A dest of a service with what [`crate::msg::Dest`] has no room for.
    pub struct DestExt[436] {
        /// The service (only what names it counts) and the dest.
        0 both: ServiceDest,
        /// How packets to the dest are wrapped.
        384 encap: Encap,
    }
}
