//! Source hashing: 256 buckets, each server having as many in a row as it weighs;
//! the client's address (and port) says which bucket. The same choices as Linux's.

use super::hashed::{Flow, folded, to_byte};
use crate::service::{Dest, Policy};

/// Which server has which bucket.
#[derive(Clone, Debug)]
pub(super) struct Buckets(Box<[u32; 256]>);

impl Buckets {
    /// `None` without servers.
    pub(super) fn build(dests: &[Dest]) -> Option<Self> {
        let mut turns = dests
            .iter()
            .zip(0..)
            .cycle()
            // A drained server has a bucket, too: those of the others stay.
            .flat_map(|(d, i)| std::iter::repeat_n(i, usize::from(d.weight.max(1))));
        let mut buckets = Box::new([0; 256]);
        for bucket in buckets.iter_mut() {
            *bucket = turns.next()?;
        }
        Some(Self(buckets))
    }

    /// The server of a client; where it may not be used, with fallback the next
    /// one its hash leads to, else `None`.
    pub(super) fn pick(
        &self,
        flow: &Flow,
        policy: &Policy,
        mut open: impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        let port = if policy.with_port { flow.cport } else { 0 };
        let hash = to_byte(u32::from(port).wrapping_add(folded(flow.client)));
        let first = self.0[usize::from(hash)] as usize;
        if open(first) {
            return Some(first);
        }
        if !policy.fallback {
            return None;
        }
        (0..=u8::MAX)
            .map(|step| self.0[usize::from(step.wrapping_add(hash).wrapping_add(hash))] as usize)
            .find(|place| open(*place))
    }
}
