//! Every id of the protocol is answered; requests of one connection are answered
//! in their order; one change among thousands of services leaves the others be.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code)]
mod ctl_lab;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ctl_lab::{Lab, code};
use dpvs_ctl::msg::{Dest, Service, ServiceDest};
use dpvs_ctl::server::encode_request;
use dpvs_ctl::{Af, Be16, ErrCode, Ip16, Kind, Name, ReplyHead, Session, Wire, id};

fn service(n: u32) -> Service {
    let at = SocketAddr::from(([10, 100, (n >> 8) as u8, n as u8], 80));
    Service {
        sched_name: Name::truncated("rr"),
        ..Service::at(6, at)
    }
}

fn dest(n: u32) -> Dest {
    let mut dest = Dest {
        af: Af::INET,
        addr: Ip16::from_ip([10, 200, (n >> 8) as u8, n as u8].into()),
        port: Be16::new(8080),
        weight: 1,
        ..Dest::default()
    };
    dest.set_fwd_mode(5);
    dest
}

/// Adds services, each with a server.
fn load(session: &mut Session, services: std::ops::Range<u32>) {
    for n in services {
        let both = ServiceDest {
            service: service(n),
            dest: dest(n),
        };
        session.send(id::SO_SET_ADD, Kind::Set, &service(n).encode());
        session.send(id::SO_SET_ADDDEST, Kind::Set, &both.encode());
    }
    while session.pending() > 0 {
        session.recv().unwrap();
    }
}

#[test]
fn every_id_is_answered() {
    let lab = Lab::start();
    for id in id::ALL.iter().copied().chain([109, 110, 7399, 7405]) {
        for kind in [Kind::Get, Kind::Set] {
            for body in [vec![], vec![0; 8], vec![0; 400], vec![0xff; 400]] {
                let mut stream = UnixStream::connect(&lab.path).unwrap();
                // The daemon closes as soon as it knows that it will not answer.
                let _ = stream.write_all(&encode_request(id, kind, &body));
                let mut reply = Vec::new();
                let _ = stream.read_to_end(&mut reply);
                if !id::registered(id, kind) {
                    assert!(reply.is_empty(), "{} {kind:?}", id::describe(id));
                    continue;
                }
                let (head, rest) = ReplyHead::decode_prefix(&reply)
                    .unwrap_or_else(|e| panic!("{} {kind:?}: {e}", id::describe(id)));
                assert_eq!((head.id, head.kind), (id, kind.number()));
                assert_eq!(head.len as usize, rest.len(), "{}", id::describe(id));
                assert!(head.code.0 <= 0);
                assert_eq!(head.text.text(), head.code.text());
                assert!(
                    !ReplyHead::is_kept(&reply),
                    "a C client must see what C sends"
                );
            }
        }
    }
    // No list there can be is there.
    for id in [id::GET_BLKLST_GETALL, id::GET_WHTLST_GETALL] {
        assert_eq!(lab.client.get(id, &[]).unwrap(), [0; 4]);
    }
    // It lives.
    assert_eq!(lab.client.info().unwrap().num_services, 0);
}

