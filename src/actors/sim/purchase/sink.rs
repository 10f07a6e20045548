//! The relay and its sink as a model: takes an actor's events, or some of them, or none, and tells what became of them.
//! P7 from outside: what is committed is told, as it was committed, in order, and none of it is lost.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    kinds::{Histories, Name, Role, Sort, by_sort},
    store::Model,
    world::{Message, World},
};
use crate::{
    actors::{
        cart::CartEntity, checkout::CheckoutEntity, discount::DiscountEntity, durable::Input, order::OrderEntity,
        sim::world::Broken, stock::StockEntity,
    },
    codec::record::{Record, Unsent},
    domain::checkout::Status,
    events::EventType,
};

/// What a row gives to numbers of one of its saves.
const NUMBERS_PER_SAVE: u64 = 1_000_000;

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
pub(super) struct Sink(BTreeMap<Name, BTreeSet<u64>>);

/// One actor's events on their way to the sink.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    pub(super) node: usize,
    pub(super) life: u32,
    pub(super) name: Name,
    pub(super) up_to: u64,
    pub(super) events: Vec<Unsent>,
    pub(super) spilled: bool,
}

fn broken<T>(what: String) -> Result<T, Broken> {
    Err(Broken("P7", what))
}

impl Sink {
    /// An event that is committed, as it was committed, and for the first time only after all before it.
    fn take(&mut self, name: Name, event: &Unsent, model: &Model) -> Result<(), Broken> {
        let committed = model.told.get(&name);
        if committed.and_then(|told| told.get(&event.sequence)) != Some(event) {
            return broken(format!("{name:?} tells of {event:?}, which was never committed so"));
        }
        let got = self.0.entry(name).or_default();
        if got.insert(event.sequence) {
            let mut before = committed.into_iter().flat_map(|told| told.range(..event.sequence));
            if let Some((missing, _)) = before.find(|(sequence, _)| !got.contains(sequence)) {
                return broken(format!("{name:?} tells of {} before {missing}", event.sequence));
            }
        }
        Ok(())
    }

    /// How much it got.
    pub(super) fn events(&self) -> usize {
        self.0.values().map(BTreeSet::len).sum()
    }
}

/// The types of the events that the newest save of a record put into its row.
fn told_now<S>(version: u64, record: &Record<S>) -> Vec<u16> {
    let is_new = |event: &&Unsent| event.kind != 0 && event.sequence / NUMBERS_PER_SAVE == version;
    record.unsent.iter().filter(is_new).map(|event| event.kind).collect()
}

impl World {
    pub(super) fn offered(&mut self, offer: Offer) -> Result<(), Broken> {
        let Offer { node, life, name, up_to, .. } = offer;
        let fate = match (self.faults, self.mood) {
            (false, _) | (true, None) => 9,
            (true, Some(Mood::Down)) => 0,
            (true, Some(Mood::Well)) => self.rng.below(40),
            (true, Some(Mood::Shaky)) => self.rng.below(8),
        };
        let spilled: Vec<Unsent> = match self.model.spilled.get(&name).filter(|_| offer.spilled) {
            Some(spilled) => spilled.values().cloned().collect(),
            None => Vec::new(),
        };
        let all: Vec<&Unsent> = spilled.iter().chain(&offer.events).collect();
        let taken = match fate {
            0 => 0,
            1 | 2 => self.rng.below(all.len() as u64 + 1) as usize,
            _ => all.len(),
        };
        self.note(format_args!("n{node} {name:?} offers up to {up_to}: {taken} of {} taken", all.len()));
        for event in &all[..taken] {
            self.sink.take(name, event, &self.model)?;
        }
        if fate == 3 {
            // Again, much later, whatever became of its sender.
            self.messages.push(Message::Offer(offer.clone()));
        }
        let published = !matches!(fate, 0..=2 | 4);
        if published && let Some(kept) = self.model.spilled.get_mut(&name) {
            spilled.iter().for_each(|event| drop(kept.remove(&event.sequence)));
        }
        self.messages.push(Message::Told { node, life, name, up_to, published });
        Ok(())
    }

