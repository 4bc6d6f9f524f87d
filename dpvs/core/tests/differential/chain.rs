//! A frame of several segments on the heap, as a driver makes them of what does
//! not fit into one buffer.

use dpvs_core::frame::Frame;

/// Room before and in a segment, as DPDK's defaults.
const HEADROOM: usize = 128;
const ROOM: usize = 2048;

#[derive(Clone, Debug)]
struct Segment {
    buf: Vec<u8>,
    start: usize,
    end: usize,
}

impl Segment {
    fn new(bytes: &[u8]) -> Self {
        let mut buf = vec![0xa5; HEADROOM + ROOM.max(bytes.len())];
        buf[HEADROOM..HEADROOM + bytes.len()].copy_from_slice(bytes);
        Self {
            buf,
            start: HEADROOM,
            end: HEADROOM + bytes.len(),
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.buf[self.start..self.end]
    }
}

/// A frame whose first segment is never missing.
#[derive(Clone, Debug)]
pub struct Chain {
    segments: Vec<Segment>,
}

impl Chain {
    /// A frame cut after so many bytes each time; the rest is the last segment.
    pub fn new(mut bytes: &[u8], cuts: &[usize]) -> Self {
        let mut segments = Vec::new();
        for cut in cuts {
            // Nothing behind the last byte: no driver makes such a segment.
            if bytes.is_empty() || *cut >= bytes.len() {
                break;
            }
            let (now, later) = bytes.split_at((*cut).min(bytes.len()));
            segments.push(Segment::new(now));
            bytes = later;
        }
        if segments.is_empty() || !bytes.is_empty() {
            segments.push(Segment::new(bytes));
        }
        Self { segments }
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.segments
            .iter()
            .flat_map(|s| s.bytes())
            .copied()
            .collect()
    }
}

impl Frame for Chain {
    fn data(&self) -> &[u8] {
        self.segments[0].bytes()
    }
    fn data_mut(&mut self) -> &mut [u8] {
        let s = &mut self.segments[0];
        &mut s.buf[s.start..s.end]
    }
    fn total_len(&self) -> usize {
        self.segments.iter().map(|s| s.end - s.start).sum()
    }
    fn push_front(&mut self, n: usize) -> bool {
        let s = &mut self.segments[0];
        let fits = n <= s.start;
        s.start -= if fits { n } else { 0 };
        fits
    }
    fn pull_front(&mut self, n: usize) -> bool {
        let s = &mut self.segments[0];
        let fits = n <= s.end - s.start;
        s.start += if fits { n } else { 0 };
        fits
    }
    fn push_back(&mut self, n: usize) -> bool {
        let s = self.segments.last_mut().unwrap();
        let fits = n <= s.buf.len() - s.end;
        s.end += if fits { n } else { 0 };
        fits
    }
    fn truncate(&mut self, len: usize) {
        let mut left = len;
        for s in &mut self.segments {
            let n = left.min(s.end - s.start);
            s.end = s.start + n;
            left -= n;
        }
        let empty = |s: &Segment| s.start == s.end;
        while self.segments.len() > 1 && self.segments.last().is_some_and(empty) {
            self.segments.pop();
        }
    }
    fn pull_up(&mut self, n: usize) -> bool {
        let n = n.min(self.total_len());
        let have = self.data().len();
        if n <= have {
            return true;
        }
        if n - have > self.segments[0].buf.len() - self.segments[0].end {
            return false;
        }
        while self.data().len() < n {
            let missing = n - self.data().len();
            let next = &mut self.segments[1];
            let take = missing.min(next.end - next.start);
            let moved = next.bytes()[..take].to_vec();
            next.start += take;
            if next.start == next.end {
                self.segments.remove(1);
            }
            let first = &mut self.segments[0];
            first.buf[first.end..first.end + take].copy_from_slice(&moved);
            first.end += take;
        }
        if n == self.total_len() {
            self.segments.truncate(1);
        }
        true
    }
    fn read(&self, at: usize, out: &mut [u8]) -> bool {
        let all = self.bytes();
        let found = all.get(at..at + out.len());
        found.is_some_and(|bytes| {
            out.copy_from_slice(bytes);
            true
        })
    }
}
