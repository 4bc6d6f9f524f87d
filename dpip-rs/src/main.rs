//! `dpip`: shows and changes what the DPVS daemon knows of links, addresses,
//! routes and neighbours, in the language and the output of the C tool.
//!
//! This file goes from argv to an exit code: options, object, command, then the
//! object's own file does the work. One file an object; none of them knows
//! another, and none ends the process.

mod addr;
mod args;
mod failure;
mod ipv6;
mod link;
mod maddr;
mod neigh;
mod out;
mod route;
mod route6;
mod vlan;
mod words;

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use dpvs_ctl::Client;

use args::{Command, Line, Options, Parsed};
use failure::Failure;
use out::{Out, complain};

/// The release of DPVS whose protocol and output this tool keeps.
const VERSION: &str = "1.10-2";

const USAGE: &str = "\
Usage: dpip [OPTIONS] OBJECT COMMAND [ARGUMENTS]
Objects:  link addr route neigh maddr vlan ipv6
Commands: show (or list), add, del, set (or change), flush, help
Options:
  -v, --verbose         say more
  -h, --help            this text; with an object, that object's
  -V, --version         print the version
  -4, -6                IPv4 or IPv6 only
  -f, --family FAMILY   the same with a word: inet or inet6
  -s, --stats           statistics
  -i, --interval SECS   with -s: rates over so many seconds, again and again
  -c, --count N         with -i: stop after N rounds
  -C, --color           with -i: colour every other round
  -F, --force           for ipset
The daemon's socket is /var/run/dpvs.ipc, or what DPVS_IPC_FILE names.
`dpip OBJECT help' explains an object.
";

/// What a command works with.
struct Cx {
    options: Options,
    client: Client,
    out: Out,
}

/// An object of the command line.
struct Object {
    name: &'static str,
    help: &'static str,
    run: fn(&mut Cx, Command, &[String]) -> Result<(), Failure>,
}

const OBJECTS: [Object; 7] = [
    Object {
        name: "link",
        help: link::HELP,
        run: link::run,
    },
    Object {
        name: "addr",
        help: addr::HELP,
        run: addr::run,
    },
    Object {
        name: "route",
        help: route::HELP,
        run: route::run,
    },
    Object {
        name: "neigh",
        help: neigh::HELP,
        run: neigh::run,
    },
    Object {
        name: "maddr",
        help: maddr::HELP,
        run: maddr::run,
    },
    Object {
        name: "vlan",
        help: vlan::HELP,
        run: vlan::run,
    },
    Object {
        name: "ipv6",
        help: ipv6::HELP,
        run: ipv6::run,
    },
];

/// Objects of the C tool that this one does not serve yet.
const NOT_YET: [&str; 8] = [
    "tunnel", "qsch", "cls", "iftraf", "eal-mem", "ipset", "flow", "lldp",
];

fn main() -> ExitCode {
    let mut argv = env::args_os();
    let name = argv.next().unwrap_or_else(|| "dpip".into());
    let name = name.to_string_lossy();
    // As the C tool has it: what follows the first slash, not the last.
    let prog = name.split_once('/').map_or(&*name, |(_, rest)| rest);
    match argv
        .map(OsString::into_string)
        .collect::<Result<Vec<_>, _>>()
    {
        Ok(words) => act(prog, &words),
        Err(word) => {
            complain(&format!("{prog}: {} is not valid UTF-8", word.display()));
            ExitCode::FAILURE
        }
    }
}

/// Does what the words say.
fn act(prog: &str, argv: &[String]) -> ExitCode {
    let line = match args::parse(argv) {
        Ok(Parsed::Nothing) => {
            say(USAGE);
            return ExitCode::SUCCESS;
        }
        Ok(Parsed::Version) => {
            let mut out = Out::new();
            let done = out
                .print(&format!("dpip-{VERSION}\n"))
                .and_then(|()| out.flush());
            return end(prog, done);
        }
        Ok(Parsed::Line(line)) => line,
        Err(error) => {
            error.lines(prog).iter().for_each(|line| complain(line));
            return ExitCode::FAILURE;
        }
    };
    if line.options.count.is_some() && line.options.interval.is_none() {
        complain("missing option '-i'");
    }
    object(prog, line)
}

/// Finds the object and lets it run.
fn object(prog: &str, Line { options, words }: Line) -> ExitCode {
    let mut words = words.into_iter();
    let Some(name) = words.next() else {
        say(USAGE);
        return ExitCode::FAILURE;
    };
    let found = OBJECTS.iter().find(|object| object.name == name);
    let command = words.next();
    let parsed = command.as_deref().map(Command::from_word);
    if let (false, Some(None), Some(word)) = (options.help, parsed, &command) {
        complain(&format!("invalid command {word}"));
        return ExitCode::FAILURE;
    }
    let Some(object) = found else {
        if NOT_YET.contains(&name.as_str()) {
            complain(&format!(
                "{prog}: object `{name}' is not supported by this version of dpip"
            ));
        } else {
            complain(&format!("{prog}: invalid object, use `-h' for help."));
        }
        return ExitCode::FAILURE;
    };
    match parsed.flatten() {
        Some(Command::Help) => {
            say(object.help);
            ExitCode::SUCCESS
        }
        Some(command) if !options.help => {
            let words: Vec<String> = words.collect();
            let mut cx = Cx {
                options,
                client: Client::new(),
                out: Out::new(),
            };
            let done = (object.run)(&mut cx, command, &words);
            let flushed = cx.out.flush();
            end(prog, done.and(flushed))
        }
        _ => {
            say(object.help);
            ExitCode::FAILURE
        }
    }
}

/// Says why a command failed, and with what code to exit.
fn end(prog: &str, done: Result<(), Failure>) -> ExitCode {
    match done {
        Ok(()) | Err(Failure::Closed) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.lines(prog).iter().for_each(|line| complain(line));
            ExitCode::FAILURE
        }
    }
}

/// Help goes to stderr, as in the C tool.
fn say(text: &str) {
    complain(text.trim_end_matches('\n'));
}
