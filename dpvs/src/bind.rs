//! The ports of the configuration: devices bound to DPDK's ports in order, bonds made
//! of them, host ports to each that carries packets.
//!
//! Part of the start: what cannot be done says what to change.

use crate::bonds;
use crate::conf::{Bond, Conf, Device as DeviceConf, Plan, Rss, WorkerPlan};
use crate::made::HOST_RING;
use crate::port::{
    self, BondOption, Eal, HostBridge, HostPort, Pool, Port, PortConf, Ready, RssKey, RxQueue,
    SharedSender, TxQueue, ring, rss_types,
};
use crate::ports::Device;
use crate::start::{StartError, fail, pool_of};

/// A port being set up.
pub(crate) struct Bound {
    pub(crate) device: Device,
    pub(crate) rx: Vec<Option<RxQueue>>,
    pub(crate) tx: Vec<Option<TxQueue>>,
    pub(crate) to_host: Option<SharedSender>,
    pub(crate) from_host: Option<port::Receiver>,
}

fn rss(conf: Rss) -> u64 {
    Rss::NAMES
        .iter()
        // `all` is the sum of others.
        .filter(|(name, bit)| *name != "all" && conf.0 & bit != 0)
        .filter_map(|(name, _)| rss_types(name))
        .fold(0, |all, types| all | types)
}

fn port_conf(d: &DeviceConf, plan: &Plan, at: usize, single_pool: bool) -> PortConf {
    let port = plan.ports.get(at);
    let (rx, tx) = port.map_or((0, 0), |p| (p.rx_queues, p.tx_queues));
    let short = |v: u32| u16::try_from(v).unwrap_or(u16::MAX);
    let of_kni = |w: &WorkerPlan| w.rx.iter().filter(|(p, _)| *p == at).count();
    let kni_queues = short(u32::try_from(plan.kni.as_ref().map_or(0, of_kni)).unwrap_or(0));
    PortConf {
        rx_queues: rx.max(1),
        tx_queues: tx.max(1),
        rx_desc: short(d.rx_desc),
        tx_desc: short(d.tx_desc),
        mtu: short(d.mtu),
        rss: if rx.saturating_sub(kni_queues) > 1 {
            rss(d.rss)
        } else {
            0
        },
        rss_queues: rx.saturating_sub(kni_queues),
        rss_key: RssKey::Standard,
        promiscuous: d.promisc,
        allmulticast: d.allmulticast,
        // The driver may look at one pool only.
        fast_free: d.fast_free && single_pool,
        ..PortConf::default()
    }
}

/// Sets all ports up and starts them. The n-th is [`Plan::ports`]'s n-th.
///
/// # Errors
/// The configuration does not fit DPDK's ports, or a driver's refusal.
pub(crate) fn bind(
    conf: &Conf,
    plan: &Plan,
    eal: &Eal,
    pools: &[(u32, Pool)],
    bridges: &mut Vec<HostBridge>,
) -> Result<Vec<Bound>, StartError> {
    let ports = Port::all(eal);
    let names = || ports.iter().map(Port::name).collect::<Vec<_>>().join(" ");
    if ports.len() != conf.netif.devices.len() {
        return fail(format!(
            "DPDK has {} port{} ({}), netif_defs has {} device block{}; the n-th block is for the n-th port: add or remove blocks, or choose ports with -a, -b and --vdev after `--`",
            ports.len(),
            if ports.len() == 1 { "" } else { "s" },
            if ports.is_empty() {
                "none".to_owned()
            } else {
                names()
            },
            conf.netif.devices.len(),
            if conf.netif.devices.len() == 1 {
                ""
            } else {
                "s"
            },
        ));
    }
    let mut bound: Vec<Bound> = Vec::new();
    let only = pools.len() == 1;
    for (at, (d, port)) in conf.netif.devices.iter().zip(ports).enumerate() {
        let pool = pool_of(pools, port.socket())?;
        if let Some(bond) = conf.netif.bonds.iter().find(|b| b.slaves.contains(&d.name)) {
            bound.push(member(d, port, pool, &bond.name)?);
            continue;
        }
        let settings = port_conf(d, plan, at, only);
        let kni = conf.global.kni.then(|| d.host_name());
        let up = bring_up(eal, &d.name, at, port, &settings, pool, kni, bridges)?;
        bound.push(up);
    }
    for (at, bond) in (bound.len()..).zip(&conf.netif.bonds) {
        let (port, d) = join(conf, bond, eal, &bound)?;
        let pool = pool_of(pools, bond.numa_node)?;
        let settings = port_conf(d, plan, at, only);
        let kni = conf.global.kni.then(|| {
            let name = bond.kni_name.clone();
            name.unwrap_or_else(|| format!("{}.kni", bond.name))
        });
        let mut up = bring_up(eal, &bond.name, at, port, &settings, pool, kni, bridges)?;
        up.device.monitor_ms = MONITOR_MS;
        let members = bound.iter().map(|b| &b.device);
        let members = members.filter(|d| bond.slaves.contains(&d.name));
        bonds::listen(&up.device.port, members.map(|d| &d.port));
        bound.push(up);
    }
    Ok(bound)
}

/// Time between looks at the links of a bond's members.
const MONITOR_MS: u32 = 100;

