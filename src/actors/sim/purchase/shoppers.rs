//! Shoppers on several devices, and whoever runs the shop: what they ask next, mostly what fits, now and then anything.

use std::{sync::Arc, time::Duration};

use super::{
    kinds::Role,
    node::shard_of,
    world::{Message, TIMEOUT_MS, World},
};
use crate::{
    actors::{
        ask::{Ask, Key},
        cart::{CartEntity, checkout_item},
        checkout::CheckoutEntity,
        discount::{DiscountEntity, discount_id},
        durable::Input,
        errand::Errand,
        order::OrderEntity,
        sim::{rng::Rng, world::Broken},
        stock::{StockEntity, stock_id},
    },
    catalog,
    codec::BankState,
    domain::{
        CartId, CheckoutId, Currency, GuestId, Id, Money, OrderId,
        address::{Address, Country},
        cart::{self, Addition, Owner},
        checkout::{self, Checkout, Email, Patch, Phase},
        discount::{self, Rule, Worth},
        order::{self, Capture, Order},
        payment::Token,
        pricing::{self, Tables},
        product::{Availability, Product},
        stock,
    },
};

/// Attempts of one operation: a client gives up some time.
const ATTEMPTS_MAX: u32 = 5;
/// Most operations of one seed: every answer that is lost makes another attempt.
const CARTS_MAX: u64 = 4;
const TOKENS: [&str; 12] = [
    "tok_approve",
    "tok_approve",
    "tok_approve",
    "tok_approve",
    "tok_slow",
    "tok_decline",
    "tok_answer_lost",
    "tok_action",
    "tok_action",
    "tok_late",
    "tok_down",
    "tok_capture_fails",
];

/// What somebody wants: the same command under the same key, however often it is asked.
#[derive(Clone, Debug)]
pub(super) struct Op {
    pub(super) errand: Errand,
    by: Option<Owner>,
    if_revision: Option<u64>,
    keyed: bool,
    attempts: u32,
}

/// What the shop sells, and how.
#[derive(Debug)]
pub(super) struct Shop {
    products: Vec<Product>,
    pub(super) tables: Arc<Tables>,
    pub(super) capture: Capture,
    pub(super) ttl_ms: u64,
    pub(super) ttl_max_ms: u64,
    rules: Vec<Rule>,
    /// Carts that are shopped with.
    carts: Vec<u128>,
    next: u128,
}

fn product(sku: &str, stock: u32, amount: i64, weight_g: u32) -> Product {
    Product {
        sku: sku.into(),
        title: sku.into(),
        description: Box::default(),
        price: Money { amount, currency: Currency::EUR },
        options: Vec::new(),
        image_url: None,
        categories: vec!["things".into()],
        availability: Availability::InStock,
        quantity_max: 99,
        weight_g,
        stock,
    }
}

fn rule(code: &str, worth: Worth, uses_max: Option<u32>, uses_per_shopper_max: Option<u32>) -> Rule {
    Rule {
        code: code.into(),
        worth,
        currency: Currency::EUR,
        per_line: false,
        categories: Vec::new(),
        minimum: 0,
        valid_from: None,
        valid_until: None,
        uses_max,
        uses_per_shopper_max,
    }
}

fn address(country: &str) -> Option<Address> {
    Some(Address {
        name: "Ada".into(),
        line1: "Street 1".into(),
        line2: None,
        city: "Town".into(),
        region: None,
        postal_code: "10115".into(),
        country: Country::parse(country)?,
    })
}

/// Whose a cart is: two shoppers, so that limits by shopper are reached.
const fn owner(cart: u128) -> Owner {
    Owner::Guest(GuestId(Id(1 + cart % 2)))
}

