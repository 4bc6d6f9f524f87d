//! Answers made of the packet itself: SYN-ACK with a cookie, reset.
//!
//! Nothing is kept and nothing is allocated: addresses and ports change places and
//! the frame goes back to where it came from (DPVS facts §15.1, §15.2). Options are
//! answered in their places, so that the header keeps its length.

use dpvs_wire::{checksum, tcp as wire};

use crate::conn::table::Tuple;
use crate::frame::Frame;
use crate::raw::{L3, Net, ld16, ld32, st16, st32};
use crate::service::TCP;
use crate::snapshot::{Mac, SynproxySettings};
use crate::xmit::fullnat::{ACK, RST, SYN};

use super::cookie::Offer;

/// Segment size of a client that names none (RFC 9293 §3.7.1, for IPv4).
const DEFAULT_MSS: u16 = 536;

/// What is in a SYN's options, where.
struct Options {
    offer: Offer,
    /// Offset of the MSS value and of the time stamp, 0 = not there.
    mss_at: usize,
    stamp_at: usize,
}

/// Reads a SYN's options and turns them into those of the answer, but for the
/// values of MSS and time stamp.
///
/// DIFFERS: what the answer cannot mean (fast open, multipath and any other kind)
/// is blanked; DPVS sends such options back.
fn options(area: &mut [u8], conf: &SynproxySettings) -> Options {
    let mut found = Options {
        offer: Offer {
            mss: DEFAULT_MSS,
            wscale: None,
            sack: false,
            timestamp: false,
        },
        mss_at: 0,
        stamp_at: 0,
    };
    let mut at = 0;
    while at < area.len() {
        match area[at] {
            wire::OPT_EOL => break,
            wire::OPT_NOP => at += 1,
            kind => {
                let len = usize::from(area.get(at + 1).copied().unwrap_or(0));
                if len < 2 || at + len > area.len() {
                    break;
                }
                let option = &mut area[at..at + len];
                let kept = match (kind, len) {
                    (wire::OPT_MSS, 4) => {
                        found.offer.mss = u16::from_be_bytes([option[2], option[3]]);
                        found.mss_at = at + 2;
                        true
                    }
                    (wire::OPT_WSCALE, 3) if conf.wscale > 0 => {
                        found.offer.wscale = Some(option[2].min(14));
                        option[2] = conf.wscale;
                        true
                    }
                    (wire::OPT_SACK_PERM, 2) if conf.sack => {
                        found.offer.sack = true;
                        true
                    }
                    (wire::OPT_TIMESTAMP, 10) if conf.timestamp => {
                        found.offer.timestamp = true;
                        found.stamp_at = at + 2;
                        true
                    }
                    _ => false,
                };
                if !kept {
                    option.fill(wire::OPT_NOP);
                }
                at += len;
            }
        }
    }
    if let Some(rest) = area.get_mut(at..) {
        // Behind the end, or no option: nothing that could be taken for one.
        rest.fill(wire::OPT_EOL);
    }
    found
}

/// Turns a SYN into the answer with a cookie, `cookie` of the SYN's tuple, number
/// and offer. `room` is the largest segment that still can take the client's
/// address with it. Gives the frame's length as it is now; the frame is only good
/// to be sent.
///
/// DIFFERS: data of a SYN is cut off (it was not acknowledged); DPVS sends it back
/// to the client as if it were the server's. The MSS leaves room for the client's
/// address over IPv6, too.
pub(super) fn syn_ack<A: Net, F: Frame>(
    frame: &mut F,
    l4: usize,
    mac: &Mac,
    conf: &SynproxySettings,
    room: u16,
    stamp: u32,
    cookie: impl FnOnce(&Tuple<A>, u32, Offer) -> u32,
) {
    let data = frame.data_mut();
    let (src, dst) = A::addrs(data);
    let (ip, segment) = data.split_at_mut(l4);
    let header = usize::from(segment[12] >> 4) * 4;
    let (head, area) = segment[..header].split_at_mut(wire::HEADER_LEN);
    let seq = u32::from_be(ld32(head, 4));
    let tuple = Tuple {
        src,
        dst,
        sport: ld16(head, 0),
        dport: ld16(head, 2),
        proto: TCP,
    };
    let Options {
        mut offer,
        mss_at,
        stamp_at,
    } = options(area, conf);
    if offer.mss == 0 {
        offer.mss = DEFAULT_MSS;
    }
    offer.mss = offer.mss.min(conf.mss).min(room);
    if mss_at != 0 {
        st16(area, mss_at, offer.mss.to_be());
    }
    if stamp_at != 0 {
        st32(area, stamp_at + 4, ld32(area, stamp_at));
        st32(area, stamp_at, stamp.to_be());
    }
    let cookie = cookie(&tuple, seq, offer);
    let [high, low] = if conf.close_client_window && !conf.defer_rs_syn {
        [0; 2]
    } else {
        [head[14], head[15]]
    };
    // Made in registers, and summed up from there: what was just written in other
    // widths is slow to read.
    let words = [
        // Ports change places.
        ld32(head, 0).rotate_left(16),
        cookie.to_be(),
        seq.wrapping_add(1).to_be(),
        u32::from_ne_bytes([head[12] & 0xf0, SYN | ACK, high, low]),
    ];
    for (at, word) in words.into_iter().enumerate() {
        st32(head, 4 * at, word);
    }
    let pseudo = sum_of::<A>(src, dst) + u64::from((u16::from(TCP) + header as u16).to_be());
    let all = words.into_iter().map(u64::from).sum::<u64>() + pseudo + raw_sum(area);
    // With no urgent pointer.
    st32(head, 16, first_half(!folded(all)));
    turn_ip::<A>(ip, mac, (dst, src), header, conf.ttl);
    let end = l4 + header;
    if frame.total_len() > end {
        frame.truncate(end);
    }
}

