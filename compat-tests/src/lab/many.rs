//! What the tests of scheduling have in common: a dataplane of two workers, four
//! servers that are addresses of the two hosts, a crowd of clients that are addresses
//! of the client's, and who answers whom.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::error::{Context, Result};
use crate::lab::modes::{LOCAL4, SOON, at};
use crate::lab::{Lab, addr};
use crate::run::{self, LIMIT, run_with};
use crate::spawn::Lifetime;
use crate::udp::EchoServer;
use crate::wait;

/// The servers: two addresses of each host.
pub const SERVERS: [&str; 4] = ["10.0.1.31", "10.0.1.32", "10.0.1.33", "10.0.1.34"];

/// Clients' addresses end in 101 to this.
const LAST: u8 = 116;

/// A client by its number, from 0.
#[must_use]
pub fn client(n: u8) -> String {
    format!("192.0.2.{}", 101 + n % (LAST - 100))
}

/// How often each server answered, by the last octet of its address.
pub type Spread = BTreeMap<String, usize>;

fn octet(server: &str) -> String {
    let host = server.split(':').next().unwrap_or_default();
    host.rsplit('.').next().unwrap_or_default().to_owned()
}

impl Lab {
    /// The lab of these tests: no services yet. States after the end of a connection
    /// last a second.
    ///
    /// # Errors
    /// As [`Lab::wires`] and [`Lab::start_dpvs_with`].
    pub fn with_many(test: &str, edit: impl FnOnce(String) -> String) -> Result<Self> {
        let mut lab = Self::wires(&format!("s{}-{test}", std::process::id()), Lifetime::Bound)?;
        for (i, server) in SERVERS.iter().enumerate() {
            let host = format!("{server}/24");
            lab.servers[i / 2].ip(&["addr", "add", &host, "dev", "eth0"])?;
        }
        for n in 0..LAST - 100 {
            let host = format!("{}/24", client(n));
            lab.client.ip(&["addr", "add", &host, "dev", "eth0"])?;
        }
        for i in 0..2 {
            lab.start_nginx(i)?;
        }
        let short = |conf: String| {
            let conf = ["fin_wait    7", "time_wait   7", "close       3"]
                .iter()
                .fold(conf, |conf, state| {
                    let (name, _) = state.split_at(12);
                    conf.replace(state, &format!("{name}1"))
                });
            edit(conf)
        };
        lab.with_logs(|lab| {
            lab.start_dpvs_twice(short)?;
            let vip = format!("{}/32", addr::VIP4);
            lab.dpip(&["addr", "add", &vip, "dev", "dpdk0"])?
                .success()?;
            let local = format!("{LOCAL4}/32");
            let add = ["addr", "add", &local, "dev", "dpdk1", "sapool"];
            lab.dpip(&add)?.success().map(drop)
        })?;
        Ok(lab)
    }

    /// Changes the dataplane's configuration and has it read again.
    ///
    /// # Errors
    /// When there is no dataplane, or its file cannot be changed.
    pub fn reload(&self, edit: impl FnOnce(String) -> String) -> Result<()> {
        let path = self.file("dpvs.conf");
        let old = std::fs::read_to_string(&path).what(|| path.display().to_string())?;
        std::fs::write(&path, edit(old)).what(|| path.display().to_string())?;
        match &self.dpvs {
            Some(dpvs) => dpvs.signal(nix::sys::signal::Signal::SIGHUP),
            None => Err(crate::Error::new("no dataplane runs")),
        }
    }

    /// `ipvsadm -R` of these lines.
    ///
    /// # Errors
    /// When one of them is refused.
    pub fn restore(&self, text: &str) -> Result<()> {
        let out = run_with(self.tool("ipvsadm")?.arg("-R"), text.as_bytes(), LIMIT)?;
        out.success().map(drop)
    }

    /// The servers that answer `n` requests from a client to a port of the VIP, in
    /// order, each on a connection of its own; those that fail are left out.
    ///
    /// # Errors
    /// When curl cannot be run.
    pub fn answers(&self, from: &str, port: u16, n: usize) -> Result<Vec<String>> {
        let url = format!("http://{}:{port}/addr", addr::VIP4);
        let mut curl = self.client.command("curl");
        curl.args(["-s", "--connect-timeout", "2", "--max-time", "3"]);
        curl.args(["--noproxy", "*", "-H", "Connection: close"]);
        curl.args(["--interface", from]).args(vec![&url; n]);
        Ok(run::run(&mut curl)?
            .stdout
            .lines()
            .map(str::to_owned)
            .collect())
    }

