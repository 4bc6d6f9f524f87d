//! The table as the daemon tells it: services, their dests, and what messages
//! of our own add to both. Services come one by one, so that a listing of many
//! starts at once and is never whole in memory.

use std::collections::HashMap;

use dpvs_ctl::msg::{Dest, DestTable, Encap, Service, Stats};
use dpvs_ctl::wire::{Tail, decode_list};
use dpvs_ctl::{Client, CtlError, ErrCode, Kind, Name, Wire, id};

use crate::failure::Failure;
use crate::order;

/// Questions sent ahead of their answers.
const AHEAD: usize = 64;

/// A service with everything that is listed of it.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// The service.
    pub service: Service,
    /// Its persistence engine; empty: none.
    pub pe: Name<16>,
    /// Its dests.
    pub dests: Vec<DestRow>,
}

/// A dest with everything that is listed of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct DestRow {
    /// The dest.
    pub dest: Dest,
    /// How packets to it are wrapped.
    pub encap: Encap,
}

impl Row {
    /// The counters of the service. The C daemon has none: then those of the
    /// dests together.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut sum = self.service.stats;
        if sum == Stats::default() {
            for row in &self.dests {
                sum.add(&row.dest.stats);
            }
        }
        sum
    }
}

/// What messages of our own add to services and dests. A C daemon has none of
/// them and closes the connection.
#[derive(Debug, Default)]
pub(crate) struct Exts {
    engines: HashMap<Vec<u8>, Name<16>>,
    encaps: HashMap<Vec<u8>, Encap>,
}

fn dest_key(service: &Service, dest: &Dest) -> Vec<u8> {
    let named = Dest {
        af: dest.af,
        addr: dest.addr.clean(dest.af),
        port: dest.port,
        ..Dest::default()
    };
    let mut key = service.key().encode();
    key.extend_from_slice(&named.encode());
    key
}

impl Exts {
    pub(crate) fn new(client: &Client) -> Self {
        let mut out = Self::default();
        for ext in client.service_exts().unwrap_or_default() {
            out.engines.insert(ext.service.key().encode(), ext.pe);
        }
        for ext in client.dest_exts().unwrap_or_default() {
            let key = dest_key(&ext.both.service, &ext.both.dest);
            out.encaps.insert(key, ext.encap);
        }
        out
    }

    fn row(&self, service: Service, dests: Vec<Dest>) -> Row {
        let mut row = Row {
            service,
            pe: Name::EMPTY,
            dests: Vec::with_capacity(dests.len()),
        };
        if !self.engines.is_empty()
            && let Some(pe) = self.engines.get(&service.key().encode())
        {
            row.pe = *pe;
        }
        for dest in dests {
            let encap = if self.encaps.is_empty() {
                None
            } else {
                self.encaps.get(&dest_key(&service, &dest))
            };
            let encap = encap.copied().unwrap_or_default();
            row.dests.push(DestRow { dest, encap });
        }
        row
    }
}

/// All services with their dests, in order, one by one; `each` says whether
/// to go on.
pub(crate) fn all(
    client: &Client,
    cpu: u8,
    sort: bool,
    mut each: impl FnMut(Row) -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let services = services(client, cpu, sort)?;
    if services.is_empty() {
        return Ok(());
    }
    let exts = Exts::new(client);
    let mut pipe = client.session();
    let mut asked = services.iter();
    for service in &services {
        for next in asked.by_ref().take(AHEAD.saturating_sub(pipe.pending())) {
            let question = next.dest_table(next.num_dests, cpu);
            pipe.send(id::SO_GET_DESTS, Kind::Get, &question.encode());
        }
        let dests = match pipe.recv().ok().and_then(|body| dests_in(&body)) {
            Some(dests) => dests,
            // It changed meanwhile, or something is wrong: once more, alone.
            None => match dests_of(client, service, cpu)? {
                Some(dests) => dests,
                None => continue,
            },
        };
        let dests = if sort { order::dests(dests) } else { dests };
        if !each(exts.row(*service, dests))? {
            break;
        }
    }
    Ok(())
}

fn dests_in(body: &[u8]) -> Option<Vec<Dest>> {
    let count = |t: &DestTable| usize::try_from(t.num_dests).unwrap_or(usize::MAX);
    let (_, list) = decode_list::<DestTable, Dest>(body, Tail::Exact, count).ok()?;
    Some(list)
}

/// All services.
pub(crate) fn services(client: &Client, cpu: u8, sort: bool) -> Result<Vec<Service>, Failure> {
    let list = client.services(cpu).map_err(|e| {
        let no_cpu = |code| cpu != 0 && code == ErrCode::INVAL;
        Failure::of(&e, |code| {
            no_cpu(code).then_some("no worker has this --cpu index")
        })
        .or_code(1)
    })?;
    Ok(if sort { order::services(list) } else { list })
}

/// One service with its dests.
pub(crate) fn one(client: &Client, key: &Service, cpu: u8, sort: bool) -> Result<Row, Failure> {
    let service = find_service(client, key, cpu).map_err(|e| {
        Failure::of(&e, |code| no_service(code).then_some("No such service")).or_code(1)
    })?;
    let dests = client
        .dests(&service, cpu)
        .map_err(|e| Failure::of(&e, |_| None).or_code(1))?;
    let dests = if sort { order::dests(dests) } else { dests };
    Ok(Exts::new(client).row(service, dests))
}

/// Whether a code is what a missing service gets: workers fail before the
/// master can say "not exist".
pub(crate) fn no_service(code: ErrCode) -> bool {
    matches!(
        code,
        ErrCode::INVAL | ErrCode::NOTEXIST | ErrCode::NOSERV | ErrCode::MSG_FAIL
    )
}

/// One service. The C daemon does not find IPv6 services by mark; the list does.
pub(crate) fn find_service(client: &Client, key: &Service, cpu: u8) -> Result<Service, CtlError> {
    let wanted = Service {
        index: cpu,
        ..key.key()
    };
    match client.service(&wanted) {
        Err(e) if key.fwmark != 0 && e.code().is_some_and(no_service) => {
            let all = client.services(cpu)?;
            all.into_iter()
                .find(|s| s.fwmark == key.fwmark && s.af == key.af)
                .ok_or(e)
        }
        other => other,
    }
}

/// The dests of a service from a list; none if it has been removed since.
fn dests_of(client: &Client, service: &Service, cpu: u8) -> Result<Option<Vec<Dest>>, Failure> {
    match client.dests(service, cpu) {
        Ok(dests) => Ok(Some(dests)),
        Err(e) if e.code().is_some_and(no_service) => {
            if find_service(client, service, cpu).is_ok() {
                // It is there: the error means something.
                return Err(Failure::of(&e, |_| None).or_code(1));
            }
            Ok(None)
        }
        Err(e) => Err(Failure::of(&e, |_| None).or_code(1)),
    }
}
