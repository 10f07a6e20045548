//! Opens a session: contact points, data centre, user, TLS, time limits.

use std::{
    fmt,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use scylla::{
    client::{PoolSize, execution_profile::ExecutionProfile, session::Session, session_builder::SessionBuilder},
    policies::{
        load_balancing::DefaultPolicy, retry::FallthroughRetryPolicy, timestamp_generator::MonotonicTimestampGenerator,
    },
    statement::{Consistency, SerialConsistency},
};
use secrecy::{ExposeSecret, SecretString};

use super::super::Reason;

/// A connection that is silent for so long is asked whether it lives, and is given up when it does not answer as long:
/// a node that hangs is noticed within twice this, far below the time of a request that retries elsewhere.
const KEEPALIVE: Duration = Duration::from_secs(2);
/// How long nodes may take to agree on a schema before a change of it counts as failed.
const AGREEMENT_TIMEOUT: Duration = Duration::from_secs(60);

/// How to reach the database.
#[derive(Clone)]
pub struct Options {
    /// Nodes, `host:port`; the others are found through them.
    pub contact_points: Vec<String>,
    /// Keyspace of every table.
    pub keyspace: String,
    /// Data centre whose nodes are asked; `None` = the only one.
    pub local_dc: Option<String>,
    /// User, where the database asks for one.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<SecretString>,
    /// File of the password; read when there is no `password`.
    pub password_file: Option<PathBuf>,
    /// PEM file of the authorities that sign the nodes' certificates; `Some` turns TLS on.
    pub tls_ca: Option<PathBuf>,
    /// PEM file of this client's certificate.
    pub tls_cert: Option<PathBuf>,
    /// PEM file of that certificate's key.
    pub tls_key: Option<PathBuf>,
    /// Connections to each shard of each node.
    pub connections: usize,
    /// How long a connection may take to open.
    pub connect_timeout: Duration,
    /// How long an answer may take; a save is then of unknown outcome.
    pub request_timeout: Duration,
    /// Saves in flight at once; more wait for their turn.
    pub saves_in_flight_max: usize,
}

impl Options {
    /// A database without user and TLS.
    #[must_use]
    pub fn new(contact_points: Vec<String>, keyspace: &str) -> Self {
        Self {
            contact_points,
            keyspace: keyspace.to_owned(),
            local_dc: None,
            user: None,
            password: None,
            password_file: None,
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
            connections: 1,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(3),
            saves_in_flight_max: 512,
        }
    }

    /// The contact points as one text.
    pub(super) fn points(&self) -> String {
        self.contact_points.join(", ")
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("contact_points", &self.contact_points)
            .field("keyspace", &self.keyspace)
            .field("local_dc", &self.local_dc)
            .field("tls", &self.tls_ca.is_some())
            .finish_non_exhaustive()
    }
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No contact point answers, or none lets us in.
    #[error(
        "the database at {points} cannot be reached: {why}; check store.contact_points, store.user and store.tls_ca, and that it runs"
    )]
    Unreachable {
        /// Which were asked.
        points: String,
        /// What the driver says.
        why: Reason,
    },
    /// A file of a secret or a certificate cannot be used.
    #[error("{option} {}: {why}", path.display())]
    File {
        /// Which option names it.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: Reason,
    },
    /// Options that do not go together.
    #[error("{0}")]
    Options(&'static str),
    /// Which data centre is meant is not clear, or there is no such.
    #[error("the database has the data centres {there}: set store.local_dc to the one beside this node")]
    DataCentre {
        /// What there is.
        there: String,
    },
}

