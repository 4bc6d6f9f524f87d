//! Clients that misbehave, and workers that do not answer: nobody else waits.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code)]
mod ctl_lab;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ctl_lab::{Lab, code, until};
use dpvs::master::Server;
use dpvs_ctl::msg::{Service, ServiceDest, ServicesFront};
use dpvs_ctl::server::encode_request;
use dpvs_ctl::{CtlError, ErrCode, Kind, Name, ReplyHead, RequestHead, Wire, id};
use proptest::prelude::*;

fn service(n: u16) -> Service {
    let at: SocketAddr = format!("192.0.2.1:{n}").parse().unwrap();
    Service {
        sched_name: Name::truncated("rr"),
        ..Service::at(6, at)
    }
}

/// What comes back for these bytes: all of it, or what there is when the
/// daemon closes.
fn raw(lab: &Lab, bytes: &[u8]) -> Vec<u8> {
    let mut stream = UnixStream::connect(&lab.path).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    // The daemon may close before it has read all.
    let _ = stream.write_all(bytes);
    let mut out = Vec::new();
    let _ = stream.read_to_end(&mut out);
    out
}

#[test]
fn what_is_not_served() {
    let lab = Lab::start();
    for (id, kind) in [
        (99, Kind::Set),
        (106, Kind::Set),
        (7401, Kind::Get),
        (4, Kind::Get),
        (44, Kind::Get),
        (67, Kind::Get),
        (89, Kind::Set),
        (7400, Kind::Set),
    ] {
        let reply = raw(&lab, &encode_request(id, kind, &[0; 300]));
        let head = ReplyHead::decode(&reply).unwrap();
        assert_eq!((head.id, head.code, head.len), (id, ErrCode::NOTSUPP, 0));
        assert_eq!(head.text.text(), "not support");
    }
    // What is served refuses a body of nothing.
    for (id, kind, code) in [
        (73, Kind::Set, ErrCode::INVAL),
        (81, Kind::Set, ErrCode::NODEV),
        (84, Kind::Set, ErrCode::NODEV),
        (88, Kind::Get, ErrCode::NODEV),
        (94, Kind::Set, ErrCode::INVAL),
        (103, Kind::Set, ErrCode::INVAL),
    ] {
        let reply = raw(&lab, &encode_request(id, kind, &[0; 300]));
        let head = ReplyHead::decode(&reply).unwrap();
        assert_eq!((head.id, head.code, head.len), (id, code, 0));
    }
    // No reply at all: unknown ids, wrong kinds, versions, lengths.
    let head = |version, id, kind, len| {
        RequestHead {
            version,
            id,
            kind,
            padding: 0,
            len,
        }
        .encode()
    };
    for bad in [
        head(0x10000, 109, 0, 0),
        head(0x10000, 0, 0, 0),
        head(0x10000, 19, 2, 8),
        head(0x20000, 18, 0, 0),
        head(0x10000, 18, 0, u64::MAX),
        head(0x10000, 10, 1, 1 << 40),
    ] {
        assert!(raw(&lab, &bad).is_empty(), "{bad:?}");
    }
    // Bytes behind a request do not cost the reply.
    let mut long = encode_request(id::SO_GET_INFO, Kind::Get, &[0; 12]);
    long.resize(long.len() + 100_000, 0xaa);
    assert_eq!(raw(&lab, &long).len(), 88 + 16);
}

#[test]
fn stalled_clients_hold_up_nobody() {
    let lab = Lab::start();
    let mut stalled: Vec<UnixStream> = Vec::new();
    for n in 0..100 {
        let mut stream = UnixStream::connect(&lab.path).unwrap();
        let request = encode_request(id::SO_SET_ADD, Kind::Set, &service(1).encode());
        stream.write_all(&request[..n * 2]).unwrap();
        stalled.push(stream);
    }
    // One that asks and does not read.
    for n in 1..=2000 {
        lab.client.add_service(&service(n)).unwrap();
    }
    let mut deaf = UnixStream::connect(&lab.path).unwrap();
    let front = ServicesFront {
        count: 2000,
        ..Default::default()
    };
    deaf.write_all(&encode_request(
        id::SO_GET_SERVICES,
        Kind::Get,
        &front.encode(),
    ))
    .unwrap();
    let start = Instant::now();
    for _ in 0..20 {
        assert_eq!(lab.client.services(0).unwrap().len(), 2000);
    }
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "{:?}",
        start.elapsed()
    );
    // They are closed in the end.
    let mut byte = [0];
    stalled[3]
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    assert_eq!(stalled[3].read(&mut byte).unwrap(), 0);
    until("the deaf one is closed", || deaf.write_all(&[0]).is_err());
}

#[test]
fn more_clients_than_there_is_room_for() {
    let lab = Lab::start();
    let idle: Vec<UnixStream> = (0..700)
        .map(|_| UnixStream::connect(&lab.path).unwrap())
        .collect();
    assert_eq!(lab.client.info().unwrap().num_lcores, 2);
    drop(idle);
    assert_eq!(lab.client.info().unwrap().num_lcores, 2);
}

