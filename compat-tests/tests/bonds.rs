//! Bonds end to end: the sample of `conf/`, the real daemon and tools, nginx and curl
//! behind a switch in user space (`peers/switch.py`) that cuts links and speaks LACP.
//!
//! Most members are virtio-user ports: their driver tells of a lost link as that of a
//! NIC does. Taps and af_packet do not, and are there for what else they show.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use compat_tests::lab::{START, Slot};
use compat_tests::netns::{Netns, veth};
use compat_tests::privilege::root_or_skip;
use compat_tests::run::run;
use compat_tests::spawn::{Lifetime, Process, tail};
use compat_tests::{Context, Error, Result, bins, wait};

const SOON: Duration = Duration::from_secs(10);
const VIP: &str = "10.9.0.10";
const VLAN_VIP: &str = "10.8.0.10";

/// A director with a bond, and what is at the other end of its links.
struct Bond {
    ns: Netns,
    peer: Netns,
    dir: tempfile::TempDir,
    dpvs: Option<Process>,
    others: Vec<Process>,
    _turn: Slot,
}

impl Drop for Bond {
    fn drop(&mut self) {
        self.dpvs = None;
        self.others.clear();
        let _ = self.ns.remove();
        let _ = self.peer.remove();
    }
}

impl Bond {
    fn new(name: &str) -> Result<Self> {
        let turn = Slot::wait()?;
        let id = std::process::id();
        Ok(Self {
            ns: Netns::create(&format!("dpvs-b{id}-{name}"))?,
            peer: Netns::create(&format!("dpvs-b{id}-{name}p"))?,
            dir: tempfile::tempdir().what(|| "a temporary folder")?,
            dpvs: None,
            others: Vec::new(),
            _turn: turn,
        })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts the daemon with the sample in another mode and with less memory.
    fn start(&mut self, mode: u8, workers: usize, members: [&str; 2]) -> Result<()> {
        let sample = bins::repository()?.join("conf/dpvs.bond-vlan.conf");
        let text = std::fs::read_to_string(&sample).what(|| sample.display().to_string())?;
        let mut text = text
            .replace("mode        4", &format!("mode        {mode}"))
            .replace("log_level   WARNING", "log_level   INFO\n    kni off")
            .replace("    log_file    /var/log/dpvs.log\n", "")
            .replace("pktpool_size    524287", "pktpool_size    16383")
            .replace("conn_pool_size  2097152", "conn_pool_size  65536");
        if workers == 1 {
            let (head, rest) = text
                .split_once("    worker cpu2 {")
                .ok_or_else(|| Error::new("the sample has no second worker"))?;
            let (_, behind) = rest
                .split_once("ctrl_defs")
                .ok_or_else(|| Error::new("the sample has no ctrl_defs"))?;
            text = format!("{head}}}\nctrl_defs{behind}");
        }
        let _ = write!(
            text,
            "\nidle {{\n    sleep_after_us 200\n    sleep_us 50\n}}\n"
        );
        std::fs::write(self.file("conf"), text).what(|| "conf")?;
        let mut command = self.ns.command(bins::path("dpvs")?);
        command.arg("-c").arg(self.file("conf"));
        command.arg("-p").arg(self.file("pid"));
        command.arg("-x").arg(self.file("ipc"));
        command.args(["--", "--no-huge", "-m", "256", "--no-pci", "--no-shconf"]);
        let prefix = format!("{}m{mode}", self.ns.name());
        command.args(["--file-prefix", &prefix]);
        let lcores = ["0@0,1@(0-1)", "0@0,1@(0-1),2@(0-1)"];
        command.args(["--lcores", lcores[workers - 1]]);
        for member in members {
            command.args(["--vdev", member]);
        }
        let dpvs = Process::start("dpvs", &command, &self.file("log"), Lifetime::Bound)?;
        self.dpvs = Some(dpvs);
        wait::until_true("dpvs to answer", START, || {
            self.dpvs.iter_mut().try_for_each(Process::still_running)?;
            Ok(self.tool("dpip", "link show")?.ok())
        })
        .map(drop)
    }

    fn tool(&self, name: &str, line: &str) -> Result<compat_tests::run::Output> {
        let mut command = self.ns.command(bins::path(name)?);
        command
            .args(line.split(' '))
            .env("DPVS_IPC_FILE", self.file("ipc"));
        run(&mut command)
    }

    fn dpip(&self, line: &str) -> Result<String> {
        self.tool("dpip", line)?.success()
    }

    /// The switch, before the daemon: virtio-user waits for it.
    fn switch(&mut self, kind: &str, links: &[&str]) -> Result<()> {
        let path = bins::repository()?.join("compat-tests/peers/switch.py");
        let mut command = self.peer.command("python3");
        command.arg(path).arg("agg0").arg(self.file("commands"));
        command.arg(kind).args(links).arg("vlan=100:agg0.100");
        let log = self.file("switch.out");
        self.others.push(Process::start(
            "switch.py",
            &command,
            &log,
            Lifetime::Bound,
        )?);
        self.told("ready", 1)?;
        for (tap, net) in [("agg0", 9), ("agg0.100", 8)] {
            let key = format!("net/ipv6/conf/{tap}/disable_ipv6");
            self.peer.sysctl(&key, "1")?;
            let prefix = format!("10.{net}.0.2/24");
            self.peer.ip(&["addr", "add", &prefix, "dev", tap])?;
            self.peer.ip(&["link", "set", tap, "up"])?;
        }
        Ok(())
    }

    /// Waits until the switch has said a line that many times.
    fn told(&mut self, line: &str, times: usize) -> Result<Duration> {
        let log = self.file("switch.out");
        let others = &mut self.others;
        wait::until_true(&format!("the switch to say `{line}`"), SOON, || {
            others.iter_mut().try_for_each(Process::still_running)?;
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            Ok(text.lines().filter(|l| *l == line).count() >= times)
        })
    }

    fn said(&self) -> Result<String> {
        std::fs::read_to_string(self.file("switch.out")).what(|| "switch.out")
    }

    fn command(&self, line: &str) -> Result<()> {
        std::fs::write(self.file("commands"), format!("{line}\n")).what(|| "commands")
    }

    /// Frames the switch has received and sent by each link.
    fn counts(&mut self) -> Result<[[u64; 2]; 2]> {
        let lines = |text: &str| text.lines().filter(|l| l.starts_with("count ")).count();
        let before = lines(&self.said()?);
        self.command("count")?;
        let (text, _) = wait::until("the switch to count", SOON, || {
            let text = self.said()?;
            Ok((lines(&text) > before).then_some(text))
        })?;
        let last = text.lines().rfind(|l| l.starts_with("count "));
        let numbers: Vec<u64> = last
            .unwrap_or_default()
            .split([' ', '/'])
            .filter_map(|n| n.parse().ok())
            .collect();
        let [a, b, c, d] = numbers[..] else {
            return Err(Error::new(format!("{last:?}")));
        };
        Ok([[a, b], [c, d]])
    }

    /// nginx at the switch, and services of it on the bond and on a VLAN of it.
    fn service(&mut self) -> Result<()> {
        let conf = "daemon off; master_process off; worker_processes 1; pid @/nginx.pid;\n\
            events {}\nhttp { access_log off; client_body_temp_path @/b; proxy_temp_path @/p;\n\
            fastcgi_temp_path @/f; uwsgi_temp_path @/u; scgi_temp_path @/s;\n\
            server { listen 80; location / { return 200 \"here\\n\"; }\n\
            location /big { alias @/big; } } }\n";
        let conf = conf.replace('@', &self.dir.path().display().to_string());
        std::fs::write(self.file("nginx.conf"), conf).what(|| "nginx.conf")?;
        let page = "0123456789abcde\n".repeat(8192);
        std::fs::write(self.file("big"), page).what(|| "big")?;
        let mut command = self.peer.command("nginx");
        command.arg("-e").arg(self.file("nginx.err"));
        command.arg("-c").arg(self.file("nginx.conf"));
        command.arg("-p").arg(self.dir.path());
        command.args(["-g", "user root;"]);
        let log = self.file("nginx.out");
        self.others
            .push(Process::start("nginx", &command, &log, Lifetime::Bound)?);
        self.dpip("vlan add link bond0 id 100")?;
        for (dev, net) in [("bond0", 9), ("bond0.100", 8)] {
            self.dpip(&format!("addr add 10.{net}.0.1/24 dev {dev}"))?;
            self.dpip(&format!("addr add 10.{net}.0.10/32 dev {dev}"))?;
            let vip = format!("10.{net}.0.10:80");
            for line in [
                format!("-A -t {vip} -s rr"),
                format!("-a -t {vip} -r 10.{net}.0.2:80 -b"),
                format!("-P -t {vip} -z 10.{net}.0.20 -F {dev}"),
            ] {
                self.tool("ipvsadm", &line)?.success()?;
            }
        }
        Ok(())
    }

    fn get(&self, vip: &str) -> Result<compat_tests::run::Output> {
        let url = format!("http://{vip}/");
        let words = ["-sSf", "-m", "20", "--noproxy", "*", &url];
        self.peer.run("curl", &words)
    }

    /// As many requests, each on a connection of its own; none may fail.
    fn served(&self, vip: &str, count: usize) -> Result<()> {
        for n in 0..count {
            if let Err(e) = self.get(vip)?.success() {
                let of = |ns: &Netns, words: &[&str]| ns.run("ip", words).map(|o| o.stdout);
                return Err(Error::new(format!(
                    "request {n} of {count}: {e}\n{}\n{}\n{}",
                    self.dpip("drop show")?,
                    self.dpip("neigh show")?,
                    of(&self.peer, &["neigh"])?
                )));
            }
        }
        Ok(())
    }

    /// Requests until the director has sent more by a link than LACP itself would.
    fn carries(&mut self, link: usize) -> Result<()> {
        let before = self.counts()?[link][0];
        wait::until_true(&format!("requests by link {link}"), SOON, || {
            self.served(VIP, 5)?;
            Ok(self.counts()?[link][0] > before + 40)
        })
        .map(drop)
    }

    /// Waits until a member is (or is not) in use.
    fn in_use(&self, member: &str, wanted: bool) -> Result<()> {
        let what = format!("{member} to be in use: {wanted}");
        wait::until_true(&what, SOON, || {
            let text = self.dpip("link show bond0 status")?;
            let rest = text.split(&format!("{member}(")).nth(1).unwrap_or_default();
            let words = rest.split(')').next().unwrap_or_default();
            let active = words.split([' ', ',']).any(|w| w == "active");
            Ok(active == wanted)
        })
        .map(drop)
    }

    fn checked(name: &str, work: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        if !root_or_skip(name)? {
            return Ok(());
        }
        let short: String = name.split('_').filter_map(|w| w.chars().next()).collect();
        let mut bond = Self::new(&short)?;
        let end = |bond: &Self, name: &str| tail(&bond.file(name), 30);
        work(&mut bond)
            .and_then(|()| bond.dpvs.iter_mut().try_for_each(Process::still_running))
            .map_err(|e| {
                let (a, b) = (end(&bond, "log"), end(&bond, "switch.out"));
                Error::new(format!("{e}\n{a}\n---- switch.py\n{b}"))
            })
    }
}

fn cable(dir: &Path, n: usize) -> (String, String) {
    let path = dir.join(format!("link{n}")).display().to_string();
    let vdev =
        format!("net_virtio_user{n},path={path},server=1,queues=1,cq=1,mac=02:00:00:00:b0:0{n}");
    (path, vdev)
}

/// Requests, a link lost under them, and back: what every mode has to stand.
fn loses_a_link(bond: &mut Bond, mode: u8, kind: &str) -> Result<()> {
    let [(a, va), (b, vb)] = [0, 1].map(|n| cable(bond.dir.path(), n));
    bond.switch(kind, &[&a, &b])?;
    bond.start(mode, 1, [&va, &vb])?;
    if kind == "lacp" {
        bond.told("lacp 0 collecting distributing", 1)?;
        bond.told("lacp 1 collecting distributing", 1)?;
    }
    bond.in_use("dpdk0", true)?;
    bond.in_use("dpdk1", true)?;
    if mode == 2 || mode == 4 {
        // There is one MAC address at the other end.
        bond.dpip("link set bond0 bond-xmit-policy layer34")?;
    }
    bond.service()?;
    wait::until_true("a first answer", SOON, || Ok(bond.get(VIP)?.ok()))?;
    bond.served(VIP, 20)?;
    bond.served(VLAN_VIP, 20)?;
    let before = bond.counts()?;
    let from_director = before.map(|link| link[0]);
    match mode {
        // All by the primary.
        1 => assert!(
            from_director[0] > 150 && from_director[1] == 0,
            "{before:?}"
        ),
        _ => (0..2).try_for_each(|link| bond.carries(link))?,
    }
    // A link goes in the middle of a transfer; the transfer and the requests go on.
    let url = format!("http://{VIP}/big");
    let mut load = bond.peer.command("curl");
    load.args(["-sSf", "-m", "30", "--noproxy", "*", "--limit-rate", "100k"]);
    load.args(["-o", "/dev/null", &url]);
    let out = bond.file("curl.out");
    let mut load = Process::start("curl", &load, &out, Lifetime::Bound)?;
    bond.served(VIP, 3)?;
    bond.command("down 0")?;
    bond.told("link 0 cut", 1)?;
    bond.served(VIP, 20)?;
    bond.served(VLAN_VIP, 10)?;
    bond.in_use("dpdk0", false)?;
    let lost = bond.counts()?;
    bond.served(VIP, 5)?;
    let during = bond.counts()?;
    assert_eq!(during[0], lost[0], "nothing is by the cut link");
    assert!(during[1][0] >= lost[1][0] + 25, "{lost:?} {during:?}");
    wait::until_true("the transfer to end", SOON, || Ok(load.exited()?.is_some()))?;
    let exit = load.exited()?.is_some_and(|s| s.success());
    assert!(exit, "the transfer: {}", tail(&out, 5));
    // And back.
    bond.command("up 0")?;
    bond.told("link 0 connected", 2)?;
    if kind == "lacp" {
        bond.told("lacp 0 collecting distributing", 2)?;
    }
    bond.in_use("dpdk0", true)?;
    bond.served(VLAN_VIP, 10)?;
    bond.carries(0)?;
    let said = bond.said()?;
    assert!(
        !said.contains("malformed") && !said.contains("while not"),
        "{said}"
    );
    // Nor did the director get anything that nobody sent.
    let drops = bond.dpip("drop show")?;
    let garbage = ["truncated", "malformed", "other-host"];
    assert!(!garbage.iter().any(|g| drops.contains(g)), "{drops}");
    Ok(())
}

#[test]
fn active_backup_loses_a_link_under_requests() -> Result<()> {
    Bond::checked("active_backup_loses_a_link_under_requests", |bond| {
        loses_a_link(bond, 1, "learning")
    })
}

#[test]
fn round_robin_loses_a_link_under_requests() -> Result<()> {
    Bond::checked("round_robin_loses_a_link_under_requests", |bond| {
        loses_a_link(bond, 0, "static")
    })
}

#[test]
fn balance_loses_a_link_under_requests() -> Result<()> {
    Bond::checked("balance_loses_a_link_under_requests", |bond| {
        loses_a_link(bond, 2, "static")?;
        // A member is taken out by command, and put in again.
        bond.dpip("link del bond0 bond-slave dpdk1")?;
        bond.in_use("dpdk1", false)?;
        // What the switch still sends there is lost: it is told of it on a real one.
        bond.command("down 1")?;
        bond.served(VIP, 20)?;
        bond.command("up 1")?;
        bond.told("link 1 connected", 2)?;
        bond.dpip("link add bond0 bond-slave dpdk1")?;
        bond.in_use("dpdk1", true)?;
        bond.served(VIP, 20)?;
        bond.carries(1)
    })
}

#[test]
fn lacp_aggregates_and_loses_a_link_under_requests() -> Result<()> {
    Bond::checked("lacp_aggregates_and_loses_a_link_under_requests", |bond| {
        loses_a_link(bond, 4, "lacp")
    })
}

/// The sample as it is, with both its workers, on af_packet ports.
#[test]
fn the_sample_speaks_lacp_on_two_wires() -> Result<()> {
    Bond::checked("the_sample_speaks_lacp_on_two_wires", |bond| {
        for n in 0..2 {
            let (ours, theirs) = (format!("m{n}"), format!("s{n}"));
            veth((&bond.ns, &ours), (&bond.peer, &theirs))?;
            for (ns, dev) in [(&bond.ns, &ours), (&bond.peer, &theirs)] {
                ns.sysctl(&format!("net/ipv6/conf/{dev}/disable_ipv6"), "1")?;
                ns.plain_frames(dev)?;
            }
        }
        bond.switch("lacp", &["s0", "s1"])?;
        let vdev = |n| format!("net_af_packet{n},iface=m{n},qpairs=2");
        bond.start(4, 2, [&vdev(0), &vdev(1)])?;
        bond.told("lacp 0 collecting distributing", 1)?;
        bond.told("lacp 1 collecting distributing", 1)?;
        bond.dpip("link set bond0 bond-xmit-policy layer34")?;
        bond.service()?;
        wait::until_true("a first answer", SOON, || Ok(bond.get(VIP)?.ok()))?;
        bond.served(VIP, 20)?;
        bond.served(VLAN_VIP, 10)?;
        bond.carries(0)?;
        bond.carries(1)?;
        // The partner takes a link out of the aggregate; its carrier stays.
        bond.command("leave 0")?;
        bond.told("lacp 0 waiting", 2)?;
        bond.served(VIP, 15)?;
        let left = bond.counts()?;
        bond.served(VIP, 10)?;
        bond.served(VLAN_VIP, 5)?;
        let during = bond.counts()?;
        // LACP alone is spoken there.
        assert!(during[0][0] <= left[0][0] + 10, "{left:?} {during:?}");
        assert!(during[1][0] >= left[1][0] + 75, "{left:?} {during:?}");
        bond.command("join 0")?;
        bond.told("lacp 0 collecting distributing", 2)?;
        bond.served(VIP, 20)?;
        bond.carries(0)?;
        let said = bond.said()?;
        assert!(!said.contains("malformed"), "{said}");
        Ok(())
    })
}

/// Two taps, whose kernel ends are ports of one bridge.
#[test]
fn a_bond_answers_by_the_link_it_is_told() -> Result<()> {
    Bond::checked("a_bond_answers_by_the_link_it_is_told", |bond| {
        bond.start(1, 1, ["net_tap0,iface=bt0", "net_tap1,iface=bt1"])?;
        let ns = bond.ns.clone();
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
        bond.dpip("addr add 10.9.0.1/24 dev bond0")?;
        bond.dpip("vlan add link bond0 id 100")?;
        let answers = || {
            let words = ["-n", "-c", "1", "-W", "1", "10.9.0.1"];
            Ok(ns.run("ping", &words)?.ok())
        };
        wait::until_true("the bond to answer", SOON, answers)?;
        bond.in_use("dpdk0", true)?;
        let shown = bond.dpip("link show")?;
        for name in ["dpdk0", "dpdk1", "bond0", "bond0.100"] {
            assert!(shown.contains(&format!(": {name}: ")), "{shown}");
        }
        // By the other link, and back: a tap does not tell DPDK that its link is down.
        let frames = |link: &str| -> Result<u64> {
            let file = format!("/sys/class/net/{link}/statistics/rx_packets");
            let text = ns.must("cat", &[file.as_str()])?;
            text.trim().parse().what(|| file)
        };
        for (member, link) in [("dpdk1", "bt1"), ("dpdk0", "bt0")] {
            bond.dpip(&format!("link set bond0 bond-primary {member}"))?;
            let status = bond.dpip("link show bond0 status")?;
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
        Ok(())
    })
}
