//! Requests through the VIP: TCP and UDP, IPv4 and IPv6, small and large, with
//! the programs as they are installed.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use compat_tests::frames::Wire;
use compat_tests::lab::{Lab, addr, url};
use compat_tests::privilege::root_or_skip;
use compat_tests::udp::{self, EchoServer};
use compat_tests::{Context, Result};

const SOON: Duration = Duration::from_secs(5);

fn socket(host: &str, port: u16) -> Result<SocketAddr> {
    let ip: IpAddr = host.parse().what(|| host.to_owned())?;
    Ok(SocketAddr::new(ip, port))
}

#[test]
fn tcp_requests_are_spread_and_come_from_local_addresses() -> Result<()> {
    if !root_or_skip("tcp_requests_are_spread_and_come_from_local_addresses")? {
        return Ok(());
    }
    let mut lab = Lab::for_test("tcp")?;
    lab.with_logs(|lab| {
        for vip in [addr::VIP4, addr::VIP6] {
            let tally = lab.requests(&url(vip, "/"), 40)?;
            assert_eq!(tally.failures, Vec::<String>::new());
            // One worker, equal weights: round robin alternates.
            assert_eq!(tally.by_server, [20, 20], "through {vip}");
        }
        let peers: BTreeSet<String> = (0..2)
            .flat_map(|i| {
                let log = lab.file(&format!("access-rs{}.log", i + 1));
                let text = std::fs::read_to_string(log).unwrap_or_default();
                let peer = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
                text.lines().map(peer).collect::<Vec<_>>()
            })
            // curl in the namespace itself, and keepalived's checks.
            .filter(|peer| peer != "127.0.0.1" && peer != addr::KERNEL_IN4)
            .collect();
        assert!(!peers.is_empty());
        for peer in &peers {
            let local4 = peer.strip_prefix("10.0.1.").is_some_and(|last| {
                last.parse::<u8>()
                    .is_ok_and(|last| (201..=204).contains(&last))
            });
            let local6 = peer == "2001:db8:2::201" || peer == "2001:db8:2::202";
            assert!(
                local4 || local6,
                "a request came from {peer}, no local address"
            );
        }
        Ok(())
    })
}

#[test]
fn the_client_address_reaches_the_server_as_a_tcp_option() -> Result<()> {
    if !root_or_skip("the_client_address_reaches_the_server_as_a_tcp_option")? {
        return Ok(());
    }
    let mut lab = Lab::for_test("toa")?;
    lab.with_logs(|lab| {
        let wire = Wire::open(&lab.servers[0], "eth0")?;
        let client: [u8; 4] = [192, 0, 2, 100];
        lab.requests(&url(addr::VIP4, "/"), 2)?;
        let option = wire.receive(SOON, |frame| {
            // Kind 254, length 8, port, address.
            is_tcp4(frame)
                && frame
                    .windows(8)
                    .any(|w| w[..2] == [254, 8] && w[4..] == client)
        })?;
        assert!(
            option.is_some(),
            "rs1 saw no TCP option 254 with {client:?}"
        );
        let client6: std::net::Ipv6Addr = addr::CLIENT6.parse().what(|| addr::CLIENT6)?;
        lab.requests(&url(addr::VIP6, "/"), 2)?;
        let option = wire.receive(SOON, |frame| {
            frame
                .windows(20)
                .any(|w| w[..2] == [254, 20] && w[4..] == client6.octets())
        })?;
        assert!(option.is_some(), "rs1 saw no TCP option 254 with {client6}");
        Ok(())
    })
}

fn is_tcp4(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[8, 0]) && frame.get(23) == Some(&6)
}

