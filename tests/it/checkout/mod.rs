//! The API of checkouts and orders as shoppers and operators use it: what is answered, and what becomes of goods and money.

mod alone;
mod codes;
mod goods;
mod orders;
mod payment;
mod purchase;
mod requests;
mod secrets;

use serde_json::{Value, json};

/// An amount as the API writes it.
fn eur(amount: i64) -> Value {
    json!({ "amount": amount, "currency": "EUR" })
}
