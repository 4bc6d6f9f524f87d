//! Names of addresses and ports: the services database (/etc/services), and
//! the system's resolver for hosts.
//!
//! Everything is looked up once; a listing with `-n` looks up nothing.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

use dpvs_ctl::msg::{Match, Service, svc_flag};

const SERVICES: &str = "/etc/services";
/// getnameinfo: fail if there is no name, instead of giving the number.
const NAME_REQUIRED: i32 = 8;

/// TCP, UDP, SCTP, ICMP, ICMPv6: the protocols of services.
pub mod proto {
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// SCTP.
    pub const SCTP: u8 = 132;
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
}

/// The services database's name of a protocol.
#[must_use]
pub fn proto_name(number: u8) -> &'static str {
    match number {
        proto::TCP => "tcp",
        proto::UDP => "udp",
        proto::SCTP => "sctp",
        proto::ICMP => "icmp",
        proto::ICMPV6 => "icmpv6",
        _ => "--",
    }
}

/// Looks names up and remembers them.
#[derive(Debug, Default)]
pub struct Names {
    services: OnceCell<Services>,
    hosts: RefCell<HashMap<IpAddr, Option<String>>>,
    offline: bool,
}

/// The services database.
#[derive(Debug, Default)]
struct Services {
    ports: HashMap<(String, String), u16>,
    names: HashMap<(u16, String), String>,
}

impl Services {
    fn parse(text: &str) -> Self {
        let mut out = Self::default();
        for line in text.lines() {
            let mut words = line
                .split('#')
                .next()
                .unwrap_or("")
                .split_whitespace()
                .map(str::to_owned);
            let (Some(name), Some(port)) = (words.next(), words.next()) else {
                continue;
            };
            let Some((port, proto)) = port.split_once('/') else {
                continue;
            };
            let Ok(port) = port.parse::<u16>() else {
                continue;
            };
            // The first entry of a port, and of a name, is the one that counts.
            out.names
                .entry((port, proto.to_owned()))
                .or_insert_with(|| name.clone());
            for name in std::iter::once(name).chain(words) {
                out.ports.entry((name, proto.to_owned())).or_insert(port);
            }
        }
        out
    }
}

impl Names {
    /// Names that never ask the resolver.
    #[must_use]
    pub fn offline() -> Self {
        Self {
            offline: true,
            ..Self::default()
        }
    }

    fn services(&self) -> &Services {
        self.services.get_or_init(|| {
            let text = fs::read(SERVICES).unwrap_or_default();
            Services::parse(&String::from_utf8_lossy(&text))
        })
    }

    /// The port a service name stands for under a protocol.
    #[must_use]
    pub fn port(&self, name: &str, proto: u8) -> Option<u16> {
        let key = (name.to_owned(), proto_name(proto).to_owned());
        self.services().ports.get(&key).copied()
    }

    /// The IPv4 address of a host. As in ipvsadm, host names never become IPv6.
    #[must_use]
    pub fn host_v4(&self, name: &str) -> Option<Ipv4Addr> {
        if self.offline || name.is_empty() || name.contains(char::is_whitespace) {
            return None;
        }
        (name, 0u16).to_socket_addrs().ok()?.find_map(|a| match a {
            SocketAddr::V4(v4) => Some(*v4.ip()),
            SocketAddr::V6(_) => None,
        })
    }

    fn host_name(&self, ip: IpAddr) -> Option<String> {
        if let Some(known) = self.hosts.borrow().get(&ip) {
            return known.clone();
        }
        let address = SocketAddr::new(ip, 0);
        let name = if self.offline {
            None
        } else {
            dns_lookup::getnameinfo(&address, NAME_REQUIRED)
                .ok()
                .map(|(host, _)| host)
        };
        self.hosts.borrow_mut().insert(ip, name.clone());
        name
    }

    /// An address and port as listings show them.
    #[must_use]
    pub fn address(&self, ip: IpAddr, port: u16, proto: u8, numeric: bool) -> String {
        let (host, service) = if numeric {
            (None, None)
        } else {
            let key = (port, proto_name(proto).to_owned());
            (self.host_name(ip), self.services().names.get(&key).cloned())
        };
        let host = host.unwrap_or_else(|| ip.to_string());
        let service = service.unwrap_or_else(|| port.to_string());
        if ip.is_ipv4() {
            format!("{host}:{service}")
        } else {
            format!("[{host}]:{service}")
        }
    }

    /// The address part of a service.
    #[must_use]
    pub fn service(&self, svc: &Service, numeric: bool) -> String {
        match svc.addr.to_ip(svc.af) {
            Some(ip) => self.address(ip, svc.port.get(), svc.proto, numeric),
            None => format!("?:{}", svc.port),
        }
    }
}

/// The protocol whose port names the dests of a service have. A marked
/// service takes packets of any protocol: its ports have no names.
#[must_use]
pub fn port_proto(svc: &Service) -> u8 {
    if svc.fwmark == 0 { svc.proto } else { 0 }
}

/// Whether a service is found by what it matches.
#[must_use]
pub fn is_match(svc: &Service) -> bool {
    svc.flags & svc_flag::MATCH != 0 || svc.matched != Match::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_database() {
        let db = Services::parse(
            "# comment\nhttp 80/tcp www # web\nhttp-alt\t8080/tcp webcache\nbad x/tcp\n\
             domain 53/tcp\ndomain 53/udp\nother 80/tcp\nlonely\n",
        );
        let port = |n: &str, p: &str| db.ports.get(&(n.to_owned(), p.to_owned())).copied();
        assert_eq!(port("www", "tcp"), Some(80));
        assert_eq!(port("http", "udp"), None);
        assert_eq!(port("domain", "udp"), Some(53));
        assert_eq!(
            db.names.get(&(80, "tcp".to_owned())).map(String::as_str),
            Some("http")
        );
    }

    #[test]
    fn numeric_forms() {
        let names = Names::default();
        let v4 = "192.0.2.1".parse().unwrap();
        let v6 = "2001:db8::1".parse().unwrap();
        assert_eq!(names.address(v4, 80, proto::TCP, true), "192.0.2.1:80");
        assert_eq!(
            names.address(v6, 443, proto::TCP, true),
            "[2001:db8::1]:443"
        );
    }
}
