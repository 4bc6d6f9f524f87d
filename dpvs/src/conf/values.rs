//! Values that are more than a number, a switch or a word: names, lists,
//! combinations. Each function checks what stands behind a keyword of schema.rs
//! and puts it into the draft.

use super::diag::nearest;
use super::lex::Token;
use super::model::Rss;
use super::schema::{Bad, Draft, Keyword, Kind};

/// Takes what stands behind a keyword that is no block.
pub(super) fn take(draft: &mut Draft, key: &Keyword, values: &[Token]) -> Result<(), Bad> {
    let need = |what: String| -> Result<&Token, Bad> {
        values.first().ok_or_else(|| Bad {
            token: 0,
            message: "value missing".into(),
            help: format!("write {what} after the keyword on the same line"),
        })
    };
    let bad = |message: String, help: String| Bad {
        token: 1,
        message,
        help,
    };
    match &key.kind {
        Kind::Block { .. } => {}
        Kind::Number {
            min,
            max,
            round,
            at,
        } => {
            let token = need(format!("a number from {min} to {max}"))?;
            // DIFFERS: the C daemon reads leading digits and falls back
            // to the default silently.
            let found = token
                .text
                .parse::<i128>()
                .ok()
                .and_then(|v| u32::try_from(v).ok());
            match found {
                Some(v) if (*min..=*max).contains(&v) => *at(draft) = round.apply(v),
                _ => {
                    let why = if token.text.parse::<i128>().is_ok() {
                        format!("{} is out of range", token.text)
                    } else {
                        format!("`{}` is no number", token.text)
                    };
                    return Err(bad(
                        why,
                        format!("a whole number from {min} to {max}, without a suffix"),
                    ));
                }
            }
        }
        Kind::Switch(at) => {
            let token = need("`on` or `off`".into())?;
            *at(draft) = match token.text.to_ascii_lowercase().as_str() {
                "on" => true,
                "off" => false,
                _ => {
                    return Err(bad(
                        format!("`{}` is neither on nor off", token.text),
                        "write `on` or `off`".into(),
                    ));
                }
            };
        }
        Kind::Flag(at) => *at(draft) = true,
        Kind::Word {
            words,
            fold,
            prefix,
            set,
            ..
        } => {
            let token = need(format!("one of {}", words.join(", ")))?;
            let same = |word: &str| {
                let (a, b) = if *fold {
                    (word.to_ascii_lowercase(), token.text.to_ascii_lowercase())
                } else {
                    (word.to_owned(), token.text.clone())
                };
                // `ERROR` for `ERR` and `WARN` for `WARNING` both match.
                a == b || (*prefix && !b.is_empty() && (a.starts_with(&b) || b.starts_with(&a)))
            };
            match words.iter().position(|w| same(w)) {
                Some(n) => set(draft, n),
                None => {
                    let near = nearest(&token.text, words.iter().copied())
                        .map(|n| format!("did you mean `{n}`? "))
                        .unwrap_or_default();
                    return Err(bad(
                        format!("`{}` is no value of it", token.text),
                        format!("{near}one of {}", words.join(", ")),
                    ));
                }
            }
        }
        Kind::Text { check, at } => {
            let token = need("its value".into())?;
            check(&token.text).map_err(|m| bad(m, "write another value".into()))?;
            *at(draft) = Some(token.text.clone()).filter(|t| !t.is_empty());
        }
        Kind::List { parse, .. } => parse(draft, values)?,
    }
    Ok(())
}

/// Longest device name: 32 bytes on the control socket, with the closing NUL.
const NAME_MAX: usize = 31;

pub(super) fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("a name cannot be empty".into());
    }
    if name.len() > NAME_MAX {
        return Err(format!(
            "`{name}` has {} bytes, at most {NAME_MAX} are possible",
            name.len()
        ));
    }
    if name.contains(|c: char| c == '/' || c.is_control() || c.is_whitespace()) {
        return Err(format!("`{name}` is no interface name"));
    }
    Ok(())
}

pub(super) fn check_secret(text: &str) -> Result<(), String> {
    let digits = text.chars().take_while(char::is_ascii_hexdigit).count();
    // The empty string is what a sample shows, and means "no secret".
    if text.is_empty() || digits >= 32 {
        return Ok(());
    }
    Err(format!(
        "32 hexadecimal digits are needed, `{text}` starts with {digits}"
    ))
}

pub(super) fn open_device(d: &mut Draft, name: &str) -> Result<(), String> {
    check_name(name)?;
    let known = d.conf.netif.devices.iter().any(|x| x.name == name)
        || d.conf.netif.bonds.iter().any(|x| x.name == name);
    d.device = super::defaults::device(name);
    if known {
        Err(format!("`{name}` is declared twice"))
    } else {
        Ok(())
    }
}

pub(super) fn open_bond(d: &mut Draft, name: &str) -> Result<(), String> {
    d.bond = super::defaults::bond(name);
    check_name(name)?;
    let letters = name.trim_end_matches(|c: char| c.is_ascii_digit());
    if letters.len() == name.len()
        || letters.is_empty()
        || !letters.chars().all(|c| c.is_ascii_alphabetic() || c == '_')
    {
        return Err(format!(
            "`{name}`: a bond is named by letters followed by a number, like bond0"
        ));
    }
    let known = d.conf.netif.devices.iter().any(|x| x.name == name)
        || d.conf.netif.bonds.iter().any(|x| x.name == name);
    if known {
        Err(format!("`{name}` is declared twice"))
    } else {
        Ok(())
    }
}

