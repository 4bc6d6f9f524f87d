//! Commands that are a message or two: the message of each, and what its
//! answer means. Nothing here sends: `run` sends one and waits, a restore sends
//! many ahead.

use std::net::{IpAddr, Ipv4Addr};

use dpvs_ctl::msg::{
    DestExt, Encap, IfAddrParam, LaddrTable, Service, ServiceDest, ServiceExt, ifa_flag, ifa_op,
};
use dpvs_ctl::{Af, CtlError, ErrCode, Ip16, Wire, id};

use crate::args::{Cmd, Command, Opt};
use crate::failure::{Failure, warn};
use crate::laddrs;
use crate::table::no_service;

/// A set request.
pub(crate) struct Message {
    pub(crate) id: u32,
    pub(crate) body: Vec<u8>,
}

/// The answer to a set request.
pub(crate) type Answer = Result<(), CtlError>;

fn message(id: u32, body: &impl Wire) -> Message {
    Message {
        id,
        body: body.encode(),
    }
}

/// The messages of a command; none if it has to ask first.
pub(crate) fn messages(c: &Command) -> Option<Vec<Message>> {
    let one = match c.cmd {
        Cmd::AddService => service(c, &c.service, id::SO_SET_ADD, id::SET_SERVICE_ADD_EXT),
        Cmd::DelService => message(id::SO_SET_DEL, &c.service.key()),
        Cmd::Flush => Message {
            id: id::SO_SET_FLUSH,
            body: Vec::new(),
        },
        Cmd::Zero if c.given.has(Opt::Service) => message(id::SO_SET_ZERO, &c.service.key()),
        Cmd::Zero => message(id::SO_SET_ZERO, &Service::default()),
        Cmd::AddDest => dest(c, id::SO_SET_ADDDEST, id::SET_DEST_ADD_EXT),
        Cmd::EditDest => dest(c, id::SO_SET_EDITDEST, id::SET_DEST_EDIT_EXT),
        Cmd::DelDest => dest(c, id::SO_SET_DELDEST, id::SO_SET_DELDEST),
        Cmd::AddLaddr => {
            return laddr(c, ifa_op::ADD, id::SET_IFADDR_ADD, id::SET_LADDR_ADD);
        }
        Cmd::DelLaddr => {
            return laddr(c, ifa_op::DEL, id::SET_IFADDR_DEL, id::SET_LADDR_DEL);
        }
        Cmd::AddBlklst => message(id::SET_BLKLST_ADD, &laddrs::entry(c)),
        Cmd::DelBlklst => message(id::SET_BLKLST_DEL, &laddrs::entry(c)),
        Cmd::AddWhtlst => message(id::SET_WHTLST_ADD, &laddrs::entry(c)),
        Cmd::DelWhtlst => message(id::SET_WHTLST_DEL, &laddrs::entry(c)),
        Cmd::SetTimeout => message(id::SET_TIMEOUTS, &c.timeouts),
        Cmd::StartDaemon => message(id::SET_SYNC_START, &c.sync),
        Cmd::StopDaemon => message(id::SET_SYNC_STOP, &c.sync),
        Cmd::EditService
        | Cmd::List
        | Cmd::Restore
        | Cmd::Save
        | Cmd::GetLaddr
        | Cmd::GetBlklst
        | Cmd::GetWhtlst
        | Cmd::Help
        | Cmd::Version => return None,
    };
    Some(vec![one])
}

/// A service, in a message of our own if DPVS's has no room for it.
pub(crate) fn service(c: &Command, service: &Service, plain: u32, ext: u32) -> Message {
    if c.pe.is_empty() {
        return message(plain, service);
    }
    let body = ServiceExt {
        service: *service,
        pe: c.pe,
    };
    message(ext, &body)
}

fn dest(c: &Command, plain: u32, ext: u32) -> Message {
    let both = ServiceDest {
        service: c.service.key(),
        dest: c.dest,
    };
    if c.encap == Encap::default() {
        return message(plain, &both);
    }
    let encap = c.encap;
    message(ext, &DestExt { both, encap })
}

/// First the address to the device, as one that feeds local ports; then to the
/// service.
fn laddr(c: &Command, ops: u32, on_device: u32, on_service: u32) -> Option<Vec<Message>> {
    let ip = c.laddr?;
    let mut param = IfAddrParam {
        ops,
        ..IfAddrParam::default()
    };
    param.entry.af = Af::of(ip);
    param.entry.addr = Ip16::from_ip(ip);
    param.entry.plen = param.entry.af.max_plen();
    param.entry.flags = ifa_flag::SAPOOL;
    param.entry.ifname = c.ifname;
    let table = LaddrTable::of(&c.service).with_laddr(ip, c.ifname);
    Some(vec![
        message(on_device, &param),
        message(on_service, &table),
    ])
}

