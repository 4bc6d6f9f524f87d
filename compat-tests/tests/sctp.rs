//! SCTP end to end in every forwarding mode. No kernel here has it: both ends are an
//! implementation of their own, on scapy (`sctp_peer.py`), which computes every
//! checksum itself.

use std::path::Path;
use std::process::Command;

use compat_tests::decap::{Decap, GUE_PORT};
use compat_tests::lab::{Lab, START, addr, end};
use compat_tests::netns::Netns;
use compat_tests::privilege::root_or_skip;
use compat_tests::spawn::{Lifetime, Process};
use compat_tests::{Result, run, wait};

/// First port of the services.
const FIRST: u16 = 100;
/// Added to it where the server has another.
const ELSEWHERE: u16 = 1000;

/// A scapy endpoint in a namespace.
fn peer(ns: &Netns, args: &[String]) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sctp_peer.py");
    let mut command = ns.command("/usr/bin/python3");
    command.arg(script).args(args);
    command
}

/// Starts an endpoint that answers on all ports of the test.
fn server(lab: &Lab, i: usize) -> Result<Process> {
    let ports = (FIRST..FIRST + 30).flat_map(|p| [p, p + ELSEWHERE]);
    let args: Vec<String> = std::iter::once("server".to_owned())
        .chain(ports.map(|p| p.to_string()))
        .collect();
    let out = lab.file(&format!("sctp-{i}.out"));
    let command = peer(&lab.servers[i], &args);
    let mut process = Process::start("sctp peer", &command, &out, Lifetime::Bound)?;
    wait::until_true("the SCTP endpoint", START, || {
        process.still_running()?;
        Ok(std::fs::read_to_string(&out).is_ok_and(|t| t.contains("ready")))
    })?;
    Ok(process)
}

#[test]
fn sctp_associations_go_through_in_every_mode() -> Result<()> {
    if !root_or_skip("sctp_associations_go_through")? {
        return Ok(());
    }
    let mut lab = Lab::with_vips("sctp", 0, |conf| conf)?;
    lab.with_logs(|lab| {
        // Server 0 answers past the director, server 1 through it.
        lab.past_the_director()?;
        lab.gateway(&[1])?;
        lab.local_addresses()?;
        let decap = Decap::start(&lab.servers[0], "eth0")?;
        let _peers = [server(lab, 0)?, server(lab, 1)?];

        let gue = GUE_PORT.to_string();
        let tunnels: [(&str, Vec<&str>); 3] = [
            ("ip", vec!["-i"]),
            ("gre", vec!["-i", "--tun-type", "gre"]),
            ("gue", vec!["-i", "--tun-type", "gue", "--tun-port", &gue]),
        ];
        // VIP, server, its port less the service's, mode, wrapping.
        let mut services = Vec::new();
        for (inner, vip, same) in [(4, addr::VIP4, addr::RS4), (6, addr::VIP6, addr::RS6)] {
            for mode in ["-b", "-m"] {
                services.push((vip, same[1], ELSEWHERE, vec![mode], None));
            }
            services.push((vip, same[0], 0, vec!["-g"], None));
            for (outer, rs) in [(4, addr::RS4[0]), (6, addr::RS6[0])] {
                for (kind, how) in &tunnels {
                    let wrapping = format!("{outer} {kind} {inner}");
                    services.push((vip, rs, 0, how.clone(), Some(wrapping)));
                }
            }
        }
        let mut targets = vec!["client".to_owned()];
        for ((vip, rs, apart, how, _), port) in services.iter().zip(FIRST..) {
            let server = end(rs, port + apart);
            lab.serve("--sctp-service", &end(vip, port), &server, how)?;
            targets.extend([(*vip).to_owned(), port.to_string()]);
        }
        let out = run::run(&mut peer(&lab.client, &targets))?;
        let want = "hello through sctp!!\n".repeat(services.len());
        assert!(out.ok() && out.stdout == want, "{out:?}");
        let seen = decap.take();
        for wrapping in services.iter().filter_map(|s| s.4.as_ref()) {
            // INIT, COOKIE-ECHO, DATA, SHUTDOWN, SHUTDOWN-COMPLETE.
            let packets = seen.iter().filter(|s| *s == wrapping).count();
            assert!(packets >= 5, "{wrapping}: {seen:?}");
        }
        let conns = lab.ipvsadm(&["-Lnc"])?.success()?;
        assert_eq!(conns.matches("sctp").count(), services.len(), "{conns}");
        lab.still_running()
    })
}
