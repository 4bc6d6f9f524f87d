//! The exception path end to end: copies of frames (`forward2kni`), groups the kernel
//! joins, addresses given to it by flow, lcores that serve it or only receive, and a
//! neighbour that has an address of ours.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use compat_tests::frames::Wire;
use compat_tests::lab::{Lab, START, addr, url};
use compat_tests::netns::Netns;
use compat_tests::privilege::root_or_skip;
use compat_tests::run;
use compat_tests::spawn::{Lifetime, Process};
use compat_tests::{Context, Error, Result, wait};

const SOON: Duration = Duration::from_secs(10);

/// A lab with one web service and no keepalived.
fn lab(test: &str, lcores: usize, edit: impl FnOnce(String) -> String) -> Result<Lab> {
    let mut lab = Lab::wires(&format!("k{}-{test}", std::process::id()), Lifetime::Bound)?;
    lab.start_dpvs_on(lcores, edit)?;
    lab.start_nginx(0)?;
    dpip(&lab, "addr add 192.0.2.10/32 dev dpdk0")?;
    for line in [
        "-A -t 192.0.2.10:80 -s rr",
        "-P -t 192.0.2.10:80 -z 10.0.1.201 -F dpdk1",
        "-a -t 192.0.2.10:80 -r 10.0.1.11:80 -b",
    ] {
        let args: Vec<&str> = line.split(' ').collect();
        lab.ipvsadm(&args)?.success()?;
    }
    Ok(lab)
}

fn dpip(lab: &Lab, line: &str) -> Result<String> {
    lab.dpip(&line.split(' ').collect::<Vec<_>>())?.success()
}

/// tshark on an interface of the director, until it has that many frames.
fn watch(lab: &Lab, device: &str, filter: &str, count: &str) -> Result<Process> {
    let mut command = lab.director.command("tshark");
    command.args(["-l", "-i", device, "-f", filter, "-c", count]);
    command.args(["-o", "tcp.check_checksum:TRUE", "-T", "fields"]);
    for field in [
        "ip.src",
        "ip.dst",
        "tcp.checksum.status",
        "http.request.method",
    ] {
        command.args(["-e", field]);
    }
    let log = lab.file("tshark.out");
    let process = Process::start("tshark", &command, &log, Lifetime::Bound)?;
    wait::until_true("tshark to capture", START, || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        Ok(text.contains("Capturing on"))
    })?;
    Ok(process)
}

#[test]
fn the_kernel_gets_copies_of_both_directions() -> Result<()> {
    if !root_or_skip("the_kernel_gets_copies_of_both_directions")? {
        return Ok(());
    }
    let mut lab = lab("copies", 1, |conf| conf)?;
    lab.with_logs(|lab| {
        assert_eq!(lab.get(&url(addr::VIP4, "/"))?, "rs1\n");
        dpip(lab, "link set dpdk0 forward2kni on")?;
        let shown = dpip(lab, "link show dpdk0")?;
        assert!(shown.contains("2kni"), "{shown}");
        // What the kernel sends itself it does not get again: as many requests as replies.
        let mut own = watch(lab, "dpdk0.kni", "icmp", "6")?;
        wait::until_true("six frames", SOON, || {
            // tshark says that it captures a little before it does.
            lab.director
                .must("ping", &["-n", "-c", "1", "-W", "2", addr::CLIENT4])?;
            Ok(own.exited()?.is_some())
        })?;
        let text = std::fs::read_to_string(lab.file("tshark.out")).what(|| "tshark.out")?;
        let count = |src: &str, dst: &str| {
            let from = format!("{src}\t{dst}");
            text.lines().filter(|l| l.starts_with(&from)).count()
        };
        let sent = count(addr::KERNEL4, addr::CLIENT4);
        let replies = count(addr::CLIENT4, addr::KERNEL4);
        assert!(sent > 1 && sent.abs_diff(replies) <= 1, "{text}");
        std::fs::remove_file(lab.file("tshark.out")).what(|| "tshark.out")?;
        // Requests and their answers, as they are on the wire.
        let mut http = watch(lab, "dpdk0.kni", "tcp port 80", "30")?;
        wait::until_true("the frames of requests", SOON, || {
            assert_eq!(lab.get(&url(addr::VIP4, "/"))?, "rs1\n");
            Ok(http.exited()?.is_some())
        })?;
        let text = std::fs::read_to_string(lab.file("tshark.out")).what(|| "tshark.out")?;
        let lines = |src: &str, dst: &str| {
            let from = format!("{src}\t{dst}\t");
            text.lines().filter(|l| l.starts_with(&from)).count()
        };
        assert!(lines(addr::CLIENT4, addr::VIP4) >= 4, "{text}");
        assert!(lines(addr::VIP4, addr::CLIENT4) >= 3, "{text}");
        assert!(text.contains("\tGET"), "{text}");
        let good = |l: &str| {
            l.split('\t')
                .nth(2)
                .is_some_and(|s| s == "1" || s == "Good")
        };
        let tcp = text.lines().filter(|l| l.contains(addr::VIP4));
        assert!(tcp.clone().count() > 0 && tcp.clone().all(good), "{text}");
        dpip(lab, "link set dpdk0 forward2kni off")?;
        lab.still_running()
    })
}