impl Shop {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let scarce = [1, 2, 4][rng.below(3) as usize];
        let (ttl_ms, ttl_max_ms) = [(15 * 60_000, 60 * 60_000), (2 * 60_000, 4 * 60_000)][rng.below(2) as usize];
        Self {
            products: vec![product("mug", 40, 1_299, 300), product("print", scarce, 9_901, 0)],
            tables: TABLES.with(Arc::clone),
            capture: if rng.one_in(3) { Capture::AtFulfilment } else { Capture::AtOrder },
            ttl_ms,
            ttl_max_ms,
            rules: vec![
                rule("TENTH", Worth::Percent { basis_points: 1_000 }, Some(2), None),
                rule("ONCE", Worth::Fixed { amount: 777 }, None, Some(1)),
                rule("ALL", Worth::Percent { basis_points: 10_000 }, Some(1), None),
            ],
            carts: (0..1 + u128::from(rng.below(CARTS_MAX))).map(|n| 1_000 + n).collect(),
            next: 2_000,
        }
    }

    pub(super) fn product(&self, sku: &str) -> Option<&Product> {
        self.products.iter().find(|product| *product.sku == *sku)
    }

    pub(super) fn products(&self) -> impl Iterator<Item = (u128, &Product)> {
        self.products.iter().map(|product| (stock_id(&product.sku).0.0, product))
    }

    pub(super) fn rules(&self) -> impl Iterator<Item = (u128, &Rule)> {
        self.rules.iter().map(|rule| (discount_id(&rule.code).0.0, rule))
    }

    fn fresh(&mut self) -> u128 {
        self.next += 1;
        self.next
    }
}

thread_local! {
    static TABLES: Arc<Tables> = Arc::new(catalog::built_in_tables().unwrap());
}

impl World {
    /// The codes are defined before anybody comes.
    pub(super) fn open_shop(&mut self) -> Result<(), Broken> {
        for rule in self.shop.rules.clone() {
            let id = discount_id(&rule.code);
            self.wish(Errand::Discount(id, discount::Command::Define(rule)), None, None)?;
        }
        Ok(())
    }

    /// Somebody does something.
    pub(super) fn shop(&mut self) -> Result<(), Broken> {
        let at = self.rng.below(self.shop.carts.len() as u64) as usize;
        let cart = self.shop.carts[at];
        if self.rng.one_in(14) {
            return self.adjust();
        }
        if self.rng.one_in(4) && !self.model.orders.is_empty() {
            return self.run_order();
        }
        match self.model.cart(cart) {
            None => {
                let create =
                    cart::Command::Create { id: CartId(Id(cart)), owner: owner(cart), currency: Currency::EUR };
                self.ask_cart(cart, create)
            }
            Some(state) if state.status.has_ended() => {
                self.shop.carts[at] = self.shop.fresh();
                Ok(())
            }
            Some(state) => {
                let (is_empty, checkout) = (state.lines.is_empty(), state.checkout.as_ref().map(|c| c.id.0.0));
                let codes = state.codes.len();
                match self.rng.below(12) {
                    _ if is_empty => self.add(cart),
                    0 => self.add(cart),
                    1 | 2 if codes < 3 => self.apply_code(cart),
                    _ => match checkout.filter(|_| !self.rng.one_in(30)) {
                        Some(checkout) => self.check_out(checkout),
                        None => self.begin_checkout(cart),
                    },
                }
            }
        }
    }

    fn ask_cart(&mut self, cart: u128, command: cart::Command) -> Result<(), Broken> {
        self.wish(Errand::Cart(CartId(Id(cart)), command), Some(owner(cart)), None)
    }

    fn add(&mut self, cart: u128) -> Result<(), Broken> {
        let product = self.shop.products[self.rng.below(2) as usize].clone();
        // Two lines of one product, in two choices.
        let choice = ["red", "blue"][self.rng.below(2) as usize];
        let add = cart::Command::Add(Addition {
            sku: product.sku,
            title: product.title,
            unit_price: product.price.amount,
            currency: Currency::EUR,
            quantity: 1 + self.rng.below(2) as u16,
            quantity_max: 99,
            options: Box::new([("colour".into(), choice.into())]),
            metadata: Box::default(),
        });
        self.ask_cart(cart, add)
    }

