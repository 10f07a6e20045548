//! Nodes that host the real machines, own shards or believe to, crash, and are replaced without knowing it.

use super::{
    kinds::{Hosts, Name, Role, by_sort},
    sink::Offer,
    world::{Deed, EXPIRE_AFTER_MS, Message, NODES, Node, SHARDS, World},
};
use crate::{
    actors::{
        ask::Failure,
        cart::CartEntity,
        checkout::CheckoutEntity,
        discount::DiscountEntity,
        durable::{Again, Input, Output, Surroundings},
        order::OrderEntity,
        sim::world::Broken,
        stock::StockEntity,
    },
    codec::record::Armed,
    domain::UnixMillis,
};

/// Which shard an actor is in.
pub(super) const fn shard_of(name: Name) -> usize {
    ((name.1 ^ (name.1 >> 64)) % SHARDS as u128) as usize
}

impl World {
    fn around(&self, node: usize, shard: usize) -> Option<Surroundings> {
        let (epoch, fence) = self.nodes[node].views[shard]?;
        let wall = UnixMillis(self.wall().0.saturating_add_signed(self.nodes[node].skew_ms));
        Some(Surroundings {
            wall,
            mono_ms: self.mono_ms,
            epoch,
            fence,
            expire_after_ms: EXPIRE_AFTER_MS,
            emits: self.mood.is_some(),
        })
    }

    /// Mostly the owner, as a router does; now and then whoever still believes to be it.
    pub(super) fn a_server_of(&mut self, shard: usize) -> usize {
        if self.faults && self.rng.one_in(self.mix.stray_one_in) {
            let serving: Vec<_> = (0..NODES).filter(|node| self.nodes[*node].views[shard].is_some()).collect();
            if !serving.is_empty() {
                return serving[self.rng.below(serving.len() as u64) as usize];
            }
        }
        self.owners[shard].0
    }

    pub(super) fn step<E: Role>(&mut self, node: usize, id: u128, input: Input<E, u64>) -> Result<(), Broken> {
        let Some(around) = self.around(node, shard_of((E::SORT, id))) else { return Ok(()) };
        let mut outputs = Vec::new();
        let save_next = &mut self.save_next;
        let mut op_id = || {
            *save_next += 1;
            *save_next
        };
        let machines = E::machines(&mut self.nodes[node].hosts);
        let machine = machines.entry(id).or_default();
        machine.step(input, &around, &mut op_id, &mut outputs);
        if machine.is_cold() {
            machines.remove(&id);
        }
        outputs.into_iter().try_for_each(|output| self.perform::<E>(node, id, output))
    }

    /// The same, only where the actor is in memory.
    pub(super) fn step_if_there<E: Role>(&mut self, node: usize, id: u128, input: Input<E, u64>) -> Result<(), Broken> {
        if E::machines(&mut self.nodes[node].hosts).contains_key(&id) {
            return self.step(node, id, input);
        }
        Ok(())
    }

    fn perform<E: Role>(&mut self, node: usize, id: u128, output: Output<E, u64>) -> Result<(), Broken> {
        let (life, name) = (self.nodes[node].life, (E::SORT, id));
        match output {
            Output::Load { number, .. } => self.messages.push(Message::Load { node, life, name, number }),
            Output::Save(order) => {
                if let Some(other) = self.nodes[node].out.insert(name, order.row.op_id)
                    && other != order.row.op_id
                {
                    return Err(Broken("P2", format!("save {} is sent while {other} is out", order.row.op_id)));
                }
                self.messages.push(Message::Save { node, life, name, order, answers: true });
            }
            Output::Reply(token, outcome) => {
                if let Ok(answer) = &outcome {
                    self.is_committed::<E>(id, &answer.state)?;
                    self.is_receipted::<E>(id, token, answer.outcome)?;
                }
                self.answered::<E>(node, token, outcome);
            }
            Output::Unmark(armed) => self.messages.push(Message::Unmark { name, armed }),
            Output::WakeAt(at_ms) => {
                self.nodes[node].timers.insert((at_ms, name));
            }
            Output::Fenced => {
                self.note(format_args!("n{node} fenced by {name:?}"));
                self.drop_shard(node, shard_of(name))?;
            }
            Output::Perform { number, call, nth } => {
                let call = E::call(call);
                self.note(format_args!("n{node} {name:?} needs {call:?}"));
                if !self.model.is_needed(name, &call) {
                    let what = format!("{name:?} begins {call:?}, which no committed state needed");
                    return Err(Broken("P1", what));
                }
                self.begin(Deed { node, life, name, number, call, nth });
            }
            Output::Committed(state) => self.is_committed::<E>(id, &state)?,
            Output::Foretold(state) if E::is_known(&self.model, &state) => {}
            Output::Foretold(state) => {
                let what = format!("{name:?} foretells {state:?}, which no rows tell");
                return Err(Broken("P1", what));
            }
            Output::Publish { up_to, events, spilled } => {
                self.messages.push(Message::Offer(Offer { node, life, name, up_to, events, spilled }));
            }
            Output::Retracted | Output::Note(_) => {}
        }
        Ok(())
    }

