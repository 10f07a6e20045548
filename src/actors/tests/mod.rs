//! Real shards on a real runtime: crashes, a store that fails, two owners, memory pressure, timers.

mod hosting;
mod purchase;

use std::{sync::Arc, time::Duration};

use tokio::sync::Notify;

use super::{Answer, Ask, Effect, Failure, Handle, Key, Node, Options, System, Told, durable::Facts, prepare};
use crate::{
    cluster::{self, Identity, Keeper, Lease, Machine, Rules},
    codec,
    domain::{
        CartId, Currency, GuestId, Slot, UnixMillis,
        cart::{Addition, Cart, Command, Owner, Refusal, Status},
        discount::{Rule, Worth},
    },
    store::{
        Kind, Memory, Store,
        faulty::{Fault, Faulty},
    },
    telemetry::clock,
};

type Answered = Result<Told<Answer<Cart>>, Failure<Refusal>>;

const TIMEOUT: Duration = Duration::from_secs(5);

/// A node alone, and what keeps it so.
struct Alone {
    system: System,
    _keeper: Keeper,
}

impl std::ops::Deref for Alone {
    type Target = System;
    fn deref(&self) -> &System {
        &self.system
    }
}

async fn start(store: &(impl Store + Clone), options: Options) -> Alone {
    let store: Arc<dyn Store> = Arc::new(store.clone());
    let identity = Identity {
        name: "n1".into(),
        http: String::new(),
        admin: String::new(),
        cluster: String::new(),
        release: "0".into(),
    };
    let shards = options.shards;
    if !cluster::is_made(&store, shards).await.unwrap() {
        prepare(&store, shards).await.unwrap();
    }
    let seat = cluster::join(&store, &identity, clock::now(), &clock::random).await.unwrap();
    let lease = Lease::for_ever();
    let node = Node { name: identity.name, incarnation: seat.incarnation(), lease: lease.clone(), links: None };
    let system = System::start(options, Arc::clone(&store), node).await.unwrap();
    let machine = Machine::new(Rules { shards, alone: true, connected: false }, seat);
    let (keeper, _) = Keeper::start(machine, store, lease, system.host(), None);
    system.handle().settled().await;
    Alone { system, _keeper: keeper }
}

fn options() -> Options {
    Options { shards: 4, ..Options::default() }
}

fn guest() -> GuestId {
    GuestId::new(Slot::from_bits(77), UnixMillis(1), 1)
}

fn cart_id(n: u128) -> CartId {
    CartId::new(guest().slot(), UnixMillis(1), n)
}

fn ask(command: Command, key: Option<u128>) -> Ask<Command> {
    let key = key.map(|key| Key { key, request: key });
    Ask { command, by: Some(Owner::Guest(guest())), if_revision: None, key, timeout: TIMEOUT, deed: None }
}

async fn create(handle: &Handle, id: CartId) -> Answered {
    let command = Command::Create { id, owner: Owner::Guest(guest()), currency: Currency::EUR };
    handle.ask_cart(id, ask(command, None)).await
}

fn one(sku: &str) -> Command {
    Command::Add(Addition {
        sku: sku.into(),
        title: sku.into(),
        unit_price: 100,
        currency: Currency::EUR,
        quantity: 1,
        quantity_max: 999,
        options: Box::default(),
        metadata: Box::default(),
    })
}

async fn add(handle: &Handle, id: CartId, key: Option<u128>) -> Answered {
    handle.ask_cart(id, ask(one("mug"), key)).await
}

async fn machine(handle: &Handle) -> Facts {
    handle.inspect_cart(cart_id(1), TIMEOUT).await.unwrap().hosting.unwrap().machine
}

fn units(cart: &Cart) -> u16 {
    cart.lines.iter().map(|line| line.quantity).sum()
}

#[tokio::test]
async fn p1_no_answer_leaves_before_its_save_is_applied() {
    let store = Faulty::new(Memory::default());
    let system = start(&store, options()).await;
    let handle = system.handle();
    create(&handle, cart_id(1)).await.unwrap();
    let gate = Arc::new(Notify::new());
    store.on_saves([Fault::Hold(Arc::clone(&gate))]);
    let adding = tokio::spawn({
        let handle = handle.clone();
        async move { add(&handle, cart_id(1), None).await }
    });
    // The read is answered from what is committed, and is asked after the add: the add has been decided, not told.
    while machine(&handle).await.riding == 0 {
        tokio::task::yield_now().await;
    }
    assert!(!adding.is_finished());
    assert_eq!(units(&handle.cart(cart_id(1), TIMEOUT).await.unwrap()), 0);
    gate.notify_one();
    assert_eq!(units(&adding.await.unwrap().unwrap().state), 1);
}

