//! Load on the public API, and what it took. Knows nothing of the server but that.

pub mod client;
pub mod run;
pub mod shop;
