//! The ways between nodes: sessions that each side knows for itself, probes, dials, and what blocks them.

use std::sync::Arc;

use super::{
    super::world::Broken,
    node::{Message, number},
    world::{Event, World},
};
use crate::cluster::{Input, Peer};

/// How often each side asks the other for a sign of life.
const PROBE_EVERY_MS: u64 = 250;
/// Silence after which a side gives its session up.
const SILENCE_MS: u64 = 700;
/// How often a session is tried that is not there.
const DIAL_EVERY_MS: u64 = 200;
/// What is sent into a blocked way is sent again for so long.
const SENT_AGAIN_MS: u64 = 3_000;
/// A dial that nobody answers.
const DIAL_TIMEOUT_MS: u64 = 1_000;

/// What stands between two nodes, by direction.
#[derive(Debug, Default)]
pub(super) struct Net {
    pub(super) blocked: [[bool; 4]; 4],
    /// Dials are refused although the peer lives.
    pub(super) rejects: [[bool; 4]; 4],
    /// Machines without power: nobody answers there.
    pub(super) dark: [bool; 4],
    session_next: u64,
}

/// One side of a session.
#[derive(Clone, Debug)]
pub(super) struct End {
    pub(super) session: u64,
    pub(super) incarnation: u64,
    heard_ms: u64,
    probe_next_ms: u64,
    /// The other side has answered: it knows this session, and counts on this node.
    pub(super) is_up: bool,
}

impl World {
    /// Sends over the way from one node to another.
    pub(super) fn wire(&mut self, from: usize, to: usize, message: Message) {
        let ms = if self.rng.one_in(30) { self.rng.below(120) } else { self.rng.below(4) };
        let (life, sent_ms) = (self.nodes[to].life, self.now_ms);
        self.after(ms, Event::Wire { from, to, life, message, sent_ms });
    }

    pub(super) fn wired(
        &mut self,
        from: usize,
        to: usize,
        life: u32,
        message: Message,
        sent_ms: u64,
    ) -> Result<(), Broken> {
        if self.net.blocked[from][to] {
            if self.now_ms < sent_ms + SENT_AGAIN_MS {
                let ms = 100 + self.rng.below(200);
                self.after(ms, Event::Wire { from, to, life, message, sent_ms });
            }
            return Ok(());
        }
        self.deliver(to, life, message)
    }

    pub(super) fn follow(&mut self, node: usize, peers: Vec<Peer>) -> Result<(), Broken> {
        let is_followed = |other: usize, incarnation: u64| {
            peers.iter().any(|peer| number(&peer.name) == other && peer.incarnation <= incarnation)
        };
        let over: Vec<_> = self.nodes[node]
            .ends
            .iter()
            .filter(|(other, end)| !is_followed(**other, end.incarnation))
            .map(|(other, _)| *other)
            .collect();
        self.nodes[node].followed = peers;
        for other in over {
            self.close(node, other, true, true)?;
        }
        Ok(())
    }

    pub(super) fn dial_suspect(&mut self, node: usize, peer: &Peer) {
        let other = number(&peer.name);
        let (name, incarnation) = (Arc::clone(&peer.name), peer.incarnation);
        let is_blocked = self.net.blocked[node][other] || self.net.blocked[other][node] || self.net.dark[other];
        let refused = !is_blocked && (self.net.rejects[node][other] || !self.nodes[other].is_running);
        let ms = if is_blocked { DIAL_TIMEOUT_MS } else { 1 + self.rng.below(10) };
        let life = self.nodes[node].life;
        self.after(ms, Event::Deliver { to: node, life, message: Message::Dialled { name, incarnation, refused } });
    }

    pub(super) fn tick_sessions(&mut self, node: usize) -> Result<(), Broken> {
        let clock_ms = self.nodes[node].clock_ms(self.now_ms);
        let others: Vec<_> = self.nodes[node].ends.keys().copied().collect();
        for other in others {
            let Some(end) = self.nodes[node].ends.get_mut(&other) else { continue };
            if clock_ms > end.heard_ms + SILENCE_MS {
                self.close(node, other, false, true)?;
            } else if clock_ms >= end.probe_next_ms {
                end.probe_next_ms = clock_ms + PROBE_EVERY_MS;
                let session = end.session;
                self.wire(node, other, Message::Probe { from: node, session, sent_ms: clock_ms });
            }
        }
        let wanted = self.nodes[node].followed.iter().map(|peer| (number(&peer.name), peer.incarnation));
        // Of two nodes the lower dials.
        let missing: Vec<_> =
            wanted.filter(|(other, _)| node < *other && !self.nodes[node].ends.contains_key(other)).collect();
        for (other, incarnation) in missing {
            if self.nodes[node].dial_next_ms.get(&other).is_some_and(|next_ms| clock_ms < *next_ms) {
                continue;
            }
            self.nodes[node].dial_next_ms.insert(other, clock_ms + DIAL_EVERY_MS);
            let is_blocked = self.net.blocked[node][other] || self.net.blocked[other][node];
            let refused = self.net.rejects[node][other] || self.net.rejects[other][node];
            if !is_blocked && !refused && self.nodes[other].is_running && self.nodes[other].incarnation == incarnation {
                self.net.session_next += 1;
                let (session, incarnation) = (self.net.session_next, self.nodes[node].incarnation);
                self.wire(node, other, Message::Open { from: node, session, incarnation });
            }
        }
        Ok(())
    }

