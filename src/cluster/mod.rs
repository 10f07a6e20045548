//! Who owns which shard: members and the shard map, both rows in the store that change only by compare-and-set.
//!
//! A node alone is a cluster of one: every start takes new epochs and fences, and never inherits its predecessor's
//! entry, so that a save still on its way from a process that was killed can be told from its successor's. Where others
//! could take over, a lease says for how long its reads are the newest.

mod keys;
mod lease;
mod member;
mod ownership;
mod status;
pub mod transport;

pub use keys::shared_keys;
pub use lease::{Freshness, Lease, hold};
pub use member::Seat;
pub use ownership::{Error, Identity, OwnedShard, Ownership, take};
pub use status::{MemberStatus, members};
