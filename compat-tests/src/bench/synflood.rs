//! A SYN flood and the SYN proxy: what a spoofed SYN costs the worker, and how many
//! honest clients get through beside ten times as many SYNs.
//!
//! The first by the core benchmark. The second by the whole daemon on veth pairs
//! with nginx behind it, spoofed SYNs from a raw socket and plain sockets as
//! clients; the daemon's connections and resident memory are read before and after.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::bench::Options;
use crate::bench::program::{CoreBench, spread};
use crate::bench::report::{Need, Report, Row};
use crate::bench::sample::Spread;
use crate::error::{Context, Error, Result};
use crate::flood;
use crate::frames::{Mac, Wire};
use crate::lab::{Lab, addr};
use crate::netns::Netns;
use crate::spawn::Lifetime;

/// Honest connections a second; ten times as many SYNs come beside.
const RATE: u64 = 400;
const TIMES: u64 = 10;
/// Share of honest connections that has to succeed.
const NEEDED: f64 = 0.95;
/// What the daemon's memory may grow by, MiB: the honest connections' entries.
const GROWTH_MIB: f64 = 32.0;

/// Measures and prints every row; false when a target was missed.
///
/// # Errors
/// When a program does not start or answer.
pub fn run(options: &Options) -> Result<bool> {
    println!("synflood: spoofed SYNs answered by cookies, and honest clients beside them");
    let mut report = Report::begin(
        &options.out,
        "synflood",
        &[
            ("what", "row", 0),
            ("ns/SYN", "ns_per_syn", 1),
            ("SYNs/s", "syns_per_second", 0),
            ("clients/s", "clients_per_second", 0),
            ("succeed", "share", 4),
            (">=", "needed_share", 2),
            ("MiB more", "growth_mib", 1),
            ("conns", "conns", 0),
            ("met", "met", 0),
        ],
    )?;
    let core: Vec<_> = [4, 6]
        .into_iter()
        .filter(|af| options.wants(&format!("core{af}")))
        .collect();
    if !core.is_empty() {
        let program = CoreBench::build()?;
        for af in core {
            report.add(&cookies(options, &program, af)?)?;
        }
    }
    for (af, vip) in [(4, addr::VIP4), (6, addr::VIP6)] {
        let name = format!("daemon{af}");
        if options.wants(&name) {
            report.add(&daemon(options, name, vip)?)?;
        }
    }
    Ok(report.end())
}

/// Nanoseconds of the worker's CPU time a spoofed SYN.
fn cookies(options: &Options, program: &CoreBench, af: u8) -> Result<Row> {
    let runs = options.runs;
    let lines = program.run(&format!(
        "setup kind=flood af={af} flows=1000000 runs={runs}"
    ))?;
    Ok(Row::default()
        .with("row", format!("core{af}"))
        .with("ns_per_syn", spread(&lines, "ns_per_flow")?)
        .with("conns", spread(&lines, "conns")?)
        .needs("conns", Need::AtMost(1.0)))
}

/// Honest clients beside a flood, through the daemon.
fn daemon(options: &Options, name: String, vip: &str) -> Result<Row> {
    let vip = SocketAddr::new(vip.parse::<IpAddr>().what(|| vip.to_owned())?, 80);
    let (mut shares, mut growth, mut conns, mut syns) = (vec![], vec![], vec![], vec![]);
    for _ in 0..options.runs {
        let mut lab = lab(vip)?;
        let one = lab.with_logs(|lab| beside(lab, vip, options.seconds))?;
        shares.push(one.share);
        growth.push(one.growth);
        conns.push(one.conns);
        syns.push(one.syns);
    }
    // The worst run has to do.
    let worst = shares.iter().copied().fold(1.0, f64::min);
    Ok(Row::default()
        .with("row", name)
        .with("clients_per_second", RATE)
        .with("syns_per_second", Spread::of(syns))
        .with("shares", Spread::of(shares))
        .with("share", worst)
        .with("growth_mib", Spread::of(growth))
        .with("conns", Spread::of(conns))
        .needs("share", Need::AtLeast(NEEDED))
        .needs("growth_mib", Need::AtMost(GROWTH_MIB)))
}

/// A director with one proxied service of two web servers.
fn lab(vip: SocketAddr) -> Result<Lab> {
    let mut lab = Lab::wires(&format!("f{}", std::process::id()), Lifetime::Bound)?;
    for i in 0..2 {
        lab.start_nginx(i)?;
    }
    lab.start_dpvs()?;
    serve(&lab, vip)?;
    Ok(lab)
}

/// The VIP and its service.
fn serve(lab: &Lab, vip: SocketAddr) -> Result<()> {
    let v6 = vip.is_ipv6();
    let (family, mask, laddr, servers) = if v6 {
        ("-6", 128, "2001:db8:2::201", addr::RS6)
    } else {
        ("-4", 32, "10.0.1.201", addr::RS4)
    };
    let address = format!("{}/{mask}", vip.ip());
    lab.dpip(&[family, "addr", "add", &address, "dev", "dpdk0"])?
        .success()?;
    let at = vip.to_string();
    let must = |args: &[&str]| lab.ipvsadm(args)?.success().map(drop);
    must(&["-A", "-t", &at, "-s", "rr", "-j", "enable"])?;
    must(&["-P", "-t", &at, "-z", laddr, "-F", "dpdk1"])?;
    for server in servers {
        let ip: IpAddr = server.parse().what(|| server.to_owned())?;
        let server = SocketAddr::new(ip, 80).to_string();
        must(&["-a", "-t", &at, "-r", &server, "-b"])?;
    }
    Ok(())
}

struct Run {
    share: f64,
    growth: f64,
    conns: f64,
    syns: f64,
}

fn beside(lab: &mut Lab, vip: SocketAddr, time: Duration) -> Result<Run> {
    let wire = Wire::open(&lab.client, "eth0")?;
    let to = mac(&lab.director, "vout")?;
    // Neighbours, and memory that is touched once.
    flood::clients(&lab.client, vip, RATE, 16, time / 4, Duration::from_secs(3))?;
    let before = resident(lab)?;
    let rates = (RATE, RATE * TIMES);
    let (outcome, sent) = flood::beside(&lab.client, &wire, to, vip, rates, time)?;
    let after = resident(lab)?;
    lab.still_running()?;
    let list = lab.ipvsadm(&["-Lnc"])?.success()?;
    let conns = list.lines().filter(|l| l.contains("TCP")).count();
    Ok(Run {
        share: outcome.share(),
        growth: after - before,
        conns: conns as f64,
        syns: sent as f64 / (time.as_secs_f64() + 0.3),
    })
}

/// Resident memory of the daemon, MiB.
fn resident(lab: &Lab) -> Result<f64> {
    let dpvs = lab.dpvs.as_ref().ok_or_else(|| Error::new("no dpvs"))?;
    let path = format!("/proc/{}/statm", dpvs.pid());
    let text = std::fs::read_to_string(&path).what(|| path.clone())?;
    let pages = text.split(' ').nth(1).and_then(|n| n.parse::<f64>().ok());
    pages
        .map(|n| n / 256.0)
        .ok_or_else(|| Error::new(format!("{path}: {text}")))
}

/// The hardware address of a device.
fn mac(ns: &Netns, dev: &str) -> Result<Mac> {
    Ok(Wire::open(ns, dev)?.mac())
}
