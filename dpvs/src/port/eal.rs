//! DPDK's environment: started once a process, then a token other calls ask for.
//!
//! Knows lcores, sockets and the clock; does not know what runs on an lcore. A
//! closure that panics on an lcore ends the process: C must not be unwound
//! through, and a director with a dead worker is worse than a restarted one.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use dpdk_sys as sys;
use dpvs_core::frame::Now;

use super::error::{Error, Result};

static STARTED: AtomicBool = AtomicBool::new(false);

/// Proof that the environment runs. It runs until the process ends.
#[derive(Clone, Debug)]
pub struct Eal {
    lcores: Vec<u32>,
    main: u32,
}

impl Eal {
    /// Starts the environment. `args` are EAL's options, without a program
    /// name. EAL prints its own diagnostics (and usage) on a bad option, so
    /// check your own options first.
    ///
    /// # Errors
    /// A second start in one process, or EAL's refusal.
    pub fn init<S: AsRef<str>>(args: &[S]) -> Result<Self> {
        let mut argv = vec![c"dpvs".to_owned()];
        for arg in args {
            let arg = arg.as_ref();
            argv.push(
                CString::new(arg)
                    .map_err(|_| Error::new(format!("EAL argument {arg:?} holds a NUL"), 0))?,
            );
        }
        if STARTED.swap(true, Ordering::SeqCst) {
            return Err(Error::new(
                "EAL was already started in this process",
                libc::EALREADY,
            ));
        }
        // EAL keeps pointers into argv (and permutes it): give it memory that
        // is never freed.
        let argv: Vec<*mut c_char> = argv.into_iter().map(CString::into_raw).collect();
        let count = c_int::try_from(argv.len()).unwrap_or(c_int::MAX);
        // SAFETY: `argv` holds `count` writable C strings, leaked on purpose;
        // the guard above makes this the only call.
        let ret = unsafe { sys::rte_eal_init(count, argv.leak().as_mut_ptr()) };
        if ret < 0 {
            return Err(Error::last("DPDK's EAL did not start").hint(
                "see its messages above; without huge pages pass `-- --no-huge --no-shconf -m MB`",
            ));
        }
        // SAFETY: EAL is initialised.
        let main = unsafe { sys::rte_get_main_lcore() };
        let lcores = (0..sys::DPVS_K_MAX_LCORE as u32)
            // SAFETY: EAL is initialised; any number is allowed.
            .filter(|&lcore| unsafe { sys::rte_lcore_is_enabled(lcore) } != 0)
            .collect();
        Ok(Self { lcores, main })
    }

    /// All lcores in ascending order, the main one among them.
    #[must_use]
    pub fn lcores(&self) -> &[u32] {
        &self.lcores
    }

    /// The lcore of the thread that called [`Eal::init`].
    #[must_use]
    pub fn main_lcore(&self) -> u32 {
        self.main
    }

