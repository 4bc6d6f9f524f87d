//! `make demo`: the suite at work, told step by step to somebody who sees it
//! for the first time, and every step checked.
//!
//! `demo run` makes the lab, shows it and removes it, also after Ctrl-C or a
//! failure; `demo up` leaves it for typing in, `demo down` removes that. It
//! knows the lab's services only through `conf/lab/` and the tools.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use compat_tests::lab::{Lab, START, Tally, addr, state, sweep, url};
use compat_tests::run::{self, Output};
use compat_tests::spawn::Lifetime;
use compat_tests::{Context, Error, Result, bins};
use nix::sys::signal::{SigSet, Signal};

/// The lab of `demo run`.
const DEMO: &str = "demo";
/// The lab of `demo up`.
const SHELL: &str = "lab";
/// Requests of each family in each round of the demonstration.
const ROUND: usize = 50;
/// How long the load generator runs.
const LOAD: &str = "3s";

/// Whether a signal is ending the demonstration.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    let command = std::env::args().nth(1);
    let done = match command.as_deref() {
        Some("run") => clean_up_on_signals(DEMO).and_then(|()| demo()),
        Some("up") => clean_up_on_signals(SHELL).and_then(|()| up()),
        Some("down") => down(),
        _ => Err(Error::new(
            "usage: demo run | up | down (better: make demo)",
        )),
    };
    if INTERRUPTED.load(Ordering::SeqCst) {
        // The lab was taken away under us: what failed for it is no news. The
        // other thread ends the program.
        loop {
            std::thread::park();
        }
    }
    match done {
        Ok(last) => {
            println!("{last}");
            ExitCode::SUCCESS
        }
        Err(e) => {
            println!("demo: failed: {e}");
            ExitCode::FAILURE
        }
    }
}

/// On Ctrl-C and the like: removes the lab that is being made or shown, by
/// name, and ends. Signals are blocked before any thread starts, so that only
/// the waiting one has them.
fn clean_up_on_signals(lab: &'static str) -> Result<()> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block().what(|| "signals")?;
    std::thread::spawn(move || {
        if let Ok(signal) = signals.wait() {
            INTERRUPTED.store(true, Ordering::SeqCst);
            println!("\ndemo: {signal}: removing the lab");
            // Twice: the other thread may be making a namespace right now.
            for _ in 0..2 {
                let _ = state::remove(lab);
            }
            std::process::exit(130);
        }
    });
    Ok(())
}

/// What the demonstration counts.
#[derive(Default)]
struct Count {
    requests: usize,
    failed: usize,
}

fn demo() -> Result<String> {
    say(&[
        "A load balancer at work, all on this machine.",
        "",
        "  client ───── director ───── rs1, rs2",
        "  curl, wrk    dpvs           nginx",
        "               keepalived",
        "",
        "Each is a network namespace: a machine of its own, as far as the network goes.",
        "The client talks to a virtual IP (VIP). dpvs, which takes its packets with DPDK",
        "past the kernel, passes each connection on to one of the two real servers.",
    ]);
    let begin = Instant::now();
    step("Machines and wires");
    let mut lab = Lab::wires(DEMO, Lifetime::Bound)?;
    say(&[
        &format!("client {} and {}", addr::CLIENT4, addr::CLIENT6),
        &format!("rs1    {} and {}", addr::RS4[0], addr::RS6[0]),
        &format!("rs2    {} and {}", addr::RS4[1], addr::RS6[1]),
    ]);
    let mut count = Count::default();
    let failover = lab.with_logs(|lab| {
        start(lab)?;
        requests(lab, &mut count)?;
        load(lab, &mut count)?;
        tools(lab, &count)?;
        let failover = server_fails(lab, &mut count)?;
        server_returns(lab, &mut count)?;
        Ok(failover)
    });
    step("Cleaning up");
    lab.remove()?;
    let failover = failover?;
    say(&[&format!(
        "everything is gone again, after {:.0} s",
        begin.elapsed().as_secs_f64()
    )]);
    println!();
    Ok(format!(
        "demo: ok requests={} failed={} failover_s={:.1}",
        count.requests,
        count.failed,
        failover.as_secs_f64()
    ))
}

