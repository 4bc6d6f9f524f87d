//! `dpip route`: IPv4 routes, and the way to `route6` under `-6`.
//!
//! Knows the message of IPv4 routes and its text form. The family is never
//! guessed from the address: without `-6` it is IPv4.

use dpvs_ctl::msg::{Route, RtAddr, rtf};
use dpvs_ctl::{Af, Ip16, Name};
use serde_json::{Value, json};

use crate::Cx;
use crate::args::Family;
use crate::failure::Failure;
use crate::out::Record;
use crate::route6;
use crate::table::{Arg, Command, Object, Row, flag, key, opt, pos};
use crate::words::{Word, Words, address, any_prefix, device, number, prefix};

const ATTRIBUTES: [Arg; 11] = [
    pos("default|ADDR[/PLEN]"),
    key("dev", "DEV"),
    opt("via", "ADDR"),
    opt("src", "ADDR"),
    opt("mtu", "BYTES"),
    opt("metric", "N"),
    opt("scope", "SCOPE"),
    flag("local"),
    opt("tos", "N"),
    opt("proto", "NAME"),
    flag("onlink"),
];

pub(crate) const OBJECT: Object = Object {
    name: "route",
    about: "routes of IPv4 and, with -6, of IPv6",
    short_keys: true,
    rows: &[
        Row {
            command: Command::Show,
            args: &[opt("dev", "DEV")],
            about: "List routes.",
        },
        Row {
            command: Command::Add,
            args: &ATTRIBUTES,
            about: "Add a route; with -v show first what is sent.",
        },
        Row {
            command: Command::Del,
            args: &ATTRIBUTES,
            about: "Remove a route.",
        },
        Row {
            command: Command::Flush,
            args: &[key("dev", "DEV")],
            about: "Remove all routes of a device.",
        },
    ],
    terms: &[("SCOPE", "host | kni_host | link | global")],
    notes: "Scope host says that the address is the dataplane's own, kni_host that it is the \
            kernel's behind the device's host port.\n\
            tos, proto and onlink are taken and ignored.",
    run,
};

/// The words of a route, of either family, before they become a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spec<'a> {
    /// Destination: `default`, or an address with or without a length.
    pub(crate) dst: Option<&'a str>,
    pub(crate) via: Option<Ip16>,
    pub(crate) src: Option<Ip16>,
    pub(crate) dev: Name<16>,
    pub(crate) mtu: u32,
    pub(crate) metric: u32,
    pub(crate) scope: Option<Scope>,
    pub(crate) local: bool,
}

/// Whose address a route leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The dataplane's own.
    Host,
    /// The kernel's, behind the host port.
    KniHost,
    /// A host on the wire.
    Link,
    /// Anything behind a gateway.
    Global,
}

/// Does a `route` command.
pub(crate) fn run(cx: &mut Cx, command: Command, words: &[String]) -> Result<(), Failure> {
    if cx.options.family == Family::Inet6 {
        return route6::run(cx, command, words);
    }
    let spec = parse(words, Family::Inet)?;
    match command {
        Command::Show => {
            for route in cx.client.routes(&spec.dev)? {
                cx.out.emit(Record::new(text(&route), value(&route)))?;
            }
            Ok(())
        }
        Command::Flush => {
            need_device(&spec)?;
            Ok(cx.client.flush_routes(&message(&spec)?)?)
        }
        Command::Add | Command::Del | Command::Set => {
            let route = to_change(&spec)?;
            if cx.options.verbose {
                cx.out.print(&text(&route))?;
            }
            match command {
                Command::Add => Ok(cx.client.add_route(&route)?),
                Command::Del => Ok(cx.client.del_route(&route)?),
                _ => Err(Failure::not_supported()),
            }
        }
        _ => Err(Failure::not_supported()),
    }
}

