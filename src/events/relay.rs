//! Takes events from actors and tells them when every sink has them.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::timeout,
};

use super::{
    dead::{DeadLetters, DeadPage},
    lane::{Lane, Patience},
    outgoing::Outgoing,
    sink::{Sink, SinkError},
    spill::Spill,
    task::{Offered, Worker},
};
use crate::{
    store::{Reason, Store},
    telemetry::{clock, metrics::metrics},
};

/// How the relay behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Actors with an offer here at once; more are told "later".
    pub offers_max: usize,
    /// What the events here may weigh; more are told "later". At least a row's events must fit.
    pub bytes_max: usize,
    /// How patient it is with a sink.
    pub patience: Patience,
}

impl Default for Options {
    /// For a node with half a gigabyte of actors: a thirtieth of that for events on their way.
    fn default() -> Self {
        Self { offers_max: 4_096, bytes_max: 16 * 1024 * 1024, patience: Patience::default() }
    }
}

/// Whoever is told what became of an offer: once. `true` = no sink needs the events any more, `false` = offer them again
/// later.
pub struct Done(Option<Box<dyn FnOnce(bool) + Send>>);

impl Done {
    /// Calls `tell`. It runs on the relay's tasks: it must not wait.
    pub fn new(tell: impl FnOnce(bool) + Send + 'static) -> Self {
        Self(Some(Box::new(tell)))
    }

    fn tell(mut self, published: bool) {
        if let Some(tell) = self.0.take() {
            tell(published);
        }
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        if let Some(tell) = self.0.take() {
            tell(false);
        }
    }
}

impl fmt::Debug for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Done")
    }
}

/// Events that are committed in their actor's row.
#[derive(Debug)]
pub struct Offer {
    /// Whose they are: its id as text.
    pub actor: Box<str>,
    /// The unsent ones, oldest first.
    pub events: Vec<Outgoing>,
    /// Whether older ones were spilled ([`Relay::spill`]): those are delivered first, and forgotten.
    pub spilled: bool,
    /// Is told what became of it, unless it was not taken.
    pub done: Done,
}

