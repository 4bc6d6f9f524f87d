//! What operators see of the wires: captures that tshark reads, traffic statistics,
//! LLDP with a neighbour.

use std::time::Duration;

use compat_tests::frames::Wire;
use compat_tests::lab::{Lab, START, addr, url};
use compat_tests::privilege::root_or_skip;
use compat_tests::spawn::{Lifetime, Process};
use compat_tests::{Error, Result, run, wait};

const SOON: Duration = Duration::from_secs(5);

/// A lab with one web service.
fn lab(test: &str) -> Result<Lab> {
    let mut lab = Lab::wires(&format!("s{}-{test}", std::process::id()), Lifetime::Bound)?;
    lab.start_dpvs_with(|conf| conf.replacen("global_defs {", "global_defs {\n    lldp on", 1))?;
    lab.start_nginx(0)?;
    lab.dpip(&["addr", "add", "192.0.2.10/32", "dev", "dpdk0"])?
        .success()?;
    for args in [
        "-A -t 192.0.2.10:80 -s rr",
        "-P -t 192.0.2.10:80 -z 10.0.1.201 -F dpdk1",
        "-a -t 192.0.2.10:80 -r 10.0.1.11:80 -b",
    ] {
        let args: Vec<&str> = args.split(' ').collect();
        lab.ipvsadm(&args)?.success()?;
    }
    Ok(lab)
}

/// Fields of every frame of a file, as tshark reads them.
fn tshark(lab: &Lab, file: &str, filter: &str, fields: &[&str]) -> Result<Vec<String>> {
    let mut command = std::process::Command::new("tshark");
    command
        .arg("-r")
        .arg(lab.file(file))
        .args(["-Y", filter, "-T", "fields"]);
    command.args([
        "-o",
        "tcp.check_checksum:TRUE",
        "-o",
        "ip.check_checksum:TRUE",
    ]);
    for field in fields {
        command.args(["-e", field]);
    }
    let out = run::run_with(&mut command, b"", Duration::from_secs(60))?.success()?;
    Ok(out.lines().map(str::to_owned).collect())
}

#[test]
fn captures_statistics_and_lldp() -> Result<()> {
    if !root_or_skip("captures_statistics_and_lldp")? {
        return Ok(());
    }
    let mut lab = lab("seen")?;
    lab.with_logs(|lab| {
        // A request, captured on both devices, by port and by device.
        let mut both = lab.tool("dpip")?;
        both.args([
            "capture", "proto", "tcp", "port", "80", "seconds", "2", "file",
        ]);
        both.arg(lab.file("both.pcapng"));
        let mut both = Process::start("dpip", &both, &lab.file("both.out"), Lifetime::Bound)?;
        wait::until_true("the capture to run", START, || {
            // There is one at a time.
            let second = lab.dpip(&["capture", "seconds", "0", "file", "/dev/null"])?;
            Ok(!second.ok())
        })?;
        let body = lab.get(&url(addr::VIP4, "/"))?;
        assert_eq!(body, "rs1\n");
        wait::until_true("the capture to end", START, || Ok(both.exited()?.is_some()))?;
        let fields = [
            "frame.interface_name",
            "ip.src",
            "ip.dst",
            "http.request.method",
            "http.response.code",
        ];
        let http = tshark(lab, "both.pcapng", "http", &fields)?;
        assert_eq!(
            http,
            [
                "dpdk0\t192.0.2.100\t192.0.2.10\tGET\t",
                "dpdk1\t10.0.1.201\t10.0.1.11\tGET\t",
                "dpdk1\t10.0.1.11\t10.0.1.201\t\t200",
                "dpdk0\t192.0.2.10\t192.0.2.100\t\t200",
            ]
        );
        let wrong = "tcp.checksum.status == 0 || ip.checksum.status == 0 || !tcp.port == 80";
        assert!(tshark(lab, "both.pcapng", wrong, &["frame.number"])?.is_empty());
        // The client's address on its way to the server.
        let toa = "tcp.dstport == 80 && tcp.option_kind == 254 && ip.dst == 10.0.1.11";
        assert!(!tshark(lab, "both.pcapng", toa, &["frame.number"])?.is_empty());

        // Nothing but what the filter names, cut as told, no more than told.
        let mut few = lab.tool("dpip")?;
        few.args([
            "capture", "dev", "dpdk0", "proto", "icmp", "dir", "in", "snaplen", "60",
        ]);
        few.args(["count", "2", "seconds", "10", "file"])
            .arg(lab.file("few.pcapng"));
        let mut few = Process::start("dpip", &few, &lab.file("few.out"), Lifetime::Bound)?;
        wait::until_true("two echo requests to be captured", START, || {
            lab.get(&url(addr::VIP4, "/"))?;
            lab.ping(addr::VIP4)?;
            Ok(few.exited()?.is_some())
        })?;
        let got = tshark(
            lab,
            "few.pcapng",
            "frame",
            &["icmp.type", "frame.cap_len", "frame.len"],
        )?;
        assert_eq!(got, ["8\t60\t98"; 2]);

        // LLDP: ours on the wire, a stranger's in the listing.
        let eth0 = Wire::open(&lab.client, "eth0")?;
        let ours = lab.dpip(&["lldp", "show", "dev", "dpdk0"])?.success()?;
        assert!(ours.contains("Interface Name: dpdk0"), "{ours}");
        let frame = hear_lldp(lab, &eth0)?;
        let mut theirs = frame.clone();
        theirs[6..12].copy_from_slice(&eth0.mac());
        let name = theirs.windows(5).rposition(|w| w == b"dpdk0");
        let name = name.ok_or_else(|| Error::new("no name"))?;
        theirs[name..name + 5].copy_from_slice(b"swp7%");
        assert!(!lab.dpip(&["lldp", "show", "neigh", "dev", "dpdk0"])?.ok());
        eth0.send(&theirs)?;
        wait::until_true("the neighbour to be known", SOON, || {
            let said = lab.dpip(&["lldp", "show", "neigh", "dev", "dpdk0"])?;
            Ok(said.ok() && said.stdout.contains("swp7."))
        })?;
        assert!(!lab.dpip(&["lldp", "show", "neigh", "dev", "dpdk1"])?.ok());
        let groups = lab.dpip(&["maddr", "show", "dev", "dpdk0"])?.success()?;
        assert!(groups.contains("01:80:c2:00:00:0e"), "{groups}");

        lldpd_agrees(lab)?;

        // Statistics: off until switched on; the largest flow comes first.
        let list = || lab.dpip(&["iftraf", "show"]);
        assert!(list()?.stderr.contains("disabled"));
        lab.dpip(&["iftraf", "enable"])?.success()?;
        wait::until_true("a flow to be listed", START, || {
            for _ in 0..8 {
                lab.client.must(
                    "curl",
                    &[
                        "-s",
                        "-m",
                        "5",
                        "-o",
                        "/dev/null",
                        "--noproxy",
                        "*",
                        &url(addr::VIP4, "/big"),
                    ],
                )?;
            }
            Ok(list()?.stdout.contains("top1: dpdk"))
        })?;
        let said = list()?.stdout;
        assert!(
            said.contains("192.0.2.10") || said.contains("10.0.1.11"),
            "{said}"
        );
        lab.dpip(&["iftraf", "disable"])?.success()?;
        assert!(list()?.stderr.contains("disabled"));
        Ok(())
    })
}

