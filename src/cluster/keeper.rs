//! Performs what a node's machine decides: reads and saves the cluster's rows, tells the host of shards, the peers and
//! the routes.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::MissedTickBehavior,
};

use super::{
    lease::Lease,
    links::Links,
    machine::{Input, Look, Machine, Note, Output, Surroundings},
    ownership::MAP_ROW,
    routes::{OwnedShard, Routes},
};
use crate::{
    codec,
    store::{Kind, SCAN_MAX, Store},
    telemetry::{clock, metrics::metrics},
};

/// How often the machine is told that time has passed: fine enough for everything that it waits for.
const TICK: Duration = Duration::from_millis(50);
/// Inputs that wait: far more than are ever on their way (a look, three saves, a handful of peers, sixteen shards). One
/// that finds no room is lost, and the machine does without: it asks or sends again what has no answer.
const INPUTS_MAX: usize = 4_096;

/// Who serves shards on this node.
pub trait Host: Send + Sync + fmt::Debug + 'static {
    /// Serves a shard from now on.
    fn adopt(&self, owned: OwnedShard);
    /// Stops to take requests for it; `settled` is told once, whether every save is settled.
    fn release(&self, shard: u16, settled: Box<dyn FnOnce(bool) + Send>);
    /// Serves it on.
    fn reopen(&self, shard: u16);
    /// Lets go of it: it was handed over.
    fn gone(&self, shard: u16);
    /// Drops it at once: somebody else has it.
    fn depose(&self, shard: u16);
    /// Routes by these from now on.
    fn route(&self, routes: Arc<Routes>);
}

/// Where a node is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It takes part, or is about to.
    Member,
    /// It has nothing left to give, or nobody to give it to.
    Drained,
    /// It gave its seat back.
    Left,
    /// Its seat was taken away.
    Replaced,
    /// It gave its seat back, because the cluster has written this record format, which this release does not read.
    Outdated(u16),
}

impl Stage {
    /// Whether nothing follows it.
    #[must_use]
    pub const fn is_last(self) -> bool {
        matches!(self, Self::Left | Self::Replaced | Self::Outdated(_))
    }
}

/// Something that happened, and what to do once the machine knows it.
type Told = (Input, Option<Box<dyn FnOnce() + Send>>);

/// A node's part in the cluster, while it lives; cheap to clone.
#[derive(Clone, Debug)]
pub struct Keeper {
    inputs: mpsc::Sender<Told>,
    stage: watch::Receiver<Stage>,
}

impl Keeper {
    /// Starts to take part. The task ends with the node's part, or when aborted.
    #[must_use]
    pub fn start(
        machine: Machine,
        store: Arc<dyn Store>,
        lease: Lease,
        host: Arc<dyn Host>,
        links: Option<Arc<dyn Links>>,
    ) -> (Self, JoinHandle<()>) {
        let (inputs, received) = mpsc::channel(INPUTS_MAX);
        let (staged, stage) = watch::channel(Stage::Member);
        let back = inputs.clone();
        let run = Run { machine, store, lease, host, links, back, staged, releasing: HashMap::new() };
        (Self { inputs, stage }, tokio::spawn(run.until_the_end(received)))
    }

    /// Tells the machine that something happened.
    pub fn tell(&self, input: Input) {
        let _ = self.inputs.try_send((input, None)); // a node that has left needs to know nothing more
    }

    /// The same, and does something once the machine knows it; `false` = it will not.
    #[must_use]
    pub fn tell_then(&self, input: Input, then: Box<dyn FnOnce() + Send>) -> bool {
        self.inputs.try_send((input, Some(then))).is_ok()
    }

    /// Where the node is in its life.
    #[must_use]
    pub fn stage(&self) -> watch::Receiver<Stage> {
        self.stage.clone()
    }
}

struct Run {
    machine: Machine,
    store: Arc<dyn Store>,
    lease: Lease,
    host: Arc<dyn Host>,
    links: Option<Arc<dyn Links>>,
    back: mpsc::Sender<Told>,
    staged: watch::Sender<Stage>,
    /// Since when shards that are to be handed over take nothing.
    releasing: HashMap<u16, u64>,
}

impl Run {
    async fn until_the_end(mut self, mut received: mpsc::Receiver<Told>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut outputs = Vec::new();
        loop {
            let (input, then) = tokio::select! {
                biased;
                told = received.recv() => told.unwrap_or((Input::Tick, None)),
                _ = ticks.tick() => (Input::Tick, None),
            };
            let now_ms = clock::boot_ms();
            let quiet = self.lease.ground(|grounds| grounds.is_quiet(now_ms));
            let around = Surroundings { now_ms, wall: clock::now(), quiet };
            self.machine.step(input, &around, &mut clock::random, &mut outputs);
            if let Some(then) = then {
                then();
            }
            for output in outputs.drain(..) {
                self.perform(output, now_ms);
            }
            if self.staged.borrow().is_last() {
                return;
            }
        }
    }

