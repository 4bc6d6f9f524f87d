//! Which servers a service has right now: health, weight, quorum, sorry server.
//!
//! A state machine without I/O: events in, requests for the dataplane and
//! notifications out. This file is about all services together; `pool` is about
//! one of them.

use std::net::SocketAddr;

use dpvs_ctl::msg::Service;
use tracing::info;

use crate::conf::model::{Config, Script};
use crate::ops::{self, Op};
use pool::State;

mod pool;
#[cfg(test)]
mod tests;

/// What comes out.
#[derive(Clone, Debug, PartialEq)]
#[allow(
    clippy::large_enum_variant,
    reason = "lists of these are short and short-lived"
)]
pub(crate) enum Action {
    Op(Op),
    /// A script to start, with what it is about.
    Notify(Script),
}

/// What goes in.
#[derive(Clone, Debug)]
pub(crate) enum Event<'a> {
    /// The dataplane is empty, or may be: say everything.
    Program,
    /// A checker's verdict changed.
    Check {
        service: &'a str,
        server: SocketAddr,
        check: usize,
        up: bool,
        weight: Option<u32>,
    },
    /// A new configuration.
    Reload(&'a Config),
    /// The end: take everything back (`keep`: nothing).
    Stop { keep: bool, flush: bool },
}

/// All services.
pub(crate) struct Ipvs {
    services: Vec<State>,
    tunnels: Vec<crate::conf::model::Tunnel>,
    flush_at_start: bool,
    /// Removed while nobody could be told.
    stale: Vec<Service>,
}

impl Ipvs {
    /// Nothing is asked of the dataplane until `Program`; notifications of the
    /// first judgement go to `out`.
    pub(crate) fn new(config: &Config, out: &mut Vec<Action>) -> Self {
        let mut services: Vec<State> = config
            .services
            .iter()
            .map(|v| State::new(v, config))
            .collect();
        for s in &mut services {
            let mut first = Vec::new();
            s.judge(true, &mut first);
            out.extend(first.into_iter().filter(|a| matches!(a, Action::Notify(_))));
        }
        Self {
            services,
            tunnels: config.tunnels.clone(),
            flush_at_start: config.globals.lvs_flush,
            stale: Vec::new(),
        }
    }

    /// For dumps: a line for each service and server.
    pub(crate) fn describe(&self) -> String {
        let mut text = String::new();
        for s in &self.services {
            text.push_str(&format!(
                "------< LVS Topology >------\n VIP = {}\n   Status = {}\n   quorum = {}, hysteresis = {}\n",
                s.conf.name,
                if s.up { "up" } else { "down" },
                s.conf.quorum,
                s.conf.hysteresis
            ));
            for r in &s.servers {
                text.push_str(&format!(
                    "   RS = {}\n     Alive = {}\n     Weight = {}\n",
                    s.rs_name(r.conf.addr),
                    r.alive(),
                    r.weight()
                ));
            }
        }
        text
    }

    /// The state machine.
    pub(crate) fn handle(&mut self, event: Event<'_>, out: &mut Vec<Action>) {
        match event {
            Event::Program => self.program(out),
            Event::Check {
                service,
                server,
                check,
                up,
                weight,
            } => {
                for s in self.services.iter_mut().filter(|s| s.conf.name == service) {
                    s.verdict(server, check, up, weight, out);
                }
            }
            Event::Reload(config) => self.reload(config, out),
            Event::Stop { keep, flush } => self.stop(keep, flush, out),
        }
    }

    fn program(&mut self, out: &mut Vec<Action>) {
        if std::mem::take(&mut self.flush_at_start) {
            out.push(Action::Op(Op::FlushServices));
        }
        for s in std::mem::take(&mut self.stale) {
            out.push(Action::Op(Op::ServiceDel(s)));
        }
        for t in &self.tunnels {
            out.push(Action::Op(Op::TunnelAdd(ops::tunnel(t))));
        }
        for s in &mut self.services {
            s.program(false, out);
        }
    }

    fn reload(&mut self, config: &Config, out: &mut Vec<Action>) {
        out.push(Action::Op(Op::Info));
        let mut old = std::mem::take(&mut self.services);
        let kept: Vec<bool> = old
            .iter()
            .map(|s| config.services.iter().any(|n| n.name == s.conf.name))
            .collect();
        // Removed services go first.
        let survivors: Vec<&State> = old
            .iter()
            .zip(&kept)
            .filter(|(_, k)| **k)
            .map(|(s, _)| s)
            .collect();
        for (s, _) in old.iter().zip(&kept).filter(|(_, k)| !**k) {
            info!("Removing service of VS {}", s.conf.name);
            s.withdraw(&survivors, false, out);
            self.stale.extend(s.messages());
        }
        for t in self.tunnels.iter().filter(|t| !config.tunnels.contains(t)) {
            out.push(Action::Op(Op::TunnelDel(ops::tunnel(t))));
        }
        for t in config.tunnels.iter().filter(|t| !self.tunnels.contains(t)) {
            out.push(Action::Op(Op::TunnelAdd(ops::tunnel(t))));
        }
        self.tunnels.clone_from(&config.tunnels);
        for new in &config.services {
            match old.iter().position(|s| s.conf.name == new.name) {
                Some(at) => {
                    let mut s = old.swap_remove(at);
                    s.reload(new, config, out);
                    self.services.push(s);
                }
                None => {
                    let mut s = State::new(new, config);
                    s.program(true, out);
                    self.services.push(s);
                }
            }
        }
        let now: Vec<Service> = self.services.iter().flat_map(State::messages).collect();
        self.stale
            .retain(|s| !now.iter().any(|n| n.key() == s.key()));
    }

    fn stop(&mut self, keep: bool, flush: bool, out: &mut Vec<Action>) {
        if keep {
            return;
        }
        for s in &self.services {
            for r in &s.servers {
                info!(
                    "Shutting down service {} from VS {}",
                    s.rs_name(r.conf.addr),
                    s.conf.name
                );
            }
            s.withdraw(&[], flush, out);
            if s.conf.omega {
                let downs = s.servers.iter().filter(|r| r.alive());
                out.extend(
                    downs
                        .filter_map(|r| r.conf.notify_down.clone())
                        .map(Action::Notify),
                );
                if s.up {
                    out.extend(s.conf.quorum_down.clone().map(Action::Notify));
                }
            }
        }
        for t in &self.tunnels {
            out.push(Action::Op(Op::TunnelDel(ops::tunnel(t))));
        }
        self.services.clear();
    }
}
