//! HTTP_GET: fetches each URL, compares status and digest of the body.
//!
//! DIFFERS: keepalived fetches one URL per delay_loop; here one check fetches
//! all of them, one after another, and the first that fails decides.

use std::time::Duration;

use md5::{Digest, Md5};
use nom::IResult;
use nom::Parser;
use nom::bytes::complete::{tag, take_while_m_n, take_while1};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::{Seen, tcp};
use crate::conf::model::{Check, Http, HttpVersion, Proxy, Url};

/// More header than this is no web server.
const MAX_HEAD: usize = 64 << 10;
/// Body bytes read when nobody looks at them.
const MAX_IDLE_BODY: usize = 256 << 10;
/// Body bytes read for a digest.
const MAX_BODY: usize = 64 << 20;

/// Passes when each URL does.
pub(super) async fn look(check: &Check, http: &Http) -> Seen {
    for url in &http.urls {
        // A server that sends a byte now and then must not hold the check for ever.
        let limit = check.timeout.max(Duration::from_secs(1)) * 10;
        let result = match timeout(limit, fetch(check, http, url)).await {
            Ok(r) => r,
            Err(_) => Err(format!("not finished within {} s", tcp::seconds(limit))),
        };
        if let Err(why) = result {
            return Seen::bad(format!("url({}): {why}", url.path));
        }
    }
    Seen::good("all urls answered as expected")
}

