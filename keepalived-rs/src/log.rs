//! Log lines to the console and to syslog, as keepalived's look.
//!
//! Console lines are `ctime: text` on stderr (in UTC); syslog lines go to
//! /dev/log under the name Keepalived. `debug!` is shown with -D only.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

struct Lines {
    console: bool,
    syslog: Option<Mutex<Option<UnixDatagram>>>,
    facility: u8,
    pid: u32,
}

/// Installs the logger. Later calls change nothing.
pub(crate) fn init(console: bool, syslog: bool, facility: u8, detail: bool) {
    let lines = Lines {
        console,
        syslog: syslog.then(|| Mutex::new(None)),
        facility,
        pid: std::process::id(),
    };
    let level = if detail {
        LevelFilter::DEBUG
    } else {
        LevelFilter::INFO
    };
    let registry = tracing_subscriber::registry().with(lines.with_filter(level));
    // Fails only when one is installed already.
    let _ = tracing::subscriber::set_global_default(registry);
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.0, "{value:?}");
        } else {
            let _ = write!(self.0, " {}={value:?}", field.name());
        }
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        // What the runtime has to say about itself is nobody's business.
        if !event.metadata().target().starts_with("keepalived") {
            return;
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        if self.console {
            let line = format!("{}: {}\n", ctime(SystemTime::now()), text.0);
            let _ = std::io::stderr().lock().write_all(line.as_bytes());
        }
        if let Some(socket) = &self.syslog {
            let severity = match *event.metadata().level() {
                Level::ERROR => 3,
                Level::WARN => 4,
                Level::INFO => 6,
                _ => 7,
            };
            let pri = u32::from(self.facility) * 8 + severity;
            let line = format!("<{pri}>Keepalived[{}]: {}", self.pid, text.0);
            if let Ok(mut slot) = socket.lock() {
                send(&mut slot, line.as_bytes());
            }
        }
    }
}

/// Syslog may start later or be restarted: connects again when sending fails.
fn send(slot: &mut Option<UnixDatagram>, line: &[u8]) {
    for _ in 0..2 {
        if slot.is_none() {
            let made = UnixDatagram::unbound().and_then(|s| {
                s.set_nonblocking(true)?;
                s.connect("/dev/log")?;
                Ok(s)
            });
            *slot = made.ok();
        }
        match slot {
            Some(s) if s.send(line).is_ok() => return,
            Some(_) => *slot = None,
            None => return,
        }
    }
}

/// `Sat Nov 21 20:07:59 2026`, in UTC.
fn ctime(now: SystemTime) -> String {
    let secs = now.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let (days, clock) = (secs / 86_400, secs % 86_400);
    let weekday = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let month = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    // Civil date from days, by 400-year eras that begin in March.
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let m = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + u64::from(m <= 2);
    let name = |list: &[&'static str], n: u64| -> &'static str {
        usize::try_from(n)
            .ok()
            .and_then(|n| list.get(n).copied())
            .unwrap_or("???")
    };
    format!(
        "{} {} {day:>2} {:02}:{:02}:{:02} {year}",
        name(&weekday, days % 7),
        name(&month, m - 1),
        clock / 3600,
        clock / 60 % 60,
        clock % 60
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn dates() {
        let at = |s| ctime(UNIX_EPOCH + Duration::from_secs(s));
        assert_eq!(at(0), "Thu Jan  1 00:00:00 1970");
        assert_eq!(at(951_782_400), "Tue Feb 29 00:00:00 2000");
        assert_eq!(at(1_795_291_679), "Sat Nov 21 20:07:59 2026");
    }
}
