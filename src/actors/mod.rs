//! Durable actors: private state, one command at a time, saved before anyone is told.
//!
//! ```text
//! http ── Handle ──► shard actor (ractor) ──► Durable (pure machine) ──► Store
//!            ▲            │  owns a map of virtual actors                  │
//!            └── answers ─┴────────────── loads and saves come back ◄──────┘
//! ```
//!
//! `durable` decides what happens next and never waits; `shard` hosts it and performs what it asks for; `handle` is
//! the only door from outside.

pub mod agenda;
pub mod ask;
pub mod cart;
pub mod checkout;
pub mod discount;
pub mod durable;
mod errand;
pub mod failpoint;
pub mod handle;
mod hands;
mod hosting;
pub mod inspect;
mod journey;
mod kinds;
pub mod remote;
pub mod order;
mod residents;
mod route;
mod shard;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;
pub mod stock;
mod sweep;
pub mod system;
pub mod view;

pub use ask::{Answer, Ask, Effect, Failure, Key, Told};
pub use handle::{ClusterStatus, Handle};
pub use hands::Shop;
pub use remote::Inbound;
pub use system::{Node, Options, System, prepare};
pub use view::{Rendered, View};
