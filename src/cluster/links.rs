//! What a node needs of the way to its peers; `transport` is the way.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::machine::Peer;
pub use super::transport::{AskError, Lane, NotSent};

/// The way to the peers.
pub trait Links: Send + Sync + fmt::Debug + 'static {
    /// Asks a peer, and waits for its answer.
    fn ask(
        &self,
        node: &str,
        lane: Lane,
        body: Vec<u8>,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, AskError>>;

    /// Holds a session with these and with nobody else.
    fn follow(&self, peers: Vec<Peer>);

    /// Tells every peer that there is a map of this version.
    fn tell_map(&self, map_version: u64);

    /// Whether a fresh connection is refused by the peer's machine.
    fn is_refused(&self, address: &str) -> BoxFuture<'static, bool>;

    /// Whether a session with the peer works both ways.
    fn is_up(&self, node: &str) -> bool;

    /// Peers whose sessions work both ways.
    fn up(&self) -> Vec<Arc<str>>;

    /// How far the peers' wall clocks are from this node's: the median; `None` without peers.
    fn clock_offset_ms(&self) -> Option<i64>;
}
