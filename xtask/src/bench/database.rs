//! `cargo xtask bench --database`: adds through the server against the database's own rate of conditional updates.
//!
//! All share two cores, the database most of them: the ratios tell what the server adds, the rates little.

use std::{path::Path, process::Command};

use serde_json::Value;

use super::{
    ROUNDS, SECONDS, Server, bar, dark, load_with, median, output, rate, release, saved, serve_with, shown, text,
};
use crate::run::{root, wait};

/// Connections, and updates of the bare driver in flight.
const IN_FLIGHT: [&str; 2] = ["64", "512"];
const CARTS: &str = "10000";
/// The database compiles what runs often: rates before that say nothing.
const WARM_UP_S: &str = "20";

/// A database that ends with its guard, and with this process.
struct Database {
    base: String,
    point: String,
}

impl Database {
    fn script() -> Command {
        Command::new(root().join("tests/cql-server/cql-server"))
    }

    fn start(scratch: &Path) -> Result<Self, String> {
        let base = scratch.join("database").display().to_string();
        let mut start = Self::script();
        start.args(["start", "--net", "auto", "--base", &base, "--owner", &std::process::id().to_string()]);
        // The compiler that takes its time: this is about the rate, not about the start.
        start.env("CQL_SERVER_JAVA_OPTIONS", "-XX:TieredStopAtLevel=4");
        let point = output(&mut start)?.trim().to_owned();
        Ok(Self { base, point })
    }

    /// What a node is told to use a keyspace of it.
    fn options(&self, keyspace: &str) -> [String; 6] {
        [
            "store.kind=scylla".to_owned(),
            format!("store.contact_points={}", self.point),
            format!("store.keyspace={keyspace}"),
            "store.replication_factor=1".to_owned(),
            "cluster.insecure=true".to_owned(),
            "cluster.listen=127.0.0.1:0".to_owned(),
        ]
    }
}

fn migrate(options: &[String]) -> Result<(), String> {
    wait(Command::new(release("trolley")).arg("migrate").args(options.iter().flat_map(|option| ["--set", option])))
}

impl Drop for Database {
    fn drop(&mut self) {
        drop(wait(Self::script().args(["stop", "--wipe", "--base", &self.base]))); // its owner's end stops it too
    }
}

pub(super) fn run(scratch: &Path) -> Result<(), String> {
    let database = Database::start(scratch)?;
    for keyspace in ["bench", "driver"] {
        migrate(&database.options(keyspace))?;
    }
    let options = |keyspace| database.options(keyspace);
    let alone = |how: &str, seconds: &str, in_flight: &str, body_bytes: &str| -> Result<f64, String> {
        let mut command = Command::new(release("examples/driver_alone"));
        command.args([&database.point, "driver", how, seconds, in_flight, CARTS, body_bytes]);
        serde_json::from_str::<Value>(&output(&mut command)?).map_err(text).map(|report| rate(&report))
    };
    let server = serve_with(scratch, None, &options("bench"))?;
    println!("warming up");
    alone("many", WARM_UP_S, IN_FLIGHT[1], "200")?;
    load_with("add", &server.http, IN_FLIGHT[1], &["--carts", CARTS])?;

    let mut many = [const { Vec::new() }; IN_FLIGHT.len()];
    let mut hot = Vec::new();
    for round in 1..=ROUNDS {
        println!("round {round}");
        for (ratios, in_flight) in many.iter_mut().zip(IN_FLIGHT) {
            let before = saved(&server)?;
            let added = load_with("add", &server.http, in_flight, &["--carts", CARTS])?;
            let after = saved(&server)?;
            shown(&format!("  POST item over 10,000 carts, {in_flight} connections"), &added);
            let body_bytes = ((after.0 - before.0) / (after.1 - before.1)).round();
            let raw = alone("many", SECONDS, in_flight, &format!("{body_bytes}"))?;
            println!("  the driver's updates, {in_flight} in flight, {body_bytes} bytes {raw:>16.0}/s");
            ratios.push(rate(&added) / raw);
        }
        let one = load_with("hot", &server.http, IN_FLIGHT[0], &[])?;
        shown("  POST and PATCH on one hot cart, 64 connections", &one);
        let raw = alone("hot", SECONDS, IN_FLIGHT[0], "200")?;
        println!("  the driver's updates of one hot row, 64 writers {raw:>17.0}/s");
        hot.push(rate(&one) / raw);
    }
    println!();
    for (ratios, in_flight) in many.into_iter().zip(IN_FLIGHT) {
        let ratio = median(ratios);
        let name = format!("adding against the driver, {in_flight} in flight");
        bar(&name, format!("{ratio:.2}"), "at least 0.80", ratio >= 0.80);
    }
    let ratio = median(hot);
    bar("one hot cart against one hot row", format!("{ratio:.1}"), "at least 20", ratio >= 20.0);
    drop(server);
    handed_over(scratch, options("bench").to_vec())
}