/// A socket of the kernel behind dpdk0.kni that has joined a group.
fn listener(lab: &Lab, group: Ipv4Addr) -> Result<UdpSocket> {
    lab.director.enter(|| {
        let socket = UdpSocket::bind((group, 5405)).what(|| "group")?;
        let on: Ipv4Addr = addr::KERNEL4.parse().what(|| "address")?;
        socket.join_multicast_v4(&group, &on).what(|| "join")?;
        let limit = Some(Duration::from_secs(2));
        socket.set_read_timeout(limit).what(|| "limit")?;
        Ok(socket)
    })
}

/// Sends to a group from the client by `device`.
fn shout(ns: &Netns, group: Ipv4Addr, from: &str) -> Result<()> {
    ns.enter(|| {
        let ip: Ipv4Addr = from.parse().what(|| "address")?;
        let socket = UdpSocket::bind((ip, 0)).what(|| "socket")?;
        socket.send_to(b"to all", (group, 5405)).what(|| "send")?;
        Ok(())
    })
}

#[test]
fn groups_of_the_kernel_are_heard() -> Result<()> {
    if !root_or_skip("groups_of_the_kernel_are_heard")? {
        return Ok(());
    }
    let mut lab = lab("groups", 1, |conf| conf)?;
    lab.with_logs(|lab| {
        let group = Ipv4Addr::new(224, 0, 1, 77);
        let socket = listener(lab, group)?;
        let mac = "01:00:5e:00:01:4d";
        let heard = |mac: &str| Ok(dpip(lab, "maddr show dev dpdk0")?.contains(mac));
        wait::until_true("the group to be heard", SOON, || heard(mac))?;
        lab.client
            .ip(&["route", "add", "224.0.0.0/4", "dev", "eth0"])?;
        shout(&lab.client, group, addr::CLIENT4)?;
        let mut buf = [0; 64];
        let (n, from) = socket
            .recv_from(&mut buf)
            .what(|| "a datagram to the group")?;
        assert_eq!(&buf[..n], b"to all");
        assert_eq!(from.ip().to_string(), addr::CLIENT4);
        drop(socket);
        wait::until_true("the group to be left", SOON, || Ok(!heard(mac)?))?;
        // A VLAN device's twin: the port below hears for it.
        dpip(lab, "vlan add link dpdk0 id 100")?;
        let twin = ["maddr", "add", "01:00:5e:01:02:03", "dev", "dpdk0.100.kni"];
        lab.director.ip(&twin)?;
        let mac = "01:00:5e:01:02:03";
        wait::until_true("the twin's group to be heard", SOON, || heard(mac))?;
        dpip(lab, "vlan del dpdk0.100")?;
        wait::until_true("the twin's group to be left", SOON, || Ok(!heard(mac)?))?;
        lab.still_running()
    })
}

