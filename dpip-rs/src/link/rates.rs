//! `-w link show`: a table of rates, of ports or of lcores, one line each.
//!
//! Two samples make a round; the seconds between them are measured, so that a
//! slow terminal does not falsify them. Knows no other form of these counters.

use std::fmt::Write as _;
use std::time::Instant;

use dpvs_ctl::Name;
use dpvs_ctl::msg::{LcoreStats, NicStats};
use serde_json::{Value, json};

use super::{CpuName, cpu, cpu_name, nic, usage};
use crate::Cx;
use crate::failure::Failure;
use crate::out::Record;
use crate::words::device;

/// What is watched, and its last sample.
#[derive(Debug)]
pub(crate) struct Rates {
    taken: Instant,
    what: What,
}

#[derive(Debug)]
enum What {
    Ports(Vec<(Name<32>, NicStats)>),
    Lcores(Vec<(u8, &'static str, LcoreStats)>),
}

/// Rates of a port, a second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Port {
    rx_pps: f64,
    rx_mbps: f64,
    tx_pps: f64,
    tx_mbps: f64,
    missed: f64,
    errors: f64,
}

/// Rates of an lcore, a second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Lcore {
    loops: f64,
    rx_pps: f64,
    rx_mbps: f64,
    tx_pps: f64,
    tx_mbps: f64,
    drops: f64,
    /// Polls that found packets, of a hundred.
    busy: f64,
}

impl Rates {
    /// Takes the first sample of what the words of `link show` name.
    pub(crate) fn start(cx: &Cx, words: &[String]) -> Result<Self, Failure> {
        let taken = Instant::now();
        let name = words.first().map_or("", String::as_str);
        let sample = |lcore: u8, task| -> Result<_, Failure> {
            Ok((lcore, task, cpu::sample(&cx.client, &lcore)?))
        };
        let what = match cpu_name(name) {
            Some(CpuName::Bad) => return Err(usage(format!("invalid cpu: {name}"))),
            Some(CpuName::One(lcore)) => What::Lcores(vec![sample(lcore, "")?]),
            Some(CpuName::All) => {
                let entries = cpu::all(&cx.client)?;
                let samples = entries.iter().map(|entry| sample(entry.lcore, entry.task));
                What::Lcores(samples.collect::<Result<_, _>>()?)
            }
            None => {
                let names = match name {
                    "" => nic::all(&cx.client)?,
                    name => vec![device::<32>(name)?],
                };
                let samples = names
                    .into_iter()
                    .map(|name| -> Result<_, Failure> { Ok((name, cx.client.port_stats(&name)?)) });
                What::Ports(samples.collect::<Result<_, _>>()?)
            }
        };
        Ok(Self { taken, what })
    }

    /// Takes the next sample and shows what happened since the last one.
    pub(crate) fn round(&mut self, cx: &mut Cx) -> Result<(), Failure> {
        let now = Instant::now();
        let seconds = (now - self.taken).as_secs_f64().max(1e-3);
        self.taken = now;
        match &mut self.what {
            What::Ports(ports) => {
                cx.out.heading(&port_heading())?;
                for (name, before) in ports {
                    let after = cx.client.port_stats(name)?;
                    let rates = Port::between(before, &after, seconds);
                    let name = name.text();
                    cx.out
                        .emit(Record::new(rates.text(&name), rates.value(&name)))?;
                    *before = after;
                }
            }
            What::Lcores(lcores) => {
                cx.out.heading(&lcore_heading())?;
                for (lcore, task, before) in lcores {
                    let after = cpu::sample(&cx.client, lcore)?;
                    let rates = Lcore::between(before, &after, seconds);
                    let record = Record::new(rates.text(*lcore, task), rates.value(*lcore, task));
                    cx.out.emit(record)?;
                    *before = after;
                }
            }
        }
        Ok(())
    }
}

/// What a counter grew a second. One that went back (the daemon was started
/// again) counts from zero.
fn per(before: u64, after: u64, seconds: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "shown to people")]
    let grown = after.checked_sub(before).unwrap_or(after) as f64;
    grown / seconds
}

/// Bytes a second as megabits.
fn mbps(bytes: f64) -> f64 {
    bytes * 8.0 / 1e6
}

fn port_heading() -> String {
    let mut text = format!("{:<16}", "device");
    for cell in [
        "rx/pps", "rx/Mbps", "tx/pps", "tx/Mbps", "missed/s", "errors/s",
    ] {
        let _ = write!(text, " {cell:>11}");
    }
    text + "\n"
}

