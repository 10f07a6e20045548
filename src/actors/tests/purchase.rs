//! Whole purchases on a real runtime: carts, stock, the sandbox bank, orders.

use std::sync::Arc;

use tokio::sync::Notify;

use super::{Alone, TIMEOUT, ask, cart_id, create, guest, options, start};
use crate::{
    actors::{Ask, Handle, Key, Shop, cart::checkout_item, stock::stock_id},
    catalog::{self, Catalog},
    domain::{
        CartId, CheckoutId, OrderId, UnixMillis,
        address::{Address, Country},
        cart::{self, Addition, Cart, Owner},
        checkout::{self, AttemptState, Checkout, Email, Patch, Status},
        order::{self, Capture, Order},
        payment::Token,
        pricing,
        stock::Stock,
    },
    payments::{Gateway, Gateways, Limits, Sandbox, sandbox},
    store::{
        Memory, Store,
        faulty::{Fault, Faulty},
    },
    telemetry::clock,
};

const PRODUCT: &[u8] = br#"{"sku":"mug","title":"Mug","description":"A mug","price":{"amount":1299,"currency":"EUR"},"stock":5,"weight_g":300,"quantity_max":99}
"#;

struct Shopping {
    system: Alone,
    shop: Shop,
}

async fn shop() -> Shopping {
    shop_on(Memory::default()).await
}

async fn shop_on(store: impl Store + Clone) -> Shopping {
    let system = start(&store, options()).await;
    let store: Arc<dyn Store> = Arc::new(store);
    let products = catalog::parse(PRODUCT).unwrap();
    catalog::import(&store, PRODUCT, &products, &mut |_| {}).await.unwrap();
    let sandbox: Arc<dyn Gateway> = Arc::new(Sandbox::new(Arc::clone(&store), sandbox::Options::default()));
    let shop = Shop {
        catalog: Catalog::open(store).await.unwrap(),
        tables: Arc::new(catalog::built_in_tables().unwrap()),
        gateways: Arc::new(Gateways::new([("sandbox".into(), sandbox)], Limits::default())),
        capture: Capture::AtOrder,
        checkout_ttl_ms: 15 * 60_000,
        checkout_ttl_max_ms: 60 * 60_000,
    };
    system.open_shop(shop.clone());
    Shopping { system, shop }
}

fn to_checkout(command: checkout::Command, key: Option<u128>) -> Ask<checkout::Command> {
    let key = key.map(|key| Key { key, request: key });
    Ask { command, by: Some(Owner::Guest(guest())), if_revision: None, key, timeout: TIMEOUT, deed: None }
}

