//! Persistence templates of one worker: the server a client was given.
//!
//! A slab with chains from keyed buckets, sized at start; a template is found by
//! service and client, and lives as long as connections refer to it and for its
//! time-out after that. What is over is found out when it is looked for, and swept
//! a few at a time. A new template takes the place of one without connections when
//! there is no room. Which worker decides, and how the others know, is `persist`'s.

use std::net::IpAddr;

use super::index::{reserve, zeroed};
use crate::message::TemplateKey;
use crate::service::{DestId, ServiceKey};

/// Templates looked at when there is no room for a new one.
const TRIES: usize = 64;

/// The server a client was given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Template {
    pub key: TemplateKey,
    pub service: ServiceKey,
    /// The client as listed: masked, or the first caller of a call.
    pub client: IpAddr,
    pub dest: DestId,
    pub server: (IpAddr, u16),
    /// Seconds it is kept after its last connection.
    pub timeout: u32,
    /// This worker decides about it; else it is a copy.
    pub own: bool,
    /// A copy's owner, or an owner's last copy, was heard of at that time (ms).
    pub told: u64,
    /// Copies of it may be elsewhere.
    pub shared: bool,
    /// When a connection was made or ended last (ms).
    pub used: u64,
    /// Connections that refer to it.
    pub conns: u32,
}

struct Node {
    template: Template,
    /// Next in the chain; 0 = none.
    next: u32,
    in_use: bool,
    /// Can be found.
    linked: bool,
    /// Which of the servers of that number it is for.
    turn: u32,
}

/// A server's number: how often it has been another one's, and own templates of the
/// one that has it now.
#[derive(Clone, Copy, Default)]
struct Number {
    turn: u32,
    own: u32,
}

/// All templates of a worker; number 0 is none.
pub(crate) struct Templates {
    nodes: Vec<Node>,
    buckets: Vec<u32>,
    free: Vec<u32>,
    room: usize,
    seed: u64,
    /// Where the sweep goes on.
    hand: usize,
    /// By the servers' numbers.
    numbers: Vec<Number>,
}

impl Template {
    /// Whether its time is up.
    fn is_over(&self, now: u64) -> bool {
        let mut ms = u64::from(self.timeout) * 1000;
        if self.own && self.shared {
            // A copy says that it is used once a second, or every quarter.
            ms += (ms / 4).max(1000) + 1000;
        }
        self.conns == 0 && now >= self.used.max(self.told * u64::from(self.own)) + ms
    }
}

impl Templates {
    /// Room for `n` templates; memory is taken as they are used.
    pub(crate) fn new(n: usize, seed: u64) -> Self {
        Self {
            nodes: reserve(n + 1),
            buckets: zeroed(n.next_power_of_two()),
            free: Vec::new(),
            room: n,
            seed: seed | 1,
            hand: 0,
            numbers: Vec::new(),
        }
    }

    fn bucket(&self, key: &TemplateKey) -> usize {
        let mut x = key.client as u64 ^ self.seed;
        for part in [(key.client >> 64) as u64, key.service] {
            let wide = u128::from(x ^ part) * u128::from(self.seed.rotate_left(32) | 1);
            x = (wide as u64) ^ (wide >> 64) as u64;
        }
        (x ^ x >> 29) as usize & (self.buckets.len() - 1)
    }

    fn number(&mut self, dest: DestId) -> &mut Number {
        let at = dest.0 as usize;
        if at >= self.numbers.len() {
            self.numbers.resize(at + 1024, Number::default());
        }
        &mut self.numbers[at]
    }

    fn node(&self, num: u32) -> Option<&Node> {
        self.nodes.get((num as usize).checked_sub(1)?)
    }

    fn node_mut(&mut self, num: u32) -> Option<&mut Node> {
        self.nodes.get_mut((num as usize).checked_sub(1)?)
    }

    /// The template of a client, if its time is not up.
    pub(crate) fn find(&mut self, key: &TemplateKey, now: u64) -> Option<u32> {
        let mut num = self.buckets[self.bucket(key)];
        while let Some(node) = self.node(num) {
            if node.template.key == *key {
                let (over, dest, turn) =
                    (node.template.is_over(now), node.template.dest, node.turn);
                // The number is another server's by now.
                if over || self.number(dest).turn != turn {
                    self.forget(num);
                    return None;
                }
                return Some(num);
            }
            num = node.next;
        }
        None
    }

