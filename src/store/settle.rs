//! Saves and reads rows for whoever has the time to wait: does not come back before it is known how that ended.

use std::{sync::Arc, time::Duration};

use super::{Expect, Head, Kind, Reason, Row, Saved, Store};

/// First pause before the same save is sent again.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Most attempts: about half a minute, longer than any restart of a store that an operator waits for.
const ATTEMPTS_MAX: u32 = 30;

/// How a save ended, for certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Committed and synced.
    Applied,
    /// Another save took the version.
    Lost(Option<Head>),
}

/// Saves `row`, and the identical save again while its outcome is unknown: a read that still shows the expected version
/// would decide nothing, the write may land later.
///
/// # Errors
/// The reason when the store refuses writes, or does not settle within about half a minute.
pub async fn settle(store: &Arc<dyn Store>, kind: Kind, id: u128, expect: Expect, row: Row) -> Result<Settled, Reason> {
    let mut pause = PAUSE_MIN;
    let mut last = Reason::new("the store did not answer");
    let mut unsettled = false;
    for _ in 0..ATTEMPTS_MAX {
        match store.save(kind, id, expect, row.clone(), Vec::new()).await {
            Saved::Applied => return Ok(Settled::Applied),
            Saved::Lost(Some(head)) if head.op_id == row.op_id => return Ok(Settled::Applied),
            Saved::Lost(head) => return Ok(Settled::Lost(head)),
            Saved::Refused(reason) if !unsettled => return Err(reason),
            Saved::Refused(reason) => last = reason,
            Saved::Unknown(reason) => {
                unsettled = true;
                last = reason;
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
    Err(last)
}

/// The row, ordered with every save; asked for again while the store fails, for half a minute at most.
///
/// # Errors
/// The last reason of the store's.
pub async fn read(store: &Arc<dyn Store>, kind: Kind, id: u128) -> Result<Option<Row>, Reason> {
    let mut pause = PAUSE_MIN;
    for _ in 1..ATTEMPTS_MAX {
        if let Ok(row) = store.load(kind, id, true).await {
            return Ok(row);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
    store.load(kind, id, true).await
}
