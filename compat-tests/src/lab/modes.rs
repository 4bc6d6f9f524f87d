//! What the tests of forwarding modes have in common: a dataplane with VIPs and
//! without keepalived, and the ways that servers' answers go.
//!
//! With NAT they come back through the director; with direct routing and tunnels
//! they pass it by, on a cable of their own.

use std::net::SocketAddr;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::lab::{Lab, addr, end, url};
use crate::netns::veth;
use crate::run::Output;
use crate::spawn::Lifetime;
use crate::udp::ask;
use crate::wait;

/// How long something that happens at once may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(5);

/// The client on the servers' network.
pub const DIRECT4: &str = "10.0.1.100";
/// The client on the servers' network.
pub const DIRECT6: &str = "2001:db8:2::100";

/// Local addresses of FullNAT.
pub const LOCAL4: &str = "10.0.1.201";
/// Local addresses of FullNAT.
pub const LOCAL6: &str = "2001:db8:2::201";

/// `-4` or `-6` before the arguments, as the address wants it.
#[must_use]
pub fn family<'a>(addr: &str, args: &[&'a str]) -> Vec<&'a str> {
    let flag = if addr.contains(':') { "-6" } else { "-4" };
    [&[flag], args].concat()
}

/// A socket address.
///
/// # Errors
/// When it is none.
pub fn at(host: &str, port: u16) -> Result<SocketAddr> {
    let text = end(host, port);
    text.parse()
        .map_err(|_| Error::new(format!("{text} is no address")))
}

impl Lab {
    /// A lab with `web` web servers and a dataplane, VIPs and nothing else; `edit`
    /// changes the dataplane's configuration.
    ///
    /// # Errors
    /// As [`Lab::wires`] and [`Lab::start_dpvs_with`].
    pub fn with_vips(test: &str, web: usize, edit: impl FnOnce(String) -> String) -> Result<Self> {
        let mut lab = Self::wires(&format!("m{}-{test}", std::process::id()), Lifetime::Bound)?;
        for i in 0..web {
            lab.start_nginx(i)?;
        }
        lab.start_dpvs_with(edit)?;
        lab.virtual_addresses()?;
        Ok(lab)
    }

    /// The virtual addresses, on the outside.
    ///
    /// # Errors
    /// When `dpip` is refused.
    pub fn virtual_addresses(&self) -> Result<()> {
        for (vip, plen) in [(addr::VIP4, 32), (addr::VIP6, 128)] {
            let vip = format!("{vip}/{plen}");
            self.dpip(&family(&vip, &["addr", "add", &vip, "dev", "dpdk0"]))?
                .success()?;
        }
        Ok(())
    }

    /// Local addresses for FullNAT, on the inside.
    ///
    /// # Errors
    /// When `dpip` is refused.
    pub fn local_addresses(&self) -> Result<()> {
        for (local, plen) in [(LOCAL4, 32), (LOCAL6, 128)] {
            let local = format!("{local}/{plen}");
            let add = ["addr", "add", &local, "dev", "dpdk1", "sapool"];
            self.dpip(&family(&local, &add))?.success()?;
        }
        Ok(())
    }

    /// `ipvsadm args...`, which has to succeed.
    ///
    /// # Errors
    /// When it is refused.
    pub fn set(&self, args: &[&str]) -> Result<()> {
        self.ipvsadm(args)?.success().map(drop)
    }

    /// A service of `kind` (`-t`, `-q`) at `vip` with one server; `how` is the mode
    /// and its options. FullNAT (`-b`) gets a local address of the server's family.
    ///
    /// # Errors
    /// When `ipvsadm` is refused.
    pub fn serve(&self, kind: &str, vip: &str, server: &str, how: &[&str]) -> Result<()> {
        self.set(&["-A", kind, vip, "-s", "rr"])?;
        if how.contains(&"-b") {
            let v6 = server.matches(':').count() > 1;
            let local = if v6 { LOCAL6 } else { LOCAL4 };
            self.set(&["-P", kind, vip, "-z", local, "-F", "dpdk1"])?;
        }
        self.set(&[&["-a", kind, vip, "-r", server], how].concat())
    }

