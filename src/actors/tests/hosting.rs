//! The cluster's orders, however soon one follows another: an adoption takes a moment, and never outlives the next.

use std::sync::mpsc::{Receiver, sync_channel};

use super::*;
use crate::{
    cluster::{Host, OwnedShard},
    domain::ShardId,
};

/// A node that the cluster has told nothing yet.
async fn idle() -> (System, Arc<dyn Host>) {
    let node = Node { name: "n1".into(), incarnation: 1, lease: Lease::for_ever(), links: None };
    let system = System::start(options(), Arc::new(Memory::default()), node).await.unwrap();
    let host = system.host();
    (system, host)
}

fn owned(shard: u16, epoch: u64) -> OwnedShard {
    OwnedShard { shard: ShardId(shard), epoch, fence: 1, closed_at: None }
}

fn release(host: &Arc<dyn Host>, shard: u16) -> Receiver<bool> {
    let (told, settled) = sync_channel(1);
    host.release(shard, Box::new(move |clean| told.send(clean).unwrap()));
    settled
}

/// What is served once every order before is carried out: the supervisor takes them in turn, and the last is seen.
async fn served(system: &System, host: &Arc<dyn Host>) -> Vec<(u16, u64)> {
    host.adopt(owned(3, 1));
    let all = || system.handle().cluster_status().shards;
    while !all().iter().any(|owned| owned.shard == 3) {
        tokio::task::yield_now().await;
    }
    all().iter().filter(|owned| owned.shard != 3).map(|owned| (owned.shard, owned.epoch)).collect()
}

#[tokio::test]
async fn p2_a_shard_that_is_let_go_before_it_was_served_never_is() {
    let (system, host) = idle().await;
    host.adopt(owned(0, 1));
    assert_eq!(release(&host, 0).try_recv(), Ok(true), "nothing of it has begun");
    host.gone(0);
    host.adopt(owned(1, 1));
    host.depose(1);
    assert_eq!(served(&system, &host).await, []);
}

#[tokio::test]
async fn a_shard_that_is_kept_after_all_is_served_as_the_last_order_says() {
    let (system, host) = idle().await;
    host.adopt(owned(0, 1));
    assert_eq!(release(&host, 0).try_recv(), Ok(true));
    host.reopen(0);
    host.adopt(owned(1, 1));
    host.gone(1);
    host.adopt(owned(1, 3));
    host.adopt(owned(2, 1));
    let _settled = release(&host, 2);
    assert_eq!(served(&system, &host).await, [(0, 1), (1, 3)], "the third waits to be handed over");
    host.reopen(2);
    let ground = system.handle();
    while ground.cluster_status().shards.len() < 4 {
        tokio::task::yield_now().await;
    }
    assert!(ground.cluster_status().moving.is_empty());
}

#[tokio::test]
async fn what_an_earlier_ownership_left_behind_stands_in_nobodys_way() {
    let (system, host) = idle().await;
    // Fenced, the first ownership ends without an order to let go.
    host.adopt(owned(0, 1));
    assert_eq!(served(&system, &host).await, [(0, 1)]);
    host.adopt(owned(0, 5));
    assert_eq!(release(&host, 0).try_recv(), Ok(true), "nothing of the new one has begun");
    host.reopen(0);
    host.adopt(owned(1, 5));
    while !system.handle().cluster_status().shards.iter().any(|owned| owned.shard == 1) {
        tokio::task::yield_now().await;
    }
    assert_eq!(served(&system, &host).await, [(0, 5), (1, 5)]);
}
