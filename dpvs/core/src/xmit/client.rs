//! The client's address towards the server, where it is no TCP option: PROXY
//! protocol (TCP and UDP) and UOA (UDP). When, and what becomes of the sequence
//! numbers; the bytes are [`super::proxy`]'s and [`super::uoa`]'s,
//! put in by [`super::splice`].
//!
//! A connection whose server still has to learn the address goes the long way
//! ([`flags::CLIENT`]). Packets are changed before they are translated, as they
//! came from the client. With a header of `len` bytes in place of `cut` bytes of
//! the client, the connection's sequence delta grows by `len - cut` once the first
//! segment has gone; from then on what comes before the client's own data is put
//! right here, until the server has acknowledged the header.

use std::net::SocketAddr;

use dpvs_wire::ipv6;

use crate::conn::{Entry, Handle, flags};
use crate::egress::Way;
use crate::frame::{Frame, Io, Now};
use crate::proto::Dir;
use crate::raw::{L3, Net};
use crate::service::{FwdMode, Service, TCP, UDP};
use crate::snapshot::{Settings, Snapshot};
use crate::stats::Reason;
use crate::worker::Worker;

use super::fullnat::{self, ACK, RST, SYN};
use super::proxy::{self, Ends, Found, Header, Proxy, Version};
use super::splice::{number, set_number, set_seq, splice, write_own};
use super::toa;
use super::uoa::{self, ip_len};

/// What [`Entry::fdata`] is for a connection without TOA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Duty {
    /// PROXY protocol, if the service wants it.
    proxy: Option<Proxy>,
    /// TCP: the first segment has gone with its header, of this length...
    sent: bool,
    /// The path to the server is too small for packets that grow.
    alone: bool,
    len: u8,
    /// ... in place of so many bytes of the client.
    cut: u16,
    /// UDP: datagrams that still carry the address.
    trail: u16,
}

impl Duty {
    fn to_bits(self) -> u32 {
        let proxy = match self.proxy {
            None => 0,
            Some(p) => {
                let version = if p.version == Version::V1 { 1 } else { 2 };
                version | u32::from(p.insecure) << 2
            }
        };
        let low = u32::from(self.cut) | u32::from(self.len) << 16;
        // A connection is TCP with a cut or UDP with a trail.
        low | u32::from(self.trail)
            | u32::from(self.sent) << 24
            | u32::from(self.alone) << 25
            | proxy << 28
    }

    fn from_bits(bits: u32, tcp: bool) -> Self {
        let version = match bits >> 28 & 3 {
            1 => Some(Version::V1),
            2 => Some(Version::V2),
            _ => None,
        };
        Self {
            proxy: version.map(|version| Proxy {
                version,
                insecure: bits >> 30 & 1 != 0,
            }),
            sent: bits >> 24 & 1 != 0,
            alone: bits >> 25 & 1 != 0,
            len: (bits >> 16) as u8,
            cut: if tcp { bits as u16 } else { 0 },
            trail: if tcp { 0 } else { bits as u16 },
        }
    }

    /// What the header makes the stream longer.
    fn growth(self) -> u32 {
        u32::from(self.len).wrapping_sub(u32::from(self.cut))
    }
}

impl<A: Net> Entry<A> {
    /// How the server of a connection in the making learns the client's address.
    pub(crate) fn set_duty(&mut self, service: &Service, settings: &Settings) {
        if self.mode() != FwdMode::FullNat {
            return;
        }
        let mut duty = Duty::default();
        if self.proto == TCP {
            if service.proxy.is_none() {
                self.flags |= flags::TOA;
                return;
            }
            duty.proxy = service.proxy;
        } else if self.proto == UDP {
            if service.proxy.is_some_and(|p| p.version == Version::V2) {
                duty.proxy = service.proxy;
            } else if !A::V6 || settings.uoa_mode == uoa::UoaMode::Opp {
                duty.trail = settings.uoa_max_trail;
            }
        }
        if duty != Duty::default() {
            self.flags |= flags::CLIENT;
            self.fdata = duty.to_bits();
        }
    }

    /// A router says that packets to the server are too large. What the client has to
    /// keep free in each for its address; what is due beside it goes alone from now on.
    pub(crate) fn spare_room(&mut self) -> u16 {
        if self.flags & flags::CLIENT != 0 {
            let mut duty = self.duty();
            duty.alone = true;
            self.fdata = duty.to_bits();
        }
        self.growth()
    }

