//! PROXY protocol headers (HAProxy's `proxy-protocol.txt`), versions 1 and 2:
//! written for a server, and read where a client has sent one itself.
//!
//! Bytes only: when a packet gets a header, and what becomes of one that is there
//! already, is the business of `client`.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest header made here: version 1 with two IPv6 addresses.
pub const MAX_LEN: usize = 107;
/// Longest header of a client that is understood; behind it no program puts TLVs.
pub const MAX_FOUND: usize = 4096;
/// What must be at hand of a payload for [`read`] to see all it looks at.
pub const LOOK: usize = 232;

/// What every header of version 2 starts with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Length of a header of version 2 without addresses.
const FIXED: usize = 16;

/// Version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// What a service is to do (the byte of the control socket's service message).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Version the servers read.
    pub version: Version,
    /// A header that the client sends is believed.
    pub insecure: bool,
}

impl Proxy {
    /// From the control socket's number: version in the low nibble, 0x10 insecure.
    #[must_use]
    pub fn from_number(n: u8) -> Option<Self> {
        let version = match n & 0x0f {
            1 => Version::V1,
            2 => Version::V2,
            _ => return None,
        };
        Some(Self {
            version,
            insecure: n & 0x10 != 0,
        })
    }
}

/// Whose connection a header tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Source and destination, of one family.
    Known(SocketAddr, SocketAddr),
    /// Nobody's: the sender's own (version 2: LOCAL), or one it does not know.
    Unknown,
}

/// What a payload starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// No header, or none that can be read.
    Nothing,
    /// A header.
    Header {
        /// Its version.
        version: Version,
        /// Its length with everything that belongs to it; may go on beyond the
        /// payload.
        len: usize,
        /// What it says; `None` for families that have no IP address.
        ends: Option<Ends>,
    },
}

/// A header made here.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    bytes: [u8; MAX_LEN],
    len: u8,
}

impl Header {
    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    fn put(&mut self, bytes: &[u8]) -> bool {
        let at = usize::from(self.len);
        let Some(room) = self.bytes.get_mut(at..at + bytes.len()) else {
            return false;
        };
        room.copy_from_slice(bytes);
        self.len += bytes.len() as u8;
        true
    }
}

impl Write for Header {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        if self.put(text.as_bytes()) {
            Ok(())
        } else {
            Err(std::fmt::Error)
        }
    }
}

/// Makes a header; `stream` for TCP, not for UDP. Addresses of two families are
/// written as IPv6.
#[must_use]
pub fn write(version: Version, ends: Ends, stream: bool) -> Header {
    let mut header = Header {
        bytes: [0; MAX_LEN],
        len: 0,
    };
    match version {
        Version::V1 => {
            // The longest fits.
            let _ = match ends {
                Ends::Known(src, dst) => {
                    let (family, src_ip, dst_ip) = match (src.ip(), dst.ip()) {
                        (IpAddr::V4(s), IpAddr::V4(d)) => (4, IpAddr::V4(s), IpAddr::V4(d)),
                        (s, d) => (6, IpAddr::V6(v6(s)), IpAddr::V6(v6(d))),
                    };
                    let (sport, dport) = (src.port(), dst.port());
                    write!(
                        header,
                        "PROXY TCP{family} {src_ip} {dst_ip} {sport} {dport}\r\n"
                    )
                }
                Ends::Unknown => header.write_str("PROXY UNKNOWN\r\n"),
            };
        }
        Version::V2 => {
            header.put(&SIGNATURE);
            let transport = if stream { 1 } else { 2 };
            match ends {
                Ends::Unknown => {
                    header.put(&[0x20, 0, 0, 0]);
                }
                Ends::Known(src, dst) => {
                    match (src.ip(), dst.ip()) {
                        (IpAddr::V4(s), IpAddr::V4(d)) => {
                            header.put(&[0x21, 0x10 | transport, 0, 12]);
                            header.put(&s.octets());
                            header.put(&d.octets());
                        }
                        (s, d) => {
                            header.put(&[0x21, 0x20 | transport, 0, 36]);
                            header.put(&v6(s).octets());
                            header.put(&v6(d).octets());
                        }
                    }
                    header.put(&src.port().to_be_bytes());
                    header.put(&dst.port().to_be_bytes());
                }
            }
        }
    }
    header
}

fn v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(a) => a.to_ipv6_mapped(),
        IpAddr::V6(a) => a,
    }
}

/// What a payload starts with; of a longer one the first [`LOOK`] bytes are enough.
#[must_use]
pub fn read(payload: &[u8]) -> Found {
    read_v2(payload)
        .or_else(|| read_v1(payload))
        .unwrap_or(Found::Nothing)
}

fn read_v2(payload: &[u8]) -> Option<Found> {
    let rest = payload.strip_prefix(&SIGNATURE)?;
    let [what, family, high, low, rest @ ..] = rest else {
        return None;
    };
    let body = usize::from(u16::from_be_bytes([*high, *low]));
    let len = FIXED + body;
    if len > MAX_FOUND {
        return None;
    }
    let rest = &rest[..body.min(rest.len())];
    let port = |at: usize| Some(u16::from_be_bytes(*rest.get(at..)?.first_chunk()?));
    let ends = match (what, family >> 4) {
        // LOCAL, whatever follows; and a connection it does not name.
        (0x20, _) | (0x21, 0) => Some(Ends::Unknown),
        (0x21, 1) => {
            let src: [u8; 4] = *rest.first_chunk()?;
            let dst: [u8; 4] = *rest.get(4..)?.first_chunk()?;
            Some(Ends::Known(
                (Ipv4Addr::from(src), port(8)?).into(),
                (Ipv4Addr::from(dst), port(10)?).into(),
            ))
        }
        (0x21, 2) => {
            let src: [u8; 16] = *rest.first_chunk()?;
            let dst: [u8; 16] = *rest.get(16..)?.first_chunk()?;
            Some(Ends::Known(
                (Ipv6Addr::from(src), port(32)?).into(),
                (Ipv6Addr::from(dst), port(34)?).into(),
            ))
        }
        (0x21, 3) if body >= 216 => None,
        _ => return None,
    };
    Some(Found::Header {
        version: Version::V2,
        len,
        ends,
    })
}

fn read_v1(payload: &[u8]) -> Option<Found> {
    let line = &payload[..payload.len().min(MAX_LEN)];
    let end = line.windows(2).position(|w| w == b"\r\n")?;
    let line = std::str::from_utf8(&line[..end]).ok()?;
    let mut words = line.strip_prefix("PROXY ")?.split(' ');
    let family = words.next()?;
    let ends = match family {
        "UNKNOWN" => Ends::Unknown,
        "TCP4" | "TCP6" => {
            let mut ip = || {
                let ip: IpAddr = words.next()?.parse().ok()?;
                (ip.is_ipv4() == (family == "TCP4")).then_some(ip)
            };
            let (src, dst) = (ip()?, ip()?);
            let mut port = || {
                let word = words.next()?;
                let digits = word.bytes().all(|b| b.is_ascii_digit());
                digits.then(|| word.parse::<u16>().ok())?
            };
            let ends = Ends::Known((src, port()?).into(), (dst, port()?).into());
            if words.next().is_some() {
                return None;
            }
            ends
        }
        _ => return None,
    };
    Some(Found::Header {
        version: Version::V1,
        len: end + 2,
        ends: Some(ends),
    })
}

#[cfg(test)]
#[path = "proxy_tests.rs"]
mod tests;
