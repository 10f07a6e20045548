//! Trolley: a shop's cart and checkout as a cluster of durable actors.
//!
//! The rooms, in reading order; each imports only rooms above it, `tests/tidy.rs` holds the order. `telemetry` is a side
//! room, open to all but `domain`; `app` puts everything together.

pub mod domain;
pub mod codec;
pub mod store;
pub mod catalog;
pub mod net;
pub mod payments;
pub mod events;
pub mod cluster;
pub mod actors;
pub mod http;
pub mod app;
pub mod cli;
pub mod telemetry;
