//! Connection set-up and teardown of the forwarding logic alone, on heap frames.
//!
//!     setup_bench udp|syn N      N new flows into an untouched table, and again
//!                                after all of them have ended
//!     setup_bench life N [LIVE]  N whole TCP lives (eight packets in both
//!                                directions), LIVE of them open at a time; ended
//!                                ones leave by their time-outs meanwhile
//!     setup_bench expire N       N connections that end at the same moment
//!     setup_bench churn N [PPM]  packets of N connections in random order, with
//!                                and without PPM parts per million of N made and
//!                                ended in a second
//!
//! One JSON line each. Time is what passes inside `process` and `tick`; making and
//! reading frames is not counted. The worker's clock is simulated. A scheduler's
//! name in SCHED chooses it (wrr).
#![allow(clippy::unwrap_used)]

mod rig;

use std::time::{Duration, Instant};

use dpvs_core::frame::{BURST, Burst, Now, PortId, empty_burst};
use dpvs_core::service::SchedKind;
use dpvs_core::worker::Worker;

use rig::{Ends, Pool, Slot, write};

const SYN: u8 = 2;
const ACK: u8 = 16;
const FIN: u8 = 1;
const PSH: u8 = 8;

struct Bench {
    worker: Worker<Slot>,
    io: Pool,
    burst: Burst<Slot>,
    /// Simulated microseconds.
    now: f64,
    spent: Duration,
    packets: u64,
    longest: Duration,
}

impl Bench {
    fn new(conns: usize, tcp: bool, conn_timeout: u32) -> Self {
        let sched = std::env::var("SCHED").unwrap_or_else(|_| "wrr".into());
        let sched = SchedKind::from_name(&sched).unwrap();
        let mut io = Pool::new();
        let worker = rig::worker(conns, tcp, sched, conn_timeout, &mut io);
        Self {
            worker,
            io,
            burst: empty_burst(),
            now: 1_000_000.0,
            spent: Duration::ZERO,
            packets: 0,
            longest: Duration::ZERO,
        }
    }

    fn reset(&mut self) {
        self.spent = Duration::ZERO;
        self.packets = 0;
        self.longest = Duration::ZERO;
    }

    fn ns_per_packet(&self) -> f64 {
        self.spent.as_nanos() as f64 / self.packets as f64
    }

    /// One burst of frames written by `fill`, and a tick; what is sent is left in
    /// `io.sent`.
    fn burst(&mut self, n: usize, port: PortId, mut fill: impl FnMut(usize, &mut Slot)) {
        self.io.recycle();
        for i in 0..n {
            let mut frame = self.io.take();
            fill(i, &mut frame);
            self.burst[i] = Some(frame);
        }
        let now = Now(self.now as u64);
        let begin = Instant::now();
        self.worker
            .process(port, &mut self.burst, n, now, &mut self.io);
        self.worker.tick(now, &mut self.io);
        let took = begin.elapsed();
        self.spent += took;
        self.longest = self.longest.max(took);
        self.packets += n as u64;
    }

    fn tick(&mut self) -> Duration {
        let now = Now(self.now as u64);
        let begin = Instant::now();
        self.worker.tick(now, &mut self.io);
        begin.elapsed()
    }

    /// `n` new flows from number `first` on.
    fn newcomers(&mut self, first: u32, n: u32, flags: Option<u8>, us_each: f64) {
        for at in (first..first + n).step_by(BURST) {
            self.now += us_each * BURST as f64;
            self.burst(BURST, PortId(0), |i, f| {
                write(f, Ends::client(at + i as u32), flags, false);
            });
            // Connections that end in these ticks may be told so.
            assert!(self.io.sent.len() >= BURST, "every packet is sent");
        }
    }

    /// Lets everything end; milliseconds of work and the times of all ticks.
    fn drain(&mut self, seconds: f64) -> Vec<Duration> {
        self.now += seconds * 1e6;
        let mut ticks = Vec::new();
        while self.worker.conns() > 0 {
            ticks.push(self.tick());
            // A wheel that is far behind moves on by looking at later times too.
            self.now += 1.0;
            assert!(ticks.len() < 100_000_000);
        }
        ticks
    }
}

fn rate(name: &str, n: u32) {
    let flags = (name == "syn").then_some(SYN);
    let mut b = Bench::new(n as usize + 64, flags.is_some(), 0);
    b.newcomers(0, n, flags, 0.2);
    let first = b.ns_per_packet();
    assert_eq!(b.worker.conns(), n.next_multiple_of(BURST as u32) as usize);
    b.drain(400.0);
    b.reset();
    b.newcomers(n, n, flags, 0.2);
    let again = b.ns_per_packet();
    println!(
        "{{\"bench\":\"setup\",\"row\":\"{name}\",\"flows\":{n},\"first_touch_ns\":{first:.1},\"first_touch_mflows\":{:.2},\"ns\":{again:.1},\"mflows\":{:.2}}}",
        1000.0 / first,
        1000.0 / again
    );
}

