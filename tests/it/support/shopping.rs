//! Shoppers at a real node, over HTTP, and the reckoning of what they did: goods, orders and the sandbox bank's book.

use std::sync::{
    Arc, Mutex, Weak,
    atomic::{AtomicU64, Ordering},
};

use futures_util::future::join_all;
use loadtest::{
    client::{Answer, Connection, request},
    nodes::{Node, Nodes},
    purchases::{self, Purchases, Reconciled, Stock},
    service::Service,
    shop::{Cart, Checkout},
};
use serde_json::{Value, json};
use trolley::actors::inspect::Subject;

use super::{Server, TempDir, gate::Gate, wait::until};

/// What a parcel to [`ADDRESS`] costs by the built-in tables, up to 2 kg.
pub(crate) const SHIPPING: i64 = 490;
/// Of one unit of what these shoppers buy.
const WEIGHT_G: u32 = 100;

/// Where the goods go.
pub(crate) fn address() -> Value {
    json!({ "name": "Ada Lovelace", "line1": "Torstr. 1", "city": "Berlin", "postal_code": "10119", "country": "DE" })
}

/// A node and its directory.
struct Shop {
    server: Server,
    service: Arc<Service>,
    /// How many products and codes were named.
    named: AtomicU64,
    /// What holds single rows' saves back, where that was wanted.
    gate: Option<Gate>,
    _dir: TempDir,
}

impl Shop {
    fn start(options: &[&str]) -> Self {
        Self::start_at(TempDir::new("sale"), None, options)
    }

    fn start_gated(options: &[&str]) -> Self {
        let dir = TempDir::new("sale");
        let gate = Gate::serve(&dir);
        let served = gate.options();
        let options: Vec<_> = options.iter().copied().chain(served.iter().map(String::as_str)).collect();
        Self::start_at(dir, Some(gate), &options)
    }

    fn start_at(dir: TempDir, gate: Option<Gate>, options: &[&str]) -> Self {
        let server = Server::start_with(&dir.0, |command| {
            for option in options {
                command.args(["--set", option]);
            }
        });
        let node = Node { name: "n1".to_owned(), http: server.http.clone(), admin: Some(server.admin.clone()) };
        let service = Arc::new(Service::new(Nodes::new(vec![node])));
        Self { server, service, named: AtomicU64::new(0), gate, _dir: dir }
    }

    /// The node of all tests that do not harm it: it lives for as long as one of them runs.
    fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Shop>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap();
        shared.upgrade().unwrap_or_else(|| {
            let shop = Arc::new(Self::start(&[]));
            *shared = Arc::downgrade(&shop);
            shop
        })
    }
}

/// One test's part of a shop: products of its own, and the checkouts that its shoppers began.
pub(crate) struct Sale {
    shop: Arc<Shop>,
    purchases: Purchases,
    begun: Mutex<Vec<Checkout>>,
}

impl Sale {
    /// At the node that is shared.
    pub(crate) fn open() -> Self {
        Self::at(Shop::shared())
    }

    /// At a node of its own, with these options.
    pub(crate) fn open_with(options: &[&str]) -> Self {
        Self::at(Arc::new(Shop::start(options)))
    }

    /// At a node of its own, whose saves can be held: in a test whose runtime has threads, as the test serves the store.
    pub(crate) fn open_gated(options: &[&str]) -> Self {
        Self::at(Arc::new(Shop::start_gated(options)))
    }

    fn at(shop: Arc<Shop>) -> Self {
        Self { shop, purchases: Purchases::default(), begun: Mutex::default() }
    }

    /// Holds the saves of an actor (its id, or `stock:<sku>`) until so many of `asks` have come to it: none of them can
    /// have seen another's in the store.
    pub(crate) async fn all_at<T>(&self, actor: &str, count: u64, asks: impl Future<Output = T>) -> T {
        let path = format!("/admin/actors/{actor}");
        let all_there = async {
            until("all have come to the actor", async || {
                let machine = &self.admin("GET", &path, None, None).await.json()["machine"];
                (machine["waiting"].as_u64()? + machine["riding"].as_u64()? >= count).then_some(())
            })
            .await;
        };
        let subject: Subject = actor.parse().unwrap();
        self.shop.gate.as_ref().unwrap().hold(subject.row().1.0, all_there, asks).await
    }

