//! VRRP adverts as bytes: version 2 (RFC 3768, with the password of RFC 2338)
//! and version 3 (RFC 5798) over IPv4.
//!
//! Decoding checks what can be checked without knowing the instance: lengths,
//! version, type, TTL and checksum. No I/O.

use std::fmt;
use std::net::Ipv4Addr;

use dpvs_wire::checksum;

/// IP protocol number of VRRP.
pub(crate) const PROTOCOL: u8 = 112;
const TYPE_ADVERT: u8 = 1;
const AUTH_SIMPLE: u8 = 1;
const V2_AUTH_LEN: usize = 8;

/// The contents of an advert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Advert {
    pub(crate) version: u8,
    pub(crate) vrid: u8,
    pub(crate) priority: u8,
    /// Seconds in version 2, hundredths of a second in version 3.
    pub(crate) interval: u16,
    /// Version 2 only.
    pub(crate) password: Option<[u8; 8]>,
    pub(crate) addrs: Vec<Ipv4Addr>,
}

/// An advert and how it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) src: Ipv4Addr,
    pub(crate) dst: Ipv4Addr,
    pub(crate) ttl: u8,
    pub(crate) advert: Advert,
}

/// Why a packet is no advert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reject {
    Length,
    Ttl(u8),
    Version(u8),
    Type(u8),
    Checksum,
    /// An authentication type nobody uses.
    AuthType(u8),
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => f.write_str("its length does not fit its contents"),
            Self::Ttl(t) => write!(f, "its TTL is {t}, not 255: it crossed a router"),
            Self::Version(v) => write!(f, "VRRP version {v}"),
            Self::Type(t) => write!(f, "packet type {t} is no advert"),
            Self::Checksum => f.write_str("wrong checksum"),
            Self::AuthType(t) => write!(f, "authentication type {t} is not supported"),
        }
    }
}

impl Advert {
    /// The bytes behind the IP header.
    pub(crate) fn encode(&self, src: Ipv4Addr, dst: Ipv4Addr) -> Vec<u8> {
        let count = u8::try_from(self.addrs.len()).unwrap_or(u8::MAX);
        let mut out = vec![
            self.version << 4 | TYPE_ADVERT,
            self.vrid,
            self.priority,
            count,
        ];
        if self.version == 3 {
            // The upper four bits are reserved.
            out.extend_from_slice(&(self.interval & 0x0fff).to_be_bytes());
        } else {
            out.push(if self.password.is_some() {
                AUTH_SIMPLE
            } else {
                0
            });
            out.push(u8::try_from(self.interval).unwrap_or(u8::MAX));
        }
        out.extend_from_slice(&[0, 0]);
        for a in self.addrs.iter().take(usize::from(count)) {
            out.extend_from_slice(&a.octets());
        }
        if self.version == 2 {
            // Room for the password is there with and without one.
            out.extend_from_slice(&self.password.unwrap_or_default());
        }
        let sum = if self.version == 3 {
            let len = u16::try_from(out.len()).unwrap_or(u16::MAX);
            checksum::transport(checksum::pseudo_v4(src, dst, PROTOCOL, len), &out)
        } else {
            checksum::checksum(&out)
        };
        for (slot, byte) in out.iter_mut().skip(6).zip(sum.to_be_bytes()) {
            *slot = byte;
        }
        out
    }

    fn decode(body: &[u8], src: Ipv4Addr, dst: Ipv4Addr) -> Result<Self, Reject> {
        let (head, rest) = body.split_first_chunk::<8>().ok_or(Reject::Length)?;
        let [first, vrid, priority, count, auth, low, _, _] = *head;
        let version = first >> 4;
        if version != 2 && version != 3 {
            return Err(Reject::Version(version));
        }
        if first & 0x0f != TYPE_ADVERT {
            return Err(Reject::Type(first & 0x0f));
        }
        let addrs_len = usize::from(count) * 4;
        let tail = if version == 2 { V2_AUTH_LEN } else { 0 };
        let used = addrs_len + tail;
        // Padding by a switch is allowed behind it.
        let rest = rest.get(..used).ok_or(Reject::Length)?;
        let message = body.get(..8 + used).ok_or(Reject::Length)?;
        let len = u16::try_from(message.len()).map_err(|_| Reject::Length)?;
        let pseudo = checksum::pseudo_v4(src, dst, PROTOCOL, len);
        // RFC 9568 drops the pseudo header over IPv4; both are in use.
        let good =
            checksum::verify(0, message) || (version == 3 && checksum::verify(pseudo, message));
        if !good {
            return Err(Reject::Checksum);
        }
        let (addrs, auth_data) = rest.split_at(addrs_len);
        let addrs = addrs
            .chunks_exact(4)
            .filter_map(|c| <[u8; 4]>::try_from(c).ok());
        let (interval, password) = if version == 3 {
            (u16::from_be_bytes([auth & 0x0f, low]), None)
        } else {
            let password = match auth {
                0 => None,
                AUTH_SIMPLE => Some(auth_data.try_into().map_err(|_| Reject::Length)?),
                other => return Err(Reject::AuthType(other)),
            };
            (u16::from(low), password)
        };
        Ok(Self {
            version,
            vrid,
            priority,
            interval,
            password,
            addrs: addrs.map(Ipv4Addr::from).collect(),
        })
    }
}

