//! One queue scheduler of a worker: what waits, and what goes when.
//!
//! Knows frames by their length and type of service only. Room is made when it is
//! configured; a frame for which there is none is dropped at the tail.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::frame::Frame;
use crate::tokens::{Loan, Rate, Tokens};

use super::look::Look;
use super::{Qsch, QschKind, QschStats, SLOTS};

/// Bands of pfifo_fast by the type of service's four bits.
const BANDS: [usize; 16] = [1, 2, 2, 2, 1, 2, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1];
/// Bytes of an Ethernet header.
const ETH: u32 = 14;
/// Shortest frame.
const SHORTEST: u32 = 60;

/// A rate, and what is borrowed of its bucket.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    rate: Rate,
    /// Borrowed at a time.
    batch: u64,
    loan: Loan,
}

impl Pace {
    fn has(&mut self, bucket: &Tokens, bits: u64, now: u64) -> bool {
        self.rate.per_second == 0 || self.loan.has(bucket, &self.rate, bits, self.batch, now)
    }

    fn take(&mut self, bits: u64) {
        if self.rate.per_second > 0 {
            self.loan.take(&self.rate, bits);
        }
    }
}

/// A scheduler at work.
pub(super) struct Queue<F> {
    pub uid: u64,
    kind: QschKind,
    bands: [VecDeque<F>; 3],
    stats: QschStats,
    /// At the rate, and at the peak rate.
    paces: [Pace; 2],
    tokens: Arc<[Tokens; 2]>,
    /// Frames longer than this never fit through.
    longest: u32,
}

impl<F: Frame> Queue<F> {
    pub(super) fn new(uid: u64) -> Self {
        Self {
            uid,
            kind: QschKind::Pfifo { limit: 0 },
            bands: [const { VecDeque::new() }; 3],
            stats: QschStats {
                uid,
                ..QschStats::default()
            },
            paces: <[Pace; 2]>::default(),
            tokens: Arc::default(),
            longest: u32::MAX,
        }
    }

    /// Takes the parameters of a scheduler; what waits stays.
    pub(super) fn configure(&mut self, qsch: &Qsch, workers: u32, mtu: u16) {
        self.kind = qsch.kind;
        self.longest = u32::MAX;
        let mut rates = <[Rate; 2]>::default();
        let frame = u64::from(u32::from(mtu) + ETH) * 8;
        if let QschKind::Tbf {
            rate,
            burst,
            peak,
            mtu,
            ..
        } = qsch.kind
        {
            let bits = |bytes: u32| u64::from(bytes) * 8;
            rates[0] = Rate::new(rate.into(), bits(burst), 1);
            self.longest = burst;
            if peak > 0 {
                rates[1] = Rate::new(peak.into(), bits(mtu).max(frame), 1);
            }
        }
        let same = Arc::ptr_eq(&self.tokens, &qsch.tokens);
        for (i, (pace, rate)) in self.paces.iter_mut().zip(rates).enumerate() {
            // A loan goes back to where it came from.
            if !same || pace.rate != rate {
                pace.loan.end(&self.tokens[i], &pace.rate);
            }
            pace.rate = rate;
            // As much as a frame, or one with small frames would never let the
            // bucket get full enough for the other's large ones.
            let least = if workers > 1 {
                frame.min(rate.burst / 4)
            } else {
                0
            };
            pace.batch = rate.batch(workers).max(least);
        }
        self.tokens = Arc::clone(&qsch.tokens);
        let slots = self.slots();
        for (i, band) in self.bands.iter_mut().enumerate() {
            let used = i == 1 || matches!(qsch.kind, QschKind::PfifoFast { .. });
            let want = if used { slots } else { 0 };
            band.reserve(want.saturating_sub(band.len()));
        }
    }

    /// Most frames that may wait.
    fn slots(&self) -> usize {
        let slots = match self.kind {
            QschKind::Pfifo { limit } | QschKind::PfifoFast { limit } => limit,
            QschKind::Bfifo { limit } | QschKind::Tbf { limit, .. } => limit.div_ceil(SHORTEST),
        };
        (slots as usize).min(SLOTS)
    }

    /// Bytes that may wait.
    fn room(&self) -> u32 {
        match self.kind {
            QschKind::Pfifo { .. } | QschKind::PfifoFast { .. } => u32::MAX,
            QschKind::Bfifo { limit } | QschKind::Tbf { limit, .. } => limit,
        }
    }

    pub(super) fn stats(&self) -> QschStats {
        self.stats
    }

    /// Frames in it.
    pub(super) fn waiting(&self) -> u64 {
        self.stats.qlen.into()
    }

    /// Counts a frame a classifier drops.
    pub(super) fn refuse(&mut self) {
        self.stats.drops = self.stats.drops.wrapping_add(1);
    }

    /// Puts a frame in, or drops it: false then.
    pub(super) fn put(&mut self, frame: F) -> bool {
        let len = frame.total_len() as u32;
        let full = self.stats.qlen as usize >= self.slots()
            || self.stats.backlog.saturating_add(len) > self.room()
            || len > self.longest;
        if full {
            self.refuse();
            return false;
        }
        let band = match self.kind {
            QschKind::PfifoFast { .. } => Look::of(&frame)
                .tos
                .map_or(1, |tos| BANDS[usize::from(tos >> 1 & 15)]),
            _ => 1,
        };
        self.bands[band].push_back(frame);
        self.stats.qlen += 1;
        self.stats.backlog += len;
        true
    }

    /// The next frame whose time has come.
    pub(super) fn take(&mut self, now: u64) -> Option<F> {
        let band = self.bands.iter_mut().find(|b| !b.is_empty())?;
        let len = band.front()?.total_len() as u32;
        let bits = u64::from(len) * 8;
        let mut paces = self.paces.iter_mut().zip(&*self.tokens);
        if !paces.all(|(pace, bucket)| pace.has(bucket, bits, now)) {
            self.stats.overlimits = self.stats.overlimits.wrapping_add(1);
            return None;
        }
        let frame = band.pop_front()?;
        for pace in &mut self.paces {
            pace.take(bits);
        }
        self.stats.qlen -= 1;
        self.stats.backlog -= len;
        self.stats.packets = self.stats.packets.wrapping_add(1);
        self.stats.bytes += u64::from(len);
        Some(frame)
    }
}
