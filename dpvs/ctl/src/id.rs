//! Message ids, their names, and which of them the daemon answers.
//!
//! The numbers are positions in one list of iqiyi DPVS 1.9.8 to 1.10; older
//! releases count differently and the protocol does not tell.

use crate::header::Kind;

macro_rules! ids {
    ($($name:ident = $id:literal, $doc:literal;)+) => {
        $( #[doc = $doc] pub const $name: u32 = $id; )+

        /// Every id there is, in order.
        pub const ALL: &[u32] = &[$( $id, )+];

        /// The name of an id.
        #[must_use]
        pub const fn name(id: u32) -> Option<&'static str> {
            match id {
                $( $id => Some(stringify!($name)), )+
                _ => None,
            }
        }
    };
}

ids! {
    SET_LADDR_ADD = 0, "Adds a local address to a service: [`crate::msg::LaddrTable`].";
    SET_LADDR_DEL = 1, "Removes a local address from a service.";
    SET_LADDR_FLUSH = 2, "Removes all local addresses of a service.";
    GET_LADDR_GETALL = 3, "Lists the local addresses of a service.";
    GET_LADDR_MAX = 4, "Reserved.";
    AGENT_VS_GET_LADDR = 5, "Agent: lists local addresses.";
    AGENT_VS_ADD_LADDR = 6, "Agent: adds local addresses.";
    AGENT_VS_DEL_LADDR = 7, "Agent: removes local addresses.";
    SO_SET_FLUSH = 8, "Removes all services; no body.";
    SO_SET_ZERO = 9, "Zeroes the counters of a service, or of all.";
    SO_SET_ADD = 10, "Adds a service: [`crate::msg::Service`].";
    SO_SET_EDIT = 11, "Changes a service.";
    SO_SET_DEL = 12, "Removes a service.";
    SO_SET_ADDDEST = 13, "Adds a dest: [`crate::msg::ServiceDest`].";
    SO_SET_EDITDEST = 14, "Changes a dest.";
    SO_SET_DELDEST = 15, "Removes a dest.";
    SO_SET_GRATARP = 16, "Sends gratuitous ARP for an IPv4 address.";
    SO_GET_VERSION = 17, "The daemon's version as text.";
    SO_GET_INFO = 18, "Version, number of services and of workers: [`crate::msg::Info`].";
    SO_GET_SERVICES = 19, "Lists services.";
    SO_GET_SERVICE = 20, "One service.";
    SO_GET_DESTS = 21, "Lists the dests of a service.";
    AGENT_SO_GET_SERVICES = 22, "Agent: lists services without knowing how many.";
    SVC_MAX = 23, "Reserved.";
    AGENT_VS_GET_DESTS = 24, "Agent: lists dests.";
    AGENT_VS_ADD_DESTS = 25, "Agent: adds dests.";
    AGENT_VS_EDIT_DESTS = 26, "Agent: changes dests.";
    AGENT_VS_DEL_DESTS = 27, "Agent: removes dests.";
    SET_ROUTE_ADD = 28, "Adds an IPv4 route: [`crate::msg::Route`].";
    SET_ROUTE_DEL = 29, "Removes an IPv4 route.";
    SET_ROUTE_SET = 30, "Not supported by any daemon.";
    SET_ROUTE_FLUSH = 31, "Removes the IPv4 routes of a device.";
    GET_ROUTE_SHOW = 32, "Lists IPv4 routes.";
    SET_ROUTE6_ADD_DEL = 33, "Adds or removes an IPv6 route, by its `ops`: [`crate::msg::Route6`].";
    SET_ROUTE6_FLUSH = 34, "Removes IPv6 routes.";
    GET_ROUTE6_SHOW = 35, "Lists IPv6 routes.";
    AGENT_ROUTE_GET = 36, "Agent: lists IPv4 routes.";
    AGENT_ROUTE_ADD = 37, "Agent: adds an IPv4 route.";
    AGENT_ROUTE_DEL = 38, "Agent: removes an IPv4 route.";
    AGENT_ROUTE6_GET = 39, "Agent: lists IPv6 routes.";
    AGENT_ROUTE6_ADD = 40, "Agent: adds an IPv6 route.";
    AGENT_ROUTE6_DEL = 41, "Agent: removes an IPv6 route.";
    AGENT_IFADDR_GET_BASE = 42, "Agent: lists addresses.";
    AGENT_IFADDR_GET_STATS = 43, "Agent: lists local-port statistics.";
    AGENT_IFADDR_GET_VERBOSE = 44, "Reserved.";
    AGENT_IFADDR_ADD = 45, "Agent: adds an address.";
    AGENT_IFADDR_DEL = 46, "Agent: removes an address.";
    SET_IFADDR_ADD = 47, "Adds an address to a device: [`crate::msg::IfAddrParam`].";
    SET_IFADDR_DEL = 48, "Removes an address from a device.";
    SET_IFADDR_SET = 49, "Changes an address.";
    SET_IFADDR_FLUSH = 50, "Removes all addresses of a device.";
    GET_IFADDR_SHOW = 51, "Lists addresses.";
    GET_IFMADDR_SHOW = 52, "Lists multicast addresses of a device.";
    NETIF_SET_LCORE = 53, "Does nothing.";
    NETIF_SET_PORT = 54, "Changes a port: [`crate::msg::NicSet`].";
    NETIF_SET_BOND = 55, "Changes a bond: [`crate::msg::BondSet`].";
    NETIF_SET_MAX = 56, "Reserved.";
    NETIF_GET_LCORE_MASK = 57, "Which lcores do what: [`crate::msg::LcoreMask`].";
    NETIF_GET_LCORE_BASIC = 58, "The queues of an lcore.";
    NETIF_GET_LCORE_STATS = 59, "The counters of an lcore: [`crate::msg::LcoreStats`].";
    NETIF_GET_PORT_LIST = 60, "Lists ports.";
    NETIF_GET_PORT_BASIC = 61, "The state of a port: [`crate::msg::NicBasic`].";
    NETIF_GET_PORT_STATS = 62, "The counters of a port: [`crate::msg::NicStats`].";
    NETIF_GET_PORT_XSTATS = 63, "The driver's own counters of a port.";
    NETIF_GET_PORT_EXT_INFO = 64, "The abilities of a port: [`crate::msg::NicExt`].";
    NETIF_GET_BOND_STATUS = 65, "The state of a bond: [`crate::msg::BondStatus`].";
    NETIF_GET_MADDR = 66, "The hardware multicast addresses of a port.";
    NETIF_GET_MAX = 67, "Reserved.";
    SET_LLDP_TODO = 68, "Reserved.";
    GET_LLDP_SHOW = 69, "What LLDP knows: [`crate::msg::LldpMessage`].";
    SET_NEIGH_ADD = 70, "Adds a static neighbour: [`crate::msg::Neigh`].";
    SET_NEIGH_DEL = 71, "Removes a neighbour.";
    GET_NEIGH_SHOW = 72, "Lists neighbours.";
    SET_BLKLST_ADD = 73, "Adds to a black list: [`crate::msg::AclConf`].";
    SET_BLKLST_DEL = 74, "Removes from a black list.";
    SET_BLKLST_FLUSH = 75, "Reserved.";
    GET_BLKLST_GETALL = 76, "Lists all black list entries.";
    SET_WHTLST_ADD = 77, "Adds to a white list.";
    SET_WHTLST_DEL = 78, "Removes from a white list.";
    SET_WHTLST_FLUSH = 79, "Reserved.";
    GET_WHTLST_GETALL = 80, "Lists all white list entries.";
    SET_VLAN_ADD = 81, "Adds a VLAN device: [`crate::msg::Vlan`].";
    SET_VLAN_DEL = 82, "Removes a VLAN device.";
    GET_VLAN_SHOW = 83, "Lists VLAN devices.";
    TC_ADD = 84, "Adds a queue scheduler or classifier: [`crate::msg::TcConf`].";
    TC_DEL = 85, "Removes one.";
    TC_CHANGE = 86, "Changes one.";
    TC_REPLACE = 87, "Replaces one.";
    TC_SHOW = 88, "Lists them.";
    SET_CONN = 89, "Never send: it crashes the C daemon.";
    GET_CONN_ALL = 90, "Lists connections, in parts: [`crate::msg::ConnReq`].";
    GET_CONN_SPECIFIED = 91, "One connection.";
    IP6_SET = 92, "Reserved.";
    IP6_STATS = 93, "IPv6 counters: [`crate::msg::Ip6Stats`].";
    TUNNEL_ADD = 94, "Adds a tunnel: [`crate::msg::Tunnel`].";
    TUNNEL_DEL = 95, "Removes a tunnel.";
    TUNNEL_CHANGE = 96, "Changes a tunnel.";
    TUNNEL_REPLACE = 97, "Replaces a tunnel.";
    TUNNEL_SHOW = 98, "Lists tunnels.";
    SET_KNI_ADD = 99, "Adds an address flow to the kernel's interface: [`crate::msg::KniFlow`].";
    SET_KNI_DEL = 100, "Removes a flow.";
    SET_KNI_FLUSH = 101, "Removes all flows.";
    GET_KNI_LIST = 102, "Lists flows.";
    SET_IPSET = 103, "Changes a set: [`crate::msg::IpsetParam`].";
    GET_IPSET_TEST = 104, "Whether an element is in a set.";
    GET_IPSET_LIST = 105, "Lists sets with their members.";
    SET_IFTRAF_ADD = 106, "Switches traffic statistics on.";
    SET_IFTRAF_DEL = 107, "Switches traffic statistics off.";
    GET_IFTRAF_SHOW = 108, "Lists the largest flows: [`crate::msg::IfTraf`].";
    SET_EAL_MEM_NONE = 7400, "Never send: it crashes the C daemon.";
    GET_EAL_MEM_SEG = 7401, "Lists memory segments: [`crate::msg::EalSeg`].";
    GET_EAL_MEM_ZONE = 7402, "Lists memory zones: [`crate::msg::EalZone`].";
    GET_EAL_MEM_RING = 7403, "Lists rings: [`crate::msg::EalRing`].";
    GET_EAL_MEM_POOL = 7404, "Lists mempools: [`crate::msg::EalPool`].";
    GET_DROPS = 7501, "Ours: drops by lcore and reason: [`crate::msg::DropCount`].";
    GET_PORT_AFFINITY = 7502, "Ours: the way replies find their worker: [`crate::msg::PortAffinity`].";
    GET_TURNS = 7503, "Ours: how long the turns of the workers took: [`crate::msg::WorkerTurns`].";
    GET_COUNTERS = 7504, "Ours: what workers count beside drops: [`crate::msg::DropCount`].";
    SET_TIMEOUTS = 7520, "Ours: changes time-outs of connections: [`crate::msg::TableTimeouts`].";
    SET_SYNC_START = 7521, "Ours: starts a synchronisation daemon: [`crate::msg::SyncDaemon`].";
    SET_SYNC_STOP = 7522, "Ours: stops a synchronisation daemon.";
    SET_SERVICE_ADD_EXT = 7523, "Ours: adds a service: [`crate::msg::ServiceExt`].";
    SET_SERVICE_EDIT_EXT = 7524, "Ours: changes a service.";
    SET_DEST_ADD_EXT = 7525, "Ours: adds a dest with encapsulation: [`crate::msg::DestExt`].";
    SET_DEST_EDIT_EXT = 7526, "Ours: changes a dest with encapsulation.";
    GET_TIMEOUTS = 7530, "Ours: time-outs of connections.";
    GET_SYNC = 7531, "Ours: lists synchronisation daemons.";
    GET_SERVICE_EXTS = 7532, "Ours: lists the services that [`crate::msg::ServiceExt`] adds to.";
    GET_DEST_EXTS = 7533, "Ours: lists the dests that [`crate::msg::DestExt`] adds to.";
    SET_LIMIT = 7540, "Ours: limits rates of a service or address: [`crate::msg::RateLimit`].";
    GET_LIMITS = 7541, "Ours: lists rate limits.";
    SET_CAPTURE_START = 7560, "Ours: begins a capture: [`crate::msg::CaptureConf`].";
    SET_CAPTURE_STOP = 7561, "Ours: ends it.";
    GET_CAPTURE = 7570, "Ours: frames captured: [`crate::msg::CaptureFrame`].";
}

