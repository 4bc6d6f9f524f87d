//! Words in, message out; message in, lines out.

use super::*;
use dpvs_ctl::msg::{QstatBytes, QstatQueue, TbfRate};
use proptest::prelude::*;

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn qsch(line: &str, command: Command) -> Result<TcQsch, Failure> {
    let spec = parse(&words(line)).map_err(|failure| failure.at("parse"))?;
    check(&spec, command).map_err(|failure| failure.at("check"))?;
    Ok(spec.message())
}

#[test]
fn kinds_and_their_options() {
    let fifo = qsch(
        "dev dpdk0 handle 1: parent root pfifo limit 128",
        Command::Add,
    )
    .unwrap();
    assert_eq!((fifo.handle, fifo.parent), (0x1_0000, tc_handle::ROOT));
    assert_eq!(fifo.qopt.read::<FifoOpt>().limit, 128);
    let tbf = qsch(
        "dev dpdk0 root tbf rate 10m burst 50000 latency 10 peakrate 20M mtu 1500",
        Command::Add,
    );
    let tbf = tbf.unwrap();
    assert_eq!((tbf.handle, tbf.parent), (tc_handle::ROOT, 0));
    let rate = |rate| TbfRate {
        rate,
        ..TbfRate::default()
    };
    assert_eq!(
        tbf.qopt.read::<TbfOpt>(),
        TbfOpt {
            rate: rate(10_000_000),
            peakrate: rate(20_000_000),
            limit: 12_500,
            buffer: 50_000,
            mtu: 1500
        }
    );
    let unit = qsch(
        "dev dpdk0 root tbf rate 10m burst 1 latency 2ms",
        Command::Add,
    )
    .unwrap();
    assert_eq!(unit.qopt.read::<TbfOpt>().limit, 2_500);
    let fast = qsch("pfifo_fast ingress dev dpdk0", Command::Replace).unwrap();
    assert_eq!(
        (fast.handle, fast.qopt),
        (tc_handle::INGRESS, Blob::default())
    );
}

#[test]
fn complaints() {
    for (line, command, complaint, step) in [
        (
            "root pfifo limit 1",
            Command::Add,
            "missing device.",
            "check",
        ),
        ("dev d", Command::Del, "missing handle.", "check"),
        (
            "dev d pfifo limit 1",
            Command::Set,
            "missing handle.",
            "check",
        ),
        (
            "dev d root bfifo",
            Command::Add,
            "missing limit for fifo.",
            "check",
        ),
        (
            "dev d root tbf burst 1",
            Command::Add,
            "missing rate for tbf.",
            "check",
        ),
        (
            "dev d root tbf rate 1k",
            Command::Replace,
            "missing buffer for tbf.",
            "check",
        ),
        ("dev d root", Command::Add, "invalid qsch kind.", "check"),
        (
            "dev d root pfifo_fast",
            Command::Set,
            "qsch kind 'pfifo_fast' doesn't support SET.",
            "check",
        ),
        (
            "dev d tbf rate 5x",
            Command::Add,
            "invalid rate: '5x'",
            "parse",
        ),
        (
            "dev d tbf rate 5g",
            Command::Add,
            "invalid rate: '5g'",
            "parse",
        ),
        (
            "dev d tbf peakrate",
            Command::Add,
            "missing argument for `peakrate'",
            "parse",
        ),
        (
            "dev d tbf peakrate -1",
            Command::Add,
            "invalid peakrate: '-1'",
            "parse",
        ),
        (
            "dev d tbf latency 5 rate 1m",
            Command::Add,
            "latency set before rate ?",
            "parse",
        ),
        (
            "dev d pfifo rate 5",
            Command::Add,
            "invalid option for pfifo: 'rate'",
            "parse",
        ),
        (
            "dev d pfifo deep",
            Command::Add,
            "invalid option for pfifo: 'deep'",
            "parse",
        ),
        (
            "dev d htb",
            Command::Add,
            "invalid/miss qsch kind: 'htb'",
            "parse",
        ),
        (
            "dev d limit 5",
            Command::Add,
            "invalid/miss qsch kind: 'limit'",
            "parse",
        ),
        (
            "dev d handle x",
            Command::Add,
            "invalid handle: 'x' (MAJOR:MINOR in hexadecimal, root or ingress)",
            "parse",
        ),
    ] {
        let lines = qsch(line, command).unwrap_err().lines("dpip");
        let last = format!("dpip: {step}: invalid parameter");
        assert_eq!(lines, [complaint.to_owned(), last], "{line}");
    }
}

#[test]
fn lines() {
    let dev = Name::truncated("dpdk0");
    let mut options = Options::default();
    let fifo = TcQsch {
        cid: 2,
        handle: 0x1_0000,
        parent: tc_handle::ROOT,
        kind: Name::truncated("bfifo"),
        qopt: Blob::of(&FifoOpt { limit: 4096 }),
        cls_cnt: 1,
        qstats: QstatQueue {
            qlen: 5,
            backlog: 6,
            drops: 7,
            requeues: 9,
            overlimits: 8,
        },
        bstats: QstatBytes {
            bytes: 3,
            packets: 4,
        },
        ..TcQsch::default()
    };
    assert_eq!(
        text(&fifo, &dev, &options),
        "qsch bfifo 1: dev dpdk0 parent root flags 0x0 cls 1 limit 4096\n"
    );
    options.verbose = true;
    options.stats = true;
    assert_eq!(
        text(&fifo, &dev, &options),
        "[02] qsch bfifo 1: dev dpdk0 parent root flags 0x0 cls 1 limit 4096\n \
         Sent 3 bytes 4 pkts (dropped 7, overlimits 8 requeues 9)\n \
         Backlog 6 bytes 5 pkts\n"
    );
    assert_eq!(rate_text(999), "999bps");
    assert_eq!(rate_text(1_500), "1.50Kbps");
    assert_eq!(rate_text(10_000_000), "10.00Mbps");
    assert_eq!(rate_text(4_294_967_295), "4.29Gbps");
}

proptest! {
    #[test]
    fn any_words_give_an_answer(line in "((dev|handle|parent|root|tbf|pfifo|rate|burst|limit|latency|1:|10m|\\PC{0,6}) ){0,9}") {
        for command in [Command::Add, Command::Del, Command::Show] {
            if let Err(failure) = qsch(&line, command) {
                prop_assert!(failure.lines("dpip").len() >= 2);
            }
        }
    }

    #[test]
    fn rates(word in "[0-9]{1,12}[kKmMgGx]?") {
        let _ = rate("rate", &word);
    }
}
