//! Pure decisions. No async, no IO, no clock, no randomness, no serde: time and entropy arrive as values.

pub mod cart;
pub mod ids;
pub mod money;
pub mod product;
pub mod time;

pub use ids::{CartId, GuestId, Id, IdError, ShardId, Slot};
pub use money::{Currency, Money, MoneyError};
pub use time::UnixMillis;
