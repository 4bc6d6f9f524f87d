//! A packet: one owned DPDK mbuf (and its chained segments).
//!
//! [`Mbuf`] has the size of a pointer, so that `[Option<Mbuf>; N]` is the array
//! a driver fills and empties. Dropping it gives the buffer back to its pool.
//! Does not know what the bytes mean.

use std::mem::{align_of, size_of};
use std::ptr::{self, NonNull};
use std::slice;

use dpdk_sys as sys;
use dpvs_core::frame::{BURST, Burst, Frame, RxChecksum};

/// An owned packet buffer.
///
/// `Send`: any thread may free it or work on it. Not `Sync`: `NonNull` sees to
/// that.
#[repr(transparent)]
#[derive(Debug)]
pub struct Mbuf(NonNull<sys::rte_mbuf>);

const _: () = assert!(size_of::<Option<Mbuf>>() == size_of::<*mut sys::rte_mbuf>());
const _: () = assert!(align_of::<Option<Mbuf>>() == align_of::<*mut sys::rte_mbuf>());

// SAFETY: one owner; pools take buffers back from any thread.
unsafe impl Send for Mbuf {}

/// Accessors of a member of `struct rte_mbuf`; where it is comes from C.
macro_rules! member {
    ($get:ident, $ty:ty, $off:ident) => {
        #[inline(always)]
        fn $get(self) -> $ty {
            // SAFETY: a live segment (see `Seg`), a member at its C offset.
            unsafe {
                self.0
                    .as_ptr()
                    .byte_add(sys::$off as usize)
                    .cast::<$ty>()
                    .read()
            }
        }
    };
    ($get:ident, $set:ident, $ty:ty, $off:ident) => {
        member!($get, $ty, $off);
        #[inline(always)]
        fn $set(self, value: $ty) {
            // SAFETY: as above; the owner is held mutably by the caller.
            unsafe {
                self.0
                    .as_ptr()
                    .byte_add(sys::$off as usize)
                    .cast::<$ty>()
                    .write(value)
            }
        }
    };
}

/// One segment of a live chain. Only made from an `Mbuf`, and never kept.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seg(NonNull<sys::rte_mbuf>);

impl Seg {
    member!(data_off, set_data_off, u16, DPVS_MBUF_OFF_data_off);
    member!(data_len, set_data_len, u16, DPVS_MBUF_OFF_data_len);
    member!(pkt_len, set_pkt_len, u32, DPVS_MBUF_OFF_pkt_len);
    member!(nb_segs, set_nb_segs, u16, DPVS_MBUF_OFF_nb_segs);
    member!(port, set_port, u16, DPVS_MBUF_OFF_port);
    member!(ol_flags, u64, DPVS_MBUF_OFF_ol_flags);
    member!(buf_addr, *mut u8, DPVS_MBUF_OFF_buf_addr);
    member!(buf_len, u16, DPVS_MBUF_OFF_buf_len);
    member!(rss, u32, DPVS_MBUF_OFF_rss);
    member!(next_raw, set_next, *mut sys::rte_mbuf, DPVS_MBUF_OFF_next);

    #[inline(always)]
    fn next(self) -> Option<Seg> {
        NonNull::new(self.next_raw()).map(Seg)
    }

    #[inline(always)]
    fn data_ptr(self) -> *mut u8 {
        // SAFETY: data_off is within the segment's buffer.
        unsafe { self.buf_addr().add(usize::from(self.data_off())) }
    }

    fn tailroom(self) -> usize {
        usize::from(self.buf_len())
            .saturating_sub(usize::from(self.data_off()) + usize::from(self.data_len()))
    }

    fn last(self) -> Seg {
        let mut seg = self;
        while let Some(next) = seg.next() {
            seg = next;
        }
        seg
    }
}

impl Mbuf {
    /// # Safety
    /// `raw` is null, or a live mbuf (first of its chain) that nobody else owns.
    #[inline(always)]
    pub(super) unsafe fn from_raw(raw: *mut sys::rte_mbuf) -> Option<Self> {
        NonNull::new(raw).map(Self)
    }

    pub(super) fn raw(&self) -> *const sys::rte_mbuf {
        self.0.as_ptr()
    }

    #[inline(always)]
    fn seg(&self) -> Seg {
        Seg(self.0)
    }

    /// DPDK's number of the device it came from (or a mark set since).
    #[inline]
    #[must_use]
    pub fn mark(&self) -> u16 {
        self.seg().port()
    }

    /// Changes [`Mbuf::mark`]: it travels with the packet through rings.
    #[inline]
    pub fn set_mark(&mut self, mark: u16) {
        self.seg().set_port(mark);
    }

    /// The receive hash, where the driver gave one.
    #[inline]
    #[must_use]
    pub fn rss_hash(&self) -> Option<u32> {
        (self.seg().ol_flags() & sys::DPVS_K_MBUF_F_RX_RSS_HASH != 0).then(|| self.seg().rss())
    }

