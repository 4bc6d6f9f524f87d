//! Detection of duplicate addresses (RFC 4862 §5.4): who has a new IPv6 address already?
//!
//! One probe within a second, when the workers know the address and so hear who objects,
//! and three seconds to do so. The address is in use meanwhile, and stays in
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

/// How long somebody may object, the second in which the probe goes out included.
const WAIT: Duration = Duration::from_secs(4);
/// Not known to be unique, and in use.
const UNSURE: u32 = ifa_flag::TENTATIVE | ifa_flag::OPTIMISTIC;

/// Addresses that are probed for, oldest first.
#[derive(Debug, Default)]
pub(super) struct Dad {
    asked: VecDeque<(Instant, PortId, IpAddr)>,
    /// Probes to send.
    probes: Vec<(PortId, Box<[u8]>)>,
}

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

    /// The probes whose addresses the workers know by now.
    pub(super) fn probes(&mut self) -> impl Iterator<Item = (WorkerId, ToWorker)> + '_ {
        let send = |(port, frame)| (WorkerId(0), ToWorker::Send { port, frame });
        self.probes.drain(..).map(send)
    }

    /// Those nobody objected to are ours.
    pub(super) fn over(&mut self, state: &mut State, now: Instant) {
        while let Some((_, port, ip)) = self.asked.front().filter(|(end, ..)| *end <= now) {
            if let Some(flags) = state.addrs.flags_mut(*port, *ip) {
                *flags &= !UNSURE;
            }
            self.asked.pop_front();
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
            let end = Instant::now() + WAIT;
            self.dad.asked.push_back((end, port, ip));
            self.dad.probes.push((port, probe.into()));
        }
        Ok(())
    }
}
