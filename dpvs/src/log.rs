//! Where log lines go: a `tracing` subscriber with the C daemon's eight
//! levels, to a file or to standard error, both changeable while running.
//!
//! DIFFERS: without `log_file` the C daemon writes to syslog; this one writes
//! to standard error, which systemd puts into the journal.
//! `log_with_timestamp` works in every mode, in UTC.

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use crate::conf::LogLevel;

struct Sink {
    level: AtomicU8,
    timestamp: AtomicBool,
    /// None: standard error.
    file: Mutex<Option<File>>,
}

/// Handle to change the log while the daemon runs.
#[derive(Clone)]
pub struct Log(Arc<Sink>);

/// Severity of a `tracing` level among the eight.
fn severity(level: &Level) -> LogLevel {
    match *level {
        Level::ERROR => LogLevel::Err,
        Level::WARN => LogLevel::Warning,
        Level::INFO => LogLevel::Info,
        Level::DEBUG | Level::TRACE => LogLevel::Debug,
    }
}

impl Log {
    fn new() -> Log {
        Log(Arc::new(Sink {
            level: AtomicU8::new(LogLevel::Info as u8),
            timestamp: AtomicBool::new(false),
            file: Mutex::new(None),
        }))
    }

    /// Makes this the log of the process. A second call only returns a handle
    /// that nothing writes through.
    pub fn install() -> Log {
        let log = Log::new();
        let _ = tracing::subscriber::set_global_default(
            tracing_subscriber::registry().with(log.layer()),
        );
        log
    }

    fn layer<S: Subscriber>(&self) -> impl Layer<S> + use<S> {
        Output(self.clone())
    }

    /// Drops lines less severe than `level` from now on. EMERG, ALERT and
    /// CRIT let nothing of ours through but what is as severe as ERR, because
    /// the daemon ends rather than logging one of them.
    pub fn set_level(&self, level: LogLevel) {
        self.0
            .level
            .store((level as u8).max(LogLevel::Err as u8), Ordering::Relaxed);
        tracing::callsite::rebuild_interest_cache();
    }

    /// A time stamp before each line, or none.
    pub fn set_timestamp(&self, on: bool) {
        self.0.timestamp.store(on, Ordering::Relaxed);
    }

    /// Appends to `path` from now on, or writes to standard error. On an error
    /// the old destination stays.
    pub fn set_file(&self, path: Option<&Path>) -> io::Result<()> {
        let file = match path {
            Some(path) => Some(OpenOptions::new().append(true).create(true).open(path)?),
            None => None,
        };
        *self.0.file.lock().unwrap_or_else(PoisonError::into_inner) = file;
        Ok(())
    }

    fn passes(&self, level: &Level) -> bool {
        severity(level) as u8 <= self.0.level.load(Ordering::Relaxed)
    }

    fn write(&self, line: &str) {
        let mut file = self.0.file.lock().unwrap_or_else(PoisonError::into_inner);
        // A log that cannot be written must not stop the daemon.
        let _ = match file.as_mut() {
            Some(file) => file.write_all(line.as_bytes()),
            None => io::stderr().write_all(line.as_bytes()),
        };
    }
}

struct Output(Log);

impl<S: Subscriber> Layer<S> for Output {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.0.passes(metadata.level())
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = String::new();
        if self.0.0.timestamp.load(Ordering::Relaxed) {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |d| d.as_secs());
            let _ = write!(line, "{} ", utc(now));
        }
        let level = LogLevel::NAMES[severity(event.metadata().level()) as usize - 1];
        let _ = write!(line, "{level}: ");
        event.record(&mut Fields(&mut line));
        // One event is one line, whatever a peer managed to put into it.
        let mut line: String = line
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        line.push('\n');
        self.0.write(&line);
    }
}

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = if field.name() == "message" {
            write!(self.0, "{value:?}")
        } else {
            write!(self.0, " {}={value:?}", field.name())
        };
    }
}

/// `2026-01-31T23:59:59Z` for seconds since 1970.
fn utc(seconds: u64) -> String {
    let (days, rest) = (seconds / 86400, seconds % 86400);
    // Days since 0000-03-01, in 400-year cycles; years start in March so that
    // the leap day is the last of its year.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let (month, add) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    format!(
        "{:04}-{month:02}-{date:02}T{:02}:{:02}:{:02}Z",
        year + era * 400 + add,
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(1_798_761_599), "2026-12-31T23:59:59Z");
        assert_eq!(utc(4_107_542_400), "2100-03-01T00:00:00Z");
    }

    #[test]
    fn level_and_file_change_while_running() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        let log = Log::new();
        log.set_file(Some(&one)).unwrap();
        let subscriber = tracing_subscriber::registry().with(log.layer());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("first\nline");
            log.set_level(LogLevel::Warning);
            tracing::info!("dropped");
            tracing::warn!(code = 3, "kept");
            log.set_file(Some(&two)).unwrap();
            assert!(log.set_file(Some(dir.path())).is_err());
            log.set_level(LogLevel::Debug);
            log.set_timestamp(true);
            tracing::debug!("moved");
        });
        assert_eq!(
            std::fs::read_to_string(one).unwrap(),
            "INFO: first line\nWARNING: kept code=3\n"
        );
        let moved = std::fs::read_to_string(two).unwrap();
        assert_eq!(&moved[20..], " DEBUG: moved\n");
    }
}
