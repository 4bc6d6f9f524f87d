//! Counters, connections and what the workers do for a request, over the control
//! socket, against a master with real workers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code)]
mod ctl_lab;

use ctl_lab::bodies::{dest, laddr, service};
use ctl_lab::{LCORES, Lab, code, until};
use dpvs_ctl::msg::{ConnArray, ConnReq, Service, SockPair, conn_get};
use dpvs_ctl::wire::{Tail, decode_list};
use dpvs_ctl::{Af, ErrCode, Ip16, Name, Wire, id};

/// A UDP datagram from a client to 192.0.2.1:53.
fn datagram(n: u16) -> Vec<u8> {
    let mut f = vec![2, 0, 0, 0, 0, 0x10, 2, 0, 0, 0, 0, 0x99, 8, 0];
    let [a, b] = n.to_be_bytes();
    f.extend_from_slice(&[
        0x45, 0, 0, 32, 0, 1, 0, 0, 64, 17, 0, 0, 198, 51, a, b, 192, 0, 2, 1,
    ]);
    f.extend_from_slice(&[0x30, 0x39, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4]);
    let sum: u32 = f[14..34]
        .chunks(2)
        .map(|w| u32::from(w[0]) << 8 | u32::from(w[1]))
        .sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    f[24..26].copy_from_slice(&sum.to_be_bytes());
    f
}

/// A FullNAT service for UDP that works: addresses, neighbours, a server.
fn working(lab: &Lab) -> Service {
    use dpvs_ctl::msg::{IfAddr, Neigh};
    let c = &lab.client;
    let on = |ip: &str, plen| IfAddr {
        af: Af::INET,
        ifname: Name::truncated("dpdk0"),
        addr: Ip16::from_ip(ip.parse().unwrap()),
        plen,
        ..IfAddr::default()
    };
    c.add_ifaddr(&on("192.0.2.1", 32)).unwrap();
    c.add_ifaddr(&on("10.0.0.254", 24)).unwrap();
    c.add_neigh(&Neigh {
        af: Af::INET,
        ip_addr: Ip16::from_ip("10.0.0.1".parse().unwrap()),
        eth_addr: dpvs_ctl::HwAddr([2, 0, 0, 0, 0, 0x77]),
        ifname: Name::truncated("dpdk0"),
        ..Neigh::default()
    })
    .unwrap();
    let s = Service {
        proto: 17,
        ..service("192.0.2.1:53", "rr")
    };
    c.add_service(&s).unwrap();
    c.add_laddr(&laddr(&s, "10.0.0.200", "dpdk0")).unwrap();
    c.add_dest(&s, &dest("10.0.0.1:53", 1)).unwrap();
    s
}

