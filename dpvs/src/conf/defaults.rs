//! What holds where dpvs.conf says nothing: the defaults of DPVS 1.10.

use super::model::{
    AddrGen, Bond, Conf, ConnDefs, Device, FdirMode, Global, IdleDefs, Ipv4, Ipv6, LogLevel, Misc,
    Netif, Priority, Route6Method, Rss, Synproxy, TcpDefs, TcpTimeouts, UdpDefs, UoaMode,
    WorkerDef, WorkerPort, WorkerType,
};

impl Default for Conf {
    fn default() -> Self {
        Conf {
            global: Global {
                log_level: LogLevel::Info,
                log_file: None,
                log_async_mode: false,
                log_with_timestamp: false,
                log_async_pool_size: 16383,
                kni: true,
                lldp: false,
                pdump: false,
            },
            netif: Netif {
                pktpool_size: 65535,
                pktpool_cache: 256,
                fdir_mode: FdirMode::Perfect,
                devices: Vec::new(),
                bonds: Vec::new(),
            },
            workers: Vec::new(),
            misc: Misc {
                schedule_interval: 10,
                unres_queue_length: 128,
                neigh_timeout: 60,
                ipset_hash_pool_size: 262_143,
                ring_size: 4096,
                sync_msg_timeout_us: 2000,
                priority_level: Priority::Low,
                pool_hash_size: 16,
                flow_enable: true,
            },
            idle: IdleDefs {
                pause_turns: 0,
                sleep_after_us: 0,
                sleep_us: 20,
            },
            ipv4: Ipv4 {
                forwarding: false,
                default_ttl: 64,
                frag_buckets: 4096,
                frag_bucket_entries: 16,
                frag_max_entries: 4096,
                frag_ttl: 1,
            },
            ipv6: Ipv6 {
                disable: false,
                forwarding: false,
                addr_gen_mode: AddrGen::Eui64,
                stable_secret: None,
                route_method: Route6Method::Hlist,
                recycle_time: 10,
                lpm_max_rules: 256,
                lpm_tbl8s: 4096,
                rt6_hash_bucket: 256,
            },
            conn: ConnDefs {
                pool_size: 2_097_151,
                pool_cache: 256,
                init_timeout: 3,
                expire_quiescent_template: false,
                mh_list_order: false,
                redirect: false,
                fast_xmit_close: false,
                xmit_ttl: false,
            },
            udp: UdpDefs {
                defence_drop: false,
                uoa_mode: UoaMode::Opp,
                uoa_max_trail: 3,
                oneway: 300,
                normal: 300,
                last: 2,
            },
            tcp: TcpDefs {
                defence_drop: false,
                timeouts: TcpTimeouts {
                    none: 2,
                    established: 90,
                    syn_sent: 3,
                    syn_recv: 30,
                    fin_wait: 7,
                    time_wait: 7,
                    close: 3,
                    close_wait: 7,
                    last_ack: 7,
                    listen: 120,
                    synack: 30,
                    last: 2,
                },
                synproxy: Synproxy {
                    mss: 1452,
                    ttl: 63,
                    sack: true,
                    wscale: 0,
                    timestamp: false,
                    close_client_window: false,
                    defer_rs_syn: false,
                    rs_syn_max_retry: 3,
                    ack_storm_thresh: 10,
                    max_ack_saved: 3,
                    auto_syn_rate: 0,
                    reuse_close: true,
                    reuse_time_wait: true,
                    reuse_fin_wait: false,
                    reuse_close_wait: false,
                    reuse_last_ack: false,
                },
            },
        }
    }
}

/// A device block before its keywords are read.
pub(super) fn device(name: &str) -> Device {
    Device {
        name: name.to_owned(),
        rx_queues: None,
        rx_desc: 256,
        rss: Rss(Rss::TCP),
        tx_queues: None,
        tx_desc: 512,
        fast_free: true,
        mtu: 1500,
        promisc: false,
        allmulticast: false,
        kni_name: None,
    }
}

/// A bonding block before its keywords are read.
pub(super) fn bond(name: &str) -> Bond {
    Bond {
        name: name.to_owned(),
        mode: 0,
        slaves: Vec::new(),
        primary: None,
        numa_node: 0,
        kni_name: None,
        dedicated_queues: true,
    }
}

/// A worker block before its keywords are read.
pub(super) fn worker(name: &str) -> WorkerDef {
    WorkerDef {
        name: name.to_owned(),
        kind: WorkerType::Slave,
        cpu: 0,
        icmp_redirect: false,
        ports: Vec::new(),
    }
}

/// A port block of a worker before its keywords are read.
pub(super) fn worker_port(name: &str) -> WorkerPort {
    WorkerPort {
        name: name.to_owned(),
        isol_ring: 1_048_576,
        ..WorkerPort::default()
    }
}
