//! A real server's end of a tunnel: takes the wrapping off packets for a namespace
//! whose kernel has no tunnels of its own.
//!
//! Watches an interface, checks every outer header by hand (lengths, checksums,
//! flags), and gives what is inside to the namespace's kernel through a cable that
//! has both its ends there. Shares no code with what it tests.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::frames::{Wire, checksum, ethernet};
use crate::netns::{Netns, veth};
use crate::run::{LIMIT, run_with};

/// The UDP port that is taken for GUE.
pub const GUE_PORT: u16 = 6080;

/// The ends of the cable inside the server.
const IN: &str = "decap-in";
const OUT: &str = "decap-out";

/// A decapsulated packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inside {
    /// `ip`, `gre`, `gre-csum`, `gue`, `gue-csum` or `gue-remote`, with 4 or 6 for
    /// the family of the outer packet in front and of the inner one behind.
    pub kind: String,
    /// Ethernet type of the packet inside.
    pub ethertype: u16,
    /// The packet inside.
    pub packet: Vec<u8>,
}

fn word(b: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*b.get(at)?, *b.get(at + 1)?]))
}

/// Takes the wrapping off a frame; none if it is no sound tunnel packet.
#[must_use]
pub fn unwrap(frame: &[u8]) -> Option<Inside> {
    let l3 = frame.get(14..)?;
    let (v6, proto, body, pseudo) = match word(frame, 12)? {
        0x0800 => {
            let header = usize::from(l3.first()? & 15) * 4;
            let total = usize::from(word(l3, 2)?);
            if checksum(&[l3.get(..header)?]) != 0 || word(l3, 6)? & 0x3fff != 0 {
                return None;
            }
            let body = l3.get(header..total)?;
            let len = u16::try_from(body.len()).ok()?.to_be_bytes();
            let proto = *l3.get(9)?;
            let pseudo = [l3.get(12..20)?, &[0, proto], &len].concat();
            (false, proto, body, pseudo)
        }
        0x86dd => {
            let body = l3.get(40..40 + usize::from(word(l3, 4)?))?;
            let len = u16::try_from(body.len()).ok()?.to_be_bytes();
            let proto = *l3.get(6)?;
            let pseudo = [l3.get(8..40)?, &[0, proto], &len].concat();
            (true, proto, body, pseudo)
        }
        _ => return None,
    };
    let ethertype = |proto| match proto {
        4 => Some(0x0800),
        41 => Some(0x86dd),
        _ => None,
    };
    let (name, ethertype, packet) = match proto {
        4 | 41 => ("ip", ethertype(proto)?, body.to_vec()),
        47 => match word(body, 0)? {
            0 => ("gre", word(body, 2)?, body.get(4..)?.to_vec()),
            0x8000 if checksum(&[body]) == 0 => {
                ("gre-csum", word(body, 2)?, body.get(8..)?.to_vec())
            }
            _ => return None,
        },
        17 if word(body, 2)? == GUE_PORT && usize::from(word(body, 4)?) == body.len() => {
            let summed = word(body, 6)? != 0;
            if summed && checksum(&[&pseudo, body]) != 0 {
                return None;
            }
            let inner = ethertype(*body.get(9)?)?;
            match (*body.get(8)?, word(body, 10)?) {
                (0, 0) if summed => ("gue-csum", inner, body.get(12..)?.to_vec()),
                (0, 0) => ("gue", inner, body.get(12..)?.to_vec()),
                (2, 1) if summed && body.get(12..16)? == [0x80, 0, 0, 0] => {
                    let start = usize::from(word(body, 16)?);
                    let at = usize::from(word(body, 18)?);
                    let mut packet = body.get(20..)?.to_vec();
                    // What is there already is the pseudo header's sum.
                    let sum = checksum(&[packet.get(start..)?]).to_be_bytes();
                    packet.get_mut(at..at + 2)?.copy_from_slice(&sum);
                    ("gue-remote", inner, packet)
                }
                _ => return None,
            }
        }
        _ => return None,
    };
    let (outer, inner) = (
        if v6 { 6 } else { 4 },
        if ethertype == 0x86dd { 6 } else { 4 },
    );
    Some(Inside {
        kind: format!("{outer} {name} {inner}"),
        ethertype,
        packet,
    })
}