#[test]
fn counters_and_connections_come_from_all_workers() {
    let lab = Lab::start();
    let c = &lab.client;
    let s = working(&lab);
    lab.receive(0, (0..3000).map(datagram).collect());
    lab.receive(1, (3000..3500).map(datagram).collect());
    for worker in &lab.workers {
        assert!(
            !worker.sent.lock().unwrap().is_empty(),
            "nothing is forwarded"
        );
    }
    let conns = |index| c.dests(&s, index).unwrap()[0].stats.conns;
    assert_eq!((conns(0), conns(1), conns(2)), (3500, 3000, 500));
    let d = &c.dests(&s, 0).unwrap()[0];
    assert_eq!((d.stats.inpkts, d.stats.inbytes), (3500, 3500 * 32));
    assert_eq!(d.actconns + d.inactconns, 3500);
    assert_eq!(c.laddrs(&s, 0).unwrap()[0].nconns, 3500);
    assert_eq!(c.laddrs(&s, 2).unwrap()[0].nconns, 500);

    // In pieces, two listings at a time, none missing and none twice.
    let ask = |flag, whence| {
        let reply = c
            .get(
                id::GET_CONN_ALL,
                &ConnReq {
                    flag,
                    whence,
                    ..Default::default()
                }
                .encode(),
            )
            .unwrap();
        decode_list::<ConnArray, dpvs_ctl::msg::ConnEntry>(&reply, Tail::Exact, |h| {
            h.nconns as usize
        })
        .unwrap()
    };
    let (mut a, mut b) = (ask(conn_get::ALL, 0), ask(conn_get::ALL, 0));
    let (mut of_a, mut of_b) = (a.1, b.1);
    while (a.0.resl | b.0.resl) & 2 != 0 {
        for (last, list) in [(&mut a.0, &mut of_a), (&mut b.0, &mut of_b)] {
            if last.resl & 2 != 0 {
                let (head, more) = ask(conn_get::MORE | conn_get::ALL, last.curcid.into());
                assert!(more.len() <= ConnArray::BATCH);
                *last = head;
                list.extend(more);
            }
        }
    }
    for list in [&mut of_a, &mut of_b] {
        list.sort_by_key(|e| e.caddr.0);
        assert_eq!(list.len(), 3500);
        list.dedup_by_key(|e| e.caddr.0);
        assert_eq!(list.len(), 3500);
    }
    let one = of_a
        .iter()
        .find(|e| e.caddr.v4().octets() == [198, 51, 0, 7])
        .unwrap();
    assert_eq!(
        (
            one.lcoreid,
            one.vport.get(),
            one.dport.get(),
            one.cport.get()
        ),
        (LCORES[0], 53, 53, 12345)
    );
    assert_eq!(one.state.text(), "UDP_ONEWAY");
    assert_eq!(c.conns(false).unwrap().len(), 3500);
    assert!(c.conns(true).unwrap().is_empty());

    // One by its tuple, in both directions.
    let pair = SockPair {
        af: 2,
        proto: 17,
        sport: one.cport,
        tport: one.vport,
        sip: one.caddr,
        tip: one.vaddr,
    };
    assert_eq!(c.conn(&pair).unwrap().unwrap().caddr, one.caddr);
    let back = SockPair {
        sport: one.dport,
        tport: one.lport,
        sip: one.daddr,
        tip: one.laddr,
        ..pair
    };
    assert_eq!(c.conn(&back).unwrap().unwrap().caddr, one.caddr);
    let none = ConnReq {
        flag: conn_get::SPECIFIED,
        sockpair: SockPair { proto: 6, ..pair },
        ..Default::default()
    };
    assert_eq!(
        code(c.get(id::GET_CONN_SPECIFIED, &none.encode())),
        ErrCode::NOTEXIST
    );
    for (id, flag, size) in [(90, 0, 48), (90, 1, 47), (91, 1, 48), (91, 4, 49)] {
        let mut body = ConnReq {
            flag,
            ..Default::default()
        }
        .encode();
        body.resize(size, 0);
        assert_eq!(code(c.get(id, &body)), ErrCode::INVAL, "{id} {flag} {size}");
    }

    c.zero(Some(&s)).unwrap();
    assert_eq!(conns(0), 0);
    lab.receive(0, vec![datagram(4000)]);
    assert_eq!(conns(0), 1);
    c.zero(None).unwrap();
    assert_eq!(conns(0), 0);
}

#[test]
fn ids_of_removed_servers_come_back_after_draining() {
    let lab = Lab::start();
    let c = &lab.client;
    let s = working(&lab);
    let d = dest("10.0.0.1:53", 1);
    let id_now = || {
        lab.snapshot(0).services.iter().next().unwrap().dests[0]
            .id
            .0
    };
    let first = id_now();
    // Without connections, the id is free as soon as both workers have said so.
    until("the id is given again", || {
        c.del_dest(&s, &d).unwrap();
        c.add_dest(&s, &d).unwrap();
        id_now() == first
    });
    lab.receive(0, vec![datagram(1)]);
    c.del_dest(&s, &d).unwrap();
    for _ in 0..20 {
        c.add_dest(&s, &d).unwrap();
        assert_ne!(id_now(), first, "worker 0 still has a connection to it");
        c.del_dest(&s, &d).unwrap();
    }
}

#[test]
fn gratuitous_arp_goes_out_for_own_addresses_only() {
    let lab = Lab::start();
    working(&lab);
    assert_eq!(
        code(lab.client.grat_arp("192.0.2.77".parse().unwrap())),
        ErrCode::NOTEXIST
    );
    lab.client.grat_arp("192.0.2.1".parse().unwrap()).unwrap();
    until("an ARP broadcast", || {
        let sent = lab.workers[0].sent.lock().unwrap();
        sent.iter()
            .any(|(port, f)| *port == 0 && f[..6] == [0xff; 6] && f[12..14] == [8, 6])
    });
}
