//! The kernel's end of a port: an interface `<dev>.kni` on which the kernel
//! sends and receives what is not the dataplane's (health checks, VRRP, ssh).
//!
//! virtio-user over vhost-net where the kernel has it, otherwise a tap; both
//! are DPDK devices made at run time. Frames are whole Ethernet frames. A
//! director works without one, its own kernel is then not on that wire.

use std::ffi::{CString, c_char};
use std::fmt;
use std::net::{Ipv4Addr, UdpSocket};
use std::ops::RangeInclusive;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use dpdk_sys as sys;
use dpvs_core::frame::{Burst, empty_burst};

use super::dev::{Port, PortConf};
use super::eal::Eal;
use super::error::{Error, Result, check};
use super::mbuf::{Batch, Mbuf};
use super::pool::Pool;
use super::queue::{RxQueue, TxQueue};
use super::ring::{Receiver, Sender};
use crate::counters::{LcoreCounters, Lost};

/// How the kernel is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// virtio-user, with the kernel's vhost-net moving the packets.
    Virtio,
    /// A tap: a system call a packet.
    Tap,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Backend::Virtio => "virtio-user over vhost-net",
            Backend::Tap => "tap",
        })
    }
}

/// A host port: owned by the one thread that moves its packets.
#[derive(Debug)]
pub struct HostPort {
    name: String,
    backend: Backend,
    device: String,
    port: Port,
    rx: RxQueue,
    tx: TxQueue,
}

impl HostPort {
    /// Makes the kernel interface `name` with that MAC address and MTU, up.
    ///
    /// # Errors
    /// Neither way works; the reasons of both are told.
    pub fn create(eal: &Eal, name: &str, mac: [u8; 6], mtu: u16, pool: Pool) -> Result<Self> {
        // IFNAMSIZ with its NUL; the rest would end the device argument.
        if name.is_empty() || name.len() > 15 || name.contains([',', '/', ' ', '=']) {
            return Err(Error::new(
                format!("{name:?} cannot be the name of a kernel interface"),
                libc::EINVAL,
            )
            .hint(
                "15 characters are the most: a port's is its kni_name, a VLAN device's is its \
                 own name with .kni behind it",
            ));
        }
        let mut tried = Vec::new();
        for backend in [Backend::Virtio, Backend::Tap] {
            match Self::with(eal, backend, name, mac, mtu, pool) {
                Ok(port) => return Ok(port),
                Err(error) => tried.push(format!("{backend}: {error}")),
            }
        }
        Err(Error::new(
            format!("no kernel interface {name}: {}", tried.join("; ")),
            0,
        ))
    }

    fn with(
        eal: &Eal,
        backend: Backend,
        name: &str,
        mac: [u8; 6],
        mtu: u16,
        pool: Pool,
    ) -> Result<Self> {
        let needs = match backend {
            Backend::Virtio => "/dev/vhost-net",
            Backend::Tap => "/dev/net/tun",
        };
        if !Path::new(needs).exists() {
            return Err(Error::new(format!("no {needs}"), libc::ENOENT));
        }
        let mac_text = mac.map(|byte| format!("{byte:02x}")).join(":");
        let (device, args) = match backend {
            Backend::Virtio => (
                format!("virtio_user_{name}"),
                format!("path={needs},iface={name},queues=1,queue_size=1024,mac={mac_text}"),
            ),
            Backend::Tap => (
                format!("net_tap_{name}"),
                format!("iface={name},mac={mac_text}"),
            ),
        };
        if Port::by_name(eal, &device).is_some() {
            // EAL would take it for ours, and we would remove what somebody uses.
            return Err(Error::new(
                format!("device {device} is there already"),
                libc::EEXIST,
            ));
        }
        plug(&device, &args)?;
        Self::run(eal, &device, name, mtu, pool, backend).inspect_err(|_| unplug(&device))
    }