/// The decapsulator of a namespace, until it is dropped.
#[derive(Debug)]
pub struct Decap {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Decap {
    /// Starts in `ns`, on what comes in by `dev`, and keeps the kernel from
    /// answering that it knows no such protocol.
    ///
    /// # Errors
    /// When a command fails or a raw socket cannot be opened.
    pub fn start(ns: &Netns, dev: &str) -> Result<Self> {
        veth((ns, OUT), (ns, IN))?;
        for end in [OUT, IN] {
            ns.plain_frames(end)?;
            ns.sysctl(&format!("net.ipv4.conf.{end}.rp_filter"), "0")?;
            ns.sysctl(&format!("net.ipv6.conf.{end}.accept_dad"), "0")?;
        }
        ns.sysctl("net.ipv4.conf.all.rp_filter", "0")?;
        ns.sysctl(&format!("net.ipv4.conf.{IN}.accept_local"), "1")?;
        let rules = format!(
            "table netdev decap {{ chain in {{ type filter hook ingress device \"{dev}\" priority 0;\n\
             ip protocol {{ 4, 41, 47 }} drop\n ip6 nexthdr {{ 4, 41, 47 }} drop\n\
             udp dport {GUE_PORT} drop\n }}\n }}\n"
        );
        run_with(ns.command("nft").args(["-f", "-"]), rules.as_bytes(), LIMIT)?.success()?;
        let (wire, out, inside) = (
            Wire::open(ns, dev)?,
            Wire::open(ns, OUT)?,
            Wire::open(ns, IN)?,
        );
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let (stopped, list) = (Arc::clone(&stop), Arc::clone(&seen));
        let list: Arc<Mutex<Vec<String>>> = list;
        let thread = std::thread::Builder::new()
            .name("decap".into())
            .spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    let own = |f: &[u8]| f.get(..6) == Some(&wire.mac()[..]);
                    let Ok(Some(frame)) = wire.receive(Duration::from_millis(100), own) else {
                        continue;
                    };
                    if let Some(inner) = unwrap(&frame) {
                        let frame =
                            ethernet(inside.mac(), out.mac(), inner.ethertype, &inner.packet);
                        list.lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push(inner.kind);
                        let _ = out.send(&frame);
                    }
                }
            })
            .map_err(|e| Error::new(format!("thread of the decapsulator: {e}")))?;
        Ok(Self {
            stop,
            seen,
            thread: Some(thread),
        })
    }

    /// Kinds of the packets since the last call, in order.
    #[must_use]
    pub fn take(&self) -> Vec<String> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *seen)
    }
}

impl Drop for Decap {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::{ipv4, udp};

    #[test]
    fn wrappings_are_taken_off_and_wrong_ones_are_not() {
        let (a, b) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        let inner = ipv4(a.into(), b.into(), 17, &udp(&a, &b, 1, 2, b"data"));
        let of = |proto, body: &[u8]| {
            ethernet(
                [2; 6],
                [4; 6],
                0x0800,
                &ipv4(a.into(), b.into(), proto, body),
            )
        };
        let plain = unwrap(&of(4, &inner)).unwrap();
        assert_eq!((&plain.kind[..], plain.packet == inner), ("4 ip 4", true));
        let gre = [&[0, 0, 8, 0][..], &inner].concat();
        assert_eq!(unwrap(&of(47, &gre)).unwrap().kind, "4 gre 4");
        let mut gre = [&[0x80, 0, 8, 0, 0, 0, 0, 0][..], &inner].concat();
        assert_eq!(unwrap(&of(47, &gre)), None);
        let sum = checksum(&[&gre]).to_be_bytes();
        gre.splice(4..6, sum);
        assert_eq!(unwrap(&of(47, &gre)).unwrap().packet, inner);
        let gue = udp(&a, &b, 5, GUE_PORT, &[&[0, 4, 0, 0][..], &inner].concat());
        assert_eq!(unwrap(&of(17, &gue)).unwrap().kind, "4 gue-csum 4");
        let mut wrong = gue.clone();
        wrong[6] ^= 1;
        assert_eq!(unwrap(&of(17, &wrong)), None);
        // The remote checksum is filled in from the pseudo header's sum.
        let mut remote = inner.clone();
        let sum = !checksum(&[&a, &b, &[0, 17], &12u16.to_be_bytes()]);
        remote.splice(26..28, sum.to_be_bytes());
        let head = [2, 4, 0, 1, 0x80, 0, 0, 0, 0, 20, 0, 26];
        let gue = udp(&a, &b, 5, GUE_PORT, &[&head[..], &remote].concat());
        let back = unwrap(&of(17, &gue)).unwrap();
        assert_eq!((&back.kind[..], back.packet), ("4 gue-remote 4", inner));
    }
}