/// Opens a session. It stays usable while nodes come and go.
///
/// # Errors
/// [`ConnectError`].
pub async fn connect(options: &Options) -> Result<Session, ConnectError> {
    let balancing = DefaultPolicy::builder().token_aware(true);
    let balancing = match &options.local_dc {
        Some(local_dc) => balancing.prefer_datacenter(local_dc.clone()),
        None => balancing,
    };
    // Speculation and retries are for whoever knows what a statement does; here a failure is told as it is.
    let profile = ExecutionProfile::builder()
        .consistency(Consistency::LocalQuorum)
        .serial_consistency(Some(SerialConsistency::LocalSerial))
        .request_timeout(Some(options.request_timeout))
        .retry_policy(Arc::new(FallthroughRetryPolicy::new()))
        .load_balancing_policy(balancing.build())
        .build();
    let mut builder = SessionBuilder::new()
        .known_nodes(&options.contact_points)
        .default_execution_profile_handle(profile.into_handle())
        .connection_timeout(options.connect_timeout)
        .pool_size(PoolSize::PerShard(NonZeroUsize::new(options.connections).unwrap_or(NonZeroUsize::MIN)))
        .keepalive_interval(KEEPALIVE)
        .keepalive_timeout(KEEPALIVE)
        // Orders this node's own plain writes; conditional updates are ordered by Paxos.
        .timestamp_generator(Arc::new(MonotonicTimestampGenerator::new()))
        .keyspaces_to_fetch([&options.keyspace])
        .schema_agreement_timeout(AGREEMENT_TIMEOUT);
    if let Some(local_dc) = &options.local_dc {
        builder = builder.prefer_datacenter(local_dc.clone());
    }
    if let Some(user) = &options.user {
        let password = password(options)?;
        builder = builder.user(user, password.expose_secret());
    }
    if let Some(ca) = &options.tls_ca {
        builder = builder.tls_context(Some(tls(options, ca)?));
    } else if options.tls_cert.is_some() {
        return Err(ConnectError::Options("store.tls_cert does nothing without store.tls_ca: set both, or neither"));
    }
    let opening = builder.build();
    let unreachable = |why| ConnectError::Unreachable { points: options.points(), why };
    let session = opening.await.map_err(|error| unreachable(Reason::of(error)))?;
    check_data_centre(&session, options.local_dc.as_deref())?;
    Ok(session)
}

fn check_data_centre(session: &Session, local_dc: Option<&str>) -> Result<(), ConnectError> {
    let state = session.get_cluster_state();
    let mut there: Vec<&str> = state.get_nodes_info().iter().filter_map(|node| node.datacenter.as_deref()).collect();
    there.sort_unstable();
    there.dedup();
    let is_clear = local_dc.map_or(there.len() <= 1, |local_dc| there.contains(&local_dc));
    if is_clear { Ok(()) } else { Err(ConnectError::DataCentre { there: there.join(", ") }) }
}

fn password(options: &Options) -> Result<SecretString, ConnectError> {
    match (&options.password, &options.password_file) {
        (Some(password), _) => Ok(password.clone()),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path).map_err(|error| wrong_file("store.password_file", path, error))?;
            Ok(SecretString::from(text.trim_end_matches(['\r', '\n'])))
        }
        (None, None) => {
            Err(ConnectError::Options("store.user needs a password: set store.password_file or store.password"))
        }
    }
}

fn wrong_file(option: &'static str, path: &Path, why: impl fmt::Display) -> ConnectError {
    ConnectError::File { option, path: path.to_path_buf(), why: Reason::of(why) }
}

/// The nodes' certificates must be signed by the given authorities and name the address that was asked.
fn tls(options: &Options, ca: &Path) -> Result<Arc<rustls::ClientConfig>, ConnectError> {
    let read_ca = |why: &dyn fmt::Display| wrong_file("store.tls_ca", ca, why);
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).map_err(|error| read_ca(&error))? {
        let certificate = certificate.map_err(|error| read_ca(&error))?;
        roots.add(certificate).map_err(|error| read_ca(&error))?;
    }
    if roots.is_empty() {
        return Err(read_ca(&"it holds no certificate"));
    }
    let builder = rustls::ClientConfig::builder().with_root_certificates(roots);
    let config = match (&options.tls_cert, &options.tls_key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(key)) => {
            let read_cert = |error| wrong_file("store.tls_cert", cert, error);
            let chain = CertificateDer::pem_file_iter(cert).map_err(read_cert)?;
            let chain = chain.collect::<Result<Vec<_>, _>>().map_err(read_cert)?;
            let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong_file("store.tls_key", key, error))?;
            builder.with_client_auth_cert(chain, key_der).map_err(|error| wrong_file("store.tls_cert", cert, error))?
        }
        _ => return Err(ConnectError::Options("store.tls_cert and store.tls_key go together: set both, or neither")),
    };
    Ok(Arc::new(config))
}
