//! The store as a model: rows by compare-and-set, agenda entries, and everything ever committed.

use std::collections::{BTreeMap, BTreeSet};

use super::entity::{Tally, TallyEntity};
use crate::{
    actors::durable::{Entity, SaveOrder},
    codec::record::{Armed, Record},
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
        let head = self.head(id);
        if !order.expect.holds(head) {
            return Ok(Saved::Lost(head));
        }
        let record = TallyEntity::decode(&order.row.body)?;
        self.history.entry(id).or_default().push(Committed { row: order.row.clone(), record });
        Ok(Saved::Applied)
    }

    pub(super) fn unmark(&mut self, id: u128, armed: Armed) {
        self.agenda.remove(&(armed.due.0, id, armed.version));
    }
}
