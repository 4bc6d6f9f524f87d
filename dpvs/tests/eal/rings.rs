//! Rings between threads.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use dpvs::port::{Batch, ring};
use dpvs_core::frame::empty_burst;

use super::{drain, pool};
use crate::eal_lab::lab;

#[test]
fn rings_pass_packets_between_threads() {
    const COUNT: usize = 20_000;
    let pool = pool("rings", 4095);
    let (mut sender, mut receiver) = ring::channel(&lab().eal, "one", 256, 0).unwrap();
    let sending = std::thread::spawn(move || {
        let mut batch = Batch::new();
        let mut next = 0u64;
        while next < COUNT as u64 || !batch.is_empty() {
            while next < COUNT as u64 && !batch.is_full() {
                let Some(mut frame) = pool.alloc() else { break };
                assert!(frame.append(&next.to_be_bytes()));
                batch.push(frame).unwrap();
                next += 1;
            }
            if sender.burst(&mut batch) == 0 {
                std::thread::yield_now();
            }
        }
    });
    let mut slots = empty_burst();
    let mut next = 0u64;
    let end = Instant::now() + Duration::from_secs(60);
    while next < COUNT as u64 {
        assert!(Instant::now() < end, "stuck at {next}");
        if receiver.burst(&mut slots) == 0 {
            std::thread::yield_now();
        }
        for bytes in drain(&mut slots) {
            assert_eq!(bytes, next.to_be_bytes());
            next += 1;
        }
    }
    sending.join().unwrap();
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn shared_ring_and_what_is_left_in_it() {
    let pool = pool("sharedring", 2047);
    let (sender, receiver) = ring::shared_channel(&lab().eal, "many", 64, 0).unwrap();
    let sent = std::sync::Arc::new(AtomicU32::new(0));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (mut sender, sent) = (sender.clone(), sent.clone());
            std::thread::spawn(move || {
                let mut batch = Batch::new();
                while let Ok(()) = batch.push(pool.alloc().unwrap()) {}
                sent.fetch_add(sender.burst(&mut batch) as u32, Ordering::SeqCst);
                batch.clear();
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let sent = sent.load(Ordering::SeqCst);
    assert_eq!(sent, 63, "a ring of 64 holds 63");
    assert_eq!(receiver.len(), 63);
    assert_eq!(pool.in_use(), 63);
    drop(sender);
    assert_eq!(pool.in_use(), 63);
    drop(receiver);
    assert_eq!(pool.in_use(), 0, "freed with the ring");
    assert!(ring::channel(&lab().eal, "dup", 64, 0).is_ok());
}
