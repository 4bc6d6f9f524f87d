//! What queue schedulers and classifiers have in common: handles, and the talk
//! with the daemon around their parameters.
//!
//! Knows neither's words nor lines.

use dpvs_ctl::msg::{TcConf, tc_handle, tc_op};
use dpvs_ctl::types::Blob;
use dpvs_ctl::{Name, Wire, id};
use serde_json::Value;

use crate::Cx;
use crate::args::Options;
use crate::failure::Failure;
use crate::out::Record;
use crate::table::Command;

/// `root`, `ingress`, `MAJOR:MINOR`, `MAJOR:` or the whole number, hexadecimal.
pub(crate) fn handle(what: &str, word: &str) -> Result<u32, Failure> {
    let part = |text: &str| u16::from_str_radix(text, 16).map(u32::from);
    let plain = word.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
    let parsed = match (word, word.split_once(':')) {
        ("root", _) => Ok(tc_handle::ROOT),
        ("ingress", _) => Ok(tc_handle::INGRESS),
        (_, Some((major, ""))) if plain => part(major).map(|major| major << 16),
        (_, Some((major, minor))) if plain => {
            part(major).and_then(|major| Ok(major << 16 | part(minor)?))
        }
        (_, None) if plain => u32::from_str_radix(word, 16),
        _ => return Err(bad_handle(what, word)),
    };
    parsed.map_err(|_| bad_handle(what, word))
}

fn bad_handle(what: &str, word: &str) -> Failure {
    Failure::invalid(format!(
        "invalid {what}: '{word}' (MAJOR:MINOR in hexadecimal, root or ingress)"
    ))
}

/// A handle as text.
pub(crate) fn handle_text(handle: u32) -> String {
    match (handle, handle >> 16, handle & 0xffff) {
        (tc_handle::ROOT, ..) => "root".to_owned(),
        (tc_handle::INGRESS, ..) => "ingress".to_owned(),
        (_, major, 0) => format!("{major:x}:"),
        (_, major, minor) => format!("{major:x}:{minor:x}"),
    }
}

/// The id of a change.
fn change_id(command: Command) -> Option<u32> {
    Some(match command {
        Command::Add => id::TC_ADD,
        Command::Del => id::TC_DEL,
        Command::Set => id::TC_CHANGE,
        Command::Replace => id::TC_REPLACE,
        _ => return None,
    })
}

/// The request about `param`; listings say how much they want.
fn request<T: Wire>(obj: u32, dev: Name<16>, param: &T, listing: Option<&Options>) -> TcConf {
    let flag = |set: bool, bit| if set { bit } else { 0 };
    TcConf {
        obj,
        op_flags: listing.map_or(0, |options| {
            flag(options.stats, tc_op::STATS) | flag(options.verbose, tc_op::VERBOSE)
        }),
        ifname: dev,
        param: Blob::of(param),
    }
}

/// Does a command about `param`: changes it, or lists what is like it, each as a
/// line and as a value.
pub(crate) fn run<T: Wire>(
    cx: &mut Cx,
    command: Command,
    (obj, dev): (u32, Name<16>),
    param: &T,
    text: fn(&T, &Name<16>, &Options) -> String,
    value: fn(&T, &Name<16>, &Options) -> Value,
) -> Result<(), Failure> {
    if let Some(id) = change_id(command) {
        return Ok(cx.client.set_tc(id, &request(obj, dev, param, None))?);
    }
    if command != Command::Show {
        return Err(Failure::not_supported());
    }
    let request = request(obj, dev, param, Some(&cx.options));
    for entry in cx.client.tc(&request)? {
        let entry = entry.read::<T>();
        let text = text(&entry, &dev, &cx.options);
        cx.out
            .emit(Record::new(text, value(&entry, &dev, &cx.options)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles() {
        for (word, value, text) in [
            ("root", 0xffff_ffff, "root"),
            ("ingress", 0xffff_fff1, "ingress"),
            ("1:", 0x1_0000, "1:"),
            ("1:2", 0x1_0002, "1:2"),
            ("a:ff", 0xa_00ff, "a:ff"),
            ("80010000", 0x8001_0000, "8001:"),
            ("0", 0, "0:"),
        ] {
            assert_eq!(handle("handle", word).unwrap(), value, "{word}");
            assert_eq!(handle_text(value), text);
        }
        for word in [
            "",
            ":",
            ":1",
            "1:2:3",
            "10000:",
            "g",
            "1: 2",
            "+1:",
            "123456789",
        ] {
            let lines = handle("handle", word).unwrap_err().lines("dpip");
            assert!(
                lines[0].starts_with("invalid handle: '"),
                "{word}: {lines:?}"
            );
        }
    }
}
