//! A shop of several real nodes on one store, which the test itself serves to each of them over a socket of its own.

use std::{
    collections::BTreeMap,
    process::Command,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};

use loadtest::{
    client::{Connection, request},
    shop::Cart,
};
use serde_json::Value;
use tokio::task::JoinHandle;
use trolley::{
    actors::failpoint::VARIABLE,
    store::{Embedded, Store, embedded, remote},
};

use crate::support::{Server, TempDir, cql::Keyspace, wait::until};

/// Shards of a shop: enough that each of a few nodes has many.
pub(super) const SHARDS: usize = 64;
/// Carts that show whether every shard is served: with so many, few shards have none.
const WITNESSES: usize = 256;
/// Carts that one reader reads, one after the other.
const READERS_SHARE: usize = 32;

/// What the nodes keep their rows in.
enum Rows {
    /// A directory, served by the test.
    Served {
        store: Arc<dyn Store>,
        slow_ms: Arc<AtomicU64>,
        serving: BTreeMap<String, JoinHandle<()>>,
    },
    Database(Keyspace),
}

/// Several nodes of one shop.
pub(super) struct Shop {
    dir: TempDir,
    rows: Rows,
    nodes: BTreeMap<String, Server>,
    /// Options of single nodes.
    said: BTreeMap<String, Vec<String>>,
}

impl Shop {
    /// Starts nodes of these names on the built-in store.
    pub(super) async fn open(names: &[&str]) -> Self {
        let dir = TempDir::new("shop");
        let store = Arc::new(Embedded::open(embedded::Options::new(dir.0.join("store"))).unwrap());
        let rows = Rows::Served { store, slow_ms: Arc::default(), serving: BTreeMap::new() };
        Self { dir, rows, nodes: BTreeMap::new(), said: BTreeMap::new() }.with(names).await
    }

    /// The same on a database.
    pub(super) async fn open_on(keyspace: Keyspace, names: &[&str]) -> Self {
        let (dir, rows) = (TempDir::new("shop"), Rows::Database(keyspace));
        Self { dir, rows, nodes: BTreeMap::new(), said: BTreeMap::new() }.with(names).await
    }

    /// The same, each node with options of its own.
    pub(super) async fn open_with(said: &[(&str, Vec<String>)]) -> Self {
        let mut shop = Self::open(&[]).await;
        shop.said = said.iter().map(|(name, said)| ((*name).to_owned(), said.clone())).collect();
        let names: Vec<_> = said.iter().map(|(name, _)| *name).collect();
        shop.with(&names).await
    }

    async fn with(mut self, names: &[&str]) -> Self {
        for name in names {
            self.start(name);
        }
        self.balanced().await;
        self
    }

    /// What a node that is started from now on is told.
    pub(super) fn say(&mut self, name: &str, options: Vec<String>) {
        self.said.insert(name.to_owned(), options);
    }

    /// Starts a node that does not run.
    pub(super) fn start(&mut self, name: &str) {
        self.start_with(name, |_| {});
    }

    /// The same; it ends by itself at this deed.
    pub(super) fn start_failing(&mut self, name: &str, point: &str) {
        self.start_with(name, |command| {
            command.env(VARIABLE, point);
        });
    }

    fn start_with(&mut self, name: &str, environment: impl FnOnce(&mut Command)) {
        self.connect(name);
        let said = self.said.get(name).cloned().unwrap_or_default();
        let dir = self.dir.0.clone();
        let adjust = |command: &mut Command| {
            command
                .args(["--set", "cluster.insecure=true", "--set", &format!("actors.shards={SHARDS}")])
                .args(["--set", &format!("cluster.node_name={name}")]);
            if !said.iter().any(|option| option.starts_with("cluster.listen=")) {
                command.args(["--set", "cluster.listen=127.0.0.1:0"]);
            }
            match &self.rows {
                Rows::Served { .. } => {
                    let socket = dir.join(format!("{name}.socket/store"));
                    command.args(["--set", "store.kind=remote"]);
                    command.args(["--set", &format!("store.socket={}", socket.display())]);
                }
                Rows::Database(keyspace) => keyspace.configure_store(command),
            }
            for option in &said {
                command.args(["--set", option]);
            }
            environment(command);
        };
        let server = Server::start_with(&dir.join(name), adjust);
        self.nodes.insert(name.to_owned(), server);
    }

