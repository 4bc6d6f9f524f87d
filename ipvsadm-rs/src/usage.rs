//! The help text.

/// One line that names the release and what it is compatible with.
pub(crate) fn version() -> String {
    format!(
        "ipvsadm v1.31 (dpvs {}, control protocol 1.0.0)",
        env!("CARGO_PKG_VERSION")
    )
}

/// The help text for a program called `prog`.
pub(crate) fn help(prog: &str) -> String {
    let lines = USAGE.iter().map(|l| format!("  {prog} {l}\n"));
    format!(
        "{}\nUsage:\n{}{OPTIONS}",
        version(),
        lines.collect::<String>()
    )
}

const USAGE: &[&str] = &[
    "-A|E virtual-service [-s scheduler] [-p [seconds]] [-M mask] [-o] [-b flags] [dpvs options]",
    "-D virtual-service",
    "-C",
    "-R",
    "-S [-n]",
    "-a|e virtual-service -r server-address [-b|-m|-g|-i|-J] [-w weight] [-x max] [-y min]",
    "-d virtual-service -r server-address",
    "-L|l [virtual-service] [options]",
    "-Z [virtual-service]",
    "-P|Q virtual-service -z local-address -F device",
    "-G [virtual-service] [--cpu index]",
    "-U|V virtual-service -k address|ipset:name",
    "-B [virtual-service]",
    "-O|Y virtual-service -2 address|ipset:name",
    "-W [virtual-service]",
    "-h",
];

const OPTIONS: &str = "
Commands (one, as the first option):
  -A --add-service      add a virtual service
  -E --edit-service     change a virtual service
  -D --delete-service   remove a virtual service
  -C --clear            remove all virtual services
  -R --restore          read commands from standard input
  -S --save             write the table as commands
  -a --add-server       add a real server
  -e --edit-server      change a real server
  -d --delete-server    remove a real server
  -L -l --list          list the table (also without any argument)
  -Z --zero             zero the counters of a service, or all
  -P --add-laddr        add a local address (FullNAT) to a service
  -Q --del-laddr        remove a local address
  -G --get-laddr        list local addresses
  -U -V -B              add to, remove from, list the black list
     --add-blklst --del-blklst --get-blklst
  -O -Y -W              add to, remove from, list the white list
     --add-whtlst --del-whtlst --get-whtlst
  -h --help             show this text
  -v --version          show the version

virtual-service, one of:
  -t --tcp-service address      address is host:port or [IPv6]:port
  -u --udp-service address
     --sctp-service address
  -q --icmp-service address
  -1 --icmpv6-service address
  -f --fwmark-service mark      mark is 1 to 4294967295
  -H --match spec               source NAT: proto=,af=,src-range=,dst-range=,iif=,oif=

Options of services:
  -6 --ipv6                     the marked service is IPv6 (after -f)
  -s --scheduler name           rr, wrr, wlc, conhash, mh or fo; wlc unless given
  -b --sched-flags flags        comma list: sh-port, sh-fallback, mh-port, mh-fallback, flag-1 to flag-3
  -p --persistent [seconds]     persistent; 360 seconds unless given
  -M --netmask mask             granularity of persistence
  -o --ops                      every UDP packet is a connection
  -j --synproxy enable|disable  SYN proxy
     --hash-target sip|qid      what conhash hashes
     --conn-timeout seconds     life of an idle established connection
     --proxy-protocol version   disable, v1, v2, v1-insecure or v2-insecure
     --dest-check spec          disable, default, tcp, udp, sctp, ping, or down,up,WAITs,MIN-MAXs
     --expire-quiescent         connections to a removed server end at once
     --quic                     the service is QUIC

Options of real servers:
  -r --real-server address      port of the service unless given
  -b --fullnat                  FullNAT
  -m --masquerading             NAT
  -g --gatewaying               direct routing (the default)
  -i --ipip                     tunnel
  -J --snat                     source NAT
     --tun-type ipip            kind of tunnel
  -w --weight n                 0 takes no new connections; 1 unless given
  -x --u-threshold n            no new connections above n
  -y --l-threshold n            and again below n

Options of listings:
  -n --numeric                  no names
  -c --connection               connections: lcore, client, service, local address, server
     --sockpair p:ip:port:ip:port  with -c: this connection only
     --stats --rate --thresholds --persistent-conn --tun-info
                                which columns
  -X --exact                    all digits
     --nosort                   in the daemon's order
     --sort                     sorted (the default)
     --cpu index                what one worker sees; 0: all together

The daemon's socket is /var/run/dpvs.ipc, or what DPVS_IPC_FILE names.";
