//! Addresses whose packets are the kernel's, by the NIC where it can (ids 99 to 102).

use std::net::IpAddr;

use dpvs_core::frame::PortId;
use dpvs_ctl::msg::KniFlow;
use dpvs_ctl::wire::encode_counted;
use dpvs_ctl::{Af, Ip16, Name};

use super::{Answer, prefix};
use crate::master::Master;
use crate::master::error::{Fault, Result};

/// The one type of flow there is.
const ADDRESS: u32 = 1;

impl Master {
    fn kni_entry(&self, body: &[u8]) -> Result<(PortId, IpAddr)> {
        let flow: KniFlow = prefix(body)?;
        let port = self.kni_port(&flow)?;
        let addr = flow.addr.to_ip(flow.af);
        let addr = addr.filter(|a| !a.is_unspecified() && !a.is_multicast());
        Ok((port, addr.ok_or(Fault::Invalid("address"))?))
    }

    fn kni_port(&self, flow: &KniFlow) -> Result<PortId> {
        if self.topology.kni.is_none() {
            return Err(Fault::Disabled);
        }
        if flow.kind != ADDRESS {
            return Err(Fault::Unsupported("a flow that is no address"));
        }
        let port = self
            .state
            .links
            .find(flow.ifname.bytes())
            .ok_or(Fault::Missing)?;
        match self.state.links.get(port) {
            Some(link) if link.has_host => Ok(port),
            _ => Err(Fault::Unsupported("a device without host port")),
        }
    }

    pub(super) fn kni_add(&mut self, body: &[u8]) -> Result<Answer> {
        let (port, addr) = self.kni_entry(body)?;
        if self.state.kni_flows.contains(&(port, addr)) {
            return Err(Fault::Exists);
        }
        let name = self.state.links.name(port);
        match self.netif.kni_flow(port, addr) {
            Ok(()) => tracing::info!("{name}: packets for {addr} go to the kernel by a flow rule"),
            Err(why) => tracing::info!(
                "{name}: packets for {addr} go to the kernel through the workers: {why}"
            ),
        }
        self.state.kni_flows.push((port, addr));
        self.state.net_changed = true;
        Ok(Answer::Done)
    }

    pub(super) fn kni_del(&mut self, body: &[u8]) -> Result<Answer> {
        let entry = self.kni_entry(body)?;
        let at = self.state.kni_flows.iter().position(|e| *e == entry);
        self.state.kni_flows.remove(at.ok_or(Fault::Missing)?);
        self.netif.kni_unflow(entry.0, entry.1);
        self.state.net_changed = true;
        Ok(Answer::Done)
    }

    pub(super) fn kni_flush(&mut self, body: &[u8]) -> Result<Answer> {
        let flow: KniFlow = prefix(body)?;
        let port = self.kni_port(&flow)?;
        let all = &mut self.state.kni_flows;
        for (port, addr) in all.extract_if(.., |(p, _)| *p == port) {
            self.netif.kni_unflow(port, addr);
        }
        self.state.net_changed = true;
        Ok(Answer::Done)
    }

    pub(super) fn kni_list(&mut self, body: &[u8]) -> Result<Answer> {
        let flow: KniFlow = prefix(body)?;
        if self.topology.kni.is_none() {
            return Err(Fault::Disabled);
        }
        let port = if flow.ifname.is_empty() {
            None
        } else {
            Some(self.kni_port(&flow)?)
        };
        let list: Vec<KniFlow> = self
            .state
            .kni_flows
            .iter()
            .filter(|(p, _)| port.is_none_or(|port| port == *p))
            .map(|(p, addr)| KniFlow {
                kind: ADDRESS,
                ifname: Name::truncated(self.state.links.name(*p)),
                af: Af::of(*addr),
                addr: Ip16::from_ip(*addr),
            })
            .collect();
        Ok(Answer::Body(encode_counted(&list)))
    }
}
