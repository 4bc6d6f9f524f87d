//! LLDP (IEEE 802.1AB): what our ports say of themselves, and what the neighbour of
//! each has said last.
//!
//! Builds and reads the frames; when they go and where they come from is the
//! master's. Everything of a neighbour is taken as hostile: lengths are checked and
//! text is shown without control characters.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use dpvs_core::frame::PortId;

/// Where the frames go: no bridge passes them on.
pub(crate) const GROUP: [u8; 6] = [0x01, 0x80, 0xc2, 0, 0, 0x0e];
/// How often they go.
const EVERY: Duration = Duration::from_secs(30);
/// How long they hold.
const TTL: u16 = 120;
/// How long what we say of the machine is kept.
const FRESH: Duration = Duration::from_secs(600);

/// A port as it describes itself.
#[derive(Clone, Debug)]
pub(crate) struct Local<'a> {
    pub(crate) name: &'a str,
    pub(crate) mac: [u8; 6],
    /// Addresses to manage it by.
    pub(crate) addrs: Vec<IpAddr>,
    /// Number of the interface.
    pub(crate) index: u32,
}

/// What has been heard on a port.
#[derive(Debug)]
struct Neighbour {
    pdu: Vec<u8>,
    until: Instant,
}

/// The agent.
#[derive(Debug, Default)]
pub(crate) struct Agent {
    /// Switched on.
    pub(crate) on: bool,
    /// Ports on which it is not, all the same.
    pub(crate) off: Vec<PortId>,
    next: Option<Instant>,
    neighbours: BTreeMap<PortId, Neighbour>,
    machine: Option<(Instant, String, String)>,
}

impl Agent {
    /// Whether it speaks and listens on a port.
    pub(crate) fn speaks(&self, port: PortId) -> bool {
        self.on && !self.off.contains(&port)
    }

    /// Whether the frames are due.
    pub(crate) fn due(&mut self, now: Instant) -> bool {
        self.neighbours.retain(|_, n| n.until > now);
        if !self.on {
            self.neighbours.clear();
            self.next = None;
            return false;
        }
        let due = self.next.is_none_or(|at| now >= at);
        if due {
            self.next = Some(now + EVERY);
        }
        due
    }

    /// The next look finds them due.
    pub(crate) fn hurry(&mut self) {
        self.next = None;
    }

    fn machine(&mut self, now: Instant) -> (String, String) {
        let (at, name, about) = match self.machine.take() {
            Some(known) if now < known.0 + FRESH => known,
            _ => {
                let name = nix::unistd::gethostname();
                let name = name.map_or_else(|_| String::new(), |n| n.to_string_lossy().into());
                let kernel = |what: &str| {
                    let text = std::fs::read_to_string(format!("/proc/sys/kernel/{what}"));
                    text.unwrap_or_default().trim().to_owned()
                };
                let about = ["ostype", "osrelease", "version"].map(kernel).join(" ");
                (now, name, about)
            }
        };
        self.machine = Some((at, name.clone(), about.clone()));
        (name, about)
    }

    /// The frame of a port.
    pub(crate) fn frame(&mut self, local: &Local<'_>, now: Instant) -> Vec<u8> {
        let (name, about) = self.machine(now);
        let mut out = [&GROUP[..], &local.mac, &[0x88, 0xcc]].concat();
        let mut tlv = |kind: u8, parts: &[&[u8]]| {
            let mut value = parts.concat();
            value.truncate(255);
            let len = value.len() as u16;
            out.extend((u16::from(kind) << 9 | len).to_be_bytes());
            out.extend(value);
        };
        tlv(1, &[&[4], &local.mac]);
        tlv(2, &[&[5], local.name.as_bytes()]);
        tlv(3, &[&TTL.to_be_bytes()]);
        tlv(4, &[b"Interface ", local.name.as_bytes()]);
        tlv(5, &[name.as_bytes()]);
        tlv(6, &[about.as_bytes()]);
        tlv(7, &[&[0, 0x80, 0, 0x80]]);
        for addr in local.addrs.iter().take(8) {
            let (v4, v6);
            let (family, octets): (u8, &[u8]) = match addr {
                IpAddr::V4(a) => {
                    v4 = a.octets();
                    (1, &v4)
                }
                IpAddr::V6(a) => {
                    v6 = a.octets();
                    (2, &v6)
                }
            };
            let index = local.index.to_be_bytes();
            let len = octets.len() as u8 + 1;
            tlv(8, &[&[len, family], octets, &[2], &index, &[0]]);
        }
        tlv(0, &[]);
        let len = out.len().max(60);
        out.resize(len, 0);
        out
    }

