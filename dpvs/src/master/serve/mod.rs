//! Requests of the control socket: which handler serves which id, and what is
//! not served.
//!
//! A handler checks the whole body, then changes the model or reads it. It
//! never waits: what needs the workers comes back as something to gather.

mod acl;
mod addr;
mod conn;
mod dest;
mod encap;
mod flow;
mod ipset;
mod kept;
mod laddr;
mod neigh;
mod netif;
mod ours;
mod route;
mod service;
mod tc;
mod tunnel;
mod vlan;
mod watch;

use dpvs_core::frame::{PortId, WorkerId};
use dpvs_core::message::{Query, Reply};
use dpvs_ctl::server::Request;
use dpvs_ctl::wire::encode_counted;
use dpvs_ctl::{Kind, Name, Wire, id};

use super::Master;
use super::error::{Fault, Result};
use super::state::guard::Colour;
pub(super) use conn::listed;

/// What a handler leaves to be done.
pub(super) enum Answer {
    /// The body of the reply.
    Body(Vec<u8>),
    /// The model may have changed: reply when all workers have it.
    Done,
    /// Reply when the workers have answered.
    Gather(Gather),
    /// Reply with the next batch of this listing.
    Conns(u64),
}

/// One worker's answer to the n-th question of a [`Gather`].
pub(super) struct Part {
    pub(super) worker: WorkerId,
    pub(super) question: usize,
    pub(super) reply: Reply,
}

/// Makes a body of the workers' answers.
pub(super) type Finish = Box<dyn FnOnce(Vec<Part>) -> Result<Vec<u8>>>;

/// Questions to workers and what to make of the answers.
pub(super) struct Gather {
    pub(super) questions: Vec<(WorkerId, Query)>,
    pub(super) finish: Finish,
}

/// The version this daemon calls itself, as number and text: the C release
/// whose protocol it speaks.
pub(super) const VERSION: u32 = 0x0001_0a02;
pub(super) const VERSION_TEXT: &str = "dpvs:v1.10-2";

/// A body of exactly one struct.
pub(super) fn exact<T: Wire>(body: &[u8]) -> Result<T> {
    T::decode(body).map_err(|_| Fault::Invalid("body of the wrong size"))
}

/// A body that starts with a struct; what follows is ignored.
pub(super) fn prefix<T: Wire>(body: &[u8]) -> Result<T> {
    T::decode_prefix(body)
        .map(|(head, _)| head)
        .map_err(|_| Fault::Invalid("body too short"))
}

impl Master {
    /// Serves one request.
    pub(super) fn serve(&mut self, request: &Request) -> Result<Answer> {
        if let Some(answer) = self.serve_kept(request) {
            return answer;
        }
        let body = request.body.as_slice();
        match request.kind {
            Kind::Set => self.set(request.id, body),
            Kind::Get => self.get(request.id, body),
        }
    }