    /// Has each tab send its request, none of which is saved by the actor that they are for before all have come to it.
    pub(crate) async fn at_once(&self, actor: &str, tabs: &mut [Shopper], requests: &[Vec<u8>]) -> Vec<Answer> {
        self.all_at(actor, requests.len() as u64, at_once(tabs, requests)).await
    }

    /// A name that no other product or code at the node has.
    pub(crate) fn name(&self, what: &str) -> String {
        format!("{what}-{}", self.shop.named.fetch_add(1, Ordering::Relaxed))
    }

    /// Puts a product on sale, of which there are so many.
    pub(crate) async fn product(&self, price: i64, stock: u32) -> String {
        self.product_with(price, stock, &json!({})).await
    }

    /// The same, with more said of it.
    pub(crate) async fn product_with(&self, price: i64, stock: u32, more: &Value) -> String {
        let sku = self.name("goods");
        self.put(&sku, price, stock, more).await;
        self.purchases.sells(&self.shop.service, &sku).await.unwrap();
        sku
    }

    /// Gives a product another price; of its stock the catalogue says the same as before.
    pub(crate) async fn reprice(&self, sku: &str, price: i64, stock: u32) {
        self.put(sku, price, stock, &json!({})).await;
    }

    async fn put(&self, sku: &str, price: i64, stock: u32, more: &Value) {
        let mut product = json!({ "sku": sku, "title": format!("The {sku}"), "weight_g": WEIGHT_G, "stock": stock,
            "price": { "amount": price, "currency": "EUR" } });
        for (name, value) in more.as_object().unwrap() {
            product[name] = value.clone();
        }
        let put = self.admin("PUT", &format!("/admin/products/{sku}"), None, Some(&product)).await;
        assert_eq!(put.status, 200, "{}", put.json());
    }

    /// Defines a discount code and returns its name.
    pub(crate) async fn code(&self, definition: &Value) -> String {
        let code = self.name("CODE");
        let put = self.admin("PUT", &format!("/admin/discount-codes/{code}"), None, Some(definition)).await;
        assert_eq!(put.status, 200, "{}", put.json());
        code
    }

    /// What an operator is answered.
    pub(crate) async fn admin(&self, method: &str, path: &str, key: Option<&str>, body: Option<&Value>) -> Answer {
        let headers: Vec<_> = key.map(|key| ("idempotency-key", key)).into_iter().collect();
        let body = body.map(Value::to_string);
        let mut connection = Connection::open(&self.shop.server.admin).await.unwrap();
        connection.ask(&request(method, path, &headers, body.as_deref())).await.unwrap()
    }

    /// What is there of a product.
    pub(crate) async fn stock(&self, sku: &str) -> Stock {
        purchases::stock(&self.shop.service, sku).await.unwrap()
    }

    /// Waits until so many units of a product can be had, are held, and are sold.
    pub(crate) async fn stocked(&self, sku: &str, available: u64, held: u64, sold: u64) {
        let stock = Stock { available, held, sold, on_hand: available + held + sold };
        until("the stock is as it should be", async || (self.stock(sku).await == stock).then_some(())).await;
    }

    /// The payments of a checkout in the bank's book.
    pub(crate) async fn payments(&self, checkout: &Checkout) -> Vec<Value> {
        let (mut found, mut path) = (Vec::new(), "/admin/sandbox/payments".to_owned());
        let key = format!("{}-", checkout.id.trim_start_matches("chk_"));
        loop {
            let page = self.admin("GET", &path, None, None).await.json();
            let of_it = |payment: &&Value| payment["key"].as_str().unwrap().starts_with(&key);
            found.extend(page["items"].as_array().unwrap().iter().filter(of_it).cloned());
            let Some(cursor) = page["next_cursor"].as_str() else { return found };
            path = format!("/admin/sandbox/payments?cursor={cursor}");
        }
    }

