//! What `conservation` lets happen to a director: its configuration and how that
//! changes, frames of the wire and of the kernel. In the words of packet scripts.

/// The director's configuration; no neighbour of 10.0.1.50 is known.
pub(crate) const CONFIG: &str = "
addr 0 192.0.2.20/32 sapool
addr 0 2001:db8:1::20/128 sapool
addr 1 10.0.1.2/32
route 203.0.113.0/24 port 0 via 192.0.2.254
route 198.51.100.0/24 port 0 via 192.0.2.254
route 2001:db8:ff::/64 port 0 via 2001:db8:1::fe
route 10.8.0.0/16 port 3
neigh 0 192.0.2.254 client
neigh 0 2001:db8:1::fe client
set forwarding on
set forwarding6 on
set queue 4
set timeout UDP_ONEWAY 20
set timeout UDP_NORM 20
vlan 2 0 100
addr 2 172.16.0.1/24
tunnel 3 gre 10.0.1.2 10.0.1.13
kni-host 192.0.2.30 port 0
service tcp 192.0.2.10:80 rr
dest tcp 192.0.2.10:80 10.0.1.11:8080
dest tcp 192.0.2.10:80 10.0.1.50:8080
service udp 192.0.2.10:53 rr expire-quiescent
dest udp 192.0.2.10:53 10.0.1.12:5353
dest udp 192.0.2.10:53 10.0.1.50:5353
service sctp 192.0.2.10:90 rr
dest sctp 192.0.2.10:90 10.0.1.11:90
service tcp [2001:db8:1::10]:80 wlc
dest tcp [2001:db8:1::10]:80 [2001:db8:2::11]:8080
service udp [2001:db8:1::10]:64 rr laddr 10.0.1.200
dest udp [2001:db8:1::10]:64 10.0.1.11:64
service tcp 192.0.2.10:46 rr laddr 2001:db8:2::200
dest tcp 192.0.2.10:46 [2001:db8:2::11]:46
service tcp 192.0.2.10:81 rr synproxy
dest tcp 192.0.2.10:81 10.0.1.11:81
service udp 192.0.2.10:82 rr
dest udp 192.0.2.10:82 10.0.1.11:82 nat
service tcp 192.0.2.10:82 rr
dest tcp 192.0.2.10:82 10.0.1.11:82 nat
service udp 192.0.2.10:83 rr
dest udp 192.0.2.10:83 10.0.1.11:83 dr
service tcp 192.0.2.10:84 rr
dest tcp 192.0.2.10:84 10.0.1.11:84 tunnel
service udp 192.0.2.10:84 rr
dest udp 192.0.2.10:84 [2001:db8:2::11]:84 tunnel gue 6080 csum remote
service tcp 192.0.2.10:85 rr proxy v2
dest tcp 192.0.2.10:85 10.0.1.11:85
service udp 192.0.2.10:86 rr ops
dest udp 192.0.2.10:86 10.0.1.11:86
service udp 192.0.2.10:87 rr persistent 30
dest udp 192.0.2.10:87 10.0.1.11:87
dest udp 192.0.2.10:87 10.0.1.12:87
service udp 192.0.2.10:88 rr
dest udp 192.0.2.10:88 10.0.1.11:88 max-conn 5
service udp 192.0.2.10:89 rr
service icmp 192.0.2.10:2048 rr
dest icmp 192.0.2.10:2048 10.0.1.11:0 nat
service udp 0.0.0.0:1 rr src 10.0.1.0-10.0.1.255 oif 0
dest udp 0.0.0.0:1 192.0.2.20:0 snat
service tcp 0.0.0.0:2 rr src 10.0.1.0-10.0.1.255 oif 0
dest tcp 0.0.0.0:2 192.0.2.20:0 snat
service icmp 0.0.0.0:3 rr src 10.0.1.0-10.0.1.255 oif 0
dest icmp 0.0.0.0:3 192.0.2.20:0 snat
service udp 192.0.2.10:70 rr persistent 5 expire-quiescent ops quic
dest udp 192.0.2.10:70 10.0.1.11:70
dest udp 192.0.2.10:70 10.0.1.12:70 max-conn 3
service tcp 192.0.2.10:71 wlc persistent 5
dest tcp 192.0.2.10:71 10.0.1.11:71 max-conn 4 min-conn 2
dest tcp 192.0.2.10:71 10.0.1.12:71 nat
black udp 192.0.2.10:53 198.51.100.9
limit udp 192.0.2.10:82 pps 200 burst 100
kni-host 10.0.1.3 port 1
kni-host 2001:db8:2::3 port 1
service tcp 192.0.2.10:60 rr
dest tcp 192.0.2.10:60 10.0.1.3:60
service udp 192.0.2.10:60 rr
dest udp 192.0.2.10:60 10.0.1.3:60 nat
service sctp 192.0.2.10:60 rr
dest sctp 192.0.2.10:60 10.0.1.3:60
service udp [2001:db8:1::10]:60 rr
dest udp [2001:db8:1::10]:60 [2001:db8:2::3]:60
service icmp6 [2001:db8:1::10]:32768 rr
dest icmp6 [2001:db8:1::10]:32768 [2001:db8:2::3]:0
service tcp 192.0.2.10:61 rr synproxy
dest tcp 192.0.2.10:61 10.0.1.3:61
service udp 192.0.2.10:61 rr
dest udp 192.0.2.10:61 10.0.1.14:61 dr
service tcp [2001:db8:1::10]:61 rr laddr 10.0.1.200
dest tcp [2001:db8:1::10]:61 10.0.1.3:62
service tcp 192.0.2.10:62 rr
dest tcp 192.0.2.10:62 127.0.0.1:62 local
service udp 203.0.113.9:62 rr
dest udp 203.0.113.9:62 10.0.1.11:62 bypass
service tcp 0.0.0.0:4 rr src 172.16.0.0-172.16.0.255
dest tcp 0.0.0.0:4 10.0.1.11:0 bypass
limit udp 192.0.2.10:60 out-pps 50 burst 20
";

