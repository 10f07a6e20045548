//! The shards of a node: the real durable actors, the doors before them, and how a shard is released and dropped.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{entity::TallyEntity, world::Broken},
    disk::Work,
    world::World,
};
use crate::{
    actors::{
        ask::{Effect, Failure},
        durable::{Durable, Input, Output, Surroundings, WAITING_MAX},
        journey::Entrance,
    },
    cluster::{self, OwnedShard},
    codec::record::Armed,
    domain::UnixMillis,
    store::{Reason, Row, Saved},
};

/// How often due timers are looked for, and idle actors let go.
const PULSE_EVERY_MS: u64 = 2_000;

type Actor = Durable<TallyEntity, u64>;

/// A shard that is served.
pub(super) struct Served {
    pub(super) owned: OwnedShard,
    pub(super) entrance: Entrance,
    /// Told to stop, and has not said that it has.
    releasing: bool,
    released: bool,
    pub(super) actors: BTreeMap<u128, Actor>,
    timers: BTreeSet<(u64, u128)>,
    /// Tells results of a shard actor from those of the one before it.
    turn: u64,
}

impl World {
    pub(super) fn adopt(&mut self, node: usize, owned: OwnedShard) -> Result<(), Broken> {
        let life = self.nodes[node].life;
        let shard = owned.shard.0;
        if let Some(other) = self.adopted.insert((shard, owned.epoch), (node, life)) {
            let what = format!("n{node} adopts shard {shard} under epoch {} after n{other:?}", owned.epoch);
            return Err(Broken("P2", what));
        }
        self.drop_shard(node, shard)?;
        let turn = self.fresh_id() as u64;
        let served = Served {
            owned,
            entrance: Entrance::Open,
            releasing: false,
            released: false,
            actors: BTreeMap::new(),
            timers: BTreeSet::new(),
            turn,
        };
        self.nodes[node].shards.insert(shard, served);
        self.changed(node);
        Ok(())
    }

    pub(super) fn release(&mut self, node: usize, shard: u16) -> Result<(), Broken> {
        match self.nodes[node].shards.get_mut(&shard) {
            Some(served) => {
                if served.entrance == Entrance::Open {
                    served.entrance = Entrance::Closed;
                }
                served.releasing = true;
                self.perhaps_released(node, shard)
            }
            None => self.tell_machine(node, cluster::Input::Released(shard, true)),
        }
    }

    /// Nothing is open any more.
    fn perhaps_released(&mut self, node: usize, shard: u16) -> Result<(), Broken> {
        let Some(served) = self.nodes[node].shards.get_mut(&shard) else { return Ok(()) };
        if !served.releasing || served.actors.values().any(Actor::is_open) {
            return Ok(());
        }
        served.releasing = false;
        served.released = true;
        self.tell_machine(node, cluster::Input::Released(shard, true))
    }

    pub(super) fn reopen(&mut self, node: usize, shard: u16) {
        if let Some(served) = self.nodes[node].shards.get_mut(&shard) {
            if served.entrance == Entrance::Closed {
                served.entrance = Entrance::Open;
            }
            served.released = false;
            served.releasing = false;
        }
        self.changed(node);
    }

    /// Lets go of everything; who waits is told that it is elsewhere.
    pub(super) fn drop_shard(&mut self, node: usize, shard: u16) -> Result<(), Broken> {
        if let Some(served) = self.nodes[node].shards.remove(&shard) {
            self.abandon(node, served.actors)?;
        }
        self.changed(node);
        Ok(())
    }

    fn abandon(&mut self, node: usize, actors: BTreeMap<u128, Actor>) -> Result<(), Broken> {
        let mut outputs = Vec::new();
        for (_, mut actor) in actors {
            actor.abandon(&Failure::NotOwner, &mut outputs);
        }
        for output in outputs {
            if let Output::Reply(number, outcome) = output {
                self.told_here(node, number, outcome)?;
            }
        }
        Ok(())
    }

