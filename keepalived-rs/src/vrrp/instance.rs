//! The VRRP state machine of one instance (RFC 9568 section 6, RFC 3768).
//!
//! No I/O and no clock: events and the time go in, actions come out, and
//! `deadline` says when to call again. Where keepalived differs from the RFCs
//! (preempt delay, announcements in sets, take-over rules) it follows
//! keepalived.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::packet::{Advert, Received};
use crate::conf::model::Instance;

#[cfg(test)]
#[path = "instance_tests.rs"]
mod tests;

/// VRRP states, with keepalived's FAULT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Init,
    Backup,
    Master,
    Fault,
}

impl State {
    /// As notify scripts see it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Init => "INIT",
            Self::Backup => "BACKUP",
            Self::Master => "MASTER",
            Self::Fault => "FAULT",
        }
    }
}

/// What goes in.
#[derive(Clone, Debug)]
pub(crate) enum Event<'a> {
    /// What the interfaces say now; the first one starts the instance.
    Health(Health),
    Advert(&'a Received),
    /// The deadline has passed.
    Timer,
    /// The daemon or the instance ends.
    Stop,
}

/// The condition of the instance's surroundings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Health {
    /// Nothing forbids being MASTER.
    pub(crate) fit: bool,
    /// The interface exists.
    pub(crate) present: bool,
    /// Sum of the weights of tracked objects.
    pub(crate) weight: i32,
    /// Address adverts are sent from.
    pub(crate) src: Ipv4Addr,
}

/// What comes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Send an advert with this priority.
    Send(u8),
    /// Put the virtual addresses on.
    AddAddresses,
    /// Take them off.
    RemoveAddresses,
    /// Announce each address this many times.
    Announce(u32),
    /// Tell scripts.
    Notify(&'static str),
}

/// One virtual router.
#[derive(Debug)]
pub(crate) struct Machine {
    conf: Instance,
    state: State,
    health: Option<Health>,
    /// Next advert as MASTER, master-down as BACKUP.
    timer: Option<Instant>,
    /// Interval of the master that is listened to; version 3 adopts it.
    master_interval: Duration,
    /// End of preempt_delay, once it has started.
    preempt_at: Option<Instant>,
    announce_at: Option<(Instant, u32)>,
    refresh_at: Option<Instant>,
    /// It was MASTER when its interface disappeared.
    lost_interface: bool,
    /// Which lower-priority master has been mentioned in the log.
    logged: Option<(Ipv4Addr, u8)>,
}

