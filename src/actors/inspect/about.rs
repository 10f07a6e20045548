//! What of each kind's state operators may see.

use serde::Serialize;

use crate::domain::{
    cart::Cart,
    checkout::{self, Attempt, AttemptState, Checkout, HoldState, Phase, Undo, What},
    discount::Discount,
    holds::{Holds, State},
    order::{Cause, Deed, DeedState, Order, Origin, Work},
    stock::Stock,
};

/// What an actor's state says to operators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum About {
    /// A cart.
    Cart(AboutCart),
    /// A checkout.
    Checkout(AboutCheckout),
    /// An order.
    Order(AboutOrder),
    /// A product's stock.
    Stock(AboutStock),
    /// A discount code.
    Discount(AboutDiscount),
}

/// A cart, without what is in its lines, its note and its e-mail address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AboutCart {
    status: &'static str,
    revision: u64,
    lines: usize,
    saved_for_later: usize,
    codes: usize,
    checkout_id: Option<String>,
    created_at_ms: u64,
    updated_at_ms: u64,
    expires_at_ms: u64,
}

impl From<&Cart> for About {
    fn from(cart: &Cart) -> Self {
        Self::Cart(AboutCart {
            status: cart.status.as_str(),
            revision: cart.revision,
            lines: cart.lines.len(),
            saved_for_later: cart.saved.len(),
            codes: cart.codes.len(),
            checkout_id: cart.checkout.as_ref().map(|checkout| checkout.id.to_string()),
            created_at_ms: cart.created_at.0,
            updated_at_ms: cart.updated_at.0,
            expires_at_ms: cart.expires_at.0,
        })
    }
}

/// A checkout, without where the goods go, to whom to write, and the tokens that pay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AboutCheckout {
    status: &'static str,
    /// Where the saga is.
    phase: &'static str,
    revision: u64,
    cart_id: String,
    order_id: Option<String>,
    currency: String,
    /// Minor units.
    total: i64,
    lines: usize,
    has_email: bool,
    has_shipping_address: bool,
    has_shipping_option: bool,
    holds: Vec<AboutHold>,
    attempts: Vec<AboutAttempt>,
    created_at_ms: u64,
    updated_at_ms: u64,
    expires_at_ms: u64,
}

/// Something that a checkout holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AboutHold {
    /// `stock:<sku>` or `discount:<code>`, whichever holds it.
    by: String,
    quantity: u32,
    state: &'static str,
    /// Unix milliseconds.
    until_ms: Option<u64>,
}

/// A try to pay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AboutAttempt {
    gateway: String,
    /// Minor units.
    amount: i64,
    state: &'static str,
    /// What must be taken back of it.
    undo: &'static str,
    started_at_ms: u64,
}

impl From<&Checkout> for About {
    fn from(checkout: &Checkout) -> Self {
        Self::Checkout(AboutCheckout {
            status: checkout.visible_status().as_str(),
            phase: phase(checkout.phase),
            revision: checkout.revision,
            cart_id: checkout.cart.to_string(),
            order_id: checkout.order_id().map(|order| order.to_string()),
            currency: checkout.currency.to_string(),
            total: checkout.quote.total,
            lines: checkout.lines.len(),
            has_email: checkout.email.is_some(),
            has_shipping_address: checkout.address.is_some(),
            has_shipping_option: checkout.option.is_some(),
            holds: checkout.holds.iter().map(hold).collect(),
            attempts: checkout.attempts.iter().map(attempt).collect(),
            created_at_ms: checkout.created_at.0,
            updated_at_ms: checkout.updated_at.0,
            expires_at_ms: checkout.expires_at.0,
        })
    }
}

const fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Holding => "holding",
        Phase::Open => "open",
        Phase::Pinning => "pinning",
        Phase::Authorising { .. } => "authorising",
        Phase::RequiresAction => "requires_action",
        Phase::Abandoning => "abandoning",
        Phase::Committing => "committing",
        Phase::Placing => "placing",
        Phase::Settling => "settling",
        Phase::Releasing(_) => "releasing",
        Phase::LettingGo(_) => "letting_go",
        Phase::Remembering(_) => "remembering",
        Phase::Forgetting(_) => "forgetting",
        Phase::Ended(_) => "ended",
    }
}

fn hold(hold: &checkout::Hold) -> AboutHold {
    let (by, quantity) = match &hold.what {
        What::Stock { sku, quantity, .. } => (format!("stock:{sku}"), *quantity),
        What::Code { code } => (format!("discount:{code}"), 1),
    };
    let (state, until_ms) = match hold.state {
        HoldState::Wanted => ("wanted", None),
        HoldState::Refused => ("refused", None),
        HoldState::Held { until } => ("held", Some(until.0)),
        HoldState::Pinned { .. } => ("pinned", None),
        HoldState::Committed => ("committed", None),
        HoldState::Released => ("released", None),
        HoldState::Forgotten => ("forgotten", None),
    };
    AboutHold { by, quantity, state, until_ms }
}

fn attempt(attempt: &Attempt) -> AboutAttempt {
    AboutAttempt {
        gateway: attempt.gateway.to_string(),
        amount: attempt.amount,
        state: match attempt.state {
            AttemptState::Pending => "pending",
            AttemptState::ActionRequired { .. } => "requires_action",
            AttemptState::Approved => "authorised",
            AttemptState::Declined { .. } => "declined",
            AttemptState::Unavailable => "unavailable",
            AttemptState::Abandoned => "abandoned",
        },
        undo: match attempt.undo {
            Undo::Nothing => "nothing",
            Undo::Abandon => "abandon",
            Undo::Void => "void",
            Undo::Voided => "voided",
            Undo::VoidRefused => "void_refused",
        },
        started_at_ms: attempt.started_at.0,
    }
}

