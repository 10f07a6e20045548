//! Events that a sink did not take in all its attempts: kept for an operator, who has them delivered again or forgets them.
//!
//! One entry for each event and sink, ordered by when the event happened. The partition's name and the key are persistent.

use std::sync::Arc;

use super::{
    outgoing::Outgoing,
    stored::{Reader, Unreadable, Writer},
};
use crate::{
    domain::UnixMillis,
    store::{INDEX_KEY_BYTES_MAX, IndexEntry, Reason, Store},
};

/// Letters on one page.
const PAGE: usize = 100;
/// Longest reason kept: the whole letter must fit into one index entry.
const WHY_BYTES_MAX: usize = 120;
const PARTITION: &[u8] = b"events-dead";

/// An event that a sink did not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Names the letter.
    pub id: Box<str>,
    /// The event.
    pub event: Outgoing,
    /// Which sink.
    pub sink: Box<str>,
    /// How often the sink rejected it.
    pub attempts: u64,
    /// When it was given up.
    pub at: UnixMillis,
    /// What the sink said last.
    pub why: Box<str>,
}

/// A page of dead letters, oldest event first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadPage {
    /// The letters.
    pub letters: Vec<DeadLetter>,
    /// Where the next page starts; `None` = this was the last.
    pub next: Option<Box<str>>,
}

/// The list.
#[derive(Clone, Debug)]
pub(super) struct DeadLetters(Arc<dyn Store>);

impl DeadLetters {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }

    /// Keeps events that `sink` did not take; synced when it returns. The same again is one letter.
    pub(super) async fn put(
        &self,
        sink: &str,
        events: &[Outgoing],
        attempts: u64,
        at: UnixMillis,
        why: &str,
    ) -> Result<(), Reason> {
        let mut why_len = why.len().min(WHY_BYTES_MAX);
        while !why.is_char_boundary(why_len) {
            why_len -= 1;
        }
        let entry = |event: &Outgoing| IndexEntry {
            partition: PARTITION.into(),
            key: id(event, sink).into_bytes().into(),
            value: Writer::new()
                .number(attempts)
                .number(at.0)
                .text(event.actor())
                .text(sink)
                .text(&why[..why_len])
                .event(event),
        };
        for page in events.chunks(PAGE) {
            self.0.index_put(page.iter().map(entry).collect()).await?;
        }
        Ok(())
    }

    /// A page from `cursor` on.
    pub(super) async fn list(&self, cursor: Option<&str>) -> Result<DeadPage, Reason> {
        let from = cursor.unwrap_or_default();
        if from.len() > INDEX_KEY_BYTES_MAX {
            return Ok(DeadPage::default());
        }
        let mut entries = self.0.index_scan(PARTITION.into(), from.as_bytes().into(), None, PAGE + 1).await?;
        let beyond = if entries.len() > PAGE { entries.pop() } else { None };
        let next = beyond.map(|entry| String::from_utf8_lossy(&entry.key).into());
        // One that a later release wrote must not hide the others.
        let letters = entries.iter().filter_map(|entry| {
            read(entry).inspect_err(|why| tracing::warn!(%why, "a dead letter cannot be read")).ok()
        });
        Ok(DeadPage { letters: letters.collect(), next })
    }

    /// One letter.
    pub(super) async fn get(&self, id: &str) -> Result<Option<DeadLetter>, Reason> {
        if id.len() >= INDEX_KEY_BYTES_MAX {
            return Ok(None);
        }
        let entries = self.0.index_scan(PARTITION.into(), id.as_bytes().into(), None, 1).await?;
        let found = entries.iter().find(|entry| *entry.key == *id.as_bytes());
        found.map(read).transpose().map_err(|why| Reason::new(format!("the dead letter {id} cannot be read: {why}")))
    }

    /// Forgets one letter.
    pub(super) async fn remove(&self, id: &str) -> Result<(), Reason> {
        self.0.index_delete(PARTITION.into(), vec![id.as_bytes().into()]).await
    }
}

/// The same for the same event and sink: whoever gives it up again, after a crash, makes no second letter.
fn id(event: &Outgoing, sink: &str) -> String {
    format!("{:015}-{}-{}-{sink}", event.at().0, event.actor(), event.sequence())
}

fn read(entry: &IndexEntry) -> Result<DeadLetter, Unreadable> {
    let mut reader = Reader::new(&entry.value)?;
    let (attempts, at) = (reader.number()?, UnixMillis(reader.number()?));
    let (actor, sink, why) = (reader.text()?, reader.text()?, reader.text()?);
    let event = reader.event(actor)?;
    Ok(DeadLetter { id: id(&event, sink).into(), event, sink: sink.into(), attempts, at, why: why.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        events::outgoing::{ACTOR_BYTES_MAX, DATA_BYTES_MAX},
        store::Memory,
    };

    fn event(actor: &str, sequence: u64, at: u64, bytes: usize) -> Outgoing {
        Outgoing::from_parts(actor, sequence, 1, UnixMillis(at), vec![b' '; bytes].into()).unwrap()
    }

    #[tokio::test]
    async fn the_largest_letter_fits_into_an_index_entry() {
        let dead = DeadLetters::new(Arc::new(Memory::default()));
        let largest = event(&"a".repeat(ACTOR_BYTES_MAX), u64::MAX, u64::MAX, DATA_BYTES_MAX);
        let sink = "s".repeat(24);
        dead.put(&sink, std::slice::from_ref(&largest), u64::MAX, UnixMillis(u64::MAX), &"é".repeat(999))
            .await
            .unwrap();
        let page = dead.list(None).await.unwrap();
        assert_eq!((&page.letters[0].event, &*page.letters[0].sink), (&largest, &*sink));
        assert_eq!(dead.get(&page.letters[0].id).await.unwrap().as_ref(), Some(&page.letters[0]));
    }

    #[tokio::test]
    async fn letters_are_listed_by_age_on_pages_and_kept_once() {
        let dead = DeadLetters::new(Arc::new(Memory::default()));
        let events: Vec<_> = (1..=250).map(|n| event("cart_1", n, 1_000 + n, 2)).collect();
        for _ in 0..2 {
            dead.put("log", &events, 12, UnixMillis(5), "HTTP status 500").await.unwrap();
        }
        let (mut cursor, mut seen) = (None, Vec::new());
        loop {
            let page = dead.list(cursor.as_deref()).await.unwrap();
            assert!(page.letters.len() <= PAGE);
            seen.extend(page.letters.iter().map(|letter| letter.event.sequence()));
            match page.next {
                Some(next) => cursor = Some(next),
                None => break,
            }
        }
        assert_eq!(seen, (1..=250).collect::<Vec<_>>());
        let id = id(&events[0], "log");
        dead.remove(&id).await.unwrap();
        assert_eq!(dead.get(&id).await.unwrap(), None);
        assert_eq!(dead.get(&id[..id.len() - 1]).await.unwrap(), None);
    }
}
