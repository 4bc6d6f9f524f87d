//! Black and white lists (ids 73 to 80) and rate limits (ours, 7540 and 7541).

use dpvs_core::service::ServiceKey;
use dpvs_ctl::msg::{AclConf, RateLimit};
use dpvs_ctl::wire::encode_counted;
use dpvs_ctl::{Af, Be16, Ip16, Name};

use super::{Answer, exact, prefix};
use crate::master::Master;
use crate::master::error::{Fault, Result};
use crate::master::state::guard::{Colour, Subject};

impl Master {
    fn acl(&self, entry: &AclConf) -> Result<(ServiceKey, Subject)> {
        let af = Af::from(entry.af);
        let wrong = || Fault::Invalid("address family of a list");
        let key = ServiceKey {
            proto: entry.proto,
            addr: entry.vaddr.to_ip(af).ok_or_else(wrong)?,
            port: entry.vport.get(),
        };
        let subject = if entry.ipset.is_empty() {
            Subject::Source(entry.subject.to_ip(af).ok_or_else(wrong)?)
        } else {
            let set = self.state.guards.sets.get(&entry.ipset);
            Subject::Set(set.ok_or(Fault::Invalid("no such set"))?.id)
        };
        Ok((key, subject))
    }

    pub(super) fn acl_change(&mut self, body: &[u8], colour: Colour, add: bool) -> Result<Answer> {
        let entry: AclConf = prefix(body)?;
        match (self.acl(&entry), add) {
            (Ok((key, subject)), true) => self.state.guards.list(key, colour, subject),
            (Ok((key, subject)), false) => self.state.guards.unlist(key, colour, subject)?,
            (Err(fault), true) => return Err(fault),
            // What cannot be on a list is not on it.
            (Err(_), false) => return Err(Fault::Missing),
        }
        Ok(Answer::Done)
    }

    /// All entries of a colour.
    pub(super) fn acl_entries(&self, colour: Colour) -> Vec<AclConf> {
        let listed = self.state.guards.listed(colour);
        listed
            .into_iter()
            .map(|(key, subject)| {
                let (source, ipset) = match subject {
                    Subject::Source(addr) => (Ip16::from_ip(addr), Name::default()),
                    Subject::Set(id) => (Ip16::ANY, self.state.guards.sets.name(id)),
                };
                AclConf {
                    vaddr: Ip16::from_ip(key.addr),
                    vport: Be16::new(key.port),
                    proto: key.proto,
                    af: Af::of(key.addr).as_u8(),
                    subject: source,
                    ipset,
                }
            })
            .collect()
    }

    pub(super) fn acl_list(&self, colour: Colour) -> Answer {
        Answer::Body(encode_counted(&self.acl_entries(colour)))
    }

    pub(super) fn limit_set(&mut self, body: &[u8]) -> Result<Answer> {
        let asked: RateLimit = exact(body)?;
        let addr = asked
            .vaddr
            .to_ip(Af::from(asked.af))
            .filter(|a| !a.is_unspecified())
            .ok_or(Fault::Invalid("address of a limit"))?;
        if asked.percent > 100 {
            return Err(Fault::Invalid("a percentage above 100"));
        }
        match (asked.proto, asked.vport.get()) {
            (0, 0) | (6 | 17 | 132, _) => {}
            (0, _) => return Err(Fault::Invalid("an address's limit has no port")),
            _ => return Err(Fault::Invalid("protocol of a limit")),
        }
        let key = ServiceKey {
            proto: asked.proto,
            addr,
            port: asked.vport.get(),
        };
        let known = self.state.guards.limits().any(|(k, _)| *k == key);
        if !asked.limits() && !self.state.guards.was_asked(&key) {
            // What a service says itself goes with an edit of it only.
            return Err(if known { Fault::Busy } else { Fault::Missing });
        }
        let percent = if asked.percent == 100 {
            0
        } else {
            asked.percent
        };
        self.state.guards.limit(key, RateLimit { percent, ..asked });
        Ok(Answer::Done)
    }

    pub(super) fn limit_list(&self) -> Answer {
        let list: Vec<RateLimit> = self
            .state
            .guards
            .limits()
            .map(|(key, limit)| RateLimit {
                vaddr: Ip16::from_ip(key.addr),
                vport: Be16::new(key.port),
                proto: key.proto,
                af: Af::of(key.addr).as_u8(),
                ..limit
            })
            .collect();
        Answer::Body(encode_counted(&list))
    }
}
