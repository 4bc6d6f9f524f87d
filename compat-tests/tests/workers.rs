//! Two workers, each with a queue of each port: the kernel's fan-out sends a
//! reply to either, and the one that does not own the connection hands it over.

use compat_tests::lab::{Lab, START, Slot, addr, url};
use compat_tests::privilege::root_or_skip;
use compat_tests::spawn::{Lifetime, Process};
use compat_tests::{Context, Error, Result, bins, wait};
use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

/// The lab's configuration with a second queue and a second worker.
fn two_workers() -> Result<String> {
    let path = bins::repository()?.join("conf/lab/dpvs.conf");
    let conf = std::fs::read_to_string(&path).what(|| path.display().to_string())?;
    let missing = || Error::new("conf/lab/dpvs.conf has no worker cpu1 before timer_defs");
    let (head, rest) = conf.split_once("worker_defs {").ok_or_else(missing)?;
    let (workers, tail) = rest.split_once("timer_defs").ok_or_else(missing)?;
    let at = workers.find("<init> worker cpu1").ok_or_else(missing)?;
    // Up to the brace of worker_defs itself.
    let end = workers.rfind('}').ok_or_else(missing)?;
    let second = workers
        .get(at..end)
        .ok_or_else(missing)?
        .replace("cpu1", "cpu2")
        .replace("cpu_id  1", "cpu_id  2")
        .replace("queue_ids    0", "queue_ids    1");
    let first = workers.get(..end).ok_or_else(missing)?;
    let head = head.replace("queue_number        1", "queue_number        2");
    Ok(format!(
        "{head}worker_defs {{{first}{second}}}\ntimer_defs{tail}"
    ))
}

fn start_dpvs(lab: &Lab) -> Result<Process> {
    let conf = lab.file("dpvs.conf");
    std::fs::write(&conf, two_workers()?).what(|| conf.display().to_string())?;
    let set = sched_getaffinity(Pid::from_raw(0)).what(|| "processors")?;
    let cpus: Vec<String> = (0..CpuSet::count())
        .filter(|&cpu| set.is_set(cpu).unwrap_or(false))
        .map(|cpu| cpu.to_string())
        .collect();
    let all = format!("({})", cpus.join(","));
    let mut command = lab.director.command(bins::path("dpvs")?);
    command.current_dir(&lab.dir).arg("-c").arg(conf);
    command.arg("-p").arg(lab.file("dpvs.pid"));
    command.arg("-x").arg(lab.file("dpvs.ipc"));
    command.args(["--", "--no-huge", "-m", "512", "--no-pci", "--no-shconf"]);
    command.args(["--file-prefix", lab.name()]);
    command.args(["--lcores", &format!("0@{all},1@{all},2@{all}")]);
    for vdev in [
        "net_af_packet0,iface=vout,qpairs=2",
        "net_af_packet1,iface=vin,qpairs=2",
    ] {
        command.args(["--vdev", vdev]);
    }
    let mut process = Process::start("dpvs", &command, &lab.file("dpvs.out"), Lifetime::Bound)?;
    wait::until_true("dpvs with two workers to answer dpip", START, || {
        process.still_running()?;
        Ok(lab.dpip(&["link", "show"])?.ok())
    })?;
    Ok(process)
}

#[test]
fn two_workers_share_the_connections() -> Result<()> {
    if !root_or_skip("two_workers_share_the_connections")? {
        return Ok(());
    }
    let _turn = Slot::wait()?;
    let name = format!("t{}-workers", std::process::id());
    let mut lab = Lab::wires(&name, Lifetime::Bound)?;
    lab.with_logs(|lab| {
        for i in 0..2 {
            lab.start_nginx(i)?;
        }
        lab.dpvs = Some(start_dpvs(lab)?);
        lab.addresses()?;
        lab.start_keepalived()?;
        lab.wait_programmed(START)?;
        lab.wait_served(START)?;
        for vip in [addr::VIP4, addr::VIP6] {
            let tally = lab.requests(&url(vip, "/"), 60)?;
            assert_eq!(tally.failures, Vec::<String>::new());
            assert!(tally.by_server.iter().all(|&n| n > 0), "{tally:?}");
        }
        // Sixty times two coins: each worker has connections, and among these
        // are some whose replies the other worker received.
        let list = lab.ipvsadm(&["-Lnc"])?.success()?;
        for worker in ["[1]", "[2]"] {
            assert!(list.contains(worker), "no connection of {worker}:\n{list}");
        }
        lab.still_running()
    })
}