/// For how long shards are dark that three nodes hand over, alone: `cargo xtask bench --cluster --database`.
pub(super) fn cluster(scratch: &Path) -> Result<(), String> {
    let database = Database::start(scratch)?;
    let options = database.options("bench").to_vec();
    migrate(&options)?;
    handed_over(scratch, options)
}

fn handed_over(scratch: &Path, options: Vec<String>) -> Result<(), String> {
    let mut nodes = Cluster::start(scratch, options)?;
    let measured = dark::measure(&mut nodes)?;
    let (p50, p99, save) =
        (measured.dark.at_most_s(0.5), measured.dark.at_most_s(0.99), measured.saves.at_most_s(0.99));
    println!("{:<44} {} of {:.0} shards", "a shard is dark, p50", dark::at_most(p50), measured.dark.count());
    println!("{:<44} {}", "a conditional save of a cart, p99", dark::at_most(save));
    let wanted = "at most 4 saves' p99";
    bar("a shard is dark, p99", dark::at_most(p99), wanted, p99 <= 4.0 * save);
    Ok(())
}

/// Three nodes on the database.
struct Cluster {
    options: Vec<Vec<String>>,
    nodes: Vec<Option<Server>>,
    listeners: Vec<(String, String)>,
    scratch: std::path::PathBuf,
}

impl Cluster {
    fn start(scratch: &Path, store: Vec<String>) -> Result<Self, String> {
        let mut cluster =
            Self { options: Vec::new(), nodes: Vec::new(), listeners: Vec::new(), scratch: scratch.to_owned() };
        for at in 0..3 {
            let [http, admin, inner] = [free_port()?, free_port()?, free_port()?];
            // Each has an address that stays the same when it is started again.
            let shared = store.iter().filter(|option| !option.starts_with("cluster.listen=")).cloned();
            let own = [
                format!("cluster.node_name=n{}", at + 1),
                format!("http.listen={http}"),
                format!("admin.listen={admin}"),
                format!("cluster.listen={inner}"),
                // As the demo's nodes: what is measured is the handover, not the wait for a balancer.
                "shutdown.endpoint_lag=2s".to_owned(),
            ];
            cluster.options.push(shared.chain(own).collect());
            cluster.listeners.push((http, admin));
            cluster.nodes.push(None);
            dark::Nodes::start(&mut cluster, at)?;
        }
        Ok(cluster)
    }
}

/// A port of this machine's that is free now, and most likely a moment later.
fn free_port() -> Result<String, String> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(text)?;
    listener.local_addr().map(|address| address.to_string()).map_err(text)
}

impl dark::Nodes for Cluster {
    fn listeners(&self, at: usize) -> (String, String) {
        self.listeners[at].clone()
    }

    fn drain(&mut self, at: usize) -> Result<(), String> {
        let Some(mut server) = self.nodes[at].take() else { return Err(format!("n{} does not run", at + 1)) };
        output(Command::new("curl").args(["-sS", "-X", "POST", &format!("http://{}/admin/drain", server.admin)]))?;
        let status = server.process.child.wait().map_err(text)?;
        if status.success() { Ok(()) } else { Err(format!("n{} did not leave in order: {status}", at + 1)) }
    }

    fn start(&mut self, at: usize) -> Result<(), String> {
        self.nodes[at] = Some(serve_with(&self.scratch.join(format!("n{}", at + 1)), None, &self.options[at])?);
        Ok(())
    }
}