/// One module's ids: get range, set range, only with the agent switch.
struct Range {
    get: (u32, u32),
    set: (u32, u32),
    agent: bool,
}

const fn range(get: (u32, u32), set: (u32, u32), agent: bool) -> Range {
    Range { get, set, agent }
}

/// As the C daemon registers them.
const RANGES: &[Range] = &[
    range((3, 4), (0, 2), false),
    range((5, 5), (6, 7), true),
    range((8, 23), (8, 23), false),
    range((24, 24), (25, 27), true),
    range((32, 32), (28, 31), false),
    range((35, 35), (33, 34), false),
    range((36, 36), (37, 38), true),
    range((39, 39), (40, 41), true),
    range((42, 44), (45, 46), true),
    range((51, 52), (47, 50), false),
    range((57, 67), (53, 56), false),
    range((69, 69), (68, 68), false),
    range((72, 72), (70, 71), false),
    range((76, 76), (73, 75), false),
    range((80, 80), (77, 79), false),
    range((83, 83), (81, 82), false),
    range((88, 88), (84, 87), false),
    range((90, 91), (89, 89), false),
    range((93, 93), (92, 92), false),
    range((98, 98), (94, 97), false),
    range((102, 102), (99, 101), false),
    range((104, 105), (103, 103), false),
    range((108, 108), (106, 107), false),
    range((7401, 7404), (7400, 7400), false),
    // Ours; nothing can be set.
    range((7501, 7504), (1, 0), false),
    range((7530, 7533), (7520, 7526), false),
    range((7541, 7541), (7540, 7540), false),
    range((7570, 7570), (7560, 7561), false),
];

