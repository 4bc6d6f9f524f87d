//! From interfaces to the health of an instance: tracked interfaces and the
//! address adverts are sent from. Pure: snapshots in, health out.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};

use crate::conf::model::Instance;
use crate::net::link::Link;
use crate::vrrp::instance::Health;

/// What the interfaces mean for one instance, with the reason it is unfit.
/// `virtual_addrs` are nobody's source address.
pub(crate) fn health(
    conf: &Instance,
    links: &HashMap<String, Link>,
    virtual_addrs: &HashSet<IpAddr>,
) -> (Health, Option<String>) {
    let own = links.get(&conf.interface);
    let mut why = None;
    match own {
        None => why = Some(format!("interface {} does not exist", conf.interface)),
        Some(l) if !l.up && !conf.dont_track_primary => {
            why = Some(format!("interface {} is down", conf.interface));
        }
        Some(_) => {}
    }
    let src = match conf.src_ip {
        Some(IpAddr::V4(ip)) => Some(ip),
        _ => own.and_then(|l| {
            l.v4.iter()
                .find(|a| !virtual_addrs.contains(&IpAddr::V4(**a)))
                .copied()
        }),
    };
    if src.is_none() && why.is_none() {
        why = Some(format!(
            "interface {} has no IPv4 address to send adverts from",
            conf.interface
        ));
    }
    let mut weight = 0i32;
    for t in &conf.track_interfaces {
        let up = links.get(&t.name).is_some_and(|l| l.up) != t.reverse;
        match i32::from(t.weight) {
            0 if !up && why.is_none() => {
                let state = if t.reverse { "up" } else { "down" };
                why = Some(format!("tracked interface {} is {state}", t.name));
            }
            w if w > 0 && up => weight += w,
            w if w < 0 && !up => weight += w,
            _ => {}
        }
    }
    let health = Health {
        fit: why.is_none(),
        present: own.is_some(),
        weight,
        src: src.unwrap_or(Ipv4Addr::UNSPECIFIED),
    };
    (health, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(list: &[(&str, bool, &[[u8; 4]])]) -> HashMap<String, Link> {
        list.iter()
            .map(|(name, up, addrs)| {
                let v4 = addrs.iter().map(|a| Ipv4Addr::from(*a)).collect();
                (
                    (*name).to_owned(),
                    Link {
                        up: *up,
                        v4,
                        ..Link::default()
                    },
                )
            })
            .collect()
    }

    fn conf(text: &str) -> Instance {
        let text = format!(
            "vrrp_instance V {{\n interface eth0\n virtual_router_id 1\n {text}\n virtual_ipaddress {{\n 10.0.0.100\n }}\n}}\n"
        );
        crate::conf::load_text(&text).0.instances[0].clone()
    }

    fn vip() -> HashSet<IpAddr> {
        HashSet::from([IpAddr::V4(Ipv4Addr::new(10, 0, 0, 100))])
    }

    #[test]
    fn own_interface() {
        let c = conf("");
        let good = links(&[("eth0", true, &[[10, 0, 0, 100], [10, 0, 0, 1]])]);
        let (h, why) = health(&c, &good, &vip());
        assert_eq!(
            (h.fit, h.src, why),
            (true, Ipv4Addr::new(10, 0, 0, 1), None)
        );
        for bad in [
            links(&[]),
            links(&[("eth0", false, &[[10, 0, 0, 1]])]),
            links(&[("eth0", true, &[[10, 0, 0, 100]])]),
        ] {
            let (h, why) = health(&c, &bad, &vip());
            assert!(!h.fit && why.is_some());
        }
        let c = conf("dont_track_primary");
        assert!(
            health(&c, &links(&[("eth0", false, &[[10, 0, 0, 1]])]), &vip())
                .0
                .fit
        );
    }

    #[test]
    fn tracked() {
        let c =
            conf("track_interface {\n a\n b weight 10\n c weight -20\n d weight -5 reverse\n }");
        let l = |a, b, cc, d| {
            links(&[
                ("eth0", true, &[[1, 2, 3, 4]]),
                ("a", a, &[]),
                ("b", b, &[]),
                ("c", cc, &[]),
                ("d", d, &[]),
            ])
        };
        let h = health(&c, &l(true, true, true, false), &vip()).0;
        assert_eq!((h.fit, h.weight), (true, 10));
        let h = health(&c, &l(true, false, false, true), &vip()).0;
        assert_eq!((h.fit, h.weight), (true, -25));
        assert!(!health(&c, &l(false, true, true, false), &vip()).0.fit);
    }
}
