//! The command line, in keepalived's grammar.
//!
//! Short options may be glued (`-nlD`), long ones take `=VALUE` or the next
//! word, `-t` and `-M` take a value only when glued to it. Options of features
//! that a single process does not have are accepted and do nothing.

use std::path::{Path, PathBuf};

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Run(Options),
    Help,
    Version,
    /// `--signum=NAME`: print a signal number.
    Signum(i32),
    /// Print a message, exit with a code.
    Fail(String, u8),
}

/// The settings of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "one for each switch of the command line"
)]
pub(crate) struct Options {
    pub(crate) config: PathBuf,
    /// `-t`; the file is where findings go instead of stderr.
    pub(crate) test: Option<Option<PathBuf>>,
    pub(crate) foreground: bool,
    pub(crate) console: bool,
    pub(crate) detail: bool,
    pub(crate) dump: bool,
    pub(crate) no_syslog: bool,
    /// Syslog facility number (daemon is 3).
    pub(crate) facility: u8,
    pub(crate) vrrp: bool,
    pub(crate) check: bool,
    pub(crate) keep_services: bool,
    pub(crate) keep_addresses: bool,
    pub(crate) pid: Option<PathBuf>,
    pub(crate) vrrp_pid: Option<PathBuf>,
    pub(crate) check_pid: Option<PathBuf>,
    pub(crate) config_id: Option<String>,
    pub(crate) all_config: bool,
    pub(crate) umask: Option<u32>,
    /// Said on stderr before anything else; makes `-t` answer 5.
    pub(crate) bad_facility: Option<String>,
    /// Words that are no options.
    pub(crate) unexpected: Vec<String>,
}

/// Where keepalived looks unless told otherwise.
pub(crate) const DEFAULT_CONFIG: &str = "/etc/keepalived/keepalived.conf";

impl Default for Options {
    fn default() -> Self {
        Self {
            config: DEFAULT_CONFIG.into(),
            test: None,
            foreground: false,
            console: false,
            detail: false,
            dump: false,
            no_syslog: false,
            facility: 3,
            vrrp: true,
            check: true,
            keep_services: false,
            keep_addresses: false,
            pid: None,
            vrrp_pid: None,
            check_pid: None,
            config_id: None,
            all_config: false,
            umask: None,
            bad_facility: None,
            unexpected: Vec::new(),
        }
    }
}

/// Text of `--help`, to stderr as keepalived does.
pub(crate) const HELP: &str = "\
Usage: keepalived [OPTION...]
  -f, --use-file=FILE          Configuration file (default /etc/keepalived/keepalived.conf)
  -t, --config-test[=FILE]     Check the configuration, findings to stderr or FILE
  -n, --dont-fork              Stay in the foreground
  -l, --log-console            Log to stderr as well
  -D, --log-detail             Log more
  -S, --log-facility=NAME      Syslog facility: 0-7, local0-7, user, daemon (default)
  -G, --no-syslog              Do not log to syslog
  -d, --dump-conf              Print the configuration, then run
  -P, --vrrp                   Run VRRP only
  -C, --check                  Run the health checkers only
  -I, --dont-release-ipvs      Leave services in dpvs at stop
  -V, --dont-release-vrrp      Leave virtual addresses at stop
  -p, --pid=FILE               PID file (default /run/keepalived.pid)
  -c, --checkers_pid=FILE      PID file for the checkers (same process)
  -r, --vrrp_pid=FILE          PID file for VRRP (same process)
  -i, --config-id=ID           Use configuration lines that begin with @ID
  -e, --all-config             A missing include file is an error
  -u, --umask=MASK             umask for files
      --signum=NAME            Print the number of signal STOP, RELOAD, DATA, STATS,
                               STATS_CLEAR or JSON
  -v, --version                Print the version
  -h, --help                   Print this help
Accepted without effect: -B -R -X -a -m -x --all, -A FILE, -b FILE, -s NAME, -M[PATTERN]
The dataplane is found by DPVS_IPC_FILE, else at /var/run/dpvs.ipc.
";

