//! 802.1Q tags on frames: taken off before the pipeline, put on behind it.
//!
//! A tag is in the frame: no port is asked to take it off, and DPDK's drivers do not
//! unasked. Only the outer one counts, and only 802.1Q: VLANs in VLANs are not for
//! devices here.

use dpvs_wire::{eth, vlan};

use crate::frame::Frame;

/// Takes the tag off a frame; its priority and id as on the wire. `None` without
/// one.
pub fn pop<F: Frame>(frame: &mut F) -> Option<u16> {
    let data = frame.data_mut();
    if data.get(12..14)? != eth::ETHERTYPE_VLAN.to_be_bytes() {
        return None;
    }
    let tci = u16::from_be_bytes([*data.get(14)?, *data.get(15)?]);
    (vlan::pop(data) && frame.pull_front(vlan::TAG_LEN)).then_some(tci)
}

/// Puts a tag on a frame; false, and nothing changed, without headroom.
#[must_use]
pub fn push<F: Frame>(frame: &mut F, tci: u16) -> bool {
    if frame.data().len() < eth::HEADER_LEN || !frame.push_front(vlan::TAG_LEN) {
        return false;
    }
    vlan::push(frame.data_mut(), tci)
}

/// The id in a tag.
#[must_use]
pub fn id(tci: u16) -> u16 {
    tci & 0x0fff
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::HeapFrame;

    #[test]
    fn on_and_off() {
        let mut bytes = vec![7u8; 60];
        bytes[12..14].copy_from_slice(&[8, 0]);
        let mut frame = HeapFrame::new(&bytes);
        assert_eq!(pop(&mut frame), None);
        assert!(push(&mut frame, 0xa064));
        assert_eq!(frame.data()[12..18], [0x81, 0, 0xa0, 0x64, 8, 0]);
        assert_eq!(frame.total_len(), 64);
        assert_eq!(pop(&mut frame), Some(0xa064));
        assert_eq!(frame.data(), bytes);
        assert_eq!(id(0xa064), 100);
    }

    #[test]
    fn what_has_no_tag() {
        for bytes in [
            vec![],
            vec![0; 13],
            [vec![0; 12], vec![0x81, 0, 0, 1, 8]].concat(),
            [vec![0; 12], vec![0x88, 0xa8, 0, 1, 8, 0]].concat(),
        ] {
            let mut frame = HeapFrame::new(&bytes);
            assert_eq!(pop(&mut frame), None);
            assert_eq!(frame.data(), bytes);
        }
        assert!(!push(&mut HeapFrame::new(&[0; 13]), 1));
    }
}
