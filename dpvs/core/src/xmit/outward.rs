//! Ways to servers that get packets as they are: direct routing and tunnels.
//!
//! Their next hop is not a connection's: routes decide, and a direct server's gateway
//! does not count. What was found for a server is kept until the configuration
//! changes or its neighbour does, so that a packet asks neither routes, neighbours nor
//! the port's addresses. Knows no packet.

use std::net::IpAddr;

use crate::egress::Way;
use crate::frame::Frame;
use crate::sharemap::hash_addr;
use crate::snapshot::Snapshot;
use crate::stats::Reason;
use crate::worker::Worker;

/// Servers at hand. Of two at the same place the last one asked for stays.
const PLACES: usize = 256;

#[derive(Clone, Copy)]
struct Known {
    /// The configuration it was found in.
    turn: u64,
    dst: IpAddr,
    /// Through a tunnel: by the route's gateway.
    wraps: bool,
    hop: u32,
    src: Option<IpAddr>,
}

/// What was found for servers.
pub(crate) struct Outward {
    known: Box<[Known; PLACES]>,
    turn: u64,
    key: [u64; 2],
}

impl Outward {
    pub(crate) fn new(key: [u64; 2]) -> Self {
        let nobody = Known {
            turn: 0,
            dst: IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
            wraps: false,
            hop: 0,
            src: None,
        };
        Self {
            known: Box::new([nobody; PLACES]),
            turn: 1,
            key,
        }
    }

    /// Routes, ports or addresses may be others from now on.
    pub(crate) fn renew(&mut self) {
        self.turn += 1;
    }

    fn place(&self, dst: &IpAddr, wraps: bool) -> usize {
        hash_addr(dst, wraps.into(), self.key) as usize % PLACES
    }
}

impl<F: Frame> Worker<F> {
    /// The way to the server `dst`; for one who `wraps` packets also the address to
    /// send from. To an address of our own there is none.
    #[inline]
    pub(crate) fn way_out(
        &mut self,
        snap: &Snapshot,
        dst: IpAddr,
        wraps: bool,
    ) -> Result<(Way, Option<IpAddr>), Reason> {
        let at = self.outward.place(&dst, wraps);
        let known = &self.outward.known[at];
        if known.turn == self.outward.turn
            && known.dst == dst
            && known.wraps == wraps
            // No longer if the neighbour has moved or gone.
            && let Some(hop) = self.neighs.hops.get(known.hop)
        {
            return Ok((Way::Hop(*hop), known.src));
        }
        self.find_way_out(snap, dst, wraps, at)
    }

    #[cold]
    #[inline(never)]
    fn find_way_out(
        &mut self,
        snap: &Snapshot,
        dst: IpAddr,
        wraps: bool,
        at: usize,
    ) -> Result<(Way, Option<IpAddr>), Reason> {
        if snap.locals.get(&dst).is_some() {
            // It was on the link when its connections were made, and is the kernel now.
            return Err(Reason::NoRoute);
        }
        let route = snap.fib.lookup(dst).ok_or(Reason::NoRoute)?;
        let gateway = route.gateway.filter(|_| wraps);
        let (way, hop) = self.way_by(snap, route, gateway.unwrap_or(dst))?;
        let mut src = None;
        if wraps {
            // DIFFERS: without a source in the route DPVS sends from 0.0.0.0; here an
            // address of the port is chosen.
            let named = route.src.filter(|s| s.is_ipv6() == dst.is_ipv6());
            let port = snap.ports.get(usize::from(route.port.0));
            src = port.map_or(named, |port| port.source_or(named, dst));
            if src.is_none() {
                return Err(Reason::NoRoute);
            }
        }
        // One with an MTU of the route's own has no number.
        if hop != 0 {
            self.outward.known[at] = Known {
                turn: self.outward.turn,
                dst,
                wraps,
                hop,
                src,
            };
        }
        Ok((way, src))
    }
}
