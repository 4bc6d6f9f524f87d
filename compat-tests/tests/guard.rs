//! Black and white lists, rate limits and traffic control of the whole daemon:
//! told by ipvsadm and dpip, felt by curl.

use std::process::Command;
use std::time::Duration;

use compat_tests::lab::{Lab, START, addr, end, url};
use compat_tests::privilege::root_or_skip;
use compat_tests::spawn::{Lifetime, Process};
use compat_tests::{Context, Result, run, wait};

/// Bytes of the file that is fetched.
const LARGE: usize = 2_000_000;

/// A lab with a web server behind a service of both families, without keepalived.
fn lab(test: &str) -> Result<(Lab, Process)> {
    let mut lab = Lab::wires(&format!("g{}-{test}", std::process::id()), Lifetime::Bound)?;
    lab.start_dpvs()?;
    let dir = lab.dir.display().to_string();
    let conf = format!(
        "daemon off; worker_processes 1; pid {dir}/n.pid; error_log {dir}/n.err;\n\
         events {{ }}\n\
         http {{ access_log off; client_body_temp_path {dir}/n-body;\n\
         proxy_temp_path {dir}/n-1; fastcgi_temp_path {dir}/n-2; uwsgi_temp_path {dir}/n-3; scgi_temp_path {dir}/n-4;\n\
         server {{ listen 80; listen [::]:80; root {dir}/www; }} }}\n"
    );
    let www = lab.dir.join("www");
    std::fs::create_dir(&www).what(|| "the web server's folder")?;
    std::fs::write(www.join("index.html"), "hello\n").what(|| "a small file")?;
    std::fs::write(www.join("large"), vec![b'x'; LARGE]).what(|| "a large file")?;
    let file = lab.file("n.conf");
    std::fs::write(&file, conf).what(|| "nginx's configuration")?;
    let mut nginx = lab.servers[0].command("nginx");
    nginx.arg("-e").arg(lab.file("n.err")).arg("-c").arg(&file);
    nginx.arg("-p").arg(&lab.dir).args(["-g", "user root;"]);
    let server = Process::start("nginx", &nginx, &lab.file("n.out"), Lifetime::Bound)?;
    for (family, vip, mask, rs, laddr) in [
        ("-4", addr::VIP4, 32, addr::RS4[0], "10.0.1.201"),
        ("-6", addr::VIP6, 128, addr::RS6[0], "2001:db8:2::201"),
    ] {
        let (at, to) = (end(vip, 80), end(rs, 80));
        let addr = format!("{vip}/{mask}");
        dpip(&lab, &[family, "addr", "add", &addr, "dev", "dpdk0"])?;
        ipvsadm(&lab, &["-A", "-t", &at, "-s", "rr"])?;
        ipvsadm(&lab, &["-P", "-t", &at, "-z", laddr, "-F", "dpdk1"])?;
        ipvsadm(&lab, &["-a", "-t", &at, "-r", &to, "-b"])?;
        wait::until_true("the service to answer", START, || reaches(&lab, vip))?;
    }
    Ok((lab, server))
}

fn ipvsadm(lab: &Lab, args: &[&str]) -> Result<String> {
    lab.ipvsadm(args)?.success()
}

fn dpip(lab: &Lab, args: &[&str]) -> Result<String> {
    lab.dpip(args)?.success()
}

/// Whether a request of the client is answered.
fn reaches(lab: &Lab, vip: &str) -> Result<bool> {
    let mut curl: Command = lab.client.command("curl");
    curl.args(["-sS", "-m", "2", "--noproxy", "*", "-g", &url(vip, "/")]);
    let out = run::run(&mut curl)?;
    Ok(out.ok() && out.stdout == "hello\n")
}

/// Packets dropped for a reason.
fn dropped(lab: &Lab, reason: &str) -> Result<u64> {
    let list = dpip(lab, &["drop", "show", "total"])?;
    let line = list
        .lines()
        .find(|l| l.split_whitespace().nth(1) == Some(reason));
    let count = line.and_then(|l| l.split_whitespace().nth(2));
    Ok(count.and_then(|n| n.parse().ok()).unwrap_or(0))
}

