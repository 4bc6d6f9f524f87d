//! Frames for whoever looks on: captures (`dpip capture`) and traffic statistics
//! (`dpip iftraf`).
//!
//! The lcores look at one word a burst; only while it says so they copy what is
//! wanted into a bounded channel, never waiting for who reads it. Knows no DPDK and
//! no control socket.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use dpvs_core::frame::{Frame, PortId};

/// Frames that wait to be read, at most.
const WAITING: usize = 8192;
/// Samples that wait to be counted, at most.
const SAMPLES: usize = 4096;
/// One packet of so many is sampled.
pub const SAMPLED: u32 = 1024;
/// What a filter and a sample look at.
const LOOK: usize = 96;

const CAPTURE: u32 = 1;
const FLOWS: u32 = 2;

/// Which frames a capture takes; what is not given matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Port.
    pub port: Option<PortId>,
    /// Id of the VLAN they are tagged for.
    pub vlan: Option<u16>,
    /// Received ones.
    pub received: bool,
    /// Sent ones.
    pub sent: bool,
    /// IP protocol.
    pub proto: Option<u8>,
    /// Source or destination.
    pub host: Option<IpAddr>,
    /// Source or destination port of TCP, UDP or SCTP.
    pub l4_port: Option<u16>,
    /// Most bytes of a frame that are kept.
    pub snaplen: u32,
}

/// A copy of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Device.
    pub port: PortId,
    /// It was sent, not received.
    pub sent: bool,
    /// Nanoseconds since 1970.
    pub at: u64,
    /// Its whole length.
    pub len: u32,
    /// Its first bytes.
    pub bytes: Box<[u8]>,
}

/// Addresses and ports of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Source.
    pub src: IpAddr,
    /// Destination.
    pub dst: IpAddr,
    /// IP protocol.
    pub proto: u8,
    /// Source port, 0 where there is none.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
}

/// A sampled packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Device.
    pub port: PortId,
    /// It was sent, not received.
    pub sent: bool,
    /// Lcore's worker.
    pub worker: u8,
    /// Length of the frame.
    pub len: u32,
    /// Whose it is.
    pub flow: Flow,
}

impl Flow {
    /// Of a frame's first bytes; `None` if it is no IP packet.
    #[must_use]
    pub fn of(frame: &[u8]) -> Option<Self> {
        let mut at = 12;
        let mut kind = frame.get(at..at + 2)?;
        while kind == [0x81, 0] || kind == [0x88, 0xa8] {
            at += 4;
            kind = frame.get(at..at + 2)?;
        }
        let ip = frame.get(at + 2..)?;
        let (src, dst, proto, l4, first): (IpAddr, IpAddr, u8, usize, bool) = match kind {
            [8, 0] => {
                let addr = |at: usize| Some(<[u8; 4]>::try_from(ip.get(at..at + 4)?).ok()?.into());
                let fragment = u16::from_be_bytes([*ip.get(6)?, *ip.get(7)?]) & 0x1fff;
                let header = usize::from(ip.first()? & 15) * 4;
                (addr(12)?, addr(16)?, *ip.get(9)?, header, fragment == 0)
            }
            [0x86, 0xdd] => {
                let addr =
                    |at: usize| Some(<[u8; 16]>::try_from(ip.get(at..at + 16)?).ok()?.into());
                (addr(8)?, addr(24)?, *ip.get(6)?, 40, true)
            }
            _ => return None,
        };
        let port = |at: usize| {
            let word = ip.get(l4 + at..l4 + at + 2)?;
            Some(u16::from_be_bytes([word[0], word[1]]))
        };
        let ported = first && matches!(proto, 6 | 17 | 132);
        Some(Self {
            src,
            dst,
            proto,
            sport: if ported { port(0).unwrap_or(0) } else { 0 },
            dport: if ported { port(2).unwrap_or(0) } else { 0 },
        })
    }
}

impl Filter {
    fn takes(&self, port: PortId, sent: bool, frame: &[u8]) -> bool {
        if self.port.is_some_and(|p| p != port) || !(if sent { self.sent } else { self.received }) {
            return false;
        }
        // Tags are not taken off yet, or put on already.
        let tag = match frame.get(12..16) {
            Some([0x81, 0, high, low]) => u16::from_be_bytes([*high, *low]) & 0x0fff,
            _ => 0,
        };
        if self.vlan.is_some_and(|id| id != tag) {
            return false;
        }
        if self.proto.is_none() && self.host.is_none() && self.l4_port.is_none() {
            return true;
        }
        let Some(flow) = Flow::of(frame) else {
            return false;
        };
        self.proto.is_none_or(|p| p == flow.proto)
            && self.host.is_none_or(|h| h == flow.src || h == flow.dst)
            && self
                .l4_port
                .is_none_or(|p| p == flow.sport || p == flow.dport)
    }
}

