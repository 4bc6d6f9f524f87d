//! Captures (ours, ids 7560, 7561, 7570): a client asks for copies of frames, reads
//! them as they come, and ends that. One capture at a time; one that nobody reads
//! for some seconds ends by itself.

use crate::types::{Af, Ip16, Name};
use crate::wire::{DecodeError, Wire, wire_struct};

wire_struct! {
    /// Begins a capture (7560), or names the one to be ended (7561) or read (7570).
    pub struct CaptureConf[56] {
        /// Chosen by the client, to tell its capture from others'.
        0 token: u64,
        /// Device; empty for all.
        8 ifname: Name<16>,
        /// Source or destination address.
        24 host: Ip16,
        /// Family of the address; 0 for any.
        40 af: Af,
        /// TCP, UDP or SCTP port, either side, as a number; 0 for any.
        44 port: u16,
        /// IP protocol; 0 for any.
        46 proto: u8,
        /// 1 received, 2 sent, 3 both.
        47 dirs: u8,
        /// Most bytes of a frame.
        48 snaplen: u32,
    }
}

wire_struct! {
    /// Before the frames of an answer.
    pub struct CaptureHead[16] {
        /// Frames for which there was no room, since the capture began.
        0 lost: u64,
        /// Frames that follow.
        8 count: u32,
    }
}

wire_struct! {
    /// A frame; its bytes follow, padded to a multiple of eight.
    pub struct CaptureFrame[40] {
        /// Nanoseconds since 1970.
        0 at: u64,
        /// Length on the wire.
        8 len: u32,
        /// Bytes that follow.
        12 caplen: u32,
        /// Device.
        16 ifname: Name<16>,
        /// 1 received, 2 sent.
        32 dir: u8,
    }
}

/// Values of [`CaptureConf::dirs`] and [`CaptureFrame::dir`].
pub mod capture_dir {
    /// Received.
    pub const IN: u8 = 1;
    /// Sent.
    pub const OUT: u8 = 2;
}

/// An answer to a reader.
#[must_use]
pub fn encode_capture(lost: u64, frames: &[(CaptureFrame, Box<[u8]>)]) -> Vec<u8> {
    let head = CaptureHead {
        lost,
        count: frames.len() as u32,
    };
    let mut out = head.encode();
    for (frame, bytes) in frames {
        out.extend(frame.encode());
        out.extend_from_slice(bytes);
        out.resize(out.len().next_multiple_of(8), 0);
    }
    out
}

/// Frames with their bytes.
pub type CapturedFrames = Vec<(CaptureFrame, Vec<u8>)>;

/// The frames of an answer, and how many were lost.
///
/// # Errors
/// When it ends before it should.
pub fn decode_capture(bytes: &[u8]) -> Result<(u64, CapturedFrames), DecodeError> {
    let (head, mut rest) = CaptureHead::decode_prefix(bytes)?;
    let mut frames = Vec::new();
    for _ in 0..head.count {
        let (frame, behind) = CaptureFrame::decode_prefix(rest)?;
        let len = frame.caplen as usize;
        let missing = || DecodeError::new::<CaptureFrame>(len, behind.len());
        let bytes = behind.get(..len).ok_or_else(missing)?;
        frames.push((frame, bytes.to_vec()));
        rest = behind.get(len.next_multiple_of(8)..).unwrap_or_default();
    }
    Ok((head.lost, frames))
}