/// Host ports moved by an lcore of their own, the clients' queue polled by another.
#[test]
fn the_kernel_and_the_clients_have_lcores_of_their_own() -> Result<()> {
    if !root_or_skip("the_kernel_and_the_clients_have_lcores_of_their_own")? {
        return Ok(());
    }
    let mut lab = lab("lcores", 3, |conf| {
        let port = "port    dpdk0 {\n            rx_queue_ids    0\n";
        assert!(conf.contains(port), "the lab's configuration has changed");
        let isolated =
            format!("{port}            isol_rx_cpu_ids 3\n            isol_rxq_ring_sz 8192\n");
        let kni = "worker_defs {\n    <init> worker cpu2 {\n        type    kni\n        cpu_id  2\n    }\n";
        let idle = "\nidle {\n    sleep_after_us 200\n    sleep_us 50\n}\n";
        conf.replacen(port, &isolated, 1)
            .replacen("worker_defs {\n", kni, 1)
            + idle
    })?;
    lab.with_logs(|lab| {
        // While a flood that belongs to nobody comes in.
        let eth0 = Wire::open(&lab.client, "eth0")?;
        let mac = dpip(lab, "link show dpdk0")?;
        let mac = mac.split("addr ").nth(1).and_then(|m| m.get(..17));
        let mac = mac.ok_or_else(|| Error::new("no MAC address"))?;
        let mut frame = vec![0; 60];
        for (at, byte) in mac.split(':').enumerate() {
            frame[at] = u8::from_str_radix(byte, 16).what(|| mac)?;
        }
        frame[6..12].copy_from_slice(&eth0.mac());
        // An unknown type: the kernel's.
        frame[12..14].copy_from_slice(&[0x88, 0xb5]);
        for round in 0..20 {
            for _ in 0..500 {
                eth0.send(&frame)?;
            }
            assert_eq!(lab.get(&url(addr::VIP4, "/"))?, "rs1\n", "round {round}");
            assert!(lab.ping(addr::KERNEL4)?, "round {round}");
        }
        let polled = dpip(lab, "-s link show cpu3")?;
        let received: u64 = polled
            .lines()
            .skip_while(|l| !l.contains("ipackets"))
            .nth(1)
            .and_then(|l| l.split_whitespace().next())
            .and_then(|n| n.parse().ok())
            .unwrap_or_default();
        assert!(received > 10_000, "{polled}");

        // An address given to the kernel by flow, without a route for it.
        let added = ["addr", "add", "192.0.2.77/32", "dev", "dpdk0.kni"];
        lab.director.ip(&added)?;
        assert!(!lab.ping("192.0.2.77")?);
        dpip(lab, "flow add type kni dev dpdk0 192.0.2.77")?;
        let shown = dpip(lab, "flow show type kni dev dpdk0")?;
        assert!(shown.contains("192.0.2.77"), "{shown}");
        wait::until_true("the kernel to answer", SOON, || lab.ping("192.0.2.77"))?;
        dpip(lab, "flow flush type kni dev dpdk0")?;
        let shown = dpip(lab, "flow show type kni dev dpdk0")?;
        assert!(!shown.contains("192.0.2.77"), "{shown}");
        lab.still_running()
    })
}

#[test]
fn an_address_somebody_else_has_is_marked() -> Result<()> {
    if !root_or_skip("an_address_somebody_else_has_is_marked")? {
        return Ok(());
    }
    let mut lab = lab("dad", 1, |conf| conf)?;
    lab.with_logs(|lab| {
        let theirs = "2001:db8:1::66";
        let prefix = format!("{theirs}/64");
        lab.client
            .ip(&["addr", "add", &prefix, "dev", "eth0", "nodad"])?;
        dpip(lab, &format!("-6 addr add {theirs}/128 dev dpdk0"))?;
        dpip(lab, "-6 addr add 2001:db8:1::67/128 dev dpdk0")?;
        let listed = |ip: &str| -> Result<String> {
            let text = dpip(lab, "-6 addr show dev dpdk0")?;
            let at = text.find(&format!("inet6 {ip}/"));
            let rest = at.map_or("", |at| &text[at..]);
            Ok(rest.lines().take(2).collect::<Vec<_>>().join(" "))
        };
        wait::until_true("the address to be marked", SOON, || {
            Ok(listed(theirs)?.contains("dadfailed"))
        })?;
        let other = listed("2001:db8:1::67")?;
        assert!(
            other.contains("valid_lft") && !other.contains("dadfailed"),
            "{other}"
        );
        let log = run::must("cat", &[lab.file("dpvs.out").as_os_str()])?;
        assert!(log.contains("somebody else has it"), "{log}");
        lab.still_running()
    })
}
