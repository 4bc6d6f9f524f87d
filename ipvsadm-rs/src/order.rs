//! The order of listings. ipvsadm compares numbers by the sign of their
//! 32-bit difference, which is no order at all for numbers far apart, and so
//! the result depends on the sorting algorithm too: glibc's merge sort. Both
//! are kept, since scripts compare listings.

use std::cmp::Ordering;

use dpvs_ctl::msg::{Dest, Service};
use dpvs_ctl::{Af, Ip16};

/// Sorts services by mark, family, protocol, address, port.
#[must_use]
pub fn services(list: Vec<Service>) -> Vec<Service> {
    merge_sort(list, &|a, b| {
        wrapped(a.fwmark, b.fwmark)
            .then(a.af.cmp(&b.af))
            .then(a.proto.cmp(&b.proto))
            .then_with(|| addresses(a.af, a.addr, b.addr))
            .then(a.port.cmp(&b.port))
    })
}

/// Sorts dests by address and port. Between families the first 32 bits count.
#[must_use]
pub fn dests(list: Vec<Dest>) -> Vec<Dest> {
    merge_sort(list, &|a, b| {
        let af = if a.af == b.af { a.af } else { Af::INET };
        addresses(af, a.addr, b.addr).then(a.port.cmp(&b.port))
    })
}

fn addresses(af: Af, a: Ip16, b: Ip16) -> Ordering {
    let words = if af == Af::INET6 { 4 } else { 1 };
    let of = |ip: Ip16| {
        let v6 = u128::from_be_bytes(ip.0);
        [96, 64, 32, 0].map(|shift| u32::try_from((v6 >> shift) & 0xffff_ffff).unwrap_or(0))
    };
    of(a)
        .into_iter()
        .zip(of(b))
        .take(words)
        .map(|(x, y)| wrapped(x, y))
        .find(|o| o.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// By the sign of the difference in 32 bits.
fn wrapped(a: u32, b: u32) -> Ordering {
    a.wrapping_sub(b).cast_signed().cmp(&0)
}

/// Top-down merge sort, first half rounded down, left wins ties. Unlike the
/// standard library's it may be given a comparison that is no order.
fn merge_sort<T: Clone>(list: Vec<T>, compare: &impl Fn(&T, &T) -> Ordering) -> Vec<T> {
    if list.len() < 2 {
        return list;
    }
    let mut left = list;
    let right = left.split_off(left.len() / 2);
    let mut out = Vec::with_capacity(left.len() + right.len());
    let mut left = merge_sort(left, compare).into_iter().peekable();
    let mut right = merge_sort(right, compare).into_iter().peekable();
    while let (Some(l), Some(r)) = (left.peek(), right.peek()) {
        let from_left = compare(l, r).is_le();
        out.extend(if from_left { left.next() } else { right.next() });
    }
    out.extend(left);
    out.extend(right);
    out
}