/// What an lcore keeps: which packet it samples next.
#[derive(Debug, Default)]
pub struct Sampler {
    passed: [u32; 2],
}

/// Shared by the lcores and the master.
#[derive(Debug)]
pub struct Watch {
    on: AtomicU32,
    lost: AtomicU64,
    filter: RwLock<Option<Arc<Filter>>>,
    frames: (SyncSender<Seen>, Mutex<Receiver<Seen>>),
    samples: (SyncSender<Sample>, Mutex<Receiver<Sample>>),
}

impl Default for Watch {
    fn default() -> Self {
        let (frames, seen) = sync_channel(WAITING);
        let (samples, sampled) = sync_channel(SAMPLES);
        Self {
            on: AtomicU32::new(0),
            lost: AtomicU64::new(0),
            filter: RwLock::new(None),
            frames: (frames, Mutex::new(seen)),
            samples: (samples, Mutex::new(sampled)),
        }
    }
}

impl Watch {
    /// Whether anybody looks on.
    #[inline]
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed) != 0
    }

    /// Looks at frames that a worker received by `port` or is about to send.
    #[cold]
    #[inline(never)]
    pub fn look<'a, F: Frame + 'a>(
        &self,
        worker: u8,
        port: PortId,
        sent: bool,
        frames: impl Iterator<Item = &'a F>,
        sampler: &mut Sampler,
    ) {
        let on = self.on.load(Ordering::Relaxed);
        let filter = if on & CAPTURE != 0 {
            // Somebody changes it: nothing is captured this time.
            self.filter.try_read().ok().and_then(|f| f.clone())
        } else {
            None
        };
        for frame in frames {
            let passed = &mut sampler.passed[usize::from(sent)];
            *passed = passed.wrapping_add(1);
            let sample = on & FLOWS != 0 && passed.is_multiple_of(SAMPLED);
            if filter.is_none() && !sample {
                continue;
            }
            let len = frame.total_len();
            let mut head = [0; LOOK];
            let head = &mut head[..len.min(LOOK)];
            if !frame.read(0, head) {
                continue;
            }
            if let Some(filter) = filter.as_deref().filter(|f| f.takes(port, sent, head)) {
                let mut bytes = vec![0; len.min(filter.snaplen as usize)];
                let whole = frame.read(0, &mut bytes);
                let seen = Seen {
                    port,
                    sent,
                    at: nanos(),
                    len: len as u32,
                    bytes: bytes.into(),
                };
                if !whole || self.frames.0.try_send(seen).is_err() {
                    self.lost.fetch_add(1, Ordering::Relaxed);
                }
            }
            if sample && let Some(flow) = Flow::of(head) {
                let sample = Sample {
                    port,
                    sent,
                    worker,
                    len: len as u32,
                    flow,
                };
                let _ = self.samples.0.try_send(sample);
            }
        }
    }

    /// Begins a capture, in place of the one before.
    pub fn capture(&self, filter: Filter) {
        self.end_capture();
        *self.filter.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(filter));
        self.on.fetch_or(CAPTURE, Ordering::Relaxed);
    }

    /// Ends the capture; what nobody has read is forgotten.
    pub fn end_capture(&self) {
        self.on.fetch_and(!CAPTURE, Ordering::Relaxed);
        *self.filter.write().unwrap_or_else(PoisonError::into_inner) = None;
        while self.next().is_some() {}
        self.lost.store(0, Ordering::Relaxed);
    }

    /// The next captured frame that is there.
    pub fn next(&self) -> Option<Seen> {
        let frames = self.frames.1.lock();
        frames
            .unwrap_or_else(PoisonError::into_inner)
            .try_recv()
            .ok()
    }

    /// Frames that were wanted and had no place, since the capture began.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Starts or ends sampling.
    pub fn sample(&self, on: bool) {
        if on {
            self.on.fetch_or(FLOWS, Ordering::Relaxed);
        } else {
            self.on.fetch_and(!FLOWS, Ordering::Relaxed);
        }
    }

    /// The next sample that is there.
    pub fn sampled(&self) -> Option<Sample> {
        let samples = self.samples.1.lock();
        samples
            .unwrap_or_else(PoisonError::into_inner)
            .try_recv()
            .ok()
    }
}

