//! Typed calls about services, dests, local addresses and connections.

use std::net::Ipv4Addr;

use super::{Client, malformed};
use crate::error::{CtlError, ErrCode};
use crate::header::Kind;
use crate::id;
use crate::msg::{
    AclConf, ConnArray, ConnEntry, ConnReq, Dest, DestTable, IfAddrParam, Info, LaddrEntry,
    LaddrTable, Service, ServiceDest, ServicesFront, SockPair, conn_get, conn_result, ifa_flag,
    ifa_op,
};
use crate::types::{Ip16, Name};
use crate::wire::{Tail, Wire, count_of, decode_counted, decode_list};

impl Client {
    /// Version, number of services, number of workers.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn info(&self) -> Result<Info, CtlError> {
        let reply = self.get(id::SO_GET_INFO, &[0; 12])?;
        Info::decode_lenient(&reply).map_err(|e| malformed(id::SO_GET_INFO, e))
    }

    /// The daemon's version as text, such as `dpvs:v1.10-2`.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn version(&self) -> Result<String, CtlError> {
        let reply = self.get(id::SO_GET_VERSION, &[])?;
        let end = reply.iter().position(|b| *b == 0).unwrap_or(reply.len());
        Ok(String::from_utf8_lossy(reply.get(..end).unwrap_or(&[])).into_owned())
    }

    /// All services as lcore `index` sees them; 0: all lcores together.
    ///
    /// The request must name the number of services, so it is repeated when
    /// someone adds or removes one in between.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn services(&self, index: u8) -> Result<Vec<Service>, CtlError> {
        const TRIES: u32 = 5;
        let mut tries = 0;
        loop {
            tries += 1;
            let n = self.info()?.num_services;
            match self.services_counted(index, n) {
                Err(e) if tries < TRIES && changed(&e) && self.info()?.num_services != n => {}
                other => return other,
            }
        }
    }

    fn services_counted(&self, index: u8, n: u32) -> Result<Vec<Service>, CtlError> {
        let id = id::SO_GET_SERVICES;
        // 16 bits is all the protocol has.
        let count = u16::try_from(n).unwrap_or(u16::MAX);
        let front = ServicesFront {
            cid: 0,
            index,
            count,
        };
        let reply = self.get(id, &front.encode())?;
        let count = |f: &ServicesFront| usize::from(f.count);
        let (_, list) = decode_list::<ServicesFront, Service>(&reply, Tail::Exact, count)
            .map_err(|e| malformed(id, e))?;
        Ok(list)
    }

    /// One service, named by `key`, as lcore `key.index` sees it.
    ///
    /// # Errors
    /// See [`CtlError`]; a missing service is `MSG_FAIL` from a C daemon.
    pub fn service(&self, key: &Service) -> Result<Service, CtlError> {
        self.get_as(id::SO_GET_SERVICE, &key.encode())
    }

    /// The dests of a service that came from [`Client::services`] or
    /// [`Client::service`] (its `num_dests` counts), as lcore `index` sees them.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn dests(&self, service: &Service, index: u8) -> Result<Vec<Dest>, CtlError> {
        match self.dests_counted(service, index) {
            Err(e) if changed(&e) => {
                // The number may be old; -1 and -23 are all the daemon says.
                let now = self.service(&Service {
                    index,
                    ..service.key()
                })?;
                if now.num_dests == service.num_dests {
                    return Err(e);
                }
                self.dests_counted(&now, index)
            }
            other => other,
        }
    }

    fn dests_counted(&self, service: &Service, index: u8) -> Result<Vec<Dest>, CtlError> {
        let id = id::SO_GET_DESTS;
        let reply = self.get(id, &service.dest_table(service.num_dests, index).encode())?;
        let count = |t: &DestTable| usize::try_from(t.num_dests).unwrap_or(usize::MAX);
        let (_, list) = decode_list::<DestTable, Dest>(&reply, Tail::Exact, count)
            .map_err(|e| malformed(id, e))?;
        Ok(list)
    }

    /// Adds a service.
    ///
    /// # Errors
    /// See [`CtlError`]; `EXIST` if it is there.
    pub fn add_service(&self, service: &Service) -> Result<(), CtlError> {
        self.set(id::SO_SET_ADD, &service.encode())
    }

    /// Changes a service: every option is replaced.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn edit_service(&self, service: &Service) -> Result<(), CtlError> {
        self.set(id::SO_SET_EDIT, &service.encode())
    }

    /// Removes a service.
    ///
    /// # Errors
    /// See [`CtlError`]; `INVAL` if it is not there.
    pub fn del_service(&self, service: &Service) -> Result<(), CtlError> {
        self.set(id::SO_SET_DEL, &service.encode())
    }

    /// Adds a dest to a service.
    ///
    /// # Errors
    /// See [`CtlError`]; `EXIST` if it is there, `INVAL` if the service is not.
    pub fn add_dest(&self, service: &Service, dest: &Dest) -> Result<(), CtlError> {
        self.set_dest(id::SO_SET_ADDDEST, service, dest)
    }

    /// Changes a dest.
    ///
    /// # Errors
    /// See [`CtlError`]; `NOTEXIST` if it is not there.
    pub fn edit_dest(&self, service: &Service, dest: &Dest) -> Result<(), CtlError> {
        self.set_dest(id::SO_SET_EDITDEST, service, dest)
    }

    /// Removes a dest; its connections live on.
    ///
    /// # Errors
    /// See [`CtlError`]; `NOTEXIST` if it is not there.
    pub fn del_dest(&self, service: &Service, dest: &Dest) -> Result<(), CtlError> {
        self.set_dest(id::SO_SET_DELDEST, service, dest)
    }

    fn set_dest(&self, id: u32, service: &Service, dest: &Dest) -> Result<(), CtlError> {
        let body = ServiceDest {
            service: *service,
            dest: *dest,
        };
        self.set(id, &body.encode())
    }

    /// Zeroes the counters of a service, or all counters.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn zero(&self, service: Option<&Service>) -> Result<(), CtlError> {
        self.set(
            id::SO_SET_ZERO,
            &service.copied().unwrap_or_default().encode(),
        )
    }

    /// Removes all services.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn flush_services(&self) -> Result<(), CtlError> {
        self.set(id::SO_SET_FLUSH, &[])
    }

    /// Sends gratuitous ARP for an address of the dataplane.
    ///
    /// # Errors
    /// See [`CtlError`]; `NOTEXIST` if it is no address of the dataplane.
    pub fn grat_arp(&self, addr: Ipv4Addr) -> Result<(), CtlError> {
        let [a, b, c, d] = addr.octets();
        self.set(id::SO_SET_GRATARP, &[a, b, c, d, 0, 0, 0, 0])
    }

    /// Adds a local address to a service: first to the device, as an address
    /// that feeds local ports, then to the service. That the device has it
    /// already is no error.
    ///
    /// # Errors
    /// Of the second request; of the first if the second fails as well or the
    /// daemon cannot be reached.
    pub fn add_laddr(&self, table: &LaddrTable) -> Result<(), CtlError> {
        let first = self.set(id::SET_IFADDR_ADD, &sapool(table, ifa_op::ADD).encode());
        self.laddr_second(first, id::SET_LADDR_ADD, table)
    }

    /// Removes a local address from the device and from a service.
    ///
    /// # Errors
    /// As [`Client::add_laddr`].
    pub fn del_laddr(&self, table: &LaddrTable) -> Result<(), CtlError> {
        let first = self.set(id::SET_IFADDR_DEL, &sapool(table, ifa_op::DEL).encode());
        self.laddr_second(first, id::SET_LADDR_DEL, table)
    }

    fn laddr_second(
        &self,
        first: Result<(), CtlError>,
        id: u32,
        table: &LaddrTable,
    ) -> Result<(), CtlError> {
        if let Err(e) = first
            && e.is_transport()
        {
            return Err(e);
        }
        self.set(id, &table.encode())
    }

    /// The local addresses of a service as lcore `index` sees them.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn laddrs(&self, service: &Service, index: u8) -> Result<Vec<LaddrEntry>, CtlError> {
        let id = id::GET_LADDR_GETALL;
        let request = LaddrTable {
            index,
            ..LaddrTable::of(service)
        };
        let reply = self.get(id, &request.encode())?;
        let count = |t: &LaddrTable| count_of(t.nladdrs);
        let (_, list) = decode_list::<LaddrTable, LaddrEntry>(&reply, Tail::Exact, count)
            .map_err(|e| malformed(id, e))?;
        Ok(list)
    }

    /// All black list entries, of all services.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn blacklist(&self) -> Result<Vec<AclConf>, CtlError> {
        self.acl(id::GET_BLKLST_GETALL)
    }

    /// All white list entries, of all services.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn whitelist(&self) -> Result<Vec<AclConf>, CtlError> {
        self.acl(id::GET_WHTLST_GETALL)
    }

    fn acl(&self, id: u32) -> Result<Vec<AclConf>, CtlError> {
        let reply = self.get(id, &[])?;
        decode_counted(&reply, Tail::Exact).map_err(|e| malformed(id, e))
    }

    /// Adds a black list entry.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn add_blacklist(&self, entry: &AclConf) -> Result<(), CtlError> {
        self.set(id::SET_BLKLST_ADD, &entry.encode())
    }

    /// Removes a black list entry.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn del_blacklist(&self, entry: &AclConf) -> Result<(), CtlError> {
        self.set(id::SET_BLKLST_DEL, &entry.encode())
    }

    /// Adds a white list entry.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn add_whitelist(&self, entry: &AclConf) -> Result<(), CtlError> {
        self.set(id::SET_WHTLST_ADD, &entry.encode())
    }

    /// Removes a white list entry.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn del_whitelist(&self, entry: &AclConf) -> Result<(), CtlError> {
        self.set(id::SET_WHTLST_DEL, &entry.encode())
    }

    /// All connections (or all persistence templates), a batch at a time, so
    /// that a table of millions never has to be held in memory. `each` returns
    /// false to stop early.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn each_conn(
        &self,
        templates: bool,
        mut each: impl FnMut(&[ConnEntry]) -> bool,
    ) -> Result<(), CtlError> {
        let base = conn_get::ALL | if templates { conn_get::TEMPLATE } else { 0 };
        let mut request = ConnReq {
            flag: base,
            ..ConnReq::default()
        };
        let mut session = self.session();
        session.send(id::GET_CONN_ALL, Kind::Get, &request.encode());
        loop {
            let (head, list) = conn_batch(id::GET_CONN_ALL, &session.recv()?)?;
            // An empty batch with MORE would never end.
            let more = head.resl & conn_result::MORE != 0 && !list.is_empty();
            if more {
                // The daemon gets the next one ready while this one is looked at.
                request.flag = base | conn_get::MORE;
                request.whence = head.curcid.into();
                session.send(id::GET_CONN_ALL, Kind::Get, &request.encode());
                session.flush();
            }
            if !each(&list) || !more {
                return Ok(());
            }
        }
    }

    /// All connections at once.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn conns(&self, templates: bool) -> Result<Vec<ConnEntry>, CtlError> {
        let mut all = Vec::new();
        self.each_conn(templates, |batch| {
            all.extend_from_slice(batch);
            true
        })?;
        Ok(all)
    }

    /// One connection, named by its two ends in either order; none if there is
    /// no such connection.
    ///
    /// # Errors
    /// See [`CtlError`].
    pub fn conn(&self, pair: &SockPair) -> Result<Option<ConnEntry>, CtlError> {
        let request = ConnReq {
            flag: conn_get::SPECIFIED,
            whence: 0,
            sockpair: *pair,
        };
        let reply = self.get(id::GET_CONN_SPECIFIED, &request.encode());
        match reply.and_then(|reply| conn_batch(id::GET_CONN_SPECIFIED, &reply)) {
            Ok((_, list)) => Ok(list.first().copied()),
            Err(e) if e.code() == Some(ErrCode::NOTEXIST) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// Whether the daemon may have refused because a count was out of date.
fn changed(e: &CtlError) -> bool {
    matches!(e.code(), Some(ErrCode::INVAL | ErrCode::MSG_FAIL))
}

/// The request that puts a local address on its device.
fn sapool(table: &LaddrTable, ops: u32) -> IfAddrParam {
    let mut param = IfAddrParam {
        ops,
        ..IfAddrParam::default()
    };
    param.entry.af = table.af_l;
    param.entry.addr = table.laddr.clean(table.af_l);
    param.entry.plen = table.af_l.max_plen();
    param.entry.flags = ifa_flag::SAPOOL;
    param.entry.ifname = table.ifname;
    param
}

impl LaddrTable {
    /// The same request about one local address on a device.
    #[must_use]
    pub fn with_laddr(mut self, addr: std::net::IpAddr, ifname: Name<16>) -> Self {
        self.af_l = crate::Af::of(addr);
        self.laddr = Ip16::from_ip(addr);
        self.ifname = ifname;
        self
    }
}

fn conn_batch(id: u32, reply: &[u8]) -> Result<(ConnArray, Vec<ConnEntry>), CtlError> {
    let count = |a: &ConnArray| usize::try_from(a.nconns).unwrap_or(usize::MAX);
    decode_list(reply, Tail::Exact, count).map_err(|e| malformed(id, e))
}
