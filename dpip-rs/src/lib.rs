//! `dpip`: shows and changes what the DPVS daemon knows of links, addresses,
//! routes, neighbours and the rest, in the language and the output of the C tool.
//!
//! This file goes from argv to an exit code: options, object, command, then the
//! object's own file does the work. One file an object; none of them knows
//! another, none ends the process, and all write through `out`.

mod addr;
mod args;
mod capture;
mod cls;
mod completion;
mod drops;
mod eal_mem;
mod failure;
mod flow;
mod help;
mod iftraf;
mod ipset;
mod ipv6;
mod limit;
mod link;
mod lldp;
mod maddr;
mod neigh;
mod out;
mod pcapng;
mod qsch;
mod route;
mod route6;
mod table;
mod tc;
mod tunnel;
mod vlan;
mod watch;
mod words;

use std::env;
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use dpvs_ctl::Client;

use args::{Line, Options, Parsed};
use failure::Failure;
use out::Out;
use table::{Command, Object};

/// The release of DPVS whose protocol and output this tool keeps.
const VERSION: &str = "1.10-2";

/// The objects; where a beginning fits several, the first is meant.
const OBJECTS: [&Object; 19] = [
    &link::OBJECT,
    &addr::OBJECT,
    &route::OBJECT,
    &neigh::OBJECT,
    &vlan::OBJECT,
    &tunnel::OBJECT,
    &qsch::OBJECT,
    &cls::OBJECT,
    &ipv6::OBJECT,
    &iftraf::OBJECT,
    &eal_mem::OBJECT,
    &ipset::OBJECT,
    &flow::OBJECT,
    &maddr::OBJECT,
    &lldp::OBJECT,
    &drops::OBJECT,
    &drops::COUNTERS,
    &limit::OBJECT,
    &capture::OBJECT,
];

/// What a command works with.
struct Cx {
    options: Options,
    client: Client,
    out: Out,
}

/// The whole program: arguments, standard streams, exit code.
#[must_use]
pub fn main() -> ExitCode {
    let mut argv = env::args_os();
    let name = argv.next().unwrap_or_else(|| "dpip".into());
    let name = name.to_string_lossy();
    // As the C tool has it: what follows the first slash, not the last.
    let prog = name.split_once('/').map_or(&*name, |(_, rest)| rest);
    let mut out = out::standard();
    let words: Result<Vec<String>, OsString> = argv.map(OsString::into_string).collect();
    ExitCode::from(match words {
        Ok(words) => act(prog, &words, Client::new().pooled(), out),
        Err(word) => {
            out.complain(&format!("{prog}: {} is not valid UTF-8", word.display()));
            1
        }
    })
}

/// Does what `argv` (without the program's own name) says, against the daemon
/// of `client`, and returns the exit code. Ends at once when nobody reads
/// `stdout` any more.
#[must_use]
pub fn run(
    prog: &str,
    argv: &[String],
    client: Client,
    stdout: Box<dyn Write>,
    stderr: Box<dyn Write>,
) -> u8 {
    act(prog, argv, client, Out::new(stdout, stderr))
}

fn act(prog: &str, argv: &[String], client: Client, mut out: Out) -> u8 {
    let line = match args::parse(argv) {
        Ok(Parsed::Nothing) => {
            say(&mut out, &help::usage());
            return 0;
        }
        Ok(Parsed::Version) => {
            let done = out
                .print(&format!("dpip-{VERSION}\n"))
                .and_then(|()| out.flush());
            return end(&mut out, prog, done);
        }
        Ok(Parsed::Line(line)) => line,
        Err(error) => {
            let lines = error.lines(prog);
            lines.iter().for_each(|line| out.complain(line));
            return 1;
        }
    };
    if let (Some("completion"), Some(shell)) = (line.word(0), line.word(1)) {
        let done = completion::print(&mut out, shell);
        return end(&mut out, prog, done);
    }
    let options = &line.options;
    if options.count.is_some() && options.interval.is_none() && !options.watch {
        out.complain("missing option '-i'");
    }
    out.form(options);
    object(prog, line, client, out)
}

/// Finds the object and lets it run.
fn object(prog: &str, line: Line, client: Client, mut out: Out) -> u8 {
    let Line { options, words } = line;
    let mut words = words.into_iter();
    let Some(name) = words.next() else {
        say(&mut out, &help::usage());
        return 1;
    };
    let found = find(&name);
    let command = words.next();
    let parsed = command.as_deref().map(|word| match found {
        Some(object) => object.command(word),
        None => Command::from_word(word),
    });
    // What stands behind this one is its filter; there is but one command.
    let (parsed, ahead) = match (found, parsed) {
        (Some(object), Some(None)) if object.name == capture::OBJECT.name => {
            (Some(Some(Command::Show)), command.clone())
        }
        (_, parsed) => (parsed, None),
    };
    if let (false, Some(None), Some(word)) = (options.help, parsed, &command) {
        // DIFFERS: C dpip says only this.
        out.complain(&format!("invalid command {word}"));
        if let Some(object) = found {
            let name = object.name;
            out.complain(&format!(
                "{prog}: the commands of {name} are: {}; `{prog} {name} help' explains them",
                help::commands(object).join(", ")
            ));
        }
        return 1;
    }
    let Some(object) = found else {
        out.complain(&format!("{prog}: invalid object, use `-h' for help."));
        return 1;
    };
    match parsed.flatten() {
        Some(Command::Help) => {
            say(&mut out, &help::object(object));
            0
        }
        Some(command) if !options.help => {
            let words: Vec<String> = ahead.into_iter().chain(words).collect();
            let mut cx = Cx {
                options,
                client,
                out,
            };
            let done = command_of(&mut cx, object, command, &words);
            let done = done.map_err(|failure| failure.unsupported(prog, object.name, command));
            end(&mut cx.out, prog, done)
        }
        _ => {
            say(&mut out, &help::object(object));
            1
        }
    }
}

/// The object that `name` names or begins.
fn find(name: &str) -> Option<&'static Object> {
    let exact = OBJECTS.into_iter().find(|object| object.name == name);
    let all = OBJECTS.into_iter().map(|object| (object.name, object));
    exact.or_else(|| table::first(name, all))
}

/// Does a command, once or, with `-w`, again and again.
fn command_of(
    cx: &mut Cx,
    object: &'static Object,
    command: Command,
    words: &[String],
) -> Result<(), Failure> {
    if cx.options.watch {
        return watch::rounds(cx, object, command, words);
    }
    let done = (object.run)(cx, command, words);
    let listing = matches!(command, Command::Show | Command::Test);
    let ended = if listing {
        cx.out.end_listing(done.is_ok())
    } else {
        cx.out.flush()
    };
    done.and(ended)
}

/// Says why a command failed, and with what code to exit.
fn end(out: &mut Out, prog: &str, done: Result<(), Failure>) -> u8 {
    match done {
        Ok(()) | Err(Failure::Closed) => 0,
        Err(failure) => {
            let lines = failure.lines(prog);
            lines.iter().for_each(|line| out.complain(line));
            1
        }
    }
}

/// Help goes to stderr, as in the C tool.
fn say(out: &mut Out, text: &str) {
    out.complain(text.trim_end_matches('\n'));
}
