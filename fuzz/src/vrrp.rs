//! VRRP adverts from the wire: any packet is an advert or a reason against it,
//! and an advert encodes to bytes that decode to itself. keepalived has no
//! library, so its source is included.

use std::net::Ipv4Addr;

use crate::Target;

#[allow(dead_code)]
#[rustfmt::skip]
#[path = "../../keepalived-rs/src/vrrp/packet.rs"]
mod packet;

/// The target.
pub const TARGET: Target = Target {
    name: "vrrp",
    run,
    seeds,
    words: &["\u{31}", "\u{21}", "\u{45}", "p", "\0\u{12}"],
};

const HEADER: [u8; 20] = [
    0x45, 0xc0, 0, 0, 0, 1, 0, 0, 255, 112, 0, 0, 10, 0, 0, 1, 224, 0, 0, 18,
];

fn run(data: &[u8]) {
    let Some((&mode, bytes)) = data.split_first() else {
        return;
    };
    judge(bytes, mode & 1 == 0);
    if mode & 2 == 0 && bytes.len() >= 28 {
        // With the sum over the whole body right, the way on is open.
        let mut fixed = bytes.to_vec();
        let start = usize::from(fixed[0] & 15) * 4;
        if start + 8 <= fixed.len() {
            fixed[start + 6..start + 8].fill(0);
            let sum: u32 = fixed[start..]
                .chunks(2)
                .map(|c| u32::from(c[0]) << 8 | u32::from(c.get(1).copied().unwrap_or(0)))
                .sum();
            let sum = (sum & 0xffff) + (sum >> 16);
            let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
            fixed[start + 6..start + 8].copy_from_slice(&sum.to_be_bytes());
            judge(&fixed, mode & 1 == 0);
        }
    }
}

fn judge(bytes: &[u8], any_ttl: bool) {
    let vrid = packet::peek_vrid(bytes);
    match packet::decode(bytes, any_ttl) {
        Ok(got) => {
            assert_eq!(vrid, Some(got.advert.vrid));
            assert!(any_ttl || got.ttl == 255);
            let again = whole(&got.advert.encode(got.src, got.dst), got.src, got.dst);
            let again = packet::decode(&again, false).map(|g| g.advert);
            assert_eq!(again.as_ref(), Ok(&got.advert));
        }
        Err(reason) => assert!(!reason.to_string().is_empty()),
    }
}

/// An IPv4 packet of these contents.
fn whole(body: &[u8], src: Ipv4Addr, dst: Ipv4Addr) -> Vec<u8> {
    let mut out = HEADER.to_vec();
    out[2..4].copy_from_slice(&((20 + body.len()) as u16).to_be_bytes());
    out[12..16].copy_from_slice(&src.octets());
    out[16..20].copy_from_slice(&dst.octets());
    out.extend(body);
    out
}

fn seeds() -> Vec<Vec<u8>> {
    let (src, dst) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(224, 0, 0, 18));
    [(2, None), (2, Some(*b"secret\0\0")), (3, None)]
        .into_iter()
        .map(|(version, password)| {
            let advert = packet::Advert {
                version,
                vrid: 51,
                priority: 100,
                interval: 100,
                password,
                addrs: vec![Ipv4Addr::new(192, 0, 2, 10); 2],
            };
            let packet = whole(&advert.encode(src, dst), src, dst);
            assert!(packet::decode(&packet, false).is_ok(), "our own advert");
            [&[0], &packet[..]].concat()
        })
        .collect()
}
