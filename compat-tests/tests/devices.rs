//! VLAN devices and tunnels end to end: real programs of a client's kernel behind a
//! tap or tun device whose other side tags or encapsulates in user space
//! (`peers/`), the real daemon and tools, nginx behind it.

use std::process::Command;
use std::time::Duration;

use compat_tests::lab::{Lab, START, Slot, addr, url};
use compat_tests::netns::Netns;
use compat_tests::privilege::root_or_skip;
use compat_tests::run::run;
use compat_tests::spawn::{Lifetime, Process, tail};
use compat_tests::{Context, Error, Result, bins, wait};

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
        dpip(lab, "vlan add link dpdk0 id 100")?;
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
            let upload = lab.file("upload");
            std::fs::write(&upload, vec![b'x'; 300_000]).what(|| "upload")?;
            let answer = lab.client.must(
                "curl",
                &[
                    "-sS",
                    "-m",
                    "20",
                    "--data-binary",
                    &format!("@{}", upload.display()),
                    &url(&vip, "/upload"),
                ],
            )?;
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

/// The sample with two taps, whose kernel ends are ports of one bridge.
#[test]
fn a_bond_answers_by_the_link_it_is_told() -> Result<()> {
    if !root_or_skip("a_bond_answers_by_the_link_it_is_told")? {
        return Ok(());
    }
    let _turn = Slot::wait()?;
    let id = std::process::id();
    let ns = Netns::create(&format!("dpvs-bond-{id}"))?;
    let result = bonded(&ns, id);
    let _ = ns.remove();
    result
}

fn bonded(ns: &Netns, id: u32) -> Result<()> {
    let dir = tempfile::tempdir().what(|| "a temporary folder")?;
    let file = |name: &str| dir.path().join(name);
    let sample = bins::repository()?.join("conf/dpvs.bond-vlan.conf");
    let text = std::fs::read_to_string(&sample).what(|| sample.display().to_string())?;
    let text = text
        .replace("mode        4", "mode        1")
        .replace("log_level   WARNING", "log_level   INFO\n    kni off")
        .replace("    log_file    /var/log/dpvs.log\n", "")
        .replace("pktpool_size    524287", "pktpool_size    16383")
        .replace("conn_pool_size  2097152", "conn_pool_size  65536");
    let (head, rest) = text
        .split_once("    worker cpu2 {")
        .ok_or_else(|| Error::new("the sample has no second worker"))?;
    let (_, behind) = rest
        .split_once("ctrl_defs")
        .ok_or_else(|| Error::new("the sample has no ctrl_defs"))?;
    std::fs::write(file("conf"), format!("{head}}}\nctrl_defs{behind}")).what(|| "conf")?;
    let mut command = ns.command(bins::path("dpvs")?);
    command.arg("-c").arg(file("conf"));
    command.arg("-p").arg(file("pid"));
    command.arg("-x").arg(file("ipc"));
    command.args(["--", "--no-huge", "-m", "256", "--no-pci", "--no-shconf"]);
    command.args(["--file-prefix", &format!("bond{id}")]);
    command.args(["--lcores", "0@0,1@0"]);
    command.args([
        "--vdev",
        "net_tap0,iface=bt0",
        "--vdev",
        "net_tap1,iface=bt1",
    ]);
    let mut process = Process::start("dpvs", &command, &file("log"), Lifetime::Bound)?;
    let dpip = |line: &str| {
        let mut command = ns.command(bins::path("dpip")?);
        command
            .args(line.split(' '))
            .env("DPVS_IPC_FILE", file("ipc"));
        run(&mut command)
    };
    let done = (|| {
        wait::until_true("dpvs to answer", START, || {
            process.still_running()?;
            Ok(dpip("link show")?.ok())
        })?;
        ns.ip(&["link", "add", "br0", "type", "bridge", "forward_delay", "0"])?;
        for (link, mac) in [("bt0", "02:00:00:00:b0:00"), ("bt1", "02:00:00:00:b0:01")] {
            // A switch's port does not have the address of what is plugged in; the driver
            // gave it that one, and the bridge would never look for it elsewhere.
            ns.ip(&["link", "set", link, "address", mac])?;
            ns.ip(&["link", "set", link, "master", "br0"])?;
            ns.ip(&["link", "set", link, "up"])?;
        }
        ns.ip(&["addr", "add", "10.9.0.2/24", "dev", "br0"])?;
        ns.ip(&["link", "set", "br0", "up"])?;
        dpip("addr add 10.9.0.1/24 dev bond0")?.success()?;
        dpip("vlan add link bond0 id 100")?.success()?;
        let answers = || {
            let words = ["-n", "-c", "1", "-W", "1", "10.9.0.1"];
            Ok(ns.run("ping", &words)?.ok())
        };
        let active = |name: &'static str| {
            move || {
                let text = dpip("link show bond0 status")?.success()?;
                let member = text.split(name).nth(1).unwrap_or_default();
                let member = member.split(')').next().unwrap_or_default();
                Ok(member.contains(" active"))
            }
        };
        wait::until_true("the bond to answer", SOON, answers)?;
        wait::until_true("dpdk0 to be in use", SOON, active("dpdk0("))?;
        let shown = dpip("link show")?.success()?;
        for name in ["dpdk0", "dpdk1", "bond0", "bond0.100"] {
            assert!(shown.contains(&format!(": {name}: ")), "{shown}");
        }
        // By the other link, and back. (A tap does not tell DPDK that its link is down:
        // which of them is in use changes by command here, by a lost link in dpvs's
        // eal_bond.)
        let frames = |link: &str| -> Result<u64> {
            let file = format!("/sys/class/net/{link}/statistics/rx_packets");
            let text = ns.must("cat", &[file.as_str()])?;
            text.trim().parse().what(|| file)
        };
        for (member, link) in [("dpdk1", "bt1"), ("dpdk0", "bt0")] {
            dpip(&format!("link set bond0 bond-primary {member}"))?.success()?;
            let status = dpip("link show bond0 status")?.success()?;
            assert!(status.contains(&format!("{member}(")), "{status}");
            // The bridge learns where the bond is from its answer to a broadcast.
            ns.ip(&["neigh", "flush", "dev", "br0"])?;
            wait::until_true(&format!("the bond to answer by {member}"), SOON, answers)?;
            let before = frames(link)?;
            for _ in 0..5 {
                assert!(answers()?, "by {member}");
            }
            assert!(frames(link)? >= before + 5, "not by {link}");
        }
        process.still_running()
    })();
    done.map_err(|e| Error::new(format!("{e}\n{}", tail(&file("log"), 25))))
}
