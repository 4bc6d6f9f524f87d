//! The traffic: 64-byte frames of N flows to one virtual service, as records of
//! a pcap file or stream.
//!
//! Flows are numbers: client address and port follow from the number, the same
//! in every run. What the director chose for a flow (its local address and
//! port, the server) is needed for frames of the servers.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use crate::error::{Context, Result};
use crate::frames::{self, Mac, Tcp, flag, proto};

/// The service's port.
pub const VPORT: u16 = 80;
/// The servers' port.
pub const RPORT: u16 = 8080;
/// Servers and local addresses, each.
pub const SERVERS: u16 = 16;
const CLIENT: Mac = [0x02, 0, 0, 0, 0xc1, 0x01];
const CLIENTS: u32 = 4096;
const CLIENT_PORTS: u16 = 1024;
/// Length of a frame, without the check sequence; TCP over IPv6 needs more.
pub const FRAME: usize = 64;
/// A file of fewer frames would be read from the first-level cache for ever.
const FRAMES_MIN: usize = 1024;
/// Where a server's sequence numbers begin.
const SERVER_ISN: u32 = 1_000_000;

/// What `net_pcap` calls itself, by the order of such ports.
#[must_use]
pub fn mac(nth: u8) -> Mac {
    [0x02, 0x70, 0x63, 0x61, 0x70, nth]
}

/// Layer-4 protocol of the flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proto {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
}

/// Protocol and family of the flows of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    /// Layer 4.
    pub proto: Proto,
    /// IPv6 instead of IPv4.
    pub v6: bool,
}

/// A packet of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet {
    /// What opens it: a datagram, or a SYN.
    First,
    /// The server's answer to a SYN.
    SynAck,
    /// Data of the client in an established connection; it acknowledges data of
    /// the server, so that no option is put in any more.
    Data,
    /// Data of the client that gets the option put in: nothing of the server's
    /// is acknowledged yet.
    FirstData,
    /// Data of the server.
    Reply,
}

/// What the director chose for a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chosen {
    /// Local address.
    pub laddr: IpAddr,
    /// Local port.
    pub lport: u16,
    /// Server.
    pub server: IpAddr,
}

