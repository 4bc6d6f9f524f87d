//! `-L`: services and dests.

use dpvs_ctl::msg::{Dest, Service, Stats};
use dpvs_ctl::{Client, CtlError, ErrCode};

use crate::args::{Command, Opt};
use crate::failure::Failure;
use crate::format::{Style, dest_line, service_line, title};
use crate::names::Names;
use crate::order;
use crate::out::{Out, line};

/// Lists one service or all.
pub(crate) fn run(
    client: &Client,
    names: &Names,
    out: &mut Out,
    command: &Command,
) -> Result<(), Failure> {
    let style = Style {
        names,
        numeric: command.numeric(),
        exact: command.given.has(Opt::Exact),
        view: command.view(),
    };
    let sort = !command.given.has(Opt::NoSort);
    if command.given.has(Opt::Service) {
        let svc = find_service(client, &command.service, command.cpu).map_err(|e| {
            Failure::of(&e, |code| no_service(code).then_some("No such service")).or_code(1)
        })?;
        let dests = client
            .dests(&svc, command.cpu)
            .map_err(|e| Failure::of(&e, |_| None).or_code(1))?;
        line!(out, "{}", title(style.view))?;
        return print(out, &svc, dests, sort, &style);
    }
    let info = client.info().map_err(|e| Failure::of(&e, |_| None))?;
    let services = client.services(command.cpu).map_err(|e| {
        let no_cpu = |code| command.cpu != 0 && code == ErrCode::INVAL;
        Failure::of(&e, |code| {
            no_cpu(code).then_some("no worker has this --cpu index")
        })
        .or_code(1)
    })?;
    let services = if sort {
        order::services(services)
    } else {
        services
    };
    let [_, major, minor, patch] = info.version.to_be_bytes();
    line!(
        out,
        "IP Virtual Server version {major}.{minor}.{patch} (size={})",
        info.size
    )?;
    line!(out, "{}", title(style.view))?;
    for svc in services {
        if out.is_closed() {
            break;
        }
        if let Some(dests) = dests_of(client, &svc, command.cpu)? {
            print(out, &svc, dests, sort, &style)?;
        }
    }
    Ok(())
}

fn print(
    out: &mut Out,
    svc: &Service,
    dests: Vec<Dest>,
    sort: bool,
    style: &Style<'_>,
) -> Result<(), Failure> {
    let dests = if sort { order::dests(dests) } else { dests };
    line!(out, "{}", service_line(svc, &total(svc, &dests), style))?;
    for dest in &dests {
        line!(out, "{}", dest_line(svc, dest, style))?;
    }
    Ok(())
}

/// The counters of a service. The C daemon has none: then those of the dests.
fn total(svc: &Service, dests: &[Dest]) -> Stats {
    let mut sum = svc.stats;
    if sum == Stats::default() {
        for dest in dests {
            sum.add(&dest.stats);
        }
    }
    sum
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
pub(crate) fn dests_of(
    client: &Client,
    svc: &Service,
    cpu: u8,
) -> Result<Option<Vec<Dest>>, Failure> {
    match client.dests(svc, cpu) {
        Ok(dests) => Ok(Some(dests)),
        Err(e) if e.code().is_some_and(no_service) => {
            if find_service(client, svc, cpu).is_ok() {
                // It is there: the error means something.
                return Err(Failure::of(&e, |_| None).or_code(1));
            }
            Ok(None)
        }
        Err(e) => Err(Failure::of(&e, |_| None).or_code(1)),
    }
}
