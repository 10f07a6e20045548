//! What an order is.

use std::fmt;

use super::{
    DEED_FIRST, HISTORY_MAX,
    deed::{Deed, DeedState, Work},
    history::Entry,
    number::Number,
    placement::{Bought, Capture, check_lines},
};
use crate::domain::{
    CartId, CheckoutId, Currency, OrderId, UnixMillis,
    address::Address,
    cart::{LineId, Owner},
    pricing::{Discounted, Offer, Quote},
};

/// Where an order is in its life, computed from its facts: the first of this list that holds, from the top.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// It was cancelled, wherever its money is by now.
    Cancelled,
    /// Every unit has come back.
    Returned,
    /// All the money that was taken has gone back.
    Refunded,
    /// Some of the money that was taken has gone back. How far goods went, the lines tell.
    PartlyRefunded,
    /// Every unit has left.
    Fulfilled,
    /// Some units have left.
    PartlyFulfilled,
    /// The money was taken, or there is nothing to pay.
    Paid,
    /// None of these.
    Placed,
}

impl Status {
    /// Every status, in the order of the persistent numbers.
    pub const ALL: [Self; 8] = [
        Self::Cancelled,
        Self::Returned,
        Self::Refunded,
        Self::PartlyRefunded,
        Self::Fulfilled,
        Self::PartlyFulfilled,
        Self::Paid,
        Self::Placed,
    ];

    /// As clients read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Returned => "returned",
            Self::Refunded => "refunded",
            Self::PartlyRefunded => "partly_refunded",
            Self::Fulfilled => "fulfilled",
            Self::PartlyFulfilled => "partly_fulfilled",
            Self::Paid => "paid",
            Self::Placed => "placed",
        }
    }
}

/// By whom or what an order was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Its shopper.
    Shopper,
    /// The shop.
    Shop,
    /// The money could not be taken.
    CaptureRefused,
}

/// One line, and how far its goods went: returned <= fulfilled <= quantity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What was bought.
    pub bought: Bought,
    /// How many units have left.
    pub fulfilled: u16,
    /// How many of those have come back.
    pub returned: u16,
}

impl Line {
    /// What goes back for the next `units` to come back. Shares are cut so that the shares of all units, however they
    /// come, are exactly what was paid for the line.
    #[must_use]
    pub fn share(&self, units: u16, tax_included: bool) -> i64 {
        let paid = i128::from(self.bought.paid(tax_included));
        let quantity = i128::from(self.bought.quantity.max(1));
        let until = |units: u16| paid * i128::from(units) / quantity;
        let share = until(self.returned.saturating_add(units)) - until(self.returned);
        // A part of a price, which fits.
        i64::try_from(share).unwrap_or(0)
    }
}

/// What the purchase cost, as its quote said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Sum of the lines' subtotals.
    pub subtotal: i64,
    /// Sum of the discounts: zero or negative.
    pub discount: i64,
    /// What each code takes off.
    pub discounts: Vec<Discounted>,
    /// Shipping, before discounts.
    pub shipping: i64,
    /// The way of shipping that was chosen.
    pub offer: Option<Offer>,
    /// Tax on lines and shipping.
    pub tax: i64,
    /// Whether prices include the tax.
    pub tax_included: bool,
    /// What is paid.
    pub total: i64,
}

impl From<&Quote> for Totals {
    fn from(quote: &Quote) -> Self {
        Self {
            subtotal: quote.subtotal,
            discount: quote.discount,
            discounts: quote.discounts.clone(),
            shipping: quote.shipping,
            offer: quote.offers.iter().find(|offer| Some(&offer.id) == quote.option.as_ref()).cloned(),
            tax: quote.tax,
            tax_included: quote.tax_included,
            total: quote.total,
        }
    }
}

/// Where the money is: refunded <= captured <= authorised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Which gateway.
    pub gateway: Box<str>,
    /// The gateway's name for the payment.
    pub reference: Box<str>,
    /// How much was reserved.
    pub authorised: i64,
    /// How much was taken.
    pub captured: i64,
    /// How much has gone back.
    pub refunded: i64,
    /// Whether what was reserved has been let go of.
    pub voided: bool,
}

