//! The store as a model: rows by compare-and-set, agenda entries, and everything ever committed.

use std::collections::{BTreeMap, BTreeSet};

use super::entity::{Tally, TallyEntity};
use crate::{
    actors::durable::{Entity, SaveOrder},
    codec::record::{Armed, Record, Unsent},
    store::{Head, Row, Saved},
};

/// One row, committed.
#[derive(Clone, Debug)]
pub(super) struct Committed {
    pub(super) row: Row,
    pub(super) record: Record<Tally>,
}

#[derive(Debug, Default)]
pub(super) struct Model {
    /// Every version of every row, oldest first: the history that answers are held against.
    pub(super) history: BTreeMap<u128, Vec<Committed>>,
    /// Agenda entries: due, id, version.
    pub(super) agenda: BTreeSet<(u64, u128, u64)>,
    /// Every event ever committed, by its number.
    pub(super) told: BTreeMap<u128, BTreeMap<u64, Unsent>>,
    /// Events in the index.
    pub(super) spilled: BTreeMap<u128, BTreeMap<u64, Unsent>>,
}

impl Model {
    pub(super) fn row(&self, id: u128) -> Option<Row> {
        self.history.get(&id)?.last().map(|committed| committed.row.clone())
    }

    pub(super) fn committed(&self, id: u128) -> &[Committed] {
        self.history.get(&id).map_or(&[], Vec::as_slice)
    }

    pub(super) fn head(&self, id: u128) -> Option<Head> {
        self.history.get(&id)?.last().map(|committed| committed.row.head())
    }

    /// The agenda entry first, then the row: as a store does that cannot do both at once.
    pub(super) fn mark(&mut self, id: u128, armed: Option<Armed>) {
        if let Some(armed) = armed {
            self.agenda.insert((armed.due.0, id, armed.version));
        }
    }

    pub(super) fn save(&mut self, id: u128, order: &SaveOrder) -> Result<Saved, String> {
        self.mark(id, order.arm);
        if !order.spill.is_empty() {
            let spilled = order.spill.iter().map(|event| (event.sequence, event.clone()));
            self.spilled.entry(id).or_default().extend(spilled);
        }
        let head = self.head(id);
        if !order.expect.holds(head) {
            return Ok(Saved::Lost(head));
        }
        let record = TallyEntity::decode(&order.row.body)?;
        let old = self.told.entry(id).or_default();
        let newest = old.last_key_value().map_or(0, |(newest, _)| *newest);
        let new = record.unsent.iter().filter(|event| event.kind != 0 && event.sequence > newest);
        old.extend(new.map(|event| (event.sequence, event.clone())).collect::<Vec<_>>());
        self.history.entry(id).or_default().push(Committed { row: order.row.clone(), record });
        Ok(Saved::Applied)
    }

    pub(super) fn unmark(&mut self, id: u128, armed: Armed) {
        self.agenda.remove(&(armed.due.0, id, armed.version));
    }
}
