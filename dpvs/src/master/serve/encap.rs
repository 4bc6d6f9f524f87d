//! How packets to a server are wrapped (ids 7530 and on, ours): between the
//! messages and what the workers forward by.
//!
//! What is not a tunnel of theirs (VxLAN) is left to `kept`.

use dpvs_core::service::{FwdMode, Tunnel, TunnelCsum, TunnelKind};
use dpvs_ctl::msg::{DestExt, Encap, ServiceDest, encap_csum, encap_kind};

use super::Answer;
use super::dest::listed_dest;
use super::service::listed;
use crate::master::Master;
use crate::master::error::{Fault, Result};
use crate::master::state::service::{Server, Services};

/// The tunnel a request describes.
pub(super) fn tunnel(encap: &Encap) -> Result<Tunnel> {
    let kind = match encap.kind {
        encap_kind::PLAIN => return Ok(Tunnel::default()),
        encap_kind::GUE => TunnelKind::Gue,
        encap_kind::GRE => TunnelKind::Gre,
        encap_kind::VXLAN => return Err(Fault::Unsupported("VxLAN")),
        _ => return Err(Fault::Invalid("kind of tunnel")),
    };
    let csum = match encap.csum {
        encap_csum::NONE => TunnelCsum::None,
        encap_csum::FULL => TunnelCsum::Full,
        encap_csum::REMOTE if kind == TunnelKind::Gue => TunnelCsum::Remote,
        _ => return Err(Fault::Invalid("checksum of the tunnel")),
    };
    let port = match (kind, u16::try_from(encap.port)) {
        (TunnelKind::Gue, Ok(port @ 1..)) => port,
        (TunnelKind::Gue, _) => return Err(Fault::Invalid("port of the tunnel")),
        _ => 0,
    };
    Ok(Tunnel { kind, csum, port })
}

/// The inverse of [`tunnel`].
pub(super) fn encap(tunnel: Tunnel) -> Encap {
    Encap {
        kind: match tunnel.kind {
            TunnelKind::Ip => return Encap::default(),
            TunnelKind::Gue => encap_kind::GUE,
            TunnelKind::Gre => encap_kind::GRE,
        },
        csum: match tunnel.csum {
            TunnelCsum::None => encap_csum::NONE,
            TunnelCsum::Full => encap_csum::FULL,
            TunnelCsum::Remote => encap_csum::REMOTE,
        },
        port: tunnel.port.into(),
        ..Encap::default()
    }
}

impl Master {
    /// Adds or changes a server with a tunnel.
    pub(super) fn dest_wrapped(
        &mut self,
        both: &ServiceDest,
        wrapping: &Encap,
        add: bool,
    ) -> Result<Answer> {
        let tunnel = tunnel(wrapping)?;
        let change = if add {
            Services::add_dest
        } else {
            Services::edit_dest
        };
        self.dest_change(both, |services, key, server| {
            let tunnel = match server.mode {
                FwdMode::Tunnel => tunnel,
                _ => Tunnel::default(),
            };
            change(services, key, Server { tunnel, ..server })
        })
    }

    /// Servers of the workers with more than a plain tunnel.
    pub(super) fn dest_exts(&self) -> Vec<DestExt> {
        let mut list = Vec::new();
        for (key, entry) in self.state.services.iter() {
            for server in entry.dests.iter().filter(|d| d.tunnel != Tunnel::default()) {
                let both = ServiceDest {
                    service: listed(key, entry, 0, 0).key(),
                    dest: listed_dest(server, &Default::default(), Default::default()),
                };
                list.push(DestExt {
                    both,
                    encap: encap(server.tunnel),
                });
            }
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for kind in [TunnelKind::Ip, TunnelKind::Gue, TunnelKind::Gre] {
            for csum in [TunnelCsum::None, TunnelCsum::Full, TunnelCsum::Remote] {
                let port = if kind == TunnelKind::Gue { 6080 } else { 0 };
                let one = Tunnel { kind, csum, port };
                assert_eq!(Tunnel::from_bits(one.to_bits()), one);
                match tunnel(&encap(one)) {
                    Ok(back) if kind == TunnelKind::Ip => assert_eq!(back, Tunnel::default()),
                    Ok(back) => assert_eq!(back, one),
                    Err(_) => {
                        assert_eq!((kind, csum), (TunnelKind::Gre, TunnelCsum::Remote));
                    }
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let gue = |port| Encap {
            kind: encap_kind::GUE,
            port,
            ..Encap::default()
        };
        assert!(tunnel(&gue(0)).is_err());
        assert!(tunnel(&gue(65_536)).is_err());
        assert!(tunnel(&gue(6080)).is_ok());
        let kind = |kind| Encap {
            kind,
            ..Encap::default()
        };
        assert_eq!(
            tunnel(&kind(encap_kind::VXLAN)),
            Err(Fault::Unsupported("VxLAN"))
        );
        assert!(tunnel(&kind(9)).is_err());
    }
}
