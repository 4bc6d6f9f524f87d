//! Typed calls about everything beside services and the light IP stack:
//! traffic control, tunnels, sets, flows to the kernel, LLDP, traffic
//! statistics, memory, and what only our daemon tells.

use super::{Client, malformed};
use crate::error::CtlError;
use crate::id;
use crate::msg::{
    CaptureConf, CapturedFrames, DropCount, EalPool, EalRing, EalSeg, EalZone, IfTraf, IpsetInfo,
    IpsetMember, IpsetParam, KniFlow, LldpMessage, LldpParam, PortAffinity, RateLimit, TcConf,
    Tunnel, WorkerTurns, decode_capture, decode_eal_wide, decode_ipsets,
};
use crate::types::{Blob, Name};
use crate::wire::{Tail, Wire, decode_counted};

impl Client {
    /// Changes a queue scheduler or classifier; `id` is one of `TC_ADD`,
    /// `TC_DEL`, `TC_CHANGE` and `TC_REPLACE`.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn set_tc(&self, id: u32, conf: &TcConf) -> Result<(), CtlError> {
        self.set(id, &conf.encode())
    }

    /// Lists queue schedulers or classifiers, by `conf.obj`; each entry is a
    /// [`crate::msg::TcQsch`] or a [`crate::msg::TcCls`].
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn tc(&self, conf: &TcConf) -> Result<Vec<Blob<148>>, CtlError> {
        self.get_bare(id::TC_SHOW, &conf.encode())
    }

    /// Changes a tunnel; `id` is one of `TUNNEL_ADD`, `TUNNEL_DEL`,
    /// `TUNNEL_CHANGE` and `TUNNEL_REPLACE`.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn set_tunnel(&self, id: u32, tunnel: &Tunnel) -> Result<(), CtlError> {
        self.set(id, &tunnel.encode())
    }

    /// Lists tunnels: by name, else by kind, else all.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn tunnels(&self, filter: &Tunnel) -> Result<Vec<Tunnel>, CtlError> {
        self.get_bare(id::TUNNEL_SHOW, &filter.encode())
    }

    /// Changes address flows to the kernel's interface; `id` is one of
    /// `SET_KNI_ADD`, `SET_KNI_DEL` and `SET_KNI_FLUSH`.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn set_kni_flow(&self, id: u32, flow: &KniFlow) -> Result<(), CtlError> {
        self.set(id, &flow.encode())
    }

    /// Lists the address flows of the device in `filter`.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn kni_flows(&self, filter: &KniFlow) -> Result<Vec<KniFlow>, CtlError> {
        self.counted(id::GET_KNI_LIST, &filter.encode(), Tail::Slack)
    }

    /// Changes a set, by `param.opcode`.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn set_ipset(&self, param: &IpsetParam) -> Result<(), CtlError> {
        self.set(id::SET_IPSET, &param.encode())
    }

    /// Whether an element is in a set: 1 yes, 0 no, negative an error code.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn test_ipset(&self, param: &IpsetParam) -> Result<i32, CtlError> {
        self.get_as(id::GET_IPSET_TEST, &param.encode())
    }

    /// Lists the set named in `param`, or all sets, with their members.
    ///
    /// # Errors
    /// See [`CtlError`]; `NOTEXIST` for a set that is not there.
    pub fn ipsets(
        &self,
        param: &IpsetParam,
    ) -> Result<Vec<(IpsetInfo, Vec<IpsetMember>)>, CtlError> {
        let id = id::GET_IPSET_LIST;
        let reply = self.get(id, &param.encode())?;
        if reply.is_empty() {
            return Ok(Vec::new());
        }
        decode_ipsets(&reply).map_err(|e| malformed(id, e))
    }

    /// Switches traffic statistics on or off.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn set_iftraf(&self, on: bool) -> Result<(), CtlError> {
        let id = if on {
            id::SET_IFTRAF_ADD
        } else {
            id::SET_IFTRAF_DEL
        };
        self.set(id, &IfTraf::default().encode())
    }

    /// The largest flows of a device, of all, or of `all` by device; none if
    /// the statistics are switched off.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn iftraf(&self, dev: &Name<16>) -> Result<Option<Vec<IfTraf>>, CtlError> {
        let id = id::GET_IFTRAF_SHOW;
        let reply = self.get(id, &dev.encode())?;
        if reply.is_empty() {
            return Ok(None);
        }
        let list = decode_counted(&reply, Tail::Exact).map_err(|e| malformed(id, e))?;
        Ok(Some(list))
    }

    /// What LLDP knows of a port or of its neighbour.
    ///
    /// # Errors
    /// See [`CtlError`]; `NOTEXIST` if it knows nothing.
    pub fn lldp(&self, param: &LldpParam) -> Result<LldpMessage, CtlError> {
        self.get_as(id::GET_LLDP_SHOW, &param.encode())
    }

    /// Memory segments.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn eal_segs(&self) -> Result<Vec<EalSeg>, CtlError> {
        self.wide(id::GET_EAL_MEM_SEG)
    }

    /// Memory zones.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn eal_zones(&self) -> Result<Vec<EalZone>, CtlError> {
        self.wide(id::GET_EAL_MEM_ZONE)
    }

    /// Rings.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn eal_rings(&self) -> Result<Vec<EalRing>, CtlError> {
        self.counted(id::GET_EAL_MEM_RING, &[], Tail::Slack)
    }

    /// Pools of objects.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn eal_pools(&self) -> Result<Vec<EalPool>, CtlError> {
        self.counted(id::GET_EAL_MEM_POOL, &[], Tail::Slack)
    }

    /// Packets dropped, by lcore and reason. Only our daemon tells.
    ///
    /// # Errors
    /// See [`CtlError`]; `ShortReply` without a byte from one that does not tell.
    pub fn drops(&self) -> Result<Vec<DropCount>, CtlError> {
        self.counted(id::GET_DROPS, &[], Tail::Exact)
    }

    /// What lcores count beside drops, by name. Only our daemon tells.
    ///
    /// # Errors
    /// See [`CtlError`]; `ShortReply` without a byte from one that does not tell.
    pub fn counters(&self) -> Result<Vec<DropCount>, CtlError> {
        self.counted(id::GET_COUNTERS, &[], Tail::Exact)
    }

    /// How long the workers' turns took, see [`WorkerTurns`]. Only our daemon tells.
    ///
    /// # Errors
    /// See [`CtlError`]; `ShortReply` without a byte from one that does not tell.
    pub fn turns(&self) -> Result<Vec<WorkerTurns>, CtlError> {
        self.counted(id::GET_TURNS, &[], Tail::Exact)
    }

    /// How replies find their worker, for one device or, with an empty name,
    /// for all. Only our daemon tells.
    ///
    /// # Errors
    /// See [`CtlError`]; `ShortReply` without a byte from one that does not tell.
    pub fn port_affinity(&self, dev: &Name<16>) -> Result<Vec<PortAffinity>, CtlError> {
        self.counted(id::GET_PORT_AFFINITY, &dev.encode(), Tail::Exact)
    }

    /// Sets rate limits; one without any removes them. Only our daemon knows them.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn set_limit(&self, limit: &RateLimit) -> Result<(), CtlError> {
        self.set(id::SET_LIMIT, &limit.encode())
    }

    /// Lists rate limits. Only our daemon tells.
    ///
    /// # Errors
    /// See [`CtlError`]; `ShortReply` without a byte from one that does not tell.
    pub fn limits(&self) -> Result<Vec<RateLimit>, CtlError> {
        self.counted(id::GET_LIMITS, &[], Tail::Exact)
    }

    /// Begins a capture. Only our daemon can.
    ///
    /// # Errors
    /// See [`CtlError`]; `EXIST` while another one captures.
    pub fn capture_start(&self, conf: &CaptureConf) -> Result<(), CtlError> {
        self.set(id::SET_CAPTURE_START, &conf.encode())
    }

    /// What has been captured since the last time, and how many frames were lost.
    ///
    /// # Errors
    /// See [`CtlError`]; `NOTEXIST` if the capture has ended.
    pub fn capture_read(&self, conf: &CaptureConf) -> Result<(u64, CapturedFrames), CtlError> {
        let reply = self.get(id::GET_CAPTURE, &conf.encode())?;
        decode_capture(&reply).map_err(|e| malformed(id::GET_CAPTURE, e))
    }

    /// Ends a capture.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn capture_stop(&self, conf: &CaptureConf) -> Result<(), CtlError> {
        self.set(id::SET_CAPTURE_STOP, &conf.encode())
    }

    fn counted<T: Wire>(&self, id: u32, body: &[u8], tail: Tail) -> Result<Vec<T>, CtlError> {
        let reply = self.get(id, body)?;
        decode_counted(&reply, tail).map_err(|e| malformed(id, e))
    }

    fn wide<T: Wire>(&self, id: u32) -> Result<Vec<T>, CtlError> {
        let reply = self.get(id, &[])?;
        decode_eal_wide(&reply).map_err(|e| malformed(id, e))
    }
}