fn nanos() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|d| u64::try_from(d.as_nanos()).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use dpvs_core::frame::HeapFrame;

    use super::*;

    fn frame(proto: u8, sport: u16, dport: u16, len: usize) -> HeapFrame {
        let mut b = vec![0; 12];
        b.extend([8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, proto, 0, 0]);
        b.extend([192, 0, 2, 1, 10, 0, 0, 1]);
        b.extend(sport.to_be_bytes());
        b.extend(dport.to_be_bytes());
        b.resize(len, 0x77);
        HeapFrame::new(&b)
    }

    fn all() -> Filter {
        Filter {
            received: true,
            sent: true,
            snaplen: 65536,
            ..Filter::default()
        }
    }

    fn look(watch: &Watch, port: u16, sent: bool, frames: &[HeapFrame]) {
        let mut sampler = Sampler::default();
        watch.look(0, PortId(port), sent, frames.iter(), &mut sampler);
    }

    #[test]
    fn takes_what_the_filter_names_and_cuts_it() {
        let watch = Watch::default();
        assert!(!watch.is_on());
        let mut arp = vec![0; 60];
        arp[12..14].copy_from_slice(&[8, 6]);
        let frames = [
            frame(6, 1000, 80, 100),
            frame(17, 53, 2000, 100),
            frame(17, 2000, 53, 900),
            HeapFrame::new(&arp),
        ];
        let mut tagged = frame(17, 53, 2000, 100).data().to_vec();
        tagged.splice(12..12, [0x81, 0, 0x60, 100]);
        watch.capture(Filter {
            vlan: Some(100),
            l4_port: Some(53),
            ..all()
        });
        tagged[15] = 101;
        let other = HeapFrame::new(&tagged);
        tagged[15] = 100;
        look(&watch, 3, false, &[other, HeapFrame::new(&tagged)]);
        look(&watch, 3, false, &frames);
        assert_eq!(watch.next().map(|seen| seen.bytes.into_vec()), Some(tagged));
        assert_eq!(watch.next(), None);
        let cases = [
            (all(), vec![100, 100, 900, 60]),
            (
                Filter {
                    proto: Some(17),
                    ..all()
                },
                vec![100, 900],
            ),
            (
                Filter {
                    l4_port: Some(53),
                    ..all()
                },
                vec![100, 900],
            ),
            (
                Filter {
                    l4_port: Some(80),
                    ..all()
                },
                vec![100],
            ),
            (
                Filter {
                    host: "10.0.0.1".parse().ok(),
                    ..all()
                },
                vec![100, 100, 900],
            ),
            (
                Filter {
                    host: "10.0.0.2".parse().ok(),
                    ..all()
                },
                vec![],
            ),
            (
                Filter {
                    port: Some(PortId(4)),
                    ..all()
                },
                vec![],
            ),
            (
                Filter {
                    received: false,
                    ..all()
                },
                vec![],
            ),
        ];
        for (filter, want) in cases {
            watch.capture(filter.clone());
            assert!(watch.is_on());
            look(&watch, 3, false, &frames);
            let got: Vec<u32> = std::iter::from_fn(|| watch.next()).map(|s| s.len).collect();
            assert_eq!(got, want, "{filter:?}");
        }
        watch.capture(Filter {
            snaplen: 64,
            ..all()
        });
        look(&watch, 3, true, &frames[2..3]);
        let seen = watch.next().unwrap();
        assert_eq!((seen.len, seen.bytes.len(), seen.sent), (900, 64, true));
        watch.end_capture();
        assert!(!watch.is_on());
    }

    #[test]
    fn keeps_no_more_than_it_has_room_for() {
        let watch = Watch::default();
        watch.capture(all());
        let frames: Vec<_> = (0..32).map(|_| frame(6, 1, 2, 60)).collect();
        for _ in 0..WAITING / 32 + 10 {
            look(&watch, 0, false, &frames);
        }
        assert_eq!(watch.lost(), 320);
        assert_eq!(std::iter::from_fn(|| watch.next()).count(), WAITING);
    }

    #[test]
    fn one_packet_of_many_is_sampled() {
        let watch = Watch::default();
        watch.sample(true);
        let frames = [frame(17, 7, 53, 200)];
        let mut sampler = Sampler::default();
        for _ in 0..10 * SAMPLED {
            watch.look(2, PortId(1), false, frames.iter(), &mut sampler);
        }
        let got: Vec<Sample> = std::iter::from_fn(|| watch.sampled()).collect();
        assert_eq!(got.len(), 10);
        assert_eq!((got[0].flow.dport, got[0].len, got[0].worker), (53, 200, 2));
        watch.sample(false);
        assert!(!watch.is_on());
    }
}