impl Traffic {
    /// As in names of rows.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.proto {
            Proto::Udp => "udp",
            Proto::Tcp => "tcp",
        }
    }

    /// 4 or 6.
    #[must_use]
    pub fn af(self) -> u8 {
        if self.v6 { 6 } else { 4 }
    }

    /// 10.net.sub.0 or 2001:db8:net:sub::, and so far on.
    fn ip(self, (net, sub): (u8, u8), host: u32) -> IpAddr {
        if self.v6 {
            let base = Ipv6Addr::new(0x2001, 0xdb8, net.into(), sub.into(), 0, 0, 0, 0);
            Ipv6Addr::from_bits(base.to_bits() + u128::from(host)).into()
        } else {
            let base = Ipv4Addr::new(10, net, sub, 0);
            Ipv4Addr::from_bits(base.to_bits() + host).into()
        }
    }

    /// The service's address.
    #[must_use]
    pub fn vip(self) -> IpAddr {
        self.ip((1, 0), 1)
    }

    /// The director's address beside the servers, with its prefix length.
    #[must_use]
    pub fn inside(self) -> String {
        format!("{}/{}", self.ip((2, 0), 1), if self.v6 { 48 } else { 16 })
    }

    /// Address of server `i`.
    #[must_use]
    pub fn server(self, i: u16) -> IpAddr {
        self.ip((2, 1), 1 + u32::from(i))
    }

    /// Local address `i`.
    #[must_use]
    pub fn laddr(self, i: u16) -> IpAddr {
        self.ip((2, 2), 1 + u32::from(i))
    }

    /// Source of a flow: distinct up to 4,096 x 60,000 of them.
    fn client(self, flow: u32) -> (IpAddr, u16) {
        let port = CLIENT_PORTS + u16::try_from(flow / CLIENTS).unwrap_or(0);
        (self.ip((128, 0), 1 + flow % CLIENTS), port)
    }

    /// The flow of a client's address and port.
    #[must_use]
    pub fn flow(self, client: IpAddr, port: u16) -> Option<u32> {
        let first = self.ip((128, 0), 1);
        let at = match (client, first) {
            (IpAddr::V4(a), IpAddr::V4(b)) => u128::from(a.to_bits().checked_sub(b.to_bits())?),
            (IpAddr::V6(a), IpAddr::V6(b)) => a.to_bits().checked_sub(b.to_bits())?,
            _ => return None,
        };
        let at = u32::try_from(at).ok().filter(|&at| at < CLIENTS)?;
        Some(u32::from(port.checked_sub(CLIENT_PORTS)?) * CLIENTS + at)
    }

    /// A frame of the flow, for the port that calls itself `to`.
    #[must_use]
    pub fn frame(self, to: Mac, flow: u32, packet: Packet, chosen: Option<&Chosen>) -> Vec<u8> {
        let (client, cport) = self.client(flow);
        let (src, sport, dst, dport) = match (packet, chosen) {
            (Packet::SynAck | Packet::Reply, Some(chosen)) => {
                (chosen.server, RPORT, chosen.laddr, chosen.lport)
            }
            _ => (client, cport, self.vip(), VPORT),
        };
        let (a, b) = (octets(src), octets(dst));
        let (number, segment) = match self.proto {
            Proto::Udp => {
                let data = FRAME.saturating_sub(self.headers() + 8);
                let data = vec![0x55; data];
                (proto::UDP, frames::udp(&a, &b, sport, dport, &data))
            }
            Proto::Tcp => (
                proto::TCP,
                segment(flow, packet, sport, dport).build(&a, &b),
            ),
        };
        let packet = match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => frames::ipv4(src, dst, number, &segment),
            (IpAddr::V6(src), IpAddr::V6(dst)) => frames::ipv6(src, dst, number, &segment),
            _ => Vec::new(),
        };
        let ethertype = if self.v6 { 0x86dd } else { 0x0800 };
        let mut frame = frames::ethernet(to, CLIENT, ethertype, &packet);
        frame.resize(frame.len().max(FRAME), 0);
        frame
    }

    /// Bytes before layer 4.
    fn headers(self) -> usize {
        14 + if self.v6 { 40 } else { 20 }
    }

    /// Writes a file of `packet` of every flow in a shuffled order, over and over
    /// until there are enough frames; says how many.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(
        self,
        path: &Path,
        to: Mac,
        packet: Packet,
        flows: usize,
        chosen: &[Chosen],
    ) -> Result<usize> {
        self.write_tagged(path, to, packet, flows, chosen, None)
    }

    /// As [`Traffic::write`], every frame with this tag of 802.1Q.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_tagged(
        self,
        path: &Path,
        to: Mac,
        packet: Packet,
        flows: usize,
        chosen: &[Chosen],
        tag: Option<u16>,
    ) -> Result<usize> {
        let what = || format!("writing {}", path.display());
        let mut order: Vec<u32> = (0..u32::try_from(flows).what(what)?).collect();
        shuffle(&mut order);
        let file = File::create(path).what(what)?;
        let mut records = Records::begin(BufWriter::new(file)).what(what)?;
        let mut frames = 0;
        while frames < FRAMES_MIN || frames < flows {
            for &flow in &order {
                let chosen = chosen.get(flow as usize);
                let mut frame = self.frame(to, flow, packet, chosen);
                if let Some([high, low]) = tag.map(u16::to_be_bytes) {
                    frame.splice(12..12, [0x81, 0, high, low]);
                }
                records.frame(&frame).what(what)?;
                frames += 1;
            }
        }
        records.0.flush().what(what)?;
        Ok(frames)
    }
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// The TCP segment of a flow. Numbers towards the client are the client's: the
/// director translates them, and looks at none of those towards it.
fn segment(flow: u32, packet: Packet, sport: u16, dport: u16) -> Tcp<'static> {
    const MSS: &[u8] = &[2, 4, 0x05, 0xb4];
    const DATA: &[u8] = &[0x55; FRAME - 14 - 20 - 20];
    let isn = flow.wrapping_mul(0x9e37_79b9);
    let (seq, ack, flags, options, data): (u32, u32, u8, &[u8], &[u8]) = match packet {
        Packet::First => (isn, 0, flag::SYN, MSS, &[]),
        Packet::SynAck => (
            SERVER_ISN,
            isn.wrapping_add(1),
            flag::SYN | flag::ACK,
            MSS,
            &[],
        ),
        Packet::Data => (isn.wrapping_add(1), SERVER_ISN + 200, flag::ACK, &[], DATA),
        Packet::FirstData => (isn.wrapping_add(1), SERVER_ISN + 1, flag::ACK, &[], DATA),
        Packet::Reply => (SERVER_ISN + 100, isn.wrapping_add(11), flag::ACK, &[], DATA),
    };
    Tcp {
        sport,
        dport,
        seq,
        ack,
        flags,
        options,
        data,
    }
}