    /// Serves the store to a node.
    pub(super) fn connect(&mut self, name: &str) {
        if let Rows::Served { store, slow_ms, serving } = &mut self.rows
            && !serving.contains_key(name)
        {
            let listener = remote::bind(&self.dir.0.join(format!("{name}.socket/store"))).unwrap();
            let serve = remote::serve(listener, Arc::clone(store), Arc::clone(slow_ms));
            serving.insert(name.to_owned(), tokio::spawn(serve));
        }
    }

    /// Serves it no more.
    pub(super) fn disconnect(&mut self, name: &str) {
        if let Rows::Served { serving, .. } = &mut self.rows {
            serving.remove(name).unwrap().abort();
            std::fs::remove_file(self.dir.0.join(format!("{name}.socket/store"))).unwrap();
        }
    }

    pub(super) fn http(&self, name: &str) -> String {
        self.nodes[name].http.clone()
    }

    pub(super) fn node(&self, name: &str) -> &Server {
        &self.nodes[name]
    }

    /// Takes a node out, to be killed, stopped or awaited.
    pub(super) fn take(&mut self, name: &str) -> Server {
        self.nodes.remove(name).unwrap()
    }

    /// All that run, by their names.
    pub(super) fn servers(&self) -> impl Iterator<Item = (&String, &Server)> {
        self.nodes.iter()
    }

    fn names(&self) -> Vec<String> {
        self.nodes.keys().cloned().collect()
    }

    /// What a node's operators' listener says.
    pub(super) async fn admin(&self, name: &str, path: &str) -> (u16, Value) {
        let mut connection = Connection::open(&self.nodes[name].admin).await.unwrap();
        let answer = connection.ask(&request("GET", path, &[], None)).await.unwrap();
        (answer.status, answer.json())
    }

    /// A number among a node's metrics, by the start of its line.
    pub(super) async fn metric(&self, name: &str, metric: &str) -> f64 {
        let mut connection = Connection::open(&self.nodes[name].admin).await.unwrap();
        let page = connection.ask(&request("GET", "/metrics", &[], None)).await.unwrap();
        let page = String::from_utf8(page.body).unwrap();
        let line = page.lines().find(|line| line.strip_prefix(metric).is_some_and(|rest| rest.starts_with(' ')));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_else(|| panic!("no {metric} in {page}"))
    }

    /// Shards that a node serves.
    pub(super) async fn shards(&self, name: &str) -> usize {
        self.admin(name, "/admin/cluster").await.1["shards"].as_array().map_or(0, Vec::len)
    }

    /// Waits until the running nodes share all shards evenly, and have sessions with each other.
    pub(super) async fn balanced(&self) {
        let names = self.names();
        if names.is_empty() {
            return;
        }
        until("the shards are shared evenly", async || {
            let (mut all, mut most, mut least, mut sessions) = (0, 0, SHARDS, true);
            for name in &names {
                let (_, told) = self.admin(name, "/admin/cluster").await;
                let shards = told["shards"].as_array().map_or(0, Vec::len);
                (all, most, least) = (all + shards, most.max(shards), least.min(shards));
                sessions &= told["sessions"].as_array().is_some_and(|peers| peers.len() + 1 == names.len());
            }
            (all == SHARDS && most <= least + 1 && sessions).then_some(())
        })
        .await;
    }

    /// Carts that are spread over all shards.
    pub(super) async fn witnesses(&self, through: &str) -> Witnesses {
        let mut connection = Connection::open(&self.http(through)).await.unwrap();
        let mut carts = Vec::with_capacity(WITNESSES);
        for _ in 0..WITNESSES {
            carts.push(Cart::make(&mut connection).await.unwrap());
        }
        Witnesses(carts)
    }
}

/// Carts in every shard: while one of them cannot be read, its shard is dark.
pub(super) struct Witnesses(pub(super) Vec<Cart>);

impl Witnesses {
    /// Reads every cart through a node until each was answered, fresh; how long that took since `began`.
    pub(super) async fn all_served(&self, http: &str, began: Instant) -> Duration {
        futures_util::future::join_all(self.0.chunks(READERS_SHARE).map(|carts| read_all(carts, http))).await;
        began.elapsed()
    }
}

async fn read_all(carts: &[Cart], http: &str) {
    let mut connection = None;
    for cart in carts {
        until("a cart is served", async || {
            if connection.is_none() {
                connection = Connection::open(http).await.ok();
            }
            let answered = cart.read(connection.as_mut()?).await;
            let Ok(answer) = answered else {
                connection = None;
                return None;
            };
            (answer.status == 200 && answer.header("trolley-stale").is_none()).then_some(())
        })
        .await;
    }
}
