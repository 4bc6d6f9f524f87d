//! Listings in pieces: connections, neighbours, local addresses.
//!
//! The master asks once for as many pieces as it has room for; the worker sends one
//! a turn between its bursts, so that no packet waits for a table and no piece for a
//! question. A piece is bounded by what it looks at as well as by what it finds.
//! Entries made or gone meanwhile may be in a listing or not; no other is left out.

use crate::conn::templates::Template;
use crate::frame::{Frame, Io};
use crate::message::{ConnInfo, FromWorker, Listing, Piece, Reply};
use crate::service::{TCP, UDP};
use crate::worker::Worker;

/// Entries in a piece of connections, and places of the table looked at for it.
const CONNS: usize = 96;
const CONN_STEPS: u32 = 1024;
/// The same for neighbours.
const NEIGHS: usize = 128;
const NEIGH_STEPS: usize = 1024;
/// Local addresses in a piece: each has up to a few dozen pools.
const LADDRS: usize = 16;

/// A listing the master asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub token: u64,
    pub what: Listing,
    pub cursor: u32,
    pub pieces: u32,
}

impl<F: Frame> Worker<F> {
    /// Sends the next piece of the listing whose turn it is.
    pub(crate) fn list<I: Io<Frame = F>>(&mut self, io: &mut I) {
        let Some(mut asked) = self.listings.pop_front() else {
            return;
        };
        let (piece, next) = match asked.what {
            Listing::Conns => self.some_conns(asked.cursor),
            Listing::Templates => self.some_templates(asked.cursor),
            Listing::Neighbours => self.some_neighs(asked.cursor),
            Listing::Laddrs => self.some_laddrs(asked.cursor),
        };
        io.report(FromWorker::Reply {
            worker: self.id(),
            token: asked.token,
            reply: Reply::Piece { piece, next },
        });
        asked.pieces = asked.pieces.saturating_sub(1);
        if let (Some(next), 1..) = (next, asked.pieces) {
            asked.cursor = next;
            self.listings.push_back(asked);
        }
    }

    fn some_conns(&self, mut cursor: u32) -> (Piece, Option<u32>) {
        let mut conns = Vec::with_capacity(CONNS);
        let mut steps = CONN_STEPS;
        while conns.len() < CONNS && steps > 0 {
            match self.conns.walk(cursor, &mut steps) {
                Some((conn, next)) => {
                    cursor = next;
                    conns.extend(conn.map(|c| self.conn_info(c)));
                }
                None => return (Piece::Conns(conns), None),
            }
        }
        (Piece::Conns(conns), Some(cursor))
    }

    fn some_templates(&self, cursor: u32) -> (Piece, Option<u32>) {
        let steps = CONN_STEPS as usize / 4;
        let (list, next) = self.templates.some(cursor as usize, steps, self.swept);
        let conns = list.iter().map(template_info).collect();
        (Piece::Conns(conns), next.map(|next| next as u32))
    }

    fn some_neighs(&self, cursor: u32) -> (Piece, Option<u32>) {
        let (list, next) = self.neighs.some(cursor as usize, NEIGHS, NEIGH_STEPS);
        (Piece::Neighbours(list), next.map(|next| next as u32))
    }

    fn some_laddrs(&self, cursor: u32) -> (Piece, Option<u32>) {
        let from = cursor as usize;
        let (list, more) = self.pools.some_usage(from, LADDRS);
        let next = more.then_some(cursor.saturating_add(LADDRS as u32));
        (Piece::Laddrs(list), next)
    }
}

/// A template as it is listed: as a connection without ports of a client.
fn template_info(t: &Template) -> ConnInfo {
    ConnInfo {
        proto: t.service.proto,
        client: (t.client, 0),
        vip: (t.service.addr, t.service.port),
        laddr: (t.client, 0),
        dest: t.server,
        state: match t.service.proto {
            TCP => "TCP_NONE",
            UDP => "UDP_NONE",
            _ => "NONE",
        },
        timeout: t.timeout,
        from_client: (0, 0),
        from_server: (0, 0),
    }
}
