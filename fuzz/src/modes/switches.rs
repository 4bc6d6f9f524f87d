//! Configuration that no line of a script is about: queue schedulers of any shape,
//! how ports spread packets over workers, and single settings.

use std::sync::Arc;

use dpvs_core::frame::{PortId, WorkerId};
use dpvs_core::rss::{DEFAULT_KEY, Hashed, Nic, Returns};
use dpvs_core::tc::{Cls, INGRESS, Qsch, QschKind, ROOT, Range, Rule, Target as TcTarget, Tc};

use super::world::World;
use crate::input::Input;

impl World {
    /// Another configuration of queue schedulers.
    pub(super) fn schedule(&mut self, input: &mut Input<'_>) {
        let mut tc = Tc::default();
        let sets = self.lab.sets_len() as u32;
        for _ in 0..input.byte() & 3 {
            let mut side = |root: u32| -> Arc<[Qsch]> {
                let handles = [root, 0x10000, 0x20000];
                let n = input.below(4);
                (0..n)
                    .map(|n| {
                        self.uids += 1;
                        let limit = input.pick(&[0, 1, 4, 3000]);
                        let kind = match input.byte() & 7 {
                            0 | 1 => QschKind::Pfifo { limit },
                            2 => QschKind::Bfifo { limit },
                            3 | 4 => QschKind::PfifoFast { limit },
                            _ => QschKind::Tbf {
                                rate: input.pick(&[8_000, 1, 1_000_000, u32::MAX]),
                                burst: input.pick(&[100, 1600, 0, u32::MAX]),
                                peak: input.pick(&[0, 8_000, u32::MAX]),
                                mtu: input.pick(&[0, 1500, 60]),
                                limit,
                            },
                        };
                        let classes = (0..input.byte() & 3)
                            .map(|_| Cls {
                                ethertype: input.pick(&[0x0800, 0x86dd, 0x0806]),
                                rule: if input.byte() & 3 == 3 {
                                    let id = u32::from(input.byte()) % (sets + 1);
                                    Rule::Set {
                                        id: dpvs_core::ipset::SetId(id),
                                        destination: id & 1 == 0,
                                    }
                                } else {
                                    Rule::Match {
                                        proto: input.pick(&[0, 6, 17]),
                                        src: Range::default(),
                                        dst: Range {
                                            addrs: None,
                                            ports: Some((0, input.word())),
                                        },
                                        iif: None,
                                        oif: input.pick(&[None, Some(PortId(0))]),
                                    }
                                },
                                target: input.pick(&[
                                    TcTarget::Drop,
                                    TcTarget::Qsch(root),
                                    TcTarget::Qsch(0x10000),
                                    TcTarget::Qsch(0x20000),
                                ]),
                            })
                            .collect();
                        Qsch {
                            handle: handles[n],
                            uid: self.uids - u64::from(input.byte() & 1),
                            kind,
                            classes,
                            tokens: Arc::default(),
                        }
                    })
                    .collect()
            };
            let (egress, ingress) = (side(ROOT), side(INGRESS));
            tc.ports.push([egress, ingress]);
        }
        self.lab.snap.tc = Arc::new(tc);
        self.lab.touch();
        self.lab.publish();
        self.after();
    }

    /// Settings that no line of a script is about.
    pub(super) fn settings(&mut self, input: &mut Input<'_>) {
        let n = input.byte();
        if n >= 0xc0 {
            return self.spreading(input);
        }
        let s = Arc::make_mut(&mut self.lab.snap.settings);
        match n & 7 {
            0 => s.frag_max = input.pick(&[0, 1, 4, 64]),
            1 => s.frag_ttl = input.pick(&[1, 5]),
            2 => s.lldp = n & 8 != 0,
            3 => s.pool_hash_size = input.pick(&[1, 16, 128]),
            4 => s.uoa_max_trail = input.pick(&[0, 1, 3]),
            5 => s.synproxy.rs_syn_max_retry = input.pick(&[0, 1, 3]),
            6 => s.synproxy.ack_storm_thresh = input.pick(&[0, 1, 3]),
            _ => s.synproxy.reuse = input.word(),
        }
        self.lab.touch();
        self.lab.publish();
        self.after();
    }

    /// What is known of the hashes of ports, and which local ports are matched to
    /// them; packets come where they come all the same.
    fn spreading(&mut self, input: &mut Input<'_>) {
        let workers = self.workers();
        let nics = (0..self.lab.snap.ports.len().min(4))
            .map(|_| {
                let how = input.byte();
                let hashed = Hashed {
                    ip: [how & 1 == 0; 2],
                    tcp: [how & 2 == 0, how & 4 == 0],
                    udp: [how & 8 == 0, how & 4 == 0],
                };
                let size = 1 << input.below(9);
                let rest = input.pick(&[None, Some(WorkerId(0))]);
                let turn = input.byte() & 7;
                // Some entries lead to no worker.
                let table: Vec<_> = (0..size)
                    .map(|n: usize| match (turn, n % 5) {
                        (7, 4) => None,
                        _ => Some(WorkerId((n + usize::from(turn)) as u8 % workers)),
                    })
                    .collect();
                let mut key = DEFAULT_KEY;
                if how & 16 != 0 {
                    key.rotate_left(input.below(DEFAULT_KEY.len()));
                }
                let nic = Nic::new(&key, hashed, &table, rest, workers).ok();
                nic.filter(|_| how & 0xe0 != 0).map(Arc::new)
            })
            .collect();
        let bits = input.byte();
        let port = PortId(u16::from(bits >> 7 ^ 1));
        let pools = self.lab.snap.locals.sapools().iter().enumerate();
        let matched = pools
            .filter(|(n, _)| bits >> (n % 7) & 1 != 0)
            .map(|(_, addr)| (*addr, port))
            .collect();
        self.lab.snap.returns = Returns::new(nics, matched);
        self.lab.touch();
        self.lab.publish();
        self.after();
    }
}
