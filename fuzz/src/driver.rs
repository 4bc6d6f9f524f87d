//! Runs a target without cargo-fuzz: a bounded random run, or a replay.
//!
//! `NAME SECONDS [DIR]` mutates the built-in seeds and the files of DIR for that
//! long; `NAME FILE...` runs each file once; `NAME --seeds DIR` writes the seeds
//! out for libFuzzer, and `NAME --pack DIR` a corpus into `corpora/NAME.txt`. An input that panics or takes longer than ten seconds is
//! kept in `artifacts/NAME/`, and the program fails.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use crate::Target;
use crate::corpus;
use crate::mutate::{Random, mutate};

/// Longest time for one input.
const SLOW: Duration = Duration::from_secs(10);
/// What is being run and since when.
static RUNNING: Mutex<Option<(Instant, Vec<u8>)>> = Mutex::new(None);

/// The folder of this crate, also when run from elsewhere.
#[must_use]
pub fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files of a folder, in order; none if it is not there.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.is_file())
        .collect();
    all.sort();
    all
}

/// The packed corpus of a target.
fn packed(target: &Target) -> PathBuf {
    top().join("corpora").join(format!("{}.txt", target.name))
}

/// What is in it, if it has one.
fn unpacked(target: &Target) -> Vec<Vec<u8>> {
    let text = fs::read_to_string(packed(target));
    text.map_or(Vec::new(), |text| corpus::unpack(&text))
}

/// Runs the seeds, the packed corpus and what is in `regressions/NAME/`.
pub fn replay_all(target: &Target) {
    for input in (target.seeds)().iter().chain(&unpacked(target)) {
        (target.run)(input);
    }
    for path in files(&top().join("regressions").join(target.name)) {
        println!("{}", path.display());
        (target.run)(&fs::read(&path).expect("a regression input"));
    }
}

fn keep(target: &Target, data: &[u8], kind: &str) -> PathBuf {
    let dir = top().join("artifacts").join(target.name);
    let mut hash = DefaultHasher::new();
    data.hash(&mut hash);
    let path = dir.join(format!("{kind}-{:016x}", hash.finish()));
    let done = fs::create_dir_all(&dir).and_then(|()| fs::write(&path, data));
    if let Err(e) = done {
        eprintln!("cannot keep {}: {e}", path.display());
    }
    path
}

fn watch(target: Target) {
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let running = RUNNING.lock().expect("no panic holds it");
            if let Some((since, data)) = running.as_ref()
                && since.elapsed() > SLOW
            {
                let path = keep(&target, data, "slow");
                eprintln!("{}: longer than {SLOW:?}: {}", target.name, path.display());
                std::process::exit(1);
            }
        }
    });
}

/// Runs one input; false if it panicked.
fn once(target: &Target, data: &[u8]) -> bool {
    *RUNNING.lock().expect("no panic holds it") = Some((Instant::now(), data.to_vec()));
    let ok = catch_unwind(AssertUnwindSafe(|| (target.run)(data))).is_ok();
    *RUNNING.lock().expect("no panic holds it") = None;
    ok
}

/// The program.
#[must_use]
pub fn main(target: &Target) -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let first = args.first().map_or("", String::as_str);
    watch(*target);
    if first == "--seeds" {
        let dir = PathBuf::from(args.get(1).map_or("corpus", String::as_str));
        fs::create_dir_all(&dir).expect("the folder for the seeds");
        for (n, seed) in (target.seeds)().iter().enumerate() {
            fs::write(dir.join(format!("seed-{n:03}")), seed).expect("a seed");
        }
        return ExitCode::SUCCESS;
    }
    if first == "--pack" {
        let dir = PathBuf::from(args.get(1).map_or("corpus", String::as_str));
        let inputs = files(&dir)
            .into_iter()
            .map(|p| fs::read(p).expect("an input"));
        let text = corpus::pack(inputs.collect());
        fs::write(packed(target), text).expect("the packed corpus");
        return ExitCode::SUCCESS;
    }
    if let Ok(seconds) = first.parse() {
        let dirs: Vec<&Path> = args.iter().skip(1).map(Path::new).collect();
        return random(target, Duration::from_secs(seconds), &dirs);
    }
    if args.is_empty() {
        eprintln!(
            "{0} SECONDS [DIR...] | {0} FILE... | {0} --seeds DIR | {0} --pack DIR",
            target.name
        );
        return ExitCode::FAILURE;
    }
    for path in &args {
        let data = match fs::read(path) {
            Ok(data) => data,
            Err(e) => {
                eprintln!("{path}: {e}");
                return ExitCode::FAILURE;
            }
        };
        let start = Instant::now();
        (target.run)(&data);
        println!("{path}: passed in {:?}", start.elapsed());
    }
    ExitCode::SUCCESS
}

fn random(target: &Target, time: Duration, dirs: &[&Path]) -> ExitCode {
    let mut corpus = (target.seeds)();
    corpus.extend(unpacked(target));
    let regressions = top().join("regressions").join(target.name);
    for dir in dirs.iter().copied().chain([regressions.as_path()]) {
        corpus.extend(files(dir).iter().filter_map(|p| fs::read(p).ok()));
    }
    corpus.push(Vec::new());
    for data in &corpus {
        if !once(target, data) {
            println!("{}: {}", target.name, keep(target, data, "crash").display());
            return ExitCode::FAILURE;
        }
    }
    let seed = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(1, |d| d.as_nanos() as u64);
    let mut r = Random::new(seed);
    let start = Instant::now();
    let mut runs = 0u64;
    while start.elapsed() < time {
        let mut data = corpus[r.below(corpus.len())].clone();
        for _ in 0..=r.below(8) {
            mutate(&mut r, &mut data, &corpus, target.words);
        }
        runs += 1;
        if !once(target, &data) {
            println!(
                "{}: {}",
                target.name,
                keep(target, &data, "crash").display()
            );
            return ExitCode::FAILURE;
        }
        // Without feedback the corpus drifts: some offspring stay for a while.
        if r.below(64) == 0 && corpus.len() < 4096 {
            corpus.push(data);
        }
    }
    println!(
        "{}: {runs} runs in {:?}, nothing found",
        target.name,
        start.elapsed()
    );
    ExitCode::SUCCESS
}