#[test]
fn fifty_clients_at_once() {
    let lab = Lab::start();
    let threads: Vec<_> = (0..50u16)
        .map(|n| {
            let client = lab.client.clone();
            std::thread::spawn(move || {
                for round in 0..10 {
                    let s = service(1 + n * 10 + round);
                    client.add_service(&s).unwrap();
                    assert_eq!(client.service(&s).unwrap().port, s.port);
                    if round % 2 == 0 {
                        client.del_service(&s).unwrap();
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(lab.client.services(0).unwrap().len(), 250);
    assert_eq!(lab.snapshot(0).services.len(), 250);
    assert_eq!(lab.snapshot(0).epoch, lab.snapshot(1).epoch);
}

#[test]
fn a_worker_that_does_not_answer_costs_only_those_who_ask_it() {
    let lab = Lab::start();
    let c = &lab.client;
    let s = service(80);
    c.add_service(&s).unwrap();
    lab.workers[1].stuck.store(true, Ordering::Relaxed);
    let asking = {
        let c = c.clone();
        std::thread::spawn(move || code(c.neighs(&Default::default())))
    };
    let mut answers = 0;
    while !asking.is_finished() {
        c.info().unwrap();
        answers += 1;
    }
    assert!(answers > 50, "{answers} while one waited");
    assert_eq!(asking.join().unwrap(), ErrCode::MSG_DROP);
    // A change is in force and is answered, only later.
    let start = Instant::now();
    c.add_service(&service(81)).unwrap();
    assert!(start.elapsed() > Duration::from_secs(1));
    assert_eq!(lab.snapshot(0).services.len(), 2);
    assert_eq!(lab.snapshot(1).services.len(), 1);
    // Far more changes than its channel holds: it gets the last one.
    let many: Vec<_> = (0..4u16)
        .map(|t| {
            let c = c.clone().with_timeout(Duration::from_secs(1));
            std::thread::spawn(move || {
                for n in 0..40 {
                    let request = encode_request(
                        id::SO_SET_ADD,
                        Kind::Set,
                        &service(100 + t * 100 + n).encode(),
                    );
                    UnixStream::connect(c.path())
                        .unwrap()
                        .write_all(&request)
                        .unwrap();
                }
            })
        })
        .collect();
    for thread in many {
        thread.join().unwrap();
    }
    until("all are added", || c.info().unwrap().num_services == 162);
    lab.workers[1].stuck.store(false, Ordering::Relaxed);
    until("it has caught up", || lab.snapshot(1).services.len() == 162);
    assert_eq!(code(c.neighs(&Default::default())), ErrCode::OK);
}

#[test]
fn the_socket_is_private_and_stale_ones_are_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ipc");
    let first = Server::bind(&path).unwrap();
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
        0o660
    );
    let refused = Server::bind(&path).err().unwrap().to_string();
    assert!(refused.contains("another dpvs serves it"), "{refused}");
    drop(first);
    assert!(!path.exists());
    // Left by a killed daemon: a socket that nobody listens on.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let second = Server::bind(&path).unwrap();
    drop(second);
    std::fs::write(&path, "mine").unwrap();
    let refused = Server::bind(&path).err().unwrap().to_string();
    assert!(refused.contains("no socket"), "{refused}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    assert!(Server::bind(&dir.path().join("no/where")).is_err());
    assert!(Server::bind(&dir.path().join("x".repeat(200))).is_err());
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        1,
        "nothing is left behind"
    );
}

#[test]
fn any_bytes_leave_the_master_serving() {
    let lab = Lab::start();
    lab.client.add_service(&service(80)).unwrap();
    let ids = prop_oneof![0u32..110, 7399u32..7406, any::<u32>()];
    let body = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..600),
        // Sizes that some request takes, with fields that may be sound.
        (
            prop_oneof![
                Just(1usize),
                Just(8),
                Just(36),
                Just(48),
                Just(52),
                Just(68),
                Just(76),
                Just(104),
                Just(112),
                Just(144),
                Just(148),
                Just(152),
                Just(184),
                Just(264),
                Just(384)
            ],
            any::<u64>()
        )
            .prop_map(|(len, seed)| {
                (0..len as u64)
                    .map(|n| {
                        if seed >> (n % 64) & 1 == 0 {
                            0
                        } else {
                            (seed ^ n) as u8
                        }
                    })
                    .collect()
            }),
        any::<bool>().prop_map(|_| ServiceDest {
            service: service(80),
            ..Default::default()
        }
        .encode()),
    ];
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(1500));
    runner
        .run(&(ids, any::<bool>(), body), |(id, set, body)| {
            let kind = if set { Kind::Set } else { Kind::Get };
            let reply = raw(&lab, &encode_request(id, kind, &body));
            if id::registered(id, kind) {
                let (head, rest) = ReplyHead::decode_prefix(&reply).expect("a reply");
                prop_assert_eq!((head.id, head.kind), (id, kind.number()));
                prop_assert_eq!(rest.len() as u64, head.len);
            } else {
                prop_assert!(reply.is_empty());
            }
            Ok(())
        })
        .unwrap();
    runner
        .run(&proptest::collection::vec(any::<u8>(), 0..200), |bytes| {
            let mut stream = UnixStream::connect(&lab.path).unwrap();
            let _ = stream.write_all(&bytes);
            Ok(())
        })
        .unwrap();
    assert_eq!(lab.client.info().unwrap().num_lcores, 2);
    assert!(matches!(
        lab.client.get(9999, &[]),
        Err(CtlError::ShortReply { got: 0, .. })
    ));
}
