//! What a person sees of a running node: logs, metrics; and the one place that reads the clock and the dice.

pub mod clock;
pub mod logs;
pub mod metrics;
