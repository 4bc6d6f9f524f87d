//! Words in, message out; message in, line out.

use super::*;

fn neigh(line: &str, command: Command) -> Result<Neigh, Failure> {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    parse(&words, command, Family::Unspec)
}

fn said(line: &str, command: Command) -> Vec<String> {
    let mut lines = neigh(line, command).unwrap_err().lines("dpip");
    assert_eq!(lines.pop().unwrap(), "dpip: invalid parameter");
    lines
}

#[test]
fn words_in_any_order() {
    let one = neigh("10.0.0.1 lladdr 00:11:22:33:44:55 dev dpdk0", Command::Add).unwrap();
    let two = neigh("dev dpdk0 lladdr 00:11:22:33:44:55 10.0.0.1", Command::Add).unwrap();
    assert_eq!(one, two);
    assert_eq!((one.af, one.eth_addr.0[5]), (Af::INET, 0x55));
    assert_eq!(
        neigh("fe80::1 dev dpdk0", Command::Del).unwrap().af,
        Af::INET6
    );
    assert!(neigh("", Command::Show).unwrap().ifname.is_empty());
}

#[test]
fn complaints() {
    assert_eq!(said("dev dpdk0", Command::Add), ["missing ip address"]);
    assert_eq!(
        said("10.0.0.1 lladdr 00:11", Command::Add),
        ["invalid link layer addr"]
    );
    assert_eq!(
        said("10.0.0.1 dev dpdk0", Command::Add),
        ["invalid MAC address"]
    );
    assert_eq!(
        said("10.0.0.1 lladdr 00:00:00:00:00:00 dev dpdk0", Command::Add),
        ["invalid MAC address"]
    );
    assert_eq!(
        said("10.0.0 dev dpdk0", Command::Del),
        ["invalid ipaddress: unspec 10.0.0", "invalid IP address"]
    );
    assert_eq!(said("10.0.0.1", Command::Del), ["no device specified."]);
    assert_eq!(
        said("10.0.0.1 dev", Command::Del),
        ["missing argument for `dev'"]
    );
}

#[test]
fn lines() {
    let mut one = neigh("10.0.0.1 lladdr 00:11:22:33:44:5f dev dpdk0", Command::Add).unwrap();
    one.state = neigh_state::REACHABLE;
    one.cid = 2;
    let ip = format!("{:<48}", "10.0.0.1");
    assert_eq!(
        text(&one),
        format!("ip: {ip} mac: 00:11:22:33:44:5f   state: REACHABLE     dev: dpdk0  core: 2  \n")
    );
    one.flag = neigh_flag::STATIC | neigh_flag::HASHED;
    assert!(text(&one).ends_with("core: 2  static\n"));
    one.state = neigh_state::SEND;
    let gap = "                       ";
    assert_eq!(
        text(&one),
        format!("ip: {ip} mac:incomplate{gap}state: SEND           dev: dpdk0  core: 2  static\n")
    );
    one.state = 9;
    assert!(text(&one).contains("state: 9 "));
}
