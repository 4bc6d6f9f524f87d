//! What a worker's tables cost while nobody uses them.
#![allow(clippy::unwrap_used)]

use dpvs_core::frame::{HeapFrame, Now, WorkerId};
use dpvs_core::worker::{Worker, WorkerConf};

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn an_empty_table_takes_the_memory_of_its_index() {
    let conns = 2_000_000;
    let before = resident();
    let conf = WorkerConf {
        id: WorkerId(0),
        workers: 1,
        conns,
        seed: [1, 2, 3, 4],
    };
    let worker: Worker<HeapFrame> = Worker::new(conf, Now(0));
    let grown = resident() - before;
    assert!(
        worker.table_bytes() > conns * (128 + 192),
        "address space is set aside"
    );
    assert!(
        grown < conns * 40,
        "{} bytes a connection before there is one",
        grown / conns
    );
}
