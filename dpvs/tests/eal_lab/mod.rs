//! The one EAL of a test process, in a network namespace of its own where
//! that is allowed, and a kernel peer to talk to.

use std::io::Write;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use dpvs::port::{Eal, Pool};
use nix::sched::{CloneFlags, setns, unshare};

pub(crate) struct Lab {
    pub(crate) eal: Eal,
    pub(crate) dir: tempfile::TempDir,
    /// What a pool says that cannot be had. Asked before the tests run: the
    /// attempt takes all memory for a moment.
    pub(crate) too_big: String,
    /// What net_pcap0 replays.
    pub(crate) frames: Vec<Vec<u8>>,
    /// The namespace with the veth pair; `None` without root.
    netns: Option<std::fs::File>,
}

impl Lab {
    /// Moves this thread to the lab's namespace; false, with a note, without
    /// root.
    pub(crate) fn enter_netns(&self, what: &str) -> bool {
        match &self.netns {
            Some(netns) => {
                setns(netns.as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
                true
            }
            None => {
                // Not eprintln!: the harness keeps that for itself.
                let _ = writeln!(
                    std::io::stderr(),
                    "SKIPPED {what}: it needs root, ip and veth"
                );
                false
            }
        }
    }
}

pub(crate) fn lab() -> &'static Lab {
    static LAB: OnceLock<Lab> = OnceLock::new();
    // On a thread of its own: EAL pins the thread that starts it, and the
    // namespace is the thread's.
    LAB.get_or_init(|| std::thread::spawn(start).join().unwrap())
}

fn start() -> Lab {
    let dir = tempfile::tempdir().unwrap();
    let frames: Vec<Vec<u8>> = (0..20u8).map(|i| vec![i; 60 + usize::from(i)]).collect();
    std::fs::write(dir.path().join("rx.pcap"), pcap_file(&frames)).unwrap();

    let netns = make_netns();
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let mut args: Vec<String> = [
        // Two lcores on one CPU: any machine has that.
        "--lcores=0@0,1@0",
        "--no-huge",
        "--no-shconf",
        "--no-pci",
        "--no-telemetry",
        "-m",
        "256",
        "--log-level=4",
    ]
    .map(str::to_owned)
    .into();
    let prefix = format!("dpvs_eal_test_{}", std::process::id());
    args.push(format!("--file-prefix={prefix}"));
    args.extend((0..10).map(|i| format!("--vdev=net_null{i}")));
    args.extend((0..4).map(|i| format!("--vdev=net_ring{i}")));
    args.push(format!(
        "--vdev=net_pcap0,rx_pcap={},tx_pcap={}",
        path("rx.pcap"),
        path("tx.pcap")
    ));
    args.push(format!(
        "--vdev=net_pcap1,rx_pcap={},tx_pcap={}",
        path("rx.pcap"),
        path("tx1.pcap")
    ));
    if netns.is_some() {
        args.push("--vdev=net_af_packet0,iface=eal0".into());
    }
    let eal = Eal::init(&args).unwrap();
    // Nobody else looks into EAL's folder, and nobody would remove it later.
    let _ = std::fs::remove_dir_all(runtime_dir().join(&prefix));
    let too_big = Pool::create(&eal, "huge", 4_000_000, 256, 0)
        .unwrap_err()
        .to_string();
    Lab {
        eal,
        dir,
        too_big,
        frames,
        netns,
    }
}

/// Where EAL keeps a folder for each file prefix.
fn runtime_dir() -> PathBuf {
    let base = match std::env::var_os("RUNTIME_DIRECTORY") {
        Some(dir) => dir.into(),
        None if nix::unistd::geteuid().is_root() => PathBuf::from("/var/run"),
        None => std::env::var_os("XDG_RUNTIME_DIR").map_or_else(|| "/tmp".into(), PathBuf::from),
    };
    base.join("dpdk")
}

fn make_netns() -> Option<std::fs::File> {
    if !nix::unistd::geteuid().is_root() || unshare(CloneFlags::CLONE_NEWNET).is_err() {
        return None;
    }
    let ok = |args: &[&str]| {
        Command::new("ip")
            .args(args)
            .output()
            .is_ok_and(|out| out.status.success())
    };
    let made = ok(&[
        "link", "add", "eal0", "type", "veth", "peer", "name", "peer0",
    ]) && ok(&["link", "set", "eal0", "up"])
        && ok(&["link", "set", "peer0", "up"])
        && ok(&["addr", "add", "10.9.2.1/24", "dev", "peer0"]);
    made.then(|| std::fs::File::open("/proc/thread-self/ns/net").unwrap())
}

pub(crate) fn run(program: &str, args: &[&str]) -> String {
    let out = Command::new(program).args(args).output().unwrap();
    assert!(out.status.success(), "{program} {args:?}: {out:?}");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// The kernel, which has address `own`, sends a datagram to `peer`; `turn`
/// plays the peer: it sends the frame it is given and returns those received.
/// Passes when the kernel's ARP request was seen and, answered, its datagram.
pub(crate) fn udp_over_arp(
    own: &str,
    peer: &str,
    mut turn: impl FnMut(Option<&[u8]>) -> Vec<Vec<u8>>,
) {
    let octets = |ip: &str| ip.parse::<std::net::Ipv4Addr>().unwrap().octets();
    let (own_ip, peer_ip) = (octets(own), octets(peer));
    let peer_mac = [2, 0, 0, 0, 0x99, 1];
    let socket = UdpSocket::bind((own, 0)).unwrap();
    let end = Instant::now() + Duration::from_secs(10);
    let mut next_send = Instant::now();
    let mut answer: Option<Vec<u8>> = None;
    let mut answered = false;
    while Instant::now() < end {
        if Instant::now() >= next_send {
            // Refused until the neighbour is known.
            let _ = socket.send_to(b"hello, dataplane", (peer, 9));
            next_send += Duration::from_millis(300);
        }
        for frame in turn(answer.take().as_deref()) {
            let is = |at: usize, bytes: &[u8]| frame.get(at..at + bytes.len()) == Some(bytes);
            if is(12, &[8, 6]) && is(20, &[0, 1]) && is(28, &own_ip) && is(38, &peer_ip) {
                let mut reply = Vec::new();
                reply.extend_from_slice(&frame[6..12]);
                reply.extend_from_slice(&peer_mac);
                reply.extend_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 2]);
                reply.extend_from_slice(&peer_mac);
                reply.extend_from_slice(&peer_ip);
                reply.extend_from_slice(&frame[22..32]);
                reply.resize(60, 0);
                answer = Some(reply);
                answered = true;
            }
            if answered && is(0, &peer_mac) && is(12, &[8, 0]) && frame.ends_with(b"dataplane") {
                return;
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!("no datagram from the kernel; ARP request seen: {answered}");
}

/// A classic pcap file of Ethernet frames.
fn pcap_file(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 65_535, 1] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    for frame in frames {
        let len = frame.len() as u32;
        for word in [0, 0, len, len] {
            file.extend_from_slice(&word.to_le_bytes());
        }
        file.extend_from_slice(frame);
    }
    file
}

/// The frames of such a file.
pub(crate) fn pcap_frames(file: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut rest = &file[24..];
    while rest.len() >= 16 {
        let len = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        frames.push(rest[16..16 + len].to_vec());
        rest = &rest[16 + len..];
    }
    frames
}
