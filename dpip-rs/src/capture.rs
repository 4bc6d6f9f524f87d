//! `dpip capture`: frames that devices receive and send, as a pcapng file. Our own;
//! the C daemon has a patched dpdk-pdump instead.
//!
//! Asks the daemon for copies, fetches them some times a second, and writes them.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dpvs_ctl::msg::{CaptureConf, capture_dir};
use dpvs_ctl::{Af, Ip16};

use crate::Cx;
use crate::args::Family;
use crate::failure::Failure;
use crate::flow::untold;
use crate::pcapng::{Packet, Writer};
use crate::table::{Command, Object, Row, opt};
use crate::words::{Word, Words, address, device, number};

pub(crate) const OBJECT: Object = Object {
    name: "capture",
    about: "frames as a pcapng file",
    short_keys: true,
    rows: &[Row {
        command: Command::Show,
        args: &[
            opt("dev", "DEV"),
            opt("host", "ADDRESS"),
            opt("port", "N"),
            opt("proto", "tcp|udp|sctp|icmp|icmp6|N"),
            opt("dir", "in|out|both"),
            opt("count", "N"),
            opt("seconds", "N"),
            opt("snaplen", "N"),
            opt("file", "FILE"),
        ],
        about: "Write the frames that a device (or all) receives and sends until interrupted, \
                or count or seconds are over. Host and port match either side.",
    }],
    terms: &[],
    notes: "The word show may be left out. The file is standard output unless named: \
            `dpip capture dev dpdk0 port 80 | tcpdump -nr -'.",
    run,
};

/// How often frames are fetched.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Wish {
    conf: CaptureConf,
    count: u64,
    seconds: u64,
    file: String,
}

/// Does a `capture` command.
pub(crate) fn run(cx: &mut Cx, command: Command, words: &[String]) -> Result<(), Failure> {
    if command != Command::Show {
        return Err(Failure::not_supported());
    }
    let wish = parse(words).map_err(|failure| failure.at("parse"))?;
    cx.client.capture_start(&wish.conf).map_err(untold)?;
    let done = write(cx, &wish);
    let _ = cx.client.capture_stop(&wish.conf);
    let (frames, lost) = done?;
    cx.out.complain(&format!(
        "{frames} frames captured, {lost} lost for want of room"
    ));
    Ok(())
}

fn write(cx: &Cx, wish: &Wish) -> Result<(u64, u64), Failure> {
    let out: Box<dyn Write> = if wish.file == "-" {
        Box::new(io::stdout())
    } else {
        let file = File::create(&wish.file);
        Box::new(file.map_err(|e| Failure::invalid(format!("{}: {e}", wish.file)))?)
    };
    let cannot = |e: io::Error| Failure::invalid(format!("{}: {e}", wish.file));
    let mut out = Writer::new(BufWriter::new(out)).map_err(cannot)?;
    out.flush().map_err(cannot)?;
    let end = Instant::now() + Duration::from_secs(wish.seconds);
    let mut written = 0;
    loop {
        // Once more after the end, for what was still on its way.
        let last = Instant::now() >= end;
        let (lost, frames) = cx.client.capture_read(&wish.conf)?;
        let none = frames.is_empty();
        for (frame, bytes) in frames {
            if written == wish.count {
                break;
            }
            let packet = Packet {
                dev: &frame.ifname.text(),
                sent: frame.dir == capture_dir::OUT,
                at: frame.at,
                len: frame.len,
                bytes: &bytes,
            };
            out.packet(&packet).map_err(cannot)?;
            written += 1;
        }
        out.flush().map_err(cannot)?;
        if last || written == wish.count {
            return Ok((written, lost));
        }
        if none {
            std::thread::sleep(PAUSE);
        }
    }
}

fn protocol(word: &str) -> Result<u8, Failure> {
    Ok(match word {
        "tcp" => 6,
        "udp" => 17,
        "sctp" => 132,
        "icmp" => 1,
        "icmp6" => 58,
        other => number("protocol", other)?,
    })
}

fn parse(words: &[String]) -> Result<Wish, Failure> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanos = since.map_or(0, |d| d.as_nanos() as u64);
    let mut wish = Wish {
        conf: CaptureConf {
            token: nanos ^ u64::from(std::process::id()) << 48,
            dirs: capture_dir::IN | capture_dir::OUT,
            snaplen: 65_536,
            ..CaptureConf::default()
        },
        count: u64::MAX,
        // A year.
        seconds: 31_536_000,
        file: "-".into(),
    };
    let mut words = Words::new(words, &OBJECT);
    while let Some(word) = words.next() {
        let conf = &mut wish.conf;
        match word {
            Word::Key("dev") => conf.ifname = device(words.value("dev")?)?,
            Word::Key("host") => {
                let ip = address(words.value("host")?, Family::Unspec)?;
                conf.af = Af::of(ip);
                conf.host = Ip16::from_ip(ip);
            }
            Word::Key("port") => conf.port = number("port", words.value("port")?)?,
            Word::Key("proto") => conf.proto = protocol(words.value("proto")?)?,
            Word::Key("dir") => {
                conf.dirs = match words.value("dir")? {
                    "in" => capture_dir::IN,
                    "out" => capture_dir::OUT,
                    "both" => capture_dir::IN | capture_dir::OUT,
                    other => return Err(Failure::invalid(format!("unknown direction: {other}"))),
                }
            }
            Word::Key("count") => wish.count = number("count", words.value("count")?)?,
            Word::Key("seconds") => {
                wish.seconds = number::<u32>("seconds", words.value("seconds")?)?.into();
            }
            Word::Key("snaplen") => conf.snaplen = number("snaplen", words.value("snaplen")?)?,
            Word::Key("file") => wish.file = words.value("file")?.to_owned(),
            Word::Key(other) | Word::Other(other) => {
                return Err(Failure::invalid(format!("unknown argument: {other}")));
            }
        }
    }
    Ok(wish)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn filters() {
        let wish = parse(&words("dev dpdk0 host 2001:db8::1 port 80 proto tcp dir in count 5 seconds 2 snaplen 96 file x")).unwrap();
        let conf = wish.conf;
        assert_eq!(conf.ifname.text(), "dpdk0");
        assert_eq!(conf.host.to_ip(conf.af), "2001:db8::1".parse().ok());
        assert_eq!(
            (conf.port, conf.proto, conf.dirs, conf.snaplen),
            (80, 6, 1, 96)
        );
        assert_eq!((wish.count, wish.seconds, &wish.file[..]), (5, 2, "x"));
        let all = parse(&[]).unwrap();
        assert_eq!(
            (all.conf.af, all.conf.dirs, &all.file[..]),
            (Af::UNSPEC, 3, "-")
        );
        for bad in ["port 65536", "proto x", "dir up", "what", "host 1.2.3"] {
            assert!(parse(&words(bad)).is_err(), "{bad}");
        }
    }
}
