//! pcapng files (draft-ietf-opsawg-pcapng): section header, one interface block a
//! device, one block a frame, in the byte order of this machine.
//!
//! Knows no control socket and no command line.

use std::io::{self, Write};

/// Ethernet.
const LINKTYPE: u16 = 1;

/// A frame to be written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packet<'a> {
    /// Device.
    pub(crate) dev: &'a str,
    /// Sent, not received.
    pub(crate) sent: bool,
    /// Nanoseconds since 1970.
    pub(crate) at: u64,
    /// Length on the wire.
    pub(crate) len: u32,
    /// The bytes that were kept.
    pub(crate) bytes: &'a [u8],
}

/// A file being written.
pub(crate) struct Writer<W: Write> {
    out: W,
    devices: Vec<String>,
}

fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

fn option(code: u16, value: &[u8]) -> Vec<u8> {
    let len = value.len() as u16;
    [&code.to_ne_bytes()[..], &len.to_ne_bytes(), &padded(value)].concat()
}

impl<W: Write> Writer<W> {
    /// Begins a file.
    pub(crate) fn new(out: W) -> io::Result<Self> {
        let mut writer = Self {
            out,
            devices: Vec::new(),
        };
        let program = concat!("dpip ", env!("CARGO_PKG_VERSION"));
        let body = [
            &0x1a2b_3c4d_u32.to_ne_bytes()[..],
            &1_u16.to_ne_bytes(),
            &0_u16.to_ne_bytes(),
            // Length of the section: not known.
            &u64::MAX.to_ne_bytes(),
            &option(4, program.as_bytes()),
            &option(0, &[]),
        ];
        writer.block(0x0a0d_0d0a, &body.concat())?;
        Ok(writer)
    }

    fn block(&mut self, kind: u32, body: &[u8]) -> io::Result<()> {
        let len = (12 + body.len()) as u32;
        self.out.write_all(&kind.to_ne_bytes())?;
        self.out.write_all(&len.to_ne_bytes())?;
        self.out.write_all(body)?;
        self.out.write_all(&len.to_ne_bytes())
    }

    /// Adds a frame.
    pub(crate) fn packet(&mut self, packet: &Packet<'_>) -> io::Result<()> {
        let known = self.devices.iter().position(|d| d == packet.dev);
        let number = match known {
            Some(number) => number,
            None => {
                let body = [
                    &LINKTYPE.to_ne_bytes()[..],
                    &[0; 2],
                    &0_u32.to_ne_bytes(),
                    &option(2, packet.dev.as_bytes()),
                    // Times are nanoseconds.
                    &option(9, &[9]),
                    &option(0, &[]),
                ];
                self.block(1, &body.concat())?;
                self.devices.push(packet.dev.to_owned());
                self.devices.len() - 1
            }
        };
        let direction: u32 = if packet.sent { 2 } else { 1 };
        let body = [
            &(number as u32).to_ne_bytes()[..],
            &((packet.at >> 32) as u32).to_ne_bytes(),
            &(packet.at as u32).to_ne_bytes(),
            &(packet.bytes.len() as u32).to_ne_bytes(),
            &packet.len.to_ne_bytes(),
            &padded(packet.bytes),
            &option(2, &direction.to_ne_bytes()),
            &option(0, &[]),
        ];
        self.block(6, &body.concat())
    }

    /// All that was added is where it belongs.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_say_how_long_they_are() {
        let mut file = Vec::new();
        let mut writer = Writer::new(&mut file).unwrap();
        for (dev, n) in [("dpdk0", 60), ("dpdk1", 61), ("dpdk0", 0)] {
            let packet = Packet {
                dev,
                sent: n == 61,
                at: 1 << 60,
                len: 1500,
                bytes: &vec![7; n],
            };
            writer.packet(&packet).unwrap();
        }
        writer.flush().unwrap();
        let (mut at, mut kinds) = (0, Vec::new());
        while at < file.len() {
            let word = |at: usize| u32::from_ne_bytes(file[at..at + 4].try_into().unwrap());
            let len = word(at + 4) as usize;
            assert_eq!(word(at + len - 4) as usize, len);
            assert!(len.is_multiple_of(4));
            kinds.push(word(at));
            at += len;
        }
        assert_eq!(at, file.len());
        assert_eq!(kinds, [0x0a0d_0d0a, 1, 6, 1, 6, 6]);
    }
}