fn life(n: u32, live: u32) {
    let live = live.next_multiple_of(BURST as u32);
    // A connection rests seven to thirty seconds; one is made every microsecond.
    let room = (10_000_000).min(n as usize) + live as usize + 1024;
    let mut b = Bench::new(room, true, 0);
    let mut back = vec![Ends::default(); live as usize];
    let mut first = 0;
    let mut lives = 0u64;
    let half = n / 2;
    while first < n {
        for (flags, inside) in [
            (SYN, false),
            (SYN | ACK, true),
            (ACK, false),
            (ACK | PSH, false),
            (ACK | PSH, true),
            (FIN | ACK, false),
            (FIN | ACK, true),
            (ACK, false),
        ] {
            let port = PortId(u16::from(inside));
            for at in (0..live).step_by(BURST) {
                b.now += BURST as f64 / 8.0;
                b.burst(BURST, port, |i, f| {
                    let k = at + i as u32;
                    let ends = if inside {
                        back[k as usize]
                    } else {
                        Ends::client(first + k)
                    };
                    write(f, ends, Some(flags), inside);
                });
                assert!(b.io.sent.len() >= BURST, "every packet is sent");
                if flags == SYN {
                    for i in 0..BURST {
                        back[at as usize + i] = Ends::answer_to(&b.io.sent[i]);
                    }
                }
            }
        }
        first += live;
        lives += u64::from(live);
        // The first half fills the table; connections end in the second.
        if first >= half && first - live < half {
            b.reset();
            lives = 0;
        }
    }
    let ns = b.spent.as_nanos() as f64 / lives as f64;
    println!(
        "{{\"bench\":\"setup\",\"row\":\"life\",\"lives\":{n},\"live\":{live},\"ns_per_life\":{ns:.1},\"mlives\":{:.2},\"ns_per_packet\":{:.1},\"conns\":{},\"longest_us\":{:.1}}}",
        1000.0 / ns,
        b.ns_per_packet(),
        b.worker.conns(),
        b.longest.as_nanos() as f64 / 1000.0
    );
}

fn expire(n: u32) {
    let mut b = Bench::new(n as usize + 64, false, 0);
    b.newcomers(0, n, None, 0.0);
    let mut ticks = b.drain(301.0);
    let total: Duration = ticks.iter().sum();
    let ended = ticks.len();
    ticks.sort_unstable();
    let us = |d: Duration| d.as_nanos() as f64 / 1000.0;
    println!(
        "{{\"bench\":\"setup\",\"row\":\"expire\",\"conns\":{n},\"ns_per_conn\":{:.1},\"ticks\":{ended},\"tick_p50_us\":{:.1},\"tick_p999_us\":{:.1},\"tick_max_us\":{:.1}}}",
        total.as_nanos() as f64 / f64::from(n),
        us(ticks[ticks.len() / 2]),
        us(ticks[ticks.len() * 999 / 1000]),
        us(ticks[ticks.len() - 1]),
    );
}

fn churn(n: u32, ppm: f64) {
    const TIMEOUT: u32 = 20;
    let per_second = f64::from(n) * ppm / 1e6;
    let room = n as usize + (per_second * f64::from(TIMEOUT + 4)) as usize + 1024;
    let mut b = Bench::new(room, false, TIMEOUT);
    b.newcomers(0, n, None, 0.0);
    let mut x = 0x9e37_79b9u32;
    let mut random = move || {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        ((u64::from(x) * u64::from(n)) >> 32) as u32
    };
    let mut next = n;
    let mut run = |b: &mut Bench, per_second: f64, seconds: f64| {
        b.reset();
        let mut due = 0.0;
        while b.spent.as_secs_f64() < seconds {
            let was = b.spent;
            b.burst(BURST, PortId(0), |_, f| {
                let flow = if due >= 1.0 {
                    due -= 1.0;
                    next += 1;
                    next
                } else {
                    random()
                };
                write(f, Ends::client(flow), None, false);
            });
            let took = (b.spent - was).as_secs_f64();
            b.now += took * 1e6;
            due += took * per_second;
        }
        b.ns_per_packet()
    };
    // Two time-outs long, so that the churned end as fast as they are made.
    let quiet = run(&mut b, 0.0, 2.0);
    run(&mut b, per_second, f64::from(TIMEOUT) * 1.2);
    let busy = run(&mut b, per_second, 4.0);
    println!(
        "{{\"bench\":\"setup\",\"row\":\"churn\",\"live\":{n},\"new_per_second\":{per_second},\"quiet_ns\":{quiet:.1},\"churn_ns\":{busy:.1},\"cost_percent\":{:.1},\"conns\":{},\"longest_us\":{:.1}}}",
        (busy / quiet - 1.0) * 100.0,
        b.worker.conns(),
        b.longest.as_nanos() as f64 / 1000.0
    );
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, d: u32| args.get(i).map_or(d, |a| a.parse().unwrap());
    match args.first().map(String::as_str) {
        Some(name @ ("udp" | "syn")) => rate(name, number(1, 1_000_000)),
        Some("life") => life(number(1, 4_000_000), number(2, 1024)),
        Some("expire") => expire(number(1, 1_000_000)),
        Some("churn") => churn(number(1, 1_000_000), f64::from(number(2, 10_000))),
        _ => panic!("udp, syn, life, expire or churn; see the file's head"),
    }
}
