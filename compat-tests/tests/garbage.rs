//! Garbage on every input of the running daemon: it lives on, serves, and
//! counts what it dropped.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use compat_tests::frames::{Mac, Tcp, Wire, ethernet, flag, ipv4, ipv4_with, ipv6, proto, udp};
use compat_tests::lab::{Lab, addr, url};
use compat_tests::netns::Netns;
use compat_tests::privilege::root_or_skip;
use compat_tests::{Context, Error, Result, wait};

const SOON: Duration = Duration::from_secs(10);

/// A small generator of repeatable noise (xorshift64*).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap_or(0) % limit.max(1)
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next().to_le_bytes()[7]).collect()
    }
}

fn v4(text: &str) -> Result<Ipv4Addr> {
    text.parse().what(|| text.to_owned())
}

fn v6(text: &str) -> Result<Ipv6Addr> {
    text.parse().what(|| text.to_owned())
}

/// Sound frames to start from: what comes in on the wire of `from` to `to`.
fn sound(dst: Mac, src: Mac, from: (&str, &str), to: (&str, &str)) -> Result<Vec<Vec<u8>>> {
    let (src4, dst4, src6, dst6) = (v4(from.0)?, v4(to.0)?, v6(from.1)?, v6(to.1)?);
    let (s4, d4, s6, d6) = (src4.octets(), dst4.octets(), src6.octets(), dst6.octets());
    let syn = Tcp {
        sport: 999,
        dport: 80,
        seq: 1,
        ack: 0,
        flags: flag::SYN,
        options: &[2, 4, 5, 0xb4, 1, 1, 4, 2],
        data: b"",
    };
    let data = Tcp {
        seq: 2,
        ack: 1,
        flags: flag::ACK,
        options: &[254, 8, 1, 2, 3, 4, 5, 6],
        data: b"GET / HTTP/1.0\r\n\r\n",
        ..syn
    };
    let echo = [8, 0, 0xf7, 0xfd, 0, 1, 0, 1];
    // Fragmentation needed, quoting a packet of ours.
    let quoted = ipv4(dst4, src4, proto::TCP, &syn.build(&d4, &s4));
    let needed = [&[3, 4, 0, 0, 0, 0, 5, 0][..], &quoted].concat();
    let ns = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &d6, &[1, 1], &src].concat();
    let extension = [
        &[proto::UDP, 0, 1, 4, 0, 0, 0, 0][..],
        &udp(&s6, &d6, 5, 7, b"x"),
    ]
    .concat();
    let fragment6 = [
        &[proto::UDP, 0, 0, 1, 0, 0, 0, 9][..],
        &udp(&s6, &d6, 5, 7, b"x"),
    ]
    .concat();
    let arp = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &src, &s4, &[0; 6], &d4].concat();
    let any = b"some data of a datagram";
    let packets4 = [
        ipv4(src4, dst4, proto::TCP, &syn.build(&s4, &d4)),
        ipv4(src4, dst4, proto::TCP, &data.build(&s4, &d4)),
        ipv4(src4, dst4, proto::UDP, &udp(&s4, &d4, 5, 7, any)),
        ipv4(src4, dst4, proto::ICMP, &echo),
        ipv4(src4, dst4, proto::ICMP, &needed),
        // Fragments: first, middle, last, and one past the end of the world.
        ipv4_with(
            src4,
            dst4,
            proto::UDP,
            0x2000,
            64,
            &[],
            &udp(&s4, &d4, 5, 7, any),
        ),
        ipv4_with(src4, dst4, proto::UDP, 0x2001, 64, &[], any),
        ipv4_with(src4, dst4, proto::TCP, 0x0005, 64, &[], any),
        ipv4_with(src4, dst4, proto::UDP, 0x1fff, 64, &[], any),
        // Options: record route, a length of nothing, a length past the header.
        ipv4_with(
            src4,
            dst4,
            proto::UDP,
            0,
            64,
            &[7, 7, 4, 0, 0, 0, 0, 0],
            &udp(&s4, &d4, 5, 7, any),
        ),
        ipv4_with(
            src4,
            dst4,
            proto::TCP,
            0,
            64,
            &[7, 0, 0, 0],
            &syn.build(&s4, &d4),
        ),
        ipv4_with(
            src4,
            dst4,
            proto::TCP,
            0,
            64,
            &[131, 255, 4, 0],
            &syn.build(&s4, &d4),
        ),
        ipv4_with(src4, dst4, proto::TCP, 0, 0, &[], &syn.build(&s4, &d4)),
        ipv4(dst4, dst4, proto::TCP, &syn.build(&d4, &d4)),
        ipv4(src4, dst4, 132, any),
        ipv4(src4, dst4, 47, any),
        ipv4(
            src4,
            Ipv4Addr::BROADCAST,
            proto::UDP,
            &udp(&s4, &[255; 4], 5, 7, any),
        ),
    ];
    let packets6 = [
        ipv6(src6, dst6, proto::TCP, &syn.build(&s6, &d6)),
        ipv6(src6, dst6, proto::TCP, &data.build(&s6, &d6)),
        ipv6(src6, dst6, proto::UDP, &udp(&s6, &d6, 5, 7, any)),
        ipv6(src6, dst6, proto::ICMP6, &ns),
        ipv6(src6, dst6, 0, &extension),
        ipv6(src6, dst6, 60, &extension),
        ipv6(src6, dst6, 43, &extension),
        ipv6(src6, dst6, 44, &fragment6),
        ipv6(src6, dst6, 59, b""),
        ipv6(
            Ipv6Addr::LOCALHOST,
            dst6,
            proto::UDP,
            &udp(&s6, &d6, 5, 7, any),
        ),
    ];
    let mut frames: Vec<Vec<u8>> = packets4
        .iter()
        .map(|p| ethernet(dst, src, 0x0800, p))
        .collect();
    frames.extend(packets6.iter().map(|p| ethernet(dst, src, 0x86dd, p)));
    frames.push(ethernet([255; 6], src, 0x0806, &arp));
    frames.push(ethernet(
        dst,
        src,
        0x8100,
        &[&[0, 5, 8, 0][..], &packets4[0]].concat(),
    ));
    frames.push(ethernet(dst, src, 0x88cc, any));
    frames.push(ethernet(dst, src, 5, any));
    Ok(frames)
}

