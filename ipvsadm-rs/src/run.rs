//! Runs commands: one request or a few each.

use std::net::{IpAddr, Ipv4Addr};

use dpvs_ctl::msg::{DestExt, Encap, LaddrTable, Service, ServiceDest, ServiceExt, svc_flag};
use dpvs_ctl::{Client, CtlError, ErrCode};

use crate::args::{self, Cmd, Command, Opt};
use crate::failure::{Failure, warn};
use crate::names::Names;
use crate::out::{Out, line};
use crate::table::{find_service, no_service};
use crate::{conns, laddrs, list, locked_stdin, restore, save, usage};

/// One run of the program.
pub(crate) struct Session {
    client: Client,
    names: Names,
    out: Out,
}

impl Session {
    pub(crate) fn new(client: Client, out: Out) -> Self {
        Self {
            client,
            names: Names::default(),
            out,
        }
    }

    /// Writes out what is left.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        self.out.flush()
    }

    /// A whole command line, the program's name first.
    pub(crate) fn command_line(&mut self, argv: &[String]) -> Result<(), Failure> {
        let prog = argv.first().map_or("ipvsadm", String::as_str);
        self.words(prog, argv.get(1..).unwrap_or(&[]), false)
    }

    /// The words of a command. Ends well for `-h` and `-v`, which inside a
    /// restore end the whole run.
    pub(crate) fn words(
        &mut self,
        prog: &str,
        words: &[String],
        restoring: bool,
    ) -> Result<(), Failure> {
        let command = args::parse(prog, words, &self.names, restoring)?;
        let result = self.run(prog, &command);
        // Listings before an error message, also when both go to one file.
        self.out.flush()?;
        match (result, command.cmd) {
            (Ok(()), Cmd::Help | Cmd::Version) if restoring => Err(Failure::end()),
            (result, _) => result,
        }
    }

    fn run(&mut self, prog: &str, c: &Command) -> Result<(), Failure> {
        match c.cmd {
            // DIFFERS: both C tools need the daemon (or kernel) even for these.
            Cmd::Help => return line!(self.out, "{}", usage::help(prog)),
            Cmd::Version => return line!(self.out, "{}", usage::version()),
            Cmd::Restore => {
                self.reachable()?;
                return restore::run(self, &mut locked_stdin(), false);
            }
            _ => {}
        }
        self.reachable()?;
        let client = &self.client;
        match c.cmd {
            Cmd::AddService => add_service(client, c),
            Cmd::EditService => edit_service(client, c),
            Cmd::DelService => client
                .del_service(&c.service.key())
                .map_err(missing_service),
            Cmd::Flush => client
                .flush_services()
                .map_err(|e| Failure::of(&e, |_| None)),
            Cmd::Zero => {
                let svc = c.given.has(Opt::Service).then(|| c.service.key());
                client.zero(svc.as_ref()).map_err(missing_service)
            }
            Cmd::AddDest | Cmd::EditDest => set_dest(client, c),
            Cmd::DelDest => client
                .del_dest(&c.service.key(), &c.dest)
                .map_err(|e| dest_failure(c, &e)),
            Cmd::AddLaddr | Cmd::DelLaddr => laddr(client, c),
            Cmd::GetLaddr => laddrs::list(client, &mut self.out, c),
            Cmd::AddBlklst => acl(client.add_blacklist(&laddrs::entry(c))),
            Cmd::DelBlklst => acl(client.del_blacklist(&laddrs::entry(c))),
            Cmd::AddWhtlst => acl(client.add_whitelist(&laddrs::entry(c))),
            Cmd::DelWhtlst => acl(client.del_whitelist(&laddrs::entry(c))),
            Cmd::GetBlklst | Cmd::GetWhtlst => laddrs::acl(client, &mut self.out, c),
            Cmd::Save => save::run(client, &self.names, &mut self.out, c.numeric()),
            Cmd::SetTimeout => client
                .set_timeouts(&c.timeouts)
                .map_err(|e| own(&e, "--set", |_| None)),
            Cmd::StartDaemon => client.start_sync(&c.sync).map_err(|e| {
                own(&e, "--start-daemon", |code| match code {
                    ErrCode::EXIST => Some("Daemon has already run"),
                    ErrCode::NODEV => Some("No such device"),
                    _ => None,
                })
            }),
            Cmd::StopDaemon => client.stop_sync(&c.sync).map_err(|e| {
                own(&e, "--stop-daemon", |code| {
                    (code == ErrCode::NOTEXIST).then_some("No daemon is running")
                })
            }),
            Cmd::List if c.given.has(Opt::Timeout) => {
                list::timeouts(client, &mut self.out, c.given.has(Opt::Json))
            }
            Cmd::List if c.given.has(Opt::Daemon) => {
                list::daemons(client, &mut self.out, c.given.has(Opt::Json))
            }
            Cmd::List if c.given.has(Opt::Connection) => {
                conns::run(client, &self.names, &mut self.out, c)
            }
            Cmd::List => list::run(client, &self.names, &mut self.out, c),
            Cmd::Help | Cmd::Version | Cmd::Restore => Ok(()),
        }
    }

    /// Asks the daemon for its version, as the C tools do before anything else:
    /// "no daemon" is one message, whatever the command.
    fn reachable(&self) -> Result<(), Failure> {
        self.client
            .info()
            .map(drop)
            .map_err(|e| Failure::of(&e, |_| None))
    }
}

