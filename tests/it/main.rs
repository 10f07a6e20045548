//! Integration tests: one binary, one module per room.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

mod checkout;
mod cli;
mod cluster;
mod demo;
mod events;
mod http;
mod http_shop;
mod payments;
mod process;
mod races;
mod store;
mod support;