/// An order, without where the goods go and to whom to write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AboutOrder {
    status: &'static str,
    number: String,
    revision: u64,
    checkout_id: String,
    currency: String,
    /// Minor units.
    total: i64,
    lines: usize,
    gateway: String,
    authorised: i64,
    captured: i64,
    refunded: i64,
    voided: bool,
    /// What is to be done elsewhere.
    deeds: Vec<AboutDeed>,
    shipments: usize,
    cancelled_by: Option<&'static str>,
    placed_at_ms: u64,
    updated_at_ms: u64,
}

/// Something that an order needs done elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AboutDeed {
    n: u32,
    work: &'static str,
    /// Minor units.
    amount: Option<i64>,
    /// Units of a product.
    quantity: Option<u32>,
    state: &'static str,
}

impl From<&Order> for About {
    fn from(order: &Order) -> Self {
        Self::Order(AboutOrder {
            status: order.status().as_str(),
            number: order.number().to_string(),
            revision: order.revision,
            checkout_id: order.checkout().to_string(),
            currency: order.currency.to_string(),
            total: order.totals.total,
            lines: order.lines.len(),
            gateway: order.payment.gateway.to_string(),
            authorised: order.payment.authorised,
            captured: order.payment.captured,
            refunded: order.payment.refunded,
            voided: order.payment.voided,
            deeds: order.deeds.iter().map(deed).collect(),
            shipments: order.shipments.len(),
            cancelled_by: order.cancelled.map(|cause| match cause {
                Cause::Shopper => "shopper",
                Cause::Shop => "shop",
                Cause::CaptureRefused => "capture_refused",
            }),
            placed_at_ms: order.placed_at.0,
            updated_at_ms: order.updated_at.0,
        })
    }
}

fn deed(deed: &Deed) -> AboutDeed {
    let (work, amount, quantity) = match deed.work {
        Work::Capture { amount } => ("capture", Some(amount), None),
        Work::Void => ("void", None, None),
        Work::Refund { amount } => ("refund", Some(amount), None),
        Work::Ship { quantity, .. } => ("ship", None, Some(quantity)),
        Work::Restock { quantity, from: Origin::Sold, .. } => ("restock_sold", None, Some(quantity)),
        Work::Restock { quantity, from: Origin::Returned, .. } => ("restock_returned", None, Some(quantity)),
    };
    let state = match deed.state {
        DeedState::Wanted => "wanted",
        DeedState::Remembered { .. } => "remembered",
        DeedState::Forgetting => "forgetting",
    };
    AboutDeed { n: deed.n, work, amount, quantity, state }
}

/// How many holds there are in each state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AboutHolds {
    held: usize,
    pinned: usize,
    committed: usize,
    released: usize,
    forgotten: usize,
}

impl<W: Copy> From<&Holds<W>> for AboutHolds {
    fn from(holds: &Holds<W>) -> Self {
        let mut counted = Self::default();
        for hold in holds.as_slice() {
            *match hold.state {
                State::Held => &mut counted.held,
                State::Pinned => &mut counted.pinned,
                State::Committed => &mut counted.committed,
                State::Released => &mut counted.released,
                State::Forgotten => &mut counted.forgotten,
            } += 1;
        }
        counted
    }
}

/// A product's stock, without who holds of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AboutStock {
    sku: String,
    revision: u64,
    available: u32,
    /// Units that checkouts hold.
    held: u32,
    sold: u32,
    on_hand: u32,
    holds: AboutHolds,
    /// Parcels and restocks that are remembered.
    moves: usize,
    created_at_ms: u64,
    updated_at_ms: u64,
}

impl From<&Stock> for About {
    fn from(stock: &Stock) -> Self {
        Self::Stock(AboutStock {
            sku: stock.sku.to_string(),
            revision: stock.revision,
            available: stock.available,
            held: stock.held(),
            sold: stock.sold,
            on_hand: stock.on_hand(),
            holds: AboutHolds::from(&stock.holds),
            moves: stock.moves.len(),
            created_at_ms: stock.created_at.0,
            updated_at_ms: stock.updated_at.0,
        })
    }
}

/// A discount code, without who uses it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AboutDiscount {
    code: String,
    revision: u64,
    used: u32,
    uses_max: Option<u32>,
    uses_per_shopper_max: Option<u32>,
    holds: AboutHolds,
    /// How many shoppers' uses are counted.
    shoppers: usize,
    created_at_ms: u64,
    updated_at_ms: u64,
}

impl From<&Discount> for About {
    fn from(discount: &Discount) -> Self {
        Self::Discount(AboutDiscount {
            code: discount.rule.code.to_string(),
            revision: discount.revision,
            used: discount.used,
            uses_max: discount.rule.uses_max,
            uses_per_shopper_max: discount.rule.uses_per_shopper_max,
            holds: AboutHolds::from(&discount.holds),
            shoppers: discount.shoppers.len(),
            created_at_ms: discount.created_at.0,
            updated_at_ms: discount.updated_at.0,
        })
    }
}