/// What the answers to a command's messages mean.
pub(crate) fn judge(c: &Command, answers: Vec<Answer>) -> Result<(), Failure> {
    let laddr = matches!(c.cmd, Cmd::AddLaddr | Cmd::DelLaddr);
    let last = answers.len().saturating_sub(1);
    for (i, answer) in answers.into_iter().enumerate() {
        match answer {
            Ok(()) => {}
            // That the device has the address already is no error.
            Err(e) if laddr && i < last && !e.is_transport() => {}
            Err(e) => return Err(failure(c, &e)),
        }
    }
    Ok(())
}

/// What a failed message means for the command it is of.
pub(crate) fn failure(c: &Command, e: &CtlError) -> Failure {
    match c.cmd {
        Cmd::AddService => own(c, e, |code| match code {
            ErrCode::EXIST => Some("Service already exists"),
            ErrCode::NOTEXIST => Some("Scheduler or persistence engine not found"),
            _ => None,
        }),
        Cmd::EditService => own(c, e, |code| match code {
            ErrCode::NOTEXIST => Some("Scheduler or persistence engine not found"),
            ErrCode::INVAL | ErrCode::MSG_FAIL => Some("No such service"),
            _ => None,
        }),
        Cmd::DelService | Cmd::Zero => {
            Failure::of(e, |code| no_service(code).then_some("No such service"))
        }
        Cmd::AddDest | Cmd::EditDest | Cmd::DelDest => dest_failure(c, e),
        Cmd::AddLaddr | Cmd::DelLaddr => {
            if e.code() == Some(ErrCode::NOTEXIST) && c.cmd == Cmd::AddLaddr {
                warn(&format!("no device {} in dpvs", c.ifname));
            }
            Failure::of_dpvs(e)
        }
        Cmd::AddBlklst | Cmd::DelBlklst | Cmd::AddWhtlst | Cmd::DelWhtlst => Failure::of_dpvs(e),
        Cmd::SetTimeout | Cmd::StartDaemon | Cmd::StopDaemon => own(c, e, |code| match code {
            ErrCode::EXIST => Some("Daemon has already run"),
            ErrCode::NODEV => Some("No such device"),
            ErrCode::NOTEXIST => Some("No daemon is running"),
            _ => None,
        }),
        _ => Failure::of(e, |_| None),
    }
}

/// The option whose message only our daemon has.
fn own_option(c: &Command) -> Option<&'static str> {
    match c.cmd {
        Cmd::SetTimeout => Some("--set"),
        Cmd::StartDaemon => Some("--start-daemon"),
        Cmd::StopDaemon => Some("--stop-daemon"),
        _ if !c.pe.is_empty() => Some("--pe"),
        _ if c.given.has(Opt::Vxlan) => Some("-T"),
        _ if c.encap != Encap::default() => Some("--tun-type other than ipip"),
        _ => None,
    }
}

/// As [`Failure::of`]; but a daemon that does not have a message of our own
/// says so, or closes the connection (the C one).
fn own(c: &Command, e: &CtlError, known: impl FnOnce(ErrCode) -> Option<&'static str>) -> Failure {
    let unknown = matches!(e, CtlError::ShortReply { got: 0, .. });
    if let Some(option) = own_option(c).filter(|_| unknown || e.code() == Some(ErrCode::NOTSUPP)) {
        return Failure::refused(255, format!("this dpvs does not support {option}"));
    }
    Failure::of(e, known)
}

/// What the daemon's codes mean for a dest. -1 says that the service is
/// missing, unless the thresholds are the wrong way round or the address is
/// none of a host.
fn dest_failure(c: &Command, e: &CtlError) -> Failure {
    let wrong_thresholds = c.dest.min_conn > c.dest.max_conn;
    let no_host = c.dest.addr.to_ip(c.dest.af).is_none_or(|ip| {
        ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST)
    });
    if wrong_thresholds && matches!(e.code(), Some(ErrCode::INVAL | ErrCode::NOTSUPP)) {
        return Failure::refused(255, "Numerical result out of range");
    }
    own(c, e, |code| match code {
        ErrCode::INVAL if no_host => {
            Some("Invalid operation.  Possibly wrong module version, address not unicast, ...")
        }
        ErrCode::EXIST => Some("Destination already exists"),
        ErrCode::NOTEXIST => Some("No such destination"),
        ErrCode::INVAL | ErrCode::NOSERV | ErrCode::MSG_FAIL => Some("Service not defined"),
        _ => None,
    })
}