fn request(http: &Http, url: &Url) -> Vec<u8> {
    let mut out = Vec::new();
    match http.proxy {
        Proxy::Off => {}
        Proxy::V1 | Proxy::V1Insecure => out.extend_from_slice(b"PROXY UNKNOWN\r\n"),
        // Signature, version 2 with command LOCAL, no address.
        Proxy::V2 | Proxy::V2Insecure => {
            out.extend_from_slice(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
        }
    }
    let (version, close) = match http.version {
        HttpVersion::Http10 => ("1.0", ""),
        HttpVersion::Http10Close => ("1.0", "Connection: close\r\n"),
        HttpVersion::Http11 => ("1.1", "Connection: close\r\n"),
    };
    let text = format!(
        "GET {} HTTP/{version}\r\nUser-Agent: KeepAliveClient\r\n{close}Host: {}\r\n\r\n",
        url.path, url.host
    );
    out.extend_from_slice(text.as_bytes());
    out
}

async fn fetch(check: &Check, http: &Http, url: &Url) -> Result<(), String> {
    let mut stream = tcp::connect(check).await.map_err(|e| e.to_string())?;
    let io = |e: std::io::Error| e.to_string();
    stream.write_all(&request(http, url)).await.map_err(io)?;
    let mut answer = Answer::default();
    let mut buf = vec![0; 16 << 10];
    loop {
        let n = match timeout(check.timeout, stream.read(&mut buf)).await {
            Ok(Ok(n)) => n,
            // A reset after the body is how some servers close.
            Ok(Err(_)) if answer.head_done => 0,
            Ok(Err(e)) => return Err(e.to_string()),
            Err(_) => return Err(format!("no data within {} s", tcp::seconds(check.timeout))),
        };
        if n == 0 {
            break;
        }
        let done = answer.push(buf.get(..n).unwrap_or_default(), url.digest.is_some())?;
        if done {
            break;
        }
    }
    answer.judge(url)
}

/// An HTTP answer as it comes in.
#[derive(Default)]
struct Answer {
    head: Vec<u8>,
    head_done: bool,
    status: u16,
    length: Option<usize>,
    body: usize,
    digest: Md5,
}

impl Answer {
    /// Takes bytes; true when no more are needed.
    fn push(&mut self, bytes: &[u8], digest: bool) -> Result<bool, String> {
        let mut body = bytes;
        let rest: Vec<u8>;
        if !self.head_done {
            self.head.extend_from_slice(bytes);
            let Some(end) = end_of_head(&self.head) else {
                if self.head.len() > MAX_HEAD {
                    return Err(format!("more than {MAX_HEAD} bytes of header"));
                }
                return Ok(false);
            };
            rest = self.head.split_off(end);
            body = &rest;
            self.head_done = true;
            self.status = status(&self.head).ok_or("the answer is not HTTP")?;
            self.length = content_length(&self.head);
        }
        let left = self
            .length
            .map_or(usize::MAX, |l| l.saturating_sub(self.body));
        let body = body.get(..body.len().min(left)).unwrap_or_default();
        self.digest.update(body);
        self.body += body.len();
        if self.body > if digest { MAX_BODY } else { MAX_IDLE_BODY } {
            return if digest {
                Err("the body is too large".to_owned())
            } else {
                Ok(true)
            };
        }
        Ok(self.length.is_some_and(|l| self.body >= l))
    }

    fn judge(self, url: &Url) -> Result<(), String> {
        if !self.head_done {
            return Err(if self.head.is_empty() {
                "closed without an answer".to_owned()
            } else {
                "closed in the middle of the header".to_owned()
            });
        }
        if !url
            .status
            .iter()
            .any(|(a, b)| (*a..=*b).contains(&self.status))
        {
            return Err(format!(
                "status {} is not among those expected",
                self.status
            ));
        }
        let Some(want) = url.digest else {
            return Ok(());
        };
        if self.length.is_some_and(|l| self.body < l) {
            return Err("closed in the middle of the body".to_owned());
        }
        let got: [u8; 16] = self.digest.finalize().into();
        if got == want {
            return Ok(());
        }
        let hex: String = got.iter().map(|b| format!("{b:02x}")).collect();
        Err(format!("MD5 digest of the body is {hex}"))
    }
}

fn end_of_head(head: &[u8]) -> Option<usize> {
    let crlf = head
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .map(|p| p + 4);
    let lf = head.windows(2).position(|w| w == b"\n\n").map(|p| p + 2);
    crlf.into_iter().chain(lf).min()
}

fn status(head: &[u8]) -> Option<u16> {
    fn line(i: &[u8]) -> IResult<&[u8], &[u8]> {
        let version = take_while1(|b: u8| b.is_ascii_digit() || b == b'.');
        let blank = take_while1(|b: u8| b == b' ');
        let code = take_while_m_n(3, 3, |b: u8| b.is_ascii_digit());
        let (i, (_, _, _, code)) = (tag("HTTP/"), version, blank, code).parse(i)?;
        Ok((i, code))
    }
    let (_, code) = line(head).ok()?;
    std::str::from_utf8(code).ok()?.parse().ok()
}

fn content_length(head: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(head);
    text.lines().find_map(|l| {
        let (name, value) = l.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(version: HttpVersion, proxy: Proxy) -> (Http, Url) {
        let url = Url {
            path: "/404".to_owned(),
            host: "10.0.0.12:80".to_owned(),
            digest: None,
            status: vec![(200, 299)],
        };
        (
            Http {
                urls: vec![url.clone()],
                version,
                fast_recovery: false,
                proxy,
            },
            url,
        )
    }

    #[test]
    fn requests_are_keepaliveds() {
        // As recorded from keepalived 2.2.7.
        let (h, u) = http(HttpVersion::Http10, Proxy::Off);
        assert_eq!(
            request(&h, &u),
            b"GET /404 HTTP/1.0\r\nUser-Agent: KeepAliveClient\r\nHost: 10.0.0.12:80\r\n\r\n"
        );
        let (h, u) = http(HttpVersion::Http11, Proxy::V1);
        assert_eq!(
            request(&h, &u),
            b"PROXY UNKNOWN\r\nGET /404 HTTP/1.1\r\nUser-Agent: KeepAliveClient\r\nConnection: close\r\nHost: 10.0.0.12:80\r\n\r\n"
        );
        let (h, u) = http(HttpVersion::Http10, Proxy::V2Insecure);
        assert!(request(&h, &u).starts_with(b"\r\n\r\n\0\r\nQUIT\n \0\0\0GET "));
    }

    fn judge(answer: &[u8], digest: Option<[u8; 16]>, step: usize) -> Result<(), String> {
        let (_, mut u) = http(HttpVersion::Http10, Proxy::Off);
        u.digest = digest;
        let mut a = Answer::default();
        for part in answer.chunks(step) {
            if a.push(part, digest.is_some())? {
                break;
            }
        }
        a.judge(&u)
    }

    #[test]
    fn answers() {
        let md5_of_abc = *b"\x90\x01\x50\x98\x3c\xd2\x4f\xb0\xd6\x96\x3f\x7d\x28\xe1\x7f\x72";
        for step in [1, 3, 1000] {
            assert_eq!(
                judge(b"HTTP/1.0 200 OK\r\n\r\nabc", Some(md5_of_abc), step),
                Ok(())
            );
            let long = b"HTTP/1.1 200 OK\r\nContent-length: 3\r\n\r\nabcdef";
            assert_eq!(judge(long, Some(md5_of_abc), step), Ok(()));
            assert_eq!(judge(b"HTTP/1.0 299 x\n\n", None, step), Ok(()));
            assert!(judge(b"HTTP/1.0 404 No\r\n\r\n", None, step).is_err());
            assert!(judge(b"HTTP/1.0 200 OK\r\n\r\nabd", Some(md5_of_abc), step).is_err());
            assert!(judge(b"HTTP/1.0 200 OK\r\n", None, step).is_err());
            assert!(judge(b"SSH-2.0-x\r\n\r\n", None, step).is_err());
            assert!(judge(b"", None, step).is_err());
        }
        assert!(judge(&vec![b'x'; MAX_HEAD + 100], None, 4096).is_err());
    }
}