    /// What anybody is told or shown is committed.
    fn is_committed<E: Role>(&self, id: u128, state: &E::State) -> Result<(), Broken> {
        let history = E::histories(&self.model).get(&id).map_or(&[][..], Vec::as_slice);
        if history.iter().rev().any(|committed| committed.record.state == *state) {
            return Ok(());
        }
        Err(Broken("P1", format!("{:?} {id} shows {state:?}, which the store never committed", E::SORT)))
    }

    /// What a client is told of its keyed operation is what a row remembers of it.
    fn is_receipted<E: Role>(&self, id: u128, token: u64, outcome: u32) -> Result<(), Broken> {
        let Some((_, op)) = self.asked.get(&token) else { return Ok(()) };
        let history = E::histories(&self.model).get(&id).map_or(&[][..], Vec::as_slice);
        let mut receipts = history.iter().rev().flat_map(|committed| &committed.record.receipts);
        if receipts.any(|receipt| receipt.key == u128::from(*op) && receipt.outcome == outcome) {
            return Ok(());
        }
        Err(Broken("P3", format!("{:?} {id} tells operation {op} outcome {outcome}, which no row remembers", E::SORT)))
    }

    /// The node owns the shard no more, and tells everybody who waits.
    pub(super) fn drop_shard(&mut self, node: usize, shard: usize) -> Result<(), Broken> {
        self.nodes[node].views[shard] = None;
        self.nodes[node].out.retain(|name, _| shard_of(*name) != shard);
        self.nodes[node].timers.retain(|(_, name)| shard_of(*name) != shard);
        self.drop_kind::<CartEntity>(node, shard);
        self.drop_kind::<CheckoutEntity>(node, shard);
        self.drop_kind::<StockEntity>(node, shard);
        self.drop_kind::<DiscountEntity>(node, shard);
        self.drop_kind::<OrderEntity>(node, shard);
        Ok(())
    }

    fn drop_kind<E: Role>(&mut self, node: usize, shard: usize) {
        let machines = E::machines(&mut self.nodes[node].hosts);
        let gone: Vec<_> = machines.extract_if(.., |id, _| shard_of((E::SORT, *id)) == shard).collect();
        let mut outputs = Vec::new();
        for (_, mut machine) in gone {
            machine.abandon(&Failure::NotOwner, &mut outputs);
        }
        for output in outputs {
            if let Output::Reply(token, outcome) = output {
                self.answered::<E>(node, token, outcome);
            }
        }
    }

    pub(super) fn tick(&mut self, node: usize) -> Result<(), Broken> {
        while let Some(&(at_ms, name)) = self.nodes[node].timers.first() {
            if at_ms > self.mono_ms {
                break;
            }
            self.nodes[node].timers.remove(&(at_ms, name));
            by_sort!(name.0, self.step_if_there(node, name.1, Input::Tick))?;
        }
        Ok(())
    }

    pub(super) fn scan_agenda(&mut self) -> Result<(), Broken> {
        for shard in 0..SHARDS {
            for node in 0..NODES {
                let Some(around) = self.around(node, shard) else { continue };
                let is_due = |(due, ..): &&(u64, Name, u64)| *due <= around.wall.0;
                let due: Vec<_> = self.model.agenda.iter().take_while(is_due).copied().collect();
                for (due, name, version) in due.into_iter().filter(|(_, name, _)| shard_of(*name) == shard) {
                    self.note(format_args!("n{node} {name:?} wakes due={due} version={version}"));
                    let armed = Armed { due: UnixMillis(due), version };
                    by_sort!(name.0, self.step(node, name.1, Input::Wake(armed)))?;
                }
            }
        }
        Ok(())
    }