    /// The sum of a metric of the node over all its labels.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let page = String::from_utf8(self.admin("GET", "/metrics", None, None).await.body).unwrap();
        let of_it = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
        page.lines().filter(of_it).map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    /// A guest with an empty cart.
    pub(crate) async fn shopper(&self) -> Shopper {
        let http = self.shop.server.http.clone();
        let mut connection = Connection::open(&http).await.unwrap();
        Shopper { cart: Cart::make(&mut connection).await.unwrap(), http, connection }
    }

    /// Guests, each with so many units of a product in the cart.
    pub(crate) async fn shoppers(&self, count: usize, sku: &str, quantity: u32) -> Vec<Shopper> {
        let shopper = async || {
            let mut shopper = self.shopper().await;
            shopper.add(sku, quantity).await;
            shopper
        };
        join_all((0..count).map(|_| shopper())).await
    }

    /// A checkout of this test's was begun.
    pub(crate) fn begun(&self, checkout: &Checkout) {
        self.begun.lock().unwrap().push(checkout.clone());
    }

    /// Cancels what is open, and waits until goods, orders and money fit each other: on hand = available + held + sold,
    /// nothing held, each order that stands paid exactly once, and no money reserved or taken for anything else. There
    /// must be so many orders, and so many units in those that stand.
    pub(crate) async fn reckon(&self, orders: u64, units: u64) -> Reconciled {
        let begun = self.begun.lock().unwrap().clone();
        // Money and goods go back a moment after it is said.
        let found = until("goods, orders and money fit each other", async || {
            begun.iter().for_each(|checkout| self.purchases.begun(checkout));
            let found = self.purchases.audit(&self.shop.service).await.unwrap();
            if !found.is_clean() {
                println!("{found}");
            }
            found.is_clean().then_some(found)
        })
        .await;
        assert_eq!((found.orders, found.units), (orders, units), "{found}");
        found
    }

    /// Stops the node; everything that it logged.
    pub(crate) fn stop(self) -> String {
        Arc::into_inner(self.shop).unwrap().server.stop()
    }
}

/// A shopper's tab, with a connection of its own.
pub(crate) struct Shopper {
    pub(crate) cart: Cart,
    http: String,
    connection: Connection,
}

impl Shopper {
    /// Another tab of the same shopper.
    pub(crate) async fn tab(&self) -> Self {
        let connection = Connection::open(&self.http).await.unwrap();
        Self { cart: self.cart.clone(), http: self.http.clone(), connection }
    }

    /// So many of them.
    pub(crate) async fn tabs(&self, count: usize) -> Vec<Self> {
        join_all((0..count).map(|_| self.tab())).await
    }

    /// Where the shop is reached.
    pub(crate) fn address_of_the_shop(&self) -> &str {
        &self.http
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Answer {
        self.connection.ask(bytes).await.unwrap()
    }

    /// Asks with the shopper's token.
    pub(crate) async fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let bearer = format!("Bearer {}", self.cart.token);
        let headers: Vec<_> = [("authorization", bearer.as_str())].into_iter().chain(headers.iter().copied()).collect();
        let body = body.map(Value::to_string);
        self.send(&request(method, path, &headers, body.as_deref())).await
    }

    /// The cart with so many more units in it.
    pub(crate) async fn add(&mut self, sku: &str, quantity: u32) -> Value {
        let added = self.send(&self.cart.add(sku, quantity, None)).await;
        assert_eq!(added.status, 200, "{}", added.json());
        added.json()
    }

    pub(crate) async fn read_cart(&mut self) -> Value {
        self.cart.read(&mut self.connection).await.unwrap().json()
    }

    /// The cart, once it has this status.
    pub(crate) async fn cart_once(&mut self, status: &str) -> Value {
        until("the cart has a status", async || Some(self.read_cart().await).filter(|cart| cart["status"] == status))
            .await
    }

