//! The port layer on DPDK's virtual devices. No huge pages, no NIC, and no
//! root but for the tests that meet the kernel, which say so when skipped.
//!
//! A process has one EAL: all tests here share it, each with its own port.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../eal_lab/mod.rs"]
mod eal_lab;
mod frames;
mod kernel;
mod rings;

use std::sync::mpsc;
use std::time::{Duration, Instant};

use dpvs::port::{self, Batch, Eal, Mbuf, Pool, Port, PortConf, RxQueue, TxQueue};
use dpvs_core::frame::{Burst, Frame, empty_burst};
use eal_lab::{Lab, lab};

fn pool(name: &str, count: u32) -> Pool {
    Pool::create(&lab().eal, name, count, 64, 0).unwrap()
}

fn open(name: &str, conf: &PortConf, pool: Pool) -> (Port, RxQueue, TxQueue) {
    let port = Port::by_name(&lab().eal, name).unwrap_or_else(|| panic!("no port {name}"));
    let mut ready = port.configure(conf, pool).unwrap();
    ready.port.start(conf).unwrap();
    (ready.port, ready.rx.remove(0), ready.tx.remove(0))
}

fn packet(pool: &Pool, bytes: &[u8]) -> Mbuf {
    let mut frame = pool.alloc().unwrap();
    assert!(frame.append(bytes));
    frame
}

/// A burst taken apart: the slots are empty again afterwards.
fn drain(slots: &mut Burst<Mbuf>) -> Vec<Vec<u8>> {
    slots
        .iter_mut()
        .filter_map(Option::take)
        .map(|frame| frame.data().to_vec())
        .collect()
}

#[test]
fn environment() {
    let Lab { eal, .. } = lab();
    assert_eq!(eal.lcores(), [0, 1]);
    assert_eq!(eal.worker_lcores().count(), 1);
    assert!(!eal.has_hugepages());
    assert!(port::eal::version().starts_with("DPDK 2"));
    let again = Eal::init(&["--no-huge"]).unwrap_err();
    assert!(again.to_string().contains("already started"), "{again}");

    let clock = eal.clock();
    let (start, instant) = (clock.now(), Instant::now());
    std::thread::sleep(Duration::from_millis(50));
    let (micros, real) = (
        clock.now().0 - start.0,
        instant.elapsed().as_micros() as u64,
    );
    assert!(
        micros.abs_diff(real) < 5_000,
        "{micros} us by the counter, {real} us really"
    );
}

#[test]
fn lcore_runs_a_closure() {
    let Lab { eal, .. } = lab();
    let worker = eal.worker_lcores().next().unwrap();
    let (sender, receiver) = mpsc::channel();
    eal.launch(worker, move || sender.send(21 * 2).unwrap())
        .unwrap();
    assert_eq!(receiver.recv_timeout(Duration::from_secs(5)), Ok(42));
    eal.wait(worker);
    assert!(eal.launch(eal.main_lcore(), || ()).is_err());
    assert!(
        eal.launch(77, || ())
            .unwrap_err()
            .to_string()
            .contains("lcore 77")
    );
}

/// Child of the next test: must not return.
#[test]
#[ignore = "run by panic_on_an_lcore_ends_the_process"]
fn panicking_child() {
    let Lab { eal, .. } = lab();
    let worker = eal.worker_lcores().next().unwrap();
    eal.launch(worker, || panic!("on purpose")).unwrap();
    eal.wait(worker);
}

#[test]
fn panic_on_an_lcore_ends_the_process() {
    use std::os::unix::process::ExitStatusExt;
    let out = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "panicking_child", "--ignored"])
        .output()
        .unwrap();
    assert_eq!(out.status.signal(), Some(libc::SIGABRT), "{out:?}");
}

#[test]
fn pool_gives_all_and_takes_all_back() {
    let pool = pool("leak", 1023);
    assert_eq!(
        (pool.size(), pool.available(), pool.in_use()),
        (1023, 1023, 0)
    );
    let all: Vec<Mbuf> = std::iter::from_fn(|| pool.alloc()).collect();
    // A thread that is no lcore has no cache: every buffer can be had.
    assert_eq!(all.len(), 1023);
    assert_eq!(pool.in_use(), 1023);
    assert!(pool.alloc().is_none());
    drop(all);
    assert_eq!(pool.in_use(), 0);

    let worker_half = pool.alloc().unwrap();
    std::thread::spawn(move || drop(worker_half))
        .join()
        .unwrap();
    assert_eq!(pool.in_use(), 0, "freed on another thread");
}

#[test]
fn pool_too_big_says_what_to_do() {
    let text = &lab().too_big;
    assert!(
        text.contains("cannot make packet pool huge of 4000000 buffers"),
        "{text}"
    );
    assert!(
        text.contains("give EAL") && text.contains("lower pktpool_size to"),
        "{text}"
    );
    let _ = pool("twice", 63);
    let text = Pool::create(&lab().eal, "twice", 63, 0, 0)
        .unwrap_err()
        .to_string();
    assert!(text.contains("exists"), "{text}");
    assert!(Pool::create(&lab().eal, "nul\0", 63, 0, 0).is_err());
}