    fn run(
        eal: &Eal,
        device: &str,
        name: &str,
        mtu: u16,
        pool: Pool,
        backend: Backend,
    ) -> Result<Self> {
        let port = Port::by_name(eal, device)
            .ok_or_else(|| Error::new(format!("device {device} has no port"), libc::ENODEV))?;
        let conf = PortConf {
            mtu,
            rx_desc: 1024,
            tx_desc: 1024,
            ..PortConf::default()
        };
        let ready = port.configure(&conf, pool)?;
        let notes = ready.port.start(&conf)?;
        for note in ready.notes.iter().chain(&notes) {
            tracing::debug!("host port {name}: {note}");
        }
        // A tap is up once started; virtio-user's is not always.
        if let Err(error) = ready.port.set_link(true) {
            tracing::debug!("host port {name}: {error}");
        }
        let lost = || Error::new(format!("device {device} has no queue"), libc::ENODEV);
        Ok(Self {
            name: name.to_owned(),
            backend,
            device: device.to_owned(),
            rx: ready.rx.into_iter().next().ok_or_else(lost)?,
            tx: ready.tx.into_iter().next().ok_or_else(lost)?,
            port: ready.port,
        })
    }

    /// Name of the kernel interface.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How the kernel is reached.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// The DPDK device behind it: MTU, counters, link.
    #[must_use]
    pub fn port(&self) -> &Port {
        &self.port
    }

    /// Frames the kernel sends; as [`RxQueue::burst`].
    pub fn receive(&mut self, slots: &mut Burst<Mbuf>) -> usize {
        self.rx.burst(slots)
    }

    /// Gives frames to the kernel; what it does not take is dropped and counted.
    pub fn send(&mut self, batch: &mut Batch) -> usize {
        self.tx.flush(batch)
    }
}

impl Drop for HostPort {
    fn drop(&mut self) {
        if let Err(error) = self.port.stop() {
            tracing::debug!("host port {}: {error}", self.name);
        }
        unplug(&self.device);
    }
}

/// What happens to a bridge while others run.
#[derive(Debug)]
pub enum BridgeChange {
    /// A new one.
    Add(Box<HostBridge>),
    /// Ends the one with the kernel interface of that name; the other end hears no more
    /// of this one once the interface is gone.
    Remove(String, mpsc::Sender<()>),
}

/// Moves frames between a host port and the workers' rings.
#[derive(Debug)]
pub struct HostBridge {
    host: HostPort,
    /// What workers have for the kernel.
    to_kernel: Receiver,
    /// To the worker that sends the kernel's frames.
    to_wire: Sender,
    /// Queues of the port that belong to the kernel.
    own: Option<(RxQueue, Option<TxQueue>)>,
    slots: Burst<Mbuf>,
    batch: Batch,
}

impl HostBridge {
    /// A bridge over these rings.
    #[must_use]
    pub fn new(host: HostPort, to_kernel: Receiver, to_wire: Sender) -> Self {
        Self {
            host,
            to_kernel,
            to_wire,
            own: None,
            slots: empty_burst(),
            batch: Batch::new(),
        }
    }

    /// The host port.
    #[must_use]
    pub fn host(&self) -> &HostPort {
        &self.host
    }

    /// Receives from a queue of the port itself, and sends by one if there is one, so
    /// that the kernel's packets pass no worker.
    pub fn own_queues(&mut self, rx: RxQueue, tx: Option<TxQueue>) {
        self.own = Some((rx, tx));
    }

    /// Moves a burst each way; says how many frames that were, and counts those that
    /// were not taken.
    pub fn turn(&mut self, counters: &LcoreCounters) -> usize {
        let mut moved = self.to_kernel.burst(&mut self.slots);
        self.collect(moved);
        let mut lost = self.host.send(&mut self.batch);

        if let Some((rx, _)) = &mut self.own {
            let own = rx.burst(&mut self.slots);
            self.collect(own);
            lost += self.host.send(&mut self.batch);
            moved += own;
        }
        counters.lose(Lost::KernelFull, lost as u64);
        let received = self.host.receive(&mut self.slots);
        self.collect(received);
        match &mut self.own {
            Some((_, Some(tx))) => tx.try_flush(&mut self.batch),
            _ => self.to_wire.burst(&mut self.batch) > 0,
        };
        // A full ring: the worker is gone or far behind.
        counters.lose(Lost::FromKernelFull, self.batch.clear() as u64);
        moved += received;
        moved
    }