    /// Whatever rests leaves the memory of one node.
    pub(super) fn passivate(&mut self) {
        fn rest<E: Role>(hosts: &mut Hosts) {
            E::machines(hosts).retain(|_, machine| !machine.is_idle());
        }
        let node = self.rng.below(NODES as u64) as usize;
        let hosts = &mut self.nodes[node].hosts;
        rest::<CartEntity>(hosts);
        rest::<CheckoutEntity>(hosts);
        rest::<StockEntity>(hosts);
        rest::<DiscountEntity>(hosts);
        rest::<OrderEntity>(hosts);
    }

    // ---- what goes wrong ----

    pub(super) fn upheaval(&mut self) -> Result<(), Broken> {
        let (node, shard) = (self.rng.below(NODES as u64) as usize, self.rng.below(SHARDS as u64) as usize);
        match self.rng.below(6) {
            0 => self.crash(node),
            1 | 2 if node != self.owners[shard].0 => {
                // Another node takes the shard; the old owner does not know.
                self.drop_shard(node, shard)?;
                self.own(node, shard, true);
            }
            3 if node != self.owners[shard].0 => {
                self.note(format_args!("n{node} learns that shard {shard} is another's"));
                self.drop_shard(node, shard)?;
            }
            4 => self.hand_off(shard, node)?,
            5 => {
                // A node starts anew within its leases.
                let views = self.nodes[node].views;
                self.note(format_args!("n{node} loses its memory"));
                self.die(node);
                self.nodes[node].views = views;
            }
            _ => {}
        }
        Ok(())
    }

    fn die(&mut self, node: usize) {
        let (life, skew_ms) = (self.nodes[node].life, self.nodes[node].skew_ms);
        self.nodes[node] = Node { life: life + 1, skew_ms, ..Node::default() };
        for (_, (_, deed)) in self.deeds.extract_if(.., |_, (at, _)| *at == node) {
            self.messages.push(Message::Performed(deed, Err(Again)));
        }
        let gone: Vec<_> = self.asked.extract_if(.., |_, (at, _)| *at == node).map(|(_, (_, op))| op).collect();
        gone.into_iter().for_each(|op| self.perhaps_again(op));
    }

    fn crash(&mut self, node: usize) {
        self.note(format_args!("n{node} crashes"));
        self.die(node);
        for shard in 0..SHARDS {
            if self.owners[shard].0 == node {
                self.own(node, shard, true);
            }
        }
    }

    fn own(&mut self, node: usize, shard: usize, fence_rises: bool) {
        let (_, epoch, fence) = self.owners[shard];
        let (epoch, fence) = (epoch + 1, if fence_rises { epoch + 1 } else { fence });
        self.owners[shard] = (node, epoch, fence);
        self.nodes[node].views[shard] = Some((epoch, fence));
        self.note(format_args!("n{node} owns shard {shard}: epoch={epoch} fence={fence}"));
    }

    /// The owner gives the shard away, settled: the fence is carried along.
    fn hand_off(&mut self, shard: usize, to: usize) -> Result<(), Broken> {
        fn is_settled<E: Role>(hosts: &mut Hosts, shard: usize) -> bool {
            let mut machines = E::machines(hosts).iter().filter(|(id, _)| shard_of((E::SORT, **id)) == shard);
            machines.all(|(_, machine)| machine.pending() == 0 && !machine.is_unsettled())
        }
        let (from, epoch, fence) = self.owners[shard];
        let node = &mut self.nodes[from];
        let busy = node.out.keys().any(|name| shard_of(*name) == shard);
        let settled = is_settled::<CartEntity>(&mut node.hosts, shard)
            && is_settled::<CheckoutEntity>(&mut node.hosts, shard)
            && is_settled::<StockEntity>(&mut node.hosts, shard)
            && is_settled::<DiscountEntity>(&mut node.hosts, shard)
            && is_settled::<OrderEntity>(&mut node.hosts, shard);
        if to == from || !settled || busy || self.nodes[from].views[shard] != Some((epoch, fence)) {
            return Ok(());
        }
        self.note(format_args!("n{from} hands shard {shard} to n{to}"));
        self.drop_shard(from, shard)?;
        self.drop_shard(to, shard)?;
        self.own(to, shard, false);
        Ok(())
    }
}
