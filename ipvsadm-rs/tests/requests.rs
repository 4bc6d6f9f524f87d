//! The bytes that command lines send, as captured from the C tool of DPVS 1.10
//! talking to a recording server; zeros where that leaves garbage of its stack.

#![allow(clippy::unwrap_used)]

mod common;

use common::Daemon;
use dpvs_ctl::id;

/// A body of `len` zeros with these bytes (hex) at these places.
fn body(len: usize, pieces: &[(usize, &str)]) -> Vec<u8> {
    let mut out = vec![0; len];
    for (at, hex) in pieces {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        for (i, pair) in digits.chunks(2).enumerate() {
            let text = std::str::from_utf8(pair).unwrap();
            out[at + i] = u8::from_str_radix(text, 16).unwrap();
        }
    }
    out
}

/// What a command line sends to a daemon that says yes to everything it knows.
fn sent(d: &Daemon, line: &str) -> Vec<(u32, Vec<u8>)> {
    d.state().log.clear();
    d.ok(line);
    std::mem::take(&mut d.state().log)
}

fn same(got: &[(u32, Vec<u8>)], want: &[(u32, Vec<u8>)]) {
    assert_eq!(
        got.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
        want.iter().map(|(id, _)| *id).collect::<Vec<_>>()
    );
    for ((id, got), (_, want)) in got.iter().zip(want) {
        assert_eq!(got.len(), want.len(), "length of message {id}");
        for (at, (g, w)) in got.iter().zip(want).enumerate() {
            assert_eq!(g, w, "message {id}, byte {at}");
        }
    }
}

#[test]
fn services() {
    let d = Daemon::start();
    same(
        &sent(
            &d,
            "ipvsadm -A -t 192.168.88.1:80 -s conhash --conn-timeout 60 --proxy-protocol v2 \
             --dest-check=default --dest-check tcp -j enable",
        ),
        &[(
            id::SO_SET_ADD,
            body(
                264,
                &[
                    (
                        0,
                        "02000000 06 02 0050 00000000 08010000 00000000 3c000000 ffffffff",
                    ),
                    (36, "c0a85801"),
                    (52, "636f6e68617368"),
                    (256, "03 01 01 03 0500 100e"),
                ],
            ),
        )],
    );
    same(
        &sent(&d, "ipvsadm -A -f 7 -6 -s rr"),
        &[(
            id::SO_SET_ADD,
            body(
                264,
                &[
                    (0, "0a000000 06 00 0000 07000000"),
                    (24, "80000000"),
                    (52, "7272"),
                ],
            ),
        )],
    );
    same(
        &sent(
            &d,
            "ipvsadm -A -H proto=tcp,src-range=10.0.0.1-10.0.0.9,oif=dpdk0 -s rr",
        ),
        &[(
            id::SO_SET_ADD,
            body(
                264,
                &[
                    (0, "02000000 06"),
                    (12, "00040000"),
                    (24, "ffffffff"),
                    (52, "7272"),
                    (68, "02000000 0a000001"),
                    (88, "0a000009"),
                    (160, "6470646b30"),
                ],
            ),
        )],
    );
    same(&sent(&d, "ipvsadm -C"), &[(id::SO_SET_FLUSH, Vec::new())]);
}

#[test]
fn servers_and_what_belongs_to_services() {
    let d = Daemon::start();
    d.ok("ipvsadm -A -t 192.168.88.1:80");
    let key = "02000000 06 00 0050";
    // Without a port the C tool sends what is on its stack; ours the service's.
    same(
        &sent(
            &d,
            "ipvsadm -a -t 192.168.88.1:80 -r 192.168.88.30 -b -w 50 -x 100 -y 10",
        ),
        &[(
            id::SO_SET_ADDDEST,
            body(
                384,
                &[
                    (0, key),
                    (36, "c0a85801"),
                    (264, "02000000 0050 0000 32000000 c0a8581e"),
                    (292, "0500 0000 05000000 64000000 0a000000"),
                ],
            ),
        )],
    );
    same(
        &sent(
            &d,
            "ipvsadm -P -t 192.168.88.1:80 -z 192.168.88.200 -F dpdk0",
        ),
        &[
            (
                id::SET_IFADDR_ADD,
                body(
                    76,
                    &[
                        (0, "02000000"),
                        (8, "02000000"),
                        (20, "00000100"),
                        (24, "6470646b30"),
                        (56, "c0a858c8"),
                        (72, "20"),
                    ],
                ),
            ),
            (
                id::SET_LADDR_ADD,
                body(
                    184,
                    &[
                        (0, "02000000 06"),
                        (8, "c0a85801"),
                        (24, "0050"),
                        (144, "02000000 c0a858c8"),
                        (164, "6470646b30"),
                    ],
                ),
            ),
        ],
    );
    same(
        &sent(&d, "ipvsadm -U -t 192.168.88.1:80 -k ipset:deny"),
        &[(
            id::SET_BLKLST_ADD,
            body(68, &[(0, "c0a85801"), (16, "0050 06 02"), (36, "64656e79")]),
        )],
    );
}

#[test]
fn questions() {
    let d = Daemon::start();
    let log = sent(&d, "ipvsadm -Ln");
    assert_eq!(log[0], (id::SO_GET_INFO, vec![0; 12]));
    let services = log.iter().find(|(i, _)| *i == id::SO_GET_SERVICES);
    assert_eq!(services.unwrap().1, vec![0; 8]);
}

/// What has no room in DPVS's messages goes whole in one of our own, and
/// nothing goes in theirs.
#[test]
fn messages_of_our_own() {
    let d = Daemon::start();
    d.ok("ipvsadm -A -t 192.168.88.1:80");
    d.state().log.clear();
    let (code, _, err) = d.sh(
        "ipvsadm -a -t 192.168.88.1:80 -r 10.0.0.9:80 -T 10.182.6.87-10.182.4.59-5015 -m -w 100",
    );
    assert_eq!(
        (code, err.as_str()),
        (255, "this dpvs does not support -T\n")
    );
    let want = body(
        436,
        &[
            (0, "02000000 06 00 0050"),
            (36, "c0a85801"),
            (264, "02000000 0050 0000 64000000 0a000009"),
            (384, "03000000"),
            (396, "97130000 02000000 0ab60657"),
            (420, "0ab6043b"),
        ],
    );
    let log = std::mem::take(&mut d.state().log);
    same(&log, &[(id::SET_DEST_ADD_EXT, want)]);
    for line in [
        "ipvsadm -A -t 192.168.88.2:80 -p --pe sip",
        "ipvsadm --set 1 2 3",
    ] {
        let (code, _, err) = d.sh(line);
        assert_eq!(code, 255);
        assert!(err.starts_with("this dpvs does not support -"), "{err}");
    }
    assert!(d.state().services[0].dests.is_empty() && d.state().services.len() == 1);
}
