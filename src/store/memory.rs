//! The store as a model: maps under a mutex. Everything is gone with the process; the contract is the same.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::future::{BoxFuture, FutureExt, ready};

use super::{
    Expect, Health, IndexEntry, Kind, Reason, Row, RowPage, SCAN_BYTES_MAX, SCAN_MAX, Saved, Store, check_entries,
    check_row,
};
use crate::telemetry::clock;

/// The store as a model. Clones share one state, so that a "restart" keeps what was saved.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<Tables>>);

/// Where an index entry stands.
type PartitionAndKey = (Box<[u8]>, Box<[u8]>);

#[derive(Debug, Default)]
struct Tables {
    rows: BTreeMap<(Kind, u128), Row>,
    index: BTreeMap<PartitionAndKey, Box<[u8]>>,
}

impl Memory {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        // Every change is complete before the lock is given back: a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    fn live(&self, kind: Kind, id: u128) -> Option<&Row> {
        self.rows.get(&(kind, id)).filter(|row| !row.is_expired(clock::now()))
    }

    fn put(&mut self, entries: Vec<IndexEntry>) {
        self.index.extend(entries.into_iter().map(|entry| ((entry.partition, entry.key), entry.value)));
    }
}

impl Store for Memory {
    fn load(&self, kind: Kind, id: u128, _serial: bool) -> BoxFuture<'static, Result<Option<Row>, Reason>> {
        ready(Ok(self.tables().live(kind, id).cloned())).boxed()
    }

    fn save(
        &self,
        kind: Kind,
        id: u128,
        expect: Expect,
        row: Row,
        marks: Vec<IndexEntry>,
    ) -> BoxFuture<'static, Saved> {
        if let Err(reason) = check_row(expect, &row).and_then(|()| check_entries(&marks)) {
            return ready(Saved::Refused(reason)).boxed();
        }
        let mut tables = self.tables();
        let head = tables.live(kind, id).map(Row::head);
        let saved = if expect.holds(head) {
            tables.put(marks);
            tables.rows.insert((kind, id), row);
            Saved::Applied
        } else {
            Saved::Lost(head)
        };
        ready(saved).boxed()
    }

    fn index_put(&self, entries: Vec<IndexEntry>) -> BoxFuture<'static, Result<(), Reason>> {
        let checked = check_entries(&entries);
        if checked.is_ok() {
            self.tables().put(entries);
        }
        ready(checked).boxed()
    }

    fn index_delete(&self, partition: Box<[u8]>, keys: Vec<Box<[u8]>>) -> BoxFuture<'static, Result<(), Reason>> {
        let mut tables = self.tables();
        for key in keys {
            tables.index.remove(&(partition.clone(), key));
        }
        ready(Ok(())).boxed()
    }

    fn index_scan(
        &self,
        partition: Box<[u8]>,
        from: Box<[u8]>,
        until: Option<Box<[u8]>>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<IndexEntry>, Reason>> {
        let tables = self.tables();
        let entries = tables
            .index
            .range((partition.clone(), from)..)
            .take_while(|((in_partition, key), _)| {
                *in_partition == partition && until.as_ref().is_none_or(|until| key < until)
            })
            .take(limit.min(SCAN_MAX))
            .map(|((partition, key), value)| IndexEntry {
                partition: partition.clone(),
                key: key.clone(),
                value: value.clone(),
            })
            .collect();
        ready(Ok(entries)).boxed()
    }

    fn scan_rows(&self, kind: Kind, cursor: Option<u128>, limit: usize) -> BoxFuture<'static, Result<RowPage, Reason>> {
        let limit = limit.clamp(1, SCAN_MAX);
        let now = clock::now();
        let mut tables = self.tables();
        tables.rows.retain(|_, row| !row.is_expired(now));
        let (mut rows, mut next, mut bytes) = (Vec::new(), None, 0);
        for (&(_, id), row) in tables.rows.range((kind, cursor.unwrap_or(0))..=(kind, u128::MAX)) {
            if rows.len() == limit || bytes >= SCAN_BYTES_MAX {
                next = Some(id);
                break;
            }
            bytes += row.body.len();
            rows.push((id, row.clone()));
        }
        ready(Ok(RowPage { rows, next })).boxed()
    }

    fn is_exclusive(&self) -> bool {
        true
    }

    fn health(&self) -> Health {
        Health::default()
    }
}
