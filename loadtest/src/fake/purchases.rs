//! The half of the small shop that sells: checkouts that hold goods and expire, a bank's book, and what operators read.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{Faults, State};

/// What one unit of anything costs.
const PRICE: i64 = 100;
/// Units of a product that nobody has counted.
const UNITS: u64 = 1_000_000;

#[derive(Debug, Default)]
pub(super) struct Purchases {
    checkouts: Vec<Checkout>,
    /// The bank's book: whose payment, and how it stands.
    payments: Vec<(usize, &'static str)>,
    /// Units that can be had.
    available: HashMap<String, u64>,
    sold: HashMap<String, u64>,
}

#[derive(Debug)]
struct Checkout {
    cart: String,
    lines: Vec<(String, u64)>,
    status: &'static str,
    /// Whether its goods are held still.
    holds: bool,
    revision: u64,
    until: Instant,
}

impl Purchases {
    fn available(&mut self, sku: &str) -> &mut u64 {
        self.available.entry(sku.to_owned()).or_insert(UNITS)
    }

    fn held(&self, sku: &str) -> u64 {
        let lines = self.checkouts.iter().filter(|checkout| checkout.holds).flat_map(|checkout| &checkout.lines);
        lines.filter(|(held, _)| held == sku).map(|(_, quantity)| quantity).sum()
    }

    /// The time is over for some.
    fn expire(&mut self, faults: Faults) {
        for n in 0..self.checkouts.len() {
            let checkout = &self.checkouts[n];
            if matches!(checkout.status, "open" | "requires_action") && checkout.until <= Instant::now() {
                self.end(n, if faults.cancels_early { "cancelled" } else { "expired" }, !faults.keeps_holds);
            }
        }
    }

    fn end(&mut self, n: usize, status: &'static str, gives_back: bool) {
        self.checkouts[n].status = status;
        for (_, state) in self.payments.iter_mut().filter(|(by, state)| *by == n && *state == "action_required") {
            *state = "abandoned";
        }
        if gives_back && std::mem::take(&mut self.checkouts[n].holds) {
            for (sku, quantity) in self.checkouts[n].lines.clone() {
                *self.available(&sku) += quantity;
            }
        }
    }

    fn sell(&mut self, n: usize) {
        self.checkouts[n].status = "completed";
        self.checkouts[n].holds = false;
        for (sku, quantity) in self.checkouts[n].lines.clone() {
            *self.sold.entry(sku).or_default() += quantity;
        }
    }

    fn shown(&self, n: usize) -> Value {
        let checkout = &self.checkouts[n];
        let left = checkout.until.saturating_duration_since(Instant::now());
        let is_bought = checkout.status == "completed";
        json!({
            "id": format!("chk_{n}"), "revision": checkout.revision, "status": checkout.status,
            "order_id": is_bought.then(|| format!("ord_{n}")), "shipping_option": "standard",
            "payment": { "action": { "url": format!("/v1/sandbox/actions/{n}") } },
            "updated_at": at(Duration::ZERO), "expires_at": at(left),
        })
    }

    fn pay(&mut self, n: usize, token: &str, faults: Faults) -> (u16, Value) {
        if !matches!(self.checkouts[n].status, "open" | "requires_action") {
            return refused(410, "expired");
        }
        let is_confirmed = self.payments.contains(&(n, "authorised"));
        match token {
            "tok_down" => refused(503, "gateway_unavailable"),
            "tok_decline" => {
                self.payments.push((n, if faults.reserves_declined { "authorised" } else { "declined" }));
                refused(402, "payment_declined")
            }
            "tok_action" if !is_confirmed => {
                self.payments.push((n, "action_required"));
                self.checkouts[n].status = "requires_action";
                refused(402, "payment_requires_action")
            }
            "tok_approve" if faults.is_stormed && self.payments.iter().any(|(_, state)| *state == "declined") => {
                refused(409, "checkout_not_open")
            }
            _ => {
                if !is_confirmed {
                    self.payments.push((n, "authorised"));
                }
                self.sell(n);
                (200, self.shown(n))
            }
        }
    }

