//! Frames on the heap and what becomes of them: buffers like an mbuf's data
//! room, the frames of a flow in both directions, and an `Io` that keeps what
//! was sent so that it can be looked at after the clock has stopped.
//!
//! Flows are numbers. Client address and port follow from the number; the local
//! port a director picks has to be learned from the first frame it sends.

use dpvs_core::frame::{Frame, Io, PortId, WorkerId};
use dpvs_core::message::FromWorker;

use crate::world::{CLIENTS, INSIDE, Mode, SERVERS, VPORT, World};

const HEADROOM: usize = 128;
const ROOM: usize = 2048;
/// Ethernet header.
const L3: usize = 14;

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;

/// First sequence number of every server.
pub(crate) const SERVER_ISN: u32 = 1_000_000;

/// A frame in a slot of its own, like an mbuf's data room.
pub(crate) struct Slot {
    buf: Box<[u8; ROOM]>,
    start: usize,
    end: usize,
}

impl Slot {
    fn new() -> Self {
        Self {
            buf: Box::new([0; ROOM]),
            start: HEADROOM,
            end: HEADROOM,
        }
    }
}

impl Frame for Slot {
    #[inline(always)]
    fn data(&self) -> &[u8] {
        &self.buf[self.start..self.end]
    }
    #[inline(always)]
    fn data_mut(&mut self) -> &mut [u8] {
        &mut self.buf[self.start..self.end]
    }
    #[inline(always)]
    fn total_len(&self) -> usize {
        self.end - self.start
    }
    fn push_front(&mut self, n: usize) -> bool {
        self.start.checked_sub(n).map(|s| self.start = s).is_some()
    }
    fn pull_front(&mut self, n: usize) -> bool {
        self.start += n;
        true
    }
    fn push_back(&mut self, n: usize) -> bool {
        self.end += n;
        self.end <= ROOM
    }
    fn truncate(&mut self, len: usize) {
        self.end = self.end.min(self.start + len);
    }
}

/// The world around a worker: unused buffers, and what it has sent.
#[derive(Default)]
pub(crate) struct Heap {
    free: Vec<Slot>,
    /// Frames sent, in order.
    pub(crate) sent: Vec<Slot>,
}

impl Heap {
    pub(crate) fn take(&mut self) -> Slot {
        let mut slot = self.free.pop().unwrap_or_else(Slot::new);
        slot.start = HEADROOM;
        slot.end = HEADROOM;
        slot
    }

    /// Everything sent may be used again.
    pub(crate) fn recycle(&mut self) {
        // The oldest is taken next, as from an mbuf pool's cache.
        self.free.extend(self.sent.drain(..).rev());
    }
}

impl Io for Heap {
    type Frame = Slot;
    fn alloc(&mut self) -> Option<Slot> {
        Some(self.take())
    }
    #[inline(always)]
    fn send(&mut self, _: PortId, frame: Slot) {
        self.sent.push(frame);
    }
    fn to_host(&mut self, _: PortId, frame: Slot) {
        self.free.push(frame);
    }
    fn hand_over(&mut self, _: WorkerId, _: PortId, frame: Slot) {
        self.free.push(frame);
    }
    fn report(&mut self, _: FromWorker) {}
}

/// What a director chose for a flow: read from the first frame it sent.
#[derive(Clone, Copy, Default)]
pub(crate) struct Chosen {
    pub(crate) laddr: u8,
    pub(crate) server: u8,
    pub(crate) lport: u16,
}

impl Chosen {
    /// From a frame on its way to a server.
    pub(crate) fn read(world: World, frame: &Slot) -> Self {
        let world = world.inside();
        let (data, len) = (frame.data(), world.addr_len());
        let at = L3 + world.addr_at();
        let l4 = L3 + world.ip_len();
        let low = |at: usize| data[at + len - 1];
        Self {
            laddr: low(at).wrapping_sub(INSIDE.0),
            server: low(at + len).wrapping_sub(INSIDE.1),
            lport: u16::from_be_bytes([data[l4], data[l4 + 1]]),
        }
    }
}

/// A segment or datagram of a flow.
#[derive(Clone, Copy)]
pub(crate) struct Packet {
    /// From the server; otherwise from the client.
    pub(crate) reply: bool,
    /// TCP flags.
    pub(crate) flags: u8,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    /// It carries some bytes.
    pub(crate) data: bool,
}

impl Packet {
    pub(crate) const fn new(reply: bool, flags: u8, data: bool) -> Self {
        // A client that has acknowledged data of the server gets no more TOA.
        Self {
            reply,
            flags,
            seq: if reply { SERVER_ISN + 100 } else { 101 },
            ack: if reply { 101 } else { SERVER_ISN + 200 },
            data,
        }
    }

    /// A data segment in an established connection.
    pub(crate) const fn data(reply: bool) -> Self {
        Self::new(reply, ACK | PSH, true)
    }
}

fn sum(bytes: &[u8]) -> u16 {
    let mut s: u32 = bytes
        .chunks(2)
        .map(|c| u32::from(c[0]) << 8 | u32::from(c[1]))
        .sum();
    while s > 0xffff {
        s = (s & 0xffff) + (s >> 16);
    }
    s as u16
}