/// Takes the words of a `route` command apart.
pub(crate) fn parse(words: &[String], family: Family) -> Result<Spec<'_>, Failure> {
    let mut spec = Spec {
        dst: None,
        via: None,
        src: None,
        dev: Name::EMPTY,
        mtu: 0,
        metric: 0,
        scope: None,
        local: false,
    };
    let mut words = Words::new(words, &OBJECT);
    while let Some(word) = words.next() {
        match word {
            Word::Key(key @ "via") => {
                spec.via = Some(Ip16::from_ip(address(words.value(key)?, family)?));
            }
            Word::Key(key @ "src") => {
                spec.src = Some(Ip16::from_ip(address(words.value(key)?, family)?));
            }
            Word::Key(key @ "dev") => spec.dev = device(words.value(key)?)?,
            Word::Key(key @ "mtu") => spec.mtu = number(key, words.value(key)?)?,
            // 16 bits is what a daemon keeps of it.
            Word::Key(key @ "metric") => {
                spec.metric = number::<u16>(key, words.value(key)?)?.into();
            }
            Word::Key(key @ "scope") => spec.scope = Some(scope(words.value(key)?)?),
            Word::Key("local") => spec.local = true,
            Word::Key(key @ ("tos" | "proto")) => {
                words.value(key)?;
            }
            Word::Key("onlink") => {}
            Word::Key(other) | Word::Other(other) => spec.dst = Some(other),
        }
    }
    Ok(spec)
}

/// Refuses a command without a device.
pub(crate) fn need_device(spec: &Spec<'_>) -> Result<(), Failure> {
    if spec.dev.is_empty() {
        Err(Failure::invalid("no device specified"))
    } else {
        Ok(())
    }
}

/// The destination of a command that needs one.
pub(crate) fn destination(spec: &Spec<'_>, family: Family) -> Result<RtAddr, Failure> {
    let prefix = match spec.dst {
        None => return Err(Failure::invalid("missing prefix")),
        Some("default") => any_prefix(family),
        Some(word) => prefix(word, family)?,
    };
    Ok(RtAddr {
        addr: Ip16::from_ip(prefix.ip),
        plen: prefix.plen.into(),
    })
}

fn scope(word: &str) -> Result<Scope, Failure> {
    Ok(match word {
        "host" => Scope::Host,
        "kni_host" => Scope::KniHost,
        "link" => Scope::Link,
        "global" => Scope::Global,
        _ => return Err(Failure::invalid(format!("invalid scope: {word}"))),
    })
}

fn to_change(spec: &Spec<'_>) -> Result<Route, Failure> {
    let dst = destination(spec, Family::Inet)?;
    Ok(Route {
        dst,
        ..message(spec)?
    })
}

/// The message, but for the destination.
fn message(spec: &Spec<'_>) -> Result<Route, Failure> {
    let mut flags = rtf::FORWARD;
    match spec.scope {
        Some(Scope::Host) => flags |= rtf::LOCALIN,
        Some(Scope::KniHost) => flags |= rtf::KNI,
        Some(Scope::Link | Scope::Global) | None => {}
    }
    if spec.local {
        flags |= rtf::HOST;
    }
    let bare = |addr: Option<Ip16>| RtAddr {
        addr: addr.unwrap_or_default(),
        plen: 0,
    };
    Ok(Route {
        af: Af::INET,
        mtu: spec.mtu,
        flags,
        metric: spec.metric,
        src: bare(spec.src),
        gateway: bare(spec.via),
        ifname: spec.dev,
        ..Route::default()
    })
}

/// A route, as a line. `tos` and `proto` are not in the message.
fn text(route: &Route) -> String {
    let gateway = route.gateway.addr.v4();
    let scope = scope_text(route);
    format!(
        "inet {}/{} via {gateway} src {} dev {} mtu {} tos 0 scope {scope} metric {} proto auto \n",
        route.dst.addr.v4(),
        route.dst.plen,
        route.src.addr.v4(),
        route.ifname,
        route.mtu,
        route.metric
    )
}

/// A route as a value.
fn value(route: &Route) -> Value {
    json!({
        "family": "inet",
        "dst": route.dst.addr.v4().to_string(),
        "plen": route.dst.plen,
        "gateway": route.gateway.addr.v4().to_string(),
        "src": route.src.addr.v4().to_string(),
        "ifname": route.ifname.text(),
        "mtu": route.mtu,
        "scope": scope_text(route),
        "metric": route.metric,
    })
}

fn scope_text(route: &Route) -> &'static str {
    if route.flags & rtf::LOCALIN != 0 {
        "host"
    } else if route.flags & rtf::KNI != 0 {
        "kni_host"
    } else if route.gateway.addr.v4().is_unspecified() {
        "link"
    } else {
        "global"
    }
}

#[cfg(test)]
mod tests;