/// The raw sum of whole words; a header has few.
#[inline(always)]
fn raw_sum(bytes: &[u8]) -> u64 {
    let (words, _) = bytes.as_chunks::<4>();
    let mut sum = 0;
    for word in words {
        sum += u64::from(u32::from_ne_bytes(*word));
    }
    sum
}

/// The raw sum of addresses.
#[inline(always)]
fn sum_of<A: Net>(src: A, dst: A) -> u64 {
    [src.wide(), dst.wide()]
        .into_iter()
        .flat_map(|wide| [wide as u64, (wide >> 64) as u64])
        .map(|word| (word >> 32) + (word & 0xffff_ffff))
        .sum()
}

/// A raw sum as a sum of 16-bit words, as it lies in a packet.
#[inline(always)]
fn folded(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + (sum & 0xffff)) as u16
}

/// A word whose first half is this one, as both lie in a packet.
#[inline(always)]
fn first_half(half: u16) -> u32 {
    let [a, b] = half.to_ne_bytes();
    u32::from_ne_bytes([a, b, 0, 0])
}

/// Headers before the segment, back to where they came from: `addrs` are source and
/// destination as they shall be, `header` the length of what follows.
#[inline(always)]
fn turn_ip<A: Net>(ip: &mut [u8], mac: &Mac, addrs: (A, A), header: usize, ttl: u8) {
    let from = [ip[6], ip[7], ip[8], ip[9], ip[10], ip[11]];
    ip[..6].copy_from_slice(&from);
    ip[6..12].copy_from_slice(mac);
    // The header's checksum does not mind.
    A::set_addrs(ip, addrs.0, addrs.1, checksum::Delta::new());
    let len = ip.len() - L3 + header;
    if A::V6 {
        st16(ip, L3 + 4, ((len - 40) as u16).to_be());
        ip[L3 + 7] = ttl;
        return;
    }
    let [high, low] = (len as u16).to_be_bytes();
    let words = [
        u32::from_ne_bytes([ip[L3], 0, high, low]),
        ld32(ip, L3 + 4),
        u32::from_ne_bytes([ttl, ip[L3 + 9], 0, 0]),
    ];
    let all = words.into_iter().map(u64::from).sum::<u64>()
        + sum_of::<A>(addrs.0, addrs.1)
        + raw_sum(&ip[L3 + 20..]);
    st32(ip, L3, words[0]);
    st32(ip, L3 + 8, words[2]);
    st16(ip, L3 + 10, !folded(all));
}

/// Turns a segment nobody wants into a reset for its sender: acceptable to it
/// whatever state it is in (RFC 9293 §3.10.7.1), with its options.
pub(super) fn reset<A: Net, F: Frame>(frame: &mut F, l4: usize, end: usize, mac: &Mac, ttl: u8) {
    let data = frame.data_mut();
    let header = usize::from(data[l4 + 12] >> 4) * 4;
    let (seq, ack) = (
        u32::from_be(ld32(data, l4 + 4)),
        u32::from_be(ld32(data, l4 + 8)),
    );
    let flags = data[l4 + 13];
    let len = (end - l4 - header) as u32 + u32::from(flags & SYN != 0);
    turn_round::<A>(data, mac, l4);
    fields(data, l4, ack, seq.wrapping_add(len), RST | ACK, 0);
    finish::<A, F>(frame, l4, header, ttl);
}

