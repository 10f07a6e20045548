//! Who owns which shard: members and the shard map, both rows in the store that change only by compare-and-set.
//!
//! ```text
//! store ◄── keeper ──► machine (pure: renew, look, evict, take over, hand over; `plan` says what belongs where)
//!             │
//!             ├── host     adopts, releases and drops shards (`actors`)
//!             ├── links    sessions with the other nodes
//!             └── lease    for how long reads are the newest (P8)
//! ```
//!
//! A node alone is a cluster of one: every start takes new epochs and fences, and never inherits its predecessor's
//! entry, so that a save still on its way from a process that was killed can be told from its successor's.

mod keeper;
mod keys;
mod lease;
mod links;
pub mod machine;
mod member;
mod ownership;
pub mod plan;
mod routes;
mod status;
pub mod transport;

pub use keeper::{Host, Keeper, Stage};
pub use keys::shared_keys;
#[cfg(test)]
pub(crate) use lease::freshness;
pub use lease::{AFFIRMED_MS, Freshness, Grounds, LEASE_MS, Lease, STALE_MAX_MS};
pub use links::{AskError, Lane, Links, NotSent};
pub use machine::{Input, Machine, Peer, Rules};
pub use member::{Seat, join};
#[cfg(test)]
pub(crate) use member::{id as member_id, joining, row as member_row};
pub use ownership::{Error, Identity, is_made};
pub use routes::{OwnedShard, Owner, Routes};
pub use status::{MemberStatus, Moves, Overview, Why, overview};
