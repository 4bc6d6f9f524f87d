//! SYN proxy: the handshake with the client before a server hears of it (DPVS
//! facts §15).
//!
//! A SYN is answered by a SYN-ACK whose number is a cookie ([`cookie`],
//! [`answer`]), and nothing is kept of it. The ACK that brings the cookie back
//! makes the connection ([`open`]): a server is chosen, gets a SYN, and what the
//! client sends meanwhile waits ([`saved`]). From the server's answer on
//! ([`answered`]), numbers are shifted by how far its number is from the cookie
//! ([`gate`]); everything else is as for any other connection, whose packets go
//! through `transit`; what is otherwise between the families is in [`cross`]. When a
//! service is proxied that did not ask for it is [`meter`]'s business.

mod answer;
mod answered;
mod cookie;
mod cross;
mod gate;
mod meter;
mod open;
mod saved;

use crate::service::{Dest, FwdMode, Service};

use cookie::{Cookies, Offer};
use saved::{Queue, Saved};

pub(crate) use meter::Meter;
pub(crate) use open::Step;

/// What a worker has for all proxied connections.
pub(crate) struct SynProxy<F> {
    cookies: Cookies,
    saved: Saved<F>,
}

impl<F> SynProxy<F> {
    pub(crate) fn new([a, b, c, d]: [u64; 4]) -> Self {
        // Workers' seeds differ in the first byte of each word: a cookie is good at
        // every worker, should the NIC change its mind.
        const SAME: u64 = u64::MAX >> 8;
        let key = |x: u64, y: u64| (x & SAME) ^ (y & SAME).rotate_left(17);
        Self {
            cookies: Cookies::new(key(a, c), key(b, d)),
            saved: Saved::new(),
        }
    }
}

/// What a SYN asks of a service's servers, summed up when the service changes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Servers {
    /// One of them gets connections.
    usable: bool,
    /// Numbers are translated by all of them.
    fullnat: bool,
    /// One of them is an IPv6 one.
    v6: bool,
}

impl Servers {
    pub(crate) fn of(service: &Service) -> Self {
        let dests = &service.dests;
        Self {
            usable: dests.iter().any(Dest::usable),
            fullnat: dests.iter().all(|d| d.mode == FwdMode::FullNat),
            v6: cross::has_v6(service),
        }
    }
}

/// What is kept of a proxied connection, beside its entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Proxied {
    /// Added to the server's numbers towards the client, taken off the client's
    /// acknowledgements.
    delta: u32,
    /// The number the client was answered with.
    cookie: u32,
    /// What the client's SYN said.
    offer: Offer,
    /// Window of the client's last segment before the server has answered.
    window: u16,
    /// Type of service of the client's segments.
    tos: u8,
    /// SYNs sent again.
    tries: u8,
    /// Window scale the client was told, and the server's.
    wscale: (u8, u8),
    /// Segments that wait for the server.
    queue: Queue,
    /// Number, acknowledgement and window of the server's last bare ACK; how many
    /// of them came; milliseconds (wrapping) of the last one.
    last: (u32, u32, u16),
    same: u16,
    same_at: u32,
}

impl Proxied {
    /// Of a client's ACK with a good cookie.
    fn new(cookie: u32, offer: Offer, wscale: u8) -> Self {
        Self {
            delta: 0,
            cookie,
            offer,
            window: 0,
            tos: 0,
            tries: 0,
            wscale: (if offer.wscale.is_some() { wscale } else { 0 }, 0),
            queue: Queue::default(),
            last: (0, 0, 0),
            same: 0,
            same_at: 0,
        }
    }
}
