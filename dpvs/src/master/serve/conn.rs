//! Connection listings (ids 90 and 91).
//!
//! A listing comes in batches of at most 1,024 over separate connections; what
//! the client gives back to go on is one byte. DIFFERS: the C daemon keeps one
//! half-done listing for all clients; here the byte numbers one of 255
//! (`master/listings.rs`).

use std::net::{IpAddr, Ipv4Addr};

use dpvs_core::message::{ConnInfo, ConnTuple, Listing, Query, Reply};
use dpvs_ctl::msg::{ConnEntry, ConnReq, conn_get};
use dpvs_ctl::{Af, Be16, Ip16, Name};

use super::{Answer, Gather, exact};
use crate::master::Master;
use crate::master::error::{Fault, Result};
use crate::master::listings::body;

/// A connection as the control socket has it.
pub(in crate::master) fn listed(c: &ConnInfo, lcore: u8) -> ConnEntry {
    let slot = |(ip, _): (IpAddr, u16)| Ip16::from_ip(ip);
    // The server and the local address are listed in one family.
    let laddr = match (c.laddr.0, c.dest.0) {
        (IpAddr::V4(v4), IpAddr::V6(_)) => IpAddr::V6(v4.to_ipv6_mapped()),
        // Through a tunnel with IPv4 outside: there is no local address.
        (IpAddr::V6(_), IpAddr::V4(_)) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        (same, _) => same,
    };
    ConnEntry {
        in_af: Af::of(c.vip.0).as_u16(),
        out_af: Af::of(c.dest.0).as_u16(),
        proto: c.proto.into(),
        caddr: slot(c.client),
        vaddr: slot(c.vip),
        laddr: Ip16::from_ip(laddr),
        daddr: slot(c.dest),
        cport: Be16::new(c.client.1),
        vport: Be16::new(c.vip.1),
        lport: Be16::new(c.laddr.1),
        dport: Be16::new(c.dest.1),
        timeout: c.timeout,
        lcoreid: lcore,
        state: Name::truncated(c.state),
    }
}

impl Master {
    pub(super) fn conn_list(&mut self, request: &[u8]) -> Result<Answer> {
        let r: ConnReq = exact(request)?;
        if r.flag & (conn_get::ALL | conn_get::MORE) == 0 {
            return Err(Fault::Invalid(
                "neither a new listing nor one to go on with",
            ));
        }
        if self.workers.len() == 0 {
            return Ok(Answer::Body(body(&[], None)));
        }
        if r.flag & conn_get::MORE == 0 {
            let what = if r.flag & conn_get::TEMPLATE != 0 {
                Listing::Templates
            } else {
                Listing::Conns
            };
            return Ok(Answer::Conns(self.begin_listing(what)));
        }
        // A listing that was given up meanwhile ends here.
        let goes_on = self.listings.take(r.whence);
        Ok(goes_on.map_or_else(|| Answer::Body(body(&[], None)), Answer::Conns))
    }

    pub(super) fn conn_find(&mut self, request: &[u8]) -> Result<Answer> {
        let r: ConnReq = exact(request)?;
        if r.flag & conn_get::SPECIFIED == 0 {
            return Err(Fault::Invalid("no connection is named"));
        }
        let s = &r.sockpair;
        let (Some(src), Some(dst)) = (s.sip.to_ip(s.af), s.tip.to_ip(s.af)) else {
            return Err(Fault::Invalid("address family"));
        };
        let proto = u8::try_from(s.proto).map_err(|_| Fault::Invalid("protocol"))?;
        let tuple = ConnTuple {
            proto,
            src,
            sport: s.sport.get(),
            dst,
            dport: s.tport.get(),
        };
        let cids: Vec<u8> = self.workers.ids().map(|w| self.workers.lcore(w)).collect();
        Ok(Answer::Gather(Gather {
            questions: self
                .workers
                .ids()
                .map(|w| (w, Query::ConnFind(tuple)))
                .collect(),
            finish: Box::new(move |parts| {
                let found = parts.into_iter().find_map(|p| match p.reply {
                    Reply::ConnFind(Some(c)) => Some(listed(
                        &c,
                        cids.get(usize::from(p.worker.0)).copied().unwrap_or(0),
                    )),
                    _ => None,
                });
                found.map(|c| body(&[c], None)).ok_or(Fault::Missing)
            }),
        }))
    }
}
