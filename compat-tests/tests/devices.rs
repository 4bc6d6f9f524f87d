//! VLAN devices and tunnels end to end: real programs of a client's kernel behind a
//! tap or tun device whose other side tags or encapsulates in user space
//! (`peers/`), the real daemon and tools, nginx behind it.

use std::process::Command;
use std::time::Duration;

use compat_tests::error::Context;
use compat_tests::lab::{Lab, addr, url};
use compat_tests::privilege::root_or_skip;
use compat_tests::spawn::{Lifetime, Process};
use compat_tests::{Result, bins, wait};
use dpvs_ctl::msg::Vlan;
use dpvs_ctl::{Client, Kind, Name, Wire, id};

const SOON: Duration = Duration::from_secs(10);

/// Starts a peer in the client's namespace and gives its interface an address.
fn peer(lab: &Lab, script: &str, device: &str, args: &[&str], prefix: &str) -> Result<Process> {
    let path = bins::repository()?.join("compat-tests/peers").join(script);
    let mut command: Command = lab.client.command("python3");
    command.arg(path).args(args);
    let log = lab.file(&format!("{device}.out"));
    let mut process = Process::start(script, &command, &log, Lifetime::Bound)?;
    wait::until_true(&format!("{script} to run"), SOON, || {
        process.still_running()?;
        Ok(std::fs::read_to_string(&log).is_ok_and(|text| text.contains("ready")))
    })?;
    lab.client
        .sysctl(&format!("net.ipv6.conf.{device}.accept_dad"), "0")?;
    lab.client.ip(&["addr", "add", prefix, "dev", device])?;
    lab.client.ip(&["link", "set", device, "up"])?;
    Ok(process)
}

fn dpip(lab: &Lab, line: &str) -> Result<String> {
    lab.dpip(&line.split(' ').collect::<Vec<_>>())?.success()
}

/// A web service at `vip` on `device`, with local addresses inside.
fn service(lab: &Lab, vip: &str, device: &str) -> Result<()> {
    dpip(lab, &format!("addr add {vip}/32 dev {device}"))?;
    for line in [
        format!("-A -t {vip}:80 -s rr"),
        format!("-a -t {vip}:80 -r {}:80 -b", addr::RS4[0]),
        format!("-a -t {vip}:80 -r {}:80 -b", addr::RS4[1]),
        format!("-P -t {vip}:80 -z 10.0.1.199 -F dpdk1"),
    ] {
        lab.ipvsadm(&line.split(' ').collect::<Vec<_>>())?
            .success()?;
    }
    Ok(())
}

fn served(lab: &Lab, vip: &str) -> Result<()> {
    let tally = lab.requests(&url(vip, "/"), 10)?;
    assert_eq!(tally.failures, Vec::<String>::new(), "through {vip}");
    assert!(tally.by_server.iter().all(|&n| n > 0), "{tally:?}");
    Ok(())
}

/// One of the counters `dpip -s link show` lists for a device, by its column.
fn counter(lab: &Lab, device: &str, column: usize) -> Result<u64> {
    let text = dpip(lab, &format!("-s link show {device}"))?;
    let values = text
        .lines()
        .skip_while(|line| !line.contains("ipackets"))
        .nth(1);
    let value = values.and_then(|line| line.split_whitespace().nth(column));
    Ok(value.and_then(|v| v.parse().ok()).unwrap_or_default())
}

