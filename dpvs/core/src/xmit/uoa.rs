//! UOA: the client's address beside its first datagrams (DPVS facts §14.2).
//!
//! Two forms: an IPv4 option (`ipo`), or a header of its own between IP and UDP
//! under protocol number 248 (`opp`). Either goes into the client's datagram, or,
//! where that has no room, into an empty one that is sent before it. When one is
//! due is the business of `client`.

use std::net::IpAddr;

use dpvs_wire::checksum::{self, Delta};

use crate::frame::Frame;
use crate::raw::{L3, Net};

/// How clients' addresses go to servers of UDP services (`uoa_mode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UoaMode {
    /// A header of its own, protocol 248.
    #[default]
    Opp,
    /// An IPv4 option; IPv4 only.
    Ipo,
}

/// Protocol number of the header of its own.
pub(crate) const OPP: u8 = 248;
/// Kind of the option in both forms.
const KIND: u8 = 31;
/// Longest IPv4 header that has room for the option, bytes.
const IHL_MAX: usize = 52;
/// Longest form.
const MAX_LEN: usize = 24;

/// What is put in.
struct Form {
    bytes: [u8; MAX_LEN],
    len: usize,
}

fn form(mode: UoaMode, (ip, port): (IpAddr, u16)) -> Form {
    let mut bytes = [0; MAX_LEN];
    let mut put = |at: usize, what: &[u8]| bytes[at..at + what.len()].copy_from_slice(what);
    let body = match ip {
        IpAddr::V4(_) => 8,
        IpAddr::V6(_) => 20,
    };
    let at = if mode == UoaMode::Opp { 4 } else { 0 };
    if mode == UoaMode::Opp {
        let version = if ip.is_ipv4() { 0x10 } else { 0x20 };
        put(0, &[version, 17, 0, 4 + body]);
    }
    put(at, &[KIND, body]);
    put(at + 2, &port.to_be_bytes());
    match ip {
        IpAddr::V4(a) => put(at + 4, &a.octets()),
        IpAddr::V6(a) => put(at + 4, &a.octets()),
    }
    Form {
        bytes,
        len: at + usize::from(body),
    }
}

/// Puts the address into a datagram whose UDP header is at `l4`; says where that
/// is now. `None`, with nothing changed, if the packet would be longer than `mtu`
/// or there is no place for it. `v4` says that the server is spoken to by IPv4.
pub(crate) fn insert<F: Frame, A: Net>(
    frame: &mut F,
    l4: usize,
    mode: UoaMode,
    client: (IpAddr, u16),
    v4: bool,
    mtu: u16,
) -> Option<usize> {
    let form = form(mode, client);
    let data = frame.data();
    let len = ip_len::<A>(data);
    let at = match mode {
        UoaMode::Ipo if !A::V6 && l4 - L3 <= IHL_MAX => L3 + 20,
        // Behind extension headers it would stand in the wrong place.
        UoaMode::Opp if !A::V6 || l4 == A::L4 => l4,
        _ => return None,
    };
    if len + form.len > usize::from(mtu) || !frame.push_front(form.len) {
        return None;
    }
    let data = frame.data_mut();
    data.copy_within(form.len..form.len + at, 0);
    data[at..at + form.len].copy_from_slice(&form.bytes[..form.len]);
    finish::<A>(data, l4, mode, &form, v4);
    Some(l4 + form.len)
}

