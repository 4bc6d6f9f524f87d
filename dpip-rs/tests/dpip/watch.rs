//! `-w`, and the forms `-j` and `-o` of the listings of the light IP stack.

use serde_json::Value;

use crate::shows::ports;

fn arrays(text: &str) -> Vec<Value> {
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

#[test]
fn links_as_rates() {
    let said = ports().dpip("-w -c 2 -i 1 link show dpdk0");
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    let lines: Vec<&str> = said.out.lines().collect();
    // Not on a terminal: rounds with an empty line between them.
    assert_eq!(lines.len(), 5, "{said:?}");
    assert!(lines[0].starts_with("device "), "{said:?}");
    assert_eq!((lines[0], lines[2]), (lines[3], ""));
    let cells: Vec<&str> = lines[1].split_whitespace().collect();
    assert_eq!(cells.len(), 7, "{said:?}");
    assert_eq!((cells[0], cells[3]), ("dpdk0", "0"));
    // Ten packets a sample, a second and a bit apart.
    let pps: f64 = cells[1].parse().unwrap();
    assert!(pps > 0.0 && pps <= 10.0, "{said:?}");
}

#[test]
fn lcores_as_rates() {
    let said = ports().dpip("-w -j -c 1 -i 1 link show cpu");
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    let rounds = arrays(&said.out);
    assert_eq!(rounds.len(), 1);
    let roles: Vec<&str> = rounds[0]
        .as_array()
        .unwrap()
        .iter()
        .map(|lcore| lcore["role"].as_str().unwrap())
        .collect();
    assert_eq!(roles, ["master", "worker", "worker"]);
    assert_eq!(rounds[0][1]["loops"], 0.0);
}

#[test]
fn anything_else_again() {
    let said = ports().dpip("-w -c 2 -i 1 maddr show dev dpdk0");
    let once = ports().dpip("maddr show dev dpdk0");
    assert_eq!(said.out, format!("{0}\n{0}", once.out));
    let said = ports().dpip("-w -j -c 2 -i 1 maddr show dev dpdk0");
    let rounds = arrays(&said.out);
    assert_eq!(rounds.len(), 2);
    assert_eq!(rounds[0][0]["link"][0]["address"], "01:00:5e:00:00:01");
    // What fails ends it.
    let said = ports().dpip("-w -c 2 tunnel show");
    assert_eq!(said.code, Some(1), "{said:?}");
}

#[test]
fn forms() {
    let standin = ports();
    let link = standin.dpip("-o link show dpdk0");
    assert_eq!(link.out.lines().count(), 1, "{link:?}");
    assert!(
        link.out.contains("tx-queue 8\\    UP 10000 Mbps"),
        "{link:?}"
    );
    let cpus = standin.dpip("-o link show cpu");
    assert_eq!(cpus.out.lines().count(), 3, "{cpus:?}");
    assert!(
        cpus.out.starts_with("1: cpu0: socket 0\\    queues none\n"),
        "{cpus:?}"
    );

    // One device fails: the other is listed, and the exit code says it.
    let all = standin.dpip("-j -s -v link show");
    assert_eq!(all.code, Some(1));
    let list = &arrays(&all.out)[0];
    assert_eq!(list.as_array().unwrap().len(), 1);
    let nic = &list[0];
    assert_eq!(
        (&nic["ifname"], &nic["ifindex"]),
        (&"dpdk0".into(), &1.into())
    );
    assert_eq!(nic["xstats"]["rx_good_packets"], 4);
    assert_eq!(nic["queues"][0], "rx0-tx0     cpu1-cpu1");
    assert_eq!(nic["driver"]["driver_name"], "net_ixgbe");
    let bond = standin.dpip("-j link show bond0 status");
    assert_eq!(
        arrays(&bond.out)[0][0]["bond"]["members"][0]["primary"],
        true
    );
    let cpus = standin.dpip("-j link show cpu");
    let cpus = &arrays(&cpus.out)[0];
    assert_eq!(
        (&cpus[1]["role"], &cpus[1]["queues"][0]),
        (&"worker".into(), &"dpdk0:rx0".into())
    );
    let vlans = standin.dpip("-j vlan show link dpdk0");
    assert_eq!(
        (vlans.err.as_str(), &arrays(&vlans.out)[0][0]["id"]),
        ("", &100.into())
    );
    let rates = standin.dpip("-j -s -i 1 -c 1 link show dpdk0");
    let rates = arrays(&rates.out);
    assert_eq!(
        (rates.len(), &rates[0][0]["rates"]["ipackets"]),
        (1, &10.into())
    );
    let pretty = standin.dpip("-jp vlan show link dpdk0").out;
    assert!(
        pretty.starts_with("[\n  {\n    \"ifname\": \"dpdk0.100\",\n"),
        "{pretty}"
    );
    // A refusal is no listing.
    let none = standin.dpip("-j link show cpu9");
    assert_eq!((none.code, none.out.as_str()), (Some(1), ""));
}
