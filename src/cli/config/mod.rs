//! Options: one table of keys drives reading, checking, showing and documenting them.
//!
//! Flags (`--set KEY=VALUE`) win over the environment (`TROLLEY_SECTION_KEY`), that over `trolley.toml`, that over defaults.

mod keys;

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use secrecy::SecretString;

pub use self::keys::{KEYS, Key};
use crate::{domain::order::Capture, events::Wanted};

/// What every environment variable of ours starts with.
const ENV_PREFIX: &str = "TROLLEY_";
/// The file that is read when none is named and it is there.
const FILE_DEFAULT: &str = "trolley.toml";

/// How long a checkout lives at most, with whatever activity: goods in it are not to be had by others.
pub const CHECKOUT_LIFE_MAX: Duration = Duration::from_secs(60 * 60);

/// Who said a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Nobody.
    #[default]
    Default,
    /// The file.
    File(PathBuf),
    /// This variable.
    Environment(String),
    /// A flag.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag => f.write_str("flag --set"),
        }
    }
}

/// Why the options are wrong.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No option has this name.
    #[error("there is no option {name:?} ({origin}){}", nearest(name))]
    Unknown {
        /// As given.
        name: String,
        /// By whom.
        origin: Origin,
    },
    /// The value does not fit.
    #[error("{name} = {value:?} ({origin}): {why}")]
    Value {
        /// Which option.
        name: &'static str,
        /// As given; a secret's is left out.
        value: String,
        /// By whom.
        origin: Origin,
        /// What would fit.
        why: String,
    },
    /// The file cannot be read.
    #[error("{path}: {why}")]
    File {
        /// Which file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// A flag is not of the form KEY=VALUE.
    #[error("--set {0:?} is not of the form KEY=VALUE")]
    Flag(String),
}

fn nearest(name: &str) -> String {
    let distance = |key: &&Key| strsim::damerau_levenshtein(key.name, name);
    match KEYS.iter().min_by_key(distance) {
        Some(key) => format!("; the nearest is {:?}", key.name),
        None => String::new(),
    }
}

/// Every option's value, and who said it.
#[derive(Debug)]
pub struct Layers(BTreeMap<&'static str, (String, Origin)>);

impl Layers {
    /// Reads the file, the environment and the flags.
    ///
    /// # Errors
    /// [`Error`] on an unknown name or an unreadable file.
    pub fn read(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: &[String],
    ) -> Result<Self, Error> {
        let mut layers = Self(KEYS.iter().map(|key| (key.name, (key.default.to_owned(), Origin::Default))).collect());
        let named = file.map(Path::to_path_buf);
        let present = || Some(PathBuf::from(FILE_DEFAULT)).filter(|path| path.is_file());
        if let Some(path) = named.or_else(present) {
            layers.read_file(&path)?;
        }
        for (variable, value) in environment {
            #[cfg(debug_assertions)]
            if variable == crate::actors::failpoint::VARIABLE {
                continue;
            }
            if let Some(name) = variable.strip_prefix(ENV_PREFIX) {
                let name = name.to_ascii_lowercase().replacen('_', ".", 1);
                layers.set(&name, value, Origin::Environment(variable))?;
            }
        }
        for flag in flags {
            let (name, value) = flag.split_once('=').ok_or_else(|| Error::Flag(flag.clone()))?;
            layers.set(name.trim(), value.trim().to_owned(), Origin::Flag)?;
        }
        Ok(layers)
    }

    fn read_file(&mut self, path: &Path) -> Result<(), Error> {
        let wrong = |why: String| Error::File { path: path.display().to_string(), why };
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| wrong(error.to_string()))?;
        for (section, keys) in table {
            let toml::Value::Table(keys) = keys else {
                return Err(Error::Unknown { name: section, origin: Origin::File(path.to_path_buf()) });
            };
            for (key, value) in keys {
                let value = match value {
                    toml::Value::String(text) => text,
                    other => other.to_string(),
                };
                self.set(&format!("{section}.{key}"), value, Origin::File(path.to_path_buf()))?;
            }
        }
        Ok(())
    }

    fn set(&mut self, name: &str, value: String, origin: Origin) -> Result<(), Error> {
        match KEYS.iter().find(|key| key.name == name) {
            Some(key) => {
                self.0.insert(key.name, (value, origin));
                Ok(())
            }
            None => Err(Error::Unknown { name: name.to_owned(), origin }),
        }
    }

    /// Every option with its value as it may be shown, and its origin.
    pub fn shown(&self) -> impl Iterator<Item = (&'static Key, String, &Origin)> {
        KEYS.iter().filter_map(|key| {
            let (value, origin) = self.0.get(key.name)?;
            let hidden = key.secret && !value.is_empty();
            Some((key, if hidden { "(secret)".to_owned() } else { value.clone() }, origin))
        })
    }

    fn get<T>(&self, name: &'static str, read: impl FnOnce(&str) -> Result<T, String>) -> Result<T, Error> {
        let (value, origin) = self.0.get(name).cloned().unwrap_or_default();
        read(&value).map_err(|why| {
            let secret = KEYS.iter().any(|key| key.name == name && key.secret);
            Error::Value { name, value: if secret { "(secret)".to_owned() } else { value }, origin, why }
        })
    }
}