/// The sound frames and their broken relatives: cut off anywhere, too long,
/// with changed bytes, with changed length fields.
fn corpus(sound: &[Vec<u8>], noise: &mut Noise) -> Vec<Vec<u8>> {
    let mut frames = sound.to_vec();
    for frame in sound {
        // The kernel sends nothing shorter than an Ethernet header.
        frames.extend((14..frame.len()).map(|len| frame[..len].to_vec()));
        frames.push([frame.as_slice(), &[0; 700]].concat());
        frames.push([frame.as_slice(), &noise.bytes(1514 - frame.len())].concat());
        for _ in 0..150 {
            let mut broken = frame.clone();
            for _ in 0..=noise.below(4) {
                // Headers mostly, where a wrong byte means something.
                let at = 14 + noise.below((broken.len() - 14).min(64));
                broken[at] = noise.next().to_le_bytes()[7];
            }
            frames.push(broken);
        }
        // Length fields: IPv4 total, IPv6 payload, header lengths.
        for (at, value) in [
            (16, 0),
            (16, 0xff),
            (17, 0),
            (17, 0xff),
            (18, 0xff),
            (14, 0x40),
            (14, 0x4f),
            (14, 0x65),
        ] {
            let mut broken = frame.clone();
            if let Some(byte) = broken.get_mut(at) {
                *byte = value;
            }
            frames.push(broken);
        }
    }
    for _ in 0..500 {
        let len = 2 + noise.below(1400);
        let ethertype = [[8, 0], [0x86, 0xdd], [8, 6], [0x81, 0]][noise.below(4)];
        let head = &sound[0][..12];
        frames.push([head, &ethertype, &noise.bytes(len)].concat());
    }
    frames
}

/// Packets that the workers say they have dropped.
fn dropped(lab: &Lab) -> Result<u64> {
    let text = lab.dpip(&["-s", "link", "show", "cpu"])?.success()?;
    let lines: Vec<&str> = text.lines().collect();
    let mut sum = 0;
    for pair in lines.windows(2) {
        let heads = pair[0].split_whitespace();
        let values = pair[1].split_whitespace();
        for (head, value) in heads.zip(values) {
            if head == "dropped" {
                sum += value.parse::<u64>().unwrap_or(0);
            }
        }
    }
    Ok(sum)
}

fn mac_of(ns: &Netns, dev: &str) -> Result<Mac> {
    Ok(Wire::open(ns, dev)?.mac())
}

