//! Echo exchanges: one state, with the time-outs DPVS gives them (facts §7).

/// Made, no packet counted yet.
pub const NONE: u8 = 0;
/// Requests or answers have passed.
pub const NORMAL: u8 = 1;

/// Time-out of a state in seconds.
#[must_use]
pub fn timeout(state: u8) -> u32 {
    if state == NONE { 60 } else { 300 }
}

/// Name in listings.
#[must_use]
pub fn name(state: u8) -> &'static str {
    if state == NONE {
        "ICMP_NONE"
    } else {
        "ICMP_NORMAL"
    }
}