/// What the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// A directory of this machine.
    Embedded,
    /// ScyllaDB or Apache Cassandra.
    Scylla,
    /// Another process of this machine serves it.
    Remote,
    /// Nothing is kept.
    Memory,
}

/// How logs look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// By whether standard error is a terminal.
    Auto,
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// Every option, checked.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each field is the option of its name, documented in KEYS")]
pub struct Config {
    pub http_listen: SocketAddr,
    pub http_connections_max: usize,
    pub http_in_flight_max: usize,
    pub http_request_timeout: Duration,
    pub http_head_timeout: Duration,
    pub http_body_timeout: Duration,
    pub http_cors_origins: String,
    pub admin_listen: SocketAddr,
    pub admin_token: Option<SecretString>,
    pub cluster_node_name: String,
    pub cluster_listen: SocketAddr,
    pub cluster_advertise: Option<String>,
    pub cluster_tls_ca: Option<PathBuf>,
    pub cluster_tls_cert: Option<PathBuf>,
    pub cluster_tls_key: Option<PathBuf>,
    pub cluster_insecure: bool,
    pub store_kind: StoreKind,
    pub store_socket: Option<PathBuf>,
    pub store_data_dir: PathBuf,
    pub store_cache_bytes: u64,
    pub store_free_bytes_min: u64,
    pub store_contact_points: Vec<String>,
    pub store_keyspace: String,
    pub store_local_dc: Option<String>,
    pub store_replication_factor: u32,
    pub store_user: Option<String>,
    pub store_password: Option<SecretString>,
    pub store_password_file: Option<PathBuf>,
    pub store_tls_ca: Option<PathBuf>,
    pub store_tls_cert: Option<PathBuf>,
    pub store_tls_key: Option<PathBuf>,
    pub store_connections: usize,
    pub store_connect_timeout: Duration,
    pub store_request_timeout: Duration,
    pub store_saves_in_flight_max: usize,
    pub catalog_path: Option<PathBuf>,
    pub pricing_path: Option<PathBuf>,
    pub checkout_expire_after: Duration,
    pub payments_capture: Capture,
    pub payments_sandbox: bool,
    pub payments_stripe_secret_key: Option<SecretString>,
    pub payments_stripe_webhook_secret: Option<SecretString>,
    pub payments_stripe_url: String,
    pub payments_return_url: String,
    pub carts_expire_after: Duration,
    pub events: Wanted,
    pub actors_idle_after: Duration,
    pub actors_resident_bytes_max: usize,
    pub actors_shards: u16,
    pub shutdown_endpoint_lag: Duration,
    pub shutdown_patience: Duration,
    pub runtime_threads: usize,
    pub log_format: LogFormat,
    pub log_level: String,
    pub log_requests: bool,
}