/// Frames of the kernel, by the port it sends them by.
pub(crate) const KERNELS: &[(u16, &str)] = &[
    (1, "tcp 10.0.1.3:60 > 10.0.1.200:L SA seq=9 ack=2"),
    (1, "tcp 10.0.1.3:60 > 10.0.1.200:L A seq=10 ack=2 len=1460"),
    (0, "tcp 10.0.1.3:60 > 10.0.1.200:L R seq=10 ttl=1"),
    (0, "udp 10.0.1.3:60 > 198.51.100.7:C"),
    (1, "udp 10.0.1.3:60 > 198.51.100.7:C len=3000 pieces=1400"),
    (1, "sctp 10.0.1.3:60 > 10.0.1.200:L chunk=init-ack tag=1"),
    (1, "udp [2001:db8:2::3]:60 > [2001:db8:2::200]:L len=9"),
    (
        1,
        "udp [2001:db8:2::3]:60 > [2001:db8:2::200]:L len=2800 pieces=1400 order=1,0,2",
    ),
    (1, "icmp 2001:db8:2::3 > 2001:db8:2::200 echo-reply id=L"),
    (1, "icmp 2001:db8:2::3 > 2001:db8:2::11 echo id=C"),
    (1, "tcp 10.0.1.3:61 > 10.0.1.200:L SA seq=9 ack=2"),
    (1, "tcp 10.0.1.3:61 > 10.0.1.200:L A seq=9 ack=77"),
    (1, "tcp 10.0.1.3:62 > 10.0.1.200:L SA seq=9 ack=2"),
    (0, "tcp 192.0.2.10:62 > 198.51.100.7:C SA seq=9 ack=2"),
    (1, "udp 10.0.1.3:9 > 10.0.1.200:L"),
    (0, "udp 10.0.1.3:9 > 8.8.8.8:9 len=3000 pieces=1400"),
    (1, "icmp 10.0.1.3 > 10.0.1.11 echo id=C"),
    (1, "arp 10.0.1.3 > 10.0.1.200 request"),
    (1, "arp 10.0.1.3 > 10.0.1.11 request"),
    (
        1,
        "nd 2001:db8:2::3 > ff02::1:ff00:200 solicit target=2001:db8:2::200 lladdr=dpdk1",
    ),
    (0, "ip 192.0.2.30 > 224.0.0.18 proto=112 ttl=255 len=20"),
    (0, "eth type=35020"),
];