async fn until(handle: &Handle, id: CheckoutId, is_there: impl Fn(&Checkout) -> bool) -> Arc<Checkout> {
    let mut states = loop {
        // It is made by its cart, soon.
        match handle.watch_checkout(id, TIMEOUT).await {
            Ok(states) => break states,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    let found = tokio::time::timeout(TIMEOUT, states.wait_for(|checkout| is_there(checkout))).await;
    Arc::clone(&found.unwrap().unwrap())
}

async fn ordered(handle: &Handle, id: OrderId, is_there: impl Fn(&Order) -> bool) -> Arc<Order> {
    let mut states = handle.watch_order(id, TIMEOUT).await.unwrap();
    let found = tokio::time::timeout(TIMEOUT, states.wait_for(|order| is_there(order))).await;
    Arc::clone(&found.unwrap().unwrap())
}

impl Shopping {
    /// A cart with so many mugs, in a checkout whose goods were asked for.
    async fn begin(&self, n: u128, mugs: u16) -> (CartId, Arc<Checkout>) {
        let (cart, id) = self.ask_for_checkout(n, mugs).await;
        (cart, until(&self.system.handle(), id, |checkout| !checkout.is_holding()).await)
    }

    /// A cart with so many mugs that has asked for its checkout.
    async fn ask_for_checkout(&self, n: u128, mugs: u16) -> (CartId, CheckoutId) {
        let handle = self.system.handle();
        let (cart, id) = (cart_id(n), CheckoutId::new(guest().slot(), UnixMillis(1), n));
        create(&handle, cart).await.unwrap();
        let add = cart::Command::Add(Addition {
            sku: "mug".into(),
            title: "Mug".into(),
            unit_price: 1_299,
            currency: crate::domain::Currency::EUR,
            quantity: mugs,
            quantity_max: 99,
            options: Box::default(),
            metadata: Box::default(),
        });
        handle.ask_cart(cart, ask(add, None)).await.unwrap();
        let begin = cart::Command::Begin { checkout: id, prices: Vec::new() };
        handle.ask_cart(cart, ask(begin, None)).await.unwrap();
        (cart, id)
    }

    async fn address(&self, checkout: &Checkout) {
        let address = Address {
            name: "Ada".into(),
            line1: "Street 1".into(),
            line2: None,
            city: "Berlin".into(),
            region: None,
            postal_code: "10115".into(),
            country: Country::parse("DE").unwrap(),
        };
        let items: Vec<_> = checkout.lines.iter().map(checkout_item).collect();
        let request = |option| pricing::Request {
            currency: checkout.currency,
            items: &items,
            rules: &checkout.codes,
            now: clock::now(),
            address: Some(&address),
            option,
            tables: &self.shop.tables,
        };
        let offers = pricing::quote(&request(None)).unwrap().quote.offers;
        let option = offers[0].id.clone();
        let quote = pricing::quote(&request(Some(&option))).unwrap().quote;
        let patch = Patch {
            email: Some(Some(Email("ada@example.com".into()))),
            address: Some(Some(address.clone())),
            option: Some(Some(option)),
            quote,
        };
        let patch = to_checkout(checkout::Command::Patch(Box::new(patch)), None);
        self.system.handle().ask_checkout(checkout.id, patch).await.unwrap();
    }

    async fn pay(&self, id: CheckoutId, token: &str, key: u128) -> u32 {
        let complete = checkout::Command::Complete { gateway: "sandbox".into(), token: Token(token.into()) };
        self.system.handle().ask_checkout(id, to_checkout(complete, Some(key))).await.unwrap().outcome
    }

    async fn stock(&self) -> Arc<Stock> {
        Arc::clone(&self.system.handle().stock(stock_id("mug"), TIMEOUT).await.unwrap())
    }
}

/// Whoever begins a checkout waits for its goods to be held, not for the checkout to have written that down.
#[tokio::test]
async fn what_others_have_done_is_told_while_it_is_being_saved() {
    let store = Faulty::new(Memory::default());
    let shopping = shop_on(store.clone()).await;
    let handle = shopping.system.handle();
    let (birth, gate) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    // The cart is made, filled and begins to be bought; the checkout is made, its goods are held; then both write down what
    // the others did.
    let begun = [Fault::None, Fault::None, Fault::None, Fault::Hold(Arc::clone(&birth)), Fault::None];
    store.on_saves(begun.into_iter().chain([Fault::Hold(Arc::clone(&gate)), Fault::Hold(Arc::clone(&gate))]));
    let (cart, id) = shopping.ask_for_checkout(1, 2).await;
    while handle.stock(stock_id("mug"), TIMEOUT).await.is_err() {
        tokio::task::yield_now().await;
    }
    birth.notify_one();
    let mut carts = handle.watch_cart(cart, TIMEOUT).await.unwrap();
    let is_opened = |cart: &Arc<Cart>| cart.checkout.as_ref().is_some_and(|checkout| checkout.opened);
    tokio::time::timeout(TIMEOUT, carts.wait_for(is_opened)).await.unwrap().unwrap();
    let told = until(&handle, id, |checkout| !checkout.is_holding()).await;
    let shown = handle.checkout(id, TIMEOUT).await.unwrap();
    assert!(shown.is_holding(), "readers see what is saved");
    assert_eq!((told.revision, told.updated_at), (shown.revision, shown.updated_at), "clients see nothing of it");
    assert_eq!(shopping.stock().await.available, 3, "it is so");
    while handle.checkout(id, TIMEOUT).await.unwrap().is_holding() {
        gate.notify_one();
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn p4_p5_p6_a_purchase_makes_one_paid_order_and_settles_the_cart() {
    let shopping = shop().await;
    let handle = shopping.system.handle();
    let (cart, checkout) = shopping.begin(1, 2).await;
    assert_eq!((checkout.visible_status(), shopping.stock().await.held()), (Status::Open, 2));
    shopping.address(&checkout).await;
    shopping.pay(checkout.id, "tok_approve", 1).await;
    let completed = until(&handle, checkout.id, |checkout| checkout.visible_status() == Status::Completed).await;
    let order = ordered(&handle, completed.order_id().unwrap(), |order| order.is_paid()).await;
    assert_eq!((order.payment.captured, order.payment.authorised), (completed.quote.total, completed.quote.total));
    let mut carts = handle.watch_cart(cart, TIMEOUT).await.unwrap();
    carts.wait_for(|cart| cart.status == cart::Status::Ordered).await.unwrap();
    let stock = shopping.stock().await;
    assert_eq!((stock.available, stock.held(), stock.sold, stock.on_hand()), (3, 0, 2, 5));
}

#[tokio::test]
async fn p5_a_decline_returns_to_open_and_another_token_pays() {
    let shopping = shop().await;
    let handle = shopping.system.handle();
    let (_, checkout) = shopping.begin(1, 1).await;
    shopping.address(&checkout).await;
    let first = shopping.pay(checkout.id, "tok_decline", 1).await;
    let is_over = |checkout: &Checkout| {
        checkout.attempt(first).is_some_and(|attempt| attempt.state != AttemptState::Pending)
            && checkout.visible_status() == Status::Open
    };
    let declined = until(&handle, checkout.id, is_over).await;
    assert!(matches!(declined.attempt(first).unwrap().state, AttemptState::Declined { .. }), "{declined:?}");
    assert_eq!(shopping.stock().await.held(), 1, "the goods are still held");
    shopping.pay(checkout.id, "tok_approve", 2).await;
    until(&handle, checkout.id, |checkout| checkout.visible_status() == Status::Completed).await;
}

#[tokio::test]
async fn p4_what_is_not_there_is_not_sold_and_the_cart_is_let_go() {
    let shopping = shop().await;
    let (cart, checkout) = shopping.begin(1, 6).await;
    assert_eq!(checkout.visible_status(), Status::Cancelled);
    let refused: Vec<_> = checkout.refused_lines().map(|line| (line.wanted, line.available)).collect();
    assert_eq!(refused, [(6, 5)]);
    let mut carts = shopping.system.handle().watch_cart(cart, TIMEOUT).await.unwrap();
    carts.wait_for(|cart| cart.status == cart::Status::Open).await.unwrap();
    assert!(shopping.system.handle().stock(stock_id("mug"), TIMEOUT).await.is_err(), "nobody opened it");
}

#[tokio::test]
async fn p5_p6_a_capture_refused_for_good_cancels_the_order_and_restocks() {
    let shopping = shop().await;
    let handle = shopping.system.handle();
    let (_, checkout) = shopping.begin(1, 1).await;
    shopping.address(&checkout).await;
    shopping.pay(checkout.id, "tok_capture_fails", 1).await;
    let completed = until(&handle, checkout.id, |checkout| checkout.visible_status() == Status::Completed).await;
    let order =
        ordered(&handle, completed.order_id().unwrap(), |order| order.status() == order::Status::Cancelled).await;
    assert_eq!(order.payment.captured, 0);
    let mut stocks = handle.watch_stock(stock_id("mug"), TIMEOUT).await.unwrap();
    stocks.wait_for(|stock| (stock.available, stock.sold, stock.held()) == (5, 0, 0)).await.unwrap();
}
