//! The devices by name and what the workers must know of them.

use dpvs_core::frame::PortId;

/// A device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Device name.
    pub name: String,
    /// Hardware address.
    pub mac: [u8; 6],
    /// Largest IP packet.
    pub mtu: u16,
    /// Has a host port.
    pub has_host: bool,
    /// Copies everything to the host port.
    pub forward2kni: bool,
}

/// All devices; the index is the [`PortId`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Links(pub(crate) Vec<Link>);

impl Links {
    /// The device of that name.
    pub(crate) fn find(&self, name: &[u8]) -> Option<PortId> {
        let at = self.0.iter().position(|l| l.name.as_bytes() == name)?;
        u16::try_from(at).ok().map(PortId)
    }

    pub(crate) fn get(&self, port: PortId) -> Option<&Link> {
        self.0.get(usize::from(port.0))
    }

    /// The name of a device; empty for one that is not there.
    pub(crate) fn name(&self, port: PortId) -> &str {
        self.get(port).map_or("", |l| l.name.as_str())
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = PortId> + use<> {
        (0..u16::try_from(self.0.len()).unwrap_or(u16::MAX)).map(PortId)
    }
}
