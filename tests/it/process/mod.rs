//! Real processes: killed under load, with their disk's syncs and their database failing beneath them.

mod database;
mod fsync;
mod kill;
mod proxy;
mod two;

use tokio::sync::{Mutex, MutexGuard};

/// A test with a database in trouble has the machine to itself: several at once on two cores would measure each other.
pub(crate) async fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

/// How often each fault happens: once, or as often as `TROLLEY_ROUNDS` says.
#[expect(
    clippy::disallowed_methods,
    reason = "how long to test is the developer's choice, not an option of the product"
)]
pub(crate) fn rounds() -> usize {
    std::env::var("TROLLEY_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1)
}