    /// The servers' way to everybody is the director.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn gateway(&self, servers: &[usize]) -> Result<()> {
        for ns in servers.iter().filter_map(|i| self.servers.get(*i)) {
            for via in [addr::INSIDE4, addr::INSIDE6] {
                ns.ip(&family(via, &["route", "add", "default", "via", via]))?;
            }
        }
        Ok(())
    }

    /// A second cable from the client to the servers' network, and on server 0 the
    /// VIPs that nobody is told of.
    ///
    /// # Errors
    /// When `ip` or `sysctl` fails.
    pub fn past_the_director(&self) -> Result<()> {
        veth((&self.client, "eth1"), (&self.lan, "direct"))?;
        self.lan.ip(&["link", "set", "direct", "master", "br0"])?;
        self.lan.sysctl("net.ipv6.conf.direct.disable_ipv6", "1")?;
        let (client, server) = (&self.client, &self.servers[0]);
        client.plain_frames("eth1")?;
        client.sysctl("net.ipv4.conf.all.rp_filter", "0")?;
        client.sysctl("net.ipv4.conf.eth1.rp_filter", "0")?;
        client.sysctl("net.ipv6.conf.eth1.accept_dad", "0")?;
        let (own4, own6) = (format!("{DIRECT4}/24"), format!("{DIRECT6}/64"));
        client.ip(&["addr", "add", &own4, "dev", "eth1"])?;
        client.ip(&["addr", "add", &own6, "dev", "eth1", "nodad"])?;
        server.sysctl("net.ipv4.conf.all.arp_ignore", "1")?;
        server.sysctl("net.ipv4.conf.all.arp_announce", "2")?;
        server.sysctl("net.ipv4.conf.all.rp_filter", "0")?;
        server.sysctl("net.ipv4.conf.eth0.rp_filter", "0")?;
        for (vip, own, via) in [
            (addr::VIP4, addr::CLIENT4, DIRECT4),
            (addr::VIP6, addr::CLIENT6, DIRECT6),
        ] {
            server.ip(&family(vip, &["addr", "add", vip, "dev", "lo"]))?;
            server.ip(&family(vip, &["route", "add", own, "via", via]))?;
        }
        Ok(())
    }

    /// Requests through a VIP, small ones and a megabyte; server 0 answers them and
    /// sees `client`.
    ///
    /// # Errors
    /// When one fails, or the server has logged something else.
    pub fn requests_seen_from(&self, vip: &str, client: &str) -> Result<()> {
        // The first one waits for neighbours.
        wait::until_true(&format!("an answer through {vip}"), SOON, || {
            Ok(self.get(&url(vip, "/")).is_ok())
        })?;
        let log = self.file("access-rs1.log");
        let seen = || {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            log.lines().filter(|l| l.starts_with(client)).count()
        };
        let before = seen();
        for _ in 0..10 {
            let answer = self.get(&url(vip, "/"))?;
            if answer.trim() != "rs1" {
                return Err(Error::new(format!("{vip} answers {answer}")));
            }
        }
        let big = self.get(&url(vip, "/big"))?.len();
        if big != 1 << 20 {
            return Err(Error::new(format!("{big} bytes of a megabyte")));
        }
        wait::until_true("the server's log", SOON, || Ok(seen() == before + 11)).map(drop)
    }

    /// Questions to a UDP service on port 53, small and large, and their answers.
    ///
    /// # Errors
    /// When one is not answered by server 0.
    pub fn datagrams(&self, vip: &str) -> Result<()> {
        for len in [8, 1000] {
            let question = vec![b'?'; len];
            let answer = ask(&self.client, at(vip, 53)?, &question, SOON)?;
            if answer != Some([b"rs1:", &question[..]].concat()) {
                return Err(Error::new(format!("{len} bytes to {vip}: {answer:?}")));
            }
        }
        Ok(())
    }

    /// One echo request of that size, in one piece.
    ///
    /// # Errors
    /// When `ping` cannot be run; whether it was answered is in the output.
    pub fn echo(&self, host: &str, size: &str) -> Result<Output> {
        let args = ["-n", "-c", "1", "-W", "2", "-M", "do", "-s", size, host];
        self.client.run("ping", &args)
    }

    /// The addresses that `traceroute` finds on the way; `*` where nobody answers.
    ///
    /// # Errors
    /// When `traceroute` fails.
    pub fn trace(&self, host: &str, method: &[&str]) -> Result<Vec<String>> {
        let args = ["-n", "-q", "1", "-w", "2", "-m", "5"];
        let args = family(host, &[&args[..], method, &[host]].concat());
        let text = self.client.must("traceroute", &args)?;
        let hop = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
        Ok(text.lines().skip(1).filter_map(hop).collect())
    }

    /// Waits until a trace finds these: the first one may miss answers that wait for
    /// neighbours.
    ///
    /// # Errors
    /// When it does not.
    pub fn traced(&self, host: &str, method: &[&str], want: &[&str]) -> Result<()> {
        let mut last = Vec::new();
        let found = wait::until_true("a trace", 2 * SOON, || {
            last = self.trace(host, method)?;
            Ok(last == want)
        });
        found.map(drop).map_err(|_| {
            let what = format!("traceroute {method:?} {host}");
            Error::new(format!("{what} finds {last:?}, not {want:?}"))
        })
    }
}

/// The option for services of echo requests of an address's family.
#[must_use]
pub fn echo_kind(vip: &str) -> &'static str {
    if vip.contains(':') { "-1" } else { "-q" }
}