/// Overwrites what a client says of its address in the IPv4 options of a datagram, whose
/// UDP header is at `l4`, with padding.
///
/// DIFFERS: DPVS lets that pass, and servers believe it.
#[cold]
pub(crate) fn blank(data: &mut [u8], l4: usize) {
    let mut at = L3 + 20;
    let mut found = false;
    while at < l4 {
        let len = match data[at] {
            0 => break,
            1 => 1,
            _ if at + 1 < l4 => usize::from(data[at + 1]),
            _ => break,
        };
        if len == 0 || at + len > l4 {
            break;
        }
        if data[at] == KIND {
            data[at..at + len].fill(1);
            found = true;
        }
        at += len;
    }
    if found {
        data[L3 + 10..L3 + 12].fill(0);
        let sum = !checksum::sum(&data[L3..l4]);
        data[L3 + 10..L3 + 12].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Length of a header of its own, before UDP.
pub(crate) fn header_len(header: &[u8]) -> Option<u16> {
    let [version, next, high, low] = *header.first_chunk()?;
    let len = u16::from_be_bytes([high, low]);
    let ours = matches!((version, len), (0x10, 12) | (0x20, 24));
    (ours && next == 17).then_some(len)
}

/// Writes an empty datagram with the address into an empty frame, of the same two
/// ends as `like`, whose UDP header is at `l4`. Says where its own is.
pub(crate) fn standalone<F: Frame, A: Net>(
    out: &mut F,
    like: &[u8],
    l4: usize,
    mode: UoaMode,
    client: (IpAddr, u16),
    v4: bool,
) -> Option<usize> {
    let form = form(mode, client);
    if mode == UoaMode::Ipo && A::V6 || !out.push_back(A::L4 + form.len + 8) {
        return None;
    }
    let data = out.data_mut();
    data[..A::L4].copy_from_slice(&like[..A::L4]);
    data[A::L4..A::L4 + form.len].copy_from_slice(&form.bytes[..form.len]);
    let udp = A::L4 + form.len;
    data[udp..udp + 4].copy_from_slice(&like[l4..l4 + 4]);
    data[udp + 4..].copy_from_slice(&[0, 8, 0, 0]);
    let (src, dst) = A::addrs(data);
    if A::V6 {
        data[L3 + 4..L3 + 6].copy_from_slice(&8u16.to_be_bytes());
        data[L3 + 6] = 17;
        let pseudo = Delta::new()
            .add(src.ip())
            .add(dst.ip())
            .add(17u16)
            .add(8u16);
        let sum = checksum::transport(pseudo.to_bits(), &data[udp..]);
        let sum = checksum::udp_field(sum).to_be_bytes();
        data[udp + 6..].copy_from_slice(&sum);
    } else {
        data[L3] = 0x45;
        data[L3 + 2..L3 + 4].copy_from_slice(&28u16.to_be_bytes());
        data[L3 + 6..L3 + 8].fill(0);
    }
    finish::<A>(data, A::L4, mode, &form, v4);
    Some(udp)
}

/// Lengths, protocol and checksums of what has grown by `form`; `l4` is where the
/// UDP header was.
fn finish<A: Net>(data: &mut [u8], l4: usize, mode: UoaMode, form: &Form, v4: bool) {
    let len = ip_len::<A>(data) + form.len;
    if A::V6 {
        data[L3 + 4..L3 + 6].copy_from_slice(&((len - 40) as u16).to_be_bytes());
        data[L3 + 6] = OPP;
    } else {
        data[L3 + 2..L3 + 4].copy_from_slice(&(len as u16).to_be_bytes());
        let mut header = l4;
        if mode == UoaMode::Ipo {
            data[L3] += (form.len / 4) as u8;
            header += form.len;
        } else {
            data[L3 + 9] = OPP;
        }
        data[L3 + 10..L3 + 12].fill(0);
        let sum = !checksum::sum(&data[L3..header]);
        data[L3 + 10..L3 + 12].copy_from_slice(&sum.to_be_bytes());
    }
    if mode == UoaMode::Opp && v4 {
        // What would it be about? IPv4 lets it be left out (RFC 768).
        let udp = l4 + form.len;
        data[udp + 6..udp + 8].fill(0);
    }
}

/// Length of the IP packet.
pub(crate) fn ip_len<A: Net>(data: &[u8]) -> usize {
    if A::V6 {
        40 + usize::from(u16::from_be_bytes([data[L3 + 4], data[L3 + 5]]))
    } else {
        usize::from(u16::from_be_bytes([data[L3 + 2], data[L3 + 3]]))
    }
}
