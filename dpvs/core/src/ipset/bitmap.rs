//! Sets over a small range, a bit for each place: addresses (with or without a
//! hardware address), TCP and UDP ports.
//!
//! Bits are in pages that copies share; what stands beside a bit (hardware
//! address, comment) is in maps that do so too.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::service::{TCP, UDP};
use crate::sharemap::{Key, ShareMap, fold};
use crate::snapshot::Mac;

use super::{Element, Member, SetConf, SetError, SetKind};

/// Words of a page.
const WORDS: usize = 64;
/// Places of a page.
const PLACES: usize = WORDS * 64;

/// A place as a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place(u32);

impl Key for Place {
    fn hash(&self, [k0, k1]: [u64; 2]) -> u64 {
        fold(u64::from(self.0) ^ k0, k1)
    }
}

/// Bits, and what stands beside them.
#[derive(Clone, Debug)]
pub(super) struct Bitmap {
    kind: SetKind,
    first: u32,
    last: u32,
    pages: Arc<Vec<Arc<[u64; WORDS]>>>,
    used: usize,
    macs: ShareMap<Place, Mac>,
    comments: ShareMap<Place, Arc<str>>,
}

impl Bitmap {
    pub(super) fn new(conf: &SetConf, seed: [u64; 2]) -> Self {
        let (first, last, halves) = if conf.kind == SetKind::BitmapPort {
            (conf.ports.0.into(), conf.ports.1.into(), 2)
        } else {
            (conf.addrs.0, conf.addrs.1, 1)
        };
        let places = (last - first + 1) as usize * halves;
        let page = Arc::new([0; WORDS]);
        Self {
            kind: conf.kind,
            first,
            last,
            pages: Arc::new(vec![page; places.div_ceil(PLACES)]),
            used: 0,
            macs: ShareMap::keyed(seed),
            comments: ShareMap::keyed(seed),
        }
    }

    /// Where an element's bit is.
    fn place(&self, e: &Element) -> Result<u32, SetError> {
        let (at, half) = match self.kind {
            SetKind::BitmapPort => {
                let half = match e.proto {
                    TCP => 0,
                    UDP => 1,
                    _ => return Err(SetError::Invalid("protocol of a port")),
                };
                (u32::from(e.port), half)
            }
            _ => match e.net.addr {
                IpAddr::V4(a) => (a.to_bits(), 0),
                IpAddr::V6(_) => return Err(SetError::Invalid("address family of the set")),
            },
        };
        // DIFFERS: DPVS says yes to it and forgets it.
        if at < self.first || at > self.last {
            return Err(SetError::Invalid("outside of the set's range"));
        }
        Ok(at - self.first + half * (self.last - self.first + 1))
    }

    fn has(&self, place: u32) -> bool {
        let at = place as usize;
        let page = self.pages.get(at / PLACES);
        page.is_some_and(|p| p[at / 64 % WORDS] >> (at % 64) & 1 != 0)
    }

    fn set(&mut self, place: u32, on: bool) -> bool {
        if self.has(place) == on {
            return false;
        }
        let at = place as usize;
        if let Some(page) = Arc::make_mut(&mut self.pages).get_mut(at / PLACES) {
            Arc::make_mut(page)[at / 64 % WORDS] ^= 1 << (at % 64);
        }
        true
    }

    pub(super) fn insert(
        &mut self,
        e: &Element,
        comment: Option<Arc<str>>,
    ) -> Result<bool, SetError> {
        let at = self.place(e)?;
        let new = self.set(at, true);
        self.used += usize::from(new);
        if e.mac == [0; 6] {
            self.macs.remove(&Place(at));
        } else {
            self.macs.insert(Place(at), e.mac);
        }
        match comment {
            Some(text) => self.comments.insert(Place(at), text),
            None => self.comments.remove(&Place(at)),
        };
        Ok(new)
    }

    pub(super) fn remove(&mut self, e: &Element) -> Result<bool, SetError> {
        let at = self.place(e)?;
        let gone = self.set(at, false);
        self.used -= usize::from(gone);
        self.macs.remove(&Place(at));
        self.comments.remove(&Place(at));
        Ok(gone)
    }

    pub(super) fn test(&self, e: &Element) -> bool {
        let Ok(at) = self.place(e) else { return false };
        if !self.has(at) {
            return false;
        }
        // Without a hardware address on either side only the address counts.
        self.kind != SetKind::BitmapIpMac
            || e.mac == [0; 6]
            || self.macs.get(&Place(at)).is_none_or(|mac| *mac == e.mac)
    }

    pub(super) fn clear(&mut self) {
        let page = Arc::new([0; WORDS]);
        self.pages = Arc::new(vec![page; self.pages.len()]);
        self.used = 0;
        self.macs = self.macs.emptied();
        self.comments = self.comments.emptied();
    }

    pub(super) fn len(&self) -> usize {
        self.used
    }

    pub(super) fn bytes(&self) -> usize {
        self.pages.len() * size_of::<[u64; WORDS]>() + self.macs.bytes() + self.comments.bytes()
    }

    pub(super) fn members(&self) -> Vec<Member> {
        let width = self.last - self.first + 1;
        let places = self.pages.len() as u32 * PLACES as u32;
        (0..places)
            .filter(|at| self.has(*at))
            .map(|at| {
                let value = self.first + at % width;
                let port = self.kind == SetKind::BitmapPort;
                let addr = if port { 0 } else { value };
                Member {
                    element: Element {
                        proto: match (port, at / width) {
                            (false, _) => 0,
                            (true, 0) => TCP,
                            (true, _) => UDP,
                        },
                        port: if port { value as u16 } else { 0 },
                        mac: self.macs.get(&Place(at)).copied().unwrap_or_default(),
                        ..Element::none(IpAddr::V4(Ipv4Addr::from_bits(addr)))
                    },
                    nomatch: false,
                    comment: self.comments.get(&Place(at)).cloned(),
                }
            })
            .collect()
    }

    pub(super) fn shared_pages(&self, other: &Self) -> (usize, usize) {
        let both = self.pages.iter().zip(other.pages.iter());
        let shared = both.filter(|(a, b)| Arc::ptr_eq(a, b)).count();
        (shared, self.pages.len())
    }
}