    pub(crate) fn get(&self, num: u32) -> Option<&Template> {
        self.node(num).filter(|n| n.in_use).map(|n| &n.template)
    }

    pub(crate) fn get_mut(&mut self, num: u32) -> Option<&mut Template> {
        self.node_mut(num)
            .filter(|n| n.in_use)
            .map(|n| &mut n.template)
    }

    /// Puts one in; there must be none of that key. `None` if there is no room.
    pub(crate) fn put(&mut self, template: Template) -> Option<u32> {
        let num = match self.free.pop() {
            Some(num) => num,
            None if self.nodes.len() < self.room => {
                self.nodes.push(Node {
                    template,
                    next: 0,
                    in_use: false,
                    linked: false,
                    turn: 0,
                });
                self.nodes.len() as u32
            }
            None => {
                self.make_room()?;
                self.free.pop()?
            }
        };
        let number = self.number(template.dest);
        number.own += u32::from(template.own);
        let turn = number.turn;
        let bucket = self.bucket(&template.key);
        let next = std::mem::replace(&mut self.buckets[bucket], num);
        *self.node_mut(num)? = Node {
            template,
            next,
            in_use: true,
            linked: true,
            turn,
        };
        Some(num)
    }

    /// Takes the place of one that nobody uses.
    #[cold]
    fn make_room(&mut self) -> Option<()> {
        for _ in 0..TRIES {
            self.hand = (self.hand + 1) % self.nodes.len().max(1);
            let node = self.nodes.get(self.hand)?;
            if node.in_use && node.template.conns == 0 {
                self.remove(self.hand as u32 + 1);
                return Some(());
            }
        }
        None
    }

    /// Cannot be found any more; gone with its last connection.
    pub(crate) fn forget(&mut self, num: u32) {
        self.unlink(num);
        if self.get(num).is_some_and(|t| t.conns == 0) {
            self.remove(num);
        }
    }

    fn unlink(&mut self, num: u32) {
        let Some(node) = self.node_mut(num) else {
            return;
        };
        if !std::mem::replace(&mut node.linked, false) {
            return;
        }
        let (key, next) = (node.template.key, node.next);
        let bucket = self.bucket(&key);
        let mut at = self.buckets[bucket];
        if at == num {
            self.buckets[bucket] = next;
            return;
        }
        while let Some(node) = self.node_mut(at) {
            if node.next == num {
                node.next = next;
                return;
            }
            at = node.next;
        }
    }

    fn remove(&mut self, num: u32) {
        self.unlink(num);
        let Some(node) = self.node_mut(num).filter(|n| n.in_use) else {
            return;
        };
        node.in_use = false;
        let (template, turn) = (node.template, node.turn);
        let number = self.number(template.dest);
        if template.own && number.turn == turn {
            number.own -= 1;
        }
        self.free.push(num);
    }

    /// A connection that referred to it has ended.
    pub(crate) fn release(&mut self, num: u32, now: u64) {
        let Some(node) = self.node_mut(num).filter(|n| n.in_use) else {
            return;
        };
        node.template.conns -= 1;
        node.template.used = now;
        if node.template.conns == 0 && !node.linked {
            self.remove(num);
        }
    }

    /// Own templates of a server.
    pub(crate) fn of(&self, dest: DestId) -> u32 {
        self.numbers.get(dest.0 as usize).map_or(0, |n| n.own)
    }

    /// A server's number is another one's from now on: clients of the one before do not
    /// belong to that one.
    pub(crate) fn retire(&mut self, dest: DestId) {
        if let Some(number) = self.numbers.get_mut(dest.0 as usize) {
            *number = Number {
                turn: number.turn.wrapping_add(1),
                own: 0,
            };
        }
    }

    /// Looks at a few: removes those whose time is up, gives the others to `keep`.
    pub(crate) fn sweep(&mut self, now: u64, mut keep: impl FnMut(&mut Template)) {
        let steps = (self.nodes.len() / 512 + 8).min(self.nodes.len());
        for _ in 0..steps {
            self.hand = (self.hand + 1) % self.nodes.len();
            let num = self.hand as u32 + 1;
            match self.get_mut(num) {
                Some(t) if t.is_over(now) => self.remove(num),
                Some(t) => keep(t),
                None => {}
            }
        }
    }

