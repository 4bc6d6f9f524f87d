//! A frame that is missed when it does not come to an end, in one segment or two.

use std::cell::Cell;

use dpvs_core::frame::{Frame, HeapFrame};

thread_local! {
    /// Frames there are now.
    static ALIVE: Cell<u64> = const { Cell::new(0) };
    /// Bytes in the first segment of frames received from now on; 0 = all.
    static FIRST: Cell<usize> = const { Cell::new(0) };
}

/// Frames there are now.
pub(crate) fn alive() -> u64 {
    ALIVE.get()
}

/// How frames are received from now on.
pub(crate) fn receive(first: usize) {
    FIRST.set(first);
}

/// A packet buffer.
pub struct Buffer {
    head: HeapFrame,
    tail: Vec<u8>,
}

impl Buffer {
    /// A frame that holds a copy of these bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        ALIVE.set(ALIVE.get() + 1);
        let first = match FIRST.get() {
            0 => bytes.len(),
            n => n.min(bytes.len()),
        };
        Self {
            head: HeapFrame::new(&bytes[..first]),
            tail: bytes[first..].to_vec(),
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        ALIVE.set(ALIVE.get() - 1);
    }
}

impl Frame for Buffer {
    fn data(&self) -> &[u8] {
        self.head.data()
    }

    fn data_mut(&mut self) -> &mut [u8] {
        self.head.data_mut()
    }

    fn total_len(&self) -> usize {
        self.head.total_len() + self.tail.len()
    }

    fn push_front(&mut self, n: usize) -> bool {
        self.head.push_front(n)
    }

    fn pull_front(&mut self, n: usize) -> bool {
        self.head.pull_front(n)
    }

    fn push_back(&mut self, n: usize) -> bool {
        if self.tail.is_empty() {
            return self.head.push_back(n);
        }
        self.tail.resize(self.tail.len() + n, 0xdb);
        true
    }

    fn truncate(&mut self, len: usize) {
        self.tail
            .truncate(len.saturating_sub(self.head.total_len()));
        self.head.truncate(len);
    }

    fn pull_up(&mut self, n: usize) -> bool {
        let at = self.head.total_len();
        let more = n.min(self.total_len()).saturating_sub(at);
        if !self.head.push_back(more) {
            return false;
        }
        self.head.data_mut()[at..].copy_from_slice(&self.tail[..more]);
        self.tail.drain(..more);
        true
    }

    fn read(&self, at: usize, out: &mut [u8]) -> bool {
        let head = self.head.data();
        let all = head.iter().chain(&self.tail).skip(at);
        let mut n = 0;
        for (to, from) in out.iter_mut().zip(all) {
            *to = *from;
            n += 1;
        }
        n == out.len()
    }
}
