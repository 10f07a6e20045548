//! The store's contract, run against every implementation, and what only one of them promises.

mod child;
mod contract;
mod cql;
mod disk;
mod embedded;
mod faulty;
mod migrate;
mod remote;
