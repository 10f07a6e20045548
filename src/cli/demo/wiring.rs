//! What the nodes share: the one place that knows how they reach their store and one another.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::task::JoinHandle;

use super::{StoreWish, certificates::Certified, ports::Ports};
use crate::store::{Embedded, embedded, remote};

/// Options that the demo sets itself, for each node.
pub(super) const OWN: [&str; 15] = [
    "http.listen",
    "admin.listen",
    "admin.token",
    "cluster.node_name",
    "cluster.listen",
    "cluster.advertise",
    "cluster.tls_ca",
    "cluster.tls_cert",
    "cluster.tls_key",
    "cluster.insecure",
    "store.kind",
    "store.socket",
    "store.data_dir",
    "store.contact_points",
    "log.format",
];

/// An option and its value.
pub(super) type Said = (&'static str, String);

/// The store that the nodes share.
#[derive(Debug)]
pub(super) struct Shared {
    /// How a node reaches it.
    pub(super) options: Vec<Said>,
    /// How long each access is held up; `None` = the launcher does not stand between the nodes and their store.
    slow_ms: Option<Arc<AtomicU64>>,
    /// Serves the store for as long as the demo runs.
    serving: Option<JoinHandle<()>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}

impl Shared {
    /// Opens it, or finds out how to reach it.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(super) fn open(wish: StoreWish, contact_points: &[String], dir: &Path) -> Result<Self, String> {
        Ok(match wish {
            StoreWish::Embedded => {
                let store =
                    Embedded::open(embedded::Options::new(dir.join("store"))).map_err(|error| error.to_string())?;
                // A directory of its own, which nobody else may enter.
                let socket = dir.join("socket").join("store");
                let listener = remote::bind(&socket).map_err(|error| format!("{}: {error}", socket.display()))?;
                let slow_ms = Arc::new(AtomicU64::new(0));
                let serving = tokio::spawn(remote::serve(listener, Arc::new(store), Arc::clone(&slow_ms)));
                let options = vec![("store.kind", "remote".to_owned()), ("store.socket", socket.display().to_string())];
                Self { options, slow_ms: Some(slow_ms), serving: Some(serving) }
            }
            StoreWish::Scylla => {
                let options =
                    vec![("store.kind", "scylla".to_owned()), ("store.contact_points", contact_points.join(","))];
                Self { options, slow_ms: None, serving: None }
            }
        })
    }

    /// Holds up every access from now on.
    ///
    /// # Errors
    /// That the launcher cannot.
    pub(super) fn slow(&self, ms: u64) -> Result<(), String> {
        let slow_ms = self.slow_ms.as_ref().ok_or("the launcher does not serve this store, so it cannot slow it")?;
        slow_ms.store(ms, Ordering::Relaxed);
        Ok(())
    }
}

/// How a node reaches the others, and they it.
pub(super) fn cluster(ports: &Ports, certified: &Certified) -> Vec<Said> {
    vec![
        ("cluster.listen", ports.cluster.to_string()),
        ("cluster.advertise", ports.cluster.to_string()),
        ("cluster.tls_ca", certified.authority.display().to_string()),
        ("cluster.tls_cert", certified.certificate.display().to_string()),
        ("cluster.tls_key", certified.key.display().to_string()),
    ]
}
