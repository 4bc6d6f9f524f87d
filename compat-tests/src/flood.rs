//! Spoofed SYNs at a rate, and honest clients beside them.
//!
//! The SYNs come from addresses nobody has and a hardware address nobody has, so
//! that what answers them ends on the wire. The clients are plain sockets: one
//! request on a connection of its own, again and again.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::frames::{Mac, Tcp, Wire, ethernet, flag, ipv4, ipv6, proto};
use crate::netns::Netns;

/// Sends every so often what is due by then.
const TICK: Duration = Duration::from_millis(2);

/// A SYN to `vip` from the `n`th made-up source.
///
/// # Panics
/// Never: every `n` gives one.
#[must_use]
pub fn spoofed(to: Mac, vip: SocketAddr, n: u64) -> Vec<u8> {
    // Any number that is not the one before.
    let noise = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let [a, b, c, d, e, f, g, h] = noise.to_be_bytes();
    let syn = Tcp {
        sport: 1024 + (u16::from_be_bytes([c, d]) >> 1),
        dport: vip.port(),
        seq: u32::from_be_bytes([e, f, g, h]),
        ack: 0,
        flags: flag::SYN,
        options: &[2, 4, 5, 0xb4, 4, 2, 1, 1],
        data: &[],
    };
    let smac = [2, 0xf, a, b, c, d];
    match vip.ip() {
        IpAddr::V4(vip) => {
            let src = [198, 18 | a & 1, b, c];
            let segment = syn.build(&src, &vip.octets());
            let packet = ipv4(src.into(), vip, proto::TCP, &segment);
            ethernet(to, smac, 0x0800, &packet)
        }
        IpAddr::V6(vip) => {
            let src = [0x20, 1, 0xd, 0xb8, 0xf, 0, 0, 0, a, b, c, d, e, f, g, h];
            let segment = syn.build(&src, &vip.octets());
            let packet = ipv6(src.into(), vip, proto::TCP, &segment);
            ethernet(to, smac, 0x86dd, &packet)
        }
    }
}

/// Sends spoofed SYNs to `vip`, `rate` a second, until told to stop; says how many
/// went.
///
/// # Errors
/// When the wire fails.
pub fn flood(wire: &Wire, to: Mac, vip: SocketAddr, rate: u64, stop: &AtomicBool) -> Result<u64> {
    let (start, mut sent) = (Instant::now(), 0);
    while !stop.load(Ordering::Relaxed) {
        let due = start.elapsed().as_micros() as u64 * rate / 1_000_000;
        // What could not be sent in time is not made up for in one go.
        sent = sent.max(due.saturating_sub(rate / 10));
        while sent < due {
            // A full queue is the flood's loss.
            let _ = wire.send(&spoofed(to, vip, sent));
            sent += 1;
        }
        std::thread::sleep(TICK);
    }
    Ok(sent)
}

/// What became of the connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Requests that were answered.
    pub ok: u64,
    /// The others.
    pub failed: u64,
}

impl Outcome {
    /// The share of those that were answered.
    #[must_use]
    pub fn share(&self) -> f64 {
        self.ok as f64 / (self.ok + self.failed).max(1) as f64
    }
}

/// One request on a connection of its own.
fn request(vip: SocketAddr, patience: Duration) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&vip, patience)?;
        stream.set_read_timeout(Some(patience))?;
        stream.write_all(b"GET / HTTP/1.0\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer.starts_with(b"HTTP/1.1 200"))
    };
    ask().unwrap_or(false)
}

/// Requests from `ns`, `rate` a second by so many threads, for so long. One that
/// takes longer than `patience` has failed.
///
/// # Errors
/// When the namespace cannot be entered.
pub fn clients(
    ns: &Netns,
    vip: SocketAddr,
    rate: u64,
    threads: u64,
    time: Duration,
    patience: Duration,
) -> Result<Outcome> {
    let (ok, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    let start = Instant::now();
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads)
            .map(|t| {
                let (ok, failed) = (&ok, &failed);
                scope.spawn(move || -> Result<()> {
                    ns.move_thread()?;
                    let mut n = t;
                    loop {
                        let due = Duration::from_micros(n * 1_000_000 / rate.max(1));
                        if due >= time {
                            return Ok(());
                        }
                        std::thread::sleep(due.saturating_sub(start.elapsed()));
                        let count = if request(vip, patience) { ok } else { failed };
                        count.fetch_add(1, Ordering::Relaxed);
                        n += threads;
                    }
                })
            })
            .collect();
        all.into_iter().try_for_each(|t| {
            t.join()
                .unwrap_or_else(|_| Err(Error::new("a client panicked")))
        })
    })?;
    Ok(Outcome {
        ok: ok.into_inner(),
        failed: failed.into_inner(),
    })
}

/// Clients at a rate while SYNs come at another: what became of the connections, and
/// how many SYNs were sent.
///
/// # Errors
/// As [`flood`] and [`clients`].
pub fn beside(
    ns: &Netns,
    wire: &Wire,
    to: Mac,
    vip: SocketAddr,
    (clients_rate, flood_rate): (u64, u64),
    time: Duration,
) -> Result<(Outcome, u64)> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| flood(wire, to, vip, flood_rate, &stop));
        // The flood is there first.
        std::thread::sleep(Duration::from_millis(300));
        let outcome = clients(ns, vip, clients_rate, 16, time, Duration::from_secs(3));
        stop.store(true, Ordering::Relaxed);
        let sent = flood
            .join()
            .unwrap_or_else(|_| Err(Error::new("the flood panicked")))?;
        Ok((outcome?, sent))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spoofed_syns_differ_and_have_their_lengths() {
        let mac = [2; 6];
        for (vip, len) in [
            ("192.0.2.10:80", 14 + 20 + 28),
            ("[2001:db8::1]:80", 14 + 40 + 28),
        ] {
            let vip = vip.parse().unwrap();
            let all: std::collections::HashSet<_> =
                (0..1000).map(|n| spoofed(mac, vip, n)).collect();
            assert_eq!(all.len(), 1000);
            assert!(all.iter().all(|f| f.len() == len && f[6] & 1 == 0));
        }
    }

    #[test]
    fn shares() {
        let outcome = Outcome { ok: 95, failed: 5 };
        assert!((outcome.share() - 0.95).abs() < 1e-9);
        assert!(Outcome::default().share() < 1e-9);
    }
}