    fn perform(&mut self, output: Output, now_ms: u64) {
        match output {
            Output::Look(asked_ms) => {
                let (store, back) = (Arc::clone(&self.store), self.back.clone());
                tokio::spawn(async move {
                    let look = look(&store).await;
                    let _ = back.try_send((Input::Looked(asked_ms, look), None)); // the node may have left
                });
            }
            Output::Save(kind, id, expect, row) => {
                let (back, op_id) = (self.back.clone(), row.op_id);
                let saving = self.store.save(kind, id, expect, row, Vec::new());
                tokio::spawn(async move {
                    let saved = saving.await;
                    let _ = back.try_send((Input::Saved(op_id, saved), None)); // the node may have left
                });
            }
            Output::Renewed(from_ms) => {
                metrics().cluster_lease_renewals_total.with_label_values(&["renewed"]).inc();
                self.lease.ground(|grounds| grounds.renewed(from_ms));
            }
            Output::Forget(name, incarnation) => {
                self.lease.ground(|grounds| grounds.retain(|n, i| !(n == name && i <= incarnation)));
            }
            Output::Follow(peers) => {
                if let Some(links) = &self.links {
                    links.follow(peers);
                }
            }
            Output::Dial(peer) => {
                let Some(links) = &self.links else { return };
                let (dialling, back) = (links.is_refused(&peer.address), self.back.clone());
                tokio::spawn(async move {
                    let (name, incarnation) = (peer.name.to_string(), peer.incarnation);
                    let _ = back.try_send((Input::Dialled { name, incarnation, refused: dialling.await }, None)); // as above
                });
            }
            Output::TellMap(version) => {
                if let Some(links) = &self.links {
                    links.tell_map(version);
                }
            }
            Output::Routes(routes) => {
                metrics().cluster_map_version.set(i64::try_from(routes.map_version).unwrap_or(i64::MAX));
                self.host.route(routes);
            }
            Output::Adopt(owned) => {
                metrics().cluster_epoch_changes_total.inc();
                self.host.adopt(owned);
            }
            Output::Release(shard) => {
                self.releasing.insert(shard, now_ms);
                let back = self.back.clone();
                let settled = move |clean| {
                    let _ = back.try_send((Input::Released(shard, clean), None)); // as above
                };
                self.host.release(shard, Box::new(settled));
            }
            Output::Reopen(shard) => {
                self.releasing.remove(&shard);
                self.host.reopen(shard);
            }
            Output::Gone(shard) => {
                if let Some(since_ms) = self.releasing.remove(&shard) {
                    let took = Duration::from_millis(now_ms.saturating_sub(since_ms));
                    metrics().cluster_handover_seconds.observe(took.as_secs_f64());
                }
                self.host.gone(shard);
            }
            Output::Depose(shard) => self.host.depose(shard),
            Output::Drained => drop(self.staged.send_replace(Stage::Drained)),
            Output::Left => drop(self.staged.send_replace(Stage::Left)),
            Output::Outdated(written) => drop(self.staged.send_replace(Stage::Outdated(written))),
            Output::Replaced => {
                metrics().cluster_lease_renewals_total.with_label_values(&["lost"]).inc();
                self.lease.ground(super::lease::Grounds::lapse);
                tracing::error!("another process has this node's place: everything is dropped here");
                self.staged.send_replace(Stage::Replaced);
            }
            Output::Note(note) => tell(&note),
        }
    }
}

fn tell(note: &Note) {
    match note {
        Note::RenewalLate => metrics().cluster_lease_renewals_total.with_label_values(&["late"]).inc(),
        Note::LookFailed(why) => tracing::warn!(why, "members and map could not be read"),
        Note::Unwritable(why) => tracing::error!(why, "a row of the cluster cannot be written"),
        Note::Evicted(node, incarnation, by_session) => {
            let how = if *by_session { "session" } else { "lease" };
            metrics().cluster_evictions_total.with_label_values(&[how]).inc();
            tracing::warn!(node, incarnation, how, "evicted: its shards go to others");
        }
        Note::TookOver(shards) => tracing::info!(shards, "shards of those that are no more have new owners"),
        Note::HandedOver(shards) => tracing::info!(shards, "shards were handed over"),
        Note::FormatRaised(format) => {
            tracing::info!(format, "every member reads this record format: it is written now")
        }
        Note::Unreadable(written) => tracing::error!(
            written,
            reads = ?codec::FORMATS,
            "the cluster has written a record format that this release does not read: this node leaves"
        ),
        Note::CutOff => tracing::error!("too few other nodes can be reached: this node gives up its shards"),
        Note::BackInReach => tracing::info!("enough other nodes can be reached again"),
    }
}

/// Members and map as they are in the store. The map is read last: what it says was decided on members no newer.
async fn look(store: &Arc<dyn Store>) -> Result<Look, String> {
    // One page: as many nodes as no cluster has.
    let page = store.scan_rows(Kind::Member, None, SCAN_MAX).await.map_err(|reason| reason.to_string())?;
    let mut members = Vec::with_capacity(page.rows.len());
    for (_, row) in page.rows {
        members.push((row.version, codec::decode_member(&row.body).map_err(|error| error.to_string())?));
    }
    let row = store.load(Kind::Map, MAP_ROW, true).await.map_err(|reason| reason.to_string())?;
    let map = match row {
        Some(row) => Some((row.version, codec::decode_map(&row.body).map_err(|error| error.to_string())?)),
        None => None,
    };
    Ok(Look { members, map })
}