const LONG: [(&str, char); 34] = [
    ("use-file", 'f'),
    ("vrrp", 'P'),
    ("check", 'C'),
    ("no_bfd", 'B'),
    ("all", '3'),
    ("log-console", 'l'),
    ("log-detail", 'D'),
    ("log-facility", 'S'),
    ("no-syslog", 'G'),
    ("umask", 'u'),
    ("release-vips", 'X'),
    ("dont-release-vrrp", 'V'),
    ("dont-release-ipvs", 'I'),
    ("dont-respawn", 'R'),
    ("dont-fork", 'n'),
    ("dump-conf", 'd'),
    ("pid", 'p'),
    ("vrrp_pid", 'r'),
    ("checkers_pid", 'c'),
    ("address-monitoring", 'a'),
    ("bfd_pid", 'b'),
    ("snmp", 'x'),
    ("snmp-agent-socket", 'A'),
    ("namespace", 's'),
    ("core-dump", 'm'),
    ("core-dump-pattern", 'M'),
    ("all-config", 'e'),
    ("config-id", 'i'),
    ("signum", '4'),
    ("config-test", 't'),
    ("version", 'v'),
    ("help", 'h'),
    ("log-file", 'g'),
    ("ignore-sigint", '5'),
];

const WITH_VALUE: &str = "fSuprcbAsi4";
const OPTIONAL_VALUE: &str = "tM";

/// Parses the words after the program's name.
pub(crate) fn parse(args: &[String]) -> Command {
    let mut o = Options::default();
    let mut words = args.iter();
    let fail = |text: String| Command::Fail(text, 1);
    while let Some(word) = words.next() {
        if word == "--" {
            o.unexpected.extend(words.by_ref().cloned());
        } else if let Some(long) = word.strip_prefix("--") {
            let (name, value) = long
                .split_once('=')
                .map_or((long, None), |(n, v)| (n, Some(v)));
            let exact = LONG.iter().find(|(l, _)| *l == name);
            // As getopt: any unambiguous beginning.
            let mut near = LONG
                .iter()
                .filter(|(l, _)| !name.is_empty() && l.starts_with(name));
            let near = near.next().filter(|_| near.next().is_none());
            let Some((_, c)) = exact.or(near) else {
                return fail(format!("Unknown option {word}\n"));
            };
            let value = if WITH_VALUE.contains(*c) {
                match value.map(str::to_owned).or_else(|| words.next().cloned()) {
                    Some(v) => Some(v),
                    None => return fail(format!("Missing option for {word}\n")),
                }
            } else {
                value.map(str::to_owned)
            };
            if let Some(end) = set(&mut o, *c, value, word) {
                return end;
            }
        } else if let Some(short) = word.strip_prefix('-').filter(|s| !s.is_empty()) {
            let mut rest = short.chars();
            while let Some(c) = rest.next() {
                let glued = rest.as_str();
                let value = if WITH_VALUE.contains(c) && !c.is_ascii_digit() {
                    let v = if glued.is_empty() {
                        words.next().cloned()
                    } else {
                        Some(glued.to_owned())
                    };
                    rest = "".chars();
                    match v {
                        Some(v) => Some(v),
                        None => return fail(format!("Missing option for -{c}\n")),
                    }
                } else if OPTIONAL_VALUE.contains(c) && !glued.is_empty() {
                    let v = glued.to_owned();
                    rest = "".chars();
                    Some(v)
                } else {
                    None
                };
                if c.is_ascii_digit() {
                    return fail(format!("Unknown option -{c}\n"));
                }
                if let Some(end) = set(&mut o, c, value, &format!("-{c}")) {
                    return end;
                }
            }
        } else {
            o.unexpected.push(word.clone());
        }
    }
    Command::Run(o)
}

/// Absolute, since a daemon leaves its directory.
fn path(value: Option<String>) -> PathBuf {
    let p = PathBuf::from(value.unwrap_or_default());
    std::path::absolute(Path::new(&p)).unwrap_or(p)
}

