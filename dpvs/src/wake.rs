//! Waking each other: the master sleeps in `poll`, an idle worker naps.
//!
//! Neither side makes a system call when the other one is awake. Knows nothing
//! of what the two have to say; that is in their channels.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::mpsc::{SendError, Sender, SyncSender};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::Duration;

use dpvs_core::message::{FromWorker, PeerMessage, ToWorker};

/// Wakes the master.
#[derive(Debug)]
pub struct Waker {
    asleep: AtomicBool,
    ring: UnixStream,
    heard: UnixStream,
}

impl Waker {
    /// A waker of a thread that is awake.
    ///
    /// # Errors
    /// No descriptors left.
    pub fn new() -> io::Result<Waker> {
        let (ring, heard) = UnixStream::pair()?;
        ring.set_nonblocking(true)?;
        heard.set_nonblocking(true)?;
        Ok(Waker {
            asleep: AtomicBool::new(false),
            ring,
            heard,
        })
    }

    /// Call after something was left for the master.
    pub fn wake(&self) {
        // What was left must be seen by a master that is not seen asleep.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed) {
            // A full buffer wakes as well.
            let _ = (&self.ring).write(&[1]);
        }
    }

    /// The master goes to sleep: whatever is left for it after this wakes it, and
    /// what was before it must look for itself.
    pub fn sleep(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The master is awake.
    pub fn awake(&self) {
        if !self.asleep.swap(false, Ordering::Relaxed) {
            let _ = (&self.heard).read(&mut [0; 16]);
        }
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.heard.as_fd()
    }
}

/// A worker's way to the master.
#[derive(Clone, Debug)]
pub struct Reports {
    events: Sender<FromWorker>,
    waker: Option<Arc<Waker>>,
}

impl Reports {
    /// Over this channel, waking the master.
    #[must_use]
    pub fn new(events: Sender<FromWorker>, waker: Arc<Waker>) -> Reports {
        Reports {
            events,
            waker: Some(waker),
        }
    }

    /// Says something to the master.
    ///
    /// # Errors
    /// There is no master any more.
    pub fn send(&self, event: FromWorker) -> Result<(), SendError<FromWorker>> {
        self.events.send(event)?;
        if let Some(waker) = &self.waker {
            waker.wake();
        }
        Ok(())
    }
}

/// For a master that looks by itself.
impl From<Sender<FromWorker>> for Reports {
    fn from(events: Sender<FromWorker>) -> Reports {
        Reports {
            events,
            waker: None,
        }
    }
}

/// A thread that naps, for those who may have something for it.
#[derive(Clone, Debug, Default)]
pub struct Napper(Arc<OnceLock<Thread>>);

impl Napper {
    /// The calling thread is the one that naps.
    pub fn enter(&self) {
        let _ = self.0.set(std::thread::current());
    }

    /// Naps, at most that long.
    pub fn nap(&self, time: Duration) {
        std::thread::park_timeout(time);
    }

    /// Ends the nap, or makes the next one end at once.
    pub fn wake(&self) {
        if let Some(thread) = self.0.get() {
            thread.unpark();
        }
    }
}

/// The way to another worker's inbox.
#[derive(Clone, Debug)]
pub struct Peer {
    inbox: SyncSender<ToWorker>,
    napper: Napper,
}

impl Peer {
    /// Over this channel, waking whoever naps behind it.
    #[must_use]
    pub fn new(inbox: SyncSender<ToWorker>, napper: Napper) -> Peer {
        Peer { inbox, napper }
    }

    /// Says something; false if there is no room for it, or nobody.
    #[must_use]
    pub fn say(&self, word: PeerMessage) -> bool {
        let said = self.inbox.try_send(ToWorker::Peer(word)).is_ok();
        if said {
            self.napper.wake();
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    fn rings(waker: &Waker) -> bool {
        let mut fds = [PollFd::new(waker.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).unwrap() == 1
    }

    #[test]
    fn only_a_sleeper_is_woken() {
        let waker = Waker::new().unwrap();
        waker.wake();
        assert!(!rings(&waker));
        waker.sleep();
        waker.wake();
        waker.wake();
        assert!(rings(&waker));
        waker.awake();
        assert!(!rings(&waker));
        waker.sleep();
        waker.awake();
        waker.wake();
        assert!(!rings(&waker));
    }

    #[test]
    fn a_nap_ends_when_it_is_told_to() {
        let napper = Napper::default();
        napper.wake();
        let theirs = napper.clone();
        let sleeper = std::thread::spawn(move || {
            theirs.enter();
            theirs.nap(Duration::from_secs(60));
        });
        while !sleeper.is_finished() {
            napper.wake();
            std::thread::yield_now();
        }
        sleeper.join().unwrap();
    }
}