    fn apply_code(&mut self, cart: u128) -> Result<(), Broken> {
        let rules = self.shop.rules.len() as u64;
        let rule = self.shop.rules[self.rng.below(rules) as usize].clone();
        self.ask_cart(cart, cart::Command::ApplyCode(rule))
    }

    fn begin_checkout(&mut self, cart: u128) -> Result<(), Broken> {
        let checkout = CheckoutId(Id(self.shop.fresh()));
        self.ask_cart(cart, cart::Command::Begin { checkout, prices: Vec::new() })
    }

    fn adjust(&mut self) -> Result<(), Broken> {
        let product = &self.shop.products[self.rng.below(2) as usize];
        let (sku, initial) = (product.sku.clone(), product.stock);
        let change = self.rng.below(5) as i32 - 2;
        let adjust = stock::Command::Adjust { sku: sku.clone(), initial, change, reason: "counted".into() };
        self.wish(Errand::Stock(stock_id(&sku), adjust), None, None)
    }

    fn check_out(&mut self, id: u128) -> Result<(), Broken> {
        let Some(checkout) = self.model.checkout(id).cloned() else { return Ok(()) };
        let by = Some(checkout.owner);
        let to = |command| Errand::Checkout(checkout.id, command);
        if self.rng.one_in(16) {
            return self.wish(to(checkout::Command::Cancel), by, None);
        }
        let is_ready = checkout.address.is_some() && checkout.option.is_some();
        match checkout.phase {
            Phase::RequiresAction if self.rng.one_in(2) => {
                let waits = |payment: &&crate::codec::BankPayment| payment.state == BankState::ActionRequired;
                let key = self.bank.book.values().find(waits).map(crate::codec::BankPayment::key);
                if let Some(key) = key {
                    self.bank.confirm(key, self.wall());
                    self.check_money()?;
                }
                self.wish(to(checkout::Command::Confirm), by, None)
            }
            Phase::Open if !is_ready || self.rng.one_in(8) => match self.patch(&checkout) {
                Some(patch) => {
                    let revision = Some(checkout.revision);
                    self.wish(to(checkout::Command::Patch(Box::new(patch))), by, revision)
                }
                None => Ok(()),
            },
            _ if is_ready => {
                let token = Token(TOKENS[self.rng.below(TOKENS.len() as u64) as usize].into());
                let complete = checkout::Command::Complete { gateway: "sandbox".into(), token };
                if self.rng.one_in(4) {
                    self.wish(to(complete.clone()), by, None)?;
                }
                self.wish(to(complete), by, None)
            }
            _ => Ok(()),
        }
    }

    /// What the entry makes of a shopper's wish: the change with what the purchase costs then.
    fn patch(&mut self, checkout: &Checkout) -> Option<Patch> {
        let address = address(["DE", "FR"][self.rng.below(2) as usize])?;
        let items: Vec<_> = checkout.lines.iter().map(checkout_item).collect();
        let request = |option| pricing::Request {
            currency: checkout.currency,
            items: &items,
            rules: &checkout.codes,
            now: self.wall(),
            address: Some(&address),
            option,
            tables: &self.shop.tables,
        };
        let offers = pricing::quote(&request(None)).ok()?.quote.offers;
        let draw = self.rng.clone().next();
        let option = (!offers.is_empty()).then(|| offers[draw as usize % offers.len()].id.clone());
        let quote = pricing::quote(&request(option.as_deref())).ok()?.quote;
        let email = Some(Some(Email("ada@example.com".into())));
        Some(Patch { email, address: Some(Some(address.clone())), option: Some(option), quote })
    }

