//! The checker blocks of a real server.
//!
//! What a block does not say comes from the real server, then from the virtual
//! server, then from keepalived's defaults. Checkers that are not supported
//! yet are accepted with a note; the server then runs without that check.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::diag::Diags;
use super::keywords;
use super::model::{Check, CheckKind, Http, HttpVersion, Misc, Proxy, Script, Url};
use super::tree::{Node, shown};
use super::values;

/// What can be inherited.
#[derive(Clone, Debug, Default)]
pub(crate) struct Defaults {
    pub(crate) timeout: Option<Duration>,
    pub(crate) delay_loop: Option<Duration>,
    pub(crate) retry: Option<u32>,
    pub(crate) delay_before_retry: Option<Duration>,
    pub(crate) warmup: Option<Duration>,
    pub(crate) alpha: Option<bool>,
    pub(crate) virtualhost: Option<String>,
    pub(crate) proxy: Proxy,
    pub(crate) log_all_failures: bool,
}

impl Defaults {
    /// Takes a keyword that virtual and real servers share.
    pub(crate) fn take(&mut self, node: &Node, diags: &mut Diags) -> bool {
        match node.key() {
            "connect_timeout" => set(&mut self.timeout, values::timer(node, diags)),
            "delay_loop" => set(&mut self.delay_loop, values::timer(node, diags)),
            "retry" => set(
                &mut self.retry,
                values::number32(node, 1, 1, u32::MAX, diags),
            ),
            "delay_before_retry" => {
                set(&mut self.delay_before_retry, values::timer0(node, diags));
            }
            "warmup" => set(&mut self.warmup, values::timer0(node, diags)),
            "alpha" => set(&mut self.alpha, values::boolean(node, diags)),
            "virtualhost" => {
                set(
                    &mut self.virtualhost,
                    values::arg(node, 1, diags).map(str::to_owned),
                );
            }
            _ => return false,
        }
        true
    }
}

fn set<T>(slot: &mut Option<T>, value: Option<T>) {
    if value.is_some() {
        *slot = value;
    }
}

/// Names of all checker blocks.
pub(crate) const CHECKERS: [&str; 9] = [
    "TCP_CHECK",
    "HTTP_GET",
    "SSL_GET",
    "MISC_CHECK",
    "SMTP_CHECK",
    "DNS_CHECK",
    "UDP_CHECK",
    "PING_CHECK",
    "FILE_CHECK",
];

struct Common {
    connect: SocketAddr,
    bind_ip: Option<IpAddr>,
    bind_port: u16,
    bind_if: Option<String>,
    fwmark: u32,
    own: Defaults,
    log_all: bool,
}

impl Common {
    fn take(&mut self, node: &Node, diags: &mut Diags) -> bool {
        match node.key() {
            "connect_ip" => {
                if let Some(ip) = address(node, diags) {
                    self.connect.set_ip(ip);
                }
            }
            "connect_port" => {
                if let Some(p) = values::number(node, 1, 1, 65535, diags) {
                    self.connect.set_port(u16::try_from(p).unwrap_or(0));
                }
            }
            "bindto" => set(&mut self.bind_ip, address(node, diags)),
            "bind_port" => {
                if let Some(p) = values::number(node, 1, 1, 65535, diags) {
                    self.bind_port = u16::try_from(p).unwrap_or(0);
                }
            }
            "bind_if" => set(&mut self.bind_if, values::ifname(node, 1, diags)),
            "fwmark" => {
                if let Some(m) = values::number32(node, 1, 0, u32::MAX, diags) {
                    self.fwmark = m;
                }
            }
            // At checker level no retry at all is allowed.
            "retry" | "nb_get_retry" => {
                set(
                    &mut self.own.retry,
                    values::number32(node, 1, 0, u32::MAX, diags),
                );
            }
            "log_all_failures" => {
                if let Some(b) = values::boolean(node, diags) {
                    self.log_all = b;
                }
            }
            _ => return self.own.take(node, diags),
        }
        true
    }