#[test]
fn lists_keep_clients_out_and_let_them_in() -> Result<()> {
    if !root_or_skip("lists_keep_clients_out_and_let_them_in")? {
        return Ok(());
    }
    let (mut lab, _server) = lab("lists")?;
    lab.with_logs(|lab| {
        for (vip, client, net) in [
            (addr::VIP4, addr::CLIENT4, "192.0.2.0/24"),
            (addr::VIP6, addr::CLIENT6, "2001:db8:1::/64"),
        ] {
            let six = vip.contains(':');
            let at = end(vip, 80);
            let at = at.as_str();
            let family = if six { "-6" } else { "-4" };
            assert!(reaches(lab, vip)?);
            // By address.
            ipvsadm(lab, &["-U", "-t", at, "-k", client])?;
            let listed = ipvsadm(lab, &["-B", "-t", at])?;
            assert!(listed.contains(client), "{listed}");
            assert!(!reaches(lab, vip)?, "{vip} in spite of the black list");
            assert!(dropped(lab, "black-list")? > 0);
            ipvsadm(lab, &["-V", "-t", at, "-k", client])?;
            assert!(reaches(lab, vip)?);
            // By set, which changes under the list.
            let set = if six { "bad6" } else { "bad4" };
            let entry = format!("ipset:{set}");
            dpip(lab, &[family, "ipset", "create", set, "hash:net"])?;
            ipvsadm(lab, &["-U", "-t", at, "-k", &entry])?;
            assert!(reaches(lab, vip)?);
            dpip(lab, &["ipset", "add", set, net])?;
            assert!(!reaches(lab, vip)?);
            dpip(lab, &["ipset", "add", set, client, "nomatch"])?;
            assert!(reaches(lab, vip)?);
            assert_eq!(dpip(lab, &["ipset", "test", set, client])?, "false\n");
            let shown = dpip(lab, &["ipset", "show", set])?;
            assert!(shown.contains("References: 1"), "{shown}");
            assert!(!lab.dpip(&["ipset", "destroy", set])?.ok());
            ipvsadm(lab, &["-V", "-t", at, "-k", &entry])?;
            dpip(lab, &["ipset", "destroy", set])?;
            // A white list lets in nobody else.
            let other = if six { "2001:db8:1::77" } else { "192.0.2.77" };
            ipvsadm(lab, &["-O", "-t", at, "-2", other])?;
            assert!(!reaches(lab, vip)?);
            ipvsadm(lab, &["-O", "-t", at, "-2", client])?;
            assert!(reaches(lab, vip)?);
            assert!(dropped(lab, "white-list")? > 0);
        }
        Ok(())
    })
}

