//! The store's contract, run against every implementation, and what only the embedded store promises.

mod child;
mod contract;
mod disk;
mod embedded;
mod faulty;
