//! Segments that wait for their server, of all connections of a worker.
//!
//! A connection keeps the number of its first and its last one; how many there may
//! be is decided by the caller, how many of all connections here. Memory for the
//! slots is made at start; the frames are buffers of the pool.

use crate::frame::PortId;
use crate::parse::Head;

/// Most segments that wait in a worker.
pub(super) const SAVED: usize = 4096;

/// A segment as it came.
pub(super) struct Held<F> {
    pub frame: F,
    pub head: Head,
    pub port: PortId,
}

struct Slot<F> {
    held: Option<Held<F>>,
    /// The next one of the connection, or the next free slot; 0 = none.
    next: u32,
}

/// First and last of a connection's segments, and how many; numbers count from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Queue {
    first: u32,
    last: u32,
    pub(super) len: u8,
}

/// All of a worker.
pub(super) struct Saved<F> {
    slots: Vec<Slot<F>>,
    free: u32,
}

impl<F> Saved<F> {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::with_capacity(SAVED),
            free: 0,
        }
    }

    /// Adds a segment; gives it back when there is no room.
    pub(super) fn push(&mut self, queue: &mut Queue, held: Held<F>) -> Result<(), Held<F>> {
        let slot = Slot {
            held: Some(held),
            next: 0,
        };
        let n = match self.free {
            0 if self.slots.len() >= SAVED => match slot.held {
                Some(held) => return Err(held),
                None => return Ok(()),
            },
            0 => {
                self.slots.push(slot);
                self.slots.len() as u32
            }
            n => {
                let place = &mut self.slots[n as usize - 1];
                self.free = place.next;
                *place = slot;
                n
            }
        };
        match queue.last {
            0 => queue.first = n,
            last => self.slots[last as usize - 1].next = n,
        }
        queue.last = n;
        queue.len = queue.len.saturating_add(1);
        Ok(())
    }

    /// Takes the oldest.
    pub(super) fn pop(&mut self, queue: &mut Queue) -> Option<Held<F>> {
        let n = queue.first;
        let slot = self.slots.get_mut((n as usize).checked_sub(1)?)?;
        let held = slot.held.take();
        queue.first = std::mem::replace(&mut slot.next, self.free);
        self.free = n;
        if queue.first == 0 {
            queue.last = 0;
        }
        queue.len = queue.len.saturating_sub(1);
        held
    }

    /// Slots in use.
    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.slots.iter().filter(|s| s.held.is_some()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(n: u32) -> Held<u32> {
        Held {
            frame: n,
            head: Head::EMPTY,
            port: PortId(0),
        }
    }

    #[test]
    fn keeps_the_order_of_each_and_the_bound_of_all() {
        let mut saved = Saved::new();
        let (mut a, mut b) = (Queue::default(), Queue::default());
        for round in 0..3 {
            for n in 0..SAVED as u32 / 2 {
                assert!(saved.push(&mut a, held(n)).is_ok());
                assert!(saved.push(&mut b, held(1_000_000 + n)).is_ok());
                if n % 3 == round {
                    a.len = 0; // Counted by the caller's limit, not here.
                }
            }
            assert_eq!(saved.used(), SAVED);
            assert_eq!(saved.push(&mut a, held(7)).err().map(|h| h.frame), Some(7));
            for n in 0..SAVED as u32 / 2 {
                assert_eq!(saved.pop(&mut b).unwrap().frame, 1_000_000 + n);
                assert_eq!(saved.pop(&mut a).unwrap().frame, n);
            }
            assert!(saved.pop(&mut a).is_none());
            assert_eq!(saved.used(), 0);
            assert_eq!((a, b), (Queue::default(), Queue::default()));
        }
    }
}
