//! `-L -c`: connections. DPVS's form, which has what its users need: the
//! lcore, client, service, local address and server.
//!
//! There may be millions: a numeric line is put together digit by digit, into
//! memory that is used again.

use std::fmt::Write as _;
use std::net::IpAddr;

use dpvs_ctl::msg::ConnEntry;
use dpvs_ctl::{Client, Ip16};

use crate::args::{Command, Opt};
use crate::failure::{Failure, warn};
use crate::json::{self, Array};
use crate::names::{Names, proto_name};
use crate::out::{Out, line};

/// Lists all connections, all templates (`--persistent-conn`), or one
/// connection (`--sockpair`).
pub(crate) fn run(
    client: &Client,
    names: &Names,
    out: &mut Out,
    command: &Command,
) -> Result<(), Failure> {
    let names = (!command.numeric()).then_some(names);
    let as_json = command.given.has(Opt::Json);
    if command.given.has(Opt::Sockpair) {
        let found = client
            .conn(&command.sockpair)
            .map_err(|e| Failure::of(&e, |_| None).or_code(1))?;
        if as_json {
            return line!(out, "{}", json::array(found.iter().map(json::conn)));
        }
        match found {
            Some(entry) => append(out.text(), &entry, names),
            None => warn("connection specified not found"),
        }
        return out.spill();
    }
    let templates = command.given.has(Opt::PersistentConn);
    let mut array = if as_json {
        Some(Array::begin(out)?)
    } else {
        None
    };
    let mut failed = None;
    let result = client.each_conn(templates, |batch| {
        failed = batch_lines(out, batch, names, array.as_mut()).err();
        failed.is_none() && !out.is_closed()
    });
    if let Some(failure) = failed {
        return Err(failure);
    }
    result.map_err(|e| {
        warn("Fail to fetch all connection entries!");
        Failure::of(&e, |_| None).or_code(1)
    })?;
    match array {
        Some(array) => array.end(out),
        None => Ok(()),
    }
}

fn batch_lines(
    out: &mut Out,
    batch: &[ConnEntry],
    names: Option<&Names>,
    array: Option<&mut Array>,
) -> Result<(), Failure> {
    if let Some(array) = array {
        for entry in batch {
            array.push(out, &json::conn(entry))?;
        }
        return Ok(());
    }
    for entry in batch {
        append(out.text(), entry, names);
    }
    out.spill()
}

/// Appends the line of a connection; without `names` numbers only.
fn append(out: &mut String, c: &ConnEntry, names: Option<&Names>) {
    let proto = u8::try_from(c.proto).unwrap_or(0);
    out.push('[');
    decimal(out, c.lcoreid.into());
    out.push(']');
    padded(out, 3, |out| out.push_str(proto_name(proto)));
    out.push(' ');
    padded(out, 6, |out| {
        decimal(out, c.timeout);
        out.push('s');
    });
    out.push(' ');
    padded(out, 11, |out| out.push_str(&c.state.text()));
    let ends = [
        (c.caddr, c.in_af, c.cport),
        (c.vaddr, c.in_af, c.vport),
        (c.laddr, c.out_af, c.lport),
        (c.daddr, c.out_af, c.dport),
    ];
    for (i, (addr, af, port)) in ends.into_iter().enumerate() {
        out.push(' ');
        let width = if i < 3 { 18 } else { 0 };
        padded(out, width, |out| {
            end(out, addr, af, port.get(), proto, names);
        });
    }
    out.push('\n');
}

fn end(out: &mut String, addr: Ip16, af: u16, port: u16, proto: u8, names: Option<&Names>) {
    match (addr.to_ip(af), names) {
        (Some(ip), Some(names)) => out.push_str(&names.address(ip, port, proto, false)),
        (Some(IpAddr::V4(v4)), None) => {
            for (i, part) in v4.octets().into_iter().enumerate() {
                if i > 0 {
                    out.push('.');
                }
                decimal(out, part.into());
            }
            out.push(':');
            decimal(out, port.into());
        }
        (Some(IpAddr::V6(v6)), None) => {
            // Writing to a String never fails.
            let _ = write!(out, "[{v6}]:{port}");
        }
        (None, _) => {
            let _ = write!(out, "?:{port}");
        }
    }
}

