//! `dpip -6 route`: IPv6 routes.
//!
//! Shares the words with `route`; the message and the text form differ.

use std::fmt::Write as _;

use dpvs_ctl::msg::{Route6, RtAddr, rtf};
use serde_json::{Value, json};

use crate::Cx;
use crate::args::Family;
use crate::failure::Failure;
use crate::out::Record;
use crate::route::{Scope, Spec, destination, need_device, parse};
use crate::table::Command;

/// Does a `route` command under `-6`.
pub(crate) fn run(cx: &mut Cx, command: Command, words: &[String]) -> Result<(), Failure> {
    let spec = parse(words, Family::Inet6)?;
    match command {
        Command::Show => {
            for route in cx.client.routes6(&spec.dev)? {
                cx.out.emit(Record::new(text(&route), value(&route)))?;
            }
            Ok(())
        }
        Command::Flush => {
            need_device(&spec)?;
            Ok(cx.client.flush_routes6(&message(&spec))?)
        }
        Command::Add | Command::Del => {
            let route = Route6 {
                dst: destination(&spec, Family::Inet6)?,
                ..message(&spec)
            };
            if cx.options.verbose {
                cx.out.print(&text(&route))?;
            }
            match command {
                Command::Add => Ok(cx.client.add_route6(&route)?),
                _ => Ok(cx.client.del_route6(&route)?),
            }
        }
        _ => Err(Failure::not_supported()),
    }
}

/// The message, but for the destination. There is no field for a metric.
fn message(spec: &Spec<'_>) -> Route6 {
    let mut flags = 0;
    match spec.scope {
        Some(Scope::Host) => flags |= rtf::LOCALIN,
        Some(Scope::KniHost) => flags |= rtf::KNI,
        Some(Scope::Link | Scope::Global) => flags |= rtf::FORWARD,
        None => {}
    }
    if spec.local {
        flags |= rtf::LOCALIN;
    }
    if flags == 0 {
        flags = rtf::FORWARD;
    }
    Route6 {
        src: spec
            .src
            .map_or_else(RtAddr::default, |addr| RtAddr { addr, plen: 128 }),
        ifname: spec.dev,
        gateway: spec.via.unwrap_or_default(),
        mtu: spec.mtu,
        flags,
        ..Route6::default()
    }
}

/// A route, as a line.
fn text(route: &Route6) -> String {
    let (dst, gateway, src) = (route.dst.addr.v6(), route.gateway.v6(), route.src.addr.v6());
    let mut text = if dst.is_unspecified() && route.dst.plen == 0 {
        "inet6 default".to_owned()
    } else {
        format!("inet6 {dst}/{}", route.dst.plen)
    };
    if !gateway.is_unspecified() {
        let _ = write!(text, " via {gateway}");
    }
    if !src.is_unspecified() {
        let _ = write!(text, " src {src}");
    }
    let _ = write!(text, " dev {}", route.ifname);
    if route.mtu > 0 {
        let _ = write!(text, " mtu {}", route.mtu);
    }
    let _ = writeln!(text, " scope {}", scope_text(route));
    text
}

/// A route as a value.
fn value(route: &Route6) -> Value {
    json!({
        "family": "inet6",
        "dst": route.dst.addr.v6().to_string(),
        "plen": route.dst.plen,
        "gateway": route.gateway.v6().to_string(),
        "src": route.src.addr.v6().to_string(),
        "ifname": route.ifname.text(),
        "mtu": route.mtu,
        "scope": scope_text(route),
    })
}

fn scope_text(route: &Route6) -> &'static str {
    if route.flags & rtf::KNI != 0 {
        "kni_host"
    } else if route.flags & rtf::LOCALIN != 0 {
        "host"
    } else if route.flags & rtf::FORWARD == 0 {
        "::"
    } else if route.gateway.v6().is_unspecified() {
        "link"
    } else {
        "global"
    }
}

#[cfg(test)]
mod tests;
