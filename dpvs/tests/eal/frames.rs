//! An mbuf beside the frame of the core's tests.

use dpvs::port::Pool;
use dpvs_core::frame::{Frame, HeapFrame};
use proptest::prelude::*;

use super::{packet, pool};

#[derive(Clone, Debug)]
enum Op {
    PushFront(usize),
    PullFront(usize),
    PushBack(usize),
    Truncate(usize),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let size = prop_oneof![
        0usize..200,
        0usize..3000,
        Just(65_535),
        Just(65_536),
        Just(1 << 20)
    ];
    let op = (0..4, size).prop_map(|(kind, n)| match kind {
        0 => Op::PushFront(n),
        1 => Op::PullFront(n),
        2 => Op::PushBack(n),
        _ => Op::Truncate(n),
    });
    proptest::collection::vec(op, 0..20)
}

proptest! {
    /// An mbuf and the tests' heap frame are one and the same to the logic.
    #[test]
    fn mbuf_is_a_frame(bytes in proptest::collection::vec(any::<u8>(), 0..2000), ops in ops()) {
        static POOL: std::sync::OnceLock<Pool> = std::sync::OnceLock::new();
        let pool = POOL.get_or_init(|| pool("frames", 255));
        let mut mbuf = packet(pool, &bytes);
        let mut heap = HeapFrame::new(&bytes);
        for op in ops {
            let before = heap.total_len();
            let (a, b) = match op {
                Op::PushFront(n) => (mbuf.push_front(n), heap.push_front(n)),
                Op::PullFront(n) => (mbuf.pull_front(n), heap.pull_front(n)),
                Op::PushBack(n) => (mbuf.push_back(n), heap.push_back(n)),
                Op::Truncate(n) => {
                    mbuf.truncate(n);
                    heap.truncate(n);
                    (true, true)
                }
            };
            prop_assert_eq!(a, b);
            prop_assert_eq!(mbuf.total_len(), heap.total_len());
            prop_assert_eq!(mbuf.data().len(), heap.data().len());
            // New bytes are unspecified: make them equal.
            let grown = heap.total_len().saturating_sub(before);
            match op {
                Op::PushFront(_) => {
                    mbuf.data_mut()[..grown].fill(0x5a);
                    heap.data_mut()[..grown].fill(0x5a);
                }
                _ => {
                    let at = heap.total_len() - grown;
                    mbuf.data_mut()[at..].fill(0xa5);
                    heap.data_mut()[at..].fill(0xa5);
                }
            }
            prop_assert_eq!(mbuf.data(), heap.data());
        }
        drop(mbuf);
        prop_assert_eq!(pool.in_use(), 0);
    }
}
