//! kill -9, twenty times, under load: a ledger holds what was acknowledged against what is found again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use loadtest::{client::Connection, shop::Cart};
use tokio::sync::watch;

use crate::support::{Server, TempDir};

const KILLS: usize = 20;
const SHOPPERS: usize = 12;
/// Seed of the moments at which the server is killed.
const SEED: u64 = 0x7401_1e75;

/// What one shopper asked and was told. Unkeyed adds go to one product, keyed ones to another.
#[derive(Debug, Default)]
struct Ledger {
    unkeyed_asked: u64,
    unkeyed_acknowledged: u64,
    keyed_done: u64,
}

/// P1 and P3 on a real process: acknowledged ⊆ recovered ⊆ attempted, and a key's effect once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_p3_twenty_kills_lose_nothing_acknowledged_and_double_nothing() {
    let dir = TempDir::new("kill");
    let mut server = Server::start(&dir.0);
    let (address, at) = watch::channel(Some(server.http.clone()));
    let ending = Arc::new(AtomicBool::new(false));
    let progress = Arc::new(AtomicU64::new(0));
    let mut shoppers = Vec::new();
    for n in 0..SHOPPERS {
        let mut connection = Connection::open(&server.http).await.unwrap();
        let cart = Cart::make(&mut connection).await.unwrap();
        shoppers.push(tokio::spawn(shop(n, cart, at.clone(), Arc::clone(&ending), Arc::clone(&progress))));
    }
    let mut moment = SEED;
    for _ in 0..KILLS {
        // Not a time but an amount of work: the kill falls into the load, however fast the machine is.
        moment = moment.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let goal = progress.load(Ordering::Relaxed) + 20 + (moment >> 33) % 200;
        while progress.load(Ordering::Relaxed) < goal {
            tokio::task::yield_now().await;
        }
        address.send_replace(None);
        server.kill();
        server = Server::start(&dir.0);
        address.send_replace(Some(server.http.clone()));
    }
    ending.store(true, Ordering::Relaxed);
    let mut totals = Ledger::default();
    let mut connection = Connection::open(&server.http).await.unwrap();
    for shopper in shoppers {
        let (cart, ledger) = shopper.await.unwrap();
        let found = cart.read(&mut connection).await.unwrap().json();
        let units = |sku: &str| {
            let lines = found["lines"].as_array().unwrap();
            lines.iter().filter(|line| line["sku"] == sku).map(|line| line["quantity"].as_u64().unwrap()).sum::<u64>()
        };
        let unkeyed = units("mug-blue");
        assert!(ledger.unkeyed_acknowledged <= unkeyed, "acknowledged and lost: {ledger:?}, found {unkeyed}");
        assert!(unkeyed <= ledger.unkeyed_asked, "more than was asked: {ledger:?}, found {unkeyed}");
        assert_eq!(units("mug-white"), ledger.keyed_done, "keyed adds, each retried until it was acknowledged");
        totals.unkeyed_asked += ledger.unkeyed_asked;
        totals.unkeyed_acknowledged += ledger.unkeyed_acknowledged;
        totals.keyed_done += ledger.keyed_done;
    }
    println!("{KILLS} kills, {totals:?}: lost 0, doubled 0");
    assert!(totals.unkeyed_acknowledged > KILLS as u64 && totals.keyed_done > KILLS as u64, "hardly any load");
}

async fn shop(
    n: usize,
    cart: Cart,
    mut at: watch::Receiver<Option<String>>,
    ending: Arc<AtomicBool>,
    progress: Arc<AtomicU64>,
) -> (Cart, Ledger) {
    let mut ledger = Ledger::default();
    let mut connection = None;
    // Below the limit of one line.
    for turn in 0..900 {
        if ending.load(Ordering::Relaxed) {
            break;
        }
        ledger.unkeyed_asked += 1;
        if once(&cart.add("mug-blue", 1, None), &mut connection, &mut at).await == Some(200) {
            ledger.unkeyed_acknowledged += 1;
        }
        progress.fetch_add(1, Ordering::Relaxed);
        let keyed = cart.add("mug-white", 1, Some(&format!("shopper-{n}-{turn}")));
        while once(&keyed, &mut connection, &mut at).await != Some(200) {}
        ledger.keyed_done += 1;
        progress.fetch_add(1, Ordering::Relaxed);
    }
    (cart, ledger)
}

/// Asks once; `None` when the connection broke, and nobody knows.
async fn once(
    request: &[u8],
    connection: &mut Option<Connection>,
    at: &mut watch::Receiver<Option<String>>,
) -> Option<u16> {
    if connection.is_none() {
        let address = at.wait_for(Option::is_some).await.ok()?.clone()?;
        *connection = Connection::open(&address).await.ok();
    }
    // A killed server resets the connection; the bound is for one that hangs.
    let asked = tokio::time::timeout(Duration::from_secs(30), connection.as_mut()?.exchange(request)).await;
    let status = asked.expect("the server hangs").ok();
    if status.is_none() {
        *connection = None;
    }
    status
}