    fn set(&mut self, id: u32, body: &[u8]) -> Result<Answer> {
        match id {
            id::SET_LADDR_ADD => self.laddr_add(body),
            id::SET_LADDR_DEL => self.laddr_del(body),
            id::SET_LADDR_FLUSH => self.laddr_flush(body),
            id::AGENT_VS_ADD_LADDR => self.agent_laddrs(body, true),
            id::AGENT_VS_DEL_LADDR => self.agent_laddrs(body, false),
            id::SO_SET_FLUSH => self.service_flush(),
            id::SO_SET_ZERO => self.service_zero(body),
            id::SO_SET_ADD => self.service_add(&prefix(body)?, false),
            id::SO_SET_EDIT => self.service_edit(&prefix(body)?, false),
            id::SET_SERVICE_ADD_EXT => self.service_ext(&exact(body)?, true),
            id::SET_SERVICE_EDIT_EXT => self.service_ext(&exact(body)?, false),
            id::SO_SET_DEL => self.service_del(body),
            id::SO_SET_ADDDEST => self.dest_add(body),
            id::SO_SET_EDITDEST => self.dest_edit(body),
            id::SO_SET_DELDEST => self.dest_del(body),
            id::SO_SET_GRATARP => self.gratuitous_arp(body),
            17..=23 => Err(Fault::Invalid("not a set request")),
            id::AGENT_VS_ADD_DESTS | id::AGENT_VS_EDIT_DESTS | id::AGENT_VS_DEL_DESTS => {
                self.agent_dests(id, body)
            }
            id::SET_ROUTE_ADD => self.route4_change(body, true),
            id::SET_ROUTE_DEL => self.route4_change(body, false),
            id::SET_ROUTE_FLUSH => self.route4_flush(body),
            id::SET_ROUTE6_ADD_DEL | id::SET_ROUTE6_FLUSH => self.route6_change(body),
            id::AGENT_ROUTE_ADD | id::AGENT_ROUTE6_ADD => self.agent_route(body, true),
            id::AGENT_ROUTE_DEL | id::AGENT_ROUTE6_DEL => self.agent_route(body, false),
            id::AGENT_IFADDR_ADD => self.addr_change(id::SET_IFADDR_ADD, body),
            id::AGENT_IFADDR_DEL => self.addr_change(id::SET_IFADDR_DEL, body),
            id::SET_IFADDR_ADD | id::SET_IFADDR_DEL | id::SET_IFADDR_SET | id::SET_IFADDR_FLUSH => {
                self.addr_param(id, body)
            }
            id::NETIF_SET_LCORE => Ok(Answer::Done),
            id::NETIF_SET_PORT => self.port_set(body),
            id::NETIF_SET_BOND => self.bond_set(body),
            id::NETIF_SET_MAX => Err(Fault::Invalid("no bond of that name")),
            id::TUNNEL_ADD => self.tunnel_add(body),
            id::TUNNEL_DEL => self.tunnel_del(body),
            id::TUNNEL_CHANGE | id::TUNNEL_REPLACE => self.tunnel_change(body),
            id::SET_KNI_ADD => self.kni_add(body),
            id::SET_KNI_DEL => self.kni_del(body),
            id::SET_KNI_FLUSH => self.kni_flush(body),
            id::SET_VLAN_ADD => self.vlan_add(body),
            id::SET_VLAN_DEL => self.vlan_del(body),
            id::SET_IFTRAF_ADD => self.traffic_switch(true),
            id::SET_IFTRAF_DEL => self.traffic_switch(false),
            id::SET_CAPTURE_START => self.capture_start(body),
            id::SET_CAPTURE_STOP => self.capture_stop(body),
            id::SET_NEIGH_ADD => self.neigh_change(body, true),
            id::SET_NEIGH_DEL => self.neigh_change(body, false),
            id::SET_BLKLST_ADD => self.acl_change(body, Colour::Black, true),
            id::SET_BLKLST_DEL => self.acl_change(body, Colour::Black, false),
            id::SET_WHTLST_ADD => self.acl_change(body, Colour::White, true),
            id::SET_WHTLST_DEL => self.acl_change(body, Colour::White, false),
            id::TC_ADD | id::TC_DEL | id::TC_CHANGE | id::TC_REPLACE => self.tc_set(id, body),
            id::SET_IPSET => self.ipset_set(body),
            id::SET_LIMIT => self.limit_set(body),
            _ => self.unserved(id),
        }
    }

