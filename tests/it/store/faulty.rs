//! The store that fails on purpose: each fault does what it says, and an unknown save is settled by sending it again.

use std::{sync::Arc, time::Duration};

use tokio::sync::Notify;
use trolley::store::{
    Expect, Kind, Memory, Reason, Saved, Settled, Store,
    faulty::{Fault, Faulty},
    settle,
};

use super::contract::row;
use crate::support::wait::until;

async fn save(store: &Faulty<Memory>) -> Saved {
    store.save(Kind::Cart, 1, Expect::Absent, row(1, 10), vec![]).await
}

async fn is_saved(store: &Faulty<Memory>) -> bool {
    store.inner().load(Kind::Cart, 1, true).await.unwrap().is_some()
}

#[tokio::test]
async fn a_refused_save_and_a_lost_one_are_not_applied() {
    let store = Faulty::new(Memory::default());
    store.on_saves([Fault::Fail, Fault::Lose]);
    assert!(matches!(save(&store).await, Saved::Refused(_)));
    assert!(matches!(save(&store).await, Saved::Unknown(_)));
    assert!(!is_saved(&store).await);
    assert_eq!(save(&store).await, Saved::Applied);
}

#[tokio::test]
async fn a_save_is_applied_and_its_answer_lost() {
    let store = Faulty::new(Memory::default());
    store.on_saves([Fault::ApplyThenFail]);
    assert!(matches!(save(&store).await, Saved::Unknown(_)));
    assert!(is_saved(&store).await);
}

#[tokio::test]
async fn a_save_is_applied_after_its_answer() {
    let store = Faulty::new(Memory::default());
    let gate = Arc::new(Notify::new());
    store.on_saves([Fault::ApplyLater(gate.clone())]);
    assert!(matches!(save(&store).await, Saved::Unknown(_)));
    assert!(!is_saved(&store).await);
    gate.notify_one();
    until("the save is applied", || async { is_saved(&store).await.then_some(()) }).await;
}

#[tokio::test]
async fn a_held_call_waits_for_its_gate_and_a_failed_load_fails() {
    let store = Faulty::new(Memory::default());
    let gate = Arc::new(Notify::new());
    store.on_saves([Fault::Hold(gate.clone())]);
    store.on_loads([Fault::Fail, Fault::Delay(Duration::from_millis(1))]);
    let mut held = Box::pin(save(&store));
    assert!(futures_util::poll!(&mut held).is_pending());
    assert!(!is_saved(&store).await);
    gate.notify_one();
    assert_eq!(held.await, Saved::Applied);
    assert!(store.load(Kind::Cart, 1, true).await.is_err());
    assert!(store.load(Kind::Cart, 1, true).await.is_ok());
}

/// P3: a save of unknown outcome has its effect once.
#[tokio::test]
async fn an_unknown_save_is_settled_by_the_same_save_again() {
    for fault in [Fault::Lose, Fault::ApplyThenFail] {
        let store = Faulty::new(Memory::default());
        store.on_saves([fault, Fault::Fail]);
        let shared: Arc<dyn Store> = Arc::new(store.clone());
        assert_eq!(settle(&shared, Kind::Cart, 1, Expect::Absent, row(1, 10)).await, Ok(Settled::Applied));
        assert_eq!(store.inner().load(Kind::Cart, 1, true).await.unwrap().map(|row| row.version), Some(1));
    }
    let store = Faulty::new(Memory::default());
    store.on_saves([Fault::Fail]);
    let shared: Arc<dyn Store> = Arc::new(store.clone());
    let refused: Result<Settled, Reason> = settle(&shared, Kind::Cart, 1, Expect::Absent, row(1, 10)).await;
    assert!(refused.is_err());
    assert!(!is_saved(&store).await);
}