    /// Takes a frame that a port received; false if it is none.
    pub(crate) fn heard(&mut self, port: PortId, frame: &[u8], now: Instant) -> bool {
        let Some(pdu) = frame.get(14..).filter(|_| self.speaks(port)) else {
            return false;
        };
        // The first three are these, and in this order.
        let mut kinds = Tlvs(pdu).map(|(kind, value)| (kind, value.len()));
        let starts = [kinds.next(), kinds.next(), kinds.next()];
        let [Some((1, 2..)), Some((2, 2..)), Some((3, 2))] = starts else {
            return false;
        };
        let ttl = Tlvs(pdu)
            .find(|(kind, _)| *kind == 3)
            .and_then(|(_, v)| Some(u16::from_be_bytes(*v.first_chunk()?)))
            .unwrap_or(0);
        if ttl == 0 {
            // It says good-bye.
            self.neighbours.remove(&port);
            return true;
        }
        let until = now + Duration::from_secs(ttl.into());
        let pdu = pdu.to_vec();
        self.neighbours.insert(port, Neighbour { pdu, until });
        true
    }

    /// What the neighbour of a port has said.
    pub(crate) fn neighbour(&self, port: PortId, now: Instant) -> Option<String> {
        let known = self.neighbours.get(&port).filter(|n| n.until > now)?;
        Some(text(&known.pdu))
    }
}

/// TLVs up to the end of them.
struct Tlvs<'a>(&'a [u8]);

impl<'a> Iterator for Tlvs<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let word = u16::from_be_bytes(*self.0.first_chunk()?);
        let (kind, len) = ((word >> 9) as u8, usize::from(word & 0x1ff));
        let value = self.0.get(2..2 + len)?;
        self.0 = if kind == 0 { &[] } else { &self.0[2 + len..] };
        Some((kind, value))
    }
}

/// Text of a stranger: printable, and nothing that a `printf` would look at.
fn plain(bytes: &[u8]) -> String {
    let show = |c: char| if c.is_control() || c == '%' { '.' } else { c };
    String::from_utf8_lossy(bytes).chars().map(show).collect()
}

fn hex(bytes: &[u8]) -> String {
    let all: Vec<String> = bytes.iter().map(|b| format!("{b:02x}")).collect();
    all.join(":")
}

fn address(family: u8, bytes: &[u8]) -> String {
    match (family, bytes.len()) {
        (1, 4) => <[u8; 4]>::try_from(bytes)
            .map_or_else(|_| String::new(), |a| format!("IPv4: {}", IpAddr::from(a))),
        (2, 16) => <[u8; 16]>::try_from(bytes)
            .map_or_else(|_| String::new(), |a| format!("IPv6: {}", IpAddr::from(a))),
        (6, 6) => format!("MAC: {}", hex(bytes)),
        _ => format!("Network Address Type {family}: {}", hex(bytes)),
    }
}

/// An identifier of a chassis or a port, by the number of its kind.
fn identifier(chassis: bool, value: &[u8]) -> String {
    let Some((&kind, id)) = value.split_first() else {
        return String::new();
    };
    let family = || {
        id.split_first()
            .map_or_else(String::new, |(f, a)| address(*f, a))
    };
    match (chassis, kind) {
        (true, 1) => format!("Chassis Component: {}", plain(id)),
        (true, 2) | (false, 1) => format!("Interface Alias: {}", plain(id)),
        (true, 3) | (false, 2) => format!("Port Component: {}", plain(id)),
        (true, 4) | (false, 3) => format!("MAC: {}", hex(id)),
        (true, 5) | (false, 4) => family(),
        (true, 6) | (false, 5) => format!("Interface Name: {}", plain(id)),
        (false, 6) => format!("Agent Circuit ID: {}", hex(id)),
        (_, 7) => format!("Local: {}", plain(id)),
        _ => format!("Type {kind}: {}", hex(id)),
    }
}

fn capabilities(bits: u16) -> String {
    const NAMES: [&str; 11] = [
        "Other",
        "Repeater",
        "Bridge",
        "WLAN Access Point",
        "Router",
        "Telephone",
        "DOCSIS Cable Device",
        "Station Only",
        "C-VLAN Component",
        "S-VLAN Component",
        "Two-port MAC Relay",
    ];
    let named = (0..).zip(NAMES).filter(|(i, _)| bits >> i & 1 != 0);
    named.map(|(_, name)| name).collect::<Vec<_>>().join(", ")
}

fn management(out: &mut String, value: &[u8]) -> Option<()> {
    let (&len, rest) = value.split_first()?;
    let addr = rest.get(..usize::from(len))?;
    let (family, addr) = addr.split_first()?;
    let _ = writeln!(out, "\t{}", address(*family, addr));
    let rest = rest.get(usize::from(len)..)?;
    let number = u32::from_be_bytes(*rest.get(1..)?.first_chunk()?);
    let kind = match rest.first()? {
        2 => "Ifindex",
        3 => "System port number",
        _ => "Unknown interface",
    };
    let _ = writeln!(out, "\t{kind}: {number}");
    Some(())
}

