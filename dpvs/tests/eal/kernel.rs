//! Ports that meet the kernel: the host port, af_packet.

use std::time::{Duration, Instant};

use dpvs::port::{Batch, HostPort, PortConf};
use dpvs_core::frame::empty_burst;

use super::{drain, open, packet, pool};
use crate::eal_lab::{self, lab};

#[test]
fn kernel_speaks_through_the_host_port() {
    if !lab().enter_netns("host port on a tap") {
        return;
    }
    let pool = pool("host", 4095);
    let mac = [0x02, 0, 0, 0, 0x77, 0x01];
    let mut host = HostPort::create(&lab().eal, "dpdk0.kni", mac, 1400, pool).unwrap();
    let link = eal_lab::run("ip", &["-o", "link", "show", "dpdk0.kni"]);
    assert!(link.contains("mtu 1400") && link.contains("UP"), "{link}");
    assert!(link.contains("02:00:00:00:77:01"), "{link}");
    eal_lab::run("ip", &["addr", "add", "10.9.1.1/24", "dev", "dpdk0.kni"]);

    let mut slots = empty_burst();
    eal_lab::udp_over_arp("10.9.1.1", "10.9.1.2", |reply| {
        let mut got = Vec::new();
        if let Some(bytes) = reply {
            let mut batch = Batch::new();
            batch.push(packet(&pool, bytes)).unwrap();
            assert_eq!(host.send(&mut batch), 0);
        }
        host.receive(&mut slots);
        got.extend(drain(&mut slots));
        got
    });
    drop(host);
    assert_eq!(pool.in_use(), 0);
    // A child of another test may hold the tap for a moment.
    let end = Instant::now() + Duration::from_secs(10);
    while eal_lab::run("ip", &["-o", "link", "show"]).contains("dpdk0.kni") {
        assert!(Instant::now() < end, "not removed with the host port");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn host_port_names_are_checked() {
    let pool = pool("hostname", 63);
    for name in ["", "a,b", "a b", "sixteen-letters.", "x/y"] {
        let error = HostPort::create(&lab().eal, name, [2, 0, 0, 0, 0, 1], 1500, pool).unwrap_err();
        assert!(error.to_string().contains("kni_name"), "{error}");
    }
}

#[test]
fn af_packet_port_meets_the_kernel() {
    if !lab().enter_netns("af_packet on a veth pair") {
        return;
    }
    let pool = pool("afpacket", 4095);
    let conf = PortConf {
        promiscuous: true,
        ..PortConf::default()
    };
    let (port, mut rx, mut tx) = open("net_af_packet0", &conf, pool);
    assert!(port.wait_link(Duration::from_secs(5)).up);
    let mut slots = empty_burst();
    eal_lab::udp_over_arp("10.9.2.1", "10.9.2.2", |reply| {
        if let Some(bytes) = reply {
            let mut batch = Batch::new();
            batch.push(packet(&pool, bytes)).unwrap();
            assert_eq!(tx.flush(&mut batch), 0);
        }
        rx.burst(&mut slots);
        drain(&mut slots)
    });
    port.stop().unwrap();
    assert_eq!(pool.in_use(), 0);
}
