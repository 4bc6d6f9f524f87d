//! The books of a director's workers: whether every frame is accounted for.
//!
//! Frames know whose they are and are counted while they live, so that what a worker
//! keeps is known without asking it. What it was given and what it made has to be
//! what it gave away, dropped for a reason, and still has; a frame that is freed
//! without a reason, or counted twice, shows.

use std::cell::Cell;
use std::rc::Rc;

use dpvs_core::frame::{Frame, RxChecksum, WorkerId};
use dpvs_core::stats::{Reason, WorkerStats};

use super::Buffer;

/// A frame that is counted while it lives.
pub struct Tracked {
    frame: Buffer,
    alive: Rc<Cell<u64>>,
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.alive.set(self.alive.get() - 1);
    }
}

impl Frame for Tracked {
    fn data(&self) -> &[u8] {
        self.frame.data()
    }
    fn data_mut(&mut self) -> &mut [u8] {
        self.frame.data_mut()
    }
    fn total_len(&self) -> usize {
        self.frame.total_len()
    }
    fn push_front(&mut self, n: usize) -> bool {
        self.frame.push_front(n)
    }
    fn pull_front(&mut self, n: usize) -> bool {
        self.frame.pull_front(n)
    }
    fn push_back(&mut self, n: usize) -> bool {
        self.frame.push_back(n)
    }
    fn truncate(&mut self, len: usize) {
        self.frame.truncate(len);
    }
    fn pull_up(&mut self, n: usize) -> bool {
        self.frame.pull_up(n)
    }
    fn read(&self, at: usize, out: &mut [u8]) -> bool {
        self.frame.read(at, out)
    }
    fn rx_ip_checksum(&self) -> RxChecksum {
        self.frame.rx_ip_checksum()
    }
}

/// What went in and out of one worker.
#[derive(Clone, Debug, Default)]
pub struct Page {
    pub received: u64,
    pub taken: u64,
    pub sent: u64,
    pub host: u64,
    pub handed: u64,
    alive: Rc<Cell<u64>>,
}

/// Of all workers.
#[derive(Default)]
pub struct Books {
    pages: Vec<Page>,
    at: usize,
}

impl Books {
    /// What follows is this worker's.
    pub fn open(&mut self, worker: WorkerId) {
        self.at = usize::from(worker.0);
        while self.pages.len() <= self.at {
            self.pages.push(Page::default());
        }
    }

    pub fn now(&mut self) -> &mut Page {
        &mut self.pages[self.at]
    }

    /// A frame for that worker.
    pub fn frame(&mut self, bytes: &[u8]) -> Tracked {
        let alive = Rc::clone(&self.now().alive);
        alive.set(alive.get() + 1);
        Tracked {
            frame: Buffer::new(bytes),
            alive,
        }
    }

    /// Frames a worker still has.
    pub fn waiting(&self, worker: WorkerId) -> u64 {
        let page = self.pages.get(usize::from(worker.0));
        page.map_or(0, |p| p.alive.get())
    }

    /// Whether a worker has counted everything, and right.
    pub fn balance(&self, worker: WorkerId, stats: &WorkerStats) -> Result<(), String> {
        let page = self.pages.get(usize::from(worker.0));
        let page = page.cloned().unwrap_or_default();
        let pairs = [
            ("received", page.received, stats.received),
            ("taken over", page.taken, stats.taken),
            ("for the kernel", page.host, stats.to_host),
            ("handed over", page.handed, stats.handed_over),
        ];
        for (what, seen, counted) in pairs {
            if seen != counted {
                return Err(format!(
                    "worker {}: {counted} counted as {what}, there were {seen}",
                    worker.0
                ));
            }
        }
        let dropped: u64 = stats.drops.iter().sum();
        let came = page.received + page.taken + stats.made;
        let went = page.sent + page.host + page.handed + dropped + page.alive.get();
        if came == went {
            return Ok(());
        }
        let reasons: Vec<_> = Reason::ALL
            .iter()
            .filter(|r| stats.dropped(**r) > 0)
            .map(|r| format!("{} {}", r.text(), stats.dropped(*r)))
            .collect();
        Err(format!(
            "worker {}: not every packet is accounted for: {came} came ({page:?}, made {}), \
             {went} went (dropped: {reasons:?})",
            worker.0, stats.made
        ))
    }
}