fn start(lab: &mut Lab) -> Result<()> {
    step("Programs");
    for i in 0..2 {
        lab.start_nginx(i)?;
    }
    say(&["nginx runs in rs1 and rs2; each page says which of them it came from"]);
    lab.start_dpvs()?;
    say(&["dpvs runs in director, on two DPDK ports: dpdk0 to the client, dpdk1 to the servers"]);
    let begin = Instant::now();
    lab.start_keepalived()?;
    lab.wait_programmed(START)?;
    lab.wait_served(START)?;
    say(&[
        "keepalived runs beside it with conf/lab/keepalived.conf: it checks the servers,",
        &format!(
            "has told dpvs the services, and owns the VIPs: served {:.1} s after its start",
            begin.elapsed().as_secs_f64()
        ),
    ]);
    Ok(())
}

fn requests(lab: &Lab, count: &mut Count) -> Result<()> {
    step("Requests through the VIP, IPv4 and IPv6");
    for vip in [addr::VIP4, addr::VIP6] {
        let tally = round(lab, vip, count)?;
        if tally.by_server.contains(&0) {
            return Err(Error::new(format!(
                "not both servers answered through {vip}: {tally:?}"
            )));
        }
    }
    Ok(())
}

/// One round of requests to `vip`; all must be answered.
fn round(lab: &Lab, vip: &str, count: &mut Count) -> Result<Tally> {
    let url = url(vip, "/");
    let tally = lab.requests(&url, ROUND)?;
    count.requests += tally.total();
    count.failed += tally.failures.len();
    say(&[&format!(
        "curl {url} x {ROUND}: rs1 answered {}, rs2 answered {}, failed {}",
        tally.by_server[0],
        tally.by_server[1],
        tally.failures.len()
    )]);
    match tally.failures.first() {
        None => Ok(tally),
        Some(first) => Err(Error::new(format!(
            "{} of {ROUND} requests to {vip} failed, the first with: {first}",
            tally.failures.len()
        ))),
    }
}

fn load(lab: &Lab, count: &mut Count) -> Result<()> {
    step("A load generator");
    let url = url(addr::VIP4, "/");
    let args = ["-t", "1", "-c", "32", "-d", LOAD, &url];
    let out = show("client", "wrk", &args, lab.client.run("wrk", &args)?)?;
    let done = wrk_requests(&out).ok_or_else(|| {
        Error::new(format!(
            "wrk does not say how many requests it made:\n{out}"
        ))
    })?;
    if done == 0 || out.contains("Socket errors") || out.contains("Non-2xx") {
        return Err(Error::new(format!("wrk saw failures:\n{out}")));
    }
    count.requests += done;
    Ok(())
}

/// The number before "requests in" of wrk's report.
fn wrk_requests(report: &str) -> Option<usize> {
    let line = report.lines().find(|line| line.contains(" requests in "))?;
    line.split_whitespace().next()?.parse().ok()
}

fn tools(lab: &Lab, count: &Count) -> Result<()> {
    step("What an operator sees");
    let stats = show(
        "director",
        "ipvsadm",
        &["-Ln", "--stats"],
        lab.ipvsadm(&["-Ln", "--stats"])?,
    )?;
    for server in addr::RS4 {
        // Columns: Conns InPkts OutPkts InBytes OutBytes.
        let line = stats.lines().find(|l| l.contains(&format!("{server}:80")));
        let fields: Vec<&str> = line
            .unwrap_or_default()
            .split_whitespace()
            .skip(2)
            .collect();
        let idle = fields.len() != 5 || fields.iter().any(|f| f.starts_with('0'));
        if idle {
            return Err(Error::new(format!(
                "{server} has no traffic in the statistics:\n{stats}"
            )));
        }
    }
    let ports = show(
        "director",
        "dpip",
        &["-s", "link", "show"],
        lab.dpip(&["-s", "link", "show"])?,
    )?;
    // The row below the header: ipackets opackets ibytes obytes.
    let received: u64 = ports
        .lines()
        .skip_while(|l| !l.contains("ipackets"))
        .nth(1)
        .and_then(|l| l.split_whitespace().next()?.parse().ok())
        .unwrap_or(0);
    if received < count.requests as u64 {
        return Err(Error::new(format!(
            "dpdk0 counts {received} packets for {} requests:\n{ports}",
            count.requests
        )));
    }
    Ok(())
}