/// Packets by the port they come in by; `C` is a client's port, `L` a local one.
pub(crate) const PACKETS: &[(u16, &str)] = &[
    (
        0,
        "tcp 198.51.100.7:C > 192.0.2.10:80 S seq=1 opts=mss:1460",
    ),
    (0, "tcp 198.51.100.7:C > 192.0.2.10:80 A seq=2 ack=10"),
    (
        0,
        "tcp 198.51.100.7:C > 192.0.2.10:80 A seq=2 ack=10 len=1460",
    ),
    (0, "tcp 198.51.100.7:C > 192.0.2.10:80 R seq=2"),
    (0, "tcp 198.51.100.7:C > 192.0.2.10:46 S seq=1"),
    (
        0,
        "tcp 198.51.100.7:C > 192.0.2.10:46 A seq=2 ack=3 len=1460",
    ),
    (
        0,
        "tcp 198.51.100.7:C > 192.0.2.10:81 S seq=1 opts=mss:1460,sackok,ts:1:0,nop,ws:7",
    ),
    (0, "tcp 198.51.100.7:C > 192.0.2.10:81 A seq=2 ack=77 len=5"),
    (0, "tcp 198.51.100.7:C > 192.0.2.10:82 S seq=1"),
    (0, "tcp 198.51.100.7:C > 192.0.2.10:84 S seq=1"),
    (
        0,
        "tcp 198.51.100.7:C > 192.0.2.10:84 A seq=2 ack=1 len=1460",
    ),
    (0, "tcp 198.51.100.7:C > 192.0.2.10:85 S seq=1"),
    (
        0,
        "tcp 198.51.100.7:C > 192.0.2.10:85 A seq=2 ack=10 len=1440",
    ),
    (
        0,
        "tcp 198.51.100.7:C > 192.0.2.10:85 A seq=2 ack=10 len=10",
    ),
    (0, "tcp 198.51.100.7:C > 192.0.2.10:99 S seq=1"),
    (0, "tcp 198.51.100.7:C > 192.0.2.10:60 S seq=1"),
    (0, "tcp 198.51.100.7:C > 192.0.2.10:60 A seq=2 ack=10 len=9"),
    (0, "udp 198.51.100.7:C > 192.0.2.10:60 len=1472 nodf"),
    (0, "udp 198.51.100.7:C > 192.0.2.10:60 len=3000 pieces=1400"),
    (0, "sctp 198.51.100.7:C > 192.0.2.10:60 chunk=init tag=0"),
    (0, "udp [2001:db8:ff::7]:C > [2001:db8:1::10]:60 len=9"),
    (0, "icmp 2001:db8:ff::7 > 2001:db8:1::10 echo id=C len=3"),
    (0, "tcp 198.51.100.7:C > 192.0.2.10:61 S seq=1"),
    (0, "tcp 198.51.100.7:C > 192.0.2.10:61 A seq=2 ack=77 len=5"),
    (0, "udp 198.51.100.7:C > 192.0.2.10:61"),
    (0, "tcp [2001:db8:ff::7]:C > [2001:db8:1::10]:61 S seq=1"),
    (0, "tcp 198.51.100.7:C > 192.0.2.10:62 S seq=1"),
    (0, "tcp 198.51.100.7:C > 192.0.2.10:62 A seq=2 ack=10"),
    (1, "udp 10.0.1.12:C > 203.0.113.9:62 len=1472 nodf"),
    (0, "tcp 172.16.0.7:C > 203.0.113.9:80 S seq=1 ttl=2"),
    (0, "udp 198.51.100.7:C > 10.0.1.3:7"),
    (0, "tcp [2001:db8:ff::7]:C > [2001:db8:1::10]:80 S seq=1"),
    (
        0,
        "tcp [2001:db8:ff::7]:C > [2001:db8:1::10]:80 A seq=2 ack=10 len=9",
    ),
    (0, "udp 198.51.100.7:C > 192.0.2.10:53 len=40"),
    (0, "udp 198.51.100.9:C > 192.0.2.10:53 len=40"),
    (0, "udp 198.51.100.7:C > 192.0.2.10:53 len=3000 pieces=1400"),
    (
        0,
        "udp 198.51.100.7:C > 192.0.2.10:53 len=3000 pieces=1400 order=2,0",
    ),
    (
        0,
        "udp 198.51.100.7:C > 192.0.2.10:53 len=3000 pieces=1400 order=1",
    ),
    (0, "udp 198.51.100.7:C > 192.0.2.10:82 len=20"),
    (0, "udp 198.51.100.7:C > 192.0.2.10:83 len=1472 nodf"),
    (0, "udp 198.51.100.7:C > 192.0.2.10:83 len=2000 nodf"),
    (0, "udp 198.51.100.7:C > 192.0.2.10:84 len=30"),
    (0, "udp 198.51.100.7:C > 192.0.2.10:84 len=1472 nodf"),
    (0, "udp 198.51.100.7:C > 192.0.2.10:84 len=1472"),
    (0, "udp 198.51.100.7:C > 192.0.2.10:86 len=3"),
    (0, "udp 198.51.100.7:C > 192.0.2.10:70 len=3"),
    (0, "udp 198.51.100.7:C > 192.0.2.10:70 hex=435a00b911223344"),
    (0, "udp 198.51.100.7:C > 192.0.2.10:70 len=3000 pieces=1400"),
    (0, "tcp 198.51.100.7:C > 192.0.2.10:71 S seq=1"),
    (0, "tcp 198.51.100.7:C > 192.0.2.10:71 A seq=2 ack=10 len=9"),
    (0, "tcp 198.51.100.7:C > 192.0.2.10:71 FA seq=2 ack=10"),
    (1, "tcp 10.0.1.11:71 > 10.0.1.200:L SA seq=9 ack=2"),
    (1, "tcp 10.0.1.12:71 > 198.51.100.7:C SA seq=9 ack=2"),
    (0, "udp 198.51.100.7:C > 192.0.2.10:87 len=3"),
    (0, "udp 203.0.113.C:5 > 192.0.2.10:87 len=3"),
    (0, "udp 198.51.100.7:C > 192.0.2.10:88 len=3"),
    (0, "udp 198.51.100.7:C > 192.0.2.10:89 len=3"),
    (0, "udp [2001:db8:ff::7]:C > [2001:db8:1::10]:64 len=1200"),
    (0, "udp [2001:db8:ff::7]:C > [2001:db8:1::10]:64 len=1452"),
    (
        0,
        "udp [2001:db8:ff::7]:C > [2001:db8:1::10]:64 len=2800 pieces=1400",
    ),
    (0, "udp 198.51.100.7:C > 192.0.2.30:7"),
    (0, "udp 198.51.100.7:C > 10.8.0.7:7 len=1400"),
    (0, "udp 198.51.100.7:C > 10.0.1.50:7"),
    (0, "udp 198.51.100.7:C > 10.0.1.12:7 ttl=1"),
    (0, "udp 198.51.100.7:C > 8.8.8.8:7"),
    (0, "udp 198.51.100.7:C > 172.16.0.1:7 vlan=100"),
    (0, "udp 198.51.100.7:C > 172.16.0.1:7 vlan=101"),
    (0, "udp 203.0.113.9:53 > 192.0.2.20:L"),
    (0, "tcp 203.0.113.9:80 > 192.0.2.20:L SA seq=9 ack=2"),
    (0, "icmp 203.0.113.9 > 192.0.2.20 echo-reply id=L"),
    (0, "icmp 198.51.100.7 > 192.0.2.10 echo id=C"),
    (0, "icmp 198.51.100.7 > 192.0.2.1 echo id=C"),
    (0, "icmp 2001:db8:ff::7 > 2001:db8:1::10 echo id=C"),
    (0, "sctp 198.51.100.7:C > 192.0.2.10:90 chunk=init tag=0"),
    (0, "sctp 198.51.100.7:C > 192.0.2.10:90 chunk=data tag=1"),
    (0, "arp 192.0.2.254 > 192.0.2.10 request"),
    (0, "arp 192.0.2.254 > 192.0.2.99 request"),
    (0, "eth type=35020"),
    (0, "ip 198.51.100.7 > 192.0.2.10 proto=89"),
    (1, "udp 10.0.1.12:5353 > 10.0.1.200:L len=40"),
    (
        1,
        "udp 10.0.1.12:5353 > 10.0.1.200:L len=3000 pieces=1400 order=1,0,2",
    ),
    (1, "tcp 10.0.1.11:8080 > 10.0.1.200:L SA seq=9 ack=2"),
    (
        1,
        "tcp 10.0.1.11:8080 > 10.0.1.200:L A seq=10 ack=2 len=1460",
    ),
    (1, "tcp 10.0.1.11:81 > 10.0.1.200:L SA seq=9 ack=2"),
    (1, "tcp 10.0.1.11:81 > 10.0.1.200:L R seq=9"),
    (
        1,
        "tcp [2001:db8:2::11]:8080 > [2001:db8:2::200]:L SA seq=9 ack=2",
    ),
    (
        1,
        "tcp [2001:db8:2::11]:46 > [2001:db8:2::200]:L SA seq=9 ack=2",
    ),
    (1, "udp 10.0.1.11:64 > 10.0.1.200:L len=1472"),
    (1, "udp 10.0.1.11:64 > 10.0.1.200:L len=1472 nodf"),
    (1, "udp 10.0.1.11:82 > 198.51.100.7:C"),
    (1, "tcp 10.0.1.11:82 > 198.51.100.7:C SA seq=9 ack=2"),
    (1, "udp 10.0.1.11:C > 203.0.113.9:53 len=9"),
    (1, "tcp 10.0.1.11:C > 203.0.113.9:80 S seq=1"),
    (1, "icmp 10.0.1.11 > 203.0.113.9 echo id=C"),
    (
        1,
        "udp 10.8.0.7:7 > 198.51.100.7:C tun=10.0.1.13>10.0.1.2 gre=plain",
    ),
    (
        1,
        "udp 10.8.0.7:7 > 198.51.100.7:C tun=10.0.1.99>10.0.1.2 gre=plain",
    ),
    (1, "arp 10.0.1.50 > 10.0.1.1 reply sha=02:00:00:00:00:50"),
    (
        1,
        "nd 2001:db8:2::11 > 2001:db8:2::1 solicit target=2001:db8:2::1",
    ),
];