    /// How many segments.
    #[must_use]
    pub fn segments(&self) -> u16 {
        self.seg().nb_segs()
    }

    /// Puts the segments of another packet behind this one's. Gives it back if
    /// there would be too many.
    pub fn chain(&mut self, tail: Mbuf) -> Result<(), Mbuf> {
        let (first, behind) = (self.seg(), tail.seg());
        let Some(count) = first.nb_segs().checked_add(behind.nb_segs()) else {
            return Err(tail);
        };
        first.last().set_next(tail.0.as_ptr());
        first.set_nb_segs(count);
        first.set_pkt_len(first.pkt_len() + behind.pkt_len());
        // It is part of this chain now, which frees it.
        std::mem::forget(tail);
        Ok(())
    }

    /// Appends a copy of `bytes`; false (and nothing changed) without room.
    #[must_use]
    pub fn append(&mut self, bytes: &[u8]) -> bool {
        if self.segments() != 1 || !self.push_back(bytes.len()) {
            return false;
        }
        let data = self.data_mut();
        let at = data.len() - bytes.len();
        data[at..].copy_from_slice(bytes);
        true
    }

    /// Cuts a packet of several segments to fewer bytes than it has.
    #[cold]
    fn truncate_chain(&mut self, len: usize) {
        let first = self.seg();
        // Find the segment the cut falls into; free those behind it.
        let mut seg = first;
        let mut left = len;
        let mut count = 1;
        while left > usize::from(seg.data_len()) {
            left -= usize::from(seg.data_len());
            let Some(next) = seg.next() else { break };
            seg = next;
            count += 1;
        }
        if let Some(rest) = seg.next() {
            seg.set_next(ptr::null_mut());
            // SAFETY: unlinked, so a chain of its own that nobody else owns.
            drop(unsafe { Mbuf::from_raw(rest.0.as_ptr()) });
        }
        // `left` is at most this segment's length, a u16.
        seg.set_data_len((left as u16).min(seg.data_len()));
        first.set_nb_segs(count);
        first.set_pkt_len(len as u32);
    }
}

impl Drop for Mbuf {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the only owner of a live chain.
        unsafe { sys::dpvs_pktmbuf_free(self.0.as_ptr()) };
    }
}

impl Frame for Mbuf {
    #[inline(always)]
    fn data(&self) -> &[u8] {
        let seg = self.seg();
        // SAFETY: data_len bytes from data_off on are within the segment and
        // were written by the device or by us; borrowed from the owner.
        unsafe { slice::from_raw_parts(seg.data_ptr(), usize::from(seg.data_len())) }
    }

    #[inline(always)]
    fn data_mut(&mut self) -> &mut [u8] {
        let seg = self.seg();
        // SAFETY: as `data`, and the owner is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(seg.data_ptr(), usize::from(seg.data_len())) }
    }

    #[inline(always)]
    fn total_len(&self) -> usize {
        self.seg().pkt_len() as usize
    }

    #[inline]
    fn push_front(&mut self, n: usize) -> bool {
        let seg = self.seg();
        let (off, len) = (seg.data_off(), seg.data_len());
        let Ok(n) = u16::try_from(n) else {
            return false;
        };
        let Some(new_len) = len.checked_add(n) else {
            return false;
        };
        if n > off {
            return false;
        }
        seg.set_data_off(off - n);
        seg.set_data_len(new_len);
        seg.set_pkt_len(seg.pkt_len() + u32::from(n));
        true
    }

    #[inline]
    fn pull_front(&mut self, n: usize) -> bool {
        let seg = self.seg();
        let len = seg.data_len();
        let Ok(n) = u16::try_from(n) else {
            return false;
        };
        if n > len {
            return false;
        }
        seg.set_data_off(seg.data_off() + n);
        seg.set_data_len(len - n);
        seg.set_pkt_len(seg.pkt_len() - u32::from(n));
        true
    }

    #[inline]
    fn push_back(&mut self, n: usize) -> bool {
        let seg = self.seg();
        let last = seg.last();
        let Ok(n16) = u16::try_from(n) else {
            return false;
        };
        if n > last.tailroom() {
            return false;
        }
        last.set_data_len(last.data_len() + n16);
        seg.set_pkt_len(seg.pkt_len() + u32::from(n16));
        true
    }

    #[inline(always)]
    fn truncate(&mut self, len: usize) {
        let seg = self.seg();
        if len >= self.total_len() {
            return;
        }
        // Padding behind a short packet; all that is needed is in the first line.
        if seg.nb_segs() == 1 {
            // Below the packet's length, which is this segment's, a u16.
            seg.set_data_len(len as u16);
            seg.set_pkt_len(len as u32);
        } else {
            self.truncate_chain(len);
        }
    }

