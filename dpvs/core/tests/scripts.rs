//! Packet scripts: every file of tests/scripts is a test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod pkt;

macro_rules! scripts {
    ($($name:ident)*) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            fn $name() {
                run_file(stringify!($name));
            }
        )*
    };
}

scripts! {
    affinity_workers
    all_ports
    all_ports_workers
    arp
    bypass
    conn_timeout
    counters
    defence
    dr
    drain
    echo
    echo_fullnat
    echo_services
    echo_workers
    expire_quiescent
    forwarding
    fragments_edges
    fragments_held
    fragments_v4
    fragments_v6
    fragments_workers
    fragments_workers_late
    guard_fragments
    guard_fragments_workers
    headers
    icmp_errors
    icmp_modes
    kernel
    kernel_flood
    kernel_workers
    local_node
    local_node_workers
    lower_threshold
    max_conn
    lower_threshold_workers
    max_conn_changes
    max_conn_workers
    modes
    one_arm
    ops
    outward
    passive_check
    path_mtu
    persistence
    persistence_numbers
    persistence_workers
    sip
    kernel_servers
    limits
    limits_again
    limits_snat
    limits_workers
    lists
    listing
    mtu_v4
    mtu_v6
    nat
    nat_direct
    nat_workers
    nat46
    nat64
    nat64_workers
    nd
    neighbours_workers
    no_dest
    ports_used_up
    quiescent_once
    quiescent_syn
    reconfigure
    removal
    sched
    sctp
    snat
    snat_addresses
    snat_errors
    snat_sctp
    snat_used_up
    snat_workers
    source_address
    synproxy
    synproxy_client
    synproxy_server
    synproxy_reuse
    synproxy_options
    synproxy_limits
    synproxy_auto
    synproxy_auto_workers
    synproxy_nat64
    synproxy_nat46
    table_full
    tc_classes
    tc_queues
    tc_tbf
    tc_tbf_workers
    tcp_reset
    tcp_reuse
    tcp_stray
    tcp_timeouts
    tcp_v4
    tcp_v6
    proxy_overlap
    proxy_udp
    proxy_v1
    proxy_v2
    toa
    uoa
    uoa_workers
    tunnel
    tunnel_device
    tunnel_gre
    tunnel_gue
    ttl
    udp
    vlan
    vlan_workers
    ways
    workers
}

fn folder() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts")
}

#[track_caller]
fn run_file(name: &str) {
    let path = folder().join(format!("{name}.pkt"));
    let script = std::fs::read_to_string(&path).unwrap();
    if let Err(e) = pkt::run::run(&format!("tests/scripts/{name}.pkt"), &script) {
        panic!("\n{e}\n");
    }
}

#[test]
fn every_file_is_a_test() {
    let mut files: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|f| f.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "pkt"))
        .map(|p| p.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    files.sort();
    let mut names = NAMES.to_vec();
    names.sort_unstable();
    assert_eq!(files, names, "add the file to the list above");
}

/// A test that cannot fail is none: each of these scripts must be refused, and
/// the message must name the line and the difference.
#[test]
fn wrong_scripts_fail() {
    let setup = "service udp 192.0.2.10:53 rr\ndest udp 192.0.2.10:53 10.0.1.11:53\n";
    let send = "in 0 udp 198.51.100.7:1111 > 192.0.2.10:53 data=hello\n";
    let cases = [
        (
            "",
            "nothing came",
            "x.pkt:4",
            "in 0 udp 198.51.100.7:1 > 192.0.2.10:99\ndrop no-dest",
        ),
        (send, "not expected: out 1 udp", "x.pkt:3", ""),
        (
            send,
            "destination is 10.0.1.11:53",
            "x.pkt:4",
            "out 1 udp * > 10.0.1.12:53",
        ),
        (
            send,
            "ttl is 64, not 63",
            "x.pkt:4",
            "out 1 udp * > 10.0.1.11:53 ttl=63",
        ),
        (
            send,
            "came elsewhere: out 1",
            "x.pkt:4",
            "out 0 udp * > 10.0.1.11:53",
        ),
        (send, "nothing came", "x.pkt:5", "drain\nhost 0 udp * > *"),
        (send, "0 dropped", "x.pkt:5", "drain\ndrop no-dest"),
        (send, "connections is 1", "x.pkt:5", "drain\nconns 2"),
        (
            send,
            "`tll` is no field",
            "x.pkt:4",
            "out 1 udp * > * tll=64",
        ),
        (
            send,
            "no line this language has",
            "x.pkt:5",
            "drain\nfrobnicate",
        ),
        (
            "",
            "not expected: 1 dropped as bad-checksum",
            "x.pkt:3",
            "in 0 udp 198.51.100.7:1 > 192.0.2.10:53 badipsum",
        ),
        (
            "",
            "has no value yet",
            "x.pkt:3",
            "in 0 udp 198.51.100.7:$x > 192.0.2.10:53",
        ),
    ];
    for (first, why, place, then) in cases {
        let script = format!("{setup}{first}{then}\n");
        let e = pkt::run::run("x.pkt", &script).expect_err(then);
        let why = if why == "nothing came" && first.is_empty() {
            "0 dropped"
        } else {
            why
        };
        assert!(e.contains(why) && e.contains(place), "{then:?} gives {e}");
    }
}
