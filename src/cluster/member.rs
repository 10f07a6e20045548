//! A node's row among the members, and how a node gets one.

use std::sync::Arc;

use super::{Error, Identity, ownership::MAP_ROW};
use crate::{
    codec::{self, FORMATS, Member, MemberState},
    domain::UnixMillis,
    store::{Expect, Kind, Row, Settled, Store, read, settle},
};

/// Attempts when others change the row at the same time; each lost one means that somebody else's was applied.
const ATTEMPTS_MAX: usize = 10;

/// A node's place among the members: its row as it last saved it.
#[derive(Clone, Debug)]
pub struct Seat {
    pub(super) version: u64,
    pub(super) member: Member,
    /// Nobody under this name can answer reads: the one before had left, or had been evicted, or never was.
    pub(super) is_free: bool,
}

impl Seat {
    /// A row as it is in the store.
    #[must_use]
    pub const fn new(version: u64, member: Member, is_free: bool) -> Self {
        Self { version, member, is_free }
    }

    /// Counts this node's starts.
    #[must_use]
    pub const fn incarnation(&self) -> u64 {
        self.member.incarnation
    }
}

/// Id of a member's row.
#[must_use]
pub(crate) fn id(name: &str) -> u128 {
    xxhash_rust::xxh3::xxh3_128(name.as_bytes())
}

/// The row that follows `version`.
pub(crate) fn row(member: &Member, version: u64, op_id: u128, now: UnixMillis) -> Result<Row, codec::EncodeError> {
    Ok(Row {
        version,
        epoch: 0,
        op_id,
        schema_v: codec::MEMBER_SCHEMA_V,
        updated_at_ms: now.0,
        ttl_s: None,
        body: codec::encode_member(member)?.into(),
    })
}

/// Writes this node's row with the next incarnation: whoever had it before can renew its lease no more.
///
/// # Errors
/// [`Error`] when the store does not answer, others keep changing the row, or the cluster has written a record format
/// that this release does not read: then the row stays as it is.
pub async fn join(
    store: &Arc<dyn Store>,
    identity: &Identity,
    now: UnixMillis,
    random: &impl Fn() -> u128,
) -> Result<Seat, Error> {
    if let Some(row) = read(store, Kind::Map, MAP_ROW).await? {
        let written = codec::decode_map(&row.body)?.format;
        if !FORMATS.contains(&written) {
            return Err(Error::Format { written, reads: FORMATS });
        }
    }
    let id = id(&identity.name);
    for _ in 0..ATTEMPTS_MAX {
        let stored = read(store, Kind::Member, id).await?;
        let old = stored.as_ref().map(|row| codec::decode_member(&row.body)).transpose()?;
        let member = joining(identity, old.as_ref());
        let expect = stored.as_ref().map_or(Expect::Absent, |row| Expect::Version(row.version));
        let row = row(&member, expect.next(), random(), now)?;
        if settle(store, Kind::Member, id, expect, row).await? == Settled::Applied {
            let is_free = old.is_none_or(|old| matches!(old.state, MemberState::Left | MemberState::Evicted));
            return Ok(Seat { version: expect.next(), member, is_free });
        }
    }
    Err(Error::Contended)
}

/// The row of a node that starts.
pub(crate) fn joining(identity: &Identity, old: Option<&Member>) -> Member {
    Member {
        name: identity.name.to_string(),
        incarnation: old.map_or(0, |old| old.incarnation) + 1,
        http: identity.http.clone(),
        admin: identity.admin.clone(),
        cluster: identity.cluster.clone(),
        release: identity.release.clone(),
        format_min: *FORMATS.start(),
        format_max: *FORMATS.end(),
        lease: 0,
        state: MemberState::Up,
    }
}