    fn pull_up(&mut self, n: usize) -> bool {
        let first = self.seg();
        let n = n.min(self.total_len());
        let have = usize::from(first.data_len());
        if n <= have {
            return true;
        }
        if n - have > first.tailroom() {
            return false;
        }
        let mut have = have;
        // Empty segments go as well, so that a whole frame is one segment.
        while let Some(next) = first.next()
            && (have < n || next.data_len() == 0)
        {
            let take = (n - have).min(usize::from(next.data_len()));
            // SAFETY: the tail of the first segment has room for what is still
            // missing, and `take` is part of it; the next one holds `take` bytes;
            // two segments never overlap.
            unsafe {
                ptr::copy_nonoverlapping(next.data_ptr(), first.data_ptr().add(have), take);
            }
            have += take;
            // Both are at most a segment's length, a u16.
            first.set_data_len(have as u16);
            next.set_data_off(next.data_off() + take as u16);
            next.set_data_len(next.data_len() - take as u16);
            if next.data_len() == 0 {
                first.set_next(next.next_raw());
                first.set_nb_segs(first.nb_segs() - 1);
                next.set_next(ptr::null_mut());
                next.set_nb_segs(1);
                // SAFETY: unlinked, so a chain of its own that nobody else owns.
                drop(unsafe { Mbuf::from_raw(next.0.as_ptr()) });
            }
        }
        true
    }

    fn read(&self, mut at: usize, mut out: &mut [u8]) -> bool {
        let mut seg = Some(self.seg());
        while let Some(here) = seg {
            if out.is_empty() {
                break;
            }
            let len = usize::from(here.data_len());
            if at < len {
                let take = (len - at).min(out.len());
                // SAFETY: data_len bytes from data_off on are within the segment
                // and were written by the device or by us.
                let bytes = unsafe { slice::from_raw_parts(here.data_ptr(), len) };
                let (now, later) = out.split_at_mut(take);
                now.copy_from_slice(&bytes[at..at + take]);
                out = later;
                at = 0;
            } else {
                at -= len;
            }
            seg = here.next();
        }
        out.is_empty()
    }

    #[inline]
    fn rx_ip_checksum(&self) -> RxChecksum {
        let flags = self.seg().ol_flags() & sys::DPVS_K_MBUF_F_RX_IP_CKSUM_MASK;
        if flags == sys::DPVS_K_MBUF_F_RX_IP_CKSUM_BAD {
            RxChecksum::Bad
        } else if flags == 0 {
            RxChecksum::Unknown
        } else {
            // GOOD, or both bits: not right in the header but verified.
            RxChecksum::Good
        }
    }
}

/// Packets that wait to be sent, in order, without gaps.
#[derive(Debug)]
pub struct Batch {
    /// `slots[..len]` are `Some`, the others `None`.
    slots: [Option<Mbuf>; BURST],
    len: usize,
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Batch {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self {
            slots: [const { None }; BURST],
            len: 0,
        }
    }

    /// How many wait.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none waits.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether [`Batch::push`] would refuse.
    #[inline]
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len == BURST
    }

    /// Adds a packet at the end.
    ///
    /// # Errors
    /// Gives the packet back when full.
    #[inline]
    pub fn push(&mut self, frame: Mbuf) -> Result<(), Mbuf> {
        match self.slots.get_mut(self.len) {
            Some(slot) => {
                // The slot is `None`: nothing to drop.
                // SAFETY: a valid place, overwritten without loss.
                unsafe { ptr::write(slot, Some(frame)) };
                self.len += 1;
                Ok(())
            }
            None => Err(frame),
        }
    }

    /// The packets that wait.
    pub fn frames(&self) -> impl Iterator<Item = &Mbuf> {
        self.slots[..self.len].iter().flatten()
    }

    /// Bytes of all packets that wait.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.slots[..self.len]
            .iter()
            .flatten()
            .map(|frame| frame.total_len() as u64)
            .sum()
    }

    /// Takes everything out.
    #[must_use]
    pub fn take(&mut self) -> Burst<Mbuf> {
        self.len = 0;
        std::mem::replace(&mut self.slots, [const { None }; BURST])
    }

    /// Drops all that wait and says how many.
    pub fn clear(&mut self) -> usize {
        let count = self.len;
        for slot in &mut self.slots[..count] {
            *slot = None;
        }
        self.len = 0;
        count
    }

    /// The packets, for a C function that takes some from the front.
    #[inline]
    pub(super) fn as_raw(&mut self) -> *mut *mut sys::rte_mbuf {
        self.slots.as_mut_ptr().cast()
    }

    /// # Safety
    /// The first `count` packets were given away.
    #[inline]
    pub(super) unsafe fn forget_front(&mut self, count: usize) {
        let count = count.min(self.len);
        for slot in &mut self.slots[..count] {
            // SAFETY: a valid place; what it held is owned by somebody else now.
            unsafe { ptr::write(slot, None) };
        }
        // Rare: the queue was full.
        if count < self.len {
            self.slots[..self.len].rotate_left(count);
        }
        self.len -= count;
    }
}