    /// Lcores that can be given a closure, ascending.
    pub fn worker_lcores(&self) -> impl Iterator<Item = u32> + '_ {
        self.lcores
            .iter()
            .copied()
            .filter(|&lcore| lcore != self.main)
    }

    /// NUMA node of an lcore.
    #[must_use]
    pub fn socket_of(&self, lcore: u32) -> u32 {
        // SAFETY: the function checks the range itself.
        unsafe { sys::rte_lcore_to_socket_id(lcore) }
    }

    /// NUMA nodes that have an enabled lcore, ascending.
    #[must_use]
    pub fn sockets(&self) -> Vec<u32> {
        let mut sockets: Vec<u32> = self.lcores.iter().map(|&l| self.socket_of(l)).collect();
        sockets.sort_unstable();
        sockets.dedup();
        sockets
    }

    /// Whether packet memory is in huge pages.
    #[must_use]
    pub fn has_hugepages(&self) -> bool {
        // SAFETY: EAL is initialised.
        unsafe { sys::rte_eal_has_hugepages() != 0 }
    }

    /// Runs `body` on a worker lcore. A panic in it ends the process.
    ///
    /// # Errors
    /// The lcore is not enabled, is the main one, or is busy.
    pub fn launch<F: FnOnce() + Send + 'static>(&self, lcore: u32, body: F) -> Result<()> {
        if lcore == self.main || !self.lcores.contains(&lcore) {
            return Err(Error::new(
                format!("lcore {lcore} is not an enabled worker"),
                libc::EINVAL,
            )
            .hint("give it to EAL with -l or -c"));
        }
        let task: Box<Task> = Box::new(Task {
            lcore,
            body: Box::new(body),
        });
        let raw = Box::into_raw(task);
        // SAFETY: `raw` is a live Box<Task>; `entry` takes it back exactly once,
        // or it is taken back below when the launch was refused.
        let ret = unsafe { sys::rte_eal_remote_launch(Some(entry), raw.cast::<c_void>(), lcore) };
        if ret != 0 {
            // SAFETY: refused, so `entry` never saw the box.
            drop(unsafe { Box::from_raw(raw) });
            return Err(Error::new(format!("cannot start on lcore {lcore}"), ret));
        }
        Ok(())
    }

    /// Waits until the closure of that lcore has returned.
    pub fn wait(&self, lcore: u32) {
        if lcore != self.main && self.lcores.contains(&lcore) {
            // SAFETY: an enabled worker lcore.
            unsafe { sys::rte_eal_wait_lcore(lcore) };
        }
    }

    /// Heap of a NUMA node: (total, free, largest free piece), in bytes.
    #[must_use]
    pub fn heap(&self, socket: u32) -> Option<(usize, usize, usize)> {
        heap(i32::try_from(socket).ok()?)
    }

    /// Clock of the worker loops.
    #[must_use]
    pub fn clock(&self) -> Clock {
        // SAFETY: EAL is initialised.
        let hz = unsafe { sys::rte_get_tsc_hz() }.max(1);
        Clock {
            start: ticks(),
            mult: (1_000_000u128 << 64) / u128::from(hz),
        }
    }
}

/// DPDK's version, as it calls itself ("DPDK 22.11.11").
#[must_use]
pub fn version() -> String {
    // SAFETY: returns a static string, also before EAL is started.
    unsafe { CStr::from_ptr(sys::rte_version()) }
        .to_string_lossy()
        .into_owned()
}

/// DPDK's own messages from here up to this level (1 emergency .. 8 debug).
pub fn set_log_level(level: u32) {
    // SAFETY: stores a number.
    unsafe { sys::rte_log_set_global_level(level) };
}

pub(super) fn heap(socket: i32) -> Option<(usize, usize, usize)> {
    let mut stats = sys::rte_malloc_socket_stats::default();
    // SAFETY: `stats` is a valid place; the function checks the socket.
    let ret = unsafe { sys::rte_malloc_get_socket_stats(socket, &raw mut stats) };
    (ret == 0).then_some((
        stats.heap_totalsz_bytes,
        stats.heap_freesz_bytes,
        stats.greatest_free_size,
    ))
}

struct Task {
    lcore: u32,
    body: Box<dyn FnOnce() + Send>,
}

unsafe extern "C" fn entry(arg: *mut c_void) -> c_int {
    // SAFETY: `launch` passes a Box<Task> made for this one call.
    let task = unsafe { Box::from_raw(arg.cast::<Task>()) };
    let Task { lcore, body } = *task;
    if catch_unwind(AssertUnwindSafe(body)).is_err() {
        tracing::error!("lcore {lcore}: panic, see above; the process ends");
        std::process::abort();
    }
    0
}

fn ticks() -> u64 {
    // SAFETY: reads the time stamp counter.
    unsafe { sys::rte_rdtsc() }
}

/// Microseconds since it was made, from the time stamp counter: a few
/// nanoseconds a call, monotonic, never the wall clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: u64,
    /// Microseconds per tick, times 2^64.
    mult: u128,
}

impl Clock {
    /// The time now.
    #[must_use]
    pub fn now(&self) -> Now {
        // Cores may differ by a few ticks at the start.
        let delta = u128::from(ticks().saturating_sub(self.start));
        // 64 x 64 bits: micros per tick is below 1 for any CPU above 1 MHz,
        // so `mult` fits in 64 bits there and the product in 128.
        Now((delta.saturating_mul(self.mult) >> 64) as u64)
    }
}