/// What is changed now and then, and how it was before.
pub(crate) const CHANGES: &[[&str; 2]] = &[
    [
        "deldest udp 192.0.2.10:53 10.0.1.12:5353",
        "dest udp 192.0.2.10:53 10.0.1.12:5353",
    ],
    [
        "dest udp 192.0.2.10:70 10.0.1.11:70 weight 0",
        "dest udp 192.0.2.10:70 10.0.1.11:70",
    ],
    [
        "dest udp 192.0.2.10:70 10.0.1.11:70 inhibited",
        "dest udp 192.0.2.10:70 10.0.1.11:70",
    ],
    [
        "service udp 192.0.2.10:70 sh quic expire-quiescent",
        "service udp 192.0.2.10:70 rr persistent 5 expire-quiescent ops quic",
    ],
    [
        "service udp 192.0.2.10:70 mh persistent 30 ops",
        "service udp 192.0.2.10:70 lblcr quic ops expire-quiescent",
    ],
    [
        "deldest udp 192.0.2.10:70 10.0.1.12:70",
        "dest udp 192.0.2.10:70 10.0.1.12:70 max-conn 2",
    ],
    [
        "service tcp 192.0.2.10:71 sed persistent 5 expire-quiescent",
        "service tcp 192.0.2.10:71 twos proxy v1",
    ],
    [
        "dest tcp 192.0.2.10:71 10.0.1.11:71 max-conn 1",
        "dest tcp 192.0.2.10:71 10.0.1.11:71 max-conn 9 min-conn 3",
    ],
    [
        "dest tcp 192.0.2.10:71 10.0.1.12:71 dr",
        "dest tcp 192.0.2.10:71 10.0.1.12:71",
    ],
    [
        "deldest tcp 192.0.2.10:71 10.0.1.12:71",
        "dest tcp 192.0.2.10:71 10.0.1.12:71 nat weight 0",
    ],
    ["deladdr 10.0.1.200", "addr 1 10.0.1.200/32 sapool"],
    ["deladdr 192.0.2.10", "addr 0 192.0.2.10/32"],
    [
        "delservice udp 192.0.2.10:89",
        "service udp 192.0.2.10:89 rr",
    ],
    ["no-buffers on", "no-buffers off"],
    ["deaf on", "deaf off"],
    ["mtu 1 1300", "mtu 1 1500"],
    ["set ipv6 off", "set ipv6 on"],
    ["host-port 0 off", "host-port 0 on"],
    ["forward2kni 1 on", "forward2kni 1 off"],
    ["set xmit-ttl on", "set xmit-ttl off"],
    ["set fast-xmit off", "set fast-xmit on"],
    [
        "delroute 198.51.100.0/24",
        "route 198.51.100.0/24 port 0 via 192.0.2.254",
    ],
    ["delneigh 1 10.0.1.50", "set neigh-timeout 60"],
    ["kni-host 10.0.1.14 port 1", "deladdr 10.0.1.14"],
    ["deladdr 10.0.1.3", "kni-host 10.0.1.3 port 1"],
    [
        "dest tcp 192.0.2.10:60 10.0.1.3:60 dr",
        "dest tcp 192.0.2.10:60 10.0.1.3:60",
    ],
    [
        "dest udp 192.0.2.10:60 10.0.1.3:60 local",
        "dest udp 192.0.2.10:60 10.0.1.3:60 nat",
    ],
    [
        "dest tcp 192.0.2.10:62 127.0.0.1:62 local weight 0",
        "dest tcp 192.0.2.10:62 127.0.0.1:62 local",
    ],
    ["host-port 1 off", "host-port 1 on"],
    ["set uoa 2", "set uoa 0"],
];
