//! The server that a QUIC connection id names (IETF QUIC; DPVS facts §9.3).
//!
//! A server that takes part puts the low bytes of its address, and perhaps its
//! port, into the connection ids it gives out, so that a client that has moved
//! to another address still reaches it. Layout of such an id: octet 0 is free, the
//! upper three bits of octet 1 are the number of address bytes less one, the next
//! bit says that a port follows the address; these bytes begin at the lower nibble
//! of octet 1; then at least 32 bits of nonce. Knows no worker and no connection.
//!
//! DIFFERS: the length in a short header is read with all its bits, an address
//! longer than a server's own matches nobody, QUIC version 2 is QUIC, too, and the
//! fixed bit may be anything, as ends that agree on RFC 9287 send it.

use std::net::IpAddr;

use crate::service::{Dest, FwdMode};

/// Versions whose connection ids are looked at: negotiation, RFC 9000, RFC 9369.
const VERSIONS: [u32; 3] = [0, 1, 0x6b33_43cf];
/// Longest connection id (RFC 9000 §17.2).
const CID_MAX: usize = 20;
/// Shortest that names a server.
const CID_MIN: usize = 7;
const NONCE: usize = 4;

/// What a connection id says of its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Named {
    /// Low bytes of the address, the last one lowest.
    addr: u64,
    bytes: u32,
    port: Option<u16>,
}

impl Named {
    /// From a datagram of a client.
    fn read(payload: &[u8]) -> Option<Self> {
        let first = *payload.first()?;
        if first & 0x80 == 0 {
            // The id's own bytes say how long it is at least.
            return Self::of(payload.get(1..)?);
        }
        let version = u32::from_be_bytes(*payload.get(1..)?.first_chunk()?);
        let len = usize::from(*payload.get(5)?);
        if !VERSIONS.contains(&version) || !(CID_MIN..=CID_MAX).contains(&len) {
            return None;
        }
        Self::of(payload.get(6..6 + len)?)
    }

    fn of(cid: &[u8]) -> Option<Self> {
        let head = *cid.get(1)?;
        let bytes = usize::from(head >> 5) + 1;
        let port = head & 0x10 != 0;
        let fields = bytes + if port { 2 } else { 0 };
        // Octet 0, the half of octet 1, the fields, the other half of their last
        // octet and the nonce.
        if cid.len() < (2 + fields + NONCE).max(CID_MIN) {
            return None;
        }
        let byte = |i: usize| {
            let (high, low) = (cid.get(1 + i)?, cid.get(2 + i)?);
            Some(high << 4 | low >> 4)
        };
        let mut addr = 0;
        for i in 0..bytes {
            addr = addr << 8 | u64::from(byte(i)?);
        }
        Some(Self {
            addr,
            bytes: bytes as u32,
            port: if port {
                Some(u16::from_be_bytes([byte(bytes)?, byte(bytes + 1)?]))
            } else {
                None
            },
        })
    }
}

/// Servers by the low bytes of their address.
#[derive(Clone, Debug)]
pub(super) struct Servers(Box<[Known]>);

#[derive(Clone, Copy, Debug)]
struct Known {
    /// The address's bytes backwards, so that those with the same end are
    /// neighbours.
    backwards: u128,
    len: u32,
    place: u32,
    port: u16,
}

impl Servers {
    pub(super) fn of(dests: &[Dest]) -> Self {
        let mut list: Vec<Known> = dests
            .iter()
            .zip(0..)
            .filter(|(d, _)| d.mode != FwdMode::Snat)
            .map(|(d, place)| {
                let (backwards, len) = match d.addr {
                    IpAddr::V4(v4) => (u128::from(v4.to_bits().swap_bytes()) << 96, 4),
                    IpAddr::V6(v6) => (v6.to_bits().swap_bytes(), 16),
                };
                Known {
                    backwards,
                    len,
                    place,
                    port: d.port,
                }
            })
            .collect();
        list.sort_by_key(|k| (k.backwards, k.place));
        Self(list.into())
    }