    /// Bytes that a client's segment may grow by on its way to the server.
    pub(crate) fn growth(&self) -> u16 {
        if self.flags & (flags::MODE | flags::TOA) != flags::TOA {
            // FullNAT is mode 0.
            return 0;
        }
        match self.caddr().ip().to_canonical() {
            std::net::IpAddr::V4(_) => toa::LEN_V4 as u16,
            std::net::IpAddr::V6(_) => toa::LEN_V6 as u16,
        }
    }

    fn duty(&self) -> Duty {
        Duty::from_bits(self.fdata, self.proto == TCP)
    }

    fn done(&mut self) {
        self.flags &= !flags::CLIENT;
        self.settle();
    }

    /// Another TCP connection on the same ports: all begins anew.
    pub(crate) fn renew_duty(&mut self) {
        if self.flags & flags::TOA == 0
            && let Some(proxy) = self.duty().proxy
        {
            let duty = Duty {
                proxy: Some(proxy),
                ..Duty::default()
            };
            self.fdata = duty.to_bits();
            self.flags |= flags::CLIENT;
        }
    }

    fn ends(&self) -> Ends {
        let end =
            |addr: A, port: u16| SocketAddr::from((addr.ip().to_canonical(), u16::from_be(port)));
        Ends::Known(
            end(self.caddr(), self.cport()),
            end(self.vaddr(), self.vport()),
        )
    }

    /// Which header goes to the server, and what of the payload it stands for;
    /// `None`: the payload goes as it is.
    fn header(&self, proxy: Proxy, payload: &[u8]) -> Option<(Header, usize)> {
        let stream = self.proto == TCP;
        let own = proxy::write(proxy.version, self.ends(), stream);
        let found = proxy::read(payload);
        match found {
            Found::Header { version, .. } if proxy.insecure && version == proxy.version => None,
            Found::Header { len, ends, .. } if proxy.insecure => {
                let header = ends.map_or(own, |e| proxy::write(proxy.version, e, stream));
                Some((header, len))
            }
            Found::Nothing if proxy.insecure && starts(payload) => None,
            // DIFFERS: DPVS lets what it cannot read pass without its own header, also
            // in secure mode, leaves TLVs of a header it replaces, and puts its own
            // before a LOCAL one. Here a server that is told to believe nobody else
            // always gets ours, and nothing is left of another.
            Found::Header { len, .. } => Some((own, len)),
            Found::Nothing => Some((own, 0)),
        }
    }
}

/// Whether a payload starts as a header does.
fn starts(payload: &[u8]) -> bool {
    payload.starts_with(b"PROXY ") || payload.starts_with(b"\r\n\r\n\0\r\nQUIT\n")
}

