//! A real database for tests: Apache Cassandra, started by `tests/cql-server`, which ends it when this process ends.

use std::{process::Command, sync::OnceLock, time::Duration};

use scylla::client::session::Session;
use trolley::store::cql::{Options, connect, migrate};

use super::TempDir;

/// Nodes of a database, which go with it.
#[derive(Debug)]
pub(crate) struct Cluster {
    base: TempDir,
    contact_points: String,
    nodes: usize,
}

fn script(command: &str, base: &TempDir) -> Command {
    let mut script = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cql-server/cql-server"));
    script.arg(command).arg("--base").arg(&base.0);
    script
}

/// What it prints.
fn run(script: &mut Command) -> String {
    let output = script.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script:?}: {said}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

impl Cluster {
    /// One node, shared by every test that does not harm it; it lives until the process ends.
    pub(crate) fn single() -> &'static Self {
        static SINGLE: OnceLock<Cluster> = OnceLock::new();
        // Every keyspace of every test stays: tables take room.
        SINGLE.get_or_init(|| Self::start_with(1, &["--net", "auto", "--heap", "1G"]))
    }

    /// Nodes of one's own.
    pub(crate) fn start(nodes: usize) -> Self {
        Self::start_with(nodes, &["--net", "auto"])
    }

    /// One node at this address, with TLS and a password; the folder holds what `--secure` needs.
    pub(crate) fn secure(net: &str, certificates: &TempDir) -> Self {
        Self::start_with(1, &["--net", net, "--secure", certificates.0.to_str().unwrap()])
    }

    fn start_with(nodes: usize, options: &[&str]) -> Self {
        let base = TempDir::new("cql");
        let owner = std::process::id().to_string();
        let mut start = script("start", &base);
        start.args(["--nodes", &nodes.to_string(), "--owner", &owner, "--temporary"]).args(options);
        let contact_points = run(&mut start);
        Self { base, contact_points, nodes }
    }

    /// `host:port`, separated by commas.
    pub(crate) fn contact_points(&self) -> &str {
        &self.contact_points
    }

    /// kill -9 of a node; the first is 1.
    pub(crate) fn kill(&self, node: usize) {
        self.tell("kill", node);
    }

    /// The node hangs.
    pub(crate) fn pause(&self, node: usize) {
        self.tell("pause", node);
    }

    /// It goes on.
    pub(crate) fn resume(&self, node: usize) {
        self.tell("resume", node);
    }

    /// Starts a killed node and waits until it serves.
    pub(crate) fn start_node(&self, node: usize) {
        self.tell("start-node", node);
    }

    fn tell(&self, command: &str, node: usize) {
        run(script(command, &self.base).args(["--node", &node.to_string()]));
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        run(script("stop", &self.base).arg("--wipe"));
    }
}

/// A keyspace of one's own; it goes with its cluster.
#[derive(Debug)]
pub(crate) struct Keyspace {
    contact_points: String,
    pub(crate) name: String,
    replication_factor: u32,
}

impl Keyspace {
    /// A name that nobody has.
    pub(crate) fn unused(cluster: &Cluster) -> Self {
        let name = format!("t{:x}", trolley::telemetry::clock::random() as u64);
        let replication_factor = u32::try_from(cluster.nodes.min(3)).unwrap();
        Self { contact_points: cluster.contact_points.clone(), name, replication_factor }
    }

    /// With the schema of this release.
    pub(crate) async fn migrated(cluster: &Cluster) -> Self {
        let keyspace = Self::unused(cluster);
        keyspace.migrate().await;
        keyspace
    }

    /// Brings the schema to this release's.
    pub(crate) async fn migrate(&self) {
        let session = self.session().await;
        migrate::migrate(&session, &self.plan(), &mut |_| {}).await.unwrap();
    }

    /// What `trolley migrate` would do.
    pub(crate) fn plan(&self) -> migrate::Plan {
        migrate::Plan {
            keyspace: self.name.clone(),
            local_dc: None,
            replication_factor: self.replication_factor,
            dialect: None,
        }
    }

    /// How to reach it.
    pub(crate) fn options(&self) -> Options {
        Options::new(self.contact_points.split(',').map(str::to_owned).collect(), &self.name)
    }

    /// How a test reaches it for itself: a database that shares its machine takes seconds for a change of its schema.
    pub(crate) fn patient(&self) -> Options {
        Options { request_timeout: Duration::from_secs(60), ..self.options() }
    }

    /// A session of a test's own.
    pub(crate) async fn session(&self) -> Session {
        connect(&self.patient()).await.unwrap()
    }

    /// Makes a command of ours use it.
    pub(crate) fn configure(&self, command: &mut Command) {
        self.configure_store(command);
        command.args(["--set", "cluster.insecure=true", "--set", "cluster.listen=127.0.0.1:0"]);
    }

    /// The same without what says who the node is to others.
    pub(crate) fn configure_store(&self, command: &mut Command) {
        command
            .args(["--set", "store.kind=scylla", "--set", &format!("store.keyspace={}", self.name)])
            .args(["--set", &format!("store.contact_points={}", self.contact_points)])
            .args(["--set", &format!("store.replication_factor={}", self.replication_factor)]);
    }
}