    fn get(&mut self, id: u32, body: &[u8]) -> Result<Answer> {
        match id {
            id::GET_LADDR_GETALL => self.laddr_list(body),
            id::AGENT_VS_GET_LADDR => self.agent_laddr_list(body),
            id::SO_GET_VERSION => Ok(Answer::Body(Name::<64>::truncated(VERSION_TEXT).encode())),
            id::SO_GET_INFO => self.info(),
            id::SO_GET_SERVICES => self.service_list(body, false),
            id::AGENT_SO_GET_SERVICES => self.service_list(body, true),
            id::SO_GET_SERVICE => self.service_get(body),
            id::SO_GET_DESTS => self.dest_list(body),
            8..=16 | 23 => Err(Fault::Invalid("not a get request")),
            id::AGENT_VS_GET_DESTS => self.agent_dest_list(body),
            id::GET_ROUTE_SHOW | id::AGENT_ROUTE_GET => self.route4_list(body),
            id::GET_ROUTE6_SHOW | id::AGENT_ROUTE6_GET => self.route6_list(body),
            id::AGENT_IFADDR_GET_BASE => self.agent_addr_list(body),
            id::AGENT_IFADDR_GET_STATS => self.agent_addr_stats(body),
            id::GET_IFADDR_SHOW => self.addr_list(body),
            id::GET_IFMADDR_SHOW => self.group_list(body),
            id::NETIF_GET_LCORE_MASK => self.lcore_mask(),
            id::NETIF_GET_LCORE_BASIC => self.lcore_basic(body),
            id::NETIF_GET_LCORE_STATS => self.lcore_stats(body),
            id::NETIF_GET_PORT_LIST => self.port_list(),
            id::NETIF_GET_PORT_BASIC => self.port_basic(body),
            id::NETIF_GET_PORT_STATS => self.port_stats(body),
            id::NETIF_GET_PORT_XSTATS => self.port_xstats(body),
            id::NETIF_GET_PORT_EXT_INFO => self.port_ext(body),
            id::NETIF_GET_BOND_STATUS => self.bond_status(body),
            id::NETIF_GET_MADDR => self.port_maddr(body),
            id::TUNNEL_SHOW => self.tunnel_list(body),
            id::GET_KNI_LIST => self.kni_list(body),
            id::GET_VLAN_SHOW => self.vlan_list(body),
            id::GET_NEIGH_SHOW => self.neigh_list(body),
            id::GET_CONN_ALL => self.conn_list(body),
            id::GET_CONN_SPECIFIED => self.conn_find(body),
            id::IP6_STATS => self.ip6_stats(),
            id::GET_LLDP_SHOW => self.lldp_show(body),
            id::GET_IFTRAF_SHOW => self.traffic_list(body),
            id::GET_CAPTURE => self.capture_read(body),
            id::GET_DROPS => Ok(self.drops()),
            id::GET_PORT_AFFINITY => self.port_affinity(body),
            id::GET_TURNS => Ok(self.turns()),
            id::GET_COUNTERS => Ok(self.counters()),
            id::GET_SERVICE_EXTS => Ok(Answer::Body(encode_counted(&self.service_exts()))),
            id::GET_BLKLST_GETALL => Ok(self.acl_list(Colour::Black)),
            id::GET_WHTLST_GETALL => Ok(self.acl_list(Colour::White)),
            id::TC_SHOW => self.tc_show(body),
            id::GET_IPSET_TEST => self.ipset_test(body),
            id::GET_IPSET_LIST => self.ipset_list(body),
            id::GET_LIMITS => Ok(self.limit_list()),
            _ => self.unserved(id),
        }
    }

    fn unserved(&mut self, id: u32) -> Result<Answer> {
        if self.said.insert(format!("id {id}")) {
            tracing::warn!(
                "{}: not supported yet, answered with NOTSUPP",
                id::describe(id)
            );
        }
        Err(Fault::Unsupported("message not supported yet"))
    }

    /// Says once that something is accepted and does nothing.
    pub(super) fn inert(&mut self, what: &'static str) {
        if self.said.insert(what.to_owned()) {
            tracing::warn!("{what}: accepted and stored, not in force yet");
        }
    }

    /// Which workers' view an `index` asks for: none for all of them.
    pub(super) fn view(&self, index: usize) -> Result<Option<WorkerId>> {
        match index.checked_sub(1) {
            None => Ok(None),
            Some(at) => self
                .workers
                .ids()
                .nth(at)
                .map(Some)
                .ok_or(Fault::Invalid("no lcore of that index")),
        }
    }

    /// Lcore id shown for a view.
    pub(super) fn cid(&self, view: Option<WorkerId>) -> u8 {
        view.map_or(self.topology.master, |w| self.workers.lcore(w))
    }

    /// The workers of a view.
    pub(super) fn viewed(&self, view: Option<WorkerId>) -> Vec<WorkerId> {
        view.map_or_else(|| self.workers.ids().collect(), |w| vec![w])
    }

    /// A body that is nothing but a device name.
    pub(super) fn named_port(&self, body: &[u8]) -> Result<PortId> {
        let name = body.split(|b| *b == 0).next().unwrap_or_default();
        self.state.links.find(name).ok_or(Fault::Missing)
    }
}