pub(super) fn open_worker(d: &mut Draft, name: &str) -> Result<(), String> {
    d.worker = super::defaults::worker(name);
    if d.conf.workers.iter().any(|w| w.name == name) {
        return Err(format!("worker `{name}` is declared twice"));
    }
    Ok(())
}

pub(super) fn open_port(d: &mut Draft, name: &str) -> Result<(), String> {
    d.port = super::defaults::worker_port(name);
    if d.worker.ports.iter().any(|p| p.name == name) {
        return Err(format!(
            "port `{name}` stands twice in worker `{}`",
            d.worker.name
        ));
    }
    Ok(())
}

pub(super) fn shown(value: Option<u32>) -> String {
    value.map(|v| v.to_string()).unwrap_or_default()
}

pub(super) fn first(tokens: &[Token]) -> Result<&Token, Bad> {
    tokens.first().ok_or_else(|| Bad {
        token: 0,
        message: "value missing".into(),
        help: "write the value after the keyword on the same line".into(),
    })
}

/// A declared queue number: informational, 0..16.
pub(super) fn optional(tokens: &[Token], into: &mut Option<u32>) -> Result<(), Bad> {
    let token = first(tokens)?;
    match token.text.parse::<u32>() {
        Ok(v) if v <= 16 => {
            *into = Some(v);
            Ok(())
        }
        _ => Err(Bad {
            token: 1,
            message: format!("`{}` is no number of queues", token.text),
            help: "a number from 0 to 16".into(),
        }),
    }
}

pub(super) fn parse_rss(d: &mut Draft, tokens: &[Token]) -> Result<(), Bad> {
    let token = first(tokens)?;
    let known: Vec<&str> = Rss::NAMES.iter().map(|(n, _)| *n).collect();
    let mut bits = 0;
    for part in token.text.split('|') {
        match Rss::NAMES.iter().find(|(n, _)| *n == part) {
            Some((_, bit)) => bits |= bit,
            None => {
                return Err(Bad {
                    token: 1,
                    message: format!("`{part}` is no RSS input"),
                    help: format!(
                        "one or several of {}, joined by `|` without spaces",
                        known.join(" ")
                    ),
                });
            }
        }
    }
    d.device.rss = Rss(bits);
    Ok(())
}

pub(super) fn declared(d: &Draft, token: &Token) -> Result<String, Bad> {
    if d.conf.netif.devices.iter().any(|x| x.name == token.text) {
        return Ok(token.text.clone());
    }
    Err(Bad {
        token: 1,
        message: format!("`{}` is not the name of a device block above", token.text),
        help: "declare `device NAME { ... }` before the bonding block that uses it".into(),
    })
}

pub(super) fn parse_slave(d: &mut Draft, tokens: &[Token]) -> Result<(), Bad> {
    let name = declared(d, first(tokens)?)?;
    if d.bond.slaves.contains(&name) || d.conf.netif.bonds.iter().any(|b| b.slaves.contains(&name))
    {
        return Err(Bad {
            token: 1,
            message: format!("`{name}` is a slave already"),
            help: "a device belongs to one bond, once".into(),
        });
    }
    if d.bond.slaves.len() >= 32 {
        return Err(Bad {
            token: 1,
            message: "more than 32 slaves".into(),
            help: "remove some".into(),
        });
    }
    d.bond.slaves.push(name);
    Ok(())
}

pub(super) fn parse_primary(d: &mut Draft, tokens: &[Token]) -> Result<(), Bad> {
    d.bond.primary = Some(declared(d, first(tokens)?)?);
    Ok(())
}

pub(super) fn parse_bond_options(d: &mut Draft, tokens: &[Token]) -> Result<(), Bad> {
    for part in first(tokens)?.text.split(';').filter(|p| !p.is_empty()) {
        d.bond.dedicated_queues = match part {
            "dedicated_queues=on" | "dedicated_queues=enable" => true,
            "dedicated_queues=off" | "dedicated_queues=disable" => false,
            _ => {
                return Err(Bad {
                    token: 1,
                    message: format!("`{part}` is no bonding option"),
                    help: "dedicated_queues=on or dedicated_queues=off; several are joined by `;`"
                        .into(),
                });
            }
        };
    }
    Ok(())
}

/// Queue ids up to the first word that is no number; that word and what
/// follows is free text, but the first word must be an id.
pub(super) fn queues(tokens: &[Token], into: &mut Vec<u32>) -> Result<(), Bad> {
    first(tokens)?;
    let mut ids = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match token.text.parse::<u32>() {
            Ok(id) if id <= 15 => ids.push(id),
            Err(_)
                if at > 0
                    && !token
                        .text
                        .starts_with(|c: char| c.is_ascii_digit() || c == '-') =>
            {
                break;
            }
            // DIFFERS: the C daemon reads a bad id as 0.
            _ => {
                return Err(Bad {
                    token: at + 1,
                    message: format!("`{}` is no queue id", token.text),
                    help: "queue ids are numbers from 0 to 15, separated by spaces".into(),
                });
            }
        }
    }
    *into = ids;
    Ok(())
}

pub(super) fn parse_isol(d: &mut Draft, tokens: &[Token]) -> Result<(), Bad> {
    first(tokens)?;
    let mut ids = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match token.text.parse::<u32>() {
            Ok(id) if (1..=63).contains(&id) => ids.push(Some(id)),
            Ok(_) => {
                return Err(Bad {
                    token: at + 1,
                    message: format!("`{}` is no lcore id for receiving", token.text),
                    help: "lcore ids are numbers from 1 to 63; any other word leaves the queue at that place alone".into(),
                });
            }
            Err(_) => ids.push(None),
        }
    }
    d.port.isol_rx = ids;
    Ok(())
}