#[tokio::test]
async fn a_row_says_which_version_its_bytes_are() {
    let store = Memory::default();
    let system = start(&store, options()).await;
    let handle = system.handle();
    create(&handle, cart_id(1)).await.unwrap();
    let row = async || store.load(Kind::Cart, cart_id(1).0.0, true).await.unwrap().unwrap();
    assert_eq!((row().await.schema_v, codec::CART_SCHEMA_V), (1, 2), "the oldest release reads it");
    let rule = Rule {
        code: "SHIPFREE".into(),
        worth: Worth::FreeShipping,
        currency: Currency::EUR,
        per_line: false,
        categories: Vec::new(),
        minimum: 0,
        valid_from: None,
        valid_until: None,
        uses_max: None,
        uses_per_shopper_max: None,
    };
    handle.ask_cart(cart_id(1), ask(Command::ApplyCode(rule), None)).await.unwrap();
    let row = row().await;
    assert_eq!((row.schema_v, codec::envelope::schema_v(&row.body)), (2, Some(2)), "what is new needs the new one");
}

#[tokio::test]
async fn concurrent_adds_are_all_there_and_share_saves() {
    let store = Faulty::new(Memory::default());
    let system = start(&store, options()).await;
    let handle = system.handle();
    create(&handle, cart_id(1)).await.unwrap();
    let gate = Arc::new(Notify::new());
    store.on_saves([Fault::Hold(Arc::clone(&gate))]);
    let adding: Vec<_> = (0..100)
        .map(|_| {
            let handle = handle.clone();
            tokio::spawn(async move { add(&handle, cart_id(1), None).await })
        })
        .collect();
    while machine(&handle).await.waiting < 99 {
        tokio::task::yield_now().await;
    }
    gate.notify_one();
    for added in adding {
        added.await.unwrap().unwrap();
    }
    assert_eq!(units(&handle.cart(cart_id(1), TIMEOUT).await.unwrap()), 100);
    let row = store.load(Kind::Cart, cart_id(1).0.0, true).await.unwrap().unwrap();
    assert_eq!(row.version, 3, "made, the first add, the other 99 together");
}

#[tokio::test]
async fn a_shard_that_crashes_is_started_again_and_loses_nothing_acknowledged() {
    let store = Memory::default();
    let system = start(&store, options()).await;
    let handle = system.handle();
    create(&handle, cart_id(1)).await.unwrap();
    add(&handle, cart_id(1), Some(7)).await.unwrap();
    let mut watching = handle.watch_cart(cart_id(1), TIMEOUT).await.unwrap();
    system.crash(guest().slot().shard(4));
    // Its streams end: that is how a client learns to come back.
    while watching.changed().await.is_ok() {}
    let again = loop {
        match add(&handle, cart_id(1), Some(7)).await {
            Err(Failure::Overloaded { .. } | Failure::Internal(_)) => tokio::task::yield_now().await,
            told => break told.unwrap(),
        }
    };
    assert!(again.replayed);
    assert_eq!(units(&again.state), 1);
}

