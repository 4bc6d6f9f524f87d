//! How ports spread packets over queues, and steering by flow rules, on DPDK's
//! virtual devices: what the driver says is read back, and a driver that cannot
//! says so.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use dpvs::port::{Eal, Pool, Port, PortConf, Ready, RssKey, Steer, rss_types};
use dpvs_core::frame::WorkerId;
use dpvs_core::rss::{DEFAULT_KEY, Nic};
use dpvs_core::service::{TCP, UDP};

fn eal() -> Eal {
    let prefix = format!("dpvs_spread_{}", std::process::id());
    let eal = Eal::init(&[
        "--lcores=0@0",
        "--no-huge",
        "--no-shconf",
        "--no-pci",
        "--no-telemetry",
        "-m",
        "64",
        "--log-level=4",
        &format!("--file-prefix={prefix}"),
        "--vdev=net_null0",
        "--vdev=net_ring0",
    ])
    .unwrap();
    for base in ["/var/run/dpdk", "/tmp/dpdk"] {
        let _ = std::fs::remove_dir_all(format!("{base}/{prefix}"));
    }
    eal
}

fn start(eal: &Eal, name: &str, queues: u16, rss: u64) -> Ready {
    let pool = Pool::create(eal, &format!("of_{name}"), 2047, 32, 0).unwrap();
    let conf = PortConf {
        rx_queues: queues,
        tx_queues: queues,
        rss,
        rss_key: RssKey::Standard,
        ..PortConf::default()
    };
    let ready = Port::by_name(eal, name)
        .unwrap()
        .configure(&conf, pool)
        .unwrap();
    ready.port.start(&conf).unwrap();
    ready
}

#[test]
fn spreading_is_read_from_the_port() {
    let eal = eal();
    let null = start(&eal, "net_null0", 3, rss_types("all").unwrap());
    let spreading = null.port.spreading().unwrap();
    let info = null.port.info().unwrap();
    assert_eq!(spreading.table.len(), usize::from(info.reta_size));
    for queue in 0..3 {
        let count = spreading.table.iter().filter(|q| **q == queue).count();
        assert!(count >= spreading.table.len() / 4, "queue {queue}: {count}");
    }
    assert_eq!(spreading.key, DEFAULT_KEY);
    assert!(spreading.hashed.ports(TCP, false) && spreading.hashed.ports(UDP, true));
    let table: Vec<_> = spreading
        .table
        .iter()
        .map(|q| Some(WorkerId(*q as u8)))
        .collect();
    let nic = Nic::new(&spreading.key, spreading.hashed, &table, None, 3).unwrap();
    assert!(nic.matches(TCP, false));

    let steer = Steer {
        addr: "192.0.2.1".parse().unwrap(),
        tcp: true,
        port: 1,
        mask: 3,
        queue: 1,
        fuzzy: false,
    };
    // Neither hashes nor takes rules.
    let ring = start(&eal, "net_ring0", 1, 0);
    for port in [&null.port, &ring.port] {
        let error = port.can_steer(&steer).unwrap_err();
        assert!(error.unsupported(), "{error}");
        assert!(port.steer(&steer).is_err());
    }
    let error = ring.port.spreading().unwrap_err();
    assert!(error.unsupported(), "{error}");
}
