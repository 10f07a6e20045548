//! This node among the others: its seat, its lease, the way to its peers, what it serves them.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use super::Error;
use crate::{
    actors::{self, Inbound, System},
    cli::config::Config,
    cluster::{
        self, Identity, Input, Keeper, Lane, Lease, Machine, Rules, Seat, Stage,
        transport::{Cookie, Granted, Loss, Options, Peers, Reply, Serve, Tls},
    },
    codec::ClusterKeys,
    http,
    store::Store,
    telemetry::clock,
};

/// How long a node that leaves tries to say so.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
/// What the cookie is derived for: another purpose gets another key.
const COOKIE_PURPOSE: &[u8] = b"trolley cluster cookie 1";

/// Where this node's listeners are.
pub(super) struct Addresses {
    pub(super) http: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) cluster: Option<String>,
}

/// A node that has its seat and does not serve yet.
pub(super) struct Joined {
    seat: Seat,
    rules: Rules,
    pub(super) keys: ClusterKeys,
    pub(super) node: actors::Node,
}

/// Takes a seat under this node's name; makes what a new cluster needs first.
pub(super) async fn join(config: &Config, store: &Arc<dyn Store>, addresses: &Addresses) -> Result<Joined, Error> {
    let shards = config.actors_shards;
    if !cluster::is_made(store, shards).await? {
        actors::prepare(store, shards).await.map_err(actors::system::StartError::Store)?;
    }
    let identity = Identity {
        name: config.cluster_node_name.as_str().into(),
        http: addresses.http.to_string(),
        admin: addresses.admin.to_string(),
        cluster: addresses.cluster.clone().unwrap_or_default(),
        release: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let keys = cluster::shared_keys(store, clock::now(), clock::random).await?;
    let seat = cluster::join(store, &identity, clock::now(), &clock::random).await?;
    let alone = store.is_exclusive();
    let lease = if alone { Lease::for_ever() } else { Lease::ungranted() };
    let node = actors::Node { name: identity.name, incarnation: seat.incarnation(), lease, links: None };
    Ok(Joined { seat, rules: Rules { shards, alone, connected: false }, keys, node })
}

impl Joined {
    /// Opens the way to the others.
    pub(super) async fn linked(mut self, listener: TcpListener, config: &Config) -> Result<(Self, Way), Error> {
        let late = Arc::new(Late { ready: OnceLock::new(), lease: self.node.lease.clone() });
        let options = Options {
            node: Arc::clone(&self.node.name),
            incarnation: self.node.incarnation,
            cookie: cookie(&self.keys),
            tls: tls(config)?,
        };
        let peers = Peers::start(listener, options, Arc::clone(&late) as Arc<dyn Serve>).await?;
        self.rules.connected = true;
        self.node.links = Some(Arc::new(peers.clone()));
        Ok((self, Way { late, peers }))
    }

    /// Begins to take part: from now on the cluster says which shards are served here.
    pub(super) fn take_part(self, system: &System, store: Arc<dyn Store>) -> Part {
        let machine = Machine::new(self.rules, self.seat);
        let (keeper, task) = Keeper::start(machine, store, self.node.lease, system.host(), self.node.links);
        Part { stage: keeper.stage(), keeper, task }
    }
}

/// This node's part in the cluster.
pub(super) struct Part {
    pub(super) keeper: Keeper,
    stage: watch::Receiver<Stage>,
    task: JoinHandle<()>,
}

impl Part {
    /// Waits until this node has no seat any more though nobody told it to leave; why.
    pub(super) async fn ended(&mut self) -> Error {
        match self.stage.wait_for(|stage| stage.is_last()).await.as_deref() {
            Ok(Stage::Outdated(written)) => {
                Error::Cluster(cluster::Error::Format { written: *written, reads: crate::codec::FORMATS })
            }
            Ok(_) => Error::Replaced,
            Err(_) => std::future::pending().await,
        }
    }

    /// Hands over every shard, as far as there is somebody to take it.
    pub(super) async fn hand_over(&mut self) {
        self.keeper.tell(Input::Drain);
        let _ = self.stage.wait_for(|stage| *stage != Stage::Member).await; // the task ended: nothing is left to give
    }

    /// Gives the seat back: whoever comes next need not wait.
    pub(super) async fn leave(mut self) {
        self.keeper.tell(Input::Leave);
        let left = self.stage.wait_for(|stage| stage.is_last());
        if tokio::time::timeout(LEAVE_TIMEOUT, left).await.is_err() {
            tracing::warn!("the store does not take this node's farewell: its successor waits for its lease to end");
        }
        self.task.abort();
    }
}

/// The way to the others, and what they may ask.
pub(super) struct Way {
    late: Arc<Late>,
    pub(super) peers: Peers,
}

impl Way {
    /// From now on peers are answered, and the cluster hears of them.
    pub(super) fn open(&self, system: &System, keeper: &Keeper) {
        let _ = self.late.ready.set((Inbound::new(system.handle(), http::rendered), keeper.clone())); // opened once
    }
}

/// Serves peers once there is something to serve them; before that, what they ask is dropped.
struct Late {
    ready: OnceLock<(Inbound, Keeper)>,
    lease: Lease,
}

impl Serve for Late {
    fn serve(&self, _: &Arc<str>, _: Lane, body: Bytes, deadline: Duration, reply: Reply) {
        let Some((inbound, _)) = self.ready.get() else { return };
        match inbound.answer_at_once(&body) {
            Ok(answer) => reply.send(answer),
            Err(request) => {
                // As many at once as the peers have credits.
                let inbound = inbound.clone();
                tokio::spawn(async move { reply.send(inbound.answer(*request, deadline).await) });
            }
        }
    }

    fn told(&self, _: &Arc<str>, map_version: u64) {
        if let Some((_, keeper)) = self.ready.get() {
            keeper.tell(Input::Hint(map_version));
        }
    }

    fn opening(&self, name: &Arc<str>, incarnation: u64) {
        self.lease.ground(|grounds| grounds.met(name, incarnation, clock::boot_ms()));
    }

    fn met(&self, name: &Arc<str>, incarnation: u64, granted: Granted) -> bool {
        let Some((_, keeper)) = self.ready.get() else { return false };
        // Answered once the machine suspects it no more: the peer's lease rests on that answer.
        keeper.tell_then(Input::PeerUp(name.to_string(), incarnation), Box::new(|| granted.now()))
    }

    fn lost(&self, name: &Arc<str>, incarnation: u64, how: Loss) {
        if let Some((_, keeper)) = self.ready.get() {
            keeper.tell(Input::PeerLost { name: name.to_string(), incarnation, reset: how == Loss::Reset });
        }
    }

    fn heard(&self, name: &Arc<str>, incarnation: u64, sent_ms: u64) {
        self.lease.ground(|grounds| grounds.heard(name, incarnation, sent_ms, clock::boot_ms()));
    }
}

/// The cluster's second factor, beside certificates: whoever may read its keys can have it.
fn cookie(keys: &ClusterKeys) -> Cookie {
    let mut mac = [0; 32];
    if let Some((_, key)) = keys.guest_mac.last()
        && let Ok(mut hmac) = Hmac::<Sha256>::new_from_slice(key)
    {
        hmac.update(COOKIE_PURPOSE);
        mac.copy_from_slice(&hmac.finalize().into_bytes());
    }
    Cookie(mac)
}

fn tls(config: &Config) -> Result<Option<Tls>, Error> {
    if config.cluster_insecure {
        return Ok(None);
    }
    match (&config.cluster_tls_ca, &config.cluster_tls_cert, &config.cluster_tls_key) {
        (Some(ca), Some(cert), Some(key)) => Ok(Some(Tls::load(ca, cert, key)?)),
        _ => Err(Error::NoCertificate),
    }
}
