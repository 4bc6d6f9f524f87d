//! The master's side of the channels to the workers.
//!
//! Sending never blocks: what a worker's channel cannot take waits here, and of
//! several waiting snapshots only the newest is sent.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError};

use dpvs_core::frame::WorkerId;
use dpvs_core::message::{FromWorker, ToWorker};

/// The way to one worker.
#[derive(Debug)]
pub struct WorkerLink {
    /// EAL lcore id it runs on.
    pub lcore: u8,
    /// Its inbox.
    pub inbox: SyncSender<ToWorker>,
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
        Workers { lanes, events }
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
        if lane.gone || lane.waiting.len() >= WAITING_MAX {
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
    pub(crate) fn event(&self) -> Option<FromWorker> {
        self.events.try_recv().ok()
    }
}

impl Lane {
    fn flush(&mut self) {
        while let Some(message) = self.waiting.pop_front() {
            match self.link.inbox.try_send(message) {
                Ok(()) => {}
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