#[test]
fn answers_of_a_connection_come_in_order() {
    let lab = Lab::start();
    let mut session = lab.client.session();
    load(&mut session, 0..10);
    // What waits for workers, what does not, and refusals, all mixed.
    let asked: Vec<u32> = (0..3000)
        .map(|n: u32| n.wrapping_mul(2_654_435_761) >> 16)
        .collect();
    let mut sent = 0;
    for &n in &asked {
        let at = service(n % 12);
        match n % 5 {
            0 => session.send(id::SO_GET_INFO, Kind::Get, &[0; 12]),
            1 => session.send(id::SO_GET_SERVICE, Kind::Get, &at.encode()),
            2 => session.send(id::SO_GET_DESTS, Kind::Get, &at.dest_table(1, 0).encode()),
            3 => session.send(id::SO_SET_ZERO, Kind::Set, &at.encode()),
            _ => session.send(id::SO_SET_EDIT, Kind::Set, &at.encode()),
        }
        sent += 1;
    }
    assert_eq!(session.pending(), sent);
    for &n in &asked {
        let answer = session.recv();
        let there = n % 12 < 10;
        match (n % 5, answer) {
            (0, answer) => assert_eq!(answer.unwrap().len(), 16),
            (1, Ok(body)) if there => {
                let listed = Service::decode(&body).unwrap();
                assert_eq!(listed.addr, service(n % 12).addr);
            }
            (2, Ok(body)) if there => assert_eq!(body.len(), 144 + 120),
            (1 | 2, answer) => assert_eq!(code(answer), ErrCode::MSG_FAIL, "{n}"),
            (_, answer) if there => assert!(answer.unwrap().is_empty()),
            (_, answer) => assert_eq!(code(answer), ErrCode::INVAL, "{n}"),
        }
    }
    assert_eq!(session.pending(), 0);
    // A pooled client speaks over one connection, clones of it too.
    let pooled = lab.client.clone().pooled();
    for n in 0..100 {
        let client = pooled.clone();
        assert_eq!(client.services(0).unwrap().len(), 10, "{n}");
    }
}

#[test]
fn one_change_among_thousands_leaves_the_others_be() {
    let lab = Lab::start();
    let mut session = lab.client.session();
    load(&mut session, 0..10_000);
    let before = [0, 1].map(|w| lab.snapshot(w));
    assert_eq!(before[0].services.len(), 10_000);
    let both = ServiceDest {
        service: service(77),
        dest: dest(40_000),
    };
    session
        .call(id::SO_SET_ADDDEST, Kind::Set, &both.encode())
        .unwrap();
    for (worker, before) in before.iter().enumerate() {
        let after = lab.snapshot(worker);
        assert_eq!(after.services.len(), 10_000);
        let other: Vec<_> = after
            .services
            .iter()
            .filter(|s| !Arc::ptr_eq(s, before.services.get(&s.key).unwrap()))
            .collect();
        assert_eq!(other.len(), 1, "services copied");
        assert_eq!(other[0].dests.len(), 2);
        let (shared, all) = after.services.shared_pages(&before.services);
        assert_eq!(all - shared, 1, "of {all} pages");
        assert!(Arc::ptr_eq(&after.fib, &before.fib));
        assert!(Arc::ptr_eq(&after.ports, &before.ports));
        assert!(Arc::ptr_eq(&after.settings, &before.settings));
        assert!(Arc::ptr_eq(after.locals.sapools(), before.locals.sapools()));
    }
    session.call(id::SO_SET_FLUSH, Kind::Set, &[]).unwrap();
    assert!(lab.snapshot(0).services.is_empty());
    // The numbers of the servers come back once the workers have seen them off.
    load(&mut session, 0..10_000);
    assert!(lab.snapshot(1).services.dest_bound() <= 30_001);
}

#[test]
fn an_answer_waits_until_its_change_is_in_force() {
    let lab = Lab::start();
    let mut session = lab.client.session();
    load(&mut session, 0..3);
    lab.workers[1].stuck.store(true, Ordering::Relaxed);
    session.send(id::SO_SET_DEL, Kind::Set, &service(0).encode());
    session.send(id::SO_SET_DEL, Kind::Set, &service(1).encode());
    // The last one was sent with the others, but is answered when it is read.
    let waiting = std::thread::spawn(move || {
        let answers = [session.recv(), session.recv()];
        (session, answers)
    });
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(
        !waiting.is_finished(),
        "answered before both workers had it"
    );
    assert_eq!(lab.snapshot(1).services.len(), 3);
    lab.workers[1].stuck.store(false, Ordering::Relaxed);
    let (_session, answers) = waiting.join().unwrap();
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(lab.snapshot(1).services.len(), 1);
}