    fn run_order(&mut self) -> Result<(), Broken> {
        let at = self.rng.below(self.model.orders.len() as u64) as usize;
        let Some(order) = self.model.orders.keys().nth(at).and_then(|id| self.model.order(*id)).cloned() else {
            return Ok(());
        };
        let lines = |rng: &mut Rng, order: &Order, most: &dyn Fn(&order::Line) -> u16| -> Vec<_> {
            let some = |line: &order::Line| (line.bought.line, rng.below(u64::from(most(line)) + 1) as u16);
            order.lines.iter().map(some).filter(|(_, units)| *units > 0).collect()
        };
        let command = match self.rng.below(8) {
            0..4 => {
                let left = |line: &order::Line| line.bought.quantity - line.fulfilled;
                order::Command::Fulfil { lines: lines(&mut self.rng, &order, &left), carrier: None, label: None }
            }
            4 => {
                let out = |line: &order::Line| line.fulfilled - line.returned;
                order::Command::Return { lines: lines(&mut self.rng, &order, &out) }
            }
            5 => {
                let most = u64::try_from(order.refundable()).unwrap_or(0);
                order::Command::Refund { amount: 1 + self.rng.below(most.max(1)) as i64 }
            }
            6 => order::Command::Capture,
            _ => order::Command::Cancel { reason: None },
        };
        let by = match command {
            order::Command::Cancel { .. } | order::Command::Return { .. } if self.rng.one_in(2) => Some(order.owner),
            _ => None,
        };
        self.wish(Errand::Order(OrderId(order.id.0), command), by, None)
    }

    // ---- asking ----

    fn wish(&mut self, errand: Errand, by: Option<Owner>, if_revision: Option<u64>) -> Result<(), Broken> {
        let op = 1 + self.ops.len() as u64;
        // What is counted has a key, so that its receipt tells whether it was done.
        self.ops.insert(op, Op { errand, by, if_revision, keyed: true, attempts: 0 });
        self.attempt(op)
    }

    /// Somebody who does not know asks again, under the same key.
    pub(super) fn perhaps_again(&mut self, op: u64) {
        if self.ops.get(&op).is_some_and(|op| op.attempts < ATTEMPTS_MAX) {
            let op = u32::try_from(op).unwrap_or(u32::MAX);
            self.messages.push(Message::Again(op));
        }
    }

    pub(super) fn attempt(&mut self, number: u64) -> Result<(), Broken> {
        let Some(op) = self.ops.get_mut(&number) else { return Ok(()) };
        op.attempts += 1;
        let op = op.clone();
        match op.errand.clone() {
            Errand::Cart(id, command) => self.ask::<CartEntity>(id.0.0, command, number, &op),
            Errand::Checkout(id, command) => self.ask::<CheckoutEntity>(id.0.0, command, number, &op),
            Errand::Stock(id, command) => self.ask::<StockEntity>(id.0.0, command, number, &op),
            Errand::Discount(id, command) => self.ask::<DiscountEntity>(id.0.0, command, number, &op),
            Errand::Order(id, command) => self.ask::<OrderEntity>(id.0.0, command, number, &op),
            _ => Ok(()),
        }
    }

    fn ask<E: Role>(&mut self, id: u128, command: E::Command, number: u64, op: &Op) -> Result<(), Broken> {
        let shard = shard_of((E::SORT, id));
        let node = self.a_server_of(shard);
        self.note(format_args!("n{node} {:?} {id} operation {number}: {command:?}", E::SORT));
        if self.nodes[node].views[shard].is_none() {
            self.perhaps_again(number);
            return Ok(());
        }
        self.token_next += 1;
        let token = self.token_next;
        self.asked.insert(token, (node, number));
        let key = op.keyed.then(|| Key { key: u128::from(number), request: u128::from(number) });
        let timeout = Duration::from_millis(TIMEOUT_MS);
        let ask = Ask { command, by: op.by, if_revision: op.if_revision, key, timeout, deed: None };
        self.step::<E>(node, id, Input::Ask { ask, since_ms: self.mono_ms, token })
    }
}
