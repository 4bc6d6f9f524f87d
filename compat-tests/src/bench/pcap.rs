//! The traffic: pcap files of 64-byte frames of N flows to one service.
//!
//! Flows differ in source address and port and come in a shuffled order that
//! is the same in every run. UDP has one frame a flow. TCP has a SYN and a
//! data segment a flow: all SYNs first, so that each flow exists by the time
//! its data comes.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::Ipv4Addr;
use std::path::Path;

use crate::error::{Context, Result};
use crate::frames::{self, Mac, Tcp, flag, proto};

/// The service's address.
pub const VIP: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
/// The service's port.
pub const VPORT: u16 = 80;
/// What `net_pcap` calls itself as port 0.
pub const MAC: Mac = [0x02, 0x70, 0x63, 0x61, 0x70, 0x00];
const CLIENT: Mac = [0x02, 0, 0, 0, 0xc1, 0x01];
/// Length of every frame, without the check sequence.
pub const FRAME: usize = 64;
/// A file of fewer frames would be read from the first-level cache for ever.
const FRAMES_MIN: usize = 1024;

/// Layer-4 protocol of the flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proto {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
}

impl Proto {
    /// As in names of rows.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Proto::Udp => "udp",
            Proto::Tcp => "tcp",
        }
    }
}

/// What the flows of a file are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A frame a flow (UDP); a SYN and a data segment (TCP).
    Established,
    /// The first frame of each flow only.
    First,
}

/// Writes the file; says how many frames it has.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, proto: Proto, kind: Kind, flows: usize) -> Result<usize> {
    let what = || format!("writing {}", path.display());
    let mut order: Vec<u32> = (0..u32::try_from(flows).what(what)?).collect();
    shuffle(&mut order);
    let mut file = BufWriter::new(File::create(path).what(what)?);
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1] {
        file.write_all(&word.to_le_bytes()).what(what)?;
    }
    let passes: &[bool] = match (proto, kind) {
        (Proto::Tcp, Kind::Established) => &[true, false],
        _ => &[true],
    };
    let mut frames = 0;
    while frames < FRAMES_MIN || frames < flows {
        for &first in passes {
            for &flow in &order {
                let frame = frame(proto, flow, first);
                let len = u32::try_from(frame.len()).what(what)?;
                for word in [0, 0, len, len] {
                    file.write_all(&word.to_le_bytes()).what(what)?;
                }
                file.write_all(&frame).what(what)?;
                frames += 1;
            }
        }
        if kind == Kind::First {
            break;
        }
    }
    file.flush().what(what)?;
    Ok(frames)
}

/// Frames such a file has.
#[must_use]
pub fn frames(proto: Proto, kind: Kind, flows: usize) -> usize {
    let pass = match (proto, kind) {
        (Proto::Tcp, Kind::Established) => 2 * flows,
        _ => flows,
    };
    match kind {
        Kind::First => pass,
        Kind::Established => FRAMES_MIN.max(flows).div_ceil(pass) * pass,
    }
}

/// Source of a flow: distinct up to 4,096 x 60,000 of them.
fn source(flow: u32) -> (Ipv4Addr, u16) {
    const CLIENTS: u32 = 4096;
    let address = u32::from(Ipv4Addr::new(10, 128, 0, 1)) + flow % CLIENTS;
    let port = 1024 + u16::try_from(flow / CLIENTS).unwrap_or(0);
    (address.into(), port)
}

fn frame(proto: Proto, flow: u32, first: bool) -> Vec<u8> {
    let (src, sport) = source(flow);
    let (a, b) = (src.octets(), VIP.octets());
    let (number, segment) = match proto {
        Proto::Udp => (
            proto::UDP,
            frames::udp(&a, &b, sport, VPORT, &[0x55; FRAME - 14 - 20 - 8]),
        ),
        Proto::Tcp => {
            let tcp = Tcp {
                sport,
                dport: VPORT,
                seq: flow.wrapping_mul(0x9e37_79b9),
                ack: 0,
                flags: flag::SYN,
                // MSS 1460.
                options: &[2, 4, 0x05, 0xb4],
                data: &[],
            };
            let tcp = if first {
                tcp
            } else {
                Tcp {
                    seq: tcp.seq.wrapping_add(1),
                    ack: 1,
                    flags: flag::ACK,
                    options: &[],
                    data: &[0x55; FRAME - 14 - 20 - 20],
                    ..tcp
                }
            };
            (proto::TCP, tcp.build(&a, &b))
        }
    };
    let packet = frames::ipv4(src, VIP, number, &segment);
    let mut frame = frames::ethernet(MAC, CLIENT, 0x0800, &packet);
    frame.resize(FRAME, 0);
    frame
}

/// Fisher and Yates, with a fixed linear congruential generator.
fn shuffle(order: &mut [u32]) {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for i in (1..order.len()).rev() {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let j = usize::try_from(state >> 33).unwrap_or(0) % (i + 1);
        order.swap(i, j);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn read(path: &Path) -> Vec<Vec<u8>> {
        let file = std::fs::read(path).unwrap();
        file[24..]
            .chunks(16 + FRAME)
            .map(|record| record[16..].to_vec())
            .collect()
    }

    #[test]
    fn a_file_has_its_flows_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.pcap");
        for (proto, kind, flows) in [
            (Proto::Udp, Kind::Established, 1),
            (Proto::Udp, Kind::Established, 5000),
            (Proto::Tcp, Kind::Established, 3000),
            (Proto::Tcp, Kind::First, 100),
        ] {
            let count = write(&path, proto, kind, flows).unwrap();
            assert_eq!(count, frames(proto, kind, flows));
            let frames = read(&path);
            assert_eq!(frames.len(), count);
            assert!(frames.iter().all(|frame| frame.len() == FRAME));
            let tuples: HashSet<&[u8]> = frames.iter().map(|frame| &frame[26..38]).collect();
            assert_eq!(tuples.len(), flows);
            assert!(frames.iter().all(|f| frames::checksum(&[&f[14..34]]) == 0));
        }
    }

    #[test]
    fn tcp_begins_with_a_syn() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.pcap");
        write(&path, Proto::Tcp, Kind::Established, 2000).unwrap();
        let frames = read(&path);
        let flags: Vec<u8> = frames.iter().map(|frame| frame[47]).collect();
        assert!(flags[..2000].iter().all(|&f| f == flag::SYN));
        assert!(flags[2000..].iter().all(|&f| f == flag::ACK));
    }
}