#[test]
fn rates_are_limited_and_shaped() -> Result<()> {
    if !root_or_skip("rates_are_limited_and_shaped")? {
        return Ok(());
    }
    let (mut lab, _server) = lab("rates")?;
    lab.with_logs(|lab| {
        // Eight megabits a second out of dpdk0: two megabytes take two seconds,
        // give or take what machine and TCP do to it.
        dpip(lab, &["link", "set", "dpdk0", "tc-egress", "on"])?;
        dpip(
            lab,
            &[
                "qsch", "add", "dev", "dpdk0", "root", "tbf", "rate", "8m", "burst", "20000",
                "latency", "50",
            ],
        )?;
        let mut curl: Command = lab.client.command("curl");
        curl.args(["-sS", "-m", "60", "--noproxy", "*", "-o", "/dev/null"]);
        curl.args(["-w", "%{size_download} %{time_total}"]);
        curl.arg(url(addr::VIP4, "/large"));
        let out = run::run_with(&mut curl, b"", Duration::from_secs(70))?.success()?;
        let (size, seconds) = out.split_once(' ').unwrap_or(("", ""));
        assert_eq!(size, LARGE.to_string());
        let seconds: f64 = seconds.parse().unwrap_or(0.0);
        assert!(seconds > 1.8, "two megabytes in {seconds} s at 8 Mbit/s");
        assert!(seconds < 30.0, "two megabytes in {seconds} s at 8 Mbit/s");
        let shown = dpip(lab, &["-s", "qsch", "show", "dev", "dpdk0"])?;
        assert!(
            shown.contains("tbf root") && shown.contains("Sent 2"),
            "{shown}"
        );
        // A classifier that drops what goes to the client.
        let pattern = format!("tcp,to={}", addr::CLIENT4);
        dpip(
            lab,
            &[
                "cls", "add", "dev", "dpdk0", "qsch", "root", "match", "pattern", &pattern,
                "target", "drop",
            ],
        )?;
        assert!(!reaches(lab, addr::VIP4)?);
        assert!(reaches(lab, addr::VIP6)?);
        assert!(dropped(lab, "traffic-control")? > 0);
        dpip(lab, &["qsch", "del", "dev", "dpdk0", "root"])?;
        assert!(reaches(lab, addr::VIP4)?);
        // Of one bit a second there is nothing left soon.
        let service = format!("tcp:{}:80", addr::VIP4);
        dpip(lab, &["limit", "set", &service, "bps", "1", "burst", "1"])?;
        assert!(dpip(lab, &["limit", "show"])?.contains(&service));
        // A few requests are within what may come at once.
        wait::until_true("the limit to be felt", START, || {
            reaches(lab, addr::VIP4).map(|reached| !reached)
        })?;
        assert!(dropped(lab, "rate-limit")? > 0);
        dpip(lab, &["limit", "del", &service])?;
        assert!(reaches(lab, addr::VIP4)?);
        Ok(())
    })
}

/// A request from this port of the client, or any (0).
fn reaches_from(lab: &Lab, vip: &str, port: u16) -> Result<bool> {
    let mut curl: Command = lab.client.command("curl");
    curl.args(["-sS", "-m", "1", "--noproxy", "*", "-g", &url(vip, "/")]);
    if port > 0 {
        curl.args(["--local-port", &port.to_string()]);
    }
    let out = run::run(&mut curl)?;
    Ok(out.ok() && out.stdout == "hello\n")
}

/// What a set is made with, and an entry that means the client (`C`, in the network
/// `N`), its port `P`, the virtual address `V`, each as the type's lists look at it.
const SETS: [(&str, &[&str], &str); 12] = [
    ("bitmap:ip", &["range", "N"], "C"),
    ("bitmap:ip,mac", &["range", "N"], "C"),
    ("bitmap:port", &["range", "1-65535"], "tcp:P"),
    ("hash:ip", &[], "C"),
    ("hash:net", &[], "N"),
    ("hash:ip,port", &[], "C,tcp:P"),
    ("hash:net,port", &[], "N,tcp:P"),
    ("hash:net,port,iface", &[], "N,tcp:P,dpdk0"),
    ("hash:ip,port,ip", &[], "C,tcp:80,V"),
    ("hash:ip,port,net", &[], "V,tcp:80,N"),
    ("hash:net,port,net", &[], "N,tcp:80,V/M"),
    ("hash:net,port,net,port", &[], "N,tcp:P,V/M,tcp:80"),
];