/// The VRID of a packet with an IPv4 header, without checking anything else.
pub(crate) fn peek_vrid(packet: &[u8]) -> Option<u8> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    packet.get(header + 1).copied()
}

/// Decodes a packet as a raw IPv4 socket gives it: with its IP header.
/// `any_ttl`: it came by unicast, perhaps over a router.
pub(crate) fn decode(packet: &[u8], any_ttl: bool) -> Result<Received, Reject> {
    let (head, _) = packet.split_first_chunk::<20>().ok_or(Reject::Length)?;
    let [
        vihl,
        _,
        l0,
        l1,
        _,
        _,
        _,
        _,
        ttl,
        proto,
        _,
        _,
        s0,
        s1,
        s2,
        s3,
        d0,
        d1,
        d2,
        d3,
    ] = *head;
    let header = usize::from(vihl & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([l0, l1]));
    if vihl >> 4 != 4 || header < 20 || proto != PROTOCOL {
        return Err(Reject::Length);
    }
    let body = packet
        .get(header..total.min(packet.len()))
        .ok_or(Reject::Length)?;
    if ttl != 255 && !any_ttl {
        return Err(Reject::Ttl(ttl));
    }
    let (src, dst) = (Ipv4Addr::new(s0, s1, s2, s3), Ipv4Addr::new(d0, d1, d2, d3));
    Ok(Received {
        src,
        dst,
        ttl,
        advert: Advert::decode(body, src, dst)?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Adverts as keepalived 2.2.7 sent them: name, IP packet in hex.
    const RECORDED: &str = include_str!("../../../compat-tests/golden/keepalived/adverts.txt");

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|p| u8::from_str_radix(std::str::from_utf8(p).unwrap(), 16).unwrap())
            .collect()
    }

    fn recorded(name: &str) -> Vec<u8> {
        let line = RECORDED
            .lines()
            .find(|l| l.split(' ').next() == Some(name))
            .unwrap();
        hex(line.split_once(' ').unwrap().1)
    }

    #[test]
    fn recorded_adverts_are_read_and_written_the_same() {
        let mut seen = 0;
        for line in RECORDED.lines().filter(|l| !l.starts_with('#')) {
            let (name, bytes) = line.split_once(' ').unwrap();
            let packet = hex(bytes);
            let r = decode(&packet, false).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(r.advert.encode(r.src, r.dst), packet[20..], "{name}");
            assert_eq!(peek_vrid(&packet), Some(r.advert.vrid));
            seen += 1;
        }
        assert!(seen >= 8, "{seen}");
    }

    #[test]
    fn fields() {
        let r = decode(&recorded("v2-basic"), false).unwrap();
        assert_eq!(
            (r.src, r.dst),
            ([192, 168, 200, 1].into(), [224, 0, 0, 18].into())
        );
        assert_eq!(
            r.advert,
            Advert {
                version: 2,
                vrid: 51,
                priority: 100,
                interval: 1,
                password: None,
                addrs: vec![Ipv4Addr::new(192, 168, 200, 100)],
            }
        );
        let r = decode(&recorded("v2-pass"), false).unwrap();
        assert_eq!(r.advert.password.as_ref(), Some(b"s3cret\0\0"));
        let r = decode(&recorded("v3-v4"), false).unwrap();
        assert_eq!((r.advert.version, r.advert.interval), (3, 100));
        let r = decode(&recorded("v2-basic-zero"), false).unwrap();
        assert_eq!(r.advert.priority, 0);
    }

    #[test]
    fn damage_is_seen() {
        let good = recorded("v2-basic");
        for at in 20..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                assert!(decode(&bad, false).is_err(), "byte {at} bit {bit}");
            }
        }
        let mut far = good.clone();
        far[8] = 254;
        assert_eq!(decode(&far, false), Err(Reject::Ttl(254)));
        assert!(decode(&far, true).is_ok());
        for cut in 0..good.len() {
            assert!(decode(&good[..cut], false).is_err(), "{cut}");
        }
        // Ethernet padding is no error.
        let mut padded = good;
        padded.extend_from_slice(&[0; 6]);
        assert!(decode(&padded, false).is_ok());
    }

    #[test]
    fn rfc9568_checksum_is_accepted() {
        let a = decode(&recorded("v3-v4"), false).unwrap().advert;
        let mut body = a.encode(Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED);
        body[6..8].fill(0);
        let sum = checksum::checksum(&body).to_be_bytes();
        body[6..8].copy_from_slice(&sum);
        assert_eq!(
            Advert::decode(&body, [1, 2, 3, 4].into(), [5, 6, 7, 8].into()),
            Ok(a)
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes, true);
            let _ = peek_vrid(&bytes);
        }

        #[test]
        fn round_trip(
            v3: bool, vrid: u8, priority: u8, interval in 0u16..4096, pass: Option<[u8; 8]>,
            addrs in proptest::collection::vec(any::<[u8; 4]>(), 0..255), src: [u8; 4], dst: [u8; 4],
        ) {
            let a = Advert {
                version: if v3 { 3 } else { 2 },
                vrid,
                priority,
                interval: if v3 { interval } else { interval % 256 },
                password: pass.filter(|_| !v3),
                addrs: addrs.into_iter().map(Ipv4Addr::from).collect(),
            };
            let (src, dst) = (src.into(), dst.into());
            prop_assert_eq!(Advert::decode(&a.encode(src, dst), src, dst), Ok(a));
        }
    }
}
