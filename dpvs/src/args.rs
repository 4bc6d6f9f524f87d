//! The command line of the daemon: our own options, then `--`, then whatever
//! DPDK's EAL is to have. Knows nothing about what the options mean.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Run the daemon.
    Run(Args),
    /// Read and check the configuration, then exit.
    Test(Args),
    /// Print the version.
    Version,
    /// Print the help.
    Help,
}

/// Files and EAL arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Args {
    /// Configuration file.
    pub conf: PathBuf,
    /// Pid file.
    pub pid_file: PathBuf,
    /// Control socket.
    pub ipc_file: PathBuf,
    /// Group whose members may use the socket, by name or number.
    pub socket_group: Option<String>,
    /// Keep what cannot be forwarded instead of refusing it.
    pub keep_unsupported: bool,
    /// Arguments after `--`.
    pub eal: Vec<OsString>,
}

impl Default for Args {
    fn default() -> Self {
        Args {
            conf: "/etc/dpvs.conf".into(),
            pid_file: "/var/run/dpvs.pid".into(),
            ipc_file: "/var/run/dpvs.ipc".into(),
            socket_group: None,
            keep_unsupported: false,
            eal: Vec::new(),
        }
    }
}

/// A command line that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgsError(String);

impl fmt::Display for ArgsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}\nTry `dpvs --help`. Arguments for DPDK stand after `--`.",
            self.0
        )
    }
}

impl std::error::Error for ArgsError {}

/// Text of `--help`.
pub const HELP: &str = "\
Usage: dpvs [OPTION]... [-- EAL-ARGUMENT...]

  -c, --conf FILE       configuration file (default /etc/dpvs.conf)
  -p, --pid-file FILE   file for the process id (default /var/run/dpvs.pid)
  -x, --ipc-file FILE   socket of the control tools (default /var/run/dpvs.ipc)
  -g, --socket-group GROUP
                        let the members of a group use that socket
  -k, --keep-unsupported
                        take and list services and settings that cannot be
                        forwarded yet, instead of refusing them: for rehearsals
  -t, --test            check the configuration and exit
  -v, --version         print the version and exit
  -h, --help            print this help and exit

EAL arguments choose lcores, memory and ports, for example:
  dpvs -- --lcores 0@0,1@1,2@2 -a 0000:81:00.0
  dpvs -c conf/dpvs.null.conf -- --no-huge --no-shconf --no-pci -m 512 \\
       --vdev net_null0,no-rx=1 --vdev net_null1,no-rx=1
";

/// Text of `--version`: the protocol generation first, then this program's own.
pub fn version() -> String {
    format!("dpvs version: 1.10-2 (Rust, {})", env!("CARGO_PKG_VERSION"))
}

#[derive(Clone, Copy)]
enum Opt {
    Conf,
    Pid,
    Ipc,
    Group,
    Keep,
    Test,
    Version,
    Help,
}

const OPTIONS: [(&str, u8, Opt); 8] = [
    ("conf", b'c', Opt::Conf),
    ("pid-file", b'p', Opt::Pid),
    ("ipc-file", b'x', Opt::Ipc),
    ("socket-group", b'g', Opt::Group),
    ("keep-unsupported", b'k', Opt::Keep),
    ("test", b't', Opt::Test),
    ("version", b'v', Opt::Version),
    ("help", b'h', Opt::Help),
];

impl Opt {
    fn takes_value(self) -> bool {
        matches!(self, Opt::Conf | Opt::Pid | Opt::Ipc | Opt::Group)
    }
}

/// Long options may be shortened as long as one is meant (as `getopt_long` does).
fn long(name: &OsStr) -> Result<(&'static str, Opt), ArgsError> {
    let shown = name.to_string_lossy();
    let known = |exact: bool| {
        OPTIONS.iter().filter(move |(n, ..)| {
            if exact {
                n.as_bytes() == name.as_bytes()
            } else {
                n.as_bytes().starts_with(name.as_bytes())
            }
        })
    };
    let found: Vec<_> = known(true).chain(known(false)).collect();
    match found.as_slice() {
        [] => Err(ArgsError(format!(
            "unknown option `--{}`",
            shown.escape_debug()
        ))),
        [(n, _, opt), ..] if found.len() == 1 || n.as_bytes() == name.as_bytes() => Ok((n, *opt)),
        _ => Err(ArgsError(format!(
            "option `--{}` is ambiguous",
            shown.escape_debug()
        ))),
    }
}

