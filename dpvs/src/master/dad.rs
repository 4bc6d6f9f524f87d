//! Detection of duplicate addresses (RFC 4862 §5.4): who has a new IPv6 address already?
//!
//! One probe, and three seconds to object. The address is in use meanwhile, and stays in
//! use when somebody does, as in DPVS: directors of a cluster may have the same virtual
//! addresses on one link. It is marked and said in the log. Knows no timers: it is told
//! the time once a second.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use dpvs_core::frame::{PortId, WorkerId};
use dpvs_core::inet::ndisc;
use dpvs_core::message::ToWorker;
use dpvs_ctl::msg::ifa_flag;

use super::Master;
use super::error::Result;
use super::state::State;
use super::state::addr::Addr;

/// How long somebody may object.
const WAIT: Duration = Duration::from_secs(3);
/// Not known to be unique, and in use.
const UNSURE: u32 = ifa_flag::TENTATIVE | ifa_flag::OPTIMISTIC;

/// Addresses that were probed for, oldest first.
#[derive(Debug, Default)]
pub(super) struct Dad(VecDeque<(Instant, PortId, IpAddr)>);

impl Dad {
    /// Somebody has an address of ours, or wants it.
    ///
    /// DIFFERS: DPVS does not hear those who probe for it at the same time.
    pub(super) fn heard(&self, state: &mut State, port: PortId, ip: IpAddr) {
        let name = state.links.name(port).to_owned();
        if let Some(flags) = state.addrs.flags_mut(port, ip)
            && *flags & ifa_flag::TENTATIVE != 0
        {
            *flags = *flags & !UNSURE | ifa_flag::DADFAILED;
            tracing::warn!("address {ip} on {name}: somebody else has it");
        }
    }

    /// Those nobody objected to are ours.
    pub(super) fn over(&mut self, state: &mut State, now: Instant) {
        while let Some((_, port, ip)) = self.0.front().filter(|(end, ..)| *end <= now) {
            if let Some(flags) = state.addrs.flags_mut(*port, *ip) {
                *flags &= !UNSURE;
            }
            self.0.pop_front();
        }
    }
}

impl Master {
    /// Adds an address, and has the link asked whether somebody has it already.
    pub(super) fn add_addr(&mut self, mut addr: Addr) -> Result<()> {
        let (port, ip) = (addr.port, addr.ip);
        let link = self.state.links.get(port);
        let mac = link.map(|l| l.mac).unwrap_or_default();
        let mut probe = [0; ndisc::DAD_FRAME_LEN];
        let probed = match ip {
            IpAddr::V6(target) if mac != [0; 6] && addr.flags & ifa_flag::NODAD == 0 => {
                ndisc::write_probe(&mut probe, mac, target).is_some()
            }
            _ => false,
        };
        if probed {
            addr.flags |= UNSURE;
        }
        self.state.add_addr(addr)?;
        if probed {
            self.dad.0.push_back((Instant::now() + WAIT, port, ip));
            let frame = probe.into();
            let send = ToWorker::Send { port, frame };
            self.workers.send(WorkerId(0), send);
        }
        Ok(())
    }
}
