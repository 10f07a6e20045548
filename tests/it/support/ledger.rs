//! Shoppers under load, and a ledger of what they asked and were told: acknowledged ⊆ recovered ⊆ attempted, and each
//! key's effect once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use loadtest::{client::Connection, shop::Cart};
use tokio::{sync::watch, task::JoinHandle};

/// Turns in one cart, each one unkeyed and one keyed add: below the limit of a line.
const TURNS_PER_CART: u64 = 400;
/// Pause after anything but success: a shopper who is told to come back does not come at once.
const PAUSE: Duration = Duration::from_millis(20);
/// How long an answer may take before a server counts as hanging: beyond every time limit that it has itself.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a number of acknowledgements may take.
const PASS_TIMEOUT: Duration = Duration::from_secs(120);

/// What was asked and told, of one cart or of all.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ledger {
    /// Unkeyed adds go to one product.
    pub(crate) unkeyed_asked: u64,
    pub(crate) unkeyed_acknowledged: u64,
    /// Keyed adds to another, each repeated until it is acknowledged.
    pub(crate) keyed_done: u64,
}

/// Several shoppers, each on a connection of its own.
pub(crate) struct Shoppers {
    at: watch::Sender<Option<String>>,
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<Vec<(Cart, Ledger)>>>,
}

#[derive(Default)]
struct Shared {
    ending: AtomicBool,
    acknowledged: AtomicU64,
}

impl Shoppers {
    /// Sends them to this address.
    pub(crate) fn start(count: usize, http: &str) -> Self {
        let at = watch::Sender::new(Some(http.to_owned()));
        let shared = Arc::<Shared>::default();
        let tasks = (0..count)
            .map(|n| {
                let shopper = Shopper { n, at: at.subscribe(), connection: None, shared: Arc::clone(&shared) };
                tokio::spawn(shopper.shop())
            })
            .collect();
        Self { at, shared, tasks }
    }

    /// From now on they go there; `None` = nowhere for a while.
    pub(crate) fn go_to(&self, http: Option<&str>) {
        self.at.send_replace(http.map(str::to_owned));
    }

    /// Waits until so many more adds are acknowledged: not a time but an amount of work, however fast the machine is.
    pub(crate) async fn pass(&self, acknowledgements: u64) {
        let goal = self.shared.acknowledged.load(Ordering::Relaxed) + acknowledgements;
        let passing = async {
            let mut looks = tokio::time::interval(Duration::from_millis(2));
            while self.shared.acknowledged.load(Ordering::Relaxed) < goal {
                looks.tick().await;
            }
        };
        let passed = tokio::time::timeout(PASS_TIMEOUT, passing).await;
        passed.unwrap_or_else(|_| panic!("the service does not go on: {acknowledgements} adds were waited for"));
    }

    /// Ends the load and holds the ledger against what is found at this address.
    pub(crate) async fn finish(self, http: &str) -> Ledger {
        self.shared.ending.store(true, Ordering::Relaxed);
        self.at.send_replace(Some(http.to_owned()));
        let mut totals = Ledger::default();
        let mut connection = Connection::open(http).await.unwrap();
        for task in self.tasks {
            for (cart, ledger) in task.await.unwrap() {
                let found = cart.read(&mut connection).await.unwrap().json();
                check(&found, ledger);
                totals.unkeyed_asked += ledger.unkeyed_asked;
                totals.unkeyed_acknowledged += ledger.unkeyed_acknowledged;
                totals.keyed_done += ledger.keyed_done;
            }
        }
        println!("{totals:?}: lost 0, doubled 0");
        totals
    }
}

fn check(found: &serde_json::Value, ledger: Ledger) {
    let units = |sku: &str| {
        let lines = found["lines"].as_array().unwrap_or_else(|| panic!("the cart cannot be read: {found}"));
        lines.iter().filter(|line| line["sku"] == sku).map(|line| line["quantity"].as_u64().unwrap()).sum::<u64>()
    };
    let unkeyed = units("mug-blue");
    assert!(ledger.unkeyed_acknowledged <= unkeyed, "acknowledged and lost: {ledger:?}, found {unkeyed}");
    assert!(unkeyed <= ledger.unkeyed_asked, "more than was asked: {ledger:?}, found {unkeyed}");
    assert_eq!(units("mug-white"), ledger.keyed_done, "keyed adds, each repeated until it was acknowledged");
}

struct Shopper {
    n: usize,
    at: watch::Receiver<Option<String>>,
    connection: Option<Connection>,
    shared: Arc<Shared>,
}

impl Shopper {
    fn is_ending(&self) -> bool {
        self.shared.ending.load(Ordering::Relaxed)
    }

    async fn shop(mut self) -> Vec<(Cart, Ledger)> {
        let mut carts = Vec::new();
        while !self.is_ending() {
            let Some(cart) = self.cart().await else { continue };
            let mut ledger = Ledger::default();
            for turn in 0..TURNS_PER_CART {
                if self.is_ending() {
                    break;
                }
                ledger.unkeyed_asked += 1;
                if self.asked(&cart.add("mug-blue", 1, None)).await {
                    ledger.unkeyed_acknowledged += 1;
                }
                let keyed = cart.add("mug-white", 1, Some(&format!("shopper-{}-{turn}", self.n)));
                while !self.asked(&keyed).await {}
                ledger.keyed_done += 1;
            }
            carts.push((cart, ledger));
        }
        carts
    }

    async fn cart(&mut self) -> Option<Cart> {
        self.connect().await;
        let made = tokio::time::timeout(ANSWER_TIMEOUT, Cart::make(self.connection.as_mut()?)).await;
        let cart = made.expect("the server hangs").ok();
        if cart.is_none() {
            self.connection = None;
            pause().await;
        }
        cart
    }

    async fn connect(&mut self) {
        if self.at.has_changed().unwrap_or(false) {
            self.connection = None;
        }
        while self.connection.is_none() {
            let address = self.at.wait_for(Option::is_some).await.ok().and_then(|address| address.clone());
            self.at.mark_unchanged();
            let Some(address) = address else { return };
            self.connection = Connection::open(&address).await.ok();
            if self.connection.is_none() {
                pause().await;
            }
        }
    }

    /// Asks once. Anything but 200 may have had its effect, as far as the ledger goes.
    async fn asked(&mut self, request: &[u8]) -> bool {
        self.connect().await;
        let Some(connection) = &mut self.connection else { return false };
        // A killed server resets the connection; the bound is for one that hangs.
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, connection.exchange(request)).await;
        let status = answer.expect("the server hangs").ok();
        match status {
            Some(200) => {
                self.shared.acknowledged.fetch_add(1, Ordering::Relaxed);
                return true;
            }
            Some(503) => pause().await,

            Some(other) => panic!("an add was answered {other}"),
            None => self.connection = None,
        }
        false
    }
}

async fn pause() {
    let mut pause = tokio::time::interval(PAUSE);
    pause.tick().await; // at once
    pause.tick().await;
}
