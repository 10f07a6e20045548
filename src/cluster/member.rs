//! A node's row among the members: joining, giving back, and taking away from others.

use std::sync::Arc;

use super::ownership::{Error, Identity};
use crate::{
    codec::{self, Member, MemberState},
    domain::UnixMillis,
    store::{Expect, Kind, Row, Settled, Store, read, settle},
};

/// Attempts when others change the row at the same time; each lost one means that somebody else's was applied.
const ATTEMPTS_MAX: usize = 10;

/// A node's place among the members: its row as it last saved it.
#[derive(Clone, Debug)]
pub struct Seat {
    pub(super) id: u128,
    pub(super) version: u64,
    pub(super) member: Member,
}

/// What joining found.
pub(super) struct Joined {
    pub(super) seat: Seat,
    pub(super) incarnation: u64,
    /// A process of this name may still answer reads under a lease.
    pub(super) may_serve: bool,
}

fn id(name: &str) -> u128 {
    xxhash_rust::xxh3::xxh3_128(name.as_bytes())
}

/// The row that follows `version`.
pub(super) fn row(member: &Member, version: u64, op_id: u128, now: UnixMillis) -> Result<Row, codec::EncodeError> {
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
pub(super) async fn join(
    store: &Arc<dyn Store>,
    identity: &Identity,
    now: UnixMillis,
    random: &impl Fn() -> u128,
) -> Result<Joined, Error> {
    let id = id(&identity.name);
    for _ in 0..ATTEMPTS_MAX {
        let stored = read(store, Kind::Member, id).await?;
        let old = stored.as_ref().map(|row| codec::decode_member(&row.body)).transpose()?;
        let incarnation = old.as_ref().map_or(0, |old| old.incarnation) + 1;
        let member = Member {
            name: identity.name.to_string(),
            incarnation,
            http: identity.http.clone(),
            admin: identity.admin.clone(),
            cluster: String::new(),
            release: identity.release.clone(),
            schema_min: codec::CART_SCHEMA_V,
            schema_max: codec::CART_SCHEMA_V,
            lease: 0,
            state: MemberState::Up,
        };
        let expect = stored.as_ref().map_or(Expect::Absent, |row| Expect::Version(row.version));
        let version = expect.next();
        let row = row(&member, version, random(), now)?;
        if settle(store, Kind::Member, id, expect, row).await? == Settled::Applied {
            let may_serve = old.is_some_and(|old| old.state == MemberState::Up);
            return Ok(Joined { seat: Seat { id, version, member }, incarnation, may_serve });
        }
    }
    Err(Error::Contended)
}

/// Takes another node's seat away: it can renew its lease no more. Returns whether it may still answer reads under the
/// one that it has.
pub(super) async fn evict(
    store: &Arc<dyn Store>,
    name: &str,
    now: UnixMillis,
    random: &impl Fn() -> u128,
) -> Result<bool, Error> {
    let id = id(name);
    for _ in 0..ATTEMPTS_MAX {
        let Some(stored) = read(store, Kind::Member, id).await? else { return Ok(false) };
        let mut member = codec::decode_member(&stored.body)?;
        if member.state != MemberState::Up {
            return Ok(false);
        }
        member.state = MemberState::Evicted;
        let row = row(&member, stored.version + 1, random(), now)?;
        if settle(store, Kind::Member, id, Expect::Version(stored.version), row).await? == Settled::Applied {
            tracing::warn!(node = name, incarnation = member.incarnation, "evicted: this node takes over its shards");
            return Ok(true);
        }
    }
    Err(Error::Contended)
}