/// Why a dead letter was not delivered again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// There is none.
    #[error("there is no such dead letter")]
    NotFound,
    /// Its sink is not among those that run now.
    #[error("the sink {0} is not among those of this node's configuration")]
    NoSink(Box<str>),
    /// The sink did not take it this time either; it stays.
    #[error("the sink did not take it: {0}")]
    Sink(#[from] SinkError),
    /// The list cannot be read or changed.
    #[error("{0}")]
    Store(#[from] Reason),
}

/// Takes events from actors and tells them when every sink has them. Clones are the same relay.
#[derive(Clone, Debug)]
pub struct Relay(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    table: Arc<Table>,
    lanes: Vec<(Arc<dyn Sink>, mpsc::Sender<Offered>)>,
    runtime: Handle,
    spill: Spill,
    dead: DeadLetters,
    options: Options,
    stop: watch::Sender<bool>,
    workers: Mutex<JoinSet<()>>,
}

impl Relay {
    /// Starts one lane for each sink, on the runtime that this is called on.
    #[must_use]
    pub fn start(sinks: Vec<Arc<dyn Sink>>, store: Arc<dyn Store>, options: Options) -> Self {
        let (table, dead) = (Arc::new(Table::default()), DeadLetters::new(store.clone()));
        let (stop, stopped) = watch::channel(false);
        let mut workers = JoinSet::new();
        let started_at = clock::now();
        let lanes = sinks.into_iter().map(|sink| {
            // As many as the table holds: sending never has to wait.
            let (sender, inbox) = mpsc::channel(options.offers_max.max(1));
            let lane = Lane::new(options.patience.clone(), started_at);
            let (table, dead, stop) = (table.clone(), dead.clone(), stopped.clone());
            workers.spawn(Worker { sink: sink.clone(), lane, inbox, table, dead, stop }.run());
            (sink, sender)
        });
        let lanes = lanes.collect();
        let (runtime, spill) = (Handle::current(), Spill::new(store));
        let workers = Mutex::new(workers);
        Self(Arc::new(Inner { table, lanes, runtime, spill, dead, options, stop, workers }))
    }

    /// Whether there is no sink: then no event needs to be made.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.0.lanes.is_empty()
    }

    /// Takes an actor's events, without waiting. `false` = not taken, and `done` is never told: the relay is full or
    /// stops, or the actor's last offer has not ended. The actor keeps its events and offers them again later.
    #[must_use]
    pub fn offer(&self, offer: Offer) -> bool {
        let Offer { actor, mut events, spilled, mut done } = offer;
        // The order is what actors are promised, so it is not left to chance.
        events.sort_by_key(Outgoing::sequence);
        events.dedup_by_key(|event| event.sequence());
        let actor: Arc<str> = actor.into();
        let taken = if spilled && !self.is_idle() {
            let drain = self.0.table.begin_drain(&actor, self.0.options.offers_max);
            drain.inspect(|()| {
                let (relay, actor, done) = (self.clone(), actor, Done(done.0.take()));
                self.0.runtime.spawn(async move { relay.drain(actor, events, done).await });
            })
        } else {
            self.submit(actor, events, &mut done, false)
        };
        if let Err(why) = taken {
            metrics().events_offers_refused_total.with_label_values(&[why]).inc();
            done.0 = None;
        }
        taken.is_ok()
    }

    /// Keeps the oldest unsent events of an actor whose row has no room for them; call it before the save that takes
    /// them out of the row, and say `spilled` in later offers until one of them is published.
    ///
    /// # Errors
    /// Why the store did not take them: the row must keep them.
    pub async fn spill(&self, actor: &str, events: &[Outgoing]) -> Result<(), Reason> {
        self.0.spill.put(actor, events).await
    }

    /// Events that sinks did not take, oldest first.
    ///
    /// # Errors
    /// Why the store cannot tell.
    pub async fn dead(&self, cursor: Option<&str>) -> Result<DeadPage, Reason> {
        self.0.dead.list(cursor).await
    }

    /// Delivers a dead letter again, out of order, and forgets it when its sink takes it.
    ///
    /// # Errors
    /// [`ReplayError`]: the letter stays.
    pub async fn replay(&self, id: &str) -> Result<(), ReplayError> {
        let letter = self.0.dead.get(id).await?.ok_or(ReplayError::NotFound)?;
        let sink = self.0.lanes.iter().map(|(sink, _)| sink).find(|sink| sink.name() == &*letter.sink);
        let sink = sink.ok_or_else(|| ReplayError::NoSink(letter.sink.clone()))?;
        sink.deliver(std::slice::from_ref(&letter.event)).await?;
        Ok(self.0.dead.remove(id).await?)
    }

    /// Forgets a dead letter.
    ///
    /// # Errors
    /// Why the store did not.
    pub async fn forget(&self, id: &str) -> Result<(), Reason> {
        self.0.dead.remove(id).await
    }

    /// Takes no more offers, waits for what is under way, at most `patience`, and tells the others "later".
    pub async fn stop(&self, patience: Duration) {
        self.0.table.stop();
        self.0.stop.send_replace(true);
        let mut workers = std::mem::take(&mut *lock(&self.0.workers));
        if timeout(patience, async { while workers.join_next().await.is_some() {} }).await.is_err() {
            workers.shutdown().await;
        }
    }

    fn submit(
        &self,
        actor: Arc<str>,
        events: Vec<Outgoing>,
        done: &mut Done,
        is_drain: bool,
    ) -> Result<(), &'static str> {
        let mut taken = Done(done.0.take());
        if events.is_empty() || self.is_idle() {
            taken.tell(true);
            return Ok(());
        }
        let weight = events.iter().map(Outgoing::weight).sum();
        let begun = self.0.table.begin(&actor, self.0.lanes.len(), weight, &mut taken, &self.0.options, is_drain);
        if begun.is_err() {
            done.0 = taken.0.take();
            return begun;
        }
        let events: Arc<[Outgoing]> = events.into();
        for (_, sender) in &self.0.lanes {
            // A lane that stopped will not deliver: later, by another relay.
            if sender.try_send((actor.clone(), events.clone())).is_err() {
                self.0.table.end(&actor, false);
            }
        }
        Ok(())
    }

    /// Delivers what an actor spilled, page by page, and then the rest.
    async fn drain(&self, actor: Arc<str>, events: Vec<Outgoing>, done: Done) {
        let drain = Drain { table: &self.0.table, actor: &actor };
        let published = self.drain_pages(&actor, events).await;
        drop(drain);
        done.tell(published);
    }

    async fn drain_pages(&self, actor: &Arc<str>, events: Vec<Outgoing>) -> bool {
        loop {
            let page = match self.0.spill.oldest(actor).await {
                Ok(page) if page.is_empty() => return self.deliver(actor, events).await,
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(%error, %actor, "spilled events cannot be read");
                    return false;
                }
            };
            if !self.deliver(actor, page.clone()).await {
                return false;
            }
            if let Err(error) = self.0.spill.remove(actor, &page).await {
                tracing::warn!(%error, %actor, "spilled events are delivered but not forgotten");
                return false;
            }
        }
    }

    async fn deliver(&self, actor: &Arc<str>, events: Vec<Outgoing>) -> bool {
        let (told, published) = oneshot::channel();
        let mut done = Done::new(move |published| {
            // Whoever asked may be gone.
            let _ = told.send(published);
        });
        let taken = self.submit(actor.clone(), events, &mut done, true);
        drop(done);
        taken.is_ok() && published.await.unwrap_or(false)
    }
}

