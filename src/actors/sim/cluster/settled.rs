//! What must be so once nothing goes wrong any more.

use super::{
    super::{entity::Ask as Wish, world::Broken},
    world::World,
};
use crate::actors::journey::Entrance;

impl World {
    /// Every shard is owned and served by exactly one living node, and nobody waits.
    pub(super) fn is_settled(&mut self) -> Result<(), Broken> {
        let Some(map) = self.disk.map() else { return Err(Broken("P9", "there is no map".to_owned())) };
        for (shard, entry) in map.shards.iter().enumerate() {
            let shard = shard as u16;
            for node in 0..self.mix.nodes {
                let known = &self.nodes[node];
                let is_owner = *known.name == *entry.node && known.incarnation == entry.incarnation;
                let served = known.shards.get(&shard);
                let serves =
                    served.is_some_and(|served| served.entrance == Entrance::Open && served.owned.epoch == entry.epoch);
                if is_owner && !(serves && known.is_running) {
                    let what = format!("n{node} owns shard {shard} and does not serve it: {entry:?}");
                    return Err(Broken("P9", what));
                }
                if !is_owner && served.is_some_and(|served| served.entrance != Entrance::Shut) {
                    return Err(Broken("P2", format!("n{node} still serves shard {shard}, which is {entry:?}")));
                }
            }
            let lives = |node: &super::node::Node| {
                node.is_running && *node.name == *entry.node && node.incarnation == entry.incarnation
            };
            if !self.nodes.iter().any(lives) {
                return Err(Broken("P9", format!("nobody serves shard {shard}: {entry:?}")));
            }
        }
        self.format_is_raised(&map)?;
        for node in 0..self.mix.nodes {
            if self.nodes[node].is_running && self.nodes[node].routes.map_version != map.version {
                let known = self.nodes[node].routes.map_version;
                return Err(Broken("P9", format!("n{node} routes by map {known}, not {}", map.version)));
            }
        }
        Ok(())
    }

    /// Every node can still reach every actor.
    pub(super) fn last_requests(&mut self) -> Result<(), Broken> {
        self.is_last = true;
        for node in (0..self.mix.nodes).filter(|node| self.nodes[*node].is_running).collect::<Vec<_>>() {
            for id in 0..u128::from(self.mix.actors) {
                self.op_next += 1;
                let op = self.op_next;
                self.ledger.wish(op, id, Wish::Add(op), op.is_multiple_of(2));
                self.attempt(node, op)?;
                self.read_at(node, id)?;
            }
        }
        Ok(())
    }

    pub(super) fn all_answered(&mut self) -> Result<(), Broken> {
        for node in (0..self.mix.nodes).filter(|node| self.nodes[*node].is_running) {
            if let Some(trip) = self.nodes[node].trips.values().next() {
                return Err(Broken("P9", format!("n{node} never answered {trip:?}")));
            }
        }
        Ok(())
    }
}
