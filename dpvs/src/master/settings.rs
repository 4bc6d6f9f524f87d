//! From dpvs.conf to the settings the workers obey.

use dpvs_core::proto::tcp::State;
use dpvs_core::snapshot::{Settings, SynproxySettings, Timeouts};
use dpvs_core::xmit::uoa::UoaMode;

use crate::conf::{self, Conf, Synproxy};

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
        lldp: conf.global.lldp,
        uoa_mode: match conf.udp.uoa_mode {
            conf::UoaMode::Opp => UoaMode::Opp,
            conf::UoaMode::Ipo => UoaMode::Ipo,
        },
        uoa_max_trail: u16::try_from(conf.udp.uoa_max_trail).unwrap_or(u16::MAX),
        expire_quiescent_template: conf.conn.expire_quiescent_template,
        neigh_timeout: conf.misc.neigh_timeout,
        unres_queue: conf.misc.unres_queue_length as usize,
        synproxy: synproxy(&conf.tcp.synproxy),
        pool_hash_size: u8::try_from(conf.misc.pool_hash_size).unwrap_or(u8::MAX),
        frag_max: conf.ipv4.frag_max_entries,
        frag_ttl: conf.ipv4.frag_ttl,
    }
}

fn synproxy(s: &Synproxy) -> SynproxySettings {
    let byte = |n: u32| u8::try_from(n).unwrap_or(u8::MAX);
    let word = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
    let reuse = [
        (State::Close, s.reuse_close),
        (State::TimeWait, s.reuse_time_wait),
        (State::FinWait, s.reuse_fin_wait),
        (State::CloseWait, s.reuse_close_wait),
        (State::LastAck, s.reuse_last_ack),
    ];
    SynproxySettings {
        mss: word(s.mss),
        ttl: byte(s.ttl),
        sack: s.sack,
        wscale: byte(s.wscale),
        timestamp: s.timestamp,
        close_client_window: s.close_client_window,
        defer_rs_syn: s.defer_rs_syn,
        rs_syn_max_retry: byte(s.rs_syn_max_retry),
        ack_storm_thresh: word(s.ack_storm_thresh),
        max_ack_saved: byte(s.max_ack_saved),
        reuse: reuse
            .iter()
            .filter(|(_, on)| *on)
            .fold(0, |all, (state, _)| all | 1 << state.index()),
        auto_syn_rate: s.auto_syn_rate,
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

    #[test]
    fn every_keyword_of_the_syn_proxy_counts() {
        let mut conf = Conf::default();
        let s = &mut conf.tcp.synproxy;
        (s.mss, s.ttl, s.wscale, s.rs_syn_max_retry) = (1300, 99, 9, 7);
        (s.ack_storm_thresh, s.max_ack_saved, s.auto_syn_rate) = (999, 63, 5000);
        (s.sack, s.timestamp, s.close_client_window, s.defer_rs_syn) = (false, true, true, true);
        (s.reuse_close, s.reuse_fin_wait, s.reuse_last_ack) = (false, true, true);
        let got = settings(&conf).synproxy;
        assert_eq!((got.mss, got.ttl, got.wscale), (1300, 99, 9));
        assert_eq!((got.rs_syn_max_retry, got.ack_storm_thresh), (7, 999));
        assert_eq!((got.max_ack_saved, got.auto_syn_rate), (63, 5000));
        assert!(!got.sack && got.timestamp && got.close_client_window && got.defer_rs_syn);
        let reused: Vec<_> = State::ALL.into_iter().filter(|t| got.reuses(*t)).collect();
        assert_eq!(reused, [State::FinWait, State::TimeWait, State::LastAck]);
    }
}