impl<F: Frame> Worker<F> {
    /// Changes a packet of a connection with [`flags::CLIENT`], which is about to be
    /// translated and sent by `way`; sends one before it where that is needed. Says
    /// where the transport header is now; `Err` if the packet must not go on.
    #[cold]
    #[inline(never)]
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn introduce<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        frame: &mut F,
        l4: usize,
        conn: Handle,
        way: &Way,
        now: Now,
        io: &mut I,
    ) -> Result<usize, Reason> {
        let entry = A::entry(&self.conns, conn);
        let duty = entry.duty();
        match (conn.dir(), entry.proto == TCP) {
            (Dir::In, true) => {
                self.segment::<A, I>(snap, frame, l4, conn, duty, way, now, io)?;
                Ok(l4)
            }
            (Dir::Out, true) => {
                let entry = A::entry_mut(&mut self.conns, conn);
                acknowledged(entry, duty, frame.data_mut(), l4);
                Ok(l4)
            }
            (Dir::In, false) if duty.proxy.is_some() => {
                self.datagram::<A>(frame, l4, conn, duty, way);
                Ok(l4)
            }
            (Dir::In, false) => self.uoa::<A, I>(snap, frame, l4, conn, duty, way, now, io),
            (Dir::Out, false) => Ok(l4),
        }
    }

    /// A TCP segment of the client, or the first fragment of one: that keeps its
    /// length, as others follow it.
    #[allow(clippy::too_many_arguments)]
    fn segment<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        frame: &mut F,
        l4: usize,
        conn: Handle,
        mut duty: Duty,
        way: &Way,
        now: Now,
        io: &mut I,
    ) -> Result<(), Reason> {
        let entry = A::entry(&self.conns, conn);
        let Some(proxy) = duty.proxy else {
            return Ok(());
        };
        let part = is_fragment::<A>(frame.data(), l4);
        let data = frame.data();
        let (tcp_flags, at) = (data[l4 + 13], l4 + usize::from(data[l4 + 12] >> 4) * 4);
        let size = (L3 + ip_len::<A>(data)).saturating_sub(at);
        let first = entry.client_isn.wrapping_add(1);
        let seq = number(data, l4 + 4);
        let offset = seq.wrapping_sub(first).cast_signed();
        if tcp_flags & SYN != 0 {
            return Ok(());
        }
        // More data is in the other fragments.
        if offset < 0 && (part || size > offset.unsigned_abs() as usize) {
            // DIFFERS: the server would take what is behind the first byte for the
            // start, and believe a header of the client's own.
            return Err(Reason::ProxyOrder);
        }
        if offset == 0 && (part || size > 0) && tcp_flags & RST == 0 {
            // DIFFERS: a first segment that is sent again has the header again. And
            // it has one whatever it acknowledges: DPVS sends none when the server
            // has spoken first.
            let _ = frame.pull_up(at + size.min(proxy::LOOK));
            let look = &frame.data()[at..];
            let look = &look[..look.len().min(size)];
            let Some((header, cut)) = entry.header(proxy, look) else {
                A::entry_mut(&mut self.conns, conn).done();
                return Ok(());
            };
            if part && cut > 0 {
                return Err(Reason::NoRoom);
            }
            if !duty.sent {
                duty.sent = true;
                duty.len = header.bytes().len() as u8;
                duty.cut = cut as u16;
                let entry = A::entry_mut(&mut self.conns, conn);
                entry.fdata = duty.to_bits();
                entry.seq_delta = entry.seq_delta.wrapping_add(duty.growth());
            } else if (header.bytes().len(), cut) != (usize::from(duty.len), usize::from(duty.cut))
            {
                // A part of what it was, in which the client's own header is not
                // whole: that has to come again in one piece.
                return Err(Reason::ProxyOrder);
            }
            return self.head_segment::<A, I>(
                snap,
                frame,
                (l4, at, size),
                conn,
                duty,
                &header,
                way,
                now,
                io,
            );
        }
        if !duty.sent {
            // Where this one goes is not known before the first has come.
            return if offset > 0 && tcp_flags & RST == 0 {
                Err(Reason::ProxyOrder)
            } else {
                Ok(())
            };
        }
        if offset <= 0 {
            set_seq(frame.data_mut(), l4, seq.wrapping_sub(duty.growth()));
        } else if offset < i32::from(duty.cut) {
            if part {
                return Err(Reason::NoRoom);
            }
            let cut = (usize::from(duty.cut) - offset as usize).min(size);
            if !splice::<F, A>(frame, l4, at, cut, &[]) {
                return Err(Reason::NoRoom);
            }
            set_seq(
                frame.data_mut(),
                l4,
                first.wrapping_add(u32::from(duty.cut)),
            );
        }
        Ok(())
    }

    /// The segment that the header goes with: in it, or before it.
    #[allow(clippy::too_many_arguments)]
    fn head_segment<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        frame: &mut F,
        (l4, at, size): (usize, usize, usize),
        conn: Handle,
        duty: Duty,
        header: &Header,
        way: &Way,
        now: Now,
        io: &mut I,
    ) -> Result<(), Reason> {
        let cut = usize::from(duty.cut).min(size);
        let seq = number(frame.data(), l4 + 4);
        // As it will be when the connection's delta has been added.
        let start = seq.wrapping_sub(duty.growth());
        let len = ip_len::<A>(frame.data()) + header.bytes().len() - cut;
        let alone = duty.alone || is_fragment::<A>(frame.data(), l4);
        let fits = !alone && len <= usize::from(way.mtu());
        if fits && splice::<F, A>(frame, l4, at, cut, header.bytes()) {
            set_seq(frame.data_mut(), l4, start);
            self.stats.proxy_ok += 1;
            return Ok(());
        }
        let mut own = io.alloc().ok_or(Reason::NoBuffer)?;
        if !write_own::<F, A>(&mut own, frame.data(), l4, start, header.bytes()) {
            return Err(Reason::NoRoom);
        }
        if cut > 0 && !splice::<F, A>(frame, l4, at, cut, &[]) {
            return Err(Reason::NoRoom);
        }
        set_seq(frame.data_mut(), l4, seq.wrapping_add(u32::from(duty.cut)));
        self.stats.proxy_ok += 1;
        self.stats.made += 1;
        self.send_client::<A, I>(snap, own, A::L4, conn, way, now, io);
        Ok(())
    }

    /// Translates and sends a packet made here for the server.
    #[allow(clippy::too_many_arguments)]
    fn send_client<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        mut frame: F,
        l4: usize,
        conn: Handle,
        way: &Way,
        now: Now,
        io: &mut I,
    ) {
        let entry = A::entry(&self.conns, conn);
        fullnat::translate(entry, Dir::In, frame.data_mut(), l4, entry.proto == TCP);
        self.send_conn(snap, frame, way, now, io);
    }

    /// A datagram of the client of a service with PROXY protocol.
    fn datagram<A: Net>(&mut self, frame: &mut F, l4: usize, conn: Handle, duty: Duty, way: &Way) {
        let entry = A::entry(&self.conns, conn);
        let Some(proxy) = duty.proxy else { return };
        if is_fragment::<A>(frame.data(), l4) {
            self.stats.proxy_failed += 1;
            return;
        }
        let at = l4 + 8;
        let size = (L3 + ip_len::<A>(frame.data())).saturating_sub(at);
        let _ = frame.pull_up(at + size.min(proxy::LOOK));
        let look = frame.data().get(at..).unwrap_or_default();
        let look = &look[..look.len().min(size)];
        if let Some((header, cut)) = entry.header(proxy, look) {
            let cut = cut.min(size);
            let len = ip_len::<A>(frame.data()) + header.bytes().len() - cut;
            if len > usize::from(way.mtu()) || !splice::<F, A>(frame, l4, at, cut, header.bytes()) {
                // DIFFERS: the next one with room has it; DPVS tries the first only.
                self.stats.proxy_failed += 1;
                return;
            }
            self.stats.proxy_ok += 1;
        }
        A::entry_mut(&mut self.conns, conn).done();
    }

    /// One of the first datagrams of a client.
    #[allow(clippy::too_many_arguments)]
    fn uoa<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        frame: &mut F,
        l4: usize,
        conn: Handle,
        mut duty: Duty,
        way: &Way,
        now: Now,
        io: &mut I,
    ) -> Result<usize, Reason> {
        let entry = A::entry_mut(&mut self.conns, conn);
        duty.trail = duty.trail.saturating_sub(1);
        entry.fdata = duty.to_bits();
        if duty.trail == 0 {
            entry.done();
        }
        let client = (entry.caddr().ip(), u16::from_be(entry.cport()));
        let mode = snap.settings.uoa_mode;
        let v4 = is_v4(entry);
        if !duty.alone
            && !is_fragment::<A>(frame.data(), l4)
            && let Some(l4) = uoa::insert::<F, A>(frame, l4, mode, client, v4, way.mtu())
        {
            self.stats.uoa_ok += 1;
            return Ok(l4);
        }
        // The address alone goes before it.
        let sent = io.alloc().and_then(|mut own| {
            let udp = uoa::standalone::<F, A>(&mut own, frame.data(), l4, mode, client, v4)?;
            Some((own, udp))
        });
        match sent {
            Some((own, udp)) => {
                self.stats.uoa_ok += 1;
                self.stats.made += 1;
                self.send_client::<A, I>(snap, own, udp, conn, way, now, io);
            }
            None => self.stats.uoa_failed += 1,
        }
        Ok(l4)
    }
}