#[tokio::test]
async fn p3_an_answer_of_the_store_that_is_lost_neither_loses_nor_doubles() {
    for fault in [Fault::Lose, Fault::ApplyThenFail] {
        let store = Faulty::new(Memory::default());
        let system = start(&store, options()).await;
        let handle = system.handle();
        create(&handle, cart_id(1)).await.unwrap();
        store.on_saves([fault.clone(), fault.clone()]);
        let told = add(&handle, cart_id(1), None).await.unwrap();
        assert_eq!(units(&told.state), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn a_save_that_lands_long_after_it_was_given_up_changes_nothing() {
    let store = Faulty::new(Memory::default());
    let system = start(&store, options()).await;
    let handle = system.handle();
    create(&handle, cart_id(1)).await.unwrap();
    let gate = Arc::new(Notify::new());
    store.on_saves([Fault::ApplyLater(Arc::clone(&gate))]);
    add(&handle, cart_id(1), None).await.unwrap();
    add(&handle, cart_id(1), None).await.unwrap();
    gate.notify_one();
    tokio::task::yield_now().await;
    assert_eq!(units(&add(&handle, cart_id(1), None).await.unwrap().state), 3);
}

#[tokio::test]
async fn a_store_that_refuses_writes_refuses_commands_and_goes_on_with_reads() {
    let store = Faulty::new(Memory::default());
    let system = start(&store, options()).await;
    let handle = system.handle();
    create(&handle, cart_id(1)).await.unwrap();
    store.on_saves([Fault::Fail]);
    let refused = add(&handle, cart_id(1), None).await.unwrap_err();
    assert_eq!(refused, Failure::StoreUnavailable(Effect::None));
    assert_eq!(units(&handle.cart(cart_id(1), TIMEOUT).await.unwrap()), 0);
    assert_eq!(units(&add(&handle, cart_id(1), None).await.unwrap().state), 1);
}

#[tokio::test]
async fn p2_of_two_owners_the_older_is_fenced_and_acknowledged_adds_are_there_once() {
    let store = Memory::default();
    let old = start(&store, options()).await;
    create(&old.handle(), cart_id(1)).await.unwrap();
    add(&old.handle(), cart_id(1), None).await.unwrap();
    let new = start(&store, options()).await;
    let told = add(&new.handle(), cart_id(1), None).await.unwrap();
    assert_eq!(units(&told.state), 2);
    assert_eq!(add(&old.handle(), cart_id(1), None).await.unwrap_err(), Failure::StoreUnavailable(Effect::Unknown));
    assert_eq!(add(&old.handle(), cart_id(1), None).await.unwrap_err(), Failure::NotOwner);
    assert!(!old.handle().is_ready());
    assert_eq!(units(&new.handle().cart(cart_id(1), TIMEOUT).await.unwrap()), 2);
}

#[tokio::test]
async fn p10_an_idle_cart_expires_by_itself_even_after_a_restart() {
    let store = Memory::default();
    let short = Options { expire_after_ms: 1, ..options() };
    let system = start(&store, short.clone()).await;
    create(&system.handle(), cart_id(1)).await.unwrap();
    system.system.stop(TIMEOUT).await;
    let system = start(&store, short).await;
    let mut watching = system.handle().watch_cart(cart_id(1), TIMEOUT).await.unwrap();
    watching.mark_changed();
    while watching.borrow_and_update().status != Status::Expired {
        watching.changed().await.unwrap();
    }
    let refused = add(&system.handle(), cart_id(1), None).await.unwrap_err();
    assert_eq!(refused, Failure::Refused(Refusal::NotOpen(Status::Expired)));
}

#[tokio::test]
async fn actors_beyond_the_byte_budget_leave_memory_and_come_back() {
    let store = Memory::default();
    let system = start(&store, Options { resident_bytes_max: 0, ..options() }).await;
    let handle = system.handle();
    for n in 0..50 {
        create(&handle, cart_id(n)).await.unwrap();
    }
    let gone = crate::telemetry::metrics::metrics().actor_passivations_total.with_label_values(&["memory"]);
    while gone.get() < 50 {
        tokio::task::yield_now().await;
    }
    for n in 0..50 {
        assert_eq!(handle.cart(cart_id(n), TIMEOUT).await.unwrap().revision, 1);
    }
}

#[tokio::test]
async fn a_stop_finishes_what_was_begun_and_refuses_the_rest() {
    let store = Faulty::new(Memory::default());
    let system = start(&store, options()).await;
    let handle = system.handle();
    create(&handle, cart_id(1)).await.unwrap();
    let gate = Arc::new(Notify::new());
    store.on_saves([Fault::Hold(Arc::clone(&gate))]);
    let adding = tokio::spawn({
        let handle = handle.clone();
        async move { add(&handle, cart_id(1), None).await }
    });
    while machine(&handle).await.riding == 0 {
        tokio::task::yield_now().await;
    }
    let stopping = tokio::spawn(system.system.stop(TIMEOUT));
    while handle.is_ready() {
        tokio::task::yield_now().await;
    }
    assert_eq!(add(&handle, cart_id(1), None).await.unwrap_err(), Failure::Draining);
    gate.notify_one();
    assert_eq!(units(&adding.await.unwrap().unwrap().state), 1);
    stopping.await.unwrap();
}