/// A failed request of a message of our own; `what` is the option it is for.
/// A daemon that does not have it says so, or closes the connection (the C one).
fn own(e: &CtlError, what: &str, known: impl FnOnce(ErrCode) -> Option<&'static str>) -> Failure {
    let unknown = matches!(e, CtlError::ShortReply { got: 0, .. });
    if unknown || e.code() == Some(ErrCode::NOTSUPP) {
        return Failure::refused(255, format!("this dpvs does not support {what}"));
    }
    Failure::of(e, known)
}

fn add_service(client: &Client, c: &Command) -> Result<(), Failure> {
    let known = |code| match code {
        ErrCode::EXIST => Some("Service already exists"),
        ErrCode::NOTEXIST => Some("Scheduler or persistence engine not found"),
        _ => None,
    };
    if c.pe.is_empty() {
        return client
            .add_service(&c.service)
            .map_err(|e| Failure::of(&e, known));
    }
    let ext = ServiceExt {
        service: c.service,
        pe: c.pe,
    };
    client
        .add_service_ext(&ext)
        .map_err(|e| own(&e, "--pe", known))
}

/// Adds or changes a dest, in a message of our own if DPVS's has no room for it.
fn set_dest(client: &Client, c: &Command) -> Result<(), Failure> {
    let key = c.service.key();
    let add = c.cmd == Cmd::AddDest;
    if c.encap == Encap::default() {
        let result = if add {
            client.add_dest(&key, &c.dest)
        } else {
            client.edit_dest(&key, &c.dest)
        };
        return result.map_err(|e| dest_failure(c, &e));
    }
    let ext = DestExt {
        both: ServiceDest {
            service: key,
            dest: c.dest,
        },
        encap: c.encap,
    };
    let result = if add {
        client.add_dest_ext(&ext)
    } else {
        client.edit_dest_ext(&ext)
    };
    let what = if c.given.has(Opt::Vxlan) {
        "-T"
    } else {
        "--tun-type other than ipip"
    };
    result.map_err(|e| match e.code() {
        None | Some(ErrCode::NOTSUPP) if c.dest.min_conn <= c.dest.max_conn => {
            own(&e, what, |_| None)
        }
        _ => dest_failure(c, &e),
    })
}

fn missing_service(e: CtlError) -> Failure {
    Failure::of(&e, |code| no_service(code).then_some("No such service"))
}

/// Edits a service. What `-E` does not mention is reset, as ever, but for the
/// options of DPVS: DIFFERS from its C tool, which forgets these as well.
fn edit_service(client: &Client, c: &Command) -> Result<(), Failure> {
    let old = find_service(client, &c.service, 0).map_err(missing_service)?;
    let mut new: Service = c.service;
    if !c.given.has(Opt::ConnTimeout) {
        new.conn_timeout = old.conn_timeout;
    }
    if !c.given.has(Opt::ProxyProtocol) {
        new.proxy_protocol = old.proxy_protocol;
    }
    if !c.given.has(Opt::DestCheck) {
        new.check_conf = old.check_conf;
    }
    if !c.given.has(Opt::Synproxy) {
        new.flags |= old.flags & svc_flag::SYNPROXY;
    }
    let known = |code| match code {
        ErrCode::NOTEXIST => Some("Scheduler or persistence engine not found"),
        ErrCode::INVAL | ErrCode::MSG_FAIL => Some("No such service"),
        _ => None,
    };
    if c.pe.is_empty() {
        return client
            .edit_service(&new)
            .map_err(|e| Failure::of(&e, known));
    }
    let ext = ServiceExt {
        service: new,
        pe: c.pe,
    };
    client
        .edit_service_ext(&ext)
        .map_err(|e| own(&e, "--pe", known))
}

/// What the daemon's codes mean for a dest. -1 says that the service is
/// missing, unless the thresholds are the wrong way round.
fn dest_failure(c: &Command, e: &CtlError) -> Failure {
    let wrong_thresholds = c.dest.min_conn > c.dest.max_conn;
    let no_host = c.dest.addr.to_ip(c.dest.af).is_none_or(|ip| {
        ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST)
    });
    Failure::of(e, |code| match code {
        ErrCode::INVAL if no_host && !wrong_thresholds => {
            Some("Invalid operation.  Possibly wrong module version, address not unicast, ...")
        }
        ErrCode::INVAL | ErrCode::NOTSUPP if wrong_thresholds => {
            Some("Numerical result out of range")
        }
        ErrCode::EXIST => Some("Destination already exists"),
        ErrCode::NOTEXIST => Some("No such destination"),
        ErrCode::INVAL | ErrCode::NOSERV | ErrCode::MSG_FAIL => Some("Service not defined"),
        _ => None,
    })
}

fn laddr(client: &Client, c: &Command) -> Result<(), Failure> {
    let Some(ip) = c.laddr else { return Ok(()) };
    let table = LaddrTable::of(&c.service).with_laddr(ip, c.ifname);
    let result = if c.cmd == Cmd::AddLaddr {
        client.add_laddr(&table)
    } else {
        client.del_laddr(&table)
    };
    result.map_err(|e| {
        if e.code() == Some(ErrCode::NOTEXIST) && c.cmd == Cmd::AddLaddr {
            warn(&format!("no device {} in dpvs", c.ifname));
        }
        Failure::of_dpvs(&e)
    })
}

fn acl(result: Result<(), CtlError>) -> Result<(), Failure> {
    result.map_err(|e| Failure::of_dpvs(&e))
}
