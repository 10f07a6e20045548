//! Real processes: killed under load, with their syncs held back and failed.

mod fsync;
mod kill;