impl Config {
    /// Checks every value.
    ///
    /// # Errors
    /// [`Error::Value`] for the first that does not fit.
    pub fn new(layers: &Layers) -> Result<Self, Error> {
        let store_kind = layers.get("store.kind", |text| match text {
            "embedded" => Ok(StoreKind::Embedded),
            "scylla" => Ok(StoreKind::Scylla),
            "remote" => Ok(StoreKind::Remote),
            "memory" => Ok(StoreKind::Memory),
            _ => Err("must be embedded, scylla, remote or memory".to_owned()),
        })?;
        Ok(Self {
            http_listen: layers.get("http.listen", parse)?,
            http_connections_max: layers.get("http.connections_max", at_least_one)?,
            http_in_flight_max: layers.get("http.in_flight_max", at_least_one)?,
            http_request_timeout: layers.get("http.request_timeout", duration)?,
            http_head_timeout: layers.get("http.head_timeout", duration)?,
            http_body_timeout: layers.get("http.body_timeout", duration)?,
            http_cors_origins: layers.get("http.cors_origins", parse)?,
            admin_listen: layers.get("admin.listen", parse)?,
            admin_token: layers.get("admin.token", token)?,
            cluster_node_name: layers.get("cluster.node_name", node_name)?,
            cluster_listen: layers.get("cluster.listen", parse)?,
            cluster_advertise: layers.get("cluster.advertise", said)?,
            cluster_tls_ca: layers.get("cluster.tls_ca", said)?,
            cluster_tls_cert: layers.get("cluster.tls_cert", said)?,
            cluster_tls_key: layers.get("cluster.tls_key", said)?,
            cluster_insecure: layers.get("cluster.insecure", parse)?,
            store_kind,
            store_socket: layers.get("store.socket", |text| match said(text)? {
                None if store_kind == StoreKind::Remote => Err("must be a path where store.kind is remote".to_owned()),
                socket => Ok(socket),
            })?,
            store_data_dir: layers.get("store.data_dir", parse)?,
            store_cache_bytes: layers.get("store.cache_bytes", parse)?,
            store_free_bytes_min: layers.get("store.free_bytes_min", parse)?,
            store_contact_points: layers.get("store.contact_points", contact_points)?,
            store_keyspace: layers.get("store.keyspace", keyspace)?,
            store_local_dc: layers.get("store.local_dc", said)?,
            store_replication_factor: layers.get("store.replication_factor", |text| match parse(text)? {
                factor @ 1..=9 => Ok(factor),
                _ => Err("must be from 1 to 9; production needs 3".to_owned()),
            })?,
            store_user: layers.get("store.user", said)?,
            store_password: layers.get("store.password", secret)?,
            store_password_file: layers.get("store.password_file", said)?,
            store_tls_ca: layers.get("store.tls_ca", said)?,
            store_tls_cert: layers.get("store.tls_cert", said)?,
            store_tls_key: layers.get("store.tls_key", said)?,
            store_connections: layers.get("store.connections", |text| match parse(text)? {
                connections @ 1..=16 => Ok(connections),
                _ => Err("must be from 1 to 16".to_owned()),
            })?,
            store_connect_timeout: layers.get("store.connect_timeout", duration)?,
            store_request_timeout: layers.get("store.request_timeout", duration)?,
            store_saves_in_flight_max: layers.get("store.saves_in_flight_max", at_least_one)?,
            catalog_path: layers.get("catalog.path", said)?,
            pricing_path: layers.get("pricing.path", said)?,
            checkout_expire_after: layers.get("checkout.expire_after", |text| {
                let after = duration(text)?;
                if after <= CHECKOUT_LIFE_MAX { Ok(after) } else { Err("must be at most 1h".to_owned()) }
            })?,
            payments_capture: layers.get("payments.capture", |text| match text {
                "at_order" => Ok(Capture::AtOrder),
                "at_fulfilment" => Ok(Capture::AtFulfilment),
                _ => Err("must be at_order or at_fulfilment".to_owned()),
            })?,
            payments_sandbox: layers.get("payments.sandbox", |text| match text {
                "auto" => Ok(store_kind != StoreKind::Scylla),
                "true" => Ok(true),
                "false" => Ok(false),
                _ => Err("must be true, false or auto".to_owned()),
            })?,
            payments_stripe_secret_key: layers.get("payments.stripe_secret_key", secret)?,
            payments_stripe_webhook_secret: layers.get("payments.stripe_webhook_secret", secret)?,
            payments_stripe_url: layers.get("payments.stripe_url", parse)?,
            payments_return_url: layers.get("payments.return_url", parse)?,
            carts_expire_after: layers.get("carts.expire_after", duration)?,
            events: events(layers)?,
            actors_idle_after: layers.get("actors.idle_after", duration)?,
            actors_resident_bytes_max: layers.get("actors.resident_bytes_max", parse)?,
            actors_shards: layers.get("actors.shards", |text| {
                let shards: u16 = parse(text)?;
                let fits = shards.is_power_of_two() && shards <= crate::domain::ids::SLOTS;
                if fits { Ok(shards) } else { Err("must be a power of two from 1 to 16384".to_owned()) }
            })?,
            shutdown_endpoint_lag: layers.get("shutdown.endpoint_lag", |text| {
                humantime::parse_duration(text).map_err(|error| format!("{error}; write 0s, 500ms, 5s"))
            })?,
            shutdown_patience: layers.get("shutdown.patience", duration)?,
            runtime_threads: layers.get("runtime.threads", parse)?,
            log_format: layers.get("log.format", |text| match text {
                "auto" => Ok(LogFormat::Auto),
                "text" => Ok(LogFormat::Text),
                "json" => Ok(LogFormat::Json),
                _ => Err("must be auto, text or json".to_owned()),
            })?,
            log_level: layers
                .get("log.level", |text| crate::telemetry::logs::check_level(text).map(|()| text.to_owned()))?,
            log_requests: layers.get("log.requests", parse)?,
        })
    }
}