    /// One side's session is over.
    pub(super) fn close(&mut self, node: usize, other: usize, reset: bool, tells: bool) -> Result<(), Broken> {
        let Some(end) = self.nodes[node].ends.remove(&other) else { return Ok(()) };
        self.note(format_args!("n{node} loses its session {} with n{other}: reset={reset}", end.session));
        if tells {
            self.wire(node, other, Message::Reset { from: node, session: end.session });
        }
        let name = self.nodes[other].name.to_string();
        self.tell_machine(node, Input::PeerLost { name, incarnation: end.incarnation, reset })?;
        self.session_lost(node, end.session)
    }

    fn open(&mut self, node: usize, other: usize, session: u64, incarnation: u64) -> Result<(), Broken> {
        self.close(node, other, true, false)?;
        let clock_ms = self.nodes[node].clock_ms(self.now_ms);
        let name = Arc::clone(&self.nodes[other].name);
        // From here on the other side may count on this node, and can tell that it is gone.
        self.nodes[node].grounds.met(&name, incarnation, clock_ms);
        let end = End { session, incarnation, heard_ms: clock_ms, probe_next_ms: clock_ms, is_up: false };
        self.nodes[node].ends.insert(other, end);
        Ok(())
    }

    /// The other side has shown that it knows this session.
    fn is_up(&mut self, node: usize, other: usize) -> Result<(), Broken> {
        let Some(end) = self.nodes[node].ends.get_mut(&other) else { return Ok(()) };
        let incarnation = end.incarnation;
        if std::mem::replace(&mut end.is_up, true) {
            return Ok(());
        }
        let name = self.nodes[other].name.to_string();
        self.note(format_args!("n{node} has a session with {name} {incarnation}"));
        self.tell_machine(node, Input::PeerUp(name, incarnation))?;
        self.changed(node);
        Ok(())
    }

    pub(super) fn over_the_wire(&mut self, node: usize, message: Message) -> Result<(), Broken> {
        let clock_ms = self.nodes[node].clock_ms(self.now_ms);
        let is_of = |world: &mut Self, from: usize, session: u64| {
            let end = world.nodes[node].ends.get_mut(&from).filter(|end| end.session == session);
            end.map(|end| end.heard_ms = clock_ms).is_some()
        };
        match message {
            Message::Open { from, session, incarnation } => {
                let is_older = self.nodes[node].ends.get(&from).is_some_and(|end| end.session > session);
                if self.nodes[node].machine.is_some() && !is_older {
                    self.open(node, from, session, incarnation)?;
                    let incarnation = self.nodes[node].incarnation;
                    self.wire(node, from, Message::Opened { from: node, session, incarnation });
                }
            }
            Message::Opened { from, session, incarnation } => {
                let is_older = self.nodes[node].ends.get(&from).is_some_and(|end| end.session > session);
                if !is_older {
                    self.open(node, from, session, incarnation)?;
                }
            }
            Message::Probe { from, session, sent_ms } if is_of(self, from, session) => {
                self.is_up(node, from)?;
                self.wire(node, from, Message::Echo { from: node, session, sent_ms });
            }
            Message::Echo { from, session, sent_ms } if is_of(self, from, session) => {
                let Some(end) = self.nodes[node].ends.get(&from) else { return Ok(()) };
                let (name, incarnation) = (Arc::clone(&self.nodes[from].name), end.incarnation);
                self.nodes[node].grounds.heard(&name, incarnation, sent_ms, clock_ms);
                self.is_up(node, from)?;
            }
            Message::Reset { from, session } if is_of(self, from, session) => {
                self.close(node, from, true, false)?;
            }
            Message::Request { from, session, .. } => {
                is_of(self, from, session);
                self.asked_by_peer(node, message)?;
            }
            Message::Reply { from, session, ask, answered } => {
                is_of(self, from, session);
                self.told_by_peer(node, from, ask, answered)?;
            }
            _ => {}
        }
        Ok(())
    }
}
