//! The daemon's own big tables and the kernel: huge pages, the right NUMA node,
//! and memory that is there before a worker writes to it.
//!
//! A table takes memory as it fills. The first write to a page makes the kernel
//! find and clear it, which takes a worker tens to hundreds of microseconds with
//! huge pages; so a thread ([`Ahead`]) has the kernel do that a step ahead of use.
//! Knows nothing of what is in the tables.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

const PAGE: usize = 4096;
/// Smaller tables are left alone.
const WORTH: usize = 4 << 20;

/// A table as whole pages: address and bytes, `None` if it is not worth it.
fn pages((start, bytes): (*const u8, usize)) -> Option<(usize, usize)> {
    let skip = start.align_offset(PAGE);
    if start.is_null() || bytes < WORTH || skip >= bytes {
        return None;
    }
    Some((start.addr() + skip, (bytes - skip) / PAGE * PAGE))
}

/// Asks for transparent huge pages behind a big table, given as address and
/// bytes: fewer TLB misses in random look-ups; and for memory of the NUMA node
/// this thread runs on, whoever touches it first. Hints; less than 4 MB is left
/// alone. Says whether the kernel took the first.
#[must_use]
pub fn advise_huge(region: (*const u8, usize)) -> bool {
    let Some((start, len)) = pages(region) else {
        return false;
    };
    prefer_this_node(start, len);
    // SAFETY: this advice changes no byte of memory; the kernel refuses a
    // range that is not mapped.
    unsafe {
        libc::madvise(
            std::ptr::without_provenance_mut(start),
            len,
            libc::MADV_HUGEPAGE,
        ) == 0
    }
}

fn prefer_this_node(start: usize, len: usize) {
    const MPOL_PREFERRED: usize = 1;
    let (mut cpu, mut node) = (0u32, 0u32);
    // SAFETY: getcpu writes the two numbers, which outlive the call.
    let failed = unsafe {
        libc::syscall(
            libc::SYS_getcpu,
            &raw mut cpu,
            &raw mut node,
            std::ptr::null::<u8>(),
        )
    };
    if failed != 0 || node >= 64 {
        return;
    }
    let mask = 1u64 << node;
    // SAFETY: a policy for pages yet to be given changes no byte of memory; the
    // kernel reads 64 bits of the mask, and refuses a range that is not mapped.
    // Where policies are forbidden the default stays.
    let _ = unsafe {
        libc::syscall(
            libc::SYS_mbind,
            start,
            len,
            MPOL_PREFERRED,
            &raw const mask,
            65usize,
            0usize,
        )
    };
}

/// Memory is got ready so far ahead of use at most.
const STEP: usize = 64 << 20;
/// And so far at least, also for a table hardly used.
const FIRST: usize = 16 << 20;
/// The kernel is asked for so much at a time.
const PIECE: usize = 4 << 20;
/// How often use is looked at.
const ROUND: Duration = Duration::from_millis(10);

/// A table that fills from its start.
#[derive(Debug)]
struct Table {
    start: usize,
    bytes: usize,
    /// Bytes in use, told by its worker.
    used: AtomicUsize,
}

/// The tables of one worker, and how far they are filled.
#[derive(Debug)]
pub struct Growth(Vec<Table>);

impl Growth {
    fn new(tables: &[(*const u8, usize)]) -> Self {
        let all = tables.iter().map(|&region| {
            let (start, bytes) = pages(region).unwrap_or((0, 0));
            Table {
                start,
                bytes,
                used: AtomicUsize::new(0),
            }
        });
        Self(all.collect())
    }

    /// Bytes in use now of each table, in the order they were given.
    #[inline]
    pub fn note(&self, used: &[usize]) {
        for (table, &used) in self.0.iter().zip(used) {
            // One writer, and nothing else depends on it.
            table.used.store(used, Ordering::Relaxed);
        }
    }
}

/// The thread that gets memory ready, for all workers. Ends when the last handle
/// and the last [`Growth`] are gone.
#[derive(Clone, Debug)]
pub struct Ahead(Sender<Weak<Growth>>);

impl Ahead {
    /// Starts it, on the processors of the calling thread: not a worker's.
    ///
    /// # Errors
    ///
    /// Without threads.
    pub fn start() -> std::io::Result<Self> {
        let (sender, receiver) = channel();
        std::thread::Builder::new()
            .name("memory".into())
            .spawn(move || serve(&receiver))?;
        Ok(Self(sender))
    }

    /// Gets these tables' memory ready from now on; tell how far they are filled.
    /// They must stay where they are until the `Growth` is dropped; were they not,
    /// no harm is done.
    #[must_use]
    pub fn follow(&self, tables: &[(*const u8, usize)]) -> Arc<Growth> {
        let growth = Arc::new(Growth::new(tables));
        // Without the thread, memory is got ready at first use.
        let _ = self.0.send(Arc::downgrade(&growth));
        growth
    }
}