fn parse<T: FromStr>(text: &str) -> Result<T, String>
where
    T::Err: fmt::Display,
{
    text.parse().map_err(|error: T::Err| error.to_string())
}

fn secret(text: &str) -> Result<Option<SecretString>, String> {
    Ok((!text.is_empty()).then(|| text.into()))
}

fn at_least_one(text: &str) -> Result<usize, String> {
    parse(text).and_then(|n| if n > 0 { Ok(n) } else { Err("must be at least 1".to_owned()) })
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| format!("{error}; write 500ms, 5s, 15m, 90d"))?;
    if duration.is_zero() { Err("must be longer than nothing".to_owned()) } else { Ok(duration) }
}

fn events(layers: &Layers) -> Result<Wanted, Error> {
    let sinks = layers.get("events.sinks", Wanted::sinks)?;
    let ca = layers.get("events.webhook_ca", said)?;
    let mut wanted = Wanted { webhook_ca: ca, source: layers.get("events.source", parse)?, ..sinks };
    wanted.webhook_urls = layers.get("events.webhook_urls", |text| wanted.urls(text))?;
    wanted.webhook_signer = layers.get("events.webhook_secret", |text| wanted.signer(text))?;
    Ok(wanted)
}

/// `None` where nothing is said.
fn said<T: From<String>>(text: &str) -> Result<Option<T>, String> {
    Ok((!text.is_empty()).then(|| text.to_owned().into()))
}

fn contact_points(text: &str) -> Result<Vec<String>, String> {
    let points: Vec<String> = text.split(',').map(|point| point.trim().to_owned()).collect();
    let fits = |point: &String| {
        point.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|p| p > 0))
    };
    match points.iter().find(|point| !fits(point)) {
        None => Ok(points),
        Some(point) => Err(format!("{point:?} is not host:port")),
    }
}

/// Names that CQL takes without quotes.
fn keyspace(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if (1..=48).contains(&text.len()) && text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(fits) {
        return Ok(text.to_owned());
    }
    Err("must be 1–48 of a–z 0–9 _, beginning with a letter".to_owned())
}

fn token(text: &str) -> Result<Option<SecretString>, String> {
    match text.len() {
        0 => Ok(None),
        1..16 => Err("must have at least 16 characters".to_owned()),
        _ => Ok(Some(SecretString::from(text))),
    }
}

