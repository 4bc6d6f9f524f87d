//! Packets the plain way: what a frame is, checksums added up whole, a frame put
//! together from its parts. Written from the RFCs (791, 8200, 9293, 768, 1071);
//! shares no line with the code it is held against.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dpvs_core::stats::Reason;

pub const ETH: usize = 14;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;

/// What a frame is to a station with that MAC address.
pub enum Seen {
    Drop(Reason),
    Arp,
    Other,
    Ip(Ip),
}

/// A sound IP packet in a frame.
#[derive(Clone, Debug)]
pub struct Ip {
    pub v6: bool,
    pub src: IpAddr,
    pub dst: IpAddr,
    /// Upper protocol, or the last one known where headers end early.
    pub proto: u8,
    /// Where the upper header starts, and where the packet ends.
    pub l4: usize,
    pub end: usize,
    /// IPv4: any fragment.
    pub fragment: bool,
    /// Addressed to our MAC, not to a group.
    pub to_host: bool,
    /// Source and destination port of a TCP or UDP packet that can be a flow's.
    pub ports: Option<(u16, u16)>,
}

impl Ip {
    pub fn len(&self) -> usize {
        self.end - ETH
    }
}

pub fn be16(b: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([b[at], b[at + 1]])
}

pub fn be32(b: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

pub fn v4(b: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(be32(b, at))
}

pub fn v6(b: &[u8], at: usize) -> Ipv6Addr {
    let bytes: [u8; 16] = b[at..at + 16].try_into().unwrap();
    bytes.into()
}

pub fn octets(a: IpAddr) -> Vec<u8> {
    match a {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

/// Reads a frame.
pub fn look(f: &[u8], mac: [u8; 6]) -> Seen {
    if f.len() < ETH {
        return Seen::Drop(Reason::Truncated);
    }
    let to_host = f[..6] == mac;
    if !to_host && f[0] & 1 == 0 {
        return Seen::Drop(Reason::OtherHost);
    }
    match be16(f, 12) {
        0x0800 => look4(f, to_host),
        0x86dd => look6(f, to_host),
        0x0806 => Seen::Arp,
        _ => Seen::Other,
    }
}

fn look4(f: &[u8], to_host: bool) -> Seen {
    if f.len() < ETH + 20 {
        return Seen::Drop(Reason::Truncated);
    }
    let header = usize::from(f[ETH] & 15) * 4;
    let len = usize::from(be16(f, ETH + 2));
    if f[ETH] >> 4 != 4 || header < 20 || len < header {
        return Seen::Drop(Reason::Malformed);
    }
    if f.len() < ETH + len {
        return Seen::Drop(Reason::Truncated);
    }
    if !words(&f[ETH..ETH + header]).is_multiple_of(65535) {
        return Seen::Drop(Reason::BadChecksum);
    }
    let mut ip = Ip {
        v6: false,
        src: v4(f, ETH + 12).into(),
        dst: v4(f, ETH + 16).into(),
        proto: f[ETH + 9],
        l4: ETH + header,
        end: ETH + len,
        // More fragments, or an offset; the reserved bit and DF do not matter.
        fragment: be16(f, ETH + 6) & 0x3fff != 0,
        to_host,
        ports: None,
    };
    if !ip.fragment && !flow(f, &mut ip) {
        return Seen::Drop(Reason::Truncated);
    }
    Seen::Ip(ip)
}

fn look6(f: &[u8], to_host: bool) -> Seen {
    if f.len() < ETH + 40 {
        return Seen::Drop(Reason::Truncated);
    }
    if f[ETH] >> 4 != 6 {
        return Seen::Drop(Reason::Malformed);
    }
    let end = ETH + 40 + usize::from(be16(f, ETH + 4));
    if f.len() < end {
        return Seen::Drop(Reason::Truncated);
    }
    let mut ip = Ip {
        v6: true,
        src: v6(f, ETH + 8).into(),
        dst: v6(f, ETH + 24).into(),
        proto: f[ETH + 6],
        l4: ETH + 40,
        end,
        fragment: false,
        to_host,
        ports: None,
    };
    // Fragments are no flows, and headers that end early have no upper protocol.
    if let Some(up) = upper(&f[..end]).filter(|up| !up.fragment) {
        ip.proto = up.proto;
        ip.l4 = up.at;
        if !flow(f, &mut ip) {
            return Seen::Drop(Reason::Truncated);
        }
    }
    Seen::Ip(ip)
}

/// What is behind the extension headers of an IPv6 packet.
pub struct Upper {
    pub proto: u8,
    pub at: usize,
    pub fragment: bool,
    /// A fragment, and not the first: `proto` is what it says.
    pub later: bool,
}

/// Follows IPv6 extension headers (at most eight, one fragment header). `None` if
/// one is not all there.
pub fn upper(f: &[u8]) -> Option<Upper> {
    let mut up = Upper {
        proto: f[ETH + 6],
        at: ETH + 40,
        fragment: false,
        later: false,
    };
    for _ in 0..=8 {
        let here = &f[up.at..];
        let len = match up.proto {
            0 | 43 | 60 | 135 => (usize::from(*here.get(1)?) + 1) * 8,
            51 => (usize::from(*here.get(1)?) + 2) * 4,
            44 => 8,
            _ => return Some(up),
        };
        if len > here.len() || (up.proto == 44 && up.fragment) {
            return None;
        }
        if up.proto == 44 {
            up.fragment = true;
            up.later = be16(here, 2) & 0xfff8 != 0;
        }
        up.proto = here[0];
        up.at += len;
        if up.later {
            return Some(up);
        }
    }
    None
}

/// Notes the ports; false if the transport header is not whole.
fn flow(f: &[u8], ip: &mut Ip) -> bool {
    // SCTP with a chunk's header; nobody here has a service of it.
    let sctp = ip.proto == 132 && ip.end - ip.l4 >= 16;
    if !ip.to_host || (ip.proto != TCP && ip.proto != UDP && !sctp) {
        return true;
    }
    let l4 = &f[ip.l4..ip.end];
    if sctp {
        ip.ports = Some((be16(l4, 0), be16(l4, 2)));
        return true;
    }
    let whole = if ip.proto == TCP {
        l4.len() >= 20 && usize::from(l4[12] >> 4) >= 5 && usize::from(l4[12] >> 4) * 4 <= l4.len()
    } else {
        l4.len() >= 8 && usize::from(be16(l4, 4)) >= 8 && usize::from(be16(l4, 4)) <= l4.len()
    };
    if whole {
        ip.ports = Some((be16(l4, 0), be16(l4, 2)));
    }
    whole
}

/// The sum of 16-bit words, not folded; an odd byte counts as if zero followed.
pub fn words(b: &[u8]) -> u64 {
    b.chunks(2)
        .map(|c| u64::from(c[0]) * 256 + u64::from(*c.get(1).unwrap_or(&0)))
        .sum()
}

/// The pseudo header's words.
pub fn pseudo(src: IpAddr, dst: IpAddr, proto: u8, len: usize) -> u64 {
    words(&octets(src)) + words(&octets(dst)) + u64::from(proto) + len as u64
}

/// The field that makes a sum come out as `wanted`, modulo 65535.
fn field(rest: u64, wanted: u64) -> u16 {
    ((wanted + 65535 - rest % 65535) % 65535) as u16
}

/// The checksum of an ICMP message (its field counts as zero).
pub fn icmp_sum(src: IpAddr, dst: IpAddr, message: &[u8]) -> u16 {
    let mut rest = words(message) - words(&message[2..4]);
    if src.is_ipv6() {
        rest += pseudo(src, dst, 58, message.len());
    }
    // Only a message of zeros adds up to nothing at all.
    if rest == 0 { 0xffff } else { field(rest, 0) }
}

pub fn icmp_good(src: IpAddr, dst: IpAddr, message: &[u8]) -> bool {
    let pseudo = if src.is_ipv6() {
        pseudo(src, dst, 58, message.len())
    } else {
        0
    };
    let all = words(message) + pseudo;
    all != 0 && all.is_multiple_of(65535)
}

/// A TCP or UDP packet in its parts, to be changed and put together again.
#[derive(Clone, Debug)]
pub struct Parts {
    pub eth: Vec<u8>,
    /// Everything of IP: fixed header, options or extension headers.
    pub ip: Vec<u8>,
    pub l4: Vec<u8>,
    pub proto: u8,
    v6: bool,
    /// What the packet added up to with its checksum, modulo 65535: 0 if it was
    /// right. A wrong one has to stay exactly as wrong.
    sum: u64,
    /// UDP without a checksum has none afterwards.
    none: bool,
}

impl Parts {
    pub fn cut(f: &[u8], ip: &Ip) -> Self {
        let l4 = f[ip.l4..ip.end].to_vec();
        let none = ip.proto == UDP && l4[6..8] == [0, 0];
        Self {
            eth: f[..ETH].to_vec(),
            ip: f[ETH..ip.l4].to_vec(),
            proto: ip.proto,
            v6: ip.v6,
            sum: (words(&l4) + pseudo(ip.src, ip.dst, ip.proto, l4.len())) % 65535,
            none,
            l4,
        }
    }

    pub fn addrs(&self) -> (IpAddr, IpAddr) {
        if self.v6 {
            (v6(&self.ip, 8).into(), v6(&self.ip, 24).into())
        } else {
            (v4(&self.ip, 12).into(), v4(&self.ip, 16).into())
        }
    }

    pub fn set_ends(&mut self, src: (IpAddr, u16), dst: (IpAddr, u16)) {
        let at = if self.v6 { 8 } else { 12 };
        let both = [octets(src.0), octets(dst.0)].concat();
        self.ip[at..at + both.len()].copy_from_slice(&both);
        self.l4[..2].copy_from_slice(&src.1.to_be_bytes());
        self.l4[2..4].copy_from_slice(&dst.1.to_be_bytes());
    }

    pub fn len(&self) -> usize {
        self.ip.len() + self.l4.len()
    }

    /// The frame, with all lengths and checksums.
    pub fn join(&self) -> Vec<u8> {
        let (mut ip, mut l4) = (self.ip.clone(), self.l4.clone());
        if self.v6 {
            let len = (self.len() - 40) as u16;
            ip[4..6].copy_from_slice(&len.to_be_bytes());
        } else {
            let len = self.len() as u16;
            ip[2..4].copy_from_slice(&len.to_be_bytes());
            seal4(&mut ip);
        }
        let at = if self.proto == TCP { 16 } else { 6 };
        l4[at..at + 2].fill(0);
        if !self.none {
            let (src, dst) = self.addrs();
            let rest = words(&l4) + pseudo(src, dst, self.proto, l4.len());
            let mut sum = field(rest, self.sum);
            if self.proto == UDP && sum == 0 {
                sum = 0xffff;
            }
            l4[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        [&self.eth[..], &ip, &l4].concat()
    }
}

/// Sets the checksum of an IPv4 header.
pub fn seal4(header: &mut [u8]) {
    header[10..12].fill(0);
    let sum = field(words(header), 0);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// Takes one off TTL or hop limit; `None` if there is none left.
pub fn older(f: &[u8]) -> Option<Vec<u8>> {
    let mut f = f.to_vec();
    let at = if be16(&f, 12) == 0x0800 {
        ETH + 8
    } else {
        ETH + 7
    };
    if f[at] <= 1 {
        return None;
    }
    f[at] -= 1;
    if at == ETH + 8 {
        let header = usize::from(f[ETH] & 15) * 4;
        seal4(&mut f[ETH..ETH + header]);
    }
    Some(f)
}

/// An IPv4 packet in pieces of at most `mtu` bytes; options stay in the first.
/// `None` if the MTU has no room for eight bytes.
pub fn pieces(f: &[u8], mtu: usize) -> Option<Vec<Vec<u8>>> {
    let header = usize::from(f[ETH] & 15) * 4;
    let len = usize::from(be16(f, ETH + 2));
    let room = mtu.checked_sub(header)? / 8 * 8;
    if room < 8 {
        return None;
    }
    let word = be16(f, ETH + 6);
    let body = &f[ETH + header..ETH + len];
    let n = body.chunks(room).count();
    let all = body.chunks(room).enumerate().map(|(i, chunk)| {
        let mut ip = f[ETH..ETH + if i == 0 { header } else { 20 }].to_vec();
        ip[0] = 0x40 | (ip.len() / 4) as u8;
        let total = (ip.len() + chunk.len()) as u16;
        ip[2..4].copy_from_slice(&total.to_be_bytes());
        let offset = (word & 0x1fff) + (i * room / 8) as u16;
        let more = if i + 1 < n { 0x2000 } else { word & 0x2000 };
        ip[6..8].copy_from_slice(&(offset | more).to_be_bytes());
        seal4(&mut ip);
        [&f[..ETH], &ip, chunk].concat()
    });
    Some(all.collect())
}

/// The first option of a kind: where its data starts, and how long it is. Ends
/// at end-of-options and at a length that cannot be.
pub fn find_option(options: &[u8], kind: u8) -> Option<(usize, usize)> {
    split_options(options)
        .into_iter()
        .find(|(k, _, _)| *k == kind)
        .map(|(_, at, len)| (at + 2, len.saturating_sub(2)))
}

/// Every option: kind, offset, length with kind and length bytes (NOP: 1).
pub fn split_options(options: &[u8]) -> Vec<(u8, usize, usize)> {
    let mut all = Vec::new();
    let mut at = 0;
    while at < options.len() && options[at] != 0 {
        let len = match (options[at], options.get(at + 1)) {
            (1, _) => 1,
            (_, Some(len)) if *len >= 2 && at + usize::from(*len) <= options.len() => {
                usize::from(*len)
            }
            _ => break,
        };
        all.push((options[at], at, len));
        at += len;
    }
    all
}

/// IPv4 options in which a client says who it is (UOA's kind) become padding.
pub fn no_claim(ip: &mut [u8]) {
    let mut options = ip.get_mut(20..).unwrap_or_default();
    while let [kind, rest @ ..] = options
        && *kind != 0
    {
        let len = match (*kind, &*rest) {
            (1, _) => 1,
            (_, [len, ..]) => usize::from(*len),
            _ => 0,
        };
        if len == 0 || len > options.len() {
            return;
        }
        let (option, behind) = options.split_at_mut(len);
        if option[0] == 31 {
            option.fill(1);
        }
        options = behind;
    }
}
