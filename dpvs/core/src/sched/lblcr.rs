//! Locality-based least connections with replication: as `lblc`, but an address
//! whose servers are all busy gets one more, and after a day without such a need
//! one less.

pub(super) use super::lblc::Lblc as Lblcr;
