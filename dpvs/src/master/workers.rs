//! The master's side of the channels to the workers.
//!
//! Sending never blocks: what a worker's channel cannot take waits here, and of
//! several waiting snapshots only the newest is sent.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError};

use dpvs_core::frame::WorkerId;
use dpvs_core::message::{FromWorker, ToWorker};

use crate::wake::{Napper, Waker};

/// The way to one worker.
#[derive(Debug)]
pub struct WorkerLink {
    /// EAL lcore id it runs on.
    pub lcore: u8,
    /// Its inbox.
    pub inbox: SyncSender<ToWorker>,
    /// To be told when there is something in it.
    pub napper: Napper,
}

struct Lane {
    link: WorkerLink,
    waiting: VecDeque<ToWorker>,
    gone: bool,
}

/// Messages that may wait for a worker that takes none.
const WAITING_MAX: usize = 8192;

/// All workers; the index is the [`WorkerId`].
pub(crate) struct Workers {
    lanes: Vec<Lane>,
    events: Receiver<FromWorker>,
    /// Taken from `events` and not looked at.
    next: Option<FromWorker>,
    waker: Option<Arc<Waker>>,
}

impl Workers {
    pub(crate) fn new(links: Vec<WorkerLink>, events: Receiver<FromWorker>) -> Workers {
        let lanes = links
            .into_iter()
            .map(|link| Lane {
                link,
                waiting: VecDeque::new(),
                gone: false,
            })
            .collect();
        Workers {
            lanes,
            events,
            next: None,
            waker: None,
        }
    }

    /// Workers that wake the master with this.
    pub(crate) fn set_waker(&mut self, waker: Arc<Waker>) {
        self.waker = Some(waker);
    }

    /// What is readable when a worker has something to say to a sleeping master.
    pub(crate) fn bell(&self) -> Option<BorrowedFd<'_>> {
        self.waker.as_ref().map(|w| w.as_fd())
    }

    /// The master is about to wait. False: better not, there is something.
    pub(crate) fn doze(&mut self) -> bool {
        if let Some(waker) = &self.waker {
            waker.sleep();
        }
        if self.next.is_none() {
            self.next = self.events.try_recv().ok();
        }
        self.next.is_none()
    }

    /// The master does not wait any more.
    pub(crate) fn awake(&self) {
        if let Some(waker) = &self.waker {
            waker.awake();
        }
    }

    /// Whether nobody will wake the master when there is something to do.
    pub(crate) fn must_be_watched(&self) -> bool {
        self.waker.is_none() || self.lanes.iter().any(|l| !l.waiting.is_empty())
    }

    pub(crate) fn len(&self) -> usize {
        self.lanes.len()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = WorkerId> + use<> {
        (0u8..).take(self.lanes.len()).map(WorkerId)
    }

    /// Lcore id of a worker.
    pub(crate) fn lcore(&self, worker: WorkerId) -> u8 {
        self.lanes
            .get(usize::from(worker.0))
            .map_or(0, |l| l.link.lcore)
    }

    /// Sends or queues a message. False: the worker is gone, or takes nothing.
    pub(crate) fn send(&mut self, worker: WorkerId, message: ToWorker) -> bool {
        let Some(lane) = self.lanes.get_mut(usize::from(worker.0)) else {
            return false;
        };
        // A snapshot always has a place: the one that waits gives way, and with what it
        // removes nobody else could free the numbers.
        let install = matches!(message, ToWorker::Install { .. });
        if lane.gone || lane.waiting.len() >= WAITING_MAX && !install {
            return false;
        }
        let message = match message {
            ToWorker::Install {
                snapshot,
                mut removed,
            } => {
                // Overtaken before it was sent: its removals still count.
                lane.waiting.retain_mut(|w| match w {
                    ToWorker::Install {
                        removed: earlier, ..
                    } => {
                        removed.append(earlier);
                        false
                    }
                    _ => true,
                });
                ToWorker::Install { snapshot, removed }
            }
            other => other,
        };
        lane.waiting.push_back(message);
        lane.flush();
        !lane.gone
    }

    /// Sends to all workers what `message` makes for each.
    pub(crate) fn broadcast(&mut self, mut message: impl FnMut(WorkerId) -> ToWorker) {
        for id in self.ids() {
            self.send(id, message(id));
        }
    }

    /// Tries again what waits.
    pub(crate) fn flush(&mut self) {
        self.lanes.iter_mut().for_each(Lane::flush);
    }

    /// The next event, if there is one.
    pub(crate) fn event(&mut self) -> Option<FromWorker> {
        self.next.take().or_else(|| self.events.try_recv().ok())
    }
}

impl Lane {
    fn flush(&mut self) {
        while let Some(message) = self.waiting.pop_front() {
            match self.link.inbox.try_send(message) {
                Ok(()) => self.link.napper.wake(),
                Err(TrySendError::Full(message)) => {
                    self.waiting.push_front(message);
                    return;
                }
                Err(TrySendError::Disconnected(_)) => {
                    tracing::error!("the worker on lcore {} has ended", self.link.lcore);
                    self.gone = true;
                    self.waiting.clear();
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use dpvs_core::service::DestId;
    use dpvs_core::snapshot::Snapshot;

    use super::*;

    #[test]
    fn a_snapshot_finds_a_place_however_much_waits() {
        let (inbox, end) = mpsc::sync_channel(1);
        let link = WorkerLink {
            lcore: 1,
            inbox,
            napper: Napper::default(),
        };
        let mut workers = Workers::new(vec![link], mpsc::channel().1);
        let zero = || ToWorker::Zero { dests: Vec::new() };
        while workers.send(WorkerId(0), zero()) {}
        for n in 1..=3 {
            let snapshot = Snapshot {
                epoch: n.into(),
                ..Snapshot::default()
            };
            let install = ToWorker::Install {
                snapshot: Arc::new(snapshot),
                removed: vec![DestId(n)],
            };
            assert!(workers.send(WorkerId(0), install));
        }
        let mut last = None;
        while let Ok(message) = end.try_recv() {
            if let ToWorker::Install { snapshot, removed } = message {
                last = Some((snapshot.epoch, removed.len()));
            }
            workers.flush();
        }
        assert_eq!(last, Some((3, 3)));
    }
}
