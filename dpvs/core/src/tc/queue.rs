//! One queue scheduler of a worker: what waits, and what goes when.
//!
//! Knows frames by their length and type of service only. Room is made when it is
//! configured; a frame for which there is none is dropped at the tail.

use std::collections::VecDeque;

use crate::frame::Frame;
use crate::limit::{Bucket, Rate};

use super::look::Look;
use super::{Qsch, QschKind, QschStats, SLOTS};

/// Bands of pfifo_fast by the type of service's four bits.
const BANDS: [usize; 16] = [1, 2, 2, 2, 1, 2, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1];
/// Bytes of an Ethernet header.
const ETH: u32 = 14;
/// Shortest frame.
const SHORTEST: u32 = 60;

/// A rate with its bucket.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    rate: Rate,
    bucket: Bucket,
}

impl Pace {
    fn set(&mut self, rate: Rate, now: u64) {
        if rate != self.rate {
            self.rate = rate;
            self.bucket = Bucket::full(&rate, now);
        }
    }

    fn has(&self, bits: u64) -> bool {
        self.rate.per_second == 0 || self.bucket.has(&self.rate, bits)
    }

    fn take(&mut self, bits: u64) {
        if self.rate.per_second > 0 {
            self.bucket.take(&self.rate, bits);
        }
    }
}

/// A scheduler at work.
pub(super) struct Queue<F> {
    pub uid: u64,
    kind: QschKind,
    bands: [VecDeque<F>; 3],
    stats: QschStats,
    pace: Pace,
    peak: Pace,
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
            pace: Pace::default(),
            peak: Pace::default(),
            longest: u32::MAX,
        }
    }

    /// Takes the parameters of a scheduler; what waits stays.
    pub(super) fn configure(&mut self, qsch: &Qsch, me: u32, workers: u32, mtu: u16, now: u64) {
        self.kind = qsch.kind;
        self.longest = u32::MAX;
        let frame = u64::from(u32::from(mtu) + ETH) * 8;
        let (mut pace, mut peak) = (Rate::default(), Rate::default());
        if let QschKind::Tbf {
            rate,
            burst,
            peak: peakrate,
            mtu,
            ..
        } = qsch.kind
        {
            // DIFFERS: DPVS's workers take from one pool of tokens; here each has
            // its part of the rate.
            let bits = |bytes: u32| u64::from(bytes) * 8;
            pace = Rate::new(rate.into(), bits(burst), 1).share(me, workers, frame);
            self.longest = burst;
            if peakrate > 0 {
                peak = Rate::new(peakrate.into(), bits(mtu).max(frame), 1);
                peak = peak.share(me, workers, frame);
            }
        }
        self.pace.set(pace, now);
        self.peak.set(peak, now);
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

    /// Counts a frame a classifier drops.
    pub(super) fn refuse(&mut self) {
        self.stats.drops = self.stats.drops.wrapping_add(1);
    }

    /// Puts a frame in, or drops it: false then.
    pub(super) fn put(&mut self, frame: F, now: u64) -> bool {
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
        if self.stats.qlen == 0 {
            self.refill(now);
        }
        self.bands[band].push_back(frame);
        self.stats.qlen += 1;
        self.stats.backlog += len;
        true
    }

    /// Puts into the buckets what time has brought.
    pub(super) fn refill(&mut self, now: u64) {
        for pace in [&mut self.pace, &mut self.peak] {
            pace.bucket.refill(&pace.rate, now);
        }
    }

    /// The next frame whose time has come.
    pub(super) fn take(&mut self) -> Option<F> {
        let band = self.bands.iter_mut().find(|b| !b.is_empty())?;
        let len = band.front()?.total_len() as u32;
        let bits = u64::from(len) * 8;
        if !self.pace.has(bits) || !self.peak.has(bits) {
            self.stats.overlimits = self.stats.overlimits.wrapping_add(1);
            return None;
        }
        let frame = band.pop_front()?;
        self.pace.take(bits);
        self.peak.take(bits);
        self.stats.qlen -= 1;
        self.stats.backlog -= len;
        self.stats.packets = self.stats.packets.wrapping_add(1);
        self.stats.bytes += u64::from(len);
        Some(frame)
    }
}
