//! What the forwarding logic may ask of a packet buffer, and of the world
//! around a worker.
//!
//! The daemon implements [`Frame`] for its DPDK mbufs and [`Io`] for an lcore's
//! queues; tests use [`HeapFrame`] and a collecting `Io`, so the same code runs
//! without DPDK, threads or a clock. Nothing here knows a protocol.

use crate::message::{FromWorker, PeerMessage};

/// Frames handled in one go: the size of a receive burst.
pub const BURST: usize = 32;

/// A receive burst. `None` slots are empty; bit-identical to an array of
/// pointers for a frame type that is a non-null pointer.
pub type Burst<F> = [Option<F>; BURST];

/// A burst with every slot empty.
#[must_use]
pub fn empty_burst<F>() -> Burst<F> {
    [const { None }; BURST]
}

/// A port (device) of the dataplane: index into `Snapshot::ports`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortId(pub u16);

/// A forwarding worker, counted from 0 in ascending lcore order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u8);

/// Monotonic time in microseconds since an arbitrary start. Always an argument:
/// the logic never reads a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now(pub u64);

impl Now {
    /// Whole milliseconds.
    #[must_use]
    pub fn millis(self) -> u64 {
        self.0 / 1000
    }
}

/// What the receiver (NIC) says of a checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RxChecksum {
    /// Nobody looked: software has to.
    #[default]
    Unknown,
    /// Verified and right.
    Good,
    /// Verified and wrong.
    Bad,
}

/// A packet buffer that owns its memory; dropping it frees it.
pub trait Frame: Sized {
    /// The first segment, Ethernet header first. What is read beyond the headers
    /// of an ordinary packet is pulled up first ([`Frame::pull_up`]).
    fn data(&self) -> &[u8];
    /// The first segment, for rewriting in place.
    fn data_mut(&mut self) -> &mut [u8];
    /// Length over all segments, in bytes.
    fn total_len(&self) -> usize;
    /// Grows the front by `n` bytes of unspecified content; false (and nothing
    /// changed) without headroom.
    fn push_front(&mut self, n: usize) -> bool;
    /// Removes `n` bytes from the front; false (and nothing changed) if the
    /// first segment is shorter.
    fn pull_front(&mut self, n: usize) -> bool;
    /// Grows the end of the last segment by `n` bytes of unspecified content;
    /// false (and nothing changed) without tailroom.
    fn push_back(&mut self, n: usize) -> bool;
    /// Cuts the frame to at most `len` bytes in all.
    fn truncate(&mut self, len: usize);
    /// Makes the first segment hold `n` bytes, taken from the segments behind it; a
    /// frame that is no longer than that is one segment afterwards. False without
    /// room for so many.
    fn pull_up(&mut self, n: usize) -> bool {
        self.data().len() >= n.min(self.total_len())
    }
    /// Copies bytes from offset `at` on, over all segments; false (and nothing
    /// useful copied) if the frame ends before.
    fn read(&self, at: usize, out: &mut [u8]) -> bool {
        match self.data().get(at..at + out.len()) {
            Some(bytes) => {
                out.copy_from_slice(bytes);
                true
            }
            None => false,
        }
    }
    /// The receiver's verdict on the IPv4 header checksum.
    fn rx_ip_checksum(&self) -> RxChecksum {
        RxChecksum::Unknown
    }
}

/// A worker's way to the outside, all calls non-blocking. A frame given away is
/// never seen again; whoever takes it counts what it has to drop.
pub trait Io {
    /// The packet buffer.
    type Frame: Frame;
    /// An empty frame with headroom; `None` when the pool is empty.
    fn alloc(&mut self) -> Option<Self::Frame>;
    /// A copy of a frame, all segments; `None` when the pool is empty or has no
    /// buffers of that size.
    fn duplicate(&mut self, frame: &Self::Frame) -> Option<Self::Frame> {
        let mut copy = self.alloc()?;
        let len = frame.total_len();
        (copy.push_back(len) && frame.read(0, copy.data_mut())).then_some(copy)
    }
    /// Frames came in for a device that is no port (VLAN, tunnel): to be counted.
    fn received(&mut self, _device: PortId, _packets: u64, _bytes: u64) {}
    /// Frames went out by such a device, other than by `send`: to be counted.
    fn sent(&mut self, _device: PortId, _packets: u64, _bytes: u64) {}
    /// The sequence number of the next packet a tunnel sends.
    fn next_seq(&mut self, _tunnel: PortId) -> u32 {
        0
    }
    /// Whether the sequence number of a packet a tunnel received is not behind those
    /// before it (RFC 2890 2.2).
    fn in_order(&mut self, _tunnel: PortId, _seq: u32) -> bool {
        true
    }
    /// Queues a whole Ethernet frame on a port's transmit buffer. A VLAN device's is
    /// not tagged yet.
    fn send(&mut self, port: PortId, frame: Self::Frame);
    /// Gives an Ethernet frame to the kernel through the port's host port.
    fn to_host(&mut self, port: PortId, frame: Self::Frame);
    /// Passes a received frame to the worker that owns its connection.
    fn hand_over(&mut self, worker: WorkerId, port: PortId, frame: Self::Frame);
    /// Passes a frame that the kernel sends to the worker that may have its
    /// connection, which takes it by [`from_kernel_handed`]. Where that is never asked
    /// for it may be as any other frame.
    ///
    /// [`from_kernel_handed`]: crate::worker::Worker::from_kernel_handed
    fn hand_over_kernels(&mut self, worker: WorkerId, port: PortId, frame: Self::Frame) {
        self.hand_over(worker, port, frame);
    }
    /// Says something to another worker; false if it takes nothing now. Called for
    /// few packets only.
    fn tell(&mut self, worker: WorkerId, word: PeerMessage) -> bool {
        let _ = (worker, word);
        false
    }
    /// Tells the master something. Called rarely, never per packet.
    fn report(&mut self, event: FromWorker);
}

/// Headroom of a [`HeapFrame`], as DPDK's default.
const HEADROOM: usize = 128;
/// Room for data and tail in a [`HeapFrame`], as DPDK's default data room.
const DATAROOM: usize = 2048;

/// A frame on the heap: for tests, benchmarks and offline tools.
#[derive(Clone, Debug)]
pub struct HeapFrame {
    buf: Vec<u8>,
    start: usize,
    end: usize,
}

impl HeapFrame {
    /// A frame that holds a copy of `bytes`, with headroom and tailroom.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        let mut buf = vec![0; HEADROOM + bytes.len().max(DATAROOM)];
        buf[HEADROOM..HEADROOM + bytes.len()].copy_from_slice(bytes);
        Self {
            buf,
            start: HEADROOM,
            end: HEADROOM + bytes.len(),
        }
    }
}

impl Frame for HeapFrame {
    #[inline]
    fn data(&self) -> &[u8] {
        &self.buf[self.start..self.end]
    }

    #[inline]
    fn data_mut(&mut self) -> &mut [u8] {
        &mut self.buf[self.start..self.end]
    }

    #[inline]
    fn total_len(&self) -> usize {
        self.end - self.start
    }

    fn push_front(&mut self, n: usize) -> bool {
        if n > self.start {
            return false;
        }
        self.start -= n;
        true
    }

    fn pull_front(&mut self, n: usize) -> bool {
        if n > self.total_len() {
            return false;
        }
        self.start += n;
        true
    }

    fn push_back(&mut self, n: usize) -> bool {
        if n > self.buf.len() - self.end {
            return false;
        }
        self.end += n;
        true
    }

    fn truncate(&mut self, len: usize) {
        self.end = self.end.min(self.start + len);
    }
}
