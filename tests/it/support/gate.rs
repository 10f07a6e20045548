//! A store that holds one row's saves back until it is told to go on: whoever comes to the row's actor meanwhile comes
//! before anything of the others' is saved.

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, atomic::AtomicU64},
};

use futures_util::future::{BoxFuture, FutureExt};
use tokio::{sync::watch, task::AbortHandle};
use trolley::store::{
    Embedded, Expect, Health, IndexEntry, Kind, Reason, Row, RowPage, Saved, Store, embedded, remote,
};

use super::TempDir;

/// A store in a directory, served to a node over a socket there.
pub(crate) struct Gate {
    held: Arc<watch::Sender<Option<u128>>>,
    serving: AbortHandle,
    socket: String,
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Gate {
    pub(crate) fn serve(dir: &TempDir) -> Self {
        let held = Arc::new(watch::Sender::new(None));
        let store = Arc::new(Embedded::open(embedded::Options::new(dir.0.join("store"))).unwrap());
        let path = dir.0.join("socket/store");
        let listener = remote::bind(&path).unwrap();
        let gated = Arc::new(Gated { store, held: Arc::clone(&held) });
        let serving = tokio::spawn(remote::serve(listener, gated, Arc::new(AtomicU64::new(0)))).abort_handle();
        Self { held, serving, socket: path.display().to_string() }
    }

    /// What a node is to be told.
    pub(crate) fn options(&self) -> [String; 4] {
        let socket = format!("store.socket={}", self.socket);
        // Others could share the store; nobody does.
        [
            "store.kind=remote".to_owned(),
            socket,
            "cluster.insecure=true".to_owned(),
            "cluster.listen=127.0.0.1:0".to_owned(),
        ]
    }

    /// Holds this row's saves until `release` is over, and has `asks` go on meanwhile and afterwards. Should they all be
    /// answered before, that is for the test to see.
    pub(crate) async fn hold<T>(
        &self,
        row: u128,
        release: impl Future<Output = ()>,
        asks: impl Future<Output = T>,
    ) -> T {
        self.held.send_replace(Some(row));
        let mut asks = pin!(asks);
        let answered = tokio::select! {
            answered = &mut asks => Some(answered),
            () = release => None,
        };
        self.held.send_replace(None);
        match answered {
            Some(answered) => answered,
            None => asks.await,
        }
    }
}

#[derive(Debug)]
struct Gated {
    store: Arc<dyn Store>,
    held: Arc<watch::Sender<Option<u128>>>,
}

impl Store for Gated {
    fn save(
        &self,
        kind: Kind,
        id: u128,
        expect: Expect,
        row: Row,
        marks: Vec<IndexEntry>,
    ) -> BoxFuture<'static, Saved> {
        let (store, mut held) = (Arc::clone(&self.store), self.held.subscribe());
        async move {
            let _ = held.wait_for(|held| *held != Some(id)).await; // or the test is over
            store.save(kind, id, expect, row, marks).await
        }
        .boxed()
    }

    fn load(&self, kind: Kind, id: u128, serial: bool) -> BoxFuture<'static, Result<Option<Row>, Reason>> {
        self.store.load(kind, id, serial)
    }

    fn index_put(&self, entries: Vec<IndexEntry>) -> BoxFuture<'static, Result<(), Reason>> {
        self.store.index_put(entries)
    }

    fn index_delete(&self, partition: Box<[u8]>, keys: Vec<Box<[u8]>>) -> BoxFuture<'static, Result<(), Reason>> {
        self.store.index_delete(partition, keys)
    }

    fn index_scan(
        &self,
        partition: Box<[u8]>,
        from: Box<[u8]>,
        until: Option<Box<[u8]>>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<IndexEntry>, Reason>> {
        self.store.index_scan(partition, from, until, limit)
    }

    fn scan_rows(&self, kind: Kind, cursor: Option<u128>, limit: usize) -> BoxFuture<'static, Result<RowPage, Reason>> {
        self.store.scan_rows(kind, cursor, limit)
    }

    fn health(&self) -> Health {
        self.store.health()
    }
}
