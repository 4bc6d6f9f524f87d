//! NAT64 and NAT46 end to end: curl of one family, a web server of the other.
//!
//! Fragments are not tried here: the kernel puts IPv4 ones together before the
//! driver (net_af_packet) sees them.

use std::time::Duration;

use compat_tests::lab::{Lab, addr, end, url};
use compat_tests::privilege::root_or_skip;
use compat_tests::spawn::Lifetime;
use compat_tests::{Result, wait};

const SOON: Duration = Duration::from_secs(5);

/// Local addresses.
const LOCAL4: &str = "10.0.1.201";
const LOCAL6: &str = "2001:db8:2::201";

fn lab(test: &str) -> Result<Lab> {
    let mut lab = Lab::wires(&format!("f{}-{test}", std::process::id()), Lifetime::Bound)?;
    lab.start_nginx(0)?;
    lab.start_dpvs()?;
    for (ip, plen, dev, flag) in [
        (addr::VIP4, 32, "dpdk0", None),
        (addr::VIP6, 128, "dpdk0", None),
        (LOCAL4, 32, "dpdk1", Some("sapool")),
        (LOCAL6, 128, "dpdk1", Some("sapool")),
    ] {
        let family = if ip.contains(':') { "-6" } else { "-4" };
        let ip = format!("{ip}/{plen}");
        let mut args = vec![family, "addr", "add", &ip, "dev", dev];
        args.extend(flag);
        lab.dpip(&args)?.success()?;
    }
    Ok(lab)
}

fn ipvsadm(lab: &Lab, args: &[&str]) -> Result<()> {
    lab.ipvsadm(args)?.success().map(drop)
}

/// A FullNAT service with one server.
fn fullnat(lab: &Lab, kind: &str, vip: &str, local: &str, server: &str) -> Result<()> {
    ipvsadm(lab, &["-A", kind, vip, "-s", "rr"])?;
    ipvsadm(lab, &["-P", kind, vip, "-z", local, "-F", "dpdk1"])?;
    ipvsadm(lab, &["-a", kind, vip, "-r", server, "-b"])
}

#[test]
fn web_servers_of_one_family_serve_clients_of_the_other() -> Result<()> {
    if !root_or_skip("web_servers_of_one_family")? {
        return Ok(());
    }
    let mut lab = lab("cross")?;
    lab.with_logs(|lab| {
        for (vip, local, server) in [
            (addr::VIP6, LOCAL4, addr::RS4[0]),
            (addr::VIP4, LOCAL6, addr::RS6[0]),
        ] {
            fullnat(lab, "-t", &end(vip, 80), local, &end(server, 80))?;
            wait::until_true(&format!("an answer through {vip}"), SOON, || {
                Ok(lab.get(&url(vip, "/")).is_ok())
            })?;
            for _ in 0..5 {
                assert_eq!(lab.get(&url(vip, "/"))?.trim(), "rs1");
            }
            assert_eq!(lab.get(&url(vip, "/big"))?.len(), 1 << 20);
        }
        lab.still_running()
    })
}
