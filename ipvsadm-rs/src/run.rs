//! Runs commands: one request or a few each.

use dpvs_ctl::msg::{LaddrTable, Service, svc_flag};
use dpvs_ctl::{Client, CtlError, ErrCode};

use crate::args::{self, Cmd, Command, Opt};
use crate::failure::{Failure, warn};
use crate::list::no_service;
use crate::names::Names;
use crate::out::{Out, line};
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
            Cmd::SetTimeout => {
                return Err(refuse(
                    "--set",
                    "time-outs are set in dpvs.conf, or for one service with --conn-timeout",
                ));
            }
            Cmd::StartDaemon => {
                return Err(refuse("--start-daemon", "connections are not synchronised"));
            }
            Cmd::StopDaemon => {
                return Err(refuse("--stop-daemon", "connections are not synchronised"));
            }
            Cmd::Restore => {
                self.reachable()?;
                return restore::run(self, &mut locked_stdin(), false);
            }
            _ => {}
        }
        if c.given.has(Opt::Vxlan) {
            // Never sent: a daemon without the extension would take the rest
            // of the command and forward to the wrong place.
            return Err(refuse("-T (VxLAN to a server)", "not implemented yet"));
        }
        self.reachable()?;
        let client = &self.client;
        match c.cmd {
            Cmd::AddService => client.add_service(&c.service).map_err(|e| {
                Failure::of(&e, |code| match code {
                    ErrCode::EXIST => Some("Service already exists"),
                    ErrCode::NOTEXIST => Some("Scheduler or persistence engine not found"),
                    _ => None,
                })
            }),
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
            Cmd::AddDest => client
                .add_dest(&c.service.key(), &c.dest)
                .map_err(|e| dest_failure(c, &e)),
            Cmd::EditDest => client
                .edit_dest(&c.service.key(), &c.dest)
                .map_err(|e| dest_failure(c, &e)),
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
            Cmd::List if c.given.has(Opt::Timeout) => {
                Err(refuse("-L --timeout", "see the time-outs in dpvs.conf").or_code(1))
            }
            Cmd::List if c.given.has(Opt::Daemon) => {
                Err(refuse("-L --daemon", "connections are not synchronised").or_code(1))
            }
            Cmd::List if c.given.has(Opt::Connection) => {
                conns::run(client, &self.names, &mut self.out, c)
            }
            Cmd::List => list::run(client, &self.names, &mut self.out, c),
            Cmd::Help
            | Cmd::Version
            | Cmd::Restore
            | Cmd::SetTimeout
            | Cmd::StartDaemon
            | Cmd::StopDaemon => Ok(()),
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

fn refuse(what: &str, why: &str) -> Failure {
    Failure::refused(255, format!("{what} is not supported by dpvs: {why}"))
}

fn missing_service(e: CtlError) -> Failure {
    Failure::of(&e, |code| no_service(code).then_some("No such service"))
}

/// Edits a service. What `-E` does not mention is reset, as ever, but for the
/// options of DPVS: DIFFERS from its C tool, which forgets these as well.
fn edit_service(client: &Client, c: &Command) -> Result<(), Failure> {
    let old = list::find_service(client, &c.service, 0).map_err(missing_service)?;
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
    client.edit_service(&new).map_err(|e| {
        Failure::of(&e, |code| match code {
            ErrCode::NOTEXIST => Some("Scheduler or persistence engine not found"),
            ErrCode::INVAL | ErrCode::MSG_FAIL => Some("No such service"),
            _ => None,
        })
    })
}

/// What the daemon's codes mean for a dest. -1 says that the service is
/// missing, unless the thresholds are the wrong way round.
fn dest_failure(c: &Command, e: &CtlError) -> Failure {
    let wrong_thresholds = c.dest.min_conn > c.dest.max_conn;
    Failure::of(e, |code| match code {
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