    /// Begins to buy the cart.
    pub(crate) async fn begin(&mut self, sale: &Sale) -> Checkout {
        let begun = self.send(&Checkout::begin(&self.cart, &sale.name("begin"))).await;
        assert_eq!(begun.status, 201, "{}", begun.json());
        let checkout = Checkout::of(&begun, &self.cart).unwrap();
        sale.begun(&checkout);
        checkout
    }

    /// Says to whom, where to and how the goods go; the checkout then.
    pub(crate) async fn address(&mut self, checkout: &Checkout) -> Value {
        let seen = self.read(checkout).await;
        let tag = format!("\"{}\"", seen["revision"]);
        let body = json!({ "email": "ada@shop.example", "shipping_address": address(), "shipping_option": "standard" });
        let path = format!("/v1/checkouts/{}", checkout.id);
        let patched = self.ask("PATCH", &path, &[("if-match", &tag)], Some(&body)).await;
        assert_eq!(patched.status, 200, "{}", patched.json());
        patched.json()
    }

    /// A checkout that lacks nothing but the payment.
    pub(crate) async fn ready(&mut self, sale: &Sale) -> Checkout {
        let checkout = self.begin(sale).await;
        self.address(&checkout).await;
        checkout
    }

    pub(crate) async fn pay(&mut self, checkout: &Checkout, token: &str, key: &str) -> Answer {
        self.send(&checkout.complete(token, key)).await
    }

    /// Buys the cart; the order, once it is paid.
    pub(crate) async fn buy(&mut self, sale: &Sale) -> Value {
        let checkout = self.ready(sale).await;
        let paid = self.pay(&checkout, "tok_approve", "pay").await;
        let id = order_id(&paid);
        self.order_once(&checkout.order(&id), "paid").await
    }

    pub(crate) async fn read(&mut self, checkout: &Checkout) -> Value {
        self.send(&checkout.read()).await.json()
    }

    /// The checkout, once it has this status.
    pub(crate) async fn checkout_once(&mut self, checkout: &Checkout, status: &str) -> Value {
        until("the checkout has a status", async || {
            Some(self.read(checkout).await).filter(|checkout| checkout["status"] == status)
        })
        .await
    }

    /// The order that a request reads, once it has this status.
    pub(crate) async fn order_once(&mut self, read: &[u8], status: &str) -> Value {
        until("the order has a status", async || {
            Some(self.send(read).await.json()).filter(|order| order["status"] == status)
        })
        .await
    }

    /// What the sandbox is told when the shopper confirms the payment of this checkout's attempt.
    pub(crate) async fn confirm(&mut self, checkout: &Checkout, attempt: u32) -> Answer {
        self.ask("POST", &action(checkout, attempt), &[], None).await
    }
}

/// Where a payment is confirmed.
pub(crate) fn action(checkout: &Checkout, attempt: u32) -> String {
    format!("/v1/sandbox/actions/sbx_{}-{attempt}", checkout.id.trim_start_matches("chk_"))
}

/// The order of a checkout that was completed.
pub(crate) fn order_id(completed: &Answer) -> String {
    let told = completed.json();
    assert_eq!((completed.status, &told["status"]), (200, &json!("completed")), "{told}");
    told["order_id"].as_str().unwrap().to_owned()
}

/// Has each tab send its request before any answer is read.
pub(crate) async fn at_once(tabs: &mut [Shopper], requests: &[Vec<u8>]) -> Vec<Answer> {
    join_all(tabs.iter_mut().zip(requests).map(|(tab, bytes)| tab.send(bytes))).await
}

/// The products and quantities of a cart's, a checkout's or an order's lines.
pub(crate) fn lines(of: &Value) -> Vec<(String, u64)> {
    let line = |line: &Value| (line["sku"].as_str().unwrap().to_owned(), line["quantity"].as_u64().unwrap());
    of["lines"].as_array().unwrap().iter().map(line).collect()
}