    fn collect(&mut self, count: usize) {
        for frame in self.slots[..count].iter_mut().filter_map(Option::take) {
            // Both hold a burst and the batch is empty before.
            let _ = self.batch.push(frame);
        }
    }

    /// Turns all bridges until told to stop, sleeping longer and longer (up to
    /// half a millisecond) while nothing comes. Made for a thread of its own; what
    /// comes by `changes` is added or removed.
    pub fn run(
        mut bridges: Vec<Self>,
        changes: &mpsc::Receiver<BridgeChange>,
        counters: &LcoreCounters,
        stop: &AtomicBool,
    ) {
        const NAPS: RangeInclusive<u64> = 30..=500;
        let mut nap = *NAPS.start();
        while !stop.load(Ordering::Relaxed) {
            while let Ok(change) = changes.try_recv() {
                match change {
                    BridgeChange::Add(bridge) => bridges.push(*bridge),
                    BridgeChange::Remove(name, gone) => {
                        bridges.retain(|b| b.host.name != name);
                        drop(gone);
                    }
                }
            }
            let moved: usize = bridges.iter_mut().map(|b| b.turn(counters)).sum();
            if moved > 0 {
                nap = *NAPS.start();
            } else {
                std::thread::sleep(Duration::from_micros(nap));
                nap = (nap * 2).min(*NAPS.end());
            }
        }
    }
}

/// Gives the kernel interface of a host port another MAC address. Only frames to that
/// one are the kernel's, and it is what the kernel answers ARP with.
///
/// # Errors
/// The kernel's refusal.
pub fn set_host_mac(name: &str, mac: [u8; 6]) -> Result<()> {
    let what = || format!("cannot change the MAC address of {name}");
    let mut addr = libc::sockaddr {
        sa_family: libc::ARPHRD_ETHER,
        sa_data: [0; 14],
    };
    for (to, from) in addr.sa_data.iter_mut().zip(mac) {
        *to = c_char::from_ne_bytes([from]);
    }
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_hwaddr: addr },
    };
    // Its NUL stays.
    let room = request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1);
    for (to, from) in room.zip(name.bytes()) {
        *to = c_char::from_ne_bytes([from]);
    }
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .map_err(|e| Error::new(what(), e.raw_os_error().unwrap_or(libc::EIO)))?;
    // SAFETY: a socket and a request that is filled in, and is read by the call.
    let ret = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFHWADDR, &raw mut request) };
    if ret == 0 {
        return Ok(());
    }
    let error = std::io::Error::last_os_error();
    Err(Error::new(
        what(),
        error.raw_os_error().unwrap_or(libc::EIO),
    ))
}

/// Devices come and go from several threads; EAL does not sort that out.
static HOTPLUG: Mutex<()> = Mutex::new(());

pub(super) fn plug(device: &str, args: &str) -> Result<()> {
    let what = || format!("cannot add device {device}");
    let invalid = |_| Error::new(what(), libc::EINVAL);
    let name = CString::new(device).map_err(invalid)?;
    let args = CString::new(args).map_err(invalid)?;
    let _one = HOTPLUG.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: three C strings, copied by the call.
    let ret = unsafe { sys::rte_eal_hotplug_add(c"vdev".as_ptr(), name.as_ptr(), args.as_ptr()) };
    check(ret, what).map(drop)
}

fn unplug(device: &str) {
    let Ok(name) = CString::new(device) else {
        return;
    };
    let _one = HOTPLUG.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: two C strings; the queues of the device go with their owner.
    unsafe { sys::rte_eal_hotplug_remove(c"vdev".as_ptr(), name.as_ptr()) };
}