    /// Own templates from a place on, `steps` looked at; where to go on.
    pub(crate) fn some(
        &self,
        from: usize,
        steps: usize,
        now: u64,
    ) -> (Vec<Template>, Option<usize>) {
        let to = from.saturating_add(steps).min(self.nodes.len());
        let list = self
            .nodes
            .get(from..to)
            .unwrap_or_default()
            .iter()
            .filter(|n| n.in_use && n.linked && n.template.own && !n.template.is_over(now))
            .map(|n| n.template)
            .collect();
        (list, (to < self.nodes.len()).then_some(to))
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.len() == self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn template(client: u128, dest: u32, used: u64) -> Template {
        let any = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Template {
            key: TemplateKey {
                service: 7,
                client,
                call: false,
            },
            service: ServiceKey {
                proto: 6,
                addr: any,
                port: 80,
            },
            client: any,
            dest: DestId(dest),
            server: (any, 80),
            timeout: 10,
            own: true,
            told: 0,
            shared: false,
            used,
            conns: 0,
        }
    }

    #[test]
    fn lives_for_its_time_out_after_its_last_connection() {
        let mut all = Templates::new(100, 5);
        let t = template(1, 3, 1000);
        let num = all.put(t).unwrap();
        assert_eq!(all.find(&t.key, 10_999), Some(num));
        all.get_mut(num).unwrap().conns = 1;
        assert_eq!(all.find(&t.key, 99_999), Some(num));
        all.release(num, 100_000);
        assert_eq!(all.of(DestId(3)), 1);
        assert_eq!(all.find(&t.key, 109_999), Some(num));
        assert_eq!(all.find(&t.key, 110_000), None);
        assert_eq!((all.of(DestId(3)), all.is_empty()), (0, true));
    }

    #[test]
    fn a_number_that_another_server_has_brings_no_clients_along() {
        let mut all = Templates::new(100, 5);
        let (old, other) = (template(1, 3, 1000), template(2, 3, 1000));
        all.put(old).unwrap();
        all.put(other).unwrap();
        all.retire(DestId(3));
        assert_eq!(all.of(DestId(3)), 0);
        assert_eq!(all.find(&old.key, 1000), None);
        // Those of the one that has it now are found, and counted right.
        let new = all.put(old).unwrap();
        assert_eq!(all.find(&old.key, 1000), Some(new));
        assert_eq!(all.of(DestId(3)), 1);
        while !all.is_empty() {
            all.sweep(50_000, |_| ());
        }
        assert_eq!(all.of(DestId(3)), 0);
    }

    #[test]
    fn a_forgotten_one_stays_for_its_connections() {
        let mut all = Templates::new(100, 5);
        let t = template(1, 3, 1000);
        let old = all.put(t).unwrap();
        all.get_mut(old).unwrap().conns = 2;
        all.forget(old);
        assert_eq!(all.find(&t.key, 1000), None);
        let new = all.put(template(1, 4, 1000)).unwrap();
        assert_ne!(old, new);
        all.release(old, 2000);
        assert_eq!(all.of(DestId(3)), 1);
        all.release(old, 2000);
        assert_eq!((all.of(DestId(3)), all.of(DestId(4))), (0, 1));
        assert_eq!(all.find(&t.key, 2000), Some(new));
    }

    #[test]
    fn is_bounded_and_holds_what_a_map_holds() {
        let mut all = Templates::new(50, 9);
        let mut map = std::collections::HashMap::new();
        for i in 0..50u128 {
            let t = template(i << 90 | i, i as u32, 0);
            map.insert(i, (t.key, all.put(t).unwrap()));
        }
        for i in (0..50).step_by(3) {
            all.forget(map.remove(&i).unwrap().1);
        }
        assert!(
            map.values()
                .all(|(key, num)| all.find(key, 0) == Some(*num))
        );
        // Fifty in use by connections: no room for more.
        for i in 100..117 {
            all.put(template(i, 0, 0)).unwrap();
        }
        for num in 1..=50 {
            all.get_mut(num).unwrap().conns = 1;
        }
        assert_eq!(all.put(template(1 << 70, 0, 0)), None);
        all.release(20, 0);
        assert_eq!(all.put(template(1 << 70, 0, 0)), Some(20));
        (0..100).for_each(|_| all.sweep(1_000_000, |_| ()));
        let (list, next) = all.some(0, 100, 1_000_000);
        assert_eq!((list.len(), next), (49, None));
    }
}
