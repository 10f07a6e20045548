//! The wall clock and the random source: everything else gets their readings as values.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::domain::UnixMillis;

/// The wall clock.
#[must_use]
pub fn now() -> UnixMillis {
    #[expect(clippy::disallowed_methods, reason = "this is the one reader of the wall clock")]
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// 128 random bits from the operating system's generator, by way of a per-thread ChaCha.
#[must_use]
pub fn random() -> u128 {
    rand::random()
}
