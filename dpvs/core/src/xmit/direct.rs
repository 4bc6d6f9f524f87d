//! Direct routing: a packet goes to its server as it came, only the MAC addresses
//! are new (facts §12).
//!
//! The server has the virtual address itself and answers the client past us. It
//! is reached on the link its route leads to; a gateway of that route is not used.

use std::net::IpAddr;

use crate::frame::{Frame, Io, Now};
use crate::hops::Egress;
use crate::parse::Head;
use crate::raw::{L3, Net};
use crate::snapshot::Snapshot;
use crate::worker::Worker;

impl<F: Frame> Worker<F> {
    /// Sends a packet to the server `dst`.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn xmit_direct<A: Net, I: Io<Frame = F>>(
        &mut self,
        snap: &Snapshot,
        from: &Egress,
        frame: F,
        head: &Head,
        dst: IpAddr,
        now: Now,
        io: &mut I,
    ) {
        let way = match self.way_out(snap, dst, false) {
            Ok((way, _)) => way,
            Err(reason) => return self.drop(reason),
        };
        if head.ip_len <= way.mtu() {
            self.send_way(snap, frame, &way, now, io);
        } else if A::V6 || frame.data()[L3 + 6] & 0x40 != 0 {
            self.too_big(snap, from, frame, way.mtu(), now, io);
        } else {
            self.fragment4(&frame, &way, snap, now, io);
        }
    }
}