fn set(o: &mut Options, c: char, value: Option<String>, shown: &str) -> Option<Command> {
    match c {
        'f' => o.config = path(value),
        't' => o.test = Some(value.map(|v| path(Some(v.trim_start_matches('=').to_owned())))),
        'n' => o.foreground = true,
        'l' => o.console = true,
        'D' => o.detail = true,
        'd' => o.dump = true,
        'G' => o.no_syslog = true,
        // Each names what alone is to run; both together leave nothing.
        'P' => o.check = false,
        'C' => o.vrrp = false,
        'I' => o.keep_services = true,
        'V' => o.keep_addresses = true,
        'p' => o.pid = Some(path(value)),
        'r' => o.vrrp_pid = Some(path(value)),
        'c' => o.check_pid = Some(path(value)),
        'i' => o.config_id = value,
        'e' => o.all_config = true,
        'S' => {
            let word = value.unwrap_or_default();
            let local = word.strip_prefix("local").unwrap_or(&word);
            match (word.as_str(), local.parse::<u8>()) {
                ("user", _) => o.facility = 1,
                ("daemon", _) => o.facility = 3,
                (_, Ok(n @ 0..=7)) => o.facility = 16 + n,
                _ => o.bad_facility = Some(format!("Invalid log facility '{word}'\n")),
            }
        }
        'u' => {
            let word = value.unwrap_or_default();
            let digits = word.trim_start_matches("0x");
            let radix = match (digits.len() < word.len(), word.starts_with('0')) {
                (true, _) => 16,
                (_, true) => 8,
                _ => 10,
            };
            match u32::from_str_radix(digits, radix) {
                Ok(m) => o.umask = Some(m & 0o777),
                Err(_) => o.bad_facility = Some(format!("Invalid --umask option {word}\n")),
            }
        }
        '4' => {
            let word = value.unwrap_or_default();
            return Some(match word.as_str() {
                "STOP" => Command::Signum(15),
                "RELOAD" => Command::Signum(1),
                "DATA" => Command::Signum(10),
                "STATS" => Command::Signum(12),
                "STATS_CLEAR" => Command::Signum(63),
                "JSON" => Command::Signum(36),
                _ => Command::Fail(format!("Unknown sigfunc {word}\n"), 1),
            });
        }
        'v' => return Some(Command::Version),
        'h' => return Some(Command::Help),
        'B' | 'R' | 'X' | 'a' | 'm' | 'x' | 'A' | 'b' | 's' | 'M' | '3' | '5' => {}
        _ => return Some(Command::Fail(format!("Unknown option {shown}\n"), 1)),
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &str) -> Options {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        match parse(&words) {
            Command::Run(o) => o,
            other => unreachable!("{line}: {other:?}"),
        }
    }

    fn fails(line: &str) -> bool {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        matches!(parse(&words), Command::Fail(_, 1))
    }

    #[test]
    fn spellings() {
        let o = run("-nlD -f /x --pid /a -c/b --vrrp_pid=/c");
        assert!(o.foreground && o.console && o.detail);
        assert_eq!(o.config, Path::new("/x"));
        assert_eq!(o.pid.as_deref(), Some(Path::new("/a")));
        assert_eq!(o.check_pid.as_deref(), Some(Path::new("/b")));
        assert_eq!(o.vrrp_pid.as_deref(), Some(Path::new("/c")));
        assert_eq!(run("-t -f /x").test, Some(None));
        assert_eq!(run("-t/log").test, Some(Some("/log".into())));
        assert_eq!(run("--config-test=/log").test, Some(Some("/log".into())));
        // keepalived reads -tf as -t with the file f.
        let o = run("-tf /x");
        assert!(o.test.is_some());
        assert_eq!(o.unexpected, ["/x"]);
        assert!(!run("-P").check && run("-P").vrrp);
        assert!(!run("--vrrp --check").check && !run("--vrrp --check").vrrp);
        assert_eq!(run("-S local3").facility, 19);
        assert!(run("-S 9").bad_facility.is_some());
        assert_eq!(run("-u 022").umask, Some(0o22));
    }

    #[test]
    fn refusals() {
        assert!(fails("--bogus"));
        assert!(fails("-q"));
        assert!(fails("-f"));
        assert!(fails("--signum=NO"));
        assert!(fails("-4 STOP"));
        assert!(fails("-g /x"));
        assert_eq!(
            parse(&["--signum=STATS_CLEAR".to_owned()]),
            Command::Signum(63)
        );
    }
}
