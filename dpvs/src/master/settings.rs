//! From dpvs.conf to the settings the workers obey.

use dpvs_core::snapshot::{Settings, Timeouts};
use dpvs_core::xmit::uoa::UoaMode;

use crate::conf::{self, Conf};

/// The workers' part of a configuration.
#[must_use]
pub fn settings(conf: &Conf) -> Settings {
    let t = &conf.tcp.timeouts;
    Settings {
        timeouts: Timeouts {
            tcp: [
                t.none,
                t.established,
                t.syn_sent,
                t.syn_recv,
                t.fin_wait,
                t.time_wait,
                t.close,
                t.close_wait,
                t.last_ack,
                t.listen,
                t.synack,
            ],
            udp: [conf.udp.last, conf.udp.oneway, conf.udp.normal],
            conn_init: conf.conn.init_timeout,
        },
        forward4: conf.ipv4.forwarding,
        forward6: conf.ipv6.forwarding,
        ipv6_off: conf.ipv6.disable,
        xmit_ttl: conf.conn.xmit_ttl,
        fast_xmit: !conf.conn.fast_xmit_close,
        defence_udp_drop: conf.udp.defence_drop,
        defence_tcp_drop: conf.tcp.defence_drop,
        uoa_mode: match conf.udp.uoa_mode {
            conf::UoaMode::Opp => UoaMode::Opp,
            conf::UoaMode::Ipo => UoaMode::Ipo,
        },
        uoa_max_trail: u16::try_from(conf.udp.uoa_max_trail).unwrap_or(u16::MAX),
        expire_quiescent_template: conf.conn.expire_quiescent_template,
        neigh_timeout: conf.misc.neigh_timeout,
        unres_queue: conf.misc.unres_queue_length as usize,
        pool_hash_size: u8::try_from(conf.misc.pool_hash_size).unwrap_or(u8::MAX),
        frag_max: conf.ipv4.frag_max_entries,
        frag_ttl: conf.ipv4.frag_ttl,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_of_both_sides_are_the_same() {
        // The workers' own default is to leave datagrams alone.
        let theirs = Settings {
            uoa_max_trail: 3,
            ..Settings::default()
        };
        let ours = settings(&Conf::default());
        assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
    }
}
