//! A shopper: asks one thing after the other, has each measured and what is acknowledged written down.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    catalogue::Variant,
    client::{Answer, request},
    failure::Effect,
    ledger::{Account, Ledger},
    measure::Measure,
    nodes::Nodes,
    purchases::Purchases,
    service::{Ask, Service, Settled},
    shop::Cart,
};

/// What all shoppers of a run share.
#[derive(Debug)]
pub struct World {
    /// The service.
    pub service: Arc<Service>,
    /// Where they record.
    pub measure: Measure,
    /// What they were told.
    pub ledger: Ledger,
    /// What they bought.
    pub purchases: Purchases,
    /// How many adds are acknowledged.
    pub acknowledged: AtomicU64,
    pub(crate) keys: AtomicU64,
}

/// Units to add to a cart.
#[derive(Clone, Copy, Debug)]
pub struct Add<'a> {
    /// Of this.
    pub of: &'a Variant,
    /// How many.
    pub quantity: u32,
    /// With an `Idempotency-Key`.
    pub is_keyed: bool,
    /// Which of several lines of the same product.
    pub copy: usize,
}

impl<'a> Add<'a> {
    /// One unit, with a key.
    #[must_use]
    pub fn keyed(of: &'a Variant) -> Self {
        Self { of, quantity: 1, is_keyed: true, copy: 0 }
    }

    /// One unit, without a key.
    #[must_use]
    pub fn unkeyed(of: &'a Variant) -> Self {
        Self { is_keyed: false, ..Self::keyed(of) }
    }