impl Port {
    fn between(before: &NicStats, after: &NicStats, seconds: f64) -> Self {
        let per = |field: fn(&NicStats) -> u64| per(field(before), field(after), seconds);
        Self {
            rx_pps: per(|s| s.ipackets),
            rx_mbps: mbps(per(|s| s.ibytes)),
            tx_pps: per(|s| s.opackets),
            tx_mbps: mbps(per(|s| s.obytes)),
            missed: per(|s| s.imissed),
            errors: per(|s| s.ierrors.wrapping_add(s.oerrors).wrapping_add(s.rx_nombuf)),
        }
    }

    fn text(&self, name: &str) -> String {
        let Self {
            rx_pps,
            rx_mbps,
            tx_pps,
            tx_mbps,
            missed,
            errors,
        } = self;
        format!(
            "{name:<16} {rx_pps:>11.0} {rx_mbps:>11.2} {tx_pps:>11.0} {tx_mbps:>11.2} \
             {missed:>11.0} {errors:>11.0}\n"
        )
    }

    fn value(&self, name: &str) -> Value {
        json!({
            "ifname": name,
            "rx_pps": self.rx_pps,
            "rx_mbps": self.rx_mbps,
            "tx_pps": self.tx_pps,
            "tx_mbps": self.tx_mbps,
            "missed_pps": self.missed,
            "errors_pps": self.errors,
        })
    }
}

fn lcore_heading() -> String {
    let mut text = format!("{:<6} {:<7}", "cpu", "role");
    for cell in [
        "loops/s", "rx/pps", "rx/Mbps", "tx/pps", "tx/Mbps", "drops/s",
    ] {
        let _ = write!(text, " {cell:>10}");
    }
    text + "  busy\n"
}

impl Lcore {
    fn between(before: &LcoreStats, after: &LcoreStats, seconds: f64) -> Self {
        let per = |field: fn(&LcoreStats) -> u64| per(field(before), field(after), seconds);
        let polls = per(|s| s.pktburst);
        let full = polls - per(|s| s.zpktburst);
        Self {
            loops: per(|s| s.lcore_loop),
            rx_pps: per(|s| s.ipackets),
            rx_mbps: mbps(per(|s| s.ibytes)),
            tx_pps: per(|s| s.opackets),
            tx_mbps: mbps(per(|s| s.obytes)),
            drops: per(|s| s.dropped),
            busy: if polls > 0.0 {
                (full * 100.0 / polls).clamp(0.0, 100.0)
            } else {
                0.0
            },
        }
    }

    fn text(&self, lcore: u8, task: &str) -> String {
        let Self {
            loops,
            rx_pps,
            rx_mbps,
            tx_pps,
            tx_mbps,
            drops,
            busy,
        } = self;
        let name = format!("cpu{lcore}");
        format!(
            "{name:<6} {task:<7} {loops:>10.0} {rx_pps:>10.0} {rx_mbps:>10.2} {tx_pps:>10.0} \
             {tx_mbps:>10.2} {drops:>10.0} {busy:>4.0}%\n"
        )
    }

    fn value(&self, lcore: u8, task: &str) -> Value {
        json!({
            "cpu": lcore,
            "role": task,
            "loops": self.loops,
            "rx_pps": self.rx_pps,
            "rx_mbps": self.rx_mbps,
            "tx_pps": self.tx_pps,
            "tx_mbps": self.tx_mbps,
            "drops_pps": self.drops,
            "busy_percent": self.busy,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports() {
        let before = NicStats::default();
        let after = NicStats {
            ipackets: 3000,
            ibytes: 250_000,
            opackets: 100,
            imissed: 4,
            ierrors: 1,
            rx_nombuf: 1,
            ..before
        };
        let rates = Port::between(&before, &after, 2.0);
        assert_eq!(
            port_heading() + &rates.text("dpdk0"),
            "device                rx/pps     rx/Mbps      tx/pps     tx/Mbps    missed/s    errors/s\n\
             dpdk0                   1500        1.00          50        0.00           2           1\n"
        );
        assert_eq!(rates.value("dpdk0")["rx_mbps"], json!(1.0));
        // The daemon was started again.
        assert_eq!(Port::between(&after, &before, 1.0), Port::default());
    }

    #[test]
    fn lcores() {
        let before = LcoreStats::default();
        let after = LcoreStats {
            lcore_loop: 100,
            pktburst: 200,
            zpktburst: 150,
            ipackets: 1000,
            dropped: 10,
            ..before
        };
        let rates = Lcore::between(&before, &after, 1.0);
        assert_eq!(
            lcore_heading() + &rates.text(3, "worker"),
            "cpu    role       loops/s     rx/pps    rx/Mbps     tx/pps    tx/Mbps    drops/s  busy\n\
             cpu3   worker         100       1000       0.00          0       0.00         10   25%\n"
        );
        assert_eq!(Lcore::between(&before, &before, 1.0).busy, 0.0);
    }
}