/// One parcel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shipment {
    /// Counts the order's shipments from 1.
    pub n: u32,
    /// What is in it: each line once.
    pub lines: Vec<(LineId, u16)>,
    /// Who carries it.
    pub carrier: Option<Box<str>>,
    /// Its label or tracking number.
    pub label: Option<Box<str>>,
    /// When it was asked for.
    pub asked_at: UnixMillis,
    /// When it left; `None` while it waits for the money.
    pub left_at: Option<UnixMillis>,
}

/// An order.
#[derive(Clone, PartialEq, Eq)]
pub struct Order {
    /// Its name: its checkout's bits.
    pub id: OrderId,
    /// Rises with every change that a client can see; 1 when made.
    pub revision: u64,
    /// The cart that it was made of.
    pub cart: CartId,
    /// Whose it is.
    pub owner: Owner,
    /// Of every amount in it.
    pub currency: Currency,
    /// Where to write to the shopper.
    pub email: Box<str>,
    /// Where the goods go, if any are sent.
    pub address: Option<Address>,
    /// What was bought.
    pub lines: Vec<Line>,
    /// What it cost.
    pub totals: Totals,
    /// Where the money is.
    pub payment: Payment,
    /// When the money is taken.
    pub capture: Capture,
    /// What must be done elsewhere, oldest first.
    pub deeds: Vec<Deed>,
    /// The number that the next deed gets.
    pub deed_next: u32,
    /// Parcels, oldest first.
    pub shipments: Vec<Shipment>,
    /// What happened, oldest first; the newest [`HISTORY_MAX`].
    pub history: Vec<Entry>,
    /// How many entries of the history went because newer ones came.
    pub history_dropped: u32,
    /// Who or what cancelled it.
    pub cancelled: Option<Cause>,
    /// When it was made.
    pub placed_at: UnixMillis,
    /// When it last changed, visibly or not.
    pub updated_at: UnixMillis,
}

impl Order {
    /// Its number for people.
    #[must_use]
    pub const fn number(&self) -> Number {
        Number::of(self.id)
    }

    /// The checkout that it was made of.
    #[must_use]
    pub const fn checkout(&self) -> CheckoutId {
        CheckoutId(self.id.0)
    }

    /// Where it is in its life; see [`Status`] for what goes before what.
    #[must_use]
    pub fn status(&self) -> Status {
        let all = |units: fn(&Line) -> u16| self.lines.iter().all(|line| units(line) == line.bought.quantity);
        let Payment { captured, refunded, .. } = self.payment;
        match self {
            _ if self.cancelled.is_some() => Status::Cancelled,
            _ if all(|line| line.returned) => Status::Returned,
            _ if captured > 0 && refunded == captured => Status::Refunded,
            _ if refunded > 0 => Status::PartlyRefunded,
            _ if all(|line| line.fulfilled) => Status::Fulfilled,
            _ if self.has_shipped() => Status::PartlyFulfilled,
            _ if self.is_paid() => Status::Paid,
            _ => Status::Placed,
        }
    }

    /// Whether all that it costs has been taken; an order that costs nothing is paid when it is made.
    #[must_use]
    pub const fn is_paid(&self) -> bool {
        self.payment.captured >= self.totals.total
    }

    /// Whether anything has left.
    #[must_use]
    pub fn has_shipped(&self) -> bool {
        self.lines.iter().any(|line| line.fulfilled > 0)
    }

    /// Money that is on its way back.
    #[must_use]
    pub fn refunding(&self) -> i64 {
        let amount = |work| if let Work::Refund { amount } = work { amount } else { 0 };
        self.wanted().map(amount).sum()
    }

    /// Money that may still go back: taken, not given back, and not on its way.
    #[must_use]
    pub fn refundable(&self) -> i64 {
        self.payment.captured - self.payment.refunded - self.refunding()
    }

    /// Whether money is on its way to the shop or back.
    #[must_use]
    pub fn moves_money(&self) -> bool {
        self.refunding() > 0 || self.is_capturing()
    }

    /// Whether the money is being taken.
    #[must_use]
    pub fn is_capturing(&self) -> bool {
        self.wanted().any(|work| matches!(work, Work::Capture { .. }))
    }

