//! What a packet may cost beside others of the same run: TCP beside UDP, IPv6
//! beside IPv4.

use std::collections::HashMap;

/// How much dearer than UDP a TCP packet may be, than IPv4 an IPv6 packet.
const TCP_OVER_UDP: f64 = 1.15;
const V6_OVER_V4: f64 = 1.25;

/// Nanoseconds a packet took, by protocol, family and flows.
#[derive(Debug, Default)]
pub struct Costs(HashMap<(&'static str, u8, usize), f64>);

impl Costs {
    /// Remembers a row's.
    pub fn note(&mut self, proto: &'static str, af: u8, flows: usize, nanos: Option<f64>) {
        self.0
            .extend(nanos.map(|nanos| ((proto, af, flows), nanos)));
    }

    /// The most a row's may be; `None` for UDP over IPv4, and where the row
    /// beside it was not measured.
    #[must_use]
    pub fn most(&self, proto: &'static str, af: u8, flows: usize) -> Option<f64> {
        let of = |proto, af| self.0.get(&(proto, af, flows));
        match (proto, af) {
            (proto, 6) => of(proto, 4).map(|nanos| nanos * V6_OVER_V4),
            ("tcp", _) => of("udp", 4).map(|nanos| nanos * TCP_OVER_UDP),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_bound_by_the_row_beside() {
        let mut costs = Costs::default();
        costs.note("udp", 4, 1_000, Some(20.0));
        costs.note("tcp", 4, 1_000, Some(22.0));
        costs.note("udp", 4, 1, None);
        assert_eq!(costs.most("udp", 4, 1_000), None);
        assert!((costs.most("tcp", 4, 1_000).unwrap() - 23.0).abs() < 1e-9);
        assert!((costs.most("udp", 6, 1_000).unwrap() - 25.0).abs() < 1e-9);
        assert!((costs.most("tcp", 6, 1_000).unwrap() - 27.5).abs() < 1e-9);
        assert_eq!(costs.most("tcp", 4, 1), None);
    }
}
