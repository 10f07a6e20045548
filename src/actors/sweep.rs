//! Once a day over all rows: finds timers that the agenda lost. The scan lets the store forget what may be forgotten.

use std::{sync::Arc, time::Duration};

use super::{agenda, kinds, shard::Message, system::Ground};
use crate::{
    codec::record::Armed,
    domain::{Id, UnixMillis},
    store::{Kind, Row, Store},
    telemetry::clock,
};

/// One pass takes about this long, however many rows there are.
const PASS: Duration = Duration::from_secs(24 * 60 * 60);
/// Rows per page.
const PAGE: usize = 100;
/// Pause between two pages: 1,000 rows a second at the most, so that a pass is never felt.
const PAUSE: Duration = Duration::from_millis(100);
/// A timer overdue by this long was lost: the agenda scan is never so late while the node runs.
const LOST_AFTER_MS: u64 = 2 * agenda::BUCKET_MS;
/// Entries of timers within this time are written anew: the next pass comes before later ones.
const RENEW_AHEAD_MS: u64 = 25 * 60 * 60 * 1000;

/// What a row's timer needs.
#[derive(Debug, PartialEq, Eq)]
enum Need {
    Nothing,
    /// The actor is to be woken: its time is long past.
    Wake(Armed),
    /// Its entry is written again, harmlessly.
    Renew(Armed),
}

fn need(armed: Option<Armed>, now: UnixMillis) -> Need {
    match armed {
        Some(armed) if now.since_ms(armed.due) > LOST_AFTER_MS => Need::Wake(armed),
        Some(armed) if armed.due.since_ms(now) < RENEW_AHEAD_MS && armed.due > now => Need::Renew(armed),
        _ => Need::Nothing,
    }
}

/// Passes over all rows until it is dropped, one pass a day.
pub(super) async fn run(store: Arc<dyn Store>, ground: Arc<Ground>, shards: u16) {
    let mut day = tokio::time::interval(PASS);
    day.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        day.tick().await;
        for kind in kinds::HOSTED {
            pass(&store, &ground, shards, *kind).await;
        }
    }
}

/// Passes over the rows of one kind.
async fn pass(store: &Arc<dyn Store>, ground: &Ground, shards: u16, kind: Kind) {
    let mut cursor = None;
    // An unreachable store ends the pass; the next one starts anew.
    while let Ok(page) = store.scan_rows(kind, cursor, PAGE).await {
        for (id, row) in page.rows {
            mend(store, ground, shards, kind, id, &row).await;
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn mend(store: &Arc<dyn Store>, ground: &Ground, shards: u16, kind: Kind, id: u128, row: &Row) {
    // A row that this release cannot read is reported when somebody asks for it.
    let armed = kinds::armed(kind, &row.body);
    let shard = Id(id).slot().shard(shards);
    // Each node mends what it serves.
    let Some(served) = ground.places[usize::from(shard.0)].load_full() else { return };
    match need(armed, clock::now()) {
        Need::Nothing => {}
        Need::Wake(armed) => {
            if let Some(wake) = kinds::wake(kind, id, armed) {
                let _ = served.actor.load().send_message(Message::Due(wake)); // next pass
            }
        }
        Need::Renew(armed) => {
            let _ = store.index_put(vec![agenda::entry(shard, kind, id, armed)]).await; // next pass
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_timer_is_woken_a_near_one_renewed_and_a_far_one_left() {
        let hour = 60 * 60 * 1000;
        let now = UnixMillis(100 * hour);
        let armed = |due| Some(Armed { due: UnixMillis(due), version: 1 });
        assert_eq!(need(None, now), Need::Nothing);
        assert_eq!(need(armed(97 * hour), now), Need::Wake(Armed { due: UnixMillis(97 * hour), version: 1 }));
        assert_eq!(need(armed(99 * hour), now), Need::Nothing); // the scan's own
        assert_eq!(need(armed(124 * hour), now), Need::Renew(Armed { due: UnixMillis(124 * hour), version: 1 }));
        assert_eq!(need(armed(126 * hour), now), Need::Nothing);
    }
}