fn server_fails(lab: &mut Lab, count: &mut Count) -> Result<Duration> {
    step("A server fails");
    say(&["nginx in rs2 is stopped; nobody tells the load balancer"]);
    lab.stop_nginx(1)?;
    let took = lab.wait_web(1, false, START)?;
    say(&[&format!(
        "keepalived's check has found out and has taken it out: {:.1} s",
        took.as_secs_f64()
    )]);
    show("director", "ipvsadm", &["-Ln"], lab.ipvsadm(&["-Ln"])?)?;
    for vip in [addr::VIP4, addr::VIP6] {
        let tally = round(lab, vip, count)?;
        if tally.by_server[1] != 0 {
            return Err(Error::new(format!(
                "the stopped server answered: {tally:?}"
            )));
        }
    }
    Ok(took)
}

fn server_returns(lab: &mut Lab, count: &mut Count) -> Result<()> {
    step("The server returns");
    lab.start_nginx(1)?;
    let took = lab.wait_web(1, true, START)?;
    say(&[&format!(
        "nginx in rs2 runs again; {:.1} s later it is back in service",
        took.as_secs_f64()
    )]);
    requests_again(lab, count)
}

fn requests_again(lab: &Lab, count: &mut Count) -> Result<()> {
    for vip in [addr::VIP4, addr::VIP6] {
        let tally = round(lab, vip, count)?;
        if tally.by_server.contains(&0) {
            return Err(Error::new(format!(
                "not both servers answered again: {tally:?}"
            )));
        }
    }
    Ok(())
}

fn up() -> Result<String> {
    let mut lab = Lab::wires(SHELL, Lifetime::Detached)?;
    lab.start_all()?;
    let path = format!(
        "{}:{}",
        bins::dir()?.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let ipc = lab.file("dpvs.ipc");
    let mut enter = Vec::new();
    for ns in [&lab.client, &lab.director, &lab.servers[0], &lab.servers[1]] {
        let role = ns.name().rsplit('-').next().unwrap_or_default().to_owned();
        let script = lab.file(&role);
        let text = format!(
            "#!/bin/sh\n# Runs a command, or a shell, in {role} of the lab.\n\
             [ $# -gt 0 ] || set -- \"${{SHELL:-/bin/sh}}\"\n\
             export PATH='{path}' DPVS_IPC_FILE='{}'\n\
             exec ip netns exec {} \"$@\"\n",
            ipc.display(),
            ns.name()
        );
        std::fs::write(&script, text).what(|| script.display().to_string())?;
        run::must("chmod", &["755".as_ref(), script.as_os_str()])?;
        enter.push(script.display().to_string());
    }
    lab.keep()?;
    let [client, director, rs1, _] = enter.as_slice() else {
        return Err(Error::new("the lab has four machines"));
    };
    Ok(format!(
        "The lab is up and stays up. A shell, or a command, in one of its machines:\n\n  \
         {client} curl http://{}/\n  {client} curl http://[{}]/\n  \
         {director} ipvsadm -Ln --stats\n  {director} dpip -s link show\n  \
         {rs1}                 (a shell in rs1)\n\n\
         Its configurations are conf/lab/*, its logs {}/*.\n\
         make demo-down removes it.",
        addr::VIP4,
        addr::VIP6,
        lab.dir.display()
    ))
}

fn down() -> Result<String> {
    let up: Vec<&str> = [SHELL, DEMO]
        .into_iter()
        .filter(|name| state::exists(name))
        .collect();
    for name in &up {
        state::remove(name)?;
    }
    sweep()?;
    Ok(if up.is_empty() {
        "there was no lab up".into()
    } else {
        "the lab is gone".into()
    })
}

/// Announces a step.
fn step(title: &str) {
    println!("\n== {title}");
}

/// Prints lines, indented under their step.
fn say(lines: &[&str]) {
    for line in lines {
        println!("   {line}");
    }
}

/// Shows a command as typed and what it printed; it must succeed.
fn show(host: &str, program: &str, args: &[&str], out: Output) -> Result<String> {
    println!("   {host}# {program} {}", args.join(" "));
    for line in out.stdout.lines().chain(out.stderr.lines()) {
        println!("   {line}");
    }
    println!();
    out.success()
}

#[cfg(test)]
mod tests {
    use super::wrk_requests;

    #[test]
    fn wrk_says_how_many_requests_it_made() {
        let report = "Running 3s test @ http://192.0.2.10/\n  1 threads and 32 connections\n  \
                      Thread Stats   Avg      Stdev     Max   +/- Stdev\n  \
                      41234 requests in 3.00s, 6.64MB read\nRequests/sec:  13740.01\n";
        assert_eq!(wrk_requests(report), Some(41234));
        assert_eq!(wrk_requests("unable to connect to 192.0.2.10:80"), None);
    }
}
