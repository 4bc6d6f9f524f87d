//! What two workers write lies apart: on no pair of cache lines (the unit in
//! which processors fetch ahead) is there something of both.

use std::sync::Barrier;

use crate::frame::{HeapFrame, Now, WorkerId};
use crate::service::TCP;
use crate::worker::{DestState, Worker, WorkerConf};

const PAIR: usize = 128;

fn range<T>(what: &[T]) -> (usize, usize) {
    let at = what.as_ptr().addr();
    (at, at + size_of_val(what))
}

/// Everything a worker writes while it forwards, as ranges of addresses.
fn written(worker: &Worker<HeapFrame>) -> Vec<(usize, usize)> {
    let mut all: Vec<_> = worker
        .regions()
        .iter()
        .map(|(at, bytes)| (at.addr(), at.addr() + bytes))
        .collect();
    all.push(range(std::slice::from_ref(worker)));
    all.push(range(&worker.heads.as_deref().unwrap()[..]));
    all.push(range(&worker.dests));
    all.extend(worker.pools.written());
    all
}

#[test]
fn workers_made_on_their_own_threads_share_no_line() {
    // Both are made at the same time and live at the same time, as on lcores.
    let barrier = Barrier::new(2);
    let made: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2)
            .map(|id| {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    let conf = WorkerConf {
                        id: WorkerId(id),
                        workers: 2,
                        conns: 1000,
                        seed: [1; 4],
                    };
                    let mut worker: Worker<HeapFrame> = Worker::new(conf, Now(0));
                    worker.dests.resize_with(100, DestState::default);
                    let laddr = "10.0.1.200".parse().unwrap();
                    worker.pools.configure([(laddr, None)].into_iter());
                    for n in 0..32u8 {
                        let server = [10, 0, 1, n].into();
                        worker.pools.take(0, TCP, server, 80).unwrap();
                    }
                    // In place, as in the lcore's loop.
                    let ranges = written(&worker);
                    barrier.wait();
                    ranges
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let pairs = |ranges: &[(usize, usize)]| -> Vec<(usize, usize)> {
        let used = ranges.iter().filter(|(from, to)| from < to);
        used.map(|(from, to)| (from / PAIR, (to - 1) / PAIR))
            .collect()
    };
    let (a, b) = (pairs(&made[0]), pairs(&made[1]));
    assert!(a.len() > 15 && a.len() == b.len());
    for one in &a {
        for other in &b {
            assert!(
                one.1 < other.0 || other.1 < one.0,
                "{one:x?} and {other:x?}"
            );
        }
    }
}

/// Neighbours in the array of servers: a packet writes one line.
#[test]
fn a_server_has_a_line_of_its_own() {
    assert_eq!((size_of::<DestState>(), align_of::<DestState>()), (64, 64));
}