    fn body(&self) -> String {
        let Self { of: Variant { sku, options }, quantity, copy, .. } = self;
        let metadata = if *copy == 0 { String::new() } else { format!(r#","metadata":{{"copy":"{copy}"}}"#) };
        format!(r#"{{"sku":"{sku}","quantity":{quantity},"options":{options}{metadata}}}"#)
    }
}

impl World {
    /// A run at these nodes that begins at `began`.
    ///
    /// # Errors
    /// When nothing can be measured.
    pub fn new(nodes: Nodes, began: Instant) -> io::Result<Self> {
        Ok(Self {
            service: Arc::new(Service::new(nodes)),
            measure: Measure::new(began)?,
            ledger: Ledger::default(),
            purchases: Purchases::default(),
            acknowledged: AtomicU64::new(0),
            keys: AtomicU64::new(0),
        })
    }

    /// The same service, its ledger and its keys; another measure.
    ///
    /// # Errors
    /// As [`World::new`].
    pub fn begin(self, began: Instant) -> io::Result<Self> {
        Ok(Self { measure: Measure::new(began)?, ..self })
    }

    /// The same; what is under way at the end, or is past its expiry, may take so long to end.
    #[must_use]
    pub fn settling_within(self, settled_within: Duration) -> Self {
        Self { purchases: Purchases::settling_within(settled_within), ..self }
    }
}

/// Somebody with a device.
#[derive(Debug)]
pub struct Shopper {
    world: Arc<World>,
    due: Instant,
    /// Whether they are one of the others, whom what the rest do must not harm.
    is_other: bool,
}

impl Shopper {
    /// Somebody who should ask the first thing at `due`.
    #[must_use]
    pub fn new(world: &Arc<World>, due: Instant) -> Self {
        Self { world: Arc::clone(world), due, is_other: false }
    }

    /// Another device of theirs, which asks the next thing at the same time.
    #[must_use]
    pub fn device(&self) -> Self {
        Self { world: Arc::clone(&self.world), due: self.due, is_other: self.is_other }
    }

    /// Asks and waits for the end. The next thing is due when this one is answered: a click needs a page.
    async fn ask(&mut self, operation: &'static str, ask: &Ask) -> Result<(Answer, String), Effect> {
        let settled = self.world.service.settle(ask, self.due, None).await;
        self.measured(operation, self.due, &settled);
        self.due = Instant::now();
        settled.end.map(|(answer, node)| (answer, node.name.clone())).map_err(|(_, effect)| effect)
    }

    /// Reads a path that needs no token.
    pub async fn read(&mut self, operation: &'static str, path: &str) -> Option<Answer> {
        let ask = Ask { bytes: request("GET", path, &[], None), may_repeat: true };
        self.ask(operation, &ask).await.ok().map(|(answer, _)| answer)
    }

    /// Becomes a guest with a cart. That may be repeated without a key: a lost one is an empty cart that expires.
    pub async fn make(&mut self) -> Option<Account> {
        let ask = Ask { bytes: request("POST", "/v1/carts", &[], None), may_repeat: true };
        let (answer, _) = self.ask("make cart", &ask).await.ok()?;
        let cart = Cart::of(&answer);
        if cart.is_none() {
            self.wrong("a made cart without id or token");
        }
        Some(self.world.ledger.account(cart?))
    }

    /// Adds units and writes down what is said. The cart as answered, when it is acknowledged.
    pub async fn add(&mut self, account: &Account, add: Add<'_>) -> Option<Answer> {
        let key = add.is_keyed.then(|| format!("add-{}", self.world.keys.fetch_add(1, Ordering::Relaxed)));
        let bytes = account.cart().request("POST", "/items", key.as_deref(), Some(&add.body()));
        let (ask, since) = (Ask { bytes, may_repeat: add.is_keyed }, Instant::now());
        match self.ask(if add.is_keyed { "add, keyed" } else { "add" }, &ask).await {
            Ok((answer, node)) => {
                account.acknowledged(&add.of.sku, add.quantity, &node);
                self.world.acknowledged.fetch_add(1, Ordering::Relaxed);
                return Some(answer);
            }
            Err(Effect::None) => {}
            Err(Effect::Unknown) if add.is_keyed => account.open(&add.of.sku, add.quantity, ask, since),
            Err(Effect::Unknown) => account.unknown(&add.of.sku, add.quantity),
        }
        None
    }

    /// Sets a line's quantity, without a key.
    pub async fn set(&mut self, account: &Account, line: &str, quantity: u32) -> Option<Answer> {
        let body = format!(r#"{{"quantity":{quantity}}}"#);
        let bytes = account.cart().request("PATCH", &format!("/items/{line}"), None, Some(&body));
        self.ask("set", &Ask { bytes, may_repeat: false }).await.ok().map(|(answer, _)| answer)
    }

    /// Reads the cart: what is acknowledged must be in it, unless the answer says that it is stale.
    pub async fn look(&mut self, account: &Account) -> Option<Answer> {
        let ask = Ask { bytes: account.cart().request("GET", "", None, None), may_repeat: true };
        let so_far = account.so_far();
        let (answer, _) = self.ask("read cart", &ask).await.ok()?;
        if answer.header("trolley-stale").is_none() && !so_far.is_in(&answer.json()) {
            self.wrong("a cart without an acknowledged add");
        }
        Some(answer)
    }

    /// Is one of the others, whom what the rest do must not harm: what they get is told apart.
    pub(crate) fn is_one_of_the_others(&mut self) {
        self.is_other = true;
    }

    /// A request, due at `due`, has ended.
    pub(crate) fn measured(&self, operation: &'static str, due: Instant, settled: &Settled) {
        self.world.measure.request(operation, due, settled);
        if self.is_other {
            self.world.measure.of_others(due, settled);
        }
    }

    pub(crate) fn world(&self) -> &Arc<World> {
        &self.world
    }

    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// The next thing should be asked then.
    pub(crate) fn is_due(&mut self, at: Instant) {
        self.due = at;
    }

    /// How many orders all shoppers have.
    pub(crate) fn orders(&self) -> u64 {
        self.world.purchases.acknowledged()
    }

    /// Does something else for a while.
    pub(crate) async fn wait(&mut self, pause: Duration) {
        tokio::time::sleep(pause).await;
        self.due = Instant::now();
    }

    /// Something that was answered is wrong.
    pub fn wrong(&self, what: &str) {
        self.world.measure.wrong(what);
    }
}