    /// The place of the first server that a datagram's connection id names.
    pub(super) fn find(&self, payload: &[u8]) -> Option<usize> {
        let named = Named::read(payload)?;
        let low = u128::from(named.addr.swap_bytes()) << 64;
        let ends = 128 - 8 * named.bytes;
        // The address's lowest byte stands first.
        let low = low & (u128::MAX << ends);
        let from = self.0.partition_point(|k| k.backwards < low);
        self.0
            .get(from..)?
            .iter()
            .take_while(|k| (k.backwards ^ low) >> ends == 0)
            .filter(|k| k.len >= named.bytes && named.port.is_none_or(|p| p == k.port))
            .map(|k| k.place as usize)
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::DestId;

    fn dests(list: &[(&str, u16)]) -> Vec<Dest> {
        list.iter()
            .zip(0..)
            .map(|((addr, port), n)| Dest::new(DestId(n), addr.parse().unwrap(), *port))
            .collect()
    }

    /// An id as a server makes it: bit by bit, from the layout.
    fn cid(addr: &[u8], port: Option<u16>, nonce: usize) -> Vec<u8> {
        let mut bits: Vec<bool> = Vec::new();
        let mut put = |value: u64, n: u32| bits.extend((0..n).rev().map(|i| value >> i & 1 != 0));
        put(0x5a, 8);
        put(addr.len() as u64 - 1, 3);
        put(u64::from(port.is_some()), 1);
        addr.iter().for_each(|b| put((*b).into(), 8));
        if let Some(port) = port {
            put(port.into(), 16);
        }
        put(0x9, 4);
        (0..nonce).for_each(|i| put(i as u64 * 37, 8));
        bits.chunks(8)
            .map(|c| c.iter().fold(0, |b, bit| b << 1 | u8::from(*bit)))
            .collect()
    }

    fn long(version: u32, cid: &[u8]) -> Vec<u8> {
        let mut p = vec![0xc3];
        p.extend(version.to_be_bytes());
        p.push(cid.len() as u8);
        p.extend(cid);
        p.extend([0; 30]);
        p
    }

    fn short(cid: &[u8]) -> Vec<u8> {
        let mut p = vec![0x43];
        p.extend(cid);
        p.extend([7; 30]);
        p
    }

    #[test]
    fn finds_by_address_and_port() {
        let list = dests(&[
            ("10.0.1.11", 443),
            ("10.0.1.12", 443),
            ("10.0.1.12", 8443),
            ("10.9.1.12", 443),
            ("2001:db8::5:12", 443),
        ]);
        let servers = Servers::of(&list);
        for (addr, port, want) in [
            (&[11][..], None, Some(0)),
            (&[12], None, Some(1)),
            (&[12], Some(8443), Some(2)),
            (&[9, 1, 12], None, Some(3)),
            (&[10, 0, 1, 12], Some(443), Some(1)),
            (&[10, 0, 1, 12], Some(444), None),
            (&[13], None, None),
            // Longer than an IPv4 address: of IPv6 servers only.
            (&[0, 10, 0, 1, 12], None, None),
            (&[0, 0, 0, 0, 0, 5, 0, 0x12], None, Some(4)),
            (&[5, 0, 0x12], None, Some(4)),
        ] {
            let id = cid(addr, port, 4);
            assert_eq!(servers.find(&short(&id)), want, "{addr:?} {port:?}");
            if id.len() >= CID_MIN {
                assert_eq!(servers.find(&long(1, &id)), want, "{addr:?} {port:?}");
                assert_eq!(servers.find(&long(0x6b33_43cf, &id)), want);
            }
            assert_eq!(servers.find(&long(2, &id)), None);
        }
    }

    #[test]
    fn what_is_no_such_packet_names_nobody() {
        let servers = Servers::of(&dests(&[("10.0.1.11", 443)]));
        let id = cid(&[10, 0, 1, 11], None, 4);
        let good = long(1, &id);
        assert_eq!(servers.find(&good), Some(0));
        for cut in 0..6 + id.len() {
            assert_eq!(servers.find(&good[..cut]), None, "{cut}");
        }
        let mut unfixed = good.clone();
        unfixed[0] &= !0x40;
        assert_eq!(servers.find(&unfixed), Some(0));
        let short = short(&id);
        for cut in 0..1 + id.len() {
            assert_eq!(servers.find(&short[..cut]), None, "{cut}");
        }
        assert_eq!(servers.find(&long(1, &cid(&[11], None, 0))), None);
        assert_eq!(Servers::of(&[]).find(&good), None);
    }
}
