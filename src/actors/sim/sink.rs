//! The relay and its sink as a model: takes an actor's events, or some of them, or none, and tells what became of them.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    message::Message,
    store::Model,
    world::{Broken, World},
};
use crate::{actors::durable::Input, codec::record::Unsent};

/// What a seed's sink is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// Takes nearly everything.
    Well,
    /// As often as not, it takes part of it.
    Shaky,
    /// Takes nothing before the quiet end.
    Down,
}

/// What the sink got, by actor.
#[derive(Debug, Default)]
pub(super) struct Sink(BTreeMap<u128, BTreeSet<u64>>);

impl Sink {
    /// P7: an event that is committed, as it was committed, and for the first time only after all before it.
    fn take(&mut self, id: u128, event: &Unsent, model: &Model) -> Result<(), Broken> {
        let committed = model.told.get(&id);
        if committed.and_then(|told| told.get(&event.sequence)) != Some(event) {
            return Err(Broken("P7", format!("a{id} tells of {event:?}, which was never committed so")));
        }
        let got = self.0.entry(id).or_default();
        if got.insert(event.sequence) {
            let mut before = committed.into_iter().flat_map(|told| told.range(..event.sequence));
            if let Some((missing, _)) = before.find(|(sequence, _)| !got.contains(sequence)) {
                return Err(Broken("P7", format!("a{id} tells of {} before {missing}", event.sequence)));
            }
        }
        Ok(())
    }

    /// P7: nothing that was committed is lost, and no row keeps what was told.
    pub(super) fn at_the_end(&self, model: &Model) -> Result<(), Broken> {
        for (id, told) in &model.told {
            let got = self.0.get(id);
            if let Some(lost) = told.keys().find(|sequence| !got.is_some_and(|got| got.contains(sequence))) {
                return Err(Broken("P7", format!("a{id} never told of {lost}")));
            }
        }
        let kept = model.history.iter().filter_map(|(id, history)| Some((id, &history.last()?.record.unsent)));
        match kept.into_iter().find(|(_, unsent)| !unsent.is_empty()) {
            Some((id, unsent)) => Err(Broken("P7", format!("a{id} still keeps {unsent:?}"))),
            None => Ok(()),
        }
    }
}

/// One actor's events on their way to the sink.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    pub(super) node: usize,
    pub(super) life: u32,
    pub(super) id: u128,
    pub(super) up_to: u64,
    pub(super) events: Vec<Unsent>,
    pub(super) spilled: bool,
}

impl World {
    pub(super) fn offered(&mut self, offer: Offer) -> Result<(), Broken> {
        let Offer { node, life, id, up_to, .. } = offer;
        let told = |published| Message::Told { node, life, id, up_to, published };
        let fate = match (self.faults, self.mood) {
            (false, _) => 9,
            (true, Mood::Down) => 0,
            (true, Mood::Well) => self.rng.below(40),
            (true, Mood::Shaky) => self.rng.below(8),
        };
        let spilled: Vec<Unsent> = match self.model.spilled.get(&id).filter(|_| offer.spilled) {
            Some(spilled) => spilled.values().cloned().collect(),
            None => Vec::new(),
        };
        let all: Vec<&Unsent> = spilled.iter().chain(&offer.events).collect();
        let taken = match fate {
            0 => 0,
            1 | 2 => self.rng.below(all.len() as u64 + 1) as usize,
            _ => all.len(),
        };
        self.note(format_args!("n{node} a{id} offers up to {up_to}: {taken} of {} taken", all.len()));
        for event in &all[..taken] {
            self.sink.take(id, event, &self.model)?;
        }
        if fate == 3 {
            // Again, much later, whatever became of its sender.
            self.messages.push(Message::Offer(offer.clone()));
        }
        let published = !matches!(fate, 0..=2 | 4);
        if published && let Some(kept) = self.model.spilled.get_mut(&id) {
            spilled.iter().for_each(|event| drop(kept.remove(&event.sequence)));
        }
        self.messages.push(told(published));
        Ok(())
    }

    pub(super) fn told(
        &mut self,
        (node, life, id): (usize, u32, u128),
        up_to: u64,
        published: bool,
    ) -> Result<(), Broken> {
        if self.nodes[node].life == life && self.nodes[node].actors.contains_key(&id) {
            self.note(format_args!("n{node} a{id} is told of its events up to {up_to}: {published}"));
            self.step(node, id, Input::Published { up_to, published })?;
        }
        Ok(())
    }
}
