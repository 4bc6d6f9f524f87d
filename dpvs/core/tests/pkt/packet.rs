//! A packet as a script writes it, and as it is read back from the wire.
//!
//! `tcp 198.51.100.7:40000 > 192.0.2.10:80 S seq=1000 opts=mss:1460,sackok`: a kind,
//! two ends, then words and `key=value` pairs in any order. Building fills in
//! what is not said; an expectation looks only at what is said. See `build` and
//! `decode` for the keys.

use std::fmt;

use super::vars::Vars;

/// One packet line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    pub kind: String,
    pub src: String,
    pub dst: String,
    pub words: Vec<String>,
    pub pairs: Vec<(String, String)>,
}

/// Words that may stand alone; anything else is a typing error.
const WORDS: &[&str] = &[
    "df",
    "nodf",
    "nosum",
    "badsum",
    "badgre",
    "badipsum",
    "request",
    "reply",
    "echo",
    "echo-reply",
    "frag-needed",
    "too-big",
    "time-exceeded",
    "unreachable",
    "solicit",
    "advert",
    "probe",
    "router",
    "solicited",
    "override",
    "gratuitous",
    "outer-df",
];

/// Keys of pairs.
const KEYS: &[&str] = &[
    "vlan",
    "tun",
    "tun-ttl",
    "tun-tos",
    "tun-df",
    "gre",
    "vlan-proto",
    "flags",
    "seq",
    "ack",
    "win",
    "opts",
    "toa",
    "len",
    "data",
    "ttl",
    "tos",
    "id",
    "frag",
    "dmac",
    "smac",
    "ipopt",
    "ext",
    "pad",
    "cut",
    "iplen",
    "ihl",
    "doff",
    "udplen",
    "mtu",
    "type",
    "code",
    "proto",
    "target",
    "lladdr",
    "sha",
    "tha",
    "quote",
    "quote-ttl",
    "quote-seq",
    "quote-tos",
    "quote-len",
    "quote-sum",
    "about",
    "hex",
    "size",
    "quoted",
    "pieces",
    "order",
    "ipid",
    "opp",
    "ppv1",
    "ppv2",
    "ppv2-at",
    "ppv2-src",
    "ppv2-dst",
    "rest",
    "chunk",
    "tag",
    "outer",
    "wrap",
    "outer-ttl",
    "outer-tos",
    "outer-size",
];

/// Keys that say what a packet has beside its payload, or how long it is.
const SHOWN: &[&str] = &[
    "opp", "ppv1", "ppv2", "ppv2-at", "ipopt", "ihl", "iplen", "len", "hex",
];

impl Text {
    /// Reads the words behind the port.
    pub fn parse(line: &str) -> Result<Self, String> {
        let mut words = line.split_whitespace();
        let kind = words.next().ok_or("a packet is missing")?.to_owned();
        if !["tcp", "udp", "sctp", "icmp", "arp", "nd", "ip", "eth"].contains(&&kind[..]) {
            return Err(format!(
                "`{kind}` is no kind of packet: tcp, udp, sctp, icmp, arp, nd, ip or eth"
            ));
        }
        let mut packet = Self {
            kind,
            ..Self::default()
        };
        let mut words = words.peekable();
        if words.peek().is_none() {
            // An expectation may leave everything open.
            (packet.src, packet.dst) = ("*".into(), "*".into());
        } else if packet.kind != "eth" {
            let ends = (words.next(), words.next(), words.next());
            let (Some(src), Some(">"), Some(dst)) = ends else {
                return Err("a packet goes `kind SOURCE > DESTINATION`".into());
            };
            (packet.src, packet.dst) = (src.into(), dst.into());
        }
        for word in words {
            if let Some((key, value)) = word.split_once('=') {
                if !KEYS.contains(&key) {
                    return Err(format!("`{key}` is no field"));
                }
                packet.pairs.push((key.into(), value.into()));
            } else if packet.kind == "tcp" && word.chars().all(|c| "SAFPRUEC".contains(c)) {
                packet.pairs.push(("flags".into(), word.into()));
            } else if WORDS.contains(&word) {
                packet.words.push(word.into());
            } else {
                return Err(format!("`{word}` is no field and no flag"));
            }
        }
        Ok(packet)
    }

