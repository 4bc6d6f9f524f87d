//! What the packet scripts (`dpvs/core/tests/scripts`) do to their director, to be
//! done again in other orders. Each script is run once, and what it does written
//! down.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use super::pkt::lab::{Lab, Step};
use super::pkt::run;

/// What a script does.
pub(crate) struct Trace {
    /// A number that does not change when scripts come or go.
    number: u16,
    pub(crate) steps: Vec<Step>,
}

/// What the scripts do.
pub(crate) struct Scripts {
    traces: Vec<Trace>,
    /// Every line of configuration, once.
    lines: Vec<String>,
}

fn folder() -> PathBuf {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/../dpvs/core/tests/scripts");
    std::env::var_os("DPVS_SCRIPTS").map_or_else(|| here.into(), PathBuf::from)
}

fn number(name: &str) -> u16 {
    let fnv = |h: u32, b: u8| (h ^ u32::from(b)).wrapping_mul(0x0100_0193);
    let hash = name.bytes().fold(0x811c_9dc5, fnv);
    (hash ^ hash >> 16) as u16
}

fn trace(path: &PathBuf) -> Trace {
    let name = path.to_string_lossy().into_owned();
    let text = fs::read_to_string(path).expect("a packet script");
    let mut lab = Lab::new();
    lab.log = Some(Vec::new());
    let steps = match run::play(&name, &text, lab) {
        Ok(mut lab) => lab.log.take().unwrap_or_default(),
        Err(e) => panic!("{e}"),
    };
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    Trace {
        number: number(&stem),
        steps,
    }
}

/// All of them.
pub(crate) fn all() -> &'static Scripts {
    static ALL: OnceLock<Scripts> = OnceLock::new();
    ALL.get_or_init(|| {
        let files = fs::read_dir(folder()).expect("the packet scripts");
        let mut files: Vec<PathBuf> = files.flatten().map(|f| f.path()).collect();
        files.retain(|p| p.extension().is_some_and(|e| e == "pkt"));
        let mut traces: Vec<Trace> = files.iter().map(trace).collect();
        traces.sort_by_key(|t| t.number);
        let mut lines: Vec<String> = traces
            .iter()
            .flat_map(|t| &t.steps)
            .filter_map(|s| match s {
                Step::Line(line) => Some(line.clone()),
                _ => None,
            })
            .collect();
        lines.sort();
        lines.dedup();
        Scripts { traces, lines }
    })
}

impl Scripts {
    /// The script with that number, or the one behind it.
    pub(crate) fn by_number(&self, number: u16) -> &Trace {
        let at = self.traces.partition_point(|t| t.number < number);
        &self.traces[at % self.traces.len()]
    }

    /// Their numbers, and how much each does.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = (u16, usize)> {
        self.traces.iter().map(|t| (t.number, t.steps.len()))
    }

    /// One of their lines of configuration.
    pub(crate) fn line(&self, n: u16) -> &str {
        &self.lines[(usize::from(n) * self.lines.len()) >> 16]
    }
}
