//! Nodes that cannot reach each other: cut off in a network namespace of the test's own, and a firewall that makes a
//! living node look like a dead process.

use std::{
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use loadtest::{client::Connection, shop::Cart};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use super::shop::Shop;
use crate::{
    process::turn,
    support::{TempDir, ledger::Shoppers, wait::until},
};

const SHOPPERS: usize = 6;
const PASS: u64 = 200;
const AFTER_SILENCE: Duration = Duration::from_secs(5);
const NAMES: [&str; 3] = ["n1", "n2", "n3"];
/// Says to a copy of this test that it runs in its namespace.
const INSIDE: &str = "TROLLEY_TEST_IN_NAMESPACE";

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// The address that a node's sessions come from and go to.
fn address(name: &str) -> String {
    format!("127.0.77.{}", &name[1..])
}

#[test]
fn p1_p3_a_node_that_is_cut_off_hands_over_and_comes_back() {
    let may_unshare = Command::new("unshare").args(["-rn", "ip", "link", "set", "lo", "up"]).status();
    if !may_unshare.is_ok_and(|status| status.success()) {
        println!("SKIPPED: network namespaces are not permitted here, so no node was cut off from the others");
        eprintln!("SKIPPED: network namespaces are not permitted here, so no node was cut off from the others");
        return;
    }
    let log = TempDir::new("namespace");
    let output = std::fs::File::create(log.0.join("output")).unwrap();
    let mut inside = Command::new("unshare");
    inside
        .arg("-rn")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "cluster::partition::inside_the_namespace", "--nocapture"])
        .env(INSIDE, "yes")
        .stdin(Stdio::null())
        .stdout(output.try_clone().unwrap())
        .stderr(output);
    let status = inside.status().unwrap();
    let said = std::fs::read_to_string(log.0.join("output")).unwrap();
    assert!(status.success() && said.contains("1 passed"), "{said}");
    println!("{said}");
}

#[expect(clippy::disallowed_methods, reason = "how a test tells its copy where it runs")]
fn is_inside() -> bool {
    std::env::var(INSIDE).is_ok()
}

/// The test above, in its namespace; by itself it does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inside_the_namespace() {
    if !is_inside() {
        return;
    }
    ip("link set lo up");
    // Rules that come before the one for local addresses can cut traffic between two of them.
    ip("rule add pref 100 lookup local");
    ip("rule del pref 0");
    let listen = |name: &'static str| (name, vec![format!("cluster.listen={}:0", address(name))]);
    let shop = Shop::open_with(&NAMES.map(listen)).await;
    let witnesses = shop.witnesses("n1").await;
    let load = [Shoppers::start(SHOPPERS, &shop.http("n1")), Shoppers::start(SHOPPERS, &shop.http("n3"))];
    let pass = async || {
        for load in &load {
            load.pass(PASS).await;
        }
    };
    for is_one_way in [false, true] {
        pass().await;
        let began = Instant::now();
        let cut: Vec<String> = ["n1", "n3"]
            .iter()
            .flat_map(|other| {
                let (from, to) = (address("n2"), address(other));
                let there = format!("pref 10 from {from} to {to} blackhole");
                let back = format!("pref 10 from {to} to {from} blackhole");
                if is_one_way { vec![there] } else { vec![there, back] }
            })
            .collect();
        cut.iter().for_each(|rule| ip(&format!("rule add {rule}")));
        let took = witnesses.all_served(&shop.http("n1"), began).await;
        println!("cut off {}: served again after {took:?}", if is_one_way { "one way" } else { "both ways" });
        assert!(took <= AFTER_SILENCE, "{took:?}");
        pass().await;
        until("the node that is cut off is not ready", async || {
            (shop.admin("n2", "/health/ready").await.0 == 503).then_some(())
        })
        .await;
        cut.iter().for_each(|rule| ip(&format!("rule del {rule}")));
        shop.balanced().await;
        until("it is ready again", async || (shop.admin("n2", "/health/ready").await.0 == 200).then_some(())).await;
        pass().await;
    }
    for load in load {
        load.finish(&shop.http("n2")).await;
    }
}

/// A way to a node's cluster listener that can be shut: what comes in is refused, what was open is reset.
struct Gate {
    address: String,
    task: Option<JoinHandle<()>>,
}

impl Gate {
    /// One that leads to `to` once that is known.
    async fn open(to: Arc<std::sync::OnceLock<String>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let task = tokio::spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((mut from, _)) = listener.accept().await {
                let Some(to) = to.get().cloned() else { continue };
                open.spawn(async move {
                    if let Ok(mut to) = TcpStream::connect(to).await {
                        let _ = copy_bidirectional(&mut from, &mut to).await; // however it ends
                    }
                });
            }
        });
        Self { address, task: Some(task) }
    }

    fn shut(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

/// P8: a node whose port refuses and whose sessions are reset looks like a dead process, and lives: it must not be
/// taken for dead while it renews its lease, and whatever happens to it, it must not lie.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p8_a_node_that_only_looks_dead_tells_nothing_old_as_new() {
    let _turn = turn().await;
    // n3 dials nobody: the others dial it, through the gate.
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let to = Arc::new(std::sync::OnceLock::from(port.to_string()));
    let mut gate = Gate::open(to).await;
    let said = |name: &'static str| match name {
        "n3" => (name, vec![format!("cluster.listen={port}"), format!("cluster.advertise={}", gate.address)]),
        _ => (name, Vec::new()),
    };
    let shop = Shop::open_with(&NAMES.map(said)).await;
    let mut connection = Connection::open(&shop.http("n1")).await.unwrap();
    let cart = until("a cart of n3's", async || {
        let cart = Cart::make(&mut connection).await.unwrap();
        let answer = cart.read(&mut connection).await.unwrap();
        (answer.header("trolley-owner") == Some("n3")).then_some(cart)
    })
    .await;
    let mut inside = Connection::open(&shop.http("n3")).await.unwrap();
    assert_eq!(cart.read(&mut inside).await.unwrap().status, 200);
    let began = Instant::now();
    gate.shut();
    // Changes go through the others for as long as the cart is n3's and after; each acknowledged one must be seen by
    // n3's own next fresh answer.
    let mut moved = false;
    while !moved {
        let changed = connection.ask(&cart.add("mug-blue", 1, Some(&format!("k{:?}", began.elapsed())))).await.unwrap();
        let acknowledged = (changed.status == 200).then(|| changed.json()["revision"].as_u64().unwrap());
        moved = changed.status == 200 && changed.header("trolley-owner") != Some("n3");
        let told = cart.read(&mut inside).await.unwrap();
        if let (Some(acknowledged), 200, None) = (acknowledged, told.status, told.header("trolley-stale")) {
            let revision = told.json()["revision"].as_u64().unwrap();
            assert!(revision >= acknowledged, "n3 told {revision} as new after {acknowledged} was acknowledged");
        }
        assert!(began.elapsed() < crate::support::wait::PATIENCE, "the cart is served by nobody else");
    }
    println!("served elsewhere after {:?}", began.elapsed());
}