    pub fn has(&self, word: &str) -> bool {
        self.words.iter().any(|w| w == word)
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, v)| &v[..])
    }

    pub fn push(&mut self, key: &str, value: impl ToString) {
        self.pairs.push((key.into(), value.to_string()));
    }

    /// The first difference to a packet that came, in words; `None` if it is the
    /// packet that was expected.
    pub fn differs(&self, got: &Text, vars: &mut Vars) -> Option<String> {
        if self.kind != got.kind {
            return Some(format!("kind is {}", got.kind));
        }
        for (want, got, what) in [
            (&self.src, &got.src, "source"),
            (&self.dst, &got.dst, "destination"),
        ] {
            if !ends_match(want, got, vars) {
                return Some(format!("{what} is {got}"));
            }
        }
        for word in &self.words {
            if !got.has(word) {
                return Some(format!("`{word}` is missing"));
            }
        }
        for (key, want) in &self.pairs {
            let found = got.get(key).unwrap_or("none");
            let same = if key == "opts" {
                list_matches(want, found, vars)
            } else if key == "quote" || key == "outer" {
                match (want.split_once('>'), found.split_once('>')) {
                    (Some(w), Some(f)) => ends_match(w.0, f.0, vars) && ends_match(w.1, f.1, vars),
                    _ => false,
                }
            } else if key == "flags" {
                sorted(want) == sorted(found)
            } else {
                vars.matches(want, found)
            };
            if !same {
                let value = vars.number(want).map_or(String::new(), |n| {
                    if want.contains('$') {
                        format!(" ({})", n as u32)
                    } else {
                        String::new()
                    }
                });
                return Some(format!("{key} is {found}, not {want}{value}"));
            }
        }
        // The client's address must not slip in unnoticed.
        if self.get("toa").is_none() && self.get("opts").is_none() && got.get("toa").is_some() {
            return Some("it carries a toa option".into());
        }
        for key in ["opp", "ppv1", "ppv2", "ipopt"] {
            if got.get(key).is_some() && !self.pairs.iter().any(|(k, _)| SHOWN.contains(&&k[..])) {
                return Some(format!("it carries {key}"));
            }
        }
        None
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        if !self.src.is_empty() {
            write!(f, " {} > {}", self.src, self.dst)?;
        }
        for word in &self.words {
            write!(f, " {word}")?;
        }
        for (key, value) in &self.pairs {
            if key == "flags" {
                write!(f, " {value}")?;
            } else {
                write!(f, " {key}={value}")?;
            }
        }
        Ok(())
    }
}

fn ends_match(want: &str, got: &str, vars: &mut Vars) -> bool {
    use super::vars::split_endpoint;
    if want == "*" || want == got {
        return true;
    }
    if want.parse::<std::net::IpAddr>().is_ok() || (want.starts_with('$') && !want.contains(':')) {
        return vars.matches(want, got);
    }
    match (split_endpoint(want), split_endpoint(got)) {
        (Ok(w), Ok(g)) => vars.matches(w.0, g.0) && vars.matches(w.1, g.1),
        _ => false,
    }
}

fn list_matches(want: &str, got: &str, vars: &mut Vars) -> bool {
    let parts = |s: &str| -> Vec<String> { s.split([',', ':']).map(str::to_owned).collect() };
    let (want, got) = (parts(want), parts(got));
    want.len() == got.len() && want.iter().zip(&got).all(|(w, g)| vars.matches(w, g))
}

fn sorted(flags: &str) -> Vec<char> {
    let mut all: Vec<char> = flags.chars().collect();
    all.sort_unstable();
    all
}

/// Sum of 16-bit words, not yet folded.
pub fn sum(bytes: &[u8]) -> u32 {
    bytes
        .chunks(2)
        .map(|c| u32::from(c[0]) << 8 | u32::from(*c.get(1).unwrap_or(&0)))
        .sum()
}

/// Folds a sum to 16 bits.
pub fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Sum of the pseudo header.
pub fn pseudo(src: &[u8], dst: &[u8], proto: u8, len: usize) -> u32 {
    sum(src) + sum(dst) + u32::from(proto) + len as u32
}

/// Names of MAC addresses scripts use.
pub const MACS: &[(&str, [u8; 6])] = &[
    ("dpdk0", [2, 0, 0, 0, 0, 0x10]),
    ("dpdk1", [2, 0, 0, 0, 0, 0x11]),
    ("client", [2, 0, 0, 0, 0, 0xc1]),
    ("rs", [2, 0, 0, 0, 0, 0xd1]),
    ("bcast", [0xff; 6]),
    ("zero", [0; 6]),
];

/// A MAC address by name or in hex.
pub fn mac(text: &str) -> Result<[u8; 6], String> {
    if let Some((_, mac)) = MACS.iter().find(|(name, _)| *name == text) {
        return Ok(*mac);
    }
    let bytes: Result<Vec<u8>, _> = text.split(':').map(|b| u8::from_str_radix(b, 16)).collect();
    bytes
        .ok()
        .and_then(|b| b.try_into().ok())
        .ok_or_else(|| format!("`{text}` is no MAC address"))
}

/// The name of a MAC address, or its hex form.
pub fn mac_name(mac: &[u8]) -> String {
    match MACS.iter().find(|(_, m)| m == mac) {
        Some((name, _)) => (*name).into(),
        None => mac
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect::<Vec<_>>()
            .join(":"),
    }
}