/// lldpd beside the client: it knows the dataplane, and the dataplane knows it.
fn lldpd_agrees(lab: &Lab) -> Result<()> {
    let socket = lab.file("lldpd.sock");
    let mut command = lab.client.command("lldpd");
    command.args(["-d", "-I", "eth0", "-u"]).arg(&socket);
    command.arg("-p").arg(lab.file("lldpd.pid"));
    let mut lldpd = Process::start("lldpd", &command, &lab.file("lldpd.out"), Lifetime::Bound)?;
    let lldpcli = |words: &[&str]| {
        let mut command = lab.client.command("lldpcli");
        run::run(command.arg("-u").arg(&socket).args(words))
    };
    wait::until_true("lldpd to hear the dataplane", START, || {
        lldpd.still_running()?;
        // It says it at once when switched on, then twice a minute.
        for state in ["off", "on"] {
            lab.dpip(&["link", "set", "dpdk0", "lldp", state])?
                .success()?;
        }
        let said = lldpcli(&["show", "neighbors"])?.stdout;
        Ok(said.contains("PortID:") && said.contains("dpdk0") && said.contains("192.0.2.1"))
    })?;
    let mac = lab.client.must("cat", &["/sys/class/net/eth0/address"])?;
    wait::until_true("the dataplane to hear lldpd", START, || {
        // By itself it speaks twice a minute, and it may have done so while we were off.
        lldpcli(&["update"])?.success()?;
        let said = lab.dpip(&["lldp", "show", "neigh", "dev", "dpdk0"])?;
        Ok(said.ok() && said.stdout.to_lowercase().contains(mac.trim()))
    })
    .map(drop)
}

/// A frame of LLDP of the dataplane: at once when it is switched on.
fn hear_lldp(lab: &Lab, wire: &Wire) -> Result<Vec<u8>> {
    for state in ["off", "on"] {
        lab.dpip(&["link", "set", "dpdk0", "lldp", state])?
            .success()?;
    }
    let frame = wire.receive(SOON, |f| f.get(12..14) == Some(&[0x88, 0xcc]))?;
    let frame = frame.ok_or_else(|| Error::new("no LLDP on the wire"))?;
    assert_eq!(frame[..6], [0x01, 0x80, 0xc2, 0, 0, 0x0e]);
    Ok(frame)
}
