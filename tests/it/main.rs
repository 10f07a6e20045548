//! Integration tests: one binary, one module per room.

mod cli;
mod http;
mod process;
mod store;
mod support;