#[test]
fn sets_of_every_type_keep_the_client_out() -> Result<()> {
    if !root_or_skip("sets_of_every_type_keep_the_client_out")? {
        return Ok(());
    }
    let (mut lab, _server) = lab("sets")?;
    lab.with_logs(|lab| {
        for (vip, client, net, mask) in [
            (addr::VIP4, addr::CLIENT4, "192.0.2.0/24", "32"),
            (addr::VIP6, addr::CLIENT6, "2001:db8:1::/64", "128"),
        ] {
            let six = vip.contains(':');
            let family = if six { "-6" } else { "-4" };
            let service = end(vip, 80);
            for (n, (kind, options, entry)) in (0u16..).zip(SETS) {
                if six && kind.starts_with("bitmap") {
                    continue;
                }
                // Ports of the other family are not free again yet.
                let port = 40_100 + n + if six { 300 } else { 0 };
                let name = format!("s{n}{family}");
                let own_port = if entry.contains('P') { port } else { 0 };
                let fill = |text: &str| {
                    text.replace('C', client)
                        .replace('N', net)
                        .replace('P', &port.to_string())
                        .replace('V', vip)
                        .replace('M', mask)
                };
                let options: Vec<String> = options.iter().copied().map(fill).collect();
                let mut create = vec![family, "ipset", "create", &name, kind];
                create.extend(options.iter().map(String::as_str));
                dpip(lab, &create)?;
                let entry = fill(entry);
                let list = format!("ipset:{name}");
                ipvsadm(lab, &["-U", "-t", &service, "-k", &list])?;
                dpip(lab, &["ipset", "add", &name, &entry])?;
                let before = dropped(lab, "black-list")?;
                let reached = reaches_from(lab, vip, own_port)?;
                assert!(!reached, "{kind} {entry}: in spite of the black list");
                let after = dropped(lab, "black-list")?;
                assert!(after > before, "{kind} {entry}: dropped for another reason");
                if own_port > 0 {
                    let reached = reaches_from(lab, vip, own_port + 100)?;
                    assert!(reached, "{kind} {entry}: another port");
                }
                // The same set as the only ones who may come.
                ipvsadm(lab, &["-V", "-t", &service, "-k", &list])?;
                ipvsadm(lab, &["-O", "-t", &service, "-2", &list])?;
                let reached = reaches_from(lab, vip, own_port)?;
                assert!(reached, "{kind} {entry}: is on the white list");
                ipvsadm(lab, &["-Y", "-t", &service, "-2", &list])?;
                dpip(lab, &["ipset", "destroy", &name])?;
            }
        }
        assert_eq!(dropped(lab, "white-list")?, 0);
        Ok(())
    })
}

#[test]
fn a_token_bucket_shapes_iperf() -> Result<()> {
    if !root_or_skip("a_token_bucket_shapes_iperf")? {
        return Ok(());
    }
    let (mut lab, _server) = lab("iperf")?;
    let mut iperf = lab.servers[0].command("iperf3");
    iperf.args(["-s", "-B", addr::RS4[0]]);
    let log = lab.file("iperf.out");
    let _iperf = Process::start("iperf3", &iperf, &log, Lifetime::Bound)?;
    lab.with_logs(|lab| {
        let (at, to) = (end(addr::VIP4, 5201), end(addr::RS4[0], 5201));
        ipvsadm(lab, &["-A", "-t", &at, "-s", "rr"])?;
        ipvsadm(lab, &["-P", "-t", &at, "-z", "10.0.1.201", "-F", "dpdk1"])?;
        ipvsadm(lab, &["-a", "-t", &at, "-r", &to, "-b"])?;
        // Sixteen megabits a second towards the servers; the client counts what
        // arrived. Of what TCP makes of queues there is no more to say than that it
        // is not faster, and not slower than a third.
        dpip(lab, &["link", "set", "dpdk1", "tc-egress", "on"])?;
        dpip(
            lab,
            &[
                "qsch", "add", "dev", "dpdk1", "root", "tbf", "rate", "16m", "burst", "40000",
                "limit", "200000",
            ],
        )?;
        let mut client = lab.client.command("iperf3");
        client.args(["-c", addr::VIP4, "-t", "3", "-J"]);
        let out = run::run_with(&mut client, b"", Duration::from_secs(40))?.success()?;
        let sum = out.split("\"sum_received\"").nth(1).unwrap_or("");
        let rate = sum.split("\"bits_per_second\":").nth(1).unwrap_or("");
        let rate = rate.split([',', '}']).next().unwrap_or("").trim();
        let rate: f64 = rate.parse().unwrap_or(0.0);
        assert!(rate < 17e6, "{rate} bits a second through 16 megabits");
        assert!(rate > 5e6, "{rate} bits a second through 16 megabits");
        Ok(())
    })
}
