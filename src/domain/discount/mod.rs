//! Discount codes: what one takes off, and who has used it how often.

mod rule;

pub use rule::{CODE_BYTES_MAX, Rule, Worth};
