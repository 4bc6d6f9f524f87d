//! The lab's wires: namespaces, veth pairs, a bridge, addresses.
//!
//! The point that costs people a day: an af_packet port does not take frames
//! away from the kernel, which sees them all and would answer them too. So the
//! director's two wires have no address and no IPv6, and an nftables ingress
//! chain drops every frame; the packet socket of the port sees it before that.

use std::time::Duration;

use crate::error::Result;
use crate::lab::{Lab, addr};
use crate::netns::{Netns, veth};
use crate::run::{LIMIT, run_with};
use crate::wait;

/// The chain that keeps the director's kernel out of the dataplane's wires.
const KEEP_OUT: &str = r#"
table netdev dataplane {
    chain vout { type filter hook ingress device "vout" priority -500; policy drop; }
    chain vin { type filter hook ingress device "vin" priority -500; policy drop; }
}
"#;

/// Makes the namespaces of `lab` and joins them.
///
/// # Errors
/// The first command that fails.
pub fn build(lab: &Lab) -> Result<()> {
    for ns in [&lab.client, &lab.director, &lab.lan]
        .into_iter()
        .chain(&lab.servers)
    {
        Netns::create(ns.name())?;
    }
    let director = &lab.director;
    veth((director, "vout"), (&lab.client, "eth0"))?;
    veth((director, "vin"), (&lab.lan, "uplink"))?;
    keep_kernel_out(director)?;

    lab.lan
        .ip(&["link", "add", "br0", "type", "bridge", "forward_delay", "0"])?;
    lab.lan.ip(&["link", "set", "br0", "up"])?;
    lab.lan.ip(&["link", "set", "uplink", "master", "br0"])?;
    for (i, server) in lab.servers.iter().enumerate() {
        let port = format!("p{}", i + 1);
        veth((server, "eth0"), (&lab.lan, &port))?;
        lab.lan.ip(&["link", "set", &port, "master", "br0"])?;
        // The bridge has nothing to say itself.
        lab.lan
            .sysctl(&format!("net.ipv6.conf.{port}.disable_ipv6"), "1")?;
        host(server, addr::RS4[i], addr::RS6[i])?;
    }
    for dev in ["br0", "uplink"] {
        lab.lan
            .sysctl(&format!("net.ipv6.conf.{dev}.disable_ipv6"), "1")?;
    }
    host(&lab.client, addr::CLIENT4, addr::CLIENT6)?;
    // Thousands of short connections to one address and port.
    lab.client
        .sysctl("net.ipv4.ip_local_port_range", "1024 65000")?;
    lab.client.sysctl("net.ipv4.tcp_tw_reuse", "1")?;
    carrier(lab)
}

/// Takes the dataplane's wires away from the director's kernel.
fn keep_kernel_out(director: &Netns) -> Result<()> {
    for dev in ["vout", "vin"] {
        director.sysctl(&format!("net.ipv6.conf.{dev}.disable_ipv6"), "1")?;
        director.sysctl(&format!("net.ipv4.conf.{dev}.arp_ignore"), "8")?;
        director.plain_frames(dev)?;
    }
    let mut nft = director.command("nft");
    run_with(nft.args(["-f", "-"]), KEEP_OUT.as_bytes(), LIMIT)?
        .success()
        .map(drop)
}

/// A host with one address of each family on `eth0` and whole frames.
fn host(ns: &Netns, v4: &str, v6: &str) -> Result<()> {
    ns.plain_frames("eth0")?;
    ns.sysctl("net.ipv6.conf.eth0.accept_dad", "0")?;
    ns.sysctl("net.ipv6.conf.eth0.accept_ra", "0")?;
    ns.ip(&["addr", "add", &format!("{v4}/24"), "dev", "eth0"])?;
    ns.ip(&["addr", "add", &format!("{v6}/64"), "dev", "eth0", "nodad"])
        .map(drop)
}

/// Waits until every wire is up: a port opened on a dead one has no carrier.
fn carrier(lab: &Lab) -> Result<()> {
    let wires = [
        (&lab.director, "vout"),
        (&lab.director, "vin"),
        (&lab.client, "eth0"),
    ];
    for (ns, dev) in wires {
        wait::until_true(&format!("{dev} to be up"), Duration::from_secs(5), || {
            Ok(ns.ip(&["-br", "link", "show", dev])?.contains("LOWER_UP"))
        })?;
    }
    Ok(())
}