/// Writes the packet of flow `n` into an empty frame: 60 bytes with IPv4, 66
/// (UDP) or 80 (TCP) with IPv6.
pub(crate) fn write(frame: &mut Slot, world: World, n: u32, chosen: Chosen, packet: &Packet) {
    let side = if packet.reply { world.inside() } else { world };
    let World { v6, tcp, mode, .. } = side;
    let options: &[u8] = if packet.flags & SYN != 0 && tcp {
        &[2, 4, 5, 0xb4]
    } else {
        &[]
    };
    let header = if tcp { 20 + options.len() } else { 8 };
    let data = match (packet.data, tcp, v6) {
        (false, ..) => 0,
        (true, false, false) => 18,
        (true, false, true) => 4,
        (true, true, _) => 6,
    };
    let l4 = L3 + side.ip_len();
    let ip_end = l4 + header + data;
    frame.end = frame.start + ip_end.max(60);
    let b = frame.data_mut();
    b.fill(0);
    let cport = 1024 + (n % CLIENTS) as u16;
    let (port, [from, to], [sport, dport]) = match (packet.reply, mode) {
        (true, Mode::Nat) => (
            1,
            [world.server(chosen.server), world.client(n)],
            [VPORT, cport],
        ),
        (true, _) => (
            1,
            [world.server(chosen.server), world.laddr(chosen.laddr)],
            [VPORT, chosen.lport],
        ),
        (false, Mode::Snat) => {
            let server = (n % u32::from(SERVERS)) as u8;
            (0, [world.client(n), world.server(server)], [cport, VPORT])
        }
        (false, _) => (0, [world.client(n), world.vip()], [cport, VPORT]),
    };
    b[..6].copy_from_slice(&World::mac(port));
    b[6..12].copy_from_slice(&[2, 0, 0, 0, 1, port as u8]);
    let protocol = if tcp { 6 } else { 17 };
    if v6 {
        b[12..14].copy_from_slice(&[0x86, 0xdd]);
        b[14] = 0x60;
        b[18..20].copy_from_slice(&((ip_end - l4) as u16).to_be_bytes());
        b[20] = protocol;
        b[21] = 64;
    } else {
        b[12..14].copy_from_slice(&[8, 0]);
        b[14] = 0x45;
        b[16..18].copy_from_slice(&((ip_end - L3) as u16).to_be_bytes());
        b[20] = 0x40;
        b[22] = 64;
        b[23] = protocol;
    }
    let (at, len) = (L3 + side.addr_at(), side.addr_len());
    b[at..at + len].copy_from_slice(&from.to_be_bytes()[16 - len..]);
    b[at + len..at + 2 * len].copy_from_slice(&to.to_be_bytes()[16 - len..]);
    if !v6 {
        let c = !sum(&b[L3..l4]);
        b[24..26].copy_from_slice(&c.to_be_bytes());
    }
    b[l4..l4 + 2].copy_from_slice(&sport.to_be_bytes());
    b[l4 + 2..l4 + 4].copy_from_slice(&dport.to_be_bytes());
    // The director changes a checksum by the difference, so any will do.
    if tcp {
        b[l4 + 4..l4 + 8].copy_from_slice(&packet.seq.to_be_bytes());
        b[l4 + 8..l4 + 12].copy_from_slice(&packet.ack.to_be_bytes());
        b[l4 + 12] = (header as u8 / 4) << 4;
        b[l4 + 13] = packet.flags;
        b[l4 + 16..l4 + 18].copy_from_slice(&[0x12, 0x34]);
        b[l4 + 20..l4 + 20 + options.len()].copy_from_slice(options);
    } else {
        b[l4 + 4..l4 + 6].copy_from_slice(&((ip_end - l4) as u16).to_be_bytes());
        b[l4 + 6..l4 + 8].copy_from_slice(&[0x12, 0x34]);
    }
}

/// Whether a frame that was sent is flow `n`'s, going where it should.
pub(crate) fn is_of(world: World, frame: &Slot, n: u32, reply: bool) -> bool {
    let side = if reply { world } else { world.inside() };
    let (data, len) = (frame.data(), side.addr_len());
    let (at, l4) = (L3 + side.addr_at(), L3 + side.ip_len());
    let dst = data[at + len..at + 2 * len]
        .iter()
        .fold(0u128, |a, &b| a << 8 | u128::from(b));
    let dport = u16::from_be_bytes([data[l4 + 2], data[l4 + 3]]);
    if reply {
        dst == world.client(n) && dport == 1024 + (n % CLIENTS) as u16
    } else if world.mode == Mode::Dr {
        dst == world.vip() && dport == VPORT && data[..5] == [2, 0, 0, 0, 2]
    } else {
        // In a tunnel the port is further in.
        let dport = if world.mode == Mode::Tunnel {
            VPORT
        } else {
            dport
        };
        dst.wrapping_sub(world.server(0)) < u128::from(SERVERS) && dport == VPORT
    }
}
