//! The client against a daemon that answers anything: every call comes back
//! with a value or an error that can be shown, before its deadline.
//!
//! A thread of this process is that daemon. Replies with a fitting header get
//! past the first checks; others test these.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use dpvs_ctl::msg::{AclConf, Dest, IfAddr, LaddrTable, Neigh, Service, SockPair, Vlan};
use dpvs_ctl::wire::Wire;
use dpvs_ctl::{Client, CtlError, ErrCode, IfAddrView, Name, ReplyHead, RequestHead, id};

use crate::Target;
use crate::input::Input;

/// The target.
pub const TARGET: Target = Target {
    name: "ctl_client",
    run,
    seeds,
    words: &[
        "\0\0\u{1}\0",
        "\u{1}\0\0\0",
        "\u{2}\0\0\0",
        "\0\0\0\0",
        "dpdk0",
        "x=1\n",
    ],
};

/// What the daemon says next: one item a connection, then it only closes.
static REPLIES: Mutex<Vec<Reply>> = Mutex::new(Vec::new());
/// Longest time for a call; far above the deadline of the client.
const LIMIT: Duration = Duration::from_secs(5);

enum Reply {
    /// These bytes.
    Raw(Vec<u8>),
    /// These bytes behind a header that fits the request.
    Body(ErrCode, Vec<u8>),
}

fn serve(listener: &UnixListener) {
    for mut stream in listener.incoming().flatten() {
        let mut head = [0; RequestHead::SIZE];
        if stream.read_exact(&mut head).is_err() {
            continue;
        }
        let head = RequestHead::take(&head);
        let mut body = vec![0; head.len as usize];
        if stream.read_exact(&mut body).is_err() {
            continue;
        }
        let reply = REPLIES.lock().expect("no panic holds it").pop();
        let bytes = match reply {
            None => continue,
            Some(Reply::Raw(bytes)) => bytes,
            Some(Reply::Body(code, body)) => {
                let mut out = ReplyHead::new(&head, code, body.len()).encode();
                if code == ErrCode::OK {
                    out.extend(body);
                }
                out
            }
        };
        // The client may have left already.
        let _ = stream.write_all(&bytes);
    }
}

fn client() -> &'static Client {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    CLIENT.get_or_init(|| {
        let path: PathBuf = std::env::temp_dir().join(format!("fuzz-ctl-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).expect("a socket");
        std::thread::spawn(move || serve(&listener));
        Client::at(path).with_timeout(Duration::from_secs(2))
    })
}

fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (what, mode) = (input.byte(), input.byte());
    let mut replies = Vec::new();
    for n in 0..4 {
        let len = usize::from(input.word()) % 2048;
        let bytes = input.bytes(len).to_vec();
        replies.push(match (mode >> (2 * n)) & 3 {
            0 => Reply::Raw(bytes),
            1 => Reply::Body(
                ErrCode(-i32::from(bytes.first().copied().unwrap_or(1)).max(1)),
                bytes,
            ),
            _ => Reply::Body(ErrCode::OK, bytes),
        });
        if input.is_empty() {
            break;
        }
    }
    replies.reverse();
    *REPLIES.lock().expect("no panic holds it") = replies;
    let start = Instant::now();
    if let Err(error) = call(client(), what) {
        assert!(!error.to_string().is_empty());
        let _ = (error.code(), error.is_transport());
    }
    assert!(start.elapsed() < LIMIT, "a call took {:?}", start.elapsed());
}

fn call(c: &Client, what: u8) -> Result<(), CtlError> {
    let (svc, dev16, dev32) = (
        Service::default(),
        Name::<16>::default(),
        Name::<32>::default(),
    );
    match what % 34 {
        0 => c.info().map(drop),
        1 => c.version().map(drop),
        2 => c.services(0).map(drop),
        3 => c.service(&svc).map(drop),
        4 => c.dests(&svc, 0).map(drop),
        5 => c
            .dests(
                &Service {
                    num_dests: 2,
                    ..svc
                },
                1,
            )
            .map(drop),
        6 => c.laddrs(&svc, 0).map(drop),
        7 => c.blacklist().map(drop),
        8 => c.whitelist().map(drop),
        9 => c.conns(false).map(drop),
        10 => c.conns(true).map(drop),
        11 => c.conn(&SockPair::default()).map(drop),
        12 => c
            .ifaddrs(
                &IfAddr::default(),
                IfAddrView {
                    verbose: true,
                    stats: true,
                },
            )
            .map(drop),
        13 => c.ifmaddrs(&dev16).map(drop),
        14 => c.routes(&dev16).map(drop),
        15 => c.routes6(&dev16).map(drop),
        16 => c.neighs(&Neigh::default()).map(drop),
        17 => c.ports().map(drop),
        18 => c.port(&dev32).map(drop),
        19 => c.port_stats(&dev32).map(drop),
        20 => c.port_xstats(&dev32).map(drop),
        21 => c.port_ext(&dev32).map(drop),
        22 => c.port_maddrs(&dev16).map(drop),
        23 => c.bond(&dev32).map(drop),
        24 => c.lcores().map(drop),
        25 => c.lcore(1).map(drop),
        26 => c.lcore_stats(1).map(drop),
        27 => c.vlans(&Vlan::default()).map(drop),
        28 => c.ip6_stats().map(drop),
        29 => c.add_dest(&svc, &Dest::default()),
        30 => c.add_laddr(&LaddrTable::default()),
        31 => c.add_blacklist(&AclConf::default()),
        32 => c.get_bare::<Neigh>(id::GET_NEIGH_SHOW, &[]).map(drop),
        _ => c.get(id::SO_GET_INFO, &[]).map(drop),
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let body = |what: u8, body: &[u8]| {
        let mut seed = vec![what, 0xff];
        for _ in 0..3 {
            seed.extend((body.len() as u16).to_le_bytes());
            seed.extend(body);
        }
        seed
    };
    let mut all: Vec<Vec<u8>> = (0..34).map(|n| body(n, &[0; 16])).collect();
    all.push(body(
        9,
        &[&[1, 0, 0, 0, 2, 0, 0, 0, 1][..], &[0; 104]].concat(),
    ));
    all.push(body(7, &[0, 0, 0, 0]));
    all.push(body(14, &[&[1, 0, 0, 0][..], &[0; 112]].concat()));
    all.push(body(
        20,
        &[&[1, 0, 0, 0, 16, 0, 0, 0][..], &[0; 16]].concat(),
    ));
    all
}