    /// A shard actor crashes and is started again: its door and its ownership stay.
    pub(super) fn restart_shard(&mut self, node: usize) -> Result<(), Broken> {
        let shards: Vec<_> = self.nodes[node].shards.keys().copied().collect();
        let at = self.rng.below(shards.len() as u64) as usize;
        let Some(shard) = shards.get(at).copied() else { return Ok(()) };
        self.note(format_args!("n{node}'s shard {shard} crashes"));
        let turn = self.fresh_id() as u64;
        let Some(served) = self.nodes[node].shards.get_mut(&shard) else { return Ok(()) };
        served.turn = turn;
        served.timers.clear();
        let lost: BTreeSet<_> = std::mem::take(&mut served.actors).into_keys().collect();
        // Whoever was to be told that it has stopped hears nothing, or hears that it is not settled.
        let was_releasing = std::mem::take(&mut served.releasing);
        served.released = false;
        if was_releasing && self.rng.one_in(2) {
            self.tell_machine(node, cluster::Input::Released(shard, false))?;
        }
        let waits = |number: &u64, world: &Self| {
            let trip = world.nodes[node].here.get(number).and_then(|trip| world.nodes[node].trips.get(trip));
            trip.is_some_and(|trip| lost.contains(&trip.id))
        };
        let numbers: Vec<_> = self.nodes[node].here.keys().copied().filter(|number| waits(number, self)).collect();
        for number in numbers {
            self.told_here(node, number, Err(Failure::Internal(Effect::Unknown)))?;
        }
        Ok(())
    }

    fn around(&self, node: usize, owned: OwnedShard) -> Surroundings {
        let node = &self.nodes[node];
        Surroundings {
            wall: node.wall(self.now_ms),
            mono_ms: node.clock_ms(self.now_ms),
            epoch: owned.epoch,
            fence: owned.fence,
            expire_after_ms: 0,
            emits: false,
        }
    }

    pub(super) fn step_actor(
        &mut self,
        node: usize,
        shard: u16,
        id: u128,
        input: Input<TallyEntity, u64>,
    ) -> Result<(), Broken> {
        let Some(served) = self.nodes[node].shards.get(&shard) else { return Ok(()) };
        let (owned, turn) = (served.owned, served.turn);
        let around = self.around(node, owned);
        let mut outputs = Vec::new();
        let id_next = &mut self.id_next;
        let mut op_id = || {
            *id_next += 1;
            *id_next
        };
        let Some(served) = self.nodes[node].shards.get_mut(&shard) else { return Ok(()) };
        let wakes = matches!(input, Input::Ask { .. } | Input::Read { .. } | Input::Wake(_));
        if !wakes && !served.actors.contains_key(&id) {
            return Ok(());
        }
        let actor = served.actors.entry(id).or_default();
        actor.step(input, &around, &mut op_id, &mut outputs);
        let waiting = actor.facts().waiting;
        if actor.is_cold() {
            served.actors.remove(&id);
        }
        if waiting > WAITING_MAX {
            return Err(Broken("P9", format!("{waiting} commands wait for one actor")));
        }
        let life = self.nodes[node].life;
        let mut is_fenced = false;
        for output in outputs {
            match output {
                Output::Load { number, .. } => self.store(Work::Load { node, life, shard, turn, id, number }),
                Output::Save(order) => {
                    self.store(Work::Actor { node, life, shard, turn, id, order, answers: true });
                }
                Output::Reply(number, outcome) => self.told_here(node, number, outcome)?,
                Output::Unmark(armed) => self.model.unmark(id, armed),
                Output::WakeAt(at_ms) => {
                    if let Some(served) = self.nodes[node].shards.get_mut(&shard) {
                        served.timers.insert((at_ms, id));
                    }
                }
                Output::Perform { number, call, .. } => {
                    self.set_out_deed(node, (shard, turn), id, number, call)?;
                }
                Output::Fenced => is_fenced = true,
                Output::Publish { .. }
                | Output::Committed(_)
                | Output::Foretold(_)
                | Output::Retracted
                | Output::Note(_) => {}
            }
        }
        if is_fenced {
            self.fenced(node, shard)?;
        }
        self.perhaps_released(node, shard)
    }

