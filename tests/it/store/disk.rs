//! An embedded store whose disk stalls, fails or is full. P1: no answer tells of what is not on disk.

use std::{collections::HashSet, os::unix::fs::MetadataExt, path::Path};

use trolley::store::{Kind, Store};

use super::{
    child::StoreChild,
    contract::{open, options},
};
use crate::support::{
    TempDir,
    shim::{Shim, Trouble},
    wait::until,
};

struct Troubled {
    dir: TempDir,
    shim: Shim,
    child: StoreChild,
}

impl Troubled {
    async fn start() -> Self {
        let dir = TempDir::new("store");
        let shim = Shim::new(&options(&dir).dir);
        let mut child = StoreChild::start(&options(&dir).dir, Some(&shim)).await;
        assert_eq!(child.run("save 1 0 10").await, "applied");
        Self { dir, shim, child }
    }

    /// Sends a save again until it is settled, as an actor does.
    async fn settle(&mut self, save: &str) -> String {
        let child = tokio::sync::Mutex::new(&mut self.child);
        until("the save is settled", || async {
            let answer = child.lock().await.run(save).await;
            (answer == "applied" || answer.starts_with("lost")).then_some(answer)
        })
        .await
    }

    /// The child's process ends; what its directory then holds of a row.
    async fn on_disk(self, id: u128) -> Option<u128> {
        self.child.kill();
        open(&self.dir).load(Kind::Cart, id, true).await.unwrap().map(|row| row.op_id)
    }
}

/// The files, by inode, that hold a store's journals.
fn journals(dir: &Path) -> HashSet<u64> {
    let files = std::fs::read_dir(dir.join("db")).unwrap().map(Result::unwrap);
    files
        .filter(|file| file.path().extension().is_some_and(|extension| extension == "jnl"))
        .map(|file| file.metadata().unwrap().ino())
        .collect()
}

#[tokio::test]
async fn no_answer_leaves_before_its_sync_is_done() {
    let mut troubled = Troubled::start().await;
    troubled.shim.begin(Trouble::HoldSyncs);
    let child = &mut troubled.child;
    let mut held = vec![child.ask("save 1 1 11")];
    troubled.shim.met(Trouble::HoldSyncs).await;
    held.extend(["save 2 0 20", "save 1 0 12", "put key"].map(|command| child.ask(command)));
    for _ in 0..20 {
        // Answers that had left would come in among these.
        assert_eq!(child.run("load 1").await, "saved by 10");
        assert_eq!(child.run("load 2").await, "absent");
    }
    for asked in &held {
        assert!(!child.has_answered(*asked), "{}", child.answer(*asked).await);
    }
    troubled.shim.end(Trouble::HoldSyncs);
    assert_eq!(child.answer(held[0]).await, "applied");
    assert_eq!(child.answer(held[1]).await, "applied");
    assert_eq!(child.answer(held[2]).await, "lost to 11");
    assert_eq!(child.answer(held[3]).await, "put");
    assert_eq!(child.run("load 1").await, "saved by 11");
}

#[tokio::test]
async fn a_failed_sync_is_never_answered_as_done_and_the_save_is_settled_later() {
    let mut troubled = Troubled::start().await;
    troubled.shim.begin(Trouble::FailSyncs);
    let answer = troubled.child.run("save 1 1 11").await;
    assert!(answer.starts_with("unknown"), "{answer}");
    troubled.shim.met(Trouble::FailSyncs).await;

    // Writes are refused as long as syncs fail, reads go on and show nothing that may be lost.
    for version in [1, 2] {
        let answer = troubled.child.run(&format!("save 1 {version} 12")).await;
        assert!(answer.starts_with("refused"), "{answer}");
    }
    assert!(troubled.child.run("put key").await.starts_with("failed"));
    assert!(troubled.child.run("health").await.starts_with("refuses"));
    assert_eq!(troubled.child.run("load 1").await, "saved by 10");

    troubled.shim.end(Trouble::FailSyncs);
    let settled = troubled.settle("save 1 1 11").await;
    assert!(settled == "applied" || settled == "lost to 11", "{settled}");
    assert_eq!(troubled.child.run("health").await, "well");
    assert_eq!(troubled.child.run("load 1").await, "saved by 11");
    assert_eq!(troubled.child.run("save 1 2 13").await, "applied");
    assert_eq!(troubled.on_disk(1).await, Some(13));
}

#[tokio::test]
async fn a_full_disk_refuses_writes_keeps_reads_and_recovers_by_itself() {
    let mut troubled = Troubled::start().await;
    troubled.shim.begin(Trouble::Full);
    let answer = troubled.child.run("save 1 1 11").await;
    assert!(answer.starts_with("unknown: the disk is full"), "{answer}");
    troubled.shim.met(Trouble::Full).await;
    let answer = troubled.child.run("save 2 0 20").await;
    assert!(answer.starts_with("refused: the disk is full"), "{answer}");
    assert_eq!(troubled.child.run("load 1").await, "saved by 10");

    troubled.shim.end(Trouble::Full);
    let child = tokio::sync::Mutex::new(&mut troubled.child);
    // Without any write that asks for it.
    until("the store is well", || async { (child.lock().await.run("health").await == "well").then_some(()) }).await;
    let settled = troubled.settle("save 1 1 11").await;
    assert!(settled == "applied" || settled == "lost to 11", "{settled}");
    assert_eq!(troubled.child.run("save 2 0 21").await, "applied");
    assert_eq!(troubled.on_disk(2).await, Some(21));
}

#[tokio::test]
async fn what_recovery_shows_has_been_written_anew() {
    let mut troubled = Troubled::start().await;
    troubled.shim.begin(Trouble::FailSyncs);
    assert!(troubled.child.run("save 1 1 11").await.starts_with("unknown"));
    let doubtful = journals(&options(&troubled.dir).dir);
    // While syncs are held nothing can be made certain, so the store must not take the old bytes for granted.
    troubled.shim.begin(Trouble::HoldSyncs);
    troubled.shim.end(Trouble::FailSyncs);
    troubled.shim.met(Trouble::HoldSyncs).await;
    for _ in 0..20 {
        assert!(troubled.child.run("health").await.starts_with("refuses"));
        assert_eq!(troubled.child.run("load 1").await, "saved by 10");
    }
    troubled.shim.end(Trouble::HoldSyncs);
    let settled = troubled.settle("save 1 1 11").await;
    assert!(settled == "applied" || settled == "lost to 11", "{settled}");
    // The kernel never writes again what it once failed to sync: only other files can hold it for certain.
    let certain = journals(&options(&troubled.dir).dir);
    assert!(!doubtful.is_empty() && doubtful.is_disjoint(&certain), "{doubtful:?} {certain:?}");
    assert_eq!(troubled.on_disk(1).await, Some(11));
}
