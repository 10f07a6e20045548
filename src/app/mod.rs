//! The composition root: store, cluster, actors, catalogue, listeners, in this order; stopped in reverse.

mod node;
mod payments;

use std::{
    fs,
    io::{self, Read as _},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::http::HeaderValue;
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

use self::node::Addresses;
use crate::{
    actors::{self, Shop, System},
    catalog::{self, Catalog},
    cli::config::{CHECKOUT_LIFE_MAX, Config, StoreKind},
    cluster::{self, Input},
    domain::pricing::Tables,
    events::{self, Relay},
    http::{self, App, Availabilities, Cors, GuestTokens, Parts, admin::Admin, serve::Limits},
    payments::stripe,
    store::{Cql, Embedded, Memory, Reason, Remote, Store, cql, embedded, remote},
};

/// Connections of the operators' listener: probes, a scraper, a few people.
const ADMIN_CONNECTIONS_MAX: usize = 64;

/// Why the node does not start, or did not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store.
    #[error(transparent)]
    Open(#[from] StoreError),
    /// Ownership.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// The actors.
    #[error(transparent)]
    Actors(#[from] actors::system::StartError),
    /// The catalogue.
    #[error(transparent)]
    Catalog(#[from] catalog::Error),
    /// The catalogue's file.
    #[error("catalog.path {path}: {why}; `trolley catalog check` lists every fault")]
    CatalogFile {
        /// Which file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// The options about Stripe.
    #[error("payments.stripe: {0}")]
    Stripe(#[from] stripe::OptionsError),
    /// The file of shipping and taxes.
    #[error("pricing.path {path}: {why}")]
    PricingFile {
        /// Which file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// The sinks of events.
    #[error("events: {0}")]
    Events(#[from] events::WrongEndpoint),
    /// A listener.
    #[error("{what} cannot listen on {address}: {why}; is another node running?")]
    Listen {
        /// Which option.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why not.
        why: io::Error,
    },
    /// The cluster's keys.
    #[error(transparent)]
    Keys(#[from] http::token::NoKey),
    /// This node's place was taken away: it was silent for too long, or another process has its name.
    #[error(
        "the others took over this node's shards, because it was silent for too long or another process has its name; start it again, and see that each node has a cluster.node_name of its own"
    )]
    Replaced,
    /// The way to the other nodes.
    #[error(transparent)]
    Transport(#[from] cluster::transport::Error),
    /// Nodes would talk in plain text without anybody having said so.
    #[error(
        "several nodes can share this store, so they prove who they are: set cluster.tls_ca, cluster.tls_cert and cluster.tls_key, or for a trial start with --insecure"
    )]
    NoCertificate,
    /// Signals cannot be awaited.
    #[error("signals cannot be awaited: {0}")]
    Signals(io::Error),
}

/// Why the store does not open.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The data directory.
    #[error(transparent)]
    Embedded(#[from] embedded::OpenError),
    /// The database.
    #[error(transparent)]
    Cql(#[from] cql::OpenError),
    /// The process that serves the store.
    #[error(transparent)]
    Remote(#[from] Reason),
}

/// The configured store.
///
/// # Errors
/// [`StoreError`] when the data directory cannot be opened, or the database not used, or nobody serves the store.
pub async fn open_store(config: &Config) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match config.store_kind {
        StoreKind::Memory => Arc::new(Memory::default()),
        StoreKind::Scylla => Arc::new(Cql::open(&cql_options(config)).await?),
        StoreKind::Remote => {
            // The options have been checked: the path is said.
            let socket = config.store_socket.clone().unwrap_or_default();
            let (connect_timeout, request_timeout) = (config.store_connect_timeout, config.store_request_timeout);
            Arc::new(Remote::open(socket, remote::Options { connect_timeout, request_timeout }).await?)
        }
        StoreKind::Embedded => Arc::new(Embedded::open(embedded::Options {
            cache_bytes: config.store_cache_bytes,
            free_bytes_min: config.store_free_bytes_min,
            ..embedded::Options::new(&config.store_data_dir)
        })?),
    })
}

/// How the configured database is reached.
#[must_use]
pub fn cql_options(config: &Config) -> cql::Options {
    cql::Options {
        contact_points: config.store_contact_points.clone(),
        keyspace: config.store_keyspace.clone(),
        local_dc: config.store_local_dc.clone(),
        user: config.store_user.clone(),
        password: config.store_password.clone(),
        password_file: config.store_password_file.clone(),
        tls_ca: config.store_tls_ca.clone(),
        tls_cert: config.store_tls_cert.clone(),
        tls_key: config.store_tls_key.clone(),
        connections: config.store_connections,
        connect_timeout: config.store_connect_timeout,
        request_timeout: config.store_request_timeout,
        saves_in_flight_max: config.store_saves_in_flight_max,
    }
}

/// Runs one node until it is told to stop.
///
/// # Errors
/// [`Error`] when it does not start.
pub async fn serve(config: Config) -> Result<(), Error> {
    let began = Instant::now();
    // Before anything else: a signal that comes while the node starts must stop it, not kill it.
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
    let public = listen("http.listen", config.http_listen).await?;
    let operators = listen("admin.listen", config.admin_listen).await?;
    let address = |listener: &TcpListener, wanted| listener.local_addr().unwrap_or(wanted);
    let (http_address, admin_address) =
        (address(&public, config.http_listen), address(&operators, config.admin_listen));

    let tables = Arc::new(tables(&config)?);
    let sinks = config.events.open()?;
    let store = open_store(&config).await?;
    let relay = Relay::start(sinks, Arc::clone(&store), events::Options::default());
    // Where nobody else can be, nobody is listened for.
    let shared = !store.is_exclusive();
    let nodes = if shared { Some(listen("cluster.listen", config.cluster_listen).await?) } else { None };
    let advertised = nodes.as_ref().map(|nodes| {
        config.cluster_advertise.clone().unwrap_or_else(|| address(nodes, config.cluster_listen).to_string())
    });
    let addresses = Addresses { http: http_address, admin: admin_address, cluster: advertised };
    let mut joined = node::join(&config, &store, &addresses).await?;
    let mut way = None;
    if let Some(nodes) = nodes {
        let (linked, open) = joined.linked(nodes, &config).await?;
        (joined, way) = (linked, Some(open));
    }
    let (keys, this) = (joined.keys.clone(), joined.node.clone());
    let mut system = System::start(actor_options(&config, &relay), Arc::clone(&store), this.clone()).await?;
    let mut part = joined.take_part(&system, Arc::clone(&store));
    if let Some(way) = &way {
        way.open(&system, &part.keeper);
    }
    import_configured(&config, &store).await?;
    let catalog = Catalog::open(Arc::clone(&store)).await?;
    let following = tokio::spawn(catalog.clone().follow());
    let (gateways, sandbox) = payments::gateways(&config, &store)?;
    system.open_shop(Shop {
        catalog: catalog.clone(),
        tables: Arc::clone(&tables),
        gateways: Arc::clone(&gateways),
        capture: config.payments_capture,
        checkout_ttl_ms: millis(config.checkout_expire_after),
        checkout_ttl_max_ms: millis(CHECKOUT_LIFE_MAX),
    });
    system.handle().settled().await;

    let (stop, stopping) = watch::channel(false);
    let app = App::new(Parts {
        handle: system.handle(),
        catalog: catalog.clone(),
        availabilities: Availabilities::start(system.handle()),
        tables,
        store: Arc::clone(&store),
        gateways,
        sandbox: sandbox.clone(),
        tokens: GuestTokens::new(&keys.guest_mac)?,
        // A node's name is letters, digits, dots and dashes: always a header value.
        node: HeaderValue::try_from(&config.cluster_node_name).unwrap_or(HeaderValue::from_static("n1")),
        options: http::Options {
            request_timeout: config.http_request_timeout,
            body_timeout: config.http_body_timeout,
            in_flight_max: config.http_in_flight_max,
            cors: Cors::parse(&config.http_cors_origins),
            log_requests: config.log_requests,
        },
        lease: this.lease.clone(),
        stopping: stopping.clone(),
    });
    let limits = |name, connections_max| Limits {
        name,
        connections_max,
        head_timeout: config.http_head_timeout,
        patience: config.shutdown_patience,
    };
    let (drain, mut draining) = watch::channel(false);
    let admin = Admin {
        drain: drain.clone(),
        handle: system.handle(),
        catalog: catalog.clone(),
        store: Arc::clone(&store),
        relay: relay.clone(),
        sandbox,
        token: config.admin_token.clone(),
        address: admin_address,
    };
    let http_limits = limits("http", config.http_connections_max);
    let public = tokio::spawn(http::serve::serve(public, http::router(app), http_limits, stopping));
    // Probes and metrics go on until the very end.
    let (end, ending) = watch::channel(false);
    let admin_limits = limits("admin", ADMIN_CONNECTIONS_MAX);
    let operators = tokio::spawn(http::serve::serve(operators, http::admin::router(admin), admin_limits, ending));

    tracing::info!(
        http = %http_address,
        admin = %admin_address,
        node = %this.name,
        incarnation = this.incarnation,
        shards = system.handle().cluster_status().shards.len(),
        products = catalog.snapshot().len(),
        ready_ms = began.elapsed().as_millis() as u64,
        "ready"
    );
    let ended = loop {
        tokio::select! {
            _ = terminate.recv() => { tracing::info!("SIGTERM: finishing what was begun"); break None }
            _ = interrupt.recv() => { tracing::info!("SIGINT: finishing what was begun"); break None }
            _ = draining.wait_for(|draining| *draining) => {
                tracing::info!("an operator drains this node: finishing what was begun");
                break None
            }
            why = part.ended() => break Some(why),
            (shard, epoch) = system.fenced() => {
                // Alone, nobody could have taken it but another process under this one's name.
                if store.is_exclusive() { break Some(Error::Replaced) }
                part.keeper.tell(Input::Fenced(shard, epoch));
            }
        }
    };
    drain.send_replace(true);
    if ended.is_none() {
        wait_for_endpoints(&config, &mut terminate, &mut interrupt).await;
        // Whoever is told to stop twice is in a hurry, and a store that is away takes no handover.
        tokio::select! {
            handed = tokio::time::timeout(config.shutdown_patience, part.hand_over()) => if handed.is_err() {
                tracing::warn!("not every shard could be handed over in time: the others take over the rest");
            },
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
    // Nobody waits for a channel without receivers, so sending may fail.
    let _ = stop.send(true);
    let _ = public.await;
    system.stop(config.shutdown_patience).await;
    // What is not delivered by then is in its actor's row.
    relay.stop(config.shutdown_patience).await;
    following.abort();
    part.leave().await;
    if let Some(way) = way {
        way.peers.stop().await;
    }
    let _ = end.send(true);
    let _ = operators.await;
    tracing::info!("stopped");
    ended.map_or(Ok(()), Err)
}

/// Serves on, unready, until nobody sends requests any more.
async fn wait_for_endpoints(config: &Config, terminate: &mut Signal, interrupt: &mut Signal) {
    if config.shutdown_endpoint_lag.is_zero() {
        return;
    }
    tracing::info!(lag_ms = config.shutdown_endpoint_lag.as_millis() as u64, "unready; serving on for a while");
    tokio::select! {
        () = tokio::time::sleep(config.shutdown_endpoint_lag) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn actor_options(config: &Config, relay: &Relay) -> actors::Options {
    actors::Options {
        shards: config.actors_shards,
        expire_after_ms: millis(config.carts_expire_after),
        idle_after_ms: millis(config.actors_idle_after),
        resident_bytes_max: config.actors_resident_bytes_max,
        relay: (!relay.is_idle()).then(|| relay.clone()),
    }
}

async fn listen(what: &'static str, address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|why| Error::Listen { what, address, why })
}

/// Imports the configured file when it differs from what the store holds.
async fn import_configured(config: &Config, store: &Arc<dyn Store>) -> Result<(), Error> {
    let Some(path) = &config.catalog_path else { return Ok(()) };
    let wrong = |why: String| Error::CatalogFile { path: path.display().to_string(), why };
    let file = fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let products =
        catalog::parse(&file).map_err(|faults| wrong(faults.first().map(ToString::to_string).unwrap_or_default()))?;
    if let Some(generation) = catalog::import(store, &file, &products, &mut |_| {}).await? {
        tracing::info!(products = products.len(), generation, "the catalogue was imported");
    }
    Ok(())
}

/// What shipping costs and what tax is due: the configured file, or the built-in tables.
///
/// # Errors
/// [`Error::PricingFile`] with what is wrong, and where.
pub fn tables(config: &Config) -> Result<Tables, Error> {
    let Some(path) = &config.pricing_path else {
        let wrong = |why: catalog::Fault| Error::PricingFile { path: "(built in)".to_owned(), why: why.to_string() };
        return catalog::built_in_tables().map_err(wrong);
    };
    let wrong = |why: String| Error::PricingFile { path: path.display().to_string(), why };
    let mut text = String::new();
    let file = fs::File::open(path).map_err(|error| wrong(error.to_string()))?;
    let read = file.take(catalog::TABLES_BYTES_MAX + 1).read_to_string(&mut text);
    if read.map_err(|error| wrong(error.to_string()))? as u64 > catalog::TABLES_BYTES_MAX {
        return Err(wrong(format!("more than {} bytes", catalog::TABLES_BYTES_MAX)));
    }
    catalog::parse_tables(&text).map_err(|fault| wrong(fault.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::config::Layers;

    #[test]
    fn a_file_of_tables_is_read_and_what_is_wrong_with_it_is_told_with_its_place() {
        let path = std::env::temp_dir().join(format!("trolley-tables-{}.toml", crate::telemetry::clock::random()));
        let configured = |text: Option<&str>| {
            if let Some(text) = text {
                fs::write(&path, text).unwrap();
            }
            let flag = text.map(|_| format!("pricing.path={}", path.display()));
            let layers = Layers::read(None, [], flag.as_slice()).unwrap();
            tables(&Config::new(&layers).unwrap())
        };
        assert!(!configured(None).unwrap().shipping.is_empty(), "built in");
        assert_eq!(configured(Some("tax_included = false")).unwrap(), Tables::NONE);
        let wrong = configured(Some("tax_included = false\n[[tax]]\ncountry = 7")).unwrap_err().to_string();
        let large = configured(Some(&"#".repeat(catalog::TABLES_BYTES_MAX as usize + 1))).unwrap_err().to_string();
        fs::remove_file(&path).unwrap();
        assert!(wrong.starts_with(&format!("pricing.path {}: line 3: country: ", path.display())), "{wrong}");
        assert!(large.ends_with("more than 1048576 bytes"), "{large}");
    }
}
