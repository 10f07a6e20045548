//! Keys that every node of a cluster shares, made once by whichever node starts first.

use std::sync::Arc;

use super::ownership::Error;
use crate::{
    codec::{self, ClusterKeys},
    domain::UnixMillis,
    store::{Expect, Kind, Row, Settled, Store, read, settle},
};

/// Id of the only row of its kind.
const ROW: u128 = 0;
/// Attempts when nodes start at once: the second already finds the winner's row.
const ATTEMPTS_MAX: usize = 5;

/// The cluster's keys; made now if there are none. `random` gives 128 random bits a call.
///
/// # Errors
/// [`Error`] when the store does not answer or holds keys that this release cannot read.
pub async fn shared_keys(
    store: &Arc<dyn Store>,
    now: UnixMillis,
    random: impl Fn() -> u128,
) -> Result<ClusterKeys, Error> {
    for _ in 0..ATTEMPTS_MAX {
        if let Some(row) = read(store, Kind::Keys, ROW).await? {
            return Ok(codec::decode_keys(&row.body)?);
        }
        let mut key = [0; 32];
        key[..16].copy_from_slice(&random().to_le_bytes());
        key[16..].copy_from_slice(&random().to_le_bytes());
        let keys = ClusterKeys { guest_mac: vec![(1, key)] };
        let row = Row {
            version: 1,
            epoch: 0,
            op_id: random(),
            schema_v: codec::KEYS_SCHEMA_V,
            updated_at_ms: now.0,
            ttl_s: None,
            body: codec::encode_keys(&keys)?.into(),
        };
        if settle(store, Kind::Keys, ROW, Expect::Absent, row).await? == Settled::Applied {
            return Ok(keys);
        }
    }
    Err(Error::Contended)
}