fn node_name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    if (1..=63).contains(&text.len()) && text.chars().all(fits) {
        return Ok(text.to_owned());
    }
    Err("must be 1–63 of A–Z a–z 0–9 - .".to_owned())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn layers(environment: &[(&str, &str)], flags: &[&str]) -> Result<Layers, Error> {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Layers::read(None, environment, &flags.iter().map(|flag| (*flag).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn the_defaults_fit() {
        let config = Config::new(&layers(&[], &[]).unwrap()).unwrap();
        assert_eq!(config.http_listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.carts_expire_after, Duration::from_secs(90 * 24 * 60 * 60));
    }

    #[test]
    fn flags_win_over_the_environment_over_the_file() {
        let dir = std::env::temp_dir().join(format!("trolley-config-{}", crate::telemetry::clock::random()));
        std::fs::write(&dir, "[http]\nlisten = \"127.0.0.1:1\"\nin_flight_max = 7\n[cluster]\nnode_name = \"f\"")
            .unwrap();
        let environment = [("TROLLEY_HTTP_LISTEN", "127.0.0.1:2"), ("TROLLEY_CLUSTER_NODE_NAME", "e"), ("HOME", "/")];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let layers = Layers::read(Some(&dir), environment, &["http.listen=127.0.0.1:3".to_owned()]).unwrap();
        std::fs::remove_file(&dir).unwrap();
        let shown: BTreeMap<_, _> =
            layers.shown().map(|(key, value, origin)| (key.name, (value, origin.clone()))).collect();
        assert_eq!(shown["http.listen"], ("127.0.0.1:3".to_owned(), Origin::Flag));
        let from = Origin::Environment("TROLLEY_CLUSTER_NODE_NAME".to_owned());
        assert_eq!(shown["cluster.node_name"], ("e".to_owned(), from));
        assert_eq!(shown["http.in_flight_max"], ("7".to_owned(), Origin::File(dir)));
        assert_eq!(shown["admin.listen"].1, Origin::Default);
    }

    #[test]
    fn an_unknown_name_is_told_its_nearest_neighbour() {
        for error in
            [layers(&[("TROLLEY_HTTP_LISTN", "x")], &[]).unwrap_err(), layers(&[], &["http.listn=x"]).unwrap_err()]
        {
            assert!(error.to_string().ends_with("the nearest is \"http.listen\""), "{error}");
        }
    }

    #[test]
    fn wrong_values_say_what_would_fit() {
        let table = [
            ("http.listen=here", "invalid socket address"),
            ("actors.shards=3", "power of two"),
            ("carts.expire_after=soon", "write 500ms"),
            ("store.kind=mongo", "must be embedded, scylla, remote or memory"),
            ("store.kind=remote", "must be a path where store.kind is remote"),
            ("store.contact_points=db1:9042,db2", "\"db2\" is not host:port"),
            ("store.keyspace=Shop; DROP", "must be 1–48 of"),
            ("store.replication_factor=0", "from 1 to 9"),
            ("admin.token=short", "at least 16 characters"),
            ("http.in_flight_max=0", "at least 1"),
            ("events.sinks=nats", "must be none, or of log and webhook"),
            ("events.sinks=webhook", "must name at least one URL"),
            ("log.level=loud", "must be error"),
        ];
        for (flag, expected) in table {
            let error = Config::new(&layers(&[], &[flag]).unwrap()).unwrap_err().to_string();
            assert!(error.contains(expected), "{flag}: {error}");
        }
    }

    #[test]
    fn a_secret_is_never_shown() {
        let secrets = [("TROLLEY_ADMIN_TOKEN", "correct-horse-battery"), ("TROLLEY_STORE_PASSWORD", "horse-staple")];
        let layers = layers(&secrets, &[]).unwrap();
        let config = Config::new(&layers).unwrap();
        assert_eq!(config.admin_token.as_ref().unwrap().expose_secret(), "correct-horse-battery");
        let shown = format!("{config:?} {:?}", layers.shown().map(|(_, value, _)| value).collect::<Vec<_>>());
        assert!(!shown.contains("horse"), "{shown}");
    }
}
