//! Persistence: clients come back to the server they had.
//!
//! Every worker must send a client to the same server, so each client (or SIP call)
//! of a service has one worker that decides about it, by a hash: the others ask it
//! by message, let the packet wait for the answer, and keep a copy. A copy that is
//! used tells its owner so, once a second at most, and thus keeps the template
//! alive; one whose server is gone asks again. With one worker nothing of this
//! happens. How templates are kept is `conn::templates`'s.

use std::hash::Hasher;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use siphasher::sip128::{Hasher128, SipHasher24};

use crate::choose::{Chosen, Refusal};
use crate::conn::Handle;
use crate::conn::templates::Template;
use crate::frame::{Frame, Io, Now, WorkerId};
use crate::held::WaitFor;
use crate::message::{PeerMessage, TemplateKey};
use crate::raw::Net;
use crate::sched::Flow;
use crate::service::{Dest, DestId, Persistence, Service, ServiceKey};
use crate::snapshot::Snapshot;
use crate::stats::Reason;
use crate::worker::Worker;

/// A copy says that it is used at most so often, milliseconds.
const TELL: u64 = 1000;

/// An address in 128 bits, IPv4 in the last 32.
fn bits(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn masked(addr: IpAddr, mask: u128) -> IpAddr {
    match addr {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & mask as u32).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & mask).into(),
    }
}

/// The Call-ID of a SIP message (RFC 3261 §7.3.1, §20.8), without blanks around it.
pub(crate) fn call_id(message: &[u8]) -> Option<&[u8]> {
    message
        .split(|b| *b == b'\n')
        .skip(1)
        .map(<[u8]>::trim_ascii_end)
        .take_while(|line| !line.is_empty())
        .find_map(|line| {
            let colon = line.iter().position(|b| *b == b':')?;
            let (name, value) = line.split_at(colon);
            let name = name.trim_ascii();
            let is = name.eq_ignore_ascii_case(b"call-id") || name.eq_ignore_ascii_case(b"i");
            let value = value.get(1..)?.trim_ascii();
            (is && !value.is_empty()).then_some(value)
        })
}

/// What a client of a service is known by.
fn key(service: &Service, p: &Persistence, client: IpAddr, payload: &[u8]) -> TemplateKey {
    // DIFFERS: Linux drops what has no Call-ID; here the client's address stands
    // in for it.
    if let Some(call) = p.sip.then(|| call_id(payload)).flatten() {
        let mut hasher = SipHasher24::new_with_keys(0x5049_5343_414c_4c53, service.uid);
        hasher.write(call);
        return TemplateKey {
            service: service.uid,
            client: hasher.finish128().into(),
            call: true,
        };
    }
    TemplateKey {
        service: service.uid,
        client: bits(masked(client, p.mask)),
        call: false,
    }
}

/// The worker that decides about a client.
fn owner(key: &TemplateKey, workers: u8) -> WorkerId {
    let mut x = key.client as u64 ^ (key.client >> 64) as u64 ^ key.service.rotate_left(32);
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    WorkerId(((x >> 32) % u64::from(workers.max(1))) as u8)
}

