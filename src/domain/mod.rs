//! Pure decisions. No async, no IO, no clock, no randomness, no serde: time and entropy arrive as values.

pub mod address;
pub mod cart;
pub mod checkout;
mod context;
pub mod discount;
pub mod holds;
pub mod ids;
pub mod money;
pub mod order;
pub mod payment;
pub mod pricing;
pub mod product;
pub mod stock;
pub mod time;

pub use context::{Context, Try};
pub use ids::{CartId, CheckoutId, DiscountId, GuestId, Id, IdError, OrderId, Reference, ShardId, Slot, StockId};
pub use money::{Currency, Money, MoneyError};
pub use time::UnixMillis;