#[test]
fn a_tagged_client_is_served_on_its_vlan() -> Result<()> {
    if !root_or_skip("a_tagged_client_is_served_on_its_vlan")? {
        return Ok(());
    }
    let mut lab = Lab::for_test("vlan")?;
    lab.with_logs(|lab| {
        let _peer = peer(
            lab,
            "tagger.py",
            "v100",
            &["eth0", "v100", "100"],
            "203.0.113.100/24",
        )?;
        dpip(lab, "vlan add link dpdk0 id 100")?;
        dpip(lab, "addr add 203.0.113.1/24 dev dpdk0.100")?;
        service(lab, "203.0.113.10", "dpdk0.100")?;
        served(lab, "203.0.113.10")?;
        // Without the tag as before; the VLAN's addresses are not on the wire itself.
        served(lab, addr::VIP4)?;
        assert!(lab.ping("203.0.113.1")?);
        // A MAC address of the device's own.
        dpip(lab, "link set dpdk0.100 addr 02:00:00:00:64:01")?;
        lab.client.ip(&["neigh", "flush", "dev", "v100"])?;
        served(lab, "203.0.113.10")?;
        let seen = lab.client.ip(&["neigh", "show", "dev", "v100"])?;
        assert!(seen.contains("02:00:00:00:64:01"), "{seen}");
        // The kernel's end of the VLAN, which has the new MAC address, too.
        let kni = ["addr", "add", "203.0.113.2/24", "dev", "dpdk0.100.kni"];
        lab.director.ip(&kni)?;
        dpip(lab, "route add 203.0.113.2/32 scope kni_host dev dpdk0.100")?;
        wait::until_true("the kernel to answer on the VLAN", SOON, || {
            lab.ping("203.0.113.2")
        })?;
        for column in 0..4 {
            assert!(counter(lab, "dpdk0.100", column)? > 20, "column {column}");
        }
        let shown = dpip(lab, "link show dpdk0.100")?;
        assert!(shown.contains("addr 02:00:00:00:64:01"), "{shown}");
        // Gone, with the kernel's interface; and there again.
        dpip(lab, "vlan del dpdk0.100")?;
        assert!(!lab.ping("203.0.113.1")?);
        wait::until_true("dpdk0.100.kni to go", SOON, || {
            let links = lab.director.ip(&["-br", "link"])?;
            Ok(!links.contains("dpdk0.100.kni"))
        })?;
        // However soon: the kernel's old interface is not in the way of the new one.
        dpip(lab, "vlan add link dpdk0 id 100")?;
        let vlan = Vlan {
            real_dev: Name::truncated("dpdk0"),
            vlan_proto: 0x8100,
            vlan_id: 100,
            ..Vlan::default()
        };
        let mut pipe = Client::at(lab.file("dpvs.ipc")).session();
        for together in [false, true, false, true] {
            for id in [id::SET_VLAN_DEL, id::SET_VLAN_ADD] {
                pipe.send(id, Kind::Set, &vlan.encode());
                if !together {
                    pipe.recv().what(|| "one after the other")?;
                }
            }
            while pipe.pending() > 0 {
                pipe.recv().what(|| "both at once")?;
            }
            let links = lab.director.ip(&["-br", "link"])?;
            assert!(links.contains("dpdk0.100.kni"), "{together}: {links}");
        }
        dpip(lab, "addr add 203.0.113.1/24 dev dpdk0.100")?;
        dpip(lab, "addr add 203.0.113.10/32 dev dpdk0.100")?;
        lab.client.ip(&["neigh", "flush", "dev", "v100"])?;
        served(lab, "203.0.113.10")?;
        served(lab, addr::VIP4)?;
        // The port's own MAC address: the device without one follows, and the kernel.
        dpip(lab, "link set dpdk0 addr 02:00:00:00:64:02")?;
        for host in ["dpdk0.kni", "dpdk0.100.kni"] {
            let shown = lab.director.ip(&["link", "show", host])?;
            assert!(shown.contains("02:00:00:00:64:02"), "{shown}");
        }
        lab.client.ip(&["neigh", "flush", "all"])?;
        served(lab, "203.0.113.10")?;
        served(lab, addr::VIP4)?;
        lab.still_running()
    })
}

#[test]
fn tunnels_carry_real_clients() -> Result<()> {
    if !root_or_skip("tunnels_carry_real_clients")? {
        return Ok(());
    }
    let mut lab = Lab::for_test("tunnel")?;
    lab.with_logs(|lab| {
        let ends = format!("local {} remote {}", addr::OUTSIDE4, addr::CLIENT4);
        for (device, net, words, options) in [
            ("ti", 1, "mode ipip", &["ipip"][..]),
            (
                "tg",
                2,
                "mode gre key 7 csum seq",
                &["gre", "key=7", "csum", "seq"][..],
            ),
        ] {
            let args = [&[device, addr::CLIENT4, addr::OUTSIDE4], options].concat();
            let prefix = format!("172.31.{net}.100/24");
            let _peer = peer(lab, "tunnel.py", device, &args, &prefix)?;
            dpip(lab, &format!("tunnel add {device} {words} {ends}"))?;
            dpip(lab, &format!("addr add 172.31.{net}.1/24 dev {device}"))?;
            wait::until_true(&format!("{device} to answer"), SOON, || {
                lab.ping(&format!("172.31.{net}.1"))
            })?;
            let vip = format!("172.31.{net}.10");
            service(lab, &vip, device)?;
            served(lab, &vip)?;
            // Segments that fill the tunnel, both ways.
            let answer = lab.upload(&lab.client, 300_000, &url(&vip, "/upload"))?;
            assert!(answer.ends_with(" 300000\n"), "{device}: {answer}");
            assert!(counter(lab, device, 0)? > 200 && counter(lab, device, 1)? > 50);
            let shown = dpip(lab, &format!("tunnel show {device}"))?;
            assert!(shown.contains(addr::CLIENT4), "{shown}");
            dpip(lab, &format!("tunnel del {device}"))?;
            assert!(!lab.ping(&format!("172.31.{net}.1"))?);
        }
        served(lab, addr::VIP4)?;
        lab.still_running()
    })
}
