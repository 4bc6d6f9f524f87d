//! Bodies of requests about services.

use std::net::SocketAddr;

use dpvs_ctl::msg::{Dest, LaddrTable, Service, fwd_mode};
use dpvs_ctl::{Af, Be16, Ip16, Name};

pub(crate) fn service(addr: &str, sched: &str) -> Service {
    let at: SocketAddr = addr.parse().unwrap();
    let mut s = Service::at(6, at);
    s.sched_name = Name::truncated(sched);
    s.netmask = Service::netmask_of(s.af, if at.is_ipv4() { 32 } else { 128 });
    s
}

pub(crate) fn dest(addr: &str, weight: u32) -> Dest {
    let at: SocketAddr = addr.parse().unwrap();
    let mut d = Dest {
        af: Af::of(at.ip()),
        port: Be16::new(at.port()),
        weight,
        addr: Ip16::from_ip(at.ip()),
        ..Dest::default()
    };
    d.set_fwd_mode(fwd_mode::FULLNAT);
    d
}

pub(crate) fn laddr(s: &Service, ip: &str, dev: &str) -> LaddrTable {
    LaddrTable::of(s).with_laddr(ip.parse().unwrap(), Name::truncated(dev))
}