/// Appends what `fill` appends, and blanks up to `width`.
fn padded(out: &mut String, width: usize, fill: impl FnOnce(&mut String)) {
    const BLANKS: &str = "                  ";
    let start = out.len();
    fill(out);
    let missing = width.saturating_sub(out.len() - start);
    out.push_str(BLANKS.get(..missing).unwrap_or(BLANKS));
}

fn decimal(out: &mut String, mut n: u32) {
    let mut digits = [b'0'; 10];
    let mut used = 0;
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + u8::try_from(n % 10).unwrap_or(0);
        n /= 10;
        used += 1;
        if n == 0 {
            break;
        }
    }
    let text = digits.get(digits.len() - used..).unwrap_or(&digits);
    out.extend(text.iter().map(|b| char::from(*b)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use dpvs_ctl::Name;
    use proptest::prelude::*;

    /// The row as a format string would make it.
    fn formatted(c: &ConnEntry) -> String {
        let end = |addr: Ip16, af: u16, port: u16| match addr.to_ip(af) {
            Some(IpAddr::V6(v6)) => format!("[{v6}]:{port}"),
            Some(v4) => format!("{v4}:{port}"),
            None => format!("?:{port}"),
        };
        format!(
            "[{}]{:<3} {:<6} {:<11} {:<18} {:<18} {:<18} {}\n",
            c.lcoreid,
            proto_name(u8::try_from(c.proto).unwrap_or(0)),
            format!("{}s", c.timeout),
            c.state.text(),
            end(c.caddr, c.in_af, c.cport.get()),
            end(c.vaddr, c.in_af, c.vport.get()),
            end(c.laddr, c.out_af, c.lport.get()),
            end(c.daddr, c.out_af, c.dport.get()),
        )
    }

    fn row(c: &ConnEntry) -> String {
        let mut out = String::new();
        append(&mut out, c, None);
        out
    }

    #[test]
    fn a_row() {
        let ip = |t: &str| Ip16::from_ip(t.parse().unwrap());
        let entry = ConnEntry {
            in_af: 2,
            out_af: 2,
            proto: 6,
            caddr: ip("1.1.1.1"),
            vaddr: ip("192.168.88.1"),
            laddr: ip("192.168.88.200"),
            daddr: ip("192.168.88.30"),
            cport: 4321.into(),
            vport: 80.into(),
            lport: 1025.into(),
            dport: 8080.into(),
            timeout: 90,
            lcoreid: 2,
            state: Name::new("TCP_EST").unwrap(),
        };
        assert_eq!(
            row(&entry),
            "[2]tcp 90s    TCP_EST     1.1.1.1:4321       192.168.88.1:80    \
             192.168.88.200:1025 192.168.88.30:8080\n"
        );
    }

    proptest! {
        #[test]
        fn as_formatted(
            a in any::<[u8; 16]>(), b in any::<[u8; 16]>(), ports in any::<[u16; 4]>(),
            af in prop::sample::select(vec![2u16, 10, 0]), out_af in prop::sample::select(vec![2u16, 10]),
            timeout: u32, lcoreid: u8, proto in prop::sample::select(vec![6u16, 17, 132, 1, 58, 9]),
        ) {
            let entry = ConnEntry {
                in_af: af, out_af, proto,
                caddr: Ip16(a), vaddr: Ip16(b), laddr: Ip16(b), daddr: Ip16(a),
                cport: ports[0].into(), vport: ports[1].into(),
                lport: ports[2].into(), dport: ports[3].into(),
                timeout, lcoreid, state: Name::new("SCTP_ESTABLISH").unwrap(),
            };
            prop_assert_eq!(row(&entry), formatted(&entry));
        }
    }
}
