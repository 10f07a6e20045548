//! The shard map's row, who a node says it is, and why the cluster's rows could not be used.

use std::sync::Arc;

use crate::{
    codec::{self, DecodeError, EncodeError, ShardMap},
    domain::{UnixMillis, ids::SLOTS},
    store::{Expect, Kind, Reason, Row, Store, read},
};

/// Id of the only row of its kind.
pub(super) const MAP_ROW: u128 = 0;

/// Who this node says it is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its name, the same at every start.
    pub name: Arc<str>,
    /// Where its public listener is.
    pub http: String,
    /// Where its admin listener is.
    pub admin: String,
    /// Where its cluster listener is; empty for a node alone.
    pub cluster: String,
    /// Release of the binary.
    pub release: String,
}

/// Why the cluster's rows could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store does not answer.
    #[error("the store is unavailable: {0}")]
    Store(#[from] Reason),
    /// A row cannot be read by this release.
    #[error("a row of the cluster cannot be read by this release: {0}")]
    Decode(#[from] DecodeError),
    /// A row cannot be written.
    #[error("a row of the cluster cannot be written: {0}")]
    Encode(#[from] EncodeError),
    /// Another process took this node's place while it started.
    #[error("another process with this cluster.node_name started at the same time: give each a name of its own")]
    Replaced,
    /// The cluster has written what this release does not read.
    #[error(
        "the cluster has written record format {written}, and this release reads {} to {}: start a release that reads it",
        reads.start(), reads.end()
    )]
    Format {
        /// The newest that may have been written.
        written: u16,
        /// What this release reads.
        reads: std::ops::RangeInclusive<u16>,
    },
    /// Others kept changing the rows.
    #[error("other nodes kept changing the cluster's rows; start again")]
    Contended,
    /// The cluster was made with another number of shards.
    #[error(
        "the cluster has {stored} shards for ever, not {configured}: set actors.shards to {stored} or leave it out"
    )]
    Shards {
        /// As made.
        stored: usize,
        /// As configured.
        configured: u16,
    },
    /// Not a power of two up to the number of slots.
    #[error("actors.shards must be a power of two from 1 to 16384, not {0}")]
    ShardCount(u16),
}

/// The map's row that follows `expect`.
pub(super) fn map_row(map: &ShardMap, expect: Expect, op_id: u128, now: UnixMillis) -> Result<Row, EncodeError> {
    Ok(Row {
        version: expect.next(),
        epoch: 0,
        op_id,
        schema_v: codec::MAP_SCHEMA_V,
        updated_at_ms: now.0,
        ttl_s: None,
        body: codec::encode_map(map)?.into(),
    })
}

/// Whether this many shards fit the cluster; tells whether there is one yet.
///
/// # Errors
/// [`Error`] when they do not, or the store does not answer.
pub async fn is_made(store: &Arc<dyn Store>, shards: u16) -> Result<bool, Error> {
    if !shards.is_power_of_two() || shards > SLOTS {
        return Err(Error::ShardCount(shards));
    }
    let Some(row) = read(store, Kind::Map, MAP_ROW).await? else {
        // A map of so many shards must fit its row, before anything rests on it.
        let entry =
            || codec::ShardEntry { node: "x".repeat(64), incarnation: 1, epoch: 1, fence: 1, closed_at_ms: u64::MAX };
        codec::encode_map(&ShardMap { version: 1, format: 1, shards: (0..shards).map(|_| entry()).collect() })?;
        return Ok(false);
    };
    let stored = codec::decode_map(&row.body)?.shards.len();
    if stored == usize::from(shards) { Ok(true) } else { Err(Error::Shards { stored, configured: shards }) }
}