    /// Units of a line in parcels that wait for the money.
    #[must_use]
    pub fn waiting(&self, line: LineId) -> u16 {
        let parcels = self.shipments.iter().filter(|shipment| shipment.left_at.is_none());
        parcels.flat_map(|parcel| &parcel.lines).filter(|(id, _)| *id == line).map(|(_, units)| *units).sum()
    }

    /// The line of this name.
    #[must_use]
    pub fn line(&self, id: LineId) -> Option<&Line> {
        self.lines.iter().find(|line| line.bought.line == id)
    }

    /// What is wanted done and has not been answered.
    fn wanted(&self) -> impl Iterator<Item = Work> {
        self.deeds.iter().filter(|deed| deed.state == DeedState::Wanted).map(|deed| deed.work)
    }

    /// Whether it can be an order at all; no command makes any other.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn check(&self) -> Result<(), &'static str> {
        let bought: Vec<&Bought> = self.lines.iter().map(|line| &line.bought).collect();
        check_lines(bought, self.totals.subtotal, self.totals.tax_included, self.totals.total)?;
        let Payment { authorised, captured, refunded, .. } = self.payment;
        if !(0 <= refunded && refunded <= captured && captured <= authorised && self.totals.total <= authorised) {
            return Err("amounts of the payment that cannot be");
        }
        let (mut to_capture, mut to_refund) = (authorised - captured, captured - refunded);
        let mut n_before = DEED_FIRST - 1;
        for deed in &self.deeds {
            if deed.n <= n_before || deed.n >= self.deed_next {
                return Err("numbers of deeds that clash");
            }
            n_before = deed.n;
            if !deed.work.is_of_stock() && deed.state != DeedState::Wanted {
                return Err("a deed of a gateway that is over");
            }
            match deed.work {
                Work::Capture { amount } if amount <= 0 || amount > to_capture => {
                    return Err("more would be captured than is authorised");
                }
                Work::Refund { amount } if amount <= 0 || amount > to_refund => {
                    return Err("more would be refunded than was captured");
                }
                Work::Capture { amount } => to_capture -= amount,
                Work::Refund { amount } => to_refund -= amount,
                Work::Ship { goods, quantity } | Work::Restock { goods, quantity, .. }
                    if quantity == 0 || self.line(goods).is_none() =>
                {
                    return Err("a deed on goods that the order has not");
                }
                _ => {}
            }
        }
        self.check_goods()?;
        if self.history.len() > HISTORY_MAX {
            return Err("a history that is too long");
        }
        Ok(())
    }

    fn check_goods(&self) -> Result<(), &'static str> {
        if self.cancelled.is_some() && self.has_shipped() {
            return Err("a cancelled order whose goods have left");
        }
        for (shipment, n) in self.shipments.iter().zip(1..) {
            if shipment.n != n {
                return Err("numbers of shipments that clash");
            }
        }
        let mut parcels = self.shipments.iter().flat_map(|shipment| &shipment.lines);
        if parcels.any(|(id, units)| *units == 0 || self.line(*id).is_none()) {
            return Err("a shipment of goods that the order has not");
        }
        for line in &self.lines {
            let units = |shipment: &Shipment| -> u32 {
                let of_line = shipment.lines.iter().filter(|(id, _)| *id == line.bought.line);
                of_line.map(|(_, units)| u32::from(*units)).sum()
            };
            let sum = |left: bool| -> u32 {
                self.shipments.iter().filter(|shipment| shipment.left_at.is_some() == left).map(units).sum()
            };
            let (left, waiting) = (sum(true), sum(false));
            if left != u32::from(line.fulfilled)
                || line.returned > line.fulfilled
                || left + waiting > u32::from(line.bought.quantity)
            {
                return Err("goods that moved more than once");
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Order {
    /// Without what tells who the shopper is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Order")
            .field("id", &self.id)
            .field("revision", &self.revision)
            .field("status", &self.status())
            .field("owner", &self.owner)
            .field("currency", &self.currency)
            .field("lines", &self.lines)
            .field("totals", &self.totals)
            .field("payment", &self.payment)
            .field("capture", &self.capture)
            .field("deeds", &self.deeds)
            .field("shipments", &self.shipments)
            .field("history", &self.history)
            .field("placed_at", &self.placed_at)
            .field("updated_at", &self.updated_at)
            .finish_non_exhaustive()
    }
}
