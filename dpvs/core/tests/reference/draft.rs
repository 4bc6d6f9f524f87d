//! A frame about to leave whose sequence shift may not be known yet.

use std::net::IpAddr;

use super::tcp;
use super::wire::{ETH, Parts, TCP, be16, be32, pieces};

/// A frame without its MAC addresses.
#[derive(Clone, Debug)]
pub struct Draft {
    what: What,
    /// Number of the shift that applies.
    pub shift: Option<u64>,
    from_server: bool,
    /// One piece of it: which, at what MTU.
    piece: Option<(usize, usize)>,
    /// A reset made at expiry: those of one moment may leave in any order.
    pub reset: bool,
}

#[derive(Clone, Debug)]
enum What {
    Whole(Vec<u8>),
    Parts(Parts),
}

impl Draft {
    pub fn whole(bytes: Vec<u8>) -> Self {
        Self {
            what: What::Whole(bytes),
            shift: None,
            from_server: false,
            piece: None,
            reset: false,
        }
    }

    pub fn parts(parts: Parts, shift: Option<u64>, from_server: bool) -> Self {
        Self {
            what: What::Parts(parts),
            shift,
            from_server,
            piece: None,
            reset: false,
        }
    }

    pub fn piece(&self, n: usize, mtu: usize) -> Self {
        Self {
            piece: Some((n, mtu)),
            ..self.clone()
        }
    }

    /// The frame with its sequence numbers shifted by so much.
    pub fn bytes(&self, shift: u32) -> Vec<u8> {
        let whole = match &self.what {
            What::Whole(bytes) => bytes.clone(),
            What::Parts(parts) => {
                let mut parts = parts.clone();
                if parts.proto == TCP && self.shift.is_some() {
                    if self.from_server {
                        tcp::shift_out(&mut parts.l4, shift);
                    } else {
                        tcp::shift_in(&mut parts.l4, shift);
                    }
                }
                parts.join()
            }
        };
        match self.piece {
            Some((n, mtu)) => pieces(&whole, mtu).unwrap().swap_remove(n),
            None => whole,
        }
    }

    /// The shift by which a frame that was sent differs from this one. `None` if
    /// it does not tell.
    pub fn shift_in(&self, sent: &[u8]) -> Option<u32> {
        let What::Parts(parts) = &self.what else {
            return None;
        };
        // The field that is shifted, and where it is in the frame or this piece.
        let field = if self.from_server { 8 } else { 4 };
        if self.from_server && parts.l4[13] & tcp::ACK == 0 {
            return None;
        }
        let at = match self.piece {
            None => ETH + parts.ip.len() + field,
            Some((n, mtu)) => {
                let room = (mtu - parts.ip.len()) / 8 * 8;
                let header = if n == 0 { parts.ip.len() } else { 20 };
                (field / room == n).then(|| ETH + header + field % room)?
            }
        };
        if sent.len() < at + 4 {
            return None;
        }
        let (was, is) = (be32(&parts.l4, field), be32(sent, at));
        Some(if self.from_server {
            was.wrapping_sub(is)
        } else {
            is.wrapping_sub(was)
        })
    }

    /// Of a client's segment: both ends towards the server.
    pub fn towards_server(&self) -> Option<(IpAddr, u16, IpAddr, u16)> {
        let What::Parts(parts) = &self.what else {
            return None;
        };
        let (src, dst) = parts.addrs();
        let ends = (src, be16(&parts.l4, 0), dst, be16(&parts.l4, 2));
        (!self.from_server).then_some(ends)
    }
}
