//! Byte order, address slots, names, error texts, netmasks.

#![allow(clippy::unwrap_used)]

use std::net::IpAddr;

use dpvs_ctl::msg::Service;
use dpvs_ctl::{Af, Be16, Be32, ErrCode, HwAddr, Ip16, Name, Wire};
use proptest::prelude::*;

#[test]
fn network_order() {
    assert_eq!(Be16::new(80).encode(), [0, 80]);
    assert_eq!(Be16::decode(&[1, 187]).unwrap().get(), 443);
    assert_eq!(Be32::new(0x0a00_0001).encode(), [10, 0, 0, 1]);
}

#[test]
fn slots_compare_under_a_family() {
    let mut a = Ip16::from_ip("10.0.0.1".parse().unwrap());
    let b = a;
    a.0[9] = 77;
    assert_ne!(a, b);
    assert!(a.same(b, Af::INET) && !a.same(b, Af::INET6));
    assert_eq!(a.clean(Af::INET), b);
    assert_eq!(a.to_ip(2u16), Some("10.0.0.1".parse::<IpAddr>().unwrap()));
    assert_eq!(a.to_ip(3), None);
    assert!(Ip16::ANY.is_any(Af::INET6) && !Ip16::ANY.is_any(Af::UNSPEC));
}

#[test]
fn names() {
    assert_eq!(Name::<16>::new("dpdk0").unwrap().text(), "dpdk0");
    assert!(Name::<16>::new("fifteen.letters").is_some());
    assert!(Name::<16>::new("sixteen..letters").is_none());
    assert!(Name::<16>::new("a\0b").is_none());
    assert_eq!(Name::<4>::truncated("dpdk0").text(), "dpd");
    assert_eq!(Name::<4>([b'a'; 4]).text(), "aaaa");
    assert_eq!(
        HwAddr([0, 1, 2, 0xab, 4, 5]).to_string(),
        "00:01:02:ab:04:05"
    );
}

#[test]
fn error_codes() {
    assert_eq!(ErrCode::ALL.len(), 30);
    assert_eq!(ErrCode(-23).text(), "msg callback failed");
    assert_eq!(format!("{:?}", ErrCode(-27)), "NODEV(-27)");
    assert_eq!(ErrCode(-99).text(), "<unknow>");
    assert!(ErrCode::ALL.iter().all(|c| c.text().len() < 64));
}

proptest! {
    #[test]
    fn netmasks(plen in 0u8..=32, plen6 in 1u8..=128, raw in any::<u32>()) {
        let v4 = Service { af: Af::INET, netmask: Service::netmask_of(Af::INET, plen), ..Service::default() };
        prop_assert_eq!(v4.persist_plen(), Some(plen));
        let v6 = Service { af: Af::INET6, netmask: Service::netmask_of(Af::INET6, plen6), ..Service::default() };
        prop_assert_eq!(v6.persist_plen(), Some(plen6));
        let any = Service { af: Af::INET, netmask: raw, ..Service::default() };
        if let Some(plen) = any.persist_plen() {
            prop_assert_eq!(Service::netmask_of(Af::INET, plen), raw);
        }
    }

    #[test]
    fn addresses(v4 in any::<[u8; 4]>(), v6 in any::<[u8; 16]>()) {
        for ip in [IpAddr::from(v4), IpAddr::from(v6)] {
            prop_assert_eq!(Ip16::from_ip(ip).to_ip(Af::of(ip)), Some(ip));
        }
    }
}
