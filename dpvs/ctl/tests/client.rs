//! The client against small servers on a real socket: every way to fail.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use dpvs_ctl::msg::{ConnArray, ConnEntry, ConnReq, Info, Service, conn_get, conn_result};
use dpvs_ctl::server::{Request, RequestDecoder};
use dpvs_ctl::wire::encode_list;
use dpvs_ctl::{Client, CtlError, ErrCode, Kind, ReplyHead, RequestHead, Wire, id};
use tempfile::TempDir;

struct Server {
    dir: TempDir,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// A server that serves `n` connections with `serve`.
    fn start(n: usize, serve: impl Fn(UnixStream) + Send + 'static) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("sock")).unwrap();
        let thread = thread::spawn(move || {
            for _ in 0..n {
                serve(listener.accept().unwrap().0);
            }
        });
        Self {
            dir,
            thread: Some(thread),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("sock")
    }

    fn client(&self) -> Client {
        Client::at(self.path()).with_timeout(Duration::from_millis(500))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !thread::panicking()
            && let Some(t) = self.thread.take()
        {
            t.join().unwrap();
        }
    }
}

fn read_request(stream: &mut UnixStream) -> Request {
    let mut decoder = RequestDecoder::new();
    let mut buf = [0; 64];
    loop {
        let want = decoder.missing().min(buf.len());
        let n = stream.read(&mut buf[..want]).unwrap();
        assert!(n > 0);
        if let Some(request) = decoder.push(&buf[..n]).unwrap() {
            return request;
        }
    }
}

#[test]
fn no_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let error = Client::at(dir.path().join("none")).info().unwrap_err();
    assert!(matches!(error, CtlError::NoDaemon { .. }), "{error:?}");
    assert!(error.to_string().contains("DPVS_IPC_FILE"), "{error}");
    // A socket file whose daemon is gone.
    let stale = dir.path().join("stale");
    drop(UnixListener::bind(&stale).unwrap());
    assert!(matches!(
        Client::at(stale).info(),
        Err(CtlError::NoDaemon { .. })
    ));
    // A path longer than any socket's.
    assert!(matches!(
        Client::at("/".repeat(300)).info(),
        Err(CtlError::Io { .. })
    ));
}

#[test]
fn answer() {
    let server = Server::start(1, |mut s| {
        let request = read_request(&mut s);
        assert_eq!((request.id, request.kind), (id::SO_GET_INFO, Kind::Get));
        let info = Info {
            version: 0x010a02,
            size: 0,
            num_services: 3,
            num_lcores: 8,
        };
        s.write_all(&request.reply(ErrCode::OK, &info.encode()))
            .unwrap();
    });
    let info = server.client().info().unwrap();
    assert_eq!((info.num_services, info.num_lcores), (3, 8));
}

#[test]
fn refusal() {
    let server = Server::start(1, |mut s| {
        let request = read_request(&mut s);
        s.write_all(&request.reply(ErrCode::EXIST, &[])).unwrap();
    });
    let error = server
        .client()
        .add_service(&Service::default())
        .unwrap_err();
    assert_eq!(error.code(), Some(ErrCode::EXIST));
    assert_eq!(error.to_string(), "already exist");
}

#[test]
fn closed_without_answer() {
    let server = Server::start(1, |mut s| {
        read_request(&mut s);
    });
    let error = server.client().info().unwrap_err();
    assert!(
        matches!(
            error,
            CtlError::ShortReply {
                got: 0,
                need: 88,
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn closed_in_the_body() {
    let server = Server::start(1, |mut s| {
        let request = read_request(&mut s);
        s.write_all(&request.reply(ErrCode::OK, &[0; 16])[..95])
            .unwrap();
    });
    let error = server.client().info().unwrap_err();
    assert!(
        matches!(
            error,
            CtlError::ShortReply {
                got: 7,
                need: 16,
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn other_version() {
    let server = Server::start(1, |mut s| {
        let request = read_request(&mut s);
        let mut reply = request.reply(ErrCode::OK, &[]);
        reply[0] = 9;
        s.write_all(&reply).unwrap();
    });
    assert!(matches!(
        server.client().info(),
        Err(CtlError::Version { got: 0x10009, .. })
    ));
}

#[test]
fn absurd_length() {
    let server = Server::start(1, |mut s| {
        let request = read_request(&mut s);
        let mut head = ReplyHead::new(
            &RequestHead::new(request.id, request.kind, 0),
            ErrCode::OK,
            0,
        );
        head.len = u64::MAX;
        s.write_all(&head.encode()).unwrap();
    });
    assert!(matches!(
        server.client().info(),
        Err(CtlError::TooLarge { .. })
    ));
}

#[test]
fn malformed_list() {
    let server = Server::start(1, |mut s| {
        let request = read_request(&mut s);
        // Says three, sends none.
        s.write_all(&request.reply(ErrCode::OK, &[3, 0, 0, 0]))
            .unwrap();
    });
    let error = server.client().neighs(&Default::default()).unwrap_err();
    assert!(matches!(error, CtlError::Malformed { .. }), "{error:?}");
    assert!(error.to_string().contains("GET_NEIGH_SHOW"), "{error}");
}

/// A daemon that answers a byte now and then cannot hold a client for ever.
#[test]
fn dribble() {
    let server = Server::start(1, |mut s| {
        let request = read_request(&mut s);
        for byte in request.reply(ErrCode::OK, &[0; 16]) {
            if s.write_all(&[byte]).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    });
    let start = Instant::now();
    let error = server.client().info().unwrap_err();
    assert!(matches!(error, CtlError::Timeout { .. }), "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(2));
}

/// A daemon that never accepts: its backlog fills up.
#[test]
fn full_backlog() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sock");
    let _listener = UnixListener::bind(&path).unwrap();
    let client = Client::at(&path).with_timeout(Duration::from_millis(50));
    let start = Instant::now();
    // Whether the connection is taken or not, each request ends in time.
    let error = client.info().unwrap_err();
    assert!(matches!(error, CtlError::Timeout { .. }), "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(2));
}

/// Three batches: the second and third are asked for with MORE and the cursor.
#[test]
fn connections_in_parts() {
    let server = Server::start(3, |mut s| {
        let request = read_request(&mut s);
        let ask = ConnReq::decode(&request.body).unwrap();
        let part = ask.whence;
        assert_eq!(ask.flag & conn_get::ALL, conn_get::ALL);
        assert_eq!(ask.flag & conn_get::MORE != 0, part > 0);
        let n = if part < 2 { ConnArray::BATCH } else { 5 };
        let more = if part < 2 { conn_result::MORE } else { 0 };
        let head = ConnArray {
            nconns: u32::try_from(n).unwrap(),
            resl: conn_result::OK | more,
            curcid: u8::try_from(part + 1).unwrap(),
        };
        let list = vec![
            ConnEntry {
                lcoreid: head.curcid,
                ..ConnEntry::default()
            };
            n
        ];
        s.write_all(&request.reply(ErrCode::OK, &encode_list(&head, &list)))
            .unwrap();
    });
    let all = server.client().conns(false).unwrap();
    assert_eq!(all.len(), 2 * ConnArray::BATCH + 5);
    assert_eq!(all.last().unwrap().lcoreid, 3);
}