impl Machine {
    pub(crate) fn new(conf: &Instance) -> Self {
        Self {
            conf: conf.clone(),
            state: State::Init,
            health: None,
            timer: None,
            master_interval: conf.advert_int,
            preempt_at: None,
            announce_at: None,
            refresh_at: None,
            lost_interface: false,
            logged: None,
        }
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    pub(crate) fn conf(&self) -> &Instance {
        &self.conf
    }

    /// New settings for a running instance; its state stays.
    pub(crate) fn configure(&mut self, conf: &Instance) {
        self.conf = conf.clone();
    }

    /// Base priority and trackers, within 1..=254; an owner keeps 255.
    pub(crate) fn priority(&self) -> u8 {
        if self.conf.priority == 255 {
            return 255;
        }
        let weight = self.health.map_or(0, |h| h.weight);
        let sum = i32::from(self.conf.priority).saturating_add(weight);
        u8::try_from(sum.clamp(1, 254)).unwrap_or(1)
    }

    /// What to send.
    pub(crate) fn advert(&self, priority: u8) -> Advert {
        let c = &self.conf;
        let interval = match c.version {
            3 => c.advert_int.as_millis() / 10,
            _ => u128::from(c.advert_int.as_secs()),
        };
        Advert {
            version: c.version,
            vrid: c.vrid,
            priority,
            interval: u16::try_from(interval).unwrap_or(u16::MAX),
            password: c.auth_pass,
            addrs: c
                .vips
                .iter()
                .filter_map(|v| match v.ip {
                    std::net::IpAddr::V4(a) => Some(a),
                    std::net::IpAddr::V6(_) => None,
                })
                .collect(),
        }
    }

    /// When to call with `Timer`.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let announce = self.announce_at.map(|a| a.0);
        [self.timer, announce, self.refresh_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Spreads routers of one priority apart; lower priorities wait longer.
    fn skew(&self) -> Duration {
        let part = 256 - u32::from(self.priority());
        match self.conf.version {
            3 => self.master_interval * part / 256,
            _ => Duration::from_secs(1) * part / 256,
        }
    }

    fn master_down(&self) -> Duration {
        let interval = match self.conf.version {
            3 => self.master_interval,
            _ => self.conf.advert_int,
        };
        interval * u32::from(self.conf.down_timer_adverts) + self.skew()
    }

    /// The state machine.
    pub(crate) fn handle(&mut self, event: Event<'_>, now: Instant, out: &mut Vec<Action>) {
        match event {
            Event::Health(h) => self.on_health(h, now, out),
            Event::Advert(r) => self.on_advert(r, now, out),
            Event::Timer => self.on_timer(now, out),
            Event::Stop => self.on_stop(out),
        }
    }

    fn on_health(&mut self, h: Health, now: Instant, out: &mut Vec<Action>) {
        let before = self.priority();
        self.health = Some(h);
        let name = &self.conf.name;
        if before != self.priority() && self.state != State::Init {
            info!(
                "({name}) Changing effective priority from {before} to {}",
                self.priority()
            );
        }
        match (self.state, h.fit) {
            (State::Init, true) => {
                info!("({name}) Entering BACKUP STATE (init)");
                self.enter_backup(now, out);
            }
            (State::Init, false) => {
                info!("({name}) Entering FAULT STATE (init)");
                self.enter_fault(out);
            }
            (State::Backup, false) => {
                info!("({name}) Entering FAULT STATE");
                self.enter_fault(out);
            }
            (State::Master, false) => {
                info!("({name}) Entering FAULT STATE");
                self.lost_interface = !h.present;
                if h.present {
                    out.push(Action::Send(0));
                }
                out.push(Action::RemoveAddresses);
                self.enter_fault(out);
            }
            (State::Fault, true) => {
                info!("({name}) Entering BACKUP STATE");
                let was_master = std::mem::take(&mut self.lost_interface);
                self.enter_backup(now, out);
                // DIFFERS: a restart of dpvs takes the interface away and brings
                // it back. A router that was MASTER and may preempt anyway waits
                // for one advert of somebody else, not for three.
                if was_master && self.state == State::Backup && self.conf.preempt {
                    self.timer = Some(now + self.conf.advert_int + self.skew());
                }
            }
            _ => {}
        }
    }

    fn enter_fault(&mut self, out: &mut Vec<Action>) {
        self.state = State::Fault;
        self.timer = None;
        self.announce_at = None;
        self.refresh_at = None;
        self.preempt_at = None;
        out.push(Action::Notify("FAULT"));
    }

    fn enter_backup(&mut self, now: Instant, out: &mut Vec<Action>) {
        self.state = State::Backup;
        self.announce_at = None;
        self.refresh_at = None;
        self.preempt_at = None;
        self.master_interval = self.conf.advert_int;
        out.push(Action::Notify("BACKUP"));
        if self.conf.priority == 255 {
            // The owner of the addresses asks nobody.
            self.enter_master(now, out);
        } else {
            self.timer = Some(now + self.master_down());
        }
    }

    fn enter_master(&mut self, now: Instant, out: &mut Vec<Action>) {
        info!("({}) Entering MASTER STATE", self.conf.name);
        self.state = State::Master;
        self.logged = None;
        self.preempt_at = None;
        self.timer = Some(now + self.conf.advert_int);
        out.push(Action::Send(self.priority()));
        out.push(Action::AddAddresses);
        let g = &self.conf.garp;
        out.push(Action::Announce(g.master_repeat));
        if !g.master_delay.is_zero() {
            self.announce_at = Some((now + g.master_delay, g.master_repeat));
        }
        if !g.master_refresh.is_zero() {
            self.refresh_at = Some(now + g.master_refresh);
        }
        out.push(Action::Notify("MASTER"));
    }

    fn on_timer(&mut self, now: Instant, out: &mut Vec<Action>) {
        if let Some((at, repeat)) = self.announce_at
            && at <= now
        {
            self.announce_at = None;
            out.push(Action::Announce(repeat));
        }
        if self.refresh_at.is_some_and(|at| at <= now) {
            self.refresh_at = Some(now + self.conf.garp.master_refresh);
            out.push(Action::Announce(self.conf.garp.master_refresh_repeat));
        }
        let Some(at) = self.timer.filter(|at| *at <= now) else {
            return;
        };
        match self.state {
            State::Backup => {
                info!("({}) Receive advertisement timeout", self.conf.name);
                self.enter_master(now, out);
            }
            State::Master => {
                out.push(Action::Send(self.priority()));
                // From the last deadline, not from now: no drift. A process
                // that was held up does not send a burst afterwards.
                let next = at + self.conf.advert_int;
                self.timer = Some(if next > now {
                    next
                } else {
                    now + self.conf.advert_int
                });
            }
            State::Init | State::Fault => self.timer = None,
        }
    }

    /// What the instance itself demands of an advert; the reason for dropping it.
    fn refuse(&self, r: &Received) -> Option<String> {
        let c = &self.conf;
        let a = &r.advert;
        if a.version != c.version {
            return Some(format!("version {} instead of {}", a.version, c.version));
        }
        if a.version == 2 && a.password != c.auth_pass {
            return Some("the password or authentication type differs".to_owned());
        }
        if a.version == 2 && u64::from(a.interval) != c.advert_int.as_secs() {
            return Some(format!(
                "its interval is {} s, ours {} s",
                a.interval,
                c.advert_int.as_secs()
            ));
        }
        if a.version == 3 && a.interval == 0 {
            return Some("its interval is 0".to_owned());
        }
        if c.peers.is_empty() && r.dst != c.mcast_group4 {
            return Some(format!("it was sent to {}", r.dst));
        }
        if !c.peers.is_empty() && r.dst.is_multicast() {
            return Some("it was sent by multicast".to_owned());
        }
        if c.check_unicast_src && !c.peers.is_empty() && !c.peers.contains(&r.src.into()) {
            return Some("the sender is no unicast_peer".to_owned());
        }
        None
    }

    fn on_advert(&mut self, r: &Received, now: Instant, out: &mut Vec<Action>) {
        if !matches!(self.state, State::Backup | State::Master) {
            return;
        }
        if self.health.is_some_and(|h| h.src == r.src) {
            // Our own, looped back.
            return;
        }
        let name = self.conf.name.clone();
        if let Some(why) = self.refuse(r) {
            if self.mention(r) {
                warn!("({name}) advert from {} dropped: {why}", r.src);
            }
            return;
        }
        if r.advert.addrs != self.advert(0).addrs && r.advert.priority != 0 && self.mention(r) {
            // Never a reason to drop it.
            warn!(
                "({name}) {} advertises other addresses than are configured here",
                r.src
            );
        }
        if self.state == State::Master {
            self.master_hears(r, now, out);
        } else {
            self.backup_hears(r, now);
        }
    }

    /// Whether this sender is new to the log.
    fn mention(&mut self, r: &Received) -> bool {
        let who = Some((r.src, r.advert.priority));
        std::mem::replace(&mut self.logged, who) != who
    }

    fn backup_hears(&mut self, r: &Received, now: Instant) {
        let a = &r.advert;
        let name = self.conf.name.clone();
        if a.priority == 0 {
            info!("({name}) Backup received priority 0 advertisement");
            self.timer = Some(now + self.skew());
            return;
        }
        let lower = a.priority < self.priority();
        let mut waiting = false;
        if !self.conf.preempt_delay.is_zero() {
            if lower {
                let delay = self.conf.preempt_delay;
                let until = *self.preempt_at.get_or_insert_with(|| {
                    info!(
                        "({name}) waiting {} s before preempting {}",
                        delay.as_secs_f64(),
                        r.src
                    );
                    now + delay
                });
                waiting = now < until;
            } else {
                self.preempt_at = None;
            }
        }
        if lower && self.conf.preempt && !waiting {
            if self.mention(r) {
                info!(
                    "({name}) received lower priority ({}) advert from {} - discarding",
                    a.priority, r.src
                );
            }
            // The old timer runs on: at its end we take over.
            return;
        }
        if a.version == 3 {
            self.master_interval = Duration::from_millis(u64::from(a.interval) * 10);
        }
        self.timer = Some(now + self.master_down());
    }

    fn master_hears(&mut self, r: &Received, now: Instant, out: &mut Vec<Action>) {
        let (theirs, ours) = (r.advert.priority, self.priority());
        let name = self.conf.name.clone();
        if theirs == 0 {
            out.push(Action::Send(ours));
            self.timer = Some(now + self.conf.advert_int);
            return;
        }
        let src = self.health.map_or(Ipv4Addr::UNSPECIFIED, |h| h.src);
        if theirs > ours || (theirs == ours && r.src > src) {
            info!(
                "({name}) Master received advert from {} with higher priority {theirs}, ours {ours}",
                r.src
            );
            if self.conf.higher_prio_send_advert {
                out.push(Action::Send(ours));
            }
            info!("({name}) Entering BACKUP STATE");
            out.push(Action::RemoveAddresses);
            self.state = State::Backup;
            self.announce_at = None;
            self.refresh_at = None;
            if r.advert.version == 3 {
                self.master_interval = Duration::from_millis(u64::from(r.advert.interval) * 10);
            }
            self.timer = Some(now + self.master_down());
            out.push(Action::Notify("BACKUP"));
            return;
        }
        info!(
            "({name}) Received advert from {} with lower priority {theirs}, ours {ours}, forcing new election",
            r.src
        );
        if !self.conf.lower_prio_no_advert {
            out.push(Action::Send(ours));
            self.timer = Some(now + self.conf.advert_int);
        }
        let g = &self.conf.garp;
        let repeat = g.lower_prio_repeat.unwrap_or(g.master_repeat);
        if repeat > 0 {
            out.push(Action::Announce(repeat));
            let delay = g.lower_prio_delay.unwrap_or(g.master_delay);
            if !delay.is_zero() {
                self.announce_at = Some((now + delay, repeat));
            }
        }
    }

    fn on_stop(&mut self, out: &mut Vec<Action>) {
        if self.state == State::Master {
            info!("({}) sent 0 priority", self.conf.name);
            out.push(Action::Send(0));
            out.push(Action::RemoveAddresses);
        }
        self.timer = None;
        self.announce_at = None;
        self.refresh_at = None;
        self.state = State::Init;
        out.push(Action::Notify("STOP"));
    }
}