/// A pcap file or stream as it is written.
#[derive(Debug)]
pub struct Records<W>(W);

impl<W: Write> Records<W> {
    /// Writes the file header.
    ///
    /// # Errors
    /// When writing fails.
    pub fn begin(mut out: W) -> std::io::Result<Self> {
        for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1] {
            out.write_all(&word.to_le_bytes())?;
        }
        Ok(Self(out))
    }

    /// More records for a stream whose header was written.
    pub fn resume(out: W) -> Self {
        Self(out)
    }

    /// Writes records made elsewhere.
    ///
    /// # Errors
    /// When writing fails.
    pub fn write_all(&mut self, records: &[u8]) -> std::io::Result<()> {
        self.0.write_all(records)
    }

    /// What it writes to.
    pub fn into_inner(self) -> W {
        self.0
    }

    /// Writes one frame.
    ///
    /// # Errors
    /// When writing fails.
    pub fn frame(&mut self, frame: &[u8]) -> std::io::Result<()> {
        let len = u32::try_from(frame.len()).unwrap_or(0);
        for word in [0, 0, len, len] {
            self.0.write_all(&word.to_le_bytes())?;
        }
        self.0.write_all(frame)
    }
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

    const ALL: [Traffic; 4] = [
        Traffic {
            proto: Proto::Udp,
            v6: false,
        },
        Traffic {
            proto: Proto::Udp,
            v6: true,
        },
        Traffic {
            proto: Proto::Tcp,
            v6: false,
        },
        Traffic {
            proto: Proto::Tcp,
            v6: true,
        },
    ];

    fn chosen(traffic: Traffic, n: u16) -> Chosen {
        Chosen {
            laddr: traffic.laddr(n % SERVERS),
            lport: 2000 + n,
            server: traffic.server(n % SERVERS),
        }
    }

    #[test]
    fn a_file_has_its_flows_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.pcap");
        for (traffic, flows) in ALL.into_iter().zip([1, 5000, 3000, 100]) {
            let count = traffic
                .write(&path, mac(0), Packet::Data, flows, &[])
                .unwrap();
            assert_eq!(count, FRAMES_MIN.max(flows).div_ceil(flows) * flows);
            let file = std::fs::read(&path).unwrap();
            let length = traffic.frame(mac(0), 0, Packet::Data, None).len();
            let records: Vec<&[u8]> = file[24..].chunks(16 + length).collect();
            assert_eq!(records.len(), count);
            let (from, to) = if traffic.v6 { (22, 58) } else { (26, 38) };
            let tuples: HashSet<&[u8]> = records.iter().map(|r| &r[16 + from..16 + to]).collect();
            assert_eq!(tuples.len(), flows);
        }
    }

    #[test]
    fn flows_and_clients_are_the_same() {
        for traffic in ALL {
            for flow in [0, 1, 4095, 4096, 999_999] {
                let (client, port) = traffic.client(flow);
                assert_eq!(traffic.flow(client, port), Some(flow));
            }
            assert_eq!(traffic.flow(traffic.vip(), 5000), None);
            assert_eq!(traffic.flow(traffic.laddr(0), 5000), None);
        }
    }

    #[test]
    fn frames_are_what_they_say() {
        for traffic in ALL.into_iter().filter(|t| t.proto == Proto::Tcp) {
            let chosen = chosen(traffic, 7);
            let at = traffic.headers();
            let flags = |packet| traffic.frame(mac(1), 7, packet, Some(&chosen))[at + 13];
            assert_eq!(flags(Packet::First), flag::SYN);
            assert_eq!(flags(Packet::SynAck), flag::SYN | flag::ACK);
            assert_eq!(flags(Packet::Data), flag::ACK);
            let reply = traffic.frame(mac(1), 7, Packet::Reply, Some(&chosen));
            assert_eq!(reply[..6], mac(1));
            assert_eq!(reply[at + 2..at + 4], chosen.lport.to_be_bytes());
            let address = octets(chosen.laddr);
            assert_eq!(reply[at - address.len()..at], address[..]);
        }
    }
}