/// The text of what follows the Ethernet header of a frame.
pub(crate) fn text(pdu: &[u8]) -> String {
    let mut out = String::new();
    for (kind, value) in Tlvs(pdu) {
        let name = match kind {
            0 => {
                out.push_str("End of LLDPDU TLV\n");
                break;
            }
            1 => "Chassis ID",
            2 => "Port ID",
            3 => "Time to Live",
            4 => "Port Description",
            5 => "System Name",
            6 => "System Description",
            7 => "System Capabilities",
            8 => "Management Address",
            127 => "Organizationally Specific",
            _ => "Unknown",
        };
        let _ = writeln!(out, "{name} TLV ({kind})");
        let word = |at: usize| {
            let bytes = value.get(at..).and_then(<[u8]>::first_chunk);
            bytes.map_or(0, |b| u16::from_be_bytes(*b))
        };
        match kind {
            1 | 2 => {
                let _ = writeln!(out, "\t{}", identifier(kind == 1, value));
            }
            3 => {
                let _ = writeln!(out, "\t{}", word(0));
            }
            4..=6 => {
                let _ = writeln!(out, "\t{}", plain(value));
            }
            7 => {
                let _ = writeln!(out, "\tSystem capabilities: {}", capabilities(word(0)));
                let _ = writeln!(out, "\tEnabled capabilities: {}", capabilities(word(2)));
            }
            8 => {
                let _ = management(&mut out, value);
            }
            127 => {
                let code = value.get(..3).unwrap_or(value);
                let _ = writeln!(out, "\tCode {}", hex(code));
                let _ = writeln!(out, "\t{}", hex(value.get(3..).unwrap_or_default()));
            }
            _ => {
                let _ = writeln!(out, "\t{}", hex(value));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> Local<'static> {
        Local {
            name: "dpdk0",
            mac: [2, 0, 0, 0, 0, 7],
            addrs: vec![
                [192, 0, 2, 1].into(),
                IpAddr::V6("2001:db8::1".parse().unwrap()),
            ],
            index: 1,
        }
    }

    #[test]
    fn says_who_it_is_and_reads_that() {
        let mut agent = Agent {
            on: true,
            ..Agent::default()
        };
        let now = Instant::now();
        let frame = agent.frame(&local(), now);
        assert_eq!(frame[..6], GROUP);
        assert_eq!(frame[6..14], [2, 0, 0, 0, 0, 7, 0x88, 0xcc]);
        assert_eq!(frame[14..23], [2, 7, 4, 2, 0, 0, 0, 0, 7]);
        assert_eq!(frame[23..31], *b"\x04\x06\x05dpdk0");
        assert_eq!(frame[31..35], [6, 2, 0, 120]);
        assert!(agent.heard(PortId(1), &frame, now));
        let said = agent.neighbour(PortId(1), now).unwrap();
        for line in [
            "Chassis ID TLV (1)\n\tMAC: 02:00:00:00:00:07\n",
            "Port ID TLV (2)\n\tInterface Name: dpdk0\n",
            "Time to Live TLV (3)\n\t120\n",
            "\tSystem capabilities: Station Only\n\tEnabled capabilities: Station Only\n",
            "Management Address TLV (8)\n\tIPv4: 192.0.2.1\n\tIfindex: 1\n",
            "\tIPv6: 2001:db8::1\n",
            "End of LLDPDU TLV\n",
        ] {
            assert!(said.contains(line), "{line} in {said}");
        }
        // Only as long as it said.
        assert!(
            agent
                .neighbour(PortId(1), now + Duration::from_secs(121))
                .is_none()
        );
        assert!(agent.neighbour(PortId(0), now).is_none());
        // Until it says good-bye.
        let mut bye = frame.clone();
        bye[34] = 0;
        assert!(agent.heard(PortId(1), &bye, now));
        assert!(agent.neighbour(PortId(1), now).is_none());
    }

    #[test]
    fn strangers_may_say_anything() {
        let mut agent = Agent {
            on: true,
            ..Agent::default()
        };
        let now = Instant::now();
        let frame = agent.frame(&local(), now);
        for cut in 0..frame.len() {
            let _ = agent.heard(PortId(0), &frame[..cut], now);
            let _ = text(&frame[cut..]);
        }
        let mut rng = 1u32;
        for _ in 0..2000 {
            let mut bytes = frame.clone();
            for b in &mut bytes[14..] {
                rng = rng.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if rng >> 29 == 0 {
                    *b = (rng >> 16) as u8;
                }
            }
            let said = text(&bytes[14..]);
            assert!(!said.contains('%') && !said.contains('\u{1b}'), "{said}");
        }
        agent.off.push(PortId(0));
        assert!(!agent.heard(PortId(0), &frame, now));
    }

    #[test]
    fn goes_every_thirty_seconds() {
        let mut agent = Agent::default();
        let now = Instant::now();
        assert!(!agent.due(now));
        agent.on = true;
        assert!(agent.due(now));
        assert!(!agent.due(now + Duration::from_secs(29)));
        assert!(agent.due(now + Duration::from_secs(30)));
    }
}
