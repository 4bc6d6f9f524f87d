//! `dpip maddr`: link-layer and IP multicast addresses of devices.
//!
//! Knows the two messages of multicast addresses and their text form.

use std::fmt::Write as _;

use dpvs_ctl::Name;
use dpvs_ctl::msg::{HwMaddr, Maddr};
use serde_json::{Value, json};

use crate::Cx;
use crate::failure::Failure;
use crate::out::Record;
use crate::table::{Command, Object, Row, opt};
use crate::words::{Word, Words, device};

pub(crate) const OBJECT: Object = Object {
    name: "maddr",
    about: "link-layer and IP multicast addresses",
    short_keys: true,
    rows: &[Row {
        command: Command::Show,
        args: &[opt("dev", "DEV")],
        about: "List the multicast addresses of a device, or of all; with -v who uses them.",
    }],
    terms: &[],
    notes: "",
    run,
};

/// The flag of an address that the kernel's interface asked for.
const FROM_KNI: u16 = 1;

/// Does a `maddr` command.
pub(crate) fn run(cx: &mut Cx, command: Command, words: &[String]) -> Result<(), Failure> {
    if command != Command::Show {
        return Err(Failure::not_supported());
    }
    let mut dev = Name::EMPTY;
    let mut words = Words::new(words, &OBJECT);
    while let Some(word) = words.next() {
        if word == Word::Key("dev") {
            dev = device(words.value("dev")?)?;
        }
    }
    if !dev.is_empty() {
        return show(cx, &format!("{dev}:"), &dev);
    }
    let (_, ports) = cx.client.ports()?;
    for port in ports {
        show(
            cx,
            &format!("{}:\t{}", u32::from(port.id) + 1, port.name),
            &port.name,
        )?;
    }
    Ok(())
}

fn show(cx: &mut Cx, title: &str, dev: &Name<16>) -> Result<(), Failure> {
    let verbose = cx.options.verbose;
    let link = cx.client.port_maddrs(dev)?;
    let inet = cx.client.ifmaddrs(dev)?;
    let mut text = format!("{title}\n");
    link.iter()
        .for_each(|addr| text.push_str(&link_text(addr, verbose)));
    inet.iter()
        .for_each(|addr| text.push_str(&inet_text(addr, verbose)));
    let value = json!({
        "ifname": dev.text(),
        "link": link.iter().map(link_value).collect::<Vec<_>>(),
        "inet": inet.iter().map(inet_value).collect::<Vec<_>>(),
    });
    cx.out.emit(Record::new(text, value))
}

fn link_value(addr: &HwMaddr) -> Value {
    json!({
        "address": addr.addr.text(),
        "kni": addr.flags & FROM_KNI != 0,
        "refcnt": addr.refcnt,
        "sync": addr.sync_cnt,
    })
}

fn inet_value(addr: &Maddr) -> Value {
    json!({
        "address": addr.maddr.to_ip(addr.af).map(|ip| ip.to_string()),
        "flags": addr.flags,
        "refcnt": addr.refcnt,
    })
}

fn link_text(addr: &HwMaddr, verbose: bool) -> String {
    let mac = addr.addr;
    if !verbose {
        return format!("\tlink {mac}\n");
    }
    let kni = if addr.flags & FROM_KNI != 0 {
        " (+kni)"
    } else {
        ""
    };
    format!(
        "\tlink  {mac}{kni}\t\trefcnt {}\t\tsync {}\n",
        addr.refcnt, addr.sync_cnt
    )
}

fn inet_text(addr: &Maddr, verbose: bool) -> String {
    let (family, ip) = match addr.maddr.to_ip(addr.af) {
        Some(ip) => (if ip.is_ipv4() { "inet" } else { "inet6" }, ip.to_string()),
        None => ("unspec", "::".to_owned()),
    };
    let mut text = format!("\t{family:>5} {ip}");
    if verbose {
        let _ = write!(
            text,
            "\t\tflags 0x{:x}\t\trefcnt {}",
            addr.flags, addr.refcnt
        );
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use dpvs_ctl::{Af, Ip16};

    #[test]
    fn lines() {
        let mac = Name::truncated("01:00:5e:00:00:01");
        let link = HwMaddr {
            addr: mac,
            refcnt: 2,
            flags: FROM_KNI,
            sync_cnt: 3,
        };
        assert_eq!(link_text(&link, false), "\tlink 01:00:5e:00:00:01\n");
        assert_eq!(
            link_text(&link, true),
            "\tlink  01:00:5e:00:00:01 (+kni)\t\trefcnt 2\t\tsync 3\n"
        );
        let ip = "224.0.0.1".parse().unwrap();
        let inet = Maddr {
            maddr: Ip16::from_ip(ip),
            af: Af::INET,
            refcnt: 1,
            ..Maddr::default()
        };
        assert_eq!(inet_text(&inet, false), "\t inet 224.0.0.1\n");
        let ip = "ff02::1".parse().unwrap();
        let inet = Maddr {
            maddr: Ip16::from_ip(ip),
            af: Af::INET6,
            flags: 31,
            refcnt: 4,
            ..inet
        };
        assert_eq!(
            inet_text(&inet, true),
            "\tinet6 ff02::1\t\tflags 0x1f\t\trefcnt 4\n"
        );
    }
}