#[test]
fn large_transfers_both_ways_and_many_requests_on_one_connection() -> Result<()> {
    if !root_or_skip("large_transfers_both_ways_and_many_requests_on_one_connection")? {
        return Ok(());
    }
    let mut lab = Lab::for_test("large")?;
    lab.with_logs(|lab| {
        for vip in [addr::VIP4, addr::VIP6] {
            let big = lab.get(&url(vip, "/big"))?;
            assert_eq!(big.len(), 1 << 20, "a download through {vip}");
            assert_eq!(
                big,
                "0123456789abcde\n".repeat(65536),
                "a download through {vip}"
            );
            let answer = lab.upload(&lab.client, 4 << 20, &url(vip, "/upload"))?;
            assert!(
                answer.ends_with(" 4194304\n"),
                "an upload through {vip}: {answer}"
            );
            let same = vec![url(vip, "/"); 100];
            let mut args = vec!["-sS", "--fail", "-m", "20"];
            args.extend(same.iter().map(String::as_str));
            let bodies = lab.client.must("curl", &args)?;
            let servers: BTreeSet<&str> = bodies.lines().collect();
            assert_eq!(
                (bodies.lines().count(), servers.len()),
                (100, 1),
                "{bodies}"
            );
        }
        Ok(())
    })
}

#[test]
fn udp_services_answer_from_both_servers() -> Result<()> {
    if !root_or_skip("udp_services_answer_from_both_servers")? {
        return Ok(());
    }
    let mut lab = Lab::for_test("udp")?;
    lab.with_logs(|lab| {
        let mut echoes = Vec::new();
        for i in 0..2 {
            let addrs = [socket(addr::RS4[i], 7)?, socket(addr::RS6[i], 7)?];
            echoes.push(EchoServer::start(
                &lab.servers[i],
                &format!("rs{}", i + 1),
                &addrs,
            )?);
        }
        for vip in [addr::VIP4, addr::VIP6] {
            let mut by_server = [0; 2];
            for size in [1, 2, 100, 1000, 1400, 0, 33, 512] {
                let data = vec![b'd'; size];
                let answer = udp::ask(&lab.client, socket(vip, 7)?, &data, SOON)?;
                let answer = answer.ok_or_else(|| {
                    compat_tests::Error::new(format!("no answer to {size} bytes through {vip}"))
                })?;
                let (name, echoed) = answer.split_at(4);
                assert_eq!(echoed, data, "through {vip}");
                by_server[usize::from(name == b"rs2:")] += 1;
            }
            assert_eq!(by_server, [4, 4], "through {vip}");
        }
        Ok(())
    })
}

#[test]
fn statistics_count_what_was_sent() -> Result<()> {
    if !root_or_skip("statistics_count_what_was_sent")? {
        return Ok(());
    }
    let mut lab = Lab::for_test("stats")?;
    lab.with_logs(|lab| {
        lab.ipvsadm(&["-Z"])?.success()?;
        lab.requests(&url(addr::VIP4, "/"), 30)?;
        let exact = lab.ipvsadm(&["-Ln", "--stats", "--exact"])?.success()?;
        let row = |what: &str| -> Vec<u64> {
            let line = exact.lines().find(|l| l.contains(what)).unwrap_or_default();
            line.split_whitespace()
                .filter_map(|f| f.parse().ok())
                .collect()
        };
        // Columns: Conns InPkts OutPkts InBytes OutBytes.
        let service = row("TCP  192.0.2.10:80");
        let servers: Vec<Vec<u64>> = addr::RS4
            .iter()
            .map(|rs| row(&format!("{rs}:80")))
            .collect();
        assert_eq!(service.first(), Some(&30), "{exact}");
        for (i, total) in service.iter().enumerate() {
            let sum: u64 = servers.iter().filter_map(|s| s.get(i)).sum();
            assert_eq!(sum, *total, "column {i} of\n{exact}");
        }
        // A request is at least SYN, ACK, GET, FIN one way and as much back.
        assert!(
            service
                .get(1..3)
                .is_some_and(|p| p.iter().all(|&n| n >= 4 * 30)),
            "{exact}"
        );
        lab.ipvsadm(&["-Z"])?.success()?;
        let zero = lab.ipvsadm(&["-Ln", "--stats", "--exact"])?.success()?;
        let line = zero
            .lines()
            .find(|l| l.contains("TCP  192.0.2.10:80"))
            .unwrap_or_default();
        assert!(line.split_whitespace().skip(2).all(|f| f == "0"), "{zero}");
        Ok(())
    })
}