/// Whether the server of a connection is spoken to by IPv4.
fn is_v4<A: Net>(entry: &Entry<A>) -> bool {
    match entry.daddr().ip() {
        std::net::IpAddr::V4(_) => true,
        std::net::IpAddr::V6(a) => a.to_ipv4_mapped().is_some(),
    }
}

/// Whether a packet is a part of one.
fn is_fragment<A: Net>(data: &[u8], l4: usize) -> bool {
    if A::V6 {
        l4 != A::L4
            && ipv6::walk(data[L3 + 6], &data[A::L4..]).is_ok_and(|upper| upper.fragment.is_some())
    } else {
        data[L3 + 6] & 0x3f | data[L3 + 7] != 0
    }
}

/// A segment of the server: what it acknowledges of the header is not the client's.
fn acknowledged<A: Net>(entry: &mut Entry<A>, duty: Duty, data: &mut [u8], l4: usize) {
    if !duty.sent || data[l4 + 13] & ACK == 0 {
        return;
    }
    // The client's first byte as the server numbered it before the header.
    let first = entry.client_isn.wrapping_add(1);
    let start = first
        .wrapping_add(entry.seq_delta)
        .wrapping_sub(duty.growth());
    let ack = number(data, l4 + 8);
    let of_header = ack.wrapping_sub(start).cast_signed();
    let new = if of_header >= i32::from(duty.len) {
        entry.done();
        return;
    } else if of_header <= 0 {
        ack.wrapping_add(duty.growth())
    } else {
        first.wrapping_add(entry.seq_delta)
    };
    set_number(data, l4, l4 + 8, new);
}