/// Reads the arguments after the program's name.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, ArgsError> {
    let mut args = args.into_iter();
    let mut out = Args::default();
    let mut test = false;
    while let Some(arg) = args.next() {
        let bytes = arg.as_bytes();
        if bytes == b"--" {
            out.eal = args.collect();
            break;
        }
        // (name as typed, option, value glued to it, further short flags)
        let mut queue: Vec<(String, Opt, Option<OsString>)> = Vec::new();
        if let Some(body) = bytes.strip_prefix(b"--") {
            let eq = body.iter().position(|b| *b == b'=');
            let (name, value) = match eq {
                Some(at) => (body.get(..at), body.get(at + 1..)),
                None => (Some(body), None),
            };
            let (name, opt) = long(OsStr::from_bytes(name.unwrap_or_default()))?;
            if value.is_some() && !opt.takes_value() {
                return Err(ArgsError(format!("option `--{name}` takes no value")));
            }
            queue.push((
                format!("--{name}"),
                opt,
                value.map(|v| OsString::from_vec(v.to_vec())),
            ));
        } else if let Some(body) = bytes.strip_prefix(b"-").filter(|b| !b.is_empty()) {
            let mut left = body;
            while let Some((first, tail)) = left.split_first() {
                let Some((_, _, opt)) = OPTIONS.iter().find(|(_, c, _)| c == first) else {
                    let shown = arg.to_string_lossy();
                    return Err(ArgsError(format!(
                        "unknown option `-{}` in `{}`",
                        first.escape_ascii(),
                        shown.escape_debug()
                    )));
                };
                let glued = opt.takes_value() && !tail.is_empty();
                queue.push((
                    format!("-{}", char::from(*first)),
                    *opt,
                    glued.then(|| OsString::from_vec(tail.to_vec())),
                ));
                left = if opt.takes_value() { &[] } else { tail };
            }
        } else {
            return Err(ArgsError(format!(
                "unexpected argument `{}`",
                arg.to_string_lossy().escape_debug()
            )));
        }
        for (name, opt, value) in queue {
            let mut given = |what| {
                value
                    .clone()
                    .or_else(|| args.next())
                    .filter(|v| !v.is_empty())
                    .ok_or_else(|| ArgsError(format!("option `{name}` needs a {what} name")))
            };
            let mut path = || given("file").map(PathBuf::from);
            match opt {
                Opt::Conf => out.conf = path()?,
                Opt::Pid => out.pid_file = path()?,
                Opt::Ipc => out.ipc_file = path()?,
                Opt::Group => {
                    out.socket_group = Some(given("group")?.to_string_lossy().into_owned());
                }
                Opt::Keep => out.keep_unsupported = true,
                Opt::Test => test = true,
                Opt::Version => return Ok(Command::Version),
                Opt::Help => return Ok(Command::Help),
            }
        }
    }
    Ok(if test {
        Command::Test(out)
    } else {
        Command::Run(out)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(line: &str) -> Result<Command, ArgsError> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn defaults_and_every_spelling() {
        assert_eq!(run("").unwrap(), Command::Run(Args::default()));
        let want = Args {
            conf: "a".into(),
            pid_file: "b".into(),
            ipc_file: "c".into(),
            socket_group: None,
            keep_unsupported: false,
            eal: vec![],
        };
        for line in [
            "-c a -p b -x c",
            "-ca -pb -xc",
            "--conf a --pid-file b --ipc-file c",
            "--conf=a --pid-file=b --ipc-file=c",
            "--co a --pid b --ipc c",
        ] {
            assert_eq!(run(line).unwrap(), Command::Run(want.clone()), "{line}");
        }
        for line in ["-k", "--keep-unsupported", "--keep"] {
            let Command::Run(args) = run(line).unwrap() else {
                panic!("{line}");
            };
            assert!(args.keep_unsupported);
        }
        for line in ["-g ops", "--socket-group ops", "-gops"] {
            assert!(
                matches!(run(line).unwrap(), Command::Run(a) if a.socket_group.as_deref() == Some("ops"))
            );
        }
        assert_eq!(run("-v").unwrap(), Command::Version);
        assert_eq!(run("--help").unwrap(), Command::Help);
        assert!(matches!(run("-tc a").unwrap(), Command::Test(a) if a.conf.as_os_str() == "a"));
    }

    #[test]
    fn eal_arguments_are_left_alone() {
        let Command::Run(args) = run("-x s -- -c f --no-huge --").unwrap() else {
            panic!()
        };
        assert_eq!(args.eal, ["-c", "f", "--no-huge", "--"]);
        assert_eq!(args.ipc_file.as_os_str(), "s");
    }

    #[test]
    fn mistakes_are_named() {
        for (line, part) in [
            ("-l 0-3", "unknown option `-l`"),
            ("--cont f", "unknown option `--cont`"),
            ("-c", "`-c` needs a file name"),
            ("--version=3", "takes no value"),
            ("start", "unexpected argument `start`"),
            ("-", "unexpected argument `-`"),
            ("--conf=", "needs a file name"),
        ] {
            let text = run(line).unwrap_err().to_string();
            assert!(text.contains(part), "{line}: {text}");
        }
    }

    proptest! {
        #[test]
        fn any_arguments_end(args in proptest::collection::vec(proptest::collection::vec(1u8.., 0..12), 0..8)) {
            let _ = parse(args.into_iter().map(OsString::from_vec));
        }
    }
}