    fn finish(self, from: &Defaults, retry: u32, before: Duration, kind: CheckKind) -> Check {
        let own = self.own;
        let delay_loop = own
            .delay_loop
            .or(from.delay_loop)
            .unwrap_or(Duration::from_secs(60));
        let bind = match (self.bind_ip, self.bind_port) {
            (None, 0) => None,
            (Some(ip), port) => Some(SocketAddr::new(ip, port)),
            (None, port) if self.connect.is_ipv4() => Some(SocketAddr::from(([0; 4], port))),
            (None, port) => Some(SocketAddr::from(([0u16; 8], port))),
        };
        Check {
            kind,
            connect: self.connect,
            bind,
            bind_if: self.bind_if,
            fwmark: self.fwmark,
            timeout: own
                .timeout
                .or(from.timeout)
                .unwrap_or(Duration::from_secs(5)),
            delay_loop,
            retry: own.retry.or(from.retry).unwrap_or(retry),
            delay_before_retry: own
                .delay_before_retry
                .or(from.delay_before_retry)
                .unwrap_or(before),
            warmup: own.warmup.or(from.warmup).unwrap_or(delay_loop),
            alpha: own.alpha.or(from.alpha).unwrap_or(false),
            log_all_failures: self.log_all,
        }
    }
}

fn address(node: &Node, diags: &mut Diags) -> Option<IpAddr> {
    let word = values::arg(node, 1, diags)?;
    let ip = word.parse().ok();
    if ip.is_none() {
        diags.error(
            Some(&node.pos),
            format!(
                "{}: '{}' is not an IP address - ignoring",
                node.key(),
                shown(word)
            ),
        );
    }
    ip
}

/// Builds one checker block; `None` when it cannot or need not run.
pub(crate) fn build(
    node: &Node,
    server: SocketAddr,
    from: &Defaults,
    diags: &mut Diags,
) -> Option<Check> {
    let mut common = Common {
        connect: server,
        bind_ip: None,
        bind_port: 0,
        bind_if: None,
        fwmark: 0,
        own: Defaults::default(),
        log_all: from.log_all_failures,
    };
    match node.key() {
        "TCP_CHECK" => {
            for line in node.children() {
                if !common.take(line, diags) {
                    keywords::not_taken("real_server/TCP_CHECK", line, diags);
                }
            }
            if let Some(bind) = common
                .bind_ip
                .filter(|b| b.is_ipv4() != common.connect.is_ipv4())
            {
                diags.error(
                    Some(&node.pos),
                    format!("bindto {bind} has another family than the server - ignoring"),
                );
                common.bind_ip = None;
            }
            Some(common.finish(from, 1, Duration::from_secs(1), CheckKind::Tcp))
        }
        "HTTP_GET" => http(node, common, from, diags),
        "MISC_CHECK" => misc(node, common, from, diags),
        other => {
            for line in node.children() {
                let path = format!("real_server/{other}");
                if !common.take(line, diags) {
                    keywords::not_taken(&path, line, diags);
                }
            }
            diags.note(
                Some(&node.pos),
                format!(
                    "{other} is not supported yet: server {server} is used without this check \
                     (TCP_CHECK, HTTP_GET and MISC_CHECK are)"
                ),
            );
            None
        }
    }
}

fn http(node: &Node, mut common: Common, from: &Defaults, diags: &mut Diags) -> Option<Check> {
    let mut version = HttpVersion::Http10;
    let mut fast_recovery = false;
    for line in node.children() {
        match line.key() {
            "http_protocol" => match values::arg(line, 1, diags)? {
                "1.0" => version = HttpVersion::Http10,
                "1.0C" | "1.0c" => version = HttpVersion::Http10Close,
                "1.1" => version = HttpVersion::Http11,
                other => diags.error(
                    Some(&line.pos),
                    format!("http_protocol '{}' is none of 1.0, 1.0C, 1.1", shown(other)),
                ),
            },
            "fast_recovery" => fast_recovery = values::boolean(line, diags).unwrap_or(false),
            "url" => {}
            _ if common.take(line, diags) => {}
            _ => keywords::not_taken("real_server/HTTP_GET", line, diags),
        }
    }
    let host = common
        .own
        .virtualhost
        .clone()
        .or_else(|| from.virtualhost.clone())
        .unwrap_or_else(|| common.connect.to_string());
    let urls: Vec<Url> = node
        .children()
        .iter()
        .filter(|n| n.key() == "url")
        .filter_map(|n| url(n, &host, diags))
        .collect();
    if urls.is_empty() {
        diags.error(
            Some(&node.pos),
            "HTTP_GET checker has no url block with a path - ignoring the checker",
        );
        return None;
    }
    let kind = CheckKind::Http(Http {
        urls,
        version,
        fast_recovery,
        proxy: from.proxy,
    });
    Some(common.finish(from, 1, Duration::from_secs(3), kind))
}

