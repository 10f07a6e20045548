//! The store as a model: ordered maps under one lock. What the contract means is what this does.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::future::{self, BoxFuture};

use super::{
    Expect, Health, IndexEntry, Kind, Reason, Row, RowPage, SCAN_BYTES_MAX, SCAN_MAX, Saved, Store, check_entries,
    check_keys, check_save,
};
use crate::{domain::UnixMillis, telemetry::clock};

/// A store in memory. Clones share their rows, so a test can drop everything else and "restart" on a clone.
#[derive(Clone)]
pub struct Memory {
    tables: Arc<Mutex<Tables>>,
    clock: Arc<dyn Fn() -> UnixMillis + Send + Sync>,
}

type PartitionAndKey = (Box<[u8]>, Box<[u8]>);

#[derive(Default)]
struct Tables {
    rows: BTreeMap<(Kind, u128), Row>,
    index: BTreeMap<PartitionAndKey, Box<[u8]>>,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tables = self.tables();
        f.debug_struct("Memory").field("rows", &tables.rows.len()).field("index", &tables.index.len()).finish()
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Memory {
    /// An empty store on the wall clock.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(clock::now)
    }

    /// An empty store whose rows expire by `clock`.
    #[must_use]
    pub fn with_clock(clock: impl Fn() -> UnixMillis + Send + Sync + 'static) -> Self {
        Self { tables: Arc::default(), clock: Arc::new(clock) }
    }

    /// A panic of another holder cannot have left a half-made change: each change is one map operation after its checks.
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn save_now(&self, kind: Kind, id: u128, expect: Expect, row: Row, marks: Vec<IndexEntry>) -> Saved {
        if let Err(reason) = check_save(expect, &row, &marks) {
            return Saved::Refused(reason);
        }
        let now = (self.clock)().max(UnixMillis(row.updated_at_ms));
        let mut tables = self.tables();
        let head = tables.rows.get(&(kind, id)).filter(|row| !row.expired(now)).map(Row::head);
        let expected = match expect {
            Expect::Absent => head.is_none(),
            Expect::Version(version) => head.is_some_and(|head| head.version == version),
        };
        if !expected {
            return Saved::Lost(head);
        }
        tables.index.extend(marks.into_iter().map(|mark| ((mark.partition, mark.key), mark.value)));
        tables.rows.insert((kind, id), row);
        Saved::Applied
    }

    fn scan_rows_now(&self, kind: Kind, cursor: Option<u128>, limit: usize) -> RowPage {
        let now = (self.clock)();
        let mut tables = self.tables();
        tables.rows.retain(|_, row| !row.expired(now));
        let mut page = RowPage { rows: Vec::new(), next: None };
        let mut bytes = 0;
        for (&(_, id), row) in tables.rows.range((kind, cursor.unwrap_or(0))..=(kind, u128::MAX)) {
            if page.rows.len() == limit.clamp(1, SCAN_MAX) || bytes >= SCAN_BYTES_MAX {
                page.next = Some(id);
                break;
            }
            bytes += row.body.len();
            page.rows.push((id, row.clone()));
        }
        page
    }
}

impl Store for Memory {
    fn load(&self, kind: Kind, id: u128, _serial: bool) -> BoxFuture<'static, Result<Option<Row>, Reason>> {
        let store = self.clone();
        Box::pin(future::lazy(move |_| {
            let now = (store.clock)();
            Ok(store.tables().rows.get(&(kind, id)).filter(|row| !row.expired(now)).cloned())
        }))
    }

    fn save(
        &self,
        kind: Kind,
        id: u128,
        expect: Expect,
        row: Row,
        marks: Vec<IndexEntry>,
    ) -> BoxFuture<'static, Saved> {
        let store = self.clone();
        Box::pin(future::lazy(move |_| store.save_now(kind, id, expect, row, marks)))
    }

    fn index_put(&self, entries: Vec<IndexEntry>) -> BoxFuture<'static, Result<(), Reason>> {
        let store = self.clone();
        Box::pin(future::lazy(move |_| {
            check_entries(&entries)?;
            store.tables().index.extend(entries.into_iter().map(|entry| ((entry.partition, entry.key), entry.value)));
            Ok(())
        }))
    }

    fn index_delete(&self, partition: Box<[u8]>, keys: Vec<Box<[u8]>>) -> BoxFuture<'static, Result<(), Reason>> {
        let store = self.clone();
        Box::pin(future::lazy(move |_| {
            check_keys(keys.len(), keys.iter().chain([&partition]))?;
            let mut tables = store.tables();
            for key in keys {
                tables.index.remove(&(partition.clone(), key));
            }
            Ok(())
        }))
    }

    fn index_scan(
        &self,
        partition: Box<[u8]>,
        from: Box<[u8]>,
        until: Option<Box<[u8]>>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<IndexEntry>, Reason>> {
        let store = self.clone();
        Box::pin(future::lazy(move |_| {
            check_keys(1, [&partition, &from].into_iter().chain(&until))?;
            let tables = store.tables();
            let entries = tables.index.range((partition.clone(), from)..);
            Ok(entries
                .take_while(|((in_partition, key), _)| {
                    *in_partition == partition && until.as_ref().is_none_or(|until| key < until)
                })
                .take(limit.min(SCAN_MAX))
                .map(|((partition, key), value)| IndexEntry {
                    partition: partition.clone(),
                    key: key.clone(),
                    value: value.clone(),
                })
                .collect())
        }))
    }

    fn scan_rows(&self, kind: Kind, cursor: Option<u128>, limit: usize) -> BoxFuture<'static, Result<RowPage, Reason>> {
        let store = self.clone();
        Box::pin(future::lazy(move |_| Ok(store.scan_rows_now(kind, cursor, limit))))
    }

    fn health(&self) -> Health {
        Health::default()
    }
}
