//! The director's kernel behind the dataplane: its addresses on the `.kni`
//! twins, and what the dataplane answers itself.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use compat_tests::lab::{Lab, addr, url};
use compat_tests::privilege::root_or_skip;
use compat_tests::{Context, Error, Result};

const SOON: Duration = Duration::from_secs(5);

#[test]
fn pings_of_the_vips_the_dataplane_and_the_kernel_are_answered() -> Result<()> {
    if !root_or_skip("pings_of_the_vips_the_dataplane_and_the_kernel_are_answered")? {
        return Ok(());
    }
    let mut lab = Lab::for_test("ping")?;
    lab.with_logs(|lab| {
        let ours = [addr::VIP4, addr::VIP6, addr::OUTSIDE4, addr::OUTSIDE6];
        for host in ours.into_iter().chain([addr::KERNEL4, addr::KERNEL6]) {
            for size in ["0", "56", "1400"] {
                let out = lab.client.run(
                    "ping",
                    &["-n", "-c", "2", "-i", "0.2", "-W", "2", "-s", size, host],
                )?;
                assert!(out.ok(), "ping -s {size} {host}:\n{}", out.stdout);
                assert!(!out.stdout.contains("DUP!"), "{}", out.stdout);
            }
        }
        assert!(
            !lab.ping("192.0.2.99")?,
            "an address that nobody has answers"
        );
        Ok(())
    })
}

#[test]
fn traceroute_to_the_vip_is_one_hop() -> Result<()> {
    if !root_or_skip("traceroute_to_the_vip_is_one_hop")? {
        return Ok(());
    }
    let mut lab = Lab::for_test("trace")?;
    lab.with_logs(|lab| {
        for (family, vip) in [("-4", addr::VIP4), ("-6", addr::VIP6)] {
            for method in [&["-I"][..], &["-T", "-p", "80"]] {
                let args = [
                    &[family, "-n", "-q", "1", "-w", "2", "-m", "4"],
                    method,
                    &[vip],
                ]
                .concat();
                let text = lab.client.must("traceroute", &args)?;
                let hops: Vec<&str> = text.lines().skip(1).collect();
                assert_eq!(hops.len(), 1, "traceroute {}:\n{text}", args.join(" "));
                assert!(
                    hops[0].contains(vip),
                    "traceroute {}:\n{text}",
                    args.join(" ")
                );
            }
        }
        Ok(())
    })
}

#[test]
fn tcp_to_the_kernel_passes_the_dataplane() -> Result<()> {
    if !root_or_skip("tcp_to_the_kernel_passes_the_dataplane")? {
        return Ok(());
    }
    let mut lab = Lab::for_test("ssh")?;
    lab.with_logs(|lab| {
        for host in [addr::KERNEL4, addr::KERNEL6] {
            let ip: IpAddr = host.parse().what(|| host)?;
            let at = SocketAddr::new(ip, 22);
            let listener = lab.director.enter(|| TcpListener::bind(at).what(|| host))?;
            let server = std::thread::spawn(move || -> std::io::Result<()> {
                let (mut peer, _) = listener.accept()?;
                peer.write_all(b"SSH-2.0-lab\r\n")?;
                std::io::copy(&mut peer.try_clone()?, &mut peer)?;
                Ok(())
            });
            let text = "a login\n".repeat(8192);
            let echoed = lab.client.enter(|| {
                let mut stream = TcpStream::connect_timeout(&at, SOON).what(|| host)?;
                stream.set_read_timeout(Some(SOON)).what(|| host)?;
                let mut writer = stream.try_clone().what(|| host)?;
                let sent = text.clone();
                let feeder = std::thread::spawn(move || {
                    writer.write_all(sent.as_bytes())?;
                    writer.shutdown(std::net::Shutdown::Write)
                });
                let mut answer = String::new();
                stream
                    .read_to_string(&mut answer)
                    .what(|| format!("answer of {host}"))?;
                feeder
                    .join()
                    .map_err(|_| Error::new("feeder"))?
                    .what(|| "sending")?;
                Ok(answer)
            })?;
            assert_eq!(echoed, format!("SSH-2.0-lab\r\n{text}"), "through {host}");
            server
                .join()
                .map_err(|_| Error::new("server"))?
                .what(|| "server")?;
        }
        Ok(())
    })
}

#[test]
fn a_smaller_mtu_behind_is_reported_to_the_client_and_heeded() -> Result<()> {
    if !root_or_skip("a_smaller_mtu_behind_is_reported_to_the_client_and_heeded")? {
        return Ok(());
    }
    let mut lab = Lab::for_test("pmtu")?;
    lab.with_logs(|lab| {
        // Only the way to the servers is narrow: their answers are small.
        for (rs4, rs6) in addr::RS4.iter().zip(addr::RS6) {
            let narrow = ["dev", "dpdk1", "mtu", "1300"];
            lab.dpip(&[&["route", "add", &format!("{rs4}/32")], &narrow[..]].concat())?
                .success()?;
            lab.dpip(&[&["-6", "route", "add", &format!("{rs6}/128")], &narrow[..]].concat())?
                .success()?;
        }
        // Less what the client's address takes in a segment (TOA).
        for (family, vip, learnt) in [
            ("-4", addr::VIP4, "mtu 1292"),
            ("-6", addr::VIP6, "mtu 1280"),
        ] {
            let answer = lab.upload(&lab.client, 1 << 20, &url(vip, "/upload"))?;
            assert!(
                answer.ends_with(" 1048576\n"),
                "an upload through {vip}: {answer}"
            );
            let route = lab.client.ip(&[family, "route", "get", vip])?;
            assert!(
                route.contains(learnt),
                "the client has not learnt of it: {route}"
            );
        }
        Ok(())
    })
}