fn url(node: &Node, host: &str, diags: &mut Diags) -> Option<Url> {
    let mut out = Url {
        path: String::new(),
        host: host.to_owned(),
        digest: None,
        status: Vec::new(),
    };
    for line in node.children() {
        match line.key() {
            "path" => out.path = values::arg(line, 1, diags)?.to_owned(),
            "virtualhost" => out.host = values::arg(line, 1, diags)?.to_owned(),
            "digest" => {
                let word = values::arg(line, 1, diags)?;
                out.digest = md5(word);
                if out.digest.is_none() {
                    diags.error(
                        Some(&line.pos),
                        format!("digest '{}' is not 32 hexadecimal digits", shown(word)),
                    );
                }
            }
            "status_code" => {
                values::arg(line, 1, diags)?;
                for word in line.words.iter().skip(1) {
                    let (a, b) = word.split_once('-').unwrap_or((word, word));
                    let code = |s: &str| s.parse::<u16>().ok().filter(|c| (100..=599).contains(c));
                    match (code(a), code(b)) {
                        (Some(a), Some(b)) if a <= b => out.status.push((a, b)),
                        _ => diags.error(
                            Some(&line.pos),
                            format!("Invalid HTTP_GET status code '{}'", shown(word)),
                        ),
                    }
                }
            }
            _ => keywords::not_taken("real_server/HTTP_GET/url", line, diags),
        }
    }
    if out.status.is_empty() {
        out.status.push((200, 299));
    }
    // A path with blanks or control characters would break the request line.
    if out.path.is_empty() || out.path.contains(|c: char| c.is_control() || c == ' ') {
        diags.error(
            Some(&node.pos),
            format!(
                "url with path '{}' cannot be requested - ignoring",
                shown(&out.path)
            ),
        );
        return None;
    }
    Some(out)
}

fn md5(word: &str) -> Option<[u8; 16]> {
    let mut out = [0; 16];
    if word.len() != 32 || !word.is_ascii() {
        return None;
    }
    for (slot, pair) in out.iter_mut().zip(word.as_bytes().chunks_exact(2)) {
        *slot = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(out)
}

fn misc(node: &Node, mut common: Common, from: &Defaults, diags: &mut Diags) -> Option<Check> {
    let (mut script, mut timeout, mut dynamic) = (None::<Script>, None, false);
    let mut user = None;
    for line in node.children() {
        match line.key() {
            "misc_path" => script = values::script(line, diags),
            "misc_timeout" => timeout = values::timer0(line, diags),
            "misc_dynamic" => dynamic = true,
            "user" => {
                user = Some((
                    values::arg(line, 1, diags)?.to_owned(),
                    line.word(2).map(str::to_owned),
                ));
            }
            _ if common.take(line, diags) => {}
            _ => keywords::not_taken("real_server/MISC_CHECK", line, diags),
        }
    }
    let Some(mut script) = script else {
        diags.error(
            Some(&node.pos),
            "No misc_path has been given for MISC_CHECK - skipping",
        );
        return None;
    };
    if let Some((u, g)) = user {
        script.user = Some(u);
        script.group = g;
    }
    let placeholder = CheckKind::Tcp;
    let mut check = common.finish(from, 0, Duration::from_secs(1), placeholder);
    let timeout = timeout.filter(|t| !t.is_zero()).unwrap_or(check.delay_loop);
    check.kind = CheckKind::Misc(Misc {
        script,
        timeout,
        dynamic,
    });
    Some(check)
}
