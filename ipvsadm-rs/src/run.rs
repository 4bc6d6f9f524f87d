//! Runs commands: one request or a few each.

use dpvs_ctl::msg::{Service, svc_flag};
use dpvs_ctl::{Client, Session as Pipe, id};

use crate::args::{self, Cmd, Command, Opt};
use crate::failure::Failure;
use crate::names::Names;
use crate::out::{Out, line};
use crate::request::{self, Message, judge, messages};
use crate::table::find_service;
use crate::{conns, laddrs, list, locked_stdin, restore, save, usage};

/// One run of the program.
pub(crate) struct Session {
    client: Client,
    names: Names,
    out: Out,
    /// Whether the daemon has answered once.
    reached: bool,
}

impl Session {
    pub(crate) fn new(client: Client, out: Out) -> Self {
        Self {
            client,
            names: Names::default(),
            out,
            reached: false,
        }
    }

    /// Writes out what is left.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        self.out.flush()
    }

    /// A connection for requests sent ahead of their answers.
    pub(crate) fn pipe(&self) -> Pipe {
        self.client.session()
    }

    /// A whole command line, the program's name first.
    pub(crate) fn command_line(&mut self, argv: &[String]) -> Result<(), Failure> {
        let prog = argv.first().map_or("ipvsadm", String::as_str);
        let command = self.parse(prog, argv.get(1..).unwrap_or(&[]), false)?;
        self.execute(prog, &command)
    }

    /// Reads the words of a command.
    pub(crate) fn parse(
        &self,
        prog: &str,
        words: &[String],
        restoring: bool,
    ) -> Result<Command, Failure> {
        args::parse(prog, words, &self.names, restoring)
    }

    /// Runs a command.
    pub(crate) fn execute(&mut self, prog: &str, command: &Command) -> Result<(), Failure> {
        let result = self.run(prog, command);
        // Listings before an error message, also when both go to one file.
        self.out.flush()?;
        result
    }

    fn run(&mut self, prog: &str, c: &Command) -> Result<(), Failure> {
        match c.cmd {
            // DIFFERS: both C tools need the daemon (or kernel) even for these.
            Cmd::Help => return line!(self.out, "{}", usage::help(prog)),
            Cmd::Version => return line!(self.out, "{}", usage::version()),
            _ => {}
        }
        if let Some(messages) = messages(c) {
            // Nothing is asked before: one message, one answer.
            return self.set(c, messages);
        }
        self.reachable()?;
        let client = &self.client;
        let as_json = c.given.has(Opt::Json);
        match c.cmd {
            Cmd::Restore => restore::run(self, &mut locked_stdin(), false),
            Cmd::EditService => self.edit_service(c),
            Cmd::GetLaddr => laddrs::list(client, &mut self.out, c),
            Cmd::GetBlklst | Cmd::GetWhtlst => laddrs::acl(client, &mut self.out, c),
            Cmd::Save => save::run(client, &self.names, &mut self.out, c.numeric()),
            Cmd::List if c.given.has(Opt::Timeout) => {
                list::timeouts(client, &mut self.out, as_json)
            }
            Cmd::List if c.given.has(Opt::Daemon) => list::daemons(client, &mut self.out, as_json),
            Cmd::List if c.given.has(Opt::Connection) => {
                conns::run(client, &self.names, &mut self.out, c)
            }
            _ => list::run(client, &self.names, &mut self.out, c),
        }
    }

    /// Sends the messages of a command, one after the other.
    fn set(&self, c: &Command, messages: Vec<Message>) -> Result<(), Failure> {
        let send = |m: &Message| self.client.set(m.id, &m.body);
        judge(c, messages.iter().map(send).collect())
    }

    /// Asks the daemon for its version, as the C tools do before anything else:
    /// "no daemon" is one message, whatever the command.
    pub(crate) fn reachable(&mut self) -> Result<(), Failure> {
        if self.reached {
            return Ok(());
        }
        self.client.info().map_err(|e| Failure::of(&e, |_| None))?;
        self.reached = true;
        Ok(())
    }

    /// Edits a service. What `-E` does not mention is reset, as ever, but for
    /// the options of DPVS: DIFFERS from its C tool, which forgets these as well.
    fn edit_service(&self, c: &Command) -> Result<(), Failure> {
        let old = find_service(&self.client, &c.service, 0).map_err(|e| request::failure(c, &e))?;
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
        // There are no options for these: keepalived sets them.
        new.bps = old.bps;
        new.limit_proportion = old.limit_proportion;
        let edit = request::service(c, &new, id::SO_SET_EDIT, id::SET_SERVICE_EDIT_EXT);
        self.set(c, vec![edit])
    }
}