/// A port that belongs to a bond, which configures and starts it.
fn member(d: &DeviceConf, port: Port, pool: Pool, bond: &str) -> Result<Bound, StartError> {
    let info = port
        .info()
        .map_err(|e| StartError(format!("device {}: {e}", d.name)))?;
    tracing::info!(
        "device {} is port {} ({} {}), for bond {bond}",
        d.name,
        port.id(),
        info.driver,
        port.name()
    );
    let mtu = u16::try_from(d.mtu).unwrap_or(u16::MAX);
    Ok(Bound {
        device: Device::new(d.name.clone(), port, info, mtu, pool),
        rx: Vec::new(),
        tx: Vec::new(),
        to_host: None,
        from_host: None,
    })
}

/// Makes a bond of its members; gives the block whose settings it takes.
fn join<'c>(
    conf: &'c Conf,
    bond: &Bond,
    eal: &Eal,
    bound: &[Bound],
) -> Result<(Port, &'c DeviceConf), StartError> {
    let told = |e: port::Error| StartError(format!("bonding {}: {e}", bond.name));
    let device = |name: &str| {
        let found = bound.iter().find(|b| b.device.name == name);
        found.map(|b| &b.device.port).ok_or_else(|| {
            StartError(format!(
                "bonding {}: no device block is named `{name}`",
                bond.name
            ))
        })
    };
    let mode = u8::try_from(bond.mode).unwrap_or(0);
    let port = Port::bond(eal, &bond.name, mode, bond.numa_node).map_err(told)?;
    let first = bond.slaves.first().map(String::as_str).unwrap_or_default();
    let primary = bond.primary.as_deref().unwrap_or(first);
    // The first member gives the bond its MAC address.
    port.add_member(device(primary)?).map_err(told)?;
    for name in bond.slaves.iter().filter(|name| *name != primary) {
        port.add_member(device(name)?).map_err(told)?;
    }
    port.set_primary(device(primary)?).map_err(told)?;
    // As DPVS shows it.
    port.set_bond_option(BondOption::MonitorMs, MONITOR_MS)
        .map_err(told)?;
    let mac = device(primary)?.mac().map_err(told)?;
    if let Err(e) = port.set_mac(mac) {
        tracing::info!("bonding {}: {e}", bond.name);
    }
    if mode == 4 {
        let (what, on) = (BondOption::DedicatedQueues, bond.dedicated_queues.into());
        // A queue for LACP needs a flow rule, which not every driver takes.
        if let Err(e) = port.set_bond_option(what, on) {
            tracing::info!("bonding {}: LACP shares the queues: {e}", bond.name);
        }
    }
    let block = conf.netif.devices.iter().find(|d| d.name == primary);
    let block = block.ok_or_else(|| {
        StartError(format!(
            "bonding {}: no device block is named `{primary}`",
            bond.name
        ))
    })?;
    Ok((port, block))
}

/// Configures and starts a port, and makes its host port.
#[allow(clippy::too_many_arguments)]
fn bring_up(
    eal: &Eal,
    name: &str,
    at: usize,
    port: Port,
    settings: &PortConf,
    pool: Pool,
    kni: Option<String>,
    bridges: &mut Vec<HostBridge>,
) -> Result<Bound, StartError> {
    let told = |e: port::Error| StartError(format!("device {name}: {e}"));
    let ready: Ready = port.configure(settings, pool).map_err(told)?;
    let notes = ready.port.start(settings).map_err(told)?;
    for note in ready.notes.iter().chain(&notes) {
        tracing::info!("device {name}: {note}");
    }
    let Ready {
        port, rx, tx, mtu, ..
    } = ready;
    let info = port.info().map_err(told)?;
    let link = port.link();
    tracing::info!(
        "device {name} is port {} ({} {}), {} rx and {} tx queues, MTU {mtu}, link {}",
        port.id(),
        info.driver,
        port.name(),
        rx.len(),
        tx.len(),
        if link.up { "up" } else { "down" }
    );
    let mut device = Device::new(name.to_owned(), port, info, mtu, pool);
    device.fast_free = settings.fast_free;
    let (mut to_host, mut from_host) = (None, None);
    if let Some(kni) = kni {
        let mac = device.port.mac().map_err(told)?;
        match HostPort::create(eal, &kni, mac, mtu, pool) {
            Ok(host) => {
                tracing::info!(
                    "device {name}: host port {} ({})",
                    host.name(),
                    host.backend()
                );
                let socket = device.port.socket();
                let (tx, rx) =
                    ring::shared_channel(eal, &format!("to_host_{at}"), HOST_RING, socket)?;
                let (wire_tx, wire_rx) =
                    ring::channel(eal, &format!("from_host_{at}"), HOST_RING, socket)?;
                device.host = Some(host.name().to_owned());
                bridges.push(HostBridge::new(host, rx, wire_tx));
                (to_host, from_host) = (Some(tx), Some(wire_rx));
            }
            Err(e) => {
                tracing::warn!("device {name}: no host port, the kernel is not on this wire: {e}");
            }
        }
    }
    Ok(Bound {
        device,
        rx: rx.into_iter().map(Some).collect(),
        tx: tx.into_iter().map(Some).collect(),
        to_host,
        from_host,
    })
}
