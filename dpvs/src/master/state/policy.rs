//! From what an operator says of a service to the policy the workers choose by:
//! flags, persistence, and the tables of the hash schedulers.
//!
//! A table is made again only when what it is made of has changed: the workers
//! share it, and a large one takes a while. Knows no socket and no worker.

use std::net::IpAddr;
use std::sync::Arc;

use dpvs_core::sched::{Table, TableConf, mh};
use dpvs_core::service::{Dest, FwdMode, HashTarget, Persistence, Policy, SchedKind};
use dpvs_ctl::msg::{check_type, svc_flag};

use super::service::Options;

/// Seconds a client is remembered where nothing is said.
const PERSISTENT: u32 = 360;

/// What a table depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Basis {
    sched: SchedKind,
    mh_size: usize,
    mh_list_order: bool,
    quic: bool,
    servers: Vec<(IpAddr, u16, u16, bool)>,
}

/// The table made last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Made(Option<(Basis, Option<Arc<Table>>)>);

impl Made {
    /// The table of these servers.
    pub(crate) fn table(
        &mut self,
        options: &Options,
        dests: &[Dest],
        mh_list_order: bool,
    ) -> Option<Arc<Table>> {
        let basis = Basis {
            sched: options.sched,
            mh_size: mh_size(options.flags),
            mh_list_order,
            quic: options.flags & svc_flag::QUIC != 0,
            servers: dests
                .iter()
                .map(|d| {
                    let weight = if d.usable() { d.weight } else { 0 };
                    (d.addr, d.port, weight, d.mode == FwdMode::Snat)
                })
                .collect(),
        };
        if let Some((made_of, table)) = &self.0
            && *made_of == basis
        {
            return table.clone();
        }
        let conf = TableConf {
            mh_size: basis.mh_size,
            mh_list_order,
            quic: basis.quic,
        };
        let table = Table::build(options.sched, dests, conf).map(Arc::new);
        self.0 = Some((basis, table.clone()));
        table
    }
}

/// Which size of `mh`'s table the flags of a service name.
pub(crate) fn mh_size(flags: u32) -> usize {
    let named = (flags & svc_flag::MH_SIZE) >> svc_flag::MH_SIZE.trailing_zeros();
    usize::try_from(named).unwrap_or(0)
}

/// Whether flags name a size there is.
pub(crate) fn mh_size_fits(flags: u32) -> bool {
    mh_size(flags) < mh::SIZES.len()
}

/// The policy of a service, without its table.
pub(crate) fn policy(o: &Options, v6: bool) -> Policy {
    let has = |flag| o.flags & flag != 0;
    let hashing = matches!(o.sched, SchedKind::Sh | SchedKind::Mh);
    Policy {
        table: None,
        hash_target: if has(svc_flag::QID_HASH) {
            HashTarget::Qid
        } else if has(svc_flag::SIP_HASH) {
            HashTarget::Sip
        } else {
            HashTarget::None
        },
        fallback: hashing && has(svc_flag::SCHED1),
        with_port: hashing && has(svc_flag::SCHED2),
        quic: has(svc_flag::QUIC),
        one_packet: has(svc_flag::ONEPACKET),
        persistence: has(svc_flag::PERSISTENT).then(|| Persistence {
            timeout: if o.timeout == 0 {
                PERSISTENT
            } else {
                o.timeout
            },
            mask: mask(o.netmask, v6),
            sip: o.pe_sip,
        }),
        check: (o.check.types & check_type::PASSIVE != 0).then_some(o.check.dest_up_notice_num),
    }
}

/// The bits of a client's address that count: a netmask as it stands in a packet,
/// or a prefix length. None at all means that nothing was said.
fn mask(netmask: u32, v6: bool) -> u128 {
    if netmask == 0 {
        u128::MAX
    } else if v6 {
        u128::MAX << 128u32.saturating_sub(netmask).min(127)
    } else {
        let bits = u32::from_be_bytes(netmask.to_ne_bytes());
        u128::MAX << 32 | u128::from(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn sizes_of_mh_have_the_same_numbers_everywhere() {
        assert_eq!(mh::SIZES, dpvs_ctl::msg::MH_SIZES);
    }

    #[test]
    fn masks() {
        let net = |text: &str| {
            let addr: Ipv4Addr = text.parse().unwrap();
            u32::from_ne_bytes(addr.octets())
        };
        assert_eq!(mask(net("255.255.255.0"), false), u128::MAX << 8);
        assert_eq!(mask(net("255.255.255.255"), false), u128::MAX);
        assert_eq!(mask(64, true), u128::MAX << 64);
        assert_eq!(mask(128, true), u128::MAX);
        assert_eq!(mask(1, true), 1 << 127);
        assert_eq!((mask(0, false), mask(0, true)), (u128::MAX, u128::MAX));
    }
}