    pub(super) fn told(&mut self, node: usize, name: Name, up_to: u64, published: bool) -> Result<(), Broken> {
        self.note(format_args!("n{node} {name:?} is told of its events up to {up_to}: {published}"));
        by_sort!(name.0, self.step_if_there(node, name.1, Input::Published { up_to, published }))
    }

    /// What anybody could see happen is told with the save that made it so.
    pub(super) fn check_told(&self, (sort, id): Name) -> Result<(), Broken> {
        if self.mood.is_none() {
            return Ok(());
        }
        let untold =
            |version: u64, what: &str| broken(format!("{sort:?} {id} says nothing of version {version}: {what}"));
        match sort {
            Sort::Stock => {
                let Some((before, next)) = last_two::<StockEntity>(&self.model.stocks, id) else { return Ok(()) };
                let parts = |stock: &crate::domain::stock::Stock| (stock.available, stock.sold, stock.on_hand());
                let has_moved = before.is_some_and(|before| parts(&before.record.state) != parts(&next.record.state));
                if has_moved && told_now(next.row.version, &next.record).is_empty() {
                    return untold(next.row.version, "units have moved");
                }
            }
            Sort::Checkout => {
                let Some((before, next)) = last_two::<CheckoutEntity>(&self.model.checkouts, id) else { return Ok(()) };
                let status = next.record.state.visible_status();
                let expected = match status {
                    Status::Completed => EventType::CheckoutCompleted,
                    Status::Cancelled | Status::Expired => EventType::CheckoutEnded,
                    Status::Open | Status::Completing | Status::RequiresAction => return Ok(()),
                };
                let is_new = before.is_some_and(|before| before.record.state.visible_status() != status);
                if is_new && !told_now(next.row.version, &next.record).contains(&(expected as u16)) {
                    return untold(next.row.version, "it has ended");
                }
            }
            Sort::Order => {
                let Some((before, next)) = last_two::<OrderEntity>(&self.model.orders, id) else { return Ok(()) };
                let told = told_now(next.row.version, &next.record);
                if before.is_none() && !told.contains(&(EventType::OrderPlaced as u16)) {
                    return untold(next.row.version, "it is placed");
                }
            }
            Sort::Cart | Sort::Discount => {}
        }
        Ok(())
    }

    /// Nothing that was committed is lost, and no row keeps what was told.
    pub(super) fn events_are_out(&self) -> Result<(), Broken> {
        for (name, told) in &self.model.told {
            let got = self.sink.0.get(name);
            if let Some(lost) = told.keys().find(|sequence| !got.is_some_and(|got| got.contains(sequence))) {
                return broken(format!("{name:?} never told of {lost}"));
            }
        }
        self.keeps_nothing::<CartEntity>()?;
        self.keeps_nothing::<CheckoutEntity>()?;
        self.keeps_nothing::<StockEntity>()?;
        self.keeps_nothing::<DiscountEntity>()?;
        self.keeps_nothing::<OrderEntity>()
    }

    fn keeps_nothing<E: Role>(&self) -> Result<(), Broken> {
        for (id, history) in E::histories(&self.model) {
            if let Some(head) = history.last().filter(|head| !head.record.unsent.is_empty()) {
                return broken(format!("{:?} {id} still keeps {:?}", E::SORT, head.record.unsent));
            }
        }
        Ok(())
    }
}

type Versions<'a, S> = (Option<&'a super::store::Committed<S>>, &'a super::store::Committed<S>);

/// The newest version of a row, and the one before it.
fn last_two<E: Role>(histories: &Histories<E>, id: u128) -> Option<Versions<'_, E::State>> {
    let (next, before) = histories.get(&id)?.split_last()?;
    Some((before.last(), next))
}