    /// How often each server answers.
    ///
    /// # Errors
    /// As [`Lab::answers`].
    pub fn spread(&self, from: &str, port: u16, n: usize) -> Result<Spread> {
        let mut spread = Spread::new();
        for server in self.answers(from, port, n)? {
            *spread.entry(octet(&server)).or_default() += 1;
        }
        Ok(spread)
    }

    /// Opens `n` connections to a port of the VIP, all at once, and gives those that
    /// come about within a moment.
    ///
    /// # Errors
    /// When the client's namespace cannot be entered.
    pub fn hold(&self, from: &str, port: u16, n: usize) -> Result<Vec<TcpStream>> {
        let local: IpAddr = from.parse().unwrap_or([0, 0, 0, 0].into());
        let to = at(addr::VIP4, port)?;
        let one = || -> Result<Option<TcpStream>> {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))
                .what(|| "TCP socket")?;
            socket
                .bind(&SocketAddr::from((local, 0)).into())
                .what(|| "client's address")?;
            let done = socket.connect_timeout(&to.into(), Duration::from_millis(1500));
            Ok(done.is_ok().then(|| socket.into()))
        };
        std::thread::scope(|scope| {
            let tries: Vec<_> = (0..n)
                .map(|_| scope.spawn(|| self.client.enter(one)))
                .collect();
            let mut held = Vec::new();
            for one in tries.into_iter().filter_map(|t| t.join().ok()) {
                held.extend(one?);
            }
            Ok(held)
        })
    }

    /// Opens connections one after another.
    ///
    /// # Errors
    /// As [`Lab::hold`].
    pub fn hold_in_turn(&self, from: &str, port: u16, n: usize) -> Result<Vec<TcpStream>> {
        let mut held = Vec::new();
        for _ in 0..n {
            held.extend(self.hold(from, port, 1)?);
        }
        Ok(held)
    }

    /// What `ipvsadm -Ln` says of each server of a service, by last octet: the words
    /// behind its address.
    ///
    /// # Errors
    /// When ipvsadm fails.
    pub fn listed(
        &self,
        kind: &str,
        port: u16,
        how: &[&str],
    ) -> Result<BTreeMap<String, Vec<String>>> {
        let vip = format!("{}:{port}", addr::VIP4);
        let text = self
            .ipvsadm(&[&["-Ln", kind, &vip], how].concat())?
            .success()?;
        let server = |line: &str| {
            let mut words = line
                .trim_start()
                .strip_prefix("-> ")?
                .split_whitespace()
                .map(str::to_owned);
            let name = words
                .next()
                .filter(|w| w.starts_with(|c: char| c.is_ascii_digit()))?;
            Some((octet(&name), words.collect()))
        };
        Ok(text.lines().filter_map(server).collect())
    }

    /// Active connections of each server, once there are `n` in all.
    ///
    /// # Errors
    /// When there are not.
    pub fn active(&self, port: u16, n: usize) -> Result<Spread> {
        let mut spread = Spread::new();
        wait::until_true(&format!("{n} active connections"), SOON, || {
            let list = self.listed("-t", port, &[])?;
            let count = |words: &Vec<String>| words.get(2).and_then(|w| w.parse().ok());
            spread = list
                .iter()
                .map(|(name, words)| (name.clone(), count(words).unwrap_or(0)))
                .collect();
            Ok(spread.values().sum::<usize>() == n)
        })
        .map_err(|e| crate::Error::new(format!("{e}: {spread:?}")))?;
        Ok(spread)
    }

    /// UDP servers that name themselves by the last octet, on that port.
    ///
    /// # Errors
    /// When a port is taken.
    pub fn echo_servers(&self, port: u16) -> Result<Vec<EchoServer>> {
        let one = |(i, server): (usize, &&str)| {
            EchoServer::start(&self.servers[i / 2], &octet(server), &[at(server, port)?])
        };
        SERVERS.iter().enumerate().map(one).collect()
    }
}