#[test]
fn ring_port_loops_in_order() {
    let pool = pool("ringloop", 4095);
    let (port, mut rx, mut tx) = open("net_ring0", &PortConf::default(), pool);
    let mut slots = empty_burst();
    assert_eq!(rx.burst(&mut slots), 0);
    for round in 0..100u32 {
        let mut batch = Batch::new();
        let want: Vec<Vec<u8>> = (0..32u32)
            .map(|i| [round.to_be_bytes(), i.to_be_bytes()].concat().repeat(8))
            .collect();
        for bytes in &want {
            batch.push(packet(&pool, bytes)).unwrap();
        }
        assert!(batch.is_full());
        assert!(batch.push(packet(&pool, b"one too many")).is_err());
        assert_eq!(batch.bytes(), 32 * 64);
        assert_eq!(tx.burst(&mut batch), 32);
        assert!(batch.is_empty());
        assert_eq!(rx.burst(&mut slots), 32);
        assert_eq!(drain(&mut slots), want);
    }
    let stats = port.stats().unwrap();
    assert_eq!((stats.ipackets, stats.opackets), (3200, 3200));
    assert_eq!(stats.queues[0][0], 3200);
    let xstats = port.xstats().unwrap();
    assert!(
        xstats.contains(&("rx_good_packets".to_owned(), 3200)),
        "{xstats:?}"
    );
    port.reset_stats().unwrap();
    assert_eq!(port.stats().unwrap().ipackets, 0);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn full_queue_keeps_or_drops() {
    // The ring behind a net_ring port has 1024 slots, nobody reads here.
    let pool = pool("fullqueue", 2047);
    let (_port, mut rx, mut tx) = open("net_ring1", &PortConf::default(), pool);
    let mut sent = 0;
    let mut batch = Batch::new();
    loop {
        while let Some(frame) = pool.alloc() {
            if batch.push(frame).is_err() {
                break;
            }
        }
        let count = tx.burst(&mut batch);
        sent += count;
        if count < 32 {
            break;
        }
    }
    let left = batch.len();
    assert!(left > 0);
    assert_eq!(tx.flush(&mut batch), left, "refused for good, so dropped");
    assert!(batch.is_empty());
    let mut slots = empty_burst();
    let mut received = 0;
    while rx.burst(&mut slots) > 0 {
        received += drain(&mut slots).len();
    }
    assert_eq!(received, sent);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn null_port_receives_for_ever_without_a_leak() {
    let pool = pool("null", 2047);
    let (port, mut rx, mut tx) = open("net_null0", &PortConf::default(), pool);
    let mut slots = empty_burst();
    for _ in 0..1000 {
        assert_eq!(rx.burst(&mut slots), 32);
        let mut batch = Batch::new();
        for frame in slots.iter_mut().filter_map(Option::take) {
            assert_eq!(
                (frame.data().len(), frame.total_len(), frame.segments()),
                (64, 64, 1)
            );
            assert!(batch.push(frame).is_ok());
        }
        assert_eq!(tx.flush(&mut batch), 0);
    }
    assert_eq!(pool.in_use(), 0);
    assert_eq!(port.stats().unwrap().opackets, 32_000);
}

/// Real chains: what is asked for comes to the front, the rest stays in order, and
/// no buffer is lost.
#[test]
fn segments_are_pulled_up_read_and_copied() {
    let pool = pool("segments", 1023);
    let bytes: Vec<u8> = (0..5000u32).map(|n| (n * 7) as u8).collect();
    for cuts in [
        vec![10, 20, 100, 1500],
        vec![1, 1, 1, 1, 1996],
        vec![300],
        vec![2000, 2000],
    ] {
        let mut rest = &bytes[..];
        let mut frame = pool.alloc().unwrap();
        let (first, later) = rest.split_at(cuts[0]);
        assert!(frame.append(first));
        rest = later;
        for cut in cuts[1..].iter().copied().chain([1500; 4]) {
            let (now, later) = rest.split_at(cut.min(rest.len()));
            rest = later;
            if !now.is_empty() {
                frame.chain(packet(&pool, now)).unwrap();
            }
        }
        let total = frame.total_len();
        let all = |f: &Mbuf| {
            let mut out = vec![0; f.total_len()];
            assert!(f.read(0, &mut out));
            out
        };
        assert_eq!(all(&frame), bytes[..total]);
        assert!(!frame.read(total - 3, &mut [0; 4]));
        let copy = pool.copy(&frame).unwrap();
        assert_eq!(all(&copy), bytes[..total]);
        drop(copy);
        let want = 256.max(cuts[0]);
        assert!(frame.pull_up(want));
        assert_eq!(frame.data()[..want], bytes[..want]);
        assert_eq!(
            (frame.total_len(), all(&frame)),
            (total, bytes[..total].to_vec())
        );
        // More than a buffer holds: as it was.
        assert!(!frame.pull_up(4000));
        assert_eq!(all(&frame), bytes[..total]);
        frame.truncate(1200);
        assert_eq!(all(&frame), bytes[..1200]);
        assert!(frame.pull_up(9000));
        assert_eq!((frame.segments(), frame.data()), (1, &bytes[..1200]));
        drop(frame);
        assert_eq!(pool.in_use(), 0, "{cuts:?}");
    }
}

#[test]
fn mtu_a_driver_cannot_set_is_a_note() {
    let pool = pool("mtu", 2047);
    // net_null has one to set.
    for (name, can) in [
        ("net_null1", true),
        ("net_ring2", false),
        ("net_pcap1", false),
    ] {
        let port = Port::by_name(&lab().eal, name).unwrap();
        let conf = PortConf {
            mtu: 1400,
            ..PortConf::default()
        };
        let ready = port
            .configure(&conf, pool)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let noted = ready.notes.iter().any(|note| note.contains("MTU"));
        assert_eq!(noted, !can, "{name}: {:?}", ready.notes);
        assert_eq!(ready.mtu, 1400);
        ready.port.start(&conf).unwrap();
        match ready.port.set_mtu(1300) {
            Ok(()) => assert!(can, "{name}"),
            Err(error) => assert!(!can && error.unsupported(), "{name}: {error}"),
        }
    }
}

#[test]
fn too_many_queues_say_what_to_do() {
    let port = Port::by_name(&lab().eal, "net_ring3").unwrap();
    let max = port.info().unwrap().max_queues.0;
    let conf = PortConf {
        rx_queues: max + 1,
        ..PortConf::default()
    };
    let text = port
        .configure(&conf, pool("manyq", 255))
        .unwrap_err()
        .to_string();
    assert!(
        text.contains(&format!("at most {max}")) && text.contains("queue_number"),
        "{text}"
    );
}

#[test]
fn pcap_port_replays_and_records() {
    let Lab { dir, frames, .. } = lab();
    let pool = pool("pcap", 2047);
    let (port, mut rx, mut tx) = open("net_pcap0", &PortConf::default(), pool);
    assert_eq!(port.info().unwrap().driver, "net_pcap");
    let mut slots = empty_burst();
    let mut got = Vec::new();
    let end = Instant::now() + Duration::from_secs(5);
    while got.len() < frames.len() && Instant::now() < end {
        rx.burst(&mut slots);
        got.extend(drain(&mut slots));
    }
    assert_eq!(got, *frames);
    let mut batch = Batch::new();
    for bytes in frames {
        batch.push(packet(&pool, bytes)).unwrap();
    }
    assert_eq!(tx.flush(&mut batch), 0);
    port.stop().unwrap();
    let recorded = std::fs::read(dir.path().join("tx.pcap")).unwrap();
    assert_eq!(eal_lab::pcap_frames(&recorded), *frames);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn port_settings() {
    let pool = pool("settings", 1023);
    let (mut port, _rx, _tx) = open("net_null2", &PortConf::default(), pool);
    let info = port.info().unwrap();
    assert_eq!(
        (info.driver.as_str(), info.device.as_str()),
        ("net_null", "net_null2")
    );
    assert_eq!(info.queues, (1, 1));
    assert!(!info.tx_tcp_checksum());
    assert!(port.wait_link(Duration::from_secs(1)).up);
    port.set_mac([2, 0, 0, 0, 0, 9]).unwrap();
    assert_eq!(port.mac().unwrap(), [2, 0, 0, 0, 0, 9]);
    // No multicast filter in this driver: everything or nothing.
    let group = [0x01, 0x00, 0x5e, 0, 0, 18];
    let result = port.add_multicast(group);
    assert!(
        result.is_err() || port.allmulticast() || port.promiscuous(),
        "{result:?}"
    );
    port.add_multicast(group).unwrap();
    assert_eq!(port.multicast(), [(group, 2)]);
    port.remove_multicast(group).unwrap();
    let _ = port.remove_multicast(group);
    assert!(port.multicast().is_empty());
    port.remove_multicast(group).unwrap();
}

#[test]
fn several_queues_without_hashing() {
    let pool = pool("queues", 4095);
    let port = Port::by_name(&lab().eal, "net_null3").unwrap();
    let conf = PortConf {
        rx_queues: 2,
        tx_queues: 2,
        rss: port::rss_types("all").unwrap(),
        rss_key: port::RssKey::Symmetric,
        ..PortConf::default()
    };
    let mut ready = port.configure(&conf, pool).unwrap();
    ready.port.start(&conf).unwrap();
    assert_eq!((ready.rx.len(), ready.tx.len()), (2, 2));
    let mut slots = empty_burst();
    for queue in &mut ready.rx {
        assert_eq!(queue.burst(&mut slots), 32);
        drain(&mut slots);
    }
    assert_eq!(pool.in_use(), 0);
    assert_eq!(port::rss_types("nonsense"), None);
}
