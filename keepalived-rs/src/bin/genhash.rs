//! `genhash`: fetches a page and prints the MD5 digest of its body, for the
//! `digest` of an HTTP_GET check in keepalived.conf.
//!
//! The digest is that of the bytes behind the header, as the check takes it: a
//! chunked body is not put together. Knows nothing of keepalived's own files.
//!
//! DIFFERS: there is no TLS here, so that `-S` is refused.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use md5::{Digest, Md5};
use socket2::{Domain, Socket, Type};

const USAGE: &str = "\
Usage: genhash COMMAND [OPTIONS]
Commands:
   -s server-address -p port -u url
   -h

Options:
Long options may be shortened.
   --server          -s  address of the web server
   --port            -p  its port
   --url             -u  what to fetch
   --use-virtualhost -V  name of the virtual host to ask
   --protocol        -P  1.0 (unless told otherwise), 1.0c or 1.1;
                         1.0c is 1.0 with `Connection: close'
   --timeout         -t  seconds to wait for the server (5)
   --fwmark          -m  firewall mark of the connection
   --verbose         -v  show header and body as well
   --use-ssl         -S  not supported
   --use-sni         -I  not supported
   --help            -h  this text
";

/// A page may not be larger.
const MOST: usize = 256 << 20;

/// What to fetch, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Options {
    server: IpAddr,
    port: u16,
    url: String,
    host: Option<String>,
    version: Version,
    timeout: Duration,
    mark: Option<u32>,
    verbose: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Http10,
    Http10Close,
    Http11,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let options = match parse(&words) {
        Ok(options) => options,
        Err(line) => {
            // Nobody is left to tell when this fails.
            let _ = io::stderr().write_all(line.as_bytes());
            let _ = io::stderr().write_all(USAGE.as_bytes());
            return ExitCode::FAILURE;
        }
    };
    let start = Instant::now();
    // As ever: a server that cannot be asked is said on standard output, and
    // no error.
    let text = match fetch(&options) {
        Ok(page) => report(&options, &page, start.elapsed()),
        Err(why) => format!("{why}\n"),
    };
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

/// Long options, the letters they stand for, and whether a value follows.
const LONG: [(&str, char, bool); 11] = [
    ("use-ssl", 'S', false),
    ("use-sni", 'I', false),
    ("server", 's', true),
    ("port", 'p', true),
    ("url", 'u', true),
    ("use-virtualhost", 'V', true),
    ("verbose", 'v', false),
    ("help", 'h', false),
    ("fwmark", 'm', true),
    ("protocol", 'P', true),
    ("timeout", 't', true),
];

/// Takes the words apart. An error is the line before the usage; empty if there
/// is nothing to say.
fn parse(words: &[String]) -> Result<Options, String> {
    let mut server = None;
    let mut port = None;
    let mut url = None;
    let mut options = Options {
        server: IpAddr::from([0, 0, 0, 0]),
        port: 0,
        url: String::new(),
        host: None,
        version: Version::Http10,
        timeout: Duration::from_secs(5),
        mark: None,
        verbose: false,
    };
    let mut extra = Vec::new();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        for (letter, value) in split(word, &mut rest)? {
            match letter {
                's' => {
                    let parsed = value
                        .parse()
                        .map_err(|_| format!("server should be an IP, not {value}\n"))?;
                    server = Some(parsed);
                }
                'p' => port = Some(number::<u16>("port number", &value)?),
                'u' => url = Some(value),
                'V' => options.host = Some(value),
                'P' => {
                    options.version = match value.as_str() {
                        "1.0" => Version::Http10,
                        "1.0c" | "1.0C" => Version::Http10Close,
                        "1.1" => Version::Http11,
                        _ => return Err(format!("invalid HTTP protocol version '{value}'\n")),
                    };
                }
                't' => {
                    let seconds: u32 = number("timeout", &value)?;
                    options.timeout = Duration::from_secs(seconds.into());
                }
                'm' => options.mark = Some(number::<u32>("fwmark", &value)?),
                'v' => options.verbose = true,
                'S' | 'I' => return Err("genhash: there is no TLS in this build\n".to_owned()),
                '-' => extra.push(value),
                _ => return Err(String::new()),
            }
        }
    }
    if !extra.is_empty() {
        return Err(format!("Unexpected argument(s): {}\n", extra.join(" ")));
    }
    match (server, port, url) {
        (Some(server), Some(port), Some(url)) => Ok(Options {
            server,
            port,
            url,
            ..options
        }),
        _ => Err(String::new()),
    }
}

/// The options in a word, with their values; `-` stands for no option.
fn split(
    word: &str,
    rest: &mut std::slice::Iter<'_, String>,
) -> Result<Vec<(char, String)>, String> {
    let mut value = |glued: Option<&str>| match glued {
        Some(glued) => Ok(glued.to_owned()),
        None => rest.next().cloned().ok_or_else(String::new),
    };
    if let Some(long) = word.strip_prefix("--") {
        let (name, glued) = match long.split_once('=') {
            Some((name, glued)) => (name, Some(glued)),
            None => (long, None),
        };
        let known: Vec<_> = LONG
            .iter()
            .filter(|(full, ..)| full.starts_with(name))
            .collect();
        let exact = known.iter().find(|(full, ..)| *full == name).copied();
        let (letter, takes) = match (exact, known.as_slice()) {
            (Some((_, letter, takes)), _) | (None, [(_, letter, takes)]) => (*letter, *takes),
            _ => return Err(String::new()),
        };
        let value = if takes { value(glued)? } else { String::new() };
        return Ok(vec![(letter, value)]);
    }
    let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
        return Ok(vec![('-', word.to_owned())]);
    };
    let mut found = Vec::new();
    let mut chars = letters.chars();
    while let Some(letter) = chars.next() {
        match LONG.iter().find(|(_, known, _)| *known == letter) {
            None => return Err(format!("Unknown option -{letter}\n")),
            Some((_, _, false)) => found.push((letter, String::new())),
            Some((_, _, true)) => {
                let glued = chars.as_str();
                found.push((letter, value((!glued.is_empty()).then_some(glued))?));
                break;
            }
        }
    }
    Ok(found)
}

/// A whole number above 0.
fn number<T: std::str::FromStr + PartialOrd + From<u16>>(
    what: &str,
    word: &str,
) -> Result<T, String> {
    let digits = word.bytes().all(|byte| byte.is_ascii_digit());
    let parsed = word.parse().ok().filter(|_| digits);
    parsed
        .filter(|number| *number > T::from(0))
        .ok_or_else(|| format!("invalid {what} '{word}'\n"))
}

/// What the server sent.
#[derive(Debug, Default)]
struct Page {
    head: Vec<u8>,
    body: Vec<u8>,
}

fn request(options: &Options) -> String {
    let (version, close) = match options.version {
        Version::Http10 => ("1.0", ""),
        Version::Http10Close => ("1.0", "Connection: close\r\n"),
        Version::Http11 => ("1.1", "Connection: close\r\n"),
    };
    let host = match &options.host {
        Some(host) => host.clone(),
        None => SocketAddr::new(options.server, options.port).to_string(),
    };
    format!(
        "GET {} HTTP/{version}\r\nUser-Agent: KeepAliveClient\r\n{close}Host: {host}\r\n\r\n",
        options.url
    )
}

/// Fetches the page, or says why not.
fn fetch(options: &Options) -> Result<Page, String> {
    let mut socket = connect(options).map_err(|_| "Connection failed".to_owned())?;
    let silent = |_| "no data received from remote webserver".to_owned();
    socket
        .write_all(request(options).as_bytes())
        .map_err(silent)?;
    let deadline = Instant::now() + options.timeout;
    let mut bytes = Vec::new();
    let mut buf = vec![0; 64 << 10];
    let mut page = None;
    loop {
        if Instant::now() > deadline {
            return Err("Timeout".to_owned());
        }
        let n = match socket.read(&mut buf) {
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Err("Timeout".to_owned());
            }
            // A reset behind the body is how some servers close.
            Err(_) => 0,
        };
        bytes.extend_from_slice(buf.get(..n).unwrap_or(&[]));
        if page.is_none() {
            page = head_end(&bytes);
        }
        let length = page.and_then(|end| content_length(bytes.get(..end).unwrap_or(&[])));
        let whole = match (page, length) {
            (Some(end), Some(length)) => bytes.len() >= end.saturating_add(length),
            _ => false,
        };
        if n == 0 || whole {
            let end = page.ok_or_else(|| "no data received from remote webserver".to_owned())?;
            let mut body = bytes.split_off(end);
            body.truncate(length.unwrap_or(usize::MAX));
            return Ok(Page { head: bytes, body });
        }
        if bytes.len() > MOST {
            return Err(format!("the page is larger than {} MB", MOST >> 20));
        }
    }
}

fn connect(options: &Options) -> io::Result<Socket> {
    let address = SocketAddr::new(options.server, options.port);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if let Some(mark) = options.mark {
        socket.set_mark(mark)?;
    }
    socket.connect_timeout(&address.into(), options.timeout)?;
    socket.set_read_timeout(Some(options.timeout))?;
    socket.set_write_timeout(Some(options.timeout))?;
    Ok(socket)
}

/// Where the body begins.
fn head_end(bytes: &[u8]) -> Option<usize> {
    let found = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    found.map(|at| at + 4)
}

fn content_length(head: &[u8]) -> Option<usize> {
    String::from_utf8_lossy(head).lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let length = name.eq_ignore_ascii_case("content-length");
        length.then(|| value.trim().parse().ok())?
    })
}

fn report(options: &Options, page: &Page, took: Duration) -> String {
    let digest = Md5::digest(&page.body);
    let hex = digest.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    if !options.verbose {
        return format!("{hex}\n");
    }
    let mut text =
        "-----------------------[    HTTP Header Buffer    ]-----------------------\n".to_owned();
    dump(&mut text, &page.head);
    text.push_str("-----------------------[ HTTP Header Ascii Buffer ]-----------------------\n");
    text.push_str(&String::from_utf8_lossy(&page.head));
    text.push('\n');
    if !page.body.is_empty() {
        text.push_str(
            "-----------------------[        HTML Buffer        ]-----------------------\n",
        );
        dump(&mut text, &page.body);
    }
    text.push_str(
        "\n-----------------------[    HTML hash resulting    ]-----------------------\n",
    );
    dump(&mut text, &digest);
    let _ = write!(
        text,
        "-----------------------[ HTML hash final resulting ]-----------------------\n{hex}\n\n\
         Global response time for [{}] = {} usecs\n",
        options.url,
        took.as_micros()
    );
    text
}

/// Sixteen bytes a line, as numbers and as characters.
fn dump(text: &mut String, bytes: &[u8]) {
    for (number, line) in bytes.chunks(16).enumerate() {
        let _ = write!(text, "{:04}  ", number * 16);
        for place in 0..16 {
            match line.get(place) {
                Some(byte) => {
                    let _ = write!(text, "{byte:02x} ");
                }
                None => text.push_str("   "),
            }
            if place == 7 {
                text.push_str("- ");
            }
        }
        text.push_str("  ");
        for place in 0..16 {
            let byte = line.get(place).copied();
            text.push(match byte {
                Some(byte) if byte.is_ascii_graphic() || byte == b' ' => char::from(byte),
                Some(_) => '.',
                None => ' ',
            });
        }
        text.push('\n');
    }
}
