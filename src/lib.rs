//! Trolley: a shop's cart and checkout as a cluster of durable actors.
//!
//! The rooms, in reading order; each imports only rooms above it (`tests/tidy.rs` holds the order).

pub mod domain;
pub mod store;
pub mod telemetry;