/// Whether a daemon has a handler for `id` under `kind`. One that has none
/// closes the connection without an answer. The agent's ids count: C daemons
/// have them only if built with CONFIG_DPVS_AGENT, ours always.
#[must_use]
pub fn registered(id: u32, kind: Kind) -> bool {
    find(id, kind).is_some()
}

/// Whether `id` exists only for dpvs-agent.
#[must_use]
pub fn is_agent(id: u32) -> bool {
    id == AGENT_SO_GET_SERVICES
        || [Kind::Get, Kind::Set]
            .into_iter()
            .any(|k| find(id, k).is_some_and(|r| r.agent))
}

fn find(id: u32, kind: Kind) -> Option<&'static Range> {
    RANGES.iter().find(|r| {
        let (first, last) = match kind {
            Kind::Get => r.get,
            Kind::Set => r.set,
        };
        (first..=last).contains(&id)
    })
}

/// The largest request body a server should accept for `id`, in bytes. Only
/// the agent's lists are unbounded in C; 1 MiB holds over 8000 dests.
#[must_use]
pub const fn max_request(id: u32) -> usize {
    match id {
        AGENT_VS_ADD_LADDR | AGENT_VS_DEL_LADDR | AGENT_VS_ADD_DESTS | AGENT_VS_EDIT_DESTS
        | AGENT_VS_DEL_DESTS => 1 << 20,
        _ => 4096,
    }
}

/// `NAME (id)` for messages to people.
#[must_use]
pub fn describe(id: u32) -> String {
    match name(id) {
        Some(name) => format!("{name} ({id})"),
        None => format!("message {id}"),
    }
}
