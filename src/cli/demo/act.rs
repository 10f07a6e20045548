//! Does what was commanded.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use hyper::Method;
use serde_json::json;
use tokio::sync::Mutex;

use super::{
    commands::Command,
    door::{Door, Question},
    ledger::{Ledger, Totals},
    locked,
    nodes::{Fleet, Shown},
    shoppers::Load,
    show::{self, Said},
};

/// How long a node may take to tell its shards: a status is looked at when something is wrong.
const STATUS_PATIENCE: Duration = Duration::from_millis(500);

/// The demo as it runs.
pub(super) struct World {
    pub(super) fleet: Fleet,
    pub(super) dir: PathBuf,
    load: Mutex<Option<Load>>,
    is_loaded: AtomicBool,
    /// Of the load that runs, or of the last one.
    ledger: std::sync::Mutex<Option<Arc<Ledger>>>,
}

impl World {
    pub(super) fn new(fleet: Fleet, dir: PathBuf) -> Self {
        Self {
            fleet,
            dir,
            load: Mutex::default(),
            is_loaded: AtomicBool::new(false),
            ledger: std::sync::Mutex::default(),
        }
    }

    /// What the shoppers were told so far, if any were sent.
    pub(super) fn totals(&self) -> Option<Totals> {
        locked(&self.ledger).as_ref().map(|ledger| ledger.totals())
    }

    /// The same while there are shoppers.
    pub(super) fn live(&self) -> Option<Totals> {
        self.totals().filter(|_| self.is_loaded.load(Ordering::Relaxed))
    }

    pub(super) async fn act(&self, command: Command) -> Result<Said, String> {
        let fleet = &self.fleet;
        match command {
            Command::Kill(name) => fleet.kill(&name).await.map(|()| node(&name, "is killed")),
            Command::Pause(name) => fleet.pause(&name).await.map(|()| node(&name, "is paused")),
            Command::Resume(name) => fleet.resume(&name).await.map(|()| node(&name, "goes on")),
            Command::Restart(name) => fleet.restart(&name).await.map(|()| self.started(&name, "is ready again")),
            Command::Drain(name) => fleet.drain(&name).await.map(|()| node(&name, "has left")),
            Command::Start(name) => fleet.start(&name).await.map(|()| self.started(&name, "is ready")),
            Command::Add => fleet.add().await.map(|name| self.started(&name, "is ready")),
            Command::Slow(ms) => fleet.shared.slow(ms).map(|()| {
                let text = if ms == 0 {
                    "the store is as fast as it is".to_owned()
                } else {
                    format!("the store takes {ms} ms more")
                };
                Said::new(text, json!({ "slow_ms": ms }))
            }),
            Command::Load(Some(rate)) => self.load_on(rate).await,
            Command::Load(None) => self.load_off().await,
            Command::Ledger => Ok(self.ledger(self.load.lock().await.is_some())),
            Command::Status => Ok(self.status().await),
            Command::Help => Ok(Said::new(show::help(), json!({ "help": show::help() }))),
            Command::Quit => {
                let was_loaded = self.load.lock().await.is_some();
                if was_loaded { self.load_off().await } else { Ok(Said::new("stopping", json!({}))) }
            }
        }
    }

    async fn load_on(&self, rate: u32) -> Result<Said, String> {
        let mut load = self.load.lock().await;
        if let Some(load) = load.as_ref() {
            return Err(format!("the load is on already, at {} adds a second; `load off` first", load.rate));
        }
        let ledger = Arc::<Ledger>::default();
        let admins = self.fleet.shown().into_iter().map(|node| node.admin).collect();
        *load = Some(Load::start(rate, self.fleet.doors.subscribe(), admins, &ledger).await?);
        *locked(&self.ledger) = Some(ledger);
        self.is_loaded.store(true, Ordering::Relaxed);
        Ok(Said::new(format!("shoppers add {rate} times a second"), json!({ "rate": rate })))
    }

    async fn load_off(&self) -> Result<Said, String> {
        let load = self.load.lock().await.take().ok_or("the load is off already")?;
        load.finish().await;
        self.is_loaded.store(false, Ordering::Relaxed);
        Ok(self.ledger(false))
    }

    fn ledger(&self, is_running: bool) -> Said {
        match self.totals() {
            Some(totals) => Said::new(show::ledger_line(&totals), json!({ "ledger": totals, "load": is_running })),
            None => Said::new("no shopper yet; `load on` sends some", json!({ "ledger": null, "load": false })),
        }
    }

    fn started(&self, name: &str, what: &str) -> Said {
        match self.fleet.shown().into_iter().find(|node| node.name == name) {
            Some(Shown { pid, http, admin, .. }) => Said::new(
                format!("{name} {what}: http://{http}"),
                json!({ "name": name, "pid": pid, "http": http.to_string(), "admin": admin.to_string() }),
            ),
            None => node(name, what),
        }
    }

    async fn status(&self) -> Said {
        let shown = self.fleet.shown();
        let shards = join_all(shown.iter().map(shards)).await;
        let nodes: Vec<_> = shown.into_iter().zip(shards).collect();
        let mut said = show::status(&nodes, &self.dir);
        if let Some(totals) = self.totals() {
            said.text = format!("{}\n{}", said.text, show::ledger_line(&totals));
            said.fields.insert("ledger".to_owned(), json!(totals));
        }
        said
    }
}

fn node(name: &str, what: &str) -> Said {
    Said::new(format!("{name} {what}"), json!({ "name": name }))
}

/// How many shards the node says that it owns.
async fn shards(node: &Shown) -> Option<usize> {
    if !node.answers {
        return None;
    }
    let answer = Door::new(node.admin).ask(&Question::new(Method::GET, "/admin/cluster"), STATUS_PATIENCE).await?;
    answer.json()["shards"].as_array().map(Vec::len)
}