/// Back to where it came from: MAC addresses, addresses, ports.
fn turn_round<A: Net>(data: &mut [u8], mac: &Mac, l4: usize) {
    data.copy_within(6..12, 0);
    data[6..12].copy_from_slice(mac);
    let (src, dst) = A::addrs(data);
    // The header's checksum does not mind.
    A::set_addrs(data, dst, src, checksum::Delta::new());
    let (sport, dport) = (ld16(data, l4), ld16(data, l4 + 2));
    st16(data, l4, dport);
    st16(data, l4 + 2, sport);
}

fn fields(data: &mut [u8], l4: usize, seq: u32, ack: u32, flags: u8, window: u16) {
    data[l4 + 4..l4 + 8].copy_from_slice(&seq.to_be_bytes());
    data[l4 + 8..l4 + 12].copy_from_slice(&ack.to_be_bytes());
    data[l4 + 13] = flags;
    data[l4 + 14..l4 + 16].copy_from_slice(&window.to_be_bytes());
    // Urgent pointer.
    data[l4 + 18..l4 + 20].fill(0);
}

/// Cuts the payload off, sets lengths, TTL, type of service and checksums.
fn finish<A: Net, F: Frame>(frame: &mut F, l4: usize, header: usize, ttl: u8) {
    let end = l4 + header;
    if frame.total_len() > end {
        frame.truncate(end);
    }
    let data = frame.data_mut();
    let addrs = if A::V6 {
        data[L3 + 4..L3 + 6].copy_from_slice(&((end - L3 - 40) as u16).to_be_bytes());
        data[L3 + 7] = ttl;
        L3 + 8..L3 + 40
    } else {
        data[L3 + 1] = 0;
        data[L3 + 2..L3 + 4].copy_from_slice(&((end - L3) as u16).to_be_bytes());
        data[L3 + 8] = ttl;
        data[L3 + 10..L3 + 12].fill(0);
        let sum = !checksum::sum(&data[L3..l4]);
        data[L3 + 10..L3 + 12].copy_from_slice(&sum.to_be_bytes());
        L3 + 12..L3 + 20
    };
    seal(data, l4, end, addrs);
}

/// The TCP checksum of a header without payload.
fn seal(data: &mut [u8], l4: usize, end: usize, addrs: std::ops::Range<usize>) {
    data[l4 + 16..l4 + 18].fill(0);
    let pseudo = checksum::combine(
        checksum::sum(&data[addrs]),
        u16::from(TCP) + (end - l4) as u16,
    );
    let sum = !checksum::combine(pseudo, checksum::sum(&data[l4..end]));
    data[l4 + 16..l4 + 18].copy_from_slice(&sum.to_be_bytes());
}

/// A segment of our own, as if the client had sent it.
pub(super) struct Bare<'a> {
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub window: u16,
    pub tos: u8,
    /// Whole words.
    pub options: &'a [u8],
}

/// Writes such a segment into an empty frame, addressed to `mac`; false if there
/// is no room. TTL 64, DF, identification 0 (DPVS facts §15.2).
pub(super) fn bare<A: Net, F: Frame>(
    frame: &mut F,
    mac: &Mac,
    tuple: &Tuple<A>,
    what: &Bare<'_>,
) -> bool {
    let l4 = A::L4;
    let header = wire::HEADER_LEN + what.options.len();
    if !frame.push_back(l4 + header) {
        return false;
    }
    let data = frame.data_mut();
    data[..l4 + wire::HEADER_LEN].fill(0);
    data[..6].copy_from_slice(mac);
    data[6..12].copy_from_slice(mac);
    if A::V6 {
        data[12..14].copy_from_slice(&dpvs_wire::eth::ETHERTYPE_IPV6.to_be_bytes());
        data[L3] = 0x60;
        data[L3 + 6] = TCP;
    } else {
        data[12..14].copy_from_slice(&dpvs_wire::eth::ETHERTYPE_IPV4.to_be_bytes());
        data[L3] = 0x45;
        data[L3 + 6] = 0x40;
        data[L3 + 9] = TCP;
    }
    A::set_addrs(data, tuple.src, tuple.dst, checksum::Delta::new());
    st16(data, l4, tuple.sport);
    st16(data, l4 + 2, tuple.dport);
    data[l4 + 12] = ((header / 4) as u8) << 4;
    data[l4 + wire::HEADER_LEN..l4 + header].copy_from_slice(what.options);
    fields(data, l4, what.seq, what.ack, what.flags, what.window);
    finish::<A, F>(frame, l4, header, 64);
    if !A::V6 && what.tos != 0 {
        let data = frame.data_mut();
        data[L3 + 1] = what.tos;
        data[L3 + 10..L3 + 12].fill(0);
        let sum = !checksum::sum(&data[L3..l4]);
        data[L3 + 10..L3 + 12].copy_from_slice(&sum.to_be_bytes());
    }
    true
}