    /// A newer owner exists: nothing is told from here any more.
    fn fenced(&mut self, node: usize, shard: u16) -> Result<(), Broken> {
        let Some(served) = self.nodes[node].shards.get_mut(&shard) else { return Ok(()) };
        served.entrance = Entrance::Shut;
        served.timers.clear();
        let (actors, epoch) = (std::mem::take(&mut served.actors), served.owned.epoch);
        self.note(format_args!("n{node} is fenced in shard {shard}, epoch {epoch}"));
        self.abandon(node, actors)?;
        self.tell_machine(node, cluster::Input::Fenced(shard, epoch))
    }

    pub(super) fn has_turn(&self, node: usize, shard: u16, turn: u64) -> bool {
        self.nodes[node].shards.get(&shard).is_some_and(|served| served.turn == turn)
    }

    pub(super) fn loaded(
        &mut self,
        node: usize,
        shard: u16,
        turn: u64,
        id: u128,
        number: u128,
        row: Result<Option<Row>, Reason>,
    ) -> Result<(), Broken> {
        if self.has_turn(node, shard, turn) {
            self.step_actor(node, shard, id, Input::Loaded(number, row))?;
        }
        Ok(())
    }

    pub(super) fn actor_saved(
        &mut self,
        node: usize,
        shard: u16,
        turn: u64,
        id: u128,
        op_id: u128,
        saved: Saved,
    ) -> Result<(), Broken> {
        if self.has_turn(node, shard, turn) {
            self.note(format_args!("n{node} a{id} save {op_id} is told {saved:?}"));
            self.step_actor(node, shard, id, Input::Saved(op_id, saved))?;
        }
        Ok(())
    }

    pub(super) fn tick_shards(&mut self, node: usize) -> Result<(), Broken> {
        let clock_ms = self.nodes[node].clock_ms(self.now_ms);
        let mut due = Vec::new();
        for (shard, served) in &mut self.nodes[node].shards {
            while let Some((at_ms, id)) = served.timers.first().copied().filter(|(at_ms, _)| *at_ms <= clock_ms) {
                served.timers.remove(&(at_ms, id));
                due.push((*shard, id));
            }
        }
        for (shard, id) in due {
            self.step_actor(node, shard, id, Input::Tick)?;
        }
        if clock_ms >= self.nodes[node].pulse_next_ms {
            self.nodes[node].pulse_next_ms = clock_ms + PULSE_EVERY_MS;
            self.pulse(node)?;
        }
        Ok(())
    }

    /// Due timers are taken up, and now and then an idle actor leaves.
    fn pulse(&mut self, node: usize) -> Result<(), Broken> {
        if self.disk.is_out || self.disk.cut[node] || self.nodes[node].closed {
            return Ok(());
        }
        let wall = self.nodes[node].wall(self.now_ms);
        let due: Vec<_> = self.model.agenda.range(..(wall.0 + 1, 0, 0)).copied().collect();
        for (due, id, version) in due {
            let shard = self.shard(id);
            let takes = self.nodes[node]
                .shards
                .get(&shard)
                .is_some_and(|served| !served.releasing && !served.released && served.entrance != Entrance::Shut);
            if takes {
                let armed = Armed { due: UnixMillis(due), version };
                self.step_actor(node, shard, id, Input::Wake(armed))?;
            }
        }
        let id = u128::from(self.rng.below(self.mix.actors));
        let shard = self.shard(id);
        if let Some(served) = self.nodes[node].shards.get_mut(&shard)
            && served.actors.get(&id).is_some_and(Actor::is_idle)
        {
            served.actors.remove(&id);
        }
        Ok(())
    }

    /// Whether a request may begin here: what the door says, and the shard behind it.
    pub(super) fn entrance(&self, node: usize, shard: u16) -> Entrance {
        self.nodes[node].shards.get(&shard).map_or(Entrance::Absent, |served| served.entrance)
    }
}
