//! Destination hashing: 256 buckets go to the servers in turn; the virtual address
//! says which bucket. The same choices as Linux's.

use super::hashed::{folded, to_byte};
use crate::service::Dest;

use std::net::IpAddr;

/// Which server has which bucket.
#[derive(Clone, Debug)]
pub(super) struct Buckets(Box<[u32; 256]>);

impl Buckets {
    /// `None` without servers.
    pub(super) fn build(dests: &[Dest]) -> Option<Self> {
        let n = u32::try_from(dests.len()).ok().filter(|n| *n > 0)?;
        let mut buckets = Box::new([0; 256]);
        for (bucket, i) in buckets.iter_mut().zip(0..) {
            *bucket = i % n;
        }
        Some(Self(buckets))
    }

    /// The server of an address; `None` if it may not be used.
    pub(super) fn pick(&self, vip: IpAddr, mut open: impl FnMut(usize) -> bool) -> Option<usize> {
        let place = self.0[usize::from(to_byte(folded(vip)))] as usize;
        open(place).then_some(place)
    }
}