impl<F: Frame> Worker<F> {
    /// The server of a flow of a persistent service.
    #[cold]
    #[inline(never)]
    pub(crate) fn choose_persistent<I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        service: &Arc<Service>,
        p: &Persistence,
        flow: Flow,
        payload: &[u8],
        now: Now,
        io: &mut I,
    ) -> Result<Chosen, Refusal> {
        let key = key(service, p, flow.client, payload);
        if let Some((num, dest)) = self.template(snap, service, &key, now) {
            if self.is_overloaded(&dest) {
                return self.wait_for_room(std::slice::from_ref(&dest), io);
            }
            return Ok(Chosen {
                dest,
                template: num,
            });
        }
        let owner = owner(&key, self.conf.workers);
        if owner == self.conf.id {
            let dest = self.schedule(service, &flow, payload, io)?.dest;
            let template = self.make_template(service, p, key, flow.client, &dest, now);
            return Ok(Chosen { dest, template });
        }
        let what = WaitFor::Template(key);
        if !self.may_wait() {
            return Err(Refusal::Drop(Reason::PeerSilent));
        }
        let ask = PeerMessage::TemplateAsk {
            from: self.conf.id,
            key,
            service: service.key,
            flow,
        };
        if self.is_awaited(&what) || io.tell(owner, ask) {
            Err(Refusal::Hold(what))
        } else {
            Err(Refusal::Drop(Reason::PeerSilent))
        }
    }

    /// The template of a client and its server, if that one may still be used.
    ///
    /// DIFFERS: not one that the passive check has taken out, which DPVS goes on
    /// sending clients to; nor one of weight 0 where connections end with their server,
    /// because each new one would end at once.
    fn template(
        &mut self,
        snap: &Snapshot,
        service: &Service,
        key: &TemplateKey,
        now: Now,
    ) -> Option<(u32, Dest)> {
        let num = self.templates.find(key, now.millis())?;
        let id = self.templates.get(num)?.dest;
        let drained = !snap.settings.expire_quiescent_template && !service.expire_quiescent;
        let dest = self
            .dest_of(service, id)
            .filter(|dest| dest.usable() || drained && !dest.inhibited);
        match dest {
            Some(dest) => Some((num, dest)),
            None => {
                self.templates.forget(num);
                None
            }
        }
    }

    /// A new template of this worker's; 0 if there is no room for it.
    fn make_template(
        &mut self,
        service: &Service,
        p: &Persistence,
        key: TemplateKey,
        client: IpAddr,
        dest: &Dest,
        now: Now,
    ) -> u32 {
        let client = if key.call {
            client
        } else {
            masked(client, p.mask)
        };
        let template = Template {
            key,
            service: service.key,
            client,
            dest: dest.id,
            server: (dest.addr, dest.port),
            timeout: p.timeout,
            own: owner(&key, self.conf.workers) == self.conf.id,
            told: now.millis(),
            shared: false,
            used: now.millis(),
            conns: 0,
        };
        self.templates.put(template).unwrap_or(0)
    }

    /// Another worker asks where a client belongs.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn template_asked<I: Io<Frame = F>>(
        &mut self,
        from: WorkerId,
        key: TemplateKey,
        service: &ServiceKey,
        flow: Flow,
        now: Now,
        io: &mut I,
    ) {
        let Some(snap) = self.snap.take() else { return };
        let mut found = None;
        if let Some(s) = snap.services.any(service)
            && let Some(p) = s.policy.persistence
            && s.uid == key.service
        {
            self.know(s);
            let mut num = self.template(&snap, s, &key, now).map(|(num, _)| num);
            if num.is_none()
                && let Ok(chosen) = self.schedule(s, &flow, &[], io)
            {
                num = Some(self.make_template(s, &p, key, flow.client, &chosen.dest, now));
            }
            if let Some(t) = num.and_then(|num| self.templates.get_mut(num)) {
                t.shared = true;
                t.told = now.millis();
                found = Some(t.dest);
            }
        }
        self.snap = Some(snap);
        let answer = PeerMessage::TemplateIs {
            key,
            service: *service,
            client: flow.client,
            dest: found,
        };
        io.tell(from, answer);
    }

    /// The owner has answered: a copy of its template.
    pub(crate) fn template_copied(
        &mut self,
        key: TemplateKey,
        service: &ServiceKey,
        client: IpAddr,
        dest: DestId,
        now: Now,
    ) {
        let Some(snap) = self.snap.take() else { return };
        if let Some(s) = snap.services.any(service)
            && let Some(p) = s.policy.persistence
            && s.uid == key.service
        {
            self.know(s);
            let known = self.templates.find(&key, now.millis());
            match known.and_then(|num| self.templates.get(num)) {
                Some(t) if t.dest == dest => {}
                _ => {
                    if let Some(num) = known {
                        self.templates.forget(num);
                    }
                    if let Some(dest) = self.dest_of(s, dest) {
                        self.make_template(s, &p, key, client, &dest, now);
                    }
                }
            }
        }
        self.snap = Some(snap);
    }

    /// A copy of a template is in use elsewhere.
    pub(crate) fn template_used(&mut self, key: &TemplateKey, now: Now) {
        if let Some(num) = self.templates.find(key, now.millis())
            && let Some(t) = self.templates.get_mut(num)
        {
            t.shared = true;
            t.told = now.millis();
        }
    }

    /// A connection was made by a template.
    #[cold]
    pub(crate) fn bind_template<A: Net, I: Io<Frame = F>>(
        &mut self,
        conn: Handle,
        num: u32,
        now: Now,
        io: &mut I,
    ) {
        let Some(side) = self.conns.attach::<A>(conn) else {
            return;
        };
        side.template = num;
        if let Some(t) = self.templates.get_mut(num) {
            t.conns += 1;
            t.used = now.millis();
        }
        self.tell_owner(num, now, io);
    }

    /// A connection made by a template has ended.
    #[cold]
    pub(crate) fn leave_template<I: Io<Frame = F>>(&mut self, num: u32, now: Now, io: &mut I) {
        self.tell_owner(num, now, io);
        self.templates.release(num, now.millis());
    }

    fn tell_owner<I: Io<Frame = F>>(&mut self, num: u32, now: Now, io: &mut I) {
        let workers = self.conf.workers;
        if let Some(t) = self.templates.get_mut(num)
            && !t.own
            && now.millis() >= t.told + TELL
            && io.tell(
                owner(&t.key, workers),
                PeerMessage::TemplateUsed { key: t.key },
            )
        {
            t.told = now.millis();
        }
    }

    /// Looks after some templates, once a millisecond.
    #[cold]
    pub(crate) fn sweep_templates<I: Io<Frame = F>>(&mut self, now: Now, io: &mut I) {
        let workers = self.conf.workers;
        self.swept = now.millis();
        self.templates.sweep(now.millis(), |t| {
            // Long connections keep the owner's template alive.
            let quarter = u64::from(t.timeout) * 250;
            if !t.own
                && t.conns > 0
                && now.millis() >= t.told + quarter.max(TELL)
                && io.tell(
                    owner(&t.key, workers),
                    PeerMessage::TemplateUsed { key: t.key },
                )
            {
                t.told = now.millis();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_call_id() {
        let invite = b"INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP x\r\n\
            call-ID : a84b4c76e66710@pc33.example.com \r\nCSeq: 1 INVITE\r\n\r\ni: no";
        assert_eq!(
            call_id(invite),
            Some(&b"a84b4c76e66710@pc33.example.com"[..])
        );
        assert_eq!(
            call_id(b"BYE x SIP/2.0\r\ni:7@h\r\n\r\n"),
            Some(&b"7@h"[..])
        );
        // In the body, in the first line, empty, or none: no call.
        for none in [
            &b"BYE x SIP/2.0\r\nTo: a\r\n\r\nCall-ID: x"[..],
            b"Call-ID: x",
            b"BYE x SIP/2.0\r\nCall-ID: \r\n\r\n",
            b"\r\n\r\n",
            b"",
        ] {
            assert_eq!(call_id(none), None);
        }
    }

    #[test]
    fn owners_are_spread() {
        let mut counts = [0; 5];
        for n in 0..5000u128 {
            let key = TemplateKey {
                service: 3,
                client: 0xc633_0000 + n,
                call: false,
            };
            counts[usize::from(owner(&key, 5).0)] += 1;
        }
        assert!(counts.iter().all(|n| (800..1200).contains(n)), "{counts:?}");
    }
}
