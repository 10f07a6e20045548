//! Load on the public API, and what it took. Knows nothing of the server but that.

pub mod arrivals;
pub mod buying;
pub mod catalogue;
pub mod client;
pub mod command;
pub mod drive;
pub mod failure;
#[cfg(test)]
mod fake;
pub mod faults;
pub mod ledger;
pub mod measure;
pub mod micro;
pub mod nodes;
pub mod objective;
pub mod options;
pub mod purchases;
pub mod report;
pub mod run;
pub mod scenario;
pub mod service;
pub mod shop;
pub mod shopper;
pub mod shopping;
pub mod timestamp;
