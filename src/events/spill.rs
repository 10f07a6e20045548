//! Unsent events that no longer fit into their actor's row: kept in the index, oldest first, until they are delivered.
//!
//! An actor puts its oldest ones here *before* the save that takes them out of its row: a crash in between leaves them in
//! both places, and a repeat is harmless. The partition's name and the key are persistent.

use std::sync::Arc;

use super::{
    outgoing::Outgoing,
    stored::{Reader, Writer},
};
use crate::store::{IndexEntry, Reason, Store};

/// Events read and delivered at once: some 45 KiB.
pub(super) const PAGE: usize = 64;

/// Keeps events that no longer fit into their actors' rows.
#[derive(Clone, Debug)]
pub struct Spill(Arc<dyn Store>);

impl Spill {
    /// In this store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }

    /// Keeps an actor's oldest unsent events; synced when it returns. The same again is harmless.
    ///
    /// # Errors
    /// Why the store did not take them: the actor keeps them in its row.
    pub async fn put(&self, actor: &str, events: &[Outgoing]) -> Result<(), Reason> {
        // A page at a time: a batch stays far below what a store takes at once.
        for page in events.chunks(PAGE) {
            self.0.index_put(page.iter().map(|event| Self::entry(actor, event)).collect()).await?;
        }
        Ok(())
    }

    /// The entry of one event, for whoever saves it together with the row that has no room for it any more.
    #[must_use]
    pub fn entry(actor: &str, event: &Outgoing) -> IndexEntry {
        IndexEntry {
            partition: partition(actor),
            key: Box::from(event.sequence().to_be_bytes().as_slice()),
            value: Writer::new().event(event),
        }
    }

    /// An actor's oldest spilled events.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub(super) async fn oldest(&self, actor: &str) -> Result<Vec<Outgoing>, Reason> {
        let entries = self.0.index_scan(partition(actor), Box::default(), None, PAGE).await?;
        let read = |entry: &IndexEntry| Reader::new(&entry.value).and_then(|reader| reader.event(actor));
        let events: Result<Vec<_>, _> = entries.iter().map(read).collect();
        events.map_err(|why| Reason::new(format!("a spilled event of {actor} cannot be read: {why}")))
    }

    /// Forgets spilled events that were delivered.
    ///
    /// # Errors
    /// Why they are still there: they will be delivered again.
    pub(super) async fn remove(&self, actor: &str, events: &[Outgoing]) -> Result<(), Reason> {
        let keys = events.iter().map(|event| Box::from(event.sequence().to_be_bytes().as_slice())).collect();
        self.0.index_delete(partition(actor), keys).await
    }
}

fn partition(actor: &str) -> Box<[u8]> {
    format!("events-spill/{actor}").into_bytes().into()
}
