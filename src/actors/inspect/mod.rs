//! What operators may see of an actor: its machine's facts, and of its state what tells where it is and what holds it up.
//! Nothing that its shopper wrote, nothing by which they could be found or written to, nothing that lets anybody pay.

mod about;

use std::{fmt, str::FromStr, sync::Arc};

use serde::Serialize;

pub use self::about::{
    About, AboutAttempt, AboutCart, AboutCheckout, AboutDeed, AboutDiscount, AboutHold, AboutHolds, AboutOrder,
    AboutStock,
};
use super::{
    cart::CartEntity,
    checkout::CheckoutEntity,
    discount::{DiscountEntity, code_of, discount_id},
    durable::Facts,
    kinds::Hosted,
    order::OrderEntity,
    stock::{StockEntity, stock_id},
};
use crate::{
    domain::{CartId, CheckoutId, DiscountId, Id, IdError, OrderId, StockId},
    store::{Kind, Row},
};

/// Longest SKU of a catalogue.
const SKU_BYTES_MAX: usize = 64;

/// An actor that an operator asks about: its id, `stock:<sku>` or `discount:<code>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A cart.
    Cart(CartId),
    /// A checkout.
    Checkout(CheckoutId),
    /// An order.
    Order(OrderId),
    /// A product's stock.
    Stock(StockId),
    /// A discount code.
    Discount(DiscountId),
}

/// Why a text names no actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSubject {
    /// Of no kind.
    #[error("an actor is cart_…, chk_…, ord_…, stk_…, dsc_…, stock:<sku> or discount:<code>")]
    Kind,
    /// Of a kind, but not a whole id.
    #[error("{kind} id: {why}")]
    Id {
        /// Of which kind.
        kind: &'static str,
        /// What is wrong.
        why: IdError,
    },
    /// No product has such a SKU.
    #[error("a SKU is 1 to {SKU_BYTES_MAX} of A–Z a–z 0–9 . _ -")]
    Sku,
    /// No code has such letters.
    #[error("a code is 1 to 40 letters, digits and dashes")]
    Code,
}

impl FromStr for Subject {
    type Err = NoSubject;

    fn from_str(text: &str) -> Result<Self, NoSubject> {
        if let Some(sku) = text.strip_prefix("stock:") {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
            let is_sku = (1..=SKU_BYTES_MAX).contains(&sku.len()) && sku.bytes().all(fits);
            return if is_sku { Ok(Self::Stock(stock_id(sku))) } else { Err(NoSubject::Sku) };
        }
        if let Some(code) = text.strip_prefix("discount:") {
            return code_of(code).map(|code| Self::Discount(discount_id(&code))).ok_or(NoSubject::Code);
        }
        fn id<I: FromStr<Err = IdError>>(kind: &'static str, text: &str) -> Result<Option<I>, NoSubject> {
            match text.parse() {
                Ok(id) => Ok(Some(id)),
                Err(IdError::Prefix) => Ok(None),
                Err(why) => Err(NoSubject::Id { kind, why }),
            }
        }
        if let Some(cart) = id("cart", text)? {
            return Ok(Self::Cart(cart));
        }
        if let Some(checkout) = id("checkout", text)? {
            return Ok(Self::Checkout(checkout));
        }
        if let Some(order) = id("order", text)? {
            return Ok(Self::Order(order));
        }
        if let Some(stock) = id("stock", text)? {
            return Ok(Self::Stock(stock));
        }
        id("discount", text)?.map(Self::Discount).ok_or(NoSubject::Kind)
    }
}

impl fmt::Display for Subject {
    /// Its id.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cart(id) => id.fmt(f),
            Self::Checkout(id) => id.fmt(f),
            Self::Order(id) => id.fmt(f),
            Self::Stock(id) => id.fmt(f),
            Self::Discount(id) => id.fmt(f),
        }
    }
}

impl Subject {
    /// Where its row is.
    #[must_use]
    pub const fn row(self) -> (Kind, Id) {
        match self {
            Self::Cart(CartId(id)) => (Kind::Cart, id),
            Self::Checkout(CheckoutId(id)) => (Kind::Checkout, id),
            Self::Order(OrderId(id)) => (Kind::Order, id),
            Self::Stock(StockId(id)) => (Kind::Stock, id),
            Self::Discount(DiscountId(id)) => (Kind::Discount, id),
        }
    }

    /// What its row tells, where no node serves it.
    ///
    /// # Errors
    /// Why this release cannot read the row.
    pub fn stored(self, row: &Row) -> Result<Stored, String> {
        fn read<E: Hosted>(row: &Row) -> Result<Stored, String> {
            let record = E::decode(&row.body)?;
            Ok(Stored {
                receipts: record.receipts.len(),
                armed_due_ms: record.armed.map(|armed| armed.due.0),
                about: E::about(&record.state),
            })
        }
        match self {
            Self::Cart(_) => read::<CartEntity>(row),
            Self::Checkout(_) => read::<CheckoutEntity>(row),
            Self::Order(_) => read::<OrderEntity>(row),
            Self::Stock(_) => read::<StockEntity>(row),
            Self::Discount(_) => read::<DiscountEntity>(row),
        }
    }
}

/// Facts about an actor for operators.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// Its id.
    pub id: String,
    /// The node that owns it.
    pub owner: Arc<str>,
    /// Its shard.
    pub shard: u16,
    /// What hosts it, if it is this node that does.
    #[serde(flatten)]
    pub hosting: Option<Hosting>,
    /// What its state says.
    #[serde(flatten)]
    pub about: About,
}

/// Facts about what hosts an actor.
#[derive(Clone, Debug, Serialize)]
pub struct Hosting {
    /// The shard's ownership.
    pub epoch: u64,
    /// The epoch of the shard's last takeover.
    pub fence: u64,
    /// What the machine says.
    pub machine: Facts,
}

/// The same from its row.
#[derive(Clone, Debug, Serialize)]
pub struct Stored {
    /// Receipts that it keeps.
    pub receipts: usize,
    /// Unix milliseconds of the armed timer.
    pub armed_due_ms: Option<u64>,
    /// What its state says.
    #[serde(flatten)]
    pub about: About,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_actor_is_named_by_its_id_its_sku_or_its_code() {
        let id = "01hzy3v7k2m4n6p8q0r2s4t6v8";
        for prefix in ["cart_", "chk_", "ord_", "stk_", "dsc_"] {
            let text = format!("{prefix}{id}");
            assert_eq!(text.parse::<Subject>().unwrap().to_string(), text);
        }
        assert_eq!("stock:mug-blue".parse(), Ok(Subject::Stock(stock_id("mug-blue"))));
        assert_eq!("discount:Welcome10".parse(), Ok(Subject::Discount(discount_id("WELCOME10"))), "in any case");
        let long = format!("stock:{}", "x".repeat(SKU_BYTES_MAX + 1));
        for (text, why) in [
            ("", NoSubject::Kind),
            ("gue_01hzy3v7k2m4n6p8q0r2s4t6v8", NoSubject::Kind),
            ("stock:", NoSubject::Sku),
            ("stock:../cluster", NoSubject::Sku),
            (&long, NoSubject::Sku),
            ("discount:no way", NoSubject::Code),
            ("chk_1", NoSubject::Id { kind: "checkout", why: IdError::Length }),
        ] {
            assert_eq!(text.parse::<Subject>(), Err(why), "{text}");
        }
    }
}