fn serve(receiver: &Receiver<Weak<Growth>>) {
    let mut all: Vec<(Weak<Growth>, Vec<usize>)> = Vec::new();
    let mut open = true;
    while open || !all.is_empty() {
        match receiver.recv_timeout(ROUND) {
            Ok(growth) => all.push((growth, Vec::new())),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                open = false;
                std::thread::sleep(ROUND);
            }
        }
        let mut able = true;
        all.retain_mut(|(growth, ready)| {
            let Some(growth) = growth.upgrade() else {
                return false;
            };
            ready.resize(growth.0.len(), 0);
            for (table, ready) in growth.0.iter().zip(ready) {
                able &= advance(table, ready);
            }
            true
        });
        if !able {
            // The kernel knows no such advice (before Linux 5.14), or has no
            // memory: pages come when they are used, as without this thread.
            return;
        }
    }
}

/// How far a table of `bytes` should be ready with `used` of it in use.
fn wanted(used: usize, bytes: usize) -> usize {
    let ahead = used.clamp(FIRST, STEP);
    used.saturating_add(ahead).min(bytes)
}

/// Gets a table ready as far as it should be; false if the kernel cannot.
fn advance(table: &Table, ready: &mut usize) -> bool {
    let wanted = wanted(table.used.load(Ordering::Relaxed), table.bytes);
    while *ready < wanted {
        let len = (table.bytes - *ready).min(PIECE);
        let start = std::ptr::without_provenance_mut(table.start + *ready);
        // SAFETY: this advice makes pages present as a write would and changes no
        // byte of memory, also not of one that is being written to or belongs to
        // somebody else by now; the kernel refuses a range that is not mapped or
        // not writable.
        if unsafe { libc::madvise(start, len, libc::MADV_POPULATE_WRITE) } != 0 {
            return false;
        }
        *ready += len;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use dpvs_core::frame::{HeapFrame, Now, WorkerId};
    use dpvs_core::worker::{Worker, WorkerConf};

    fn region<T>(table: &[T]) -> (*const u8, usize) {
        (table.as_ptr().cast(), size_of_val(table))
    }

    #[test]
    fn only_big_tables() {
        assert!(!advise_huge(region(&[0u8; 100])));
        assert!(!advise_huge((std::ptr::null(), 1 << 30)));
        let big = vec![7u64; 2 << 20];
        // Whatever the kernel says, the table is untouched.
        let _ = advise_huge(region(&big));
        assert!(big.iter().all(|&word| word == 7));
    }

    #[test]
    fn a_step_ahead_and_no_further() {
        assert_eq!(wanted(0, 1 << 30), FIRST);
        assert_eq!(wanted(20 << 20, 1 << 30), 40 << 20);
        assert_eq!(wanted(500 << 20, 1 << 30), (500 << 20) + STEP);
        assert_eq!(wanted(1 << 30, 1 << 30), 1 << 30);
        assert_eq!(wanted(0, 5 << 20), 5 << 20);
    }

    /// Pages of a region that are in memory.
    fn present((start, bytes): (usize, usize)) -> usize {
        let mut seen = vec![0u8; bytes / PAGE];
        // SAFETY: the range is mapped by the caller's table, the vector has a byte
        // for each of its pages.
        let rc = unsafe {
            libc::mincore(
                std::ptr::without_provenance_mut(start),
                bytes,
                seen.as_mut_ptr(),
            )
        };
        assert_eq!(rc, 0);
        seen.iter().filter(|&&s| s & 1 != 0).count()
    }

    /// Advice on huge pages for the index comes before its pages do: pages that are
    /// there stay small.
    #[test]
    fn the_index_is_advised_untouched() {
        // 53 MB of index: larger than what the allocator takes from its heap.
        let conf = WorkerConf {
            id: WorkerId(0),
            workers: 1,
            conns: 1 << 21,
            seed: [1; 4],
        };
        let advised = std::cell::Cell::new(0);
        let worker: Worker<HeapFrame> = Worker::advised(conf, Now(0), &|region| {
            if let Some(whole) = pages(region) {
                assert_eq!(present(whole), 0);
                advised.set(advised.get() + whole.1);
            }
        });
        assert!(advised.get() > 50 << 20, "{}", advised.get());
        drop(worker);
    }

    #[test]
    fn memory_is_there_before_it_is_used() {
        let bytes = 200 << 20;
        // Untouched: the allocator maps it.
        let mut table: Vec<u8> = Vec::with_capacity(bytes);
        let tables = [(table.as_ptr(), bytes)];
        let whole = pages(tables[0]).unwrap();
        let ahead = Ahead::start().unwrap();
        let growth = ahead.follow(&tables);
        // Whether the kernel can at all.
        let mut ready = 0;
        if !advance(&Growth::new(&tables).0[0], &mut ready) {
            return;
        }
        growth.note(&[60 << 20]);
        let want = (120 << 20) / PAGE;
        let mut waited = 0;
        while present(whole) < want {
            std::thread::sleep(Duration::from_millis(5));
            waited += 1;
            assert!(waited < 10_000, "{} pages", present(whole));
        }
        assert!(present(whole) < (150 << 20) / PAGE, "no further");
        table.resize(1000, 5);
        drop(growth);
        drop(ahead);
        assert!(table.iter().all(|&b| b == 5));
    }
}