    fn begin(&mut self, cart: &str, lines: &[(String, u64)], faults: Faults) -> (u16, Value) {
        if lines.iter().any(|(sku, quantity)| *self.available(sku) < *quantity) {
            return refused(409, "insufficient_stock");
        }
        for (sku, quantity) in lines {
            *self.available(sku) -= quantity;
        }
        let (cart, lines, until) = (cart.to_owned(), lines.to_vec(), Instant::now() + faults.life());
        self.checkouts.push(Checkout { cart, lines, status: "open", holds: true, revision: 1, until });
        (201, self.shown(self.checkouts.len() - 1))
    }
}

/// A time of the first minute of 1970.
fn at(time: Duration) -> String {
    format!("1970-01-01T00:00:{:02}.{:03}Z", time.as_secs(), time.subsec_millis())
}

fn refused(status: u16, code: &str) -> (u16, Value) {
    (status, json!({ "code": code, "outcome": "none" }))
}

/// `None` = it is about something else.
pub(super) fn answer(
    method: &str,
    path: &[&str],
    body: &Value,
    faults: Faults,
    state: &mut State,
) -> Option<(u16, Value)> {
    let shop = &mut state.purchases;
    shop.expire(faults);
    let number = |id: &str| id.rsplit('_').next()?.parse::<usize>().ok();
    Some(match (method, path) {
        ("GET", ["ready"]) => (200, json!({})),
        ("GET", ["stock", sku]) => {
            let (held, sold) = (shop.held(sku), shop.sold.get(*sku).copied().unwrap_or(0));
            let available = *shop.available(sku);
            (200, json!({ "available": available, "held": held, "sold": sold, "on_hand": available + held + sold }))
        }
        ("POST", ["stock", sku]) => {
            let change = body["adjust"].as_i64()?;
            let available = shop.available(sku);
            *available = available.checked_add_signed(change)?;
            (200, json!({}))
        }
        ("GET", ["sandbox", "payments"]) => {
            let item = |(n, (by, state)): (usize, &(usize, &str))| {
                let units: u64 = shop.checkouts[*by].lines.iter().map(|(_, quantity)| quantity).sum();
                let amount = PRICE * i64::try_from(units).unwrap_or(0);
                let captured = if *state == "authorised" { amount } else { 0 };
                json!({ "key": format!("{by}-{n}"), "state": state, "amount": amount, "captured": captured, "refunded": 0 })
            };
            let items: Vec<_> = shop.payments.iter().enumerate().map(item).collect();
            (200, json!({ "items": items, "next_cursor": null }))
        }
        ("POST", ["sandbox", "actions", n]) => {
            let wants = (number(n)?, "action_required");
            shop.payments.iter_mut().find(|payment| **payment == wants)?.1 = "authorised";
            (200, json!({ "confirmed": true }))
        }
        ("POST", ["checkouts"]) => {
            let cart = body["cart_id"].as_str()?;
            shop.begin(cart, state.carts.get(cart)?, faults)
        }
        ("GET", ["checkouts", id]) => (200, shop.shown(number(id)?)),
        ("PATCH", ["checkouts", id]) => {
            let n = number(id)?;
            shop.checkouts[n].revision += 1;
            shop.checkouts[n].until = Instant::now() + faults.life();
            (200, shop.shown(n))
        }
        ("POST", ["checkouts", id, "complete"]) => shop.pay(number(id)?, body["payment"]["token"].as_str()?, faults),
        ("POST", ["checkouts", id, "cancel"]) => {
            let n = number(id)?;
            if matches!(shop.checkouts[n].status, "open" | "requires_action") {
                shop.end(n, "cancelled", true);
            }
            (200, shop.shown(n))
        }
        ("GET", ["orders", id]) => {
            let n = number(id)?;
            let checkout = &shop.checkouts[n];
            let line = |(sku, quantity): &(String, u64)| json!({ "sku": sku, "quantity": quantity, "fulfilled": 0, "returned": 0 });
            let total = PRICE * i64::try_from(checkout.lines.iter().map(|(_, quantity)| quantity).sum::<u64>()).ok()?;
            let lines: Vec<_> = checkout.lines.iter().map(line).collect();
            (
                200,
                json!({
                    "id": id, "checkout_id": format!("chk_{n}"), "cart_id": checkout.cart, "status": "paid", "lines": lines,
                    "totals": { "total": { "amount": total } },
                }),
            )
        }
        _ => return None,
    })
}
