//! What the hash schedulers share: an address folded to a number, and the flow a
//! server is chosen for.

use std::net::IpAddr;

/// What a scheduler may look at of a new flow.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// The client.
    pub client: IpAddr,
    /// Its port, host order.
    pub cport: u16,
    /// The virtual address.
    pub vip: IpAddr,
    /// A gQUIC connection id (8 bytes, little endian), where one is hashed.
    pub qid: Option<u64>,
    /// Seconds, any epoch.
    pub now: u32,
}

/// An address as one number, host order; IPv6 by xor of its four words.
pub(super) fn folded(addr: IpAddr) -> u32 {
    match addr {
        IpAddr::V4(v4) => v4.to_bits(),
        IpAddr::V6(v6) => {
            let bits = v6.to_bits();
            (0..4).fold(0, |x, i| x ^ (bits >> (32 * i)) as u32)
        }
    }
}

/// Multiplicative hash to eight bits, as Linux's (golden ratio, high bits).
pub(super) fn to_byte(value: u32) -> u8 {
    (value.wrapping_mul(0x61c8_8647) >> 24) as u8
}