#[test]
fn garbage_packets_are_dropped_and_counted_and_nothing_else_happens() -> Result<()> {
    if !root_or_skip("garbage_packets_are_dropped_and_counted_and_nothing_else_happens")? {
        return Ok(());
    }
    let mut lab = Lab::for_test("garbage")?;
    lab.with_logs(|lab| {
        let before = dropped(lab)?;
        let mut noise = Noise(0x5eed);
        let outside = Wire::open(&lab.client, "eth0")?;
        let inside = Wire::open(&lab.servers[0], "eth0")?;
        let dpdk0 = mac_of(&lab.director, "vout")?;
        let dpdk1 = mac_of(&lab.director, "vin")?;
        // Strangers' addresses: the client's own state is not the subject.
        let stranger = ("192.0.2.66", "2001:db8:1::66");
        let server = (addr::RS4[0], addr::RS6[0]);
        let cases = [
            (
                &outside,
                sound(
                    dpdk0,
                    [2, 0, 0, 0, 0, 66],
                    stranger,
                    (addr::VIP4, addr::VIP6),
                )?,
            ),
            (
                &outside,
                sound(
                    dpdk0,
                    [2, 0, 0, 0, 0, 66],
                    stranger,
                    (addr::OUTSIDE4, addr::OUTSIDE6),
                )?,
            ),
            (
                &outside,
                sound(
                    dpdk0,
                    [2, 0, 0, 0, 0, 66],
                    stranger,
                    (addr::KERNEL4, addr::KERNEL6),
                )?,
            ),
            (
                &inside,
                sound(
                    dpdk1,
                    inside.mac(),
                    server,
                    ("10.0.1.201", "2001:db8:2::201"),
                )?,
            ),
            (
                &inside,
                sound(
                    dpdk1,
                    inside.mac(),
                    server,
                    ("203.0.113.9", "2001:db8:9::9"),
                )?,
            ),
        ];
        let mut sent = 0_u32;
        for (wire, sound) in cases {
            for (i, frame) in corpus(&sound, &mut noise).iter().enumerate() {
                wire.send(frame)?;
                sent += 1;
                // Leave the port time to take them: lost ones test nothing.
                if i % 64 == 0 {
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
            lab.still_running()?;
        }
        assert!(sent > 20_000, "only {sent} frames were made");
        // Everything still works, in both families, and the kernel answers.
        for vip in [addr::VIP4, addr::VIP6] {
            let tally = lab.requests(&url(vip, "/"), 20)?;
            assert_eq!(
                tally.failures,
                Vec::<String>::new(),
                "after {sent} frames of garbage"
            );
        }
        for host in [addr::VIP4, addr::VIP6, addr::KERNEL4, addr::KERNEL6] {
            wait::until_true(&format!("{host} to answer a ping"), SOON, || lab.ping(host))?;
        }
        let counted = dropped(lab)?.saturating_sub(before);
        assert!(
            counted > u64::from(sent) / 10,
            "{sent} frames of garbage, {counted} counted drops"
        );
        Ok(())
    })
}

/// A header of the control protocol: version, id, kind, length of the body.
fn header(version: u32, id: u32, kind: u32, len: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [version, id, kind, 0] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(len.to_le_bytes());
    bytes
}

#[test]
fn garbage_and_silence_on_the_control_socket_stop_nobody() -> Result<()> {
    if !root_or_skip("garbage_and_silence_on_the_control_socket_stop_nobody")? {
        return Ok(());
    }
    let mut lab = Lab::for_test("socket")?;
    lab.with_logs(|lab| {
        let path = lab.file("dpvs.ipc");
        let connect = || UnixStream::connect(&path).what(|| "control socket");
        let mut noise = Noise(7);
        // Clients that never say a word, or stop in the middle of one, stay
        // connected all the while.
        let mut silent = Vec::new();
        for _ in 0..20 {
            let mut stream = connect()?;
            let _ = stream.write_all(&header(0x10000, 19, 0, 64)[..noise.below(23)]);
            silent.push(stream);
        }
        let mut texts: Vec<Vec<u8>> = (0..200)
            .map(|_| {
                let len = 1 + noise.below(4000);
                noise.bytes(len)
            })
            .collect();
        for id in [0, 10, 13, 19, 28, 47, 61, 93, 1 << 20, u32::MAX] {
            for len in [0, 1, 7, 264, 1 << 20, 1 << 40, u64::MAX] {
                for kind in [0, 1, 2, u32::MAX] {
                    let body = noise.bytes(usize::try_from(len).unwrap_or(0).min(4096));
                    texts.push([header(0x10000, id, kind, len), body].concat());
                }
            }
        }
        for (i, text) in texts.iter().enumerate() {
            let mut stream = connect()?;
            // The daemon may hang up at any point.
            let _ = stream.write_all(text);
            if i % 3 == 0 {
                drop(stream);
            } else if i % 3 == 1 {
                let _ = stream.shutdown(std::net::Shutdown::Write);
                let _ = stream.set_read_timeout(Some(Duration::from_millis(5)));
                let _ = stream.read(&mut [0; 64]);
            } else {
                silent.push(stream);
                if silent.len() > 60 {
                    silent.remove(20);
                }
            }
            if i % 40 == 0 {
                let start = Instant::now();
                let list = lab.ipvsadm(&["-Ln"])?.success()?;
                assert!(list.contains("192.0.2.10:80"), "{list}");
                let took = start.elapsed();
                assert!(
                    took < Duration::from_secs(2),
                    "ipvsadm took {took:?} beside garbage"
                );
                lab.still_running()?;
            }
        }
        let tally = lab.requests(&url(addr::VIP4, "/"), 20)?;
        assert_eq!(tally.failures, Vec::<String>::new());
        // A client that asks for a long answer and does not take it.
        drop(silent);
        let list = lab.ipvsadm(&["-Ln"])?;
        if !list.ok() {
            return Err(Error::new(list.stderr));
        }
        Ok(())
    })
}
