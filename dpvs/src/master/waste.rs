//! What nobody forwards by any more, and who frees it.
//!
//! The last owner of ten thousand services takes milliseconds to let them go.
//! Workers send what they replaced to the master, and the master gives it, a
//! little later and many at once, to a thread that does nothing else.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use dpvs_core::snapshot::Snapshot;

/// How long snapshots are collected before they are given away, at most.
const COLLECT: Duration = Duration::from_millis(50);
/// How many are.
const MANY: usize = 256;

/// Snapshots on their way to be freed.
pub(super) struct Waste {
    held: Vec<Arc<Snapshot>>,
    /// Since when the first of them is held.
    since: Option<Instant>,
    freer: Option<Sender<Vec<Arc<Snapshot>>>>,
}

impl Waste {
    /// Starts the thread. Where there can be none, the master frees by itself.
    pub(super) fn start() -> Waste {
        let (freer, waste) = channel::<Vec<Arc<Snapshot>>>();
        let thread = std::thread::Builder::new().name("dpvs-free".into());
        let started = thread.spawn(move || waste.iter().for_each(drop));
        if let Err(e) = &started {
            tracing::warn!("no thread for freeing old configurations: {e}");
        }
        Waste {
            held: Vec::new(),
            since: None,
            freer: started.is_ok().then_some(freer),
        }
    }

    /// Takes what a worker gave back.
    pub(super) fn extend(&mut self, retired: Option<Arc<Snapshot>>) {
        self.held.extend(retired);
    }

    /// Gives away what was collected, when it is time.
    pub(super) fn clear(&mut self, now: Instant) {
        if self.held.is_empty() {
            return;
        }
        let since = *self.since.get_or_insert(now);
        if self.held.len() < MANY && now.saturating_duration_since(since) < COLLECT {
            return;
        }
        self.since = None;
        let held = std::mem::take(&mut self.held);
        if let Some(freer) = &self.freer {
            // Were the thread gone, they would be freed with the error.
            let _ = freer.send(held);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_replaced_is_freed_elsewhere() {
        let mut waste = Waste::start();
        let snapshot = Arc::new(Snapshot::default());
        let watch = Arc::downgrade(&snapshot);
        let start = Instant::now();
        waste.extend(Some(snapshot));
        waste.clear(start);
        assert!(watch.upgrade().is_some(), "collected first");
        waste.clear(start + COLLECT);
        assert!(waste.held.is_empty());
        while watch.upgrade().is_some() {
            assert!(start.elapsed() < Duration::from_secs(10));
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