/// Every offer that has not ended, of all lanes.
#[derive(Debug, Default)]
pub(super) struct Table(Mutex<Offers>);

#[derive(Debug, Default)]
struct Offers {
    open: HashMap<Arc<str>, Open>,
    /// Actors whose spilled events are being delivered.
    draining: HashSet<Arc<str>>,
    bytes: usize,
    stopping: bool,
}

#[derive(Debug)]
struct Open {
    /// Lanes that have not told yet.
    lanes: usize,
    /// Whether all that have told needed nothing any more.
    published: bool,
    weight: usize,
    done: Done,
}

impl Table {
    fn begin(
        &self,
        actor: &Arc<str>,
        lanes: usize,
        weight: usize,
        done: &mut Done,
        options: &Options,
        is_drain: bool,
    ) -> Result<(), &'static str> {
        let mut offers = lock(&self.0);
        offers.admits(actor, is_drain)?;
        if offers.open.len() >= options.offers_max || offers.bytes.saturating_add(weight) > options.bytes_max {
            return Err("full");
        }
        offers.bytes += weight;
        let done = Done(done.0.take());
        offers.open.insert(actor.clone(), Open { lanes, published: true, weight, done });
        Ok(())
    }

    fn begin_drain(&self, actor: &Arc<str>, offers_max: usize) -> Result<(), &'static str> {
        let mut offers = lock(&self.0);
        offers.admits(actor, false)?;
        if offers.draining.len() >= offers_max {
            return Err("full");
        }
        offers.draining.insert(actor.clone());
        Ok(())
    }

    /// A lane needs an actor's events no more (`published`), or sends them back.
    pub(super) fn end(&self, actor: &Arc<str>, published: bool) {
        let mut offers = lock(&self.0);
        let Some(open) = offers.open.get_mut(actor) else { return };
        open.lanes = open.lanes.saturating_sub(1);
        open.published &= published;
        if open.lanes > 0 {
            return;
        }
        let Some(Open { published, weight, done, .. }) = offers.open.remove(actor) else { return };
        offers.bytes = offers.bytes.saturating_sub(weight);
        // Whoever is told may offer again at once.
        drop(offers);
        done.tell(published);
    }

    fn stop(&self) {
        lock(&self.0).stopping = true;
    }
}

/// An actor's spilled events are being delivered, until this is dropped.
struct Drain<'a> {
    table: &'a Table,
    actor: &'a Arc<str>,
}

impl Drop for Drain<'_> {
    fn drop(&mut self) {
        lock(&self.table.0).draining.remove(self.actor);
    }
}

impl Offers {
    fn admits(&self, actor: &Arc<str>, is_drain: bool) -> Result<(), &'static str> {
        if self.stopping {
            return Err("stopping");
        }
        let is_open = self.open.contains_key(actor) || (!is_drain && self.draining.contains(actor));
        if is_open { Err("open") } else { Ok(()) }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is complete before the lock is given back.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
