//! ARP frames: read a request or reply, answer one in place, ask, announce.
//!
//! Who may be answered and what is learned is the caller's business.

use std::net::Ipv4Addr;

use crate::snapshot::Mac;
use dpvs_wire::{arp as wire, eth};

pub use dpvs_wire::arp::{REPLY, REQUEST};

/// Length of the frames written here, padding included, in bytes.
pub const FRAME_LEN: usize = eth::MIN_FRAME_LEN;

/// An ARP packet for IPv4 over Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// Operation: [`REQUEST`], [`REPLY`] or another.
    pub op: u16,
    /// Sender's hardware address.
    pub sha: Mac,
    /// Sender's protocol address.
    pub spa: Ipv4Addr,
    /// Target's hardware address.
    pub tha: Mac,
    /// Target's protocol address.
    pub tpa: Ipv4Addr,
}

/// Reads a frame of Ethernet type ARP; `None` if it is cut short or not IPv4
/// over Ethernet.
#[must_use]
pub fn parse(frame: &[u8]) -> Option<Arp> {
    let arp = wire::Arp::new_checked(frame.get(eth::HEADER_LEN..)?).ok()?;
    Some(Arp {
        op: arp.op(),
        sha: arp.sha(),
        spa: arp.spa(),
        tha: arp.tha(),
        tpa: arp.tpa(),
    })
}

/// Turns a request round into the reply that `own` has the target address;
/// padding stays. False (and nothing changed) if the frame is no request.
pub fn reply_in_place(frame: &mut [u8], own: Mac) -> bool {
    let Some(request) = parse(frame).filter(|arp| arp.op == REQUEST) else {
        return false;
    };
    let reply = Arp {
        op: REPLY,
        sha: own,
        spa: request.tpa,
        tha: request.sha,
        tpa: request.spa,
    };
    fill(frame, request.sha, own, &reply)
}

/// Writes a broadcast request for `tpa`, [`FRAME_LEN`] bytes, and returns that
/// length; `None` if the buffer is shorter.
pub fn write_request(buf: &mut [u8], own: Mac, spa: Ipv4Addr, tpa: Ipv4Addr) -> Option<usize> {
    let frame = buf.get_mut(..FRAME_LEN)?;
    frame.fill(0);
    let arp = Arp {
        op: REQUEST,
        sha: own,
        spa,
        tha: [0; 6],
        tpa,
    };
    fill(frame, eth::BROADCAST, own, &arp).then_some(FRAME_LEN)
}

/// Writes a gratuitous ARP as DPVS announces an address: a broadcast request
/// with the address as sender and target. Otherwise as [`write_request`].
pub fn write_gratuitous(buf: &mut [u8], own: Mac, addr: Ipv4Addr) -> Option<usize> {
    write_request(buf, own, addr, addr)
}

fn fill(frame: &mut [u8], dst: Mac, src: Mac, arp: &Arp) -> bool {
    let Some(Ok(mut packet)) = frame.get_mut(eth::HEADER_LEN..).map(wire::Arp::init) else {
        return false;
    };
    packet.set_op(arp.op);
    packet.set_sha(arp.sha);
    packet.set_spa(arp.spa);
    packet.set_tha(arp.tha);
    packet.set_tpa(arp.tpa);
    eth::write(frame, dst, src, eth::ETHERTYPE_ARP)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OWN: Mac = [2, 0, 0, 0, 0, 1];
    const PEER: Mac = [2, 0, 0, 0, 0, 2];

    #[test]
    fn request_on_the_wire() {
        let mut buf = [0xaa; 64];
        let len = write_request(&mut buf, OWN, [10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        assert_eq!(len, Some(60));
        let mut want = vec![0xff; 6];
        want.extend(OWN);
        want.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
        want.extend(OWN);
        want.extend([10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2]);
        want.resize(60, 0);
        assert_eq!(buf[..60], want);
        assert_eq!(buf[60..], [0xaa; 4]);
        assert_eq!(
            write_request(&mut buf[..59], OWN, [0; 4].into(), [0; 4].into()),
            None
        );
    }

    #[test]
    fn gratuitous() {
        let mut buf = [0; 60];
        assert_eq!(
            write_gratuitous(&mut buf, OWN, [10, 0, 0, 1].into()),
            Some(60)
        );
        let arp = parse(&buf).unwrap();
        assert_eq!(
            (arp.op, arp.spa, arp.tpa),
            (REQUEST, arp.tpa, [10, 0, 0, 1].into())
        );
        assert_eq!(buf[..6], [0xff; 6]);
    }

    #[test]
    fn answer_keeps_padding() {
        let mut frame = [0x55; 64];
        write_request(&mut frame, PEER, [10, 0, 0, 2].into(), [10, 0, 0, 1].into()).unwrap();
        frame[42..].fill(0x77);
        assert!(reply_in_place(&mut frame, OWN));
        let want = Arp {
            op: REPLY,
            sha: OWN,
            spa: [10, 0, 0, 1].into(),
            tha: PEER,
            tpa: [10, 0, 0, 2].into(),
        };
        assert_eq!(parse(&frame), Some(want));
        assert_eq!((&frame[..6], &frame[6..12]), (&PEER[..], &OWN[..]));
        assert_eq!(frame[42..], [0x77; 22]);
        // A reply is not answered.
        assert!(!reply_in_place(&mut frame, OWN));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes(mut bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let before = bytes.clone();
            let parsed = parse(&bytes);
            let answered = reply_in_place(&mut bytes, OWN);
            prop_assert_eq!(answered, parsed.is_some_and(|arp| arp.op == REQUEST));
            if !answered {
                prop_assert_eq!(bytes, before);
            }
        }
    }
}
