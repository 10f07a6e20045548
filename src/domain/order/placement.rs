//! What a checkout gives to make an order.

use std::{collections::BTreeSet, fmt};

use crate::domain::{
    CartId, CheckoutId, Currency,
    address::Address,
    cart::{LINES_MAX, LineId, Metadata, Options, Owner},
    pricing::Quote,
};

/// When the money is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Capture {
    /// At once.
    AtOrder,
    /// Before the first parcel leaves.
    AtFulfilment,
}

/// One line as it was bought. All amounts in the order's currency's minor units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bought {
    /// Its name in the cart.
    pub line: LineId,
    /// Which product.
    pub sku: Box<str>,
    /// The product's title.
    pub title: Box<str>,
    /// What was chosen.
    pub options: Options,
    /// The client's own facts.
    pub metadata: Metadata,
    /// How many: at least 1.
    pub quantity: u16,
    /// Price of one unit.
    pub unit_price: i64,
    /// Unit price times quantity.
    pub subtotal: i64,
    /// Its share of all discounts: zero or negative.
    pub discount: i64,
    /// Tax on what remains: part of it if prices include tax, on top of it otherwise.
    pub tax: i64,
}

impl Bought {
    /// What was paid for the goods of this line.
    #[must_use]
    pub const fn paid(&self, tax_included: bool) -> i64 {
        let tax = if tax_included { 0 } else { self.tax };
        self.subtotal.saturating_add(self.discount).saturating_add(tax)
    }
}

/// A purchase whose payment is authorised and whose goods are committed: all that makes an order.
#[derive(Clone, PartialEq, Eq)]
pub struct Placement {
    /// The checkout; it gives the order its id.
    pub checkout: CheckoutId,
    /// The cart that it was made of.
    pub cart: CartId,
    /// Who buys.
    pub owner: Owner,
    /// Of every amount.
    pub currency: Currency,
    /// Where to write to the shopper.
    pub email: Box<str>,
    /// Where the goods go, if any are sent.
    pub address: Option<Address>,
    /// What is bought: 1 to [`LINES_MAX`] lines.
    pub lines: Vec<Bought>,
    /// What it costs.
    pub quote: Quote,
    /// Which gateway reserved the money.
    pub gateway: Box<str>,
    /// The gateway's name for the payment.
    pub reference: Box<str>,
    /// How much it reserved.
    pub authorised: i64,
    /// When it is taken.
    pub capture: Capture,
}

impl Placement {
    /// Whether it can be an order at all: a checkout gives no other.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.currency != self.quote.currency {
            return Err("the quote is in another currency");
        }
        let included = self.quote.tax_included;
        check_lines(&self.lines, self.quote.subtotal, included, self.quote.total)?;
        if self.authorised < self.quote.total {
            return Err("less is authorised than it costs");
        }
        Ok(())
    }
}

/// What holds for the lines of every order: names that are unique, amounts that add up to what was paid.
pub(super) fn check_lines<'a>(
    lines: impl IntoIterator<Item = &'a Bought, IntoIter: ExactSizeIterator>,
    subtotal: i64,
    tax_included: bool,
    total: i64,
) -> Result<(), &'static str> {
    let lines = lines.into_iter();
    if lines.len() == 0 || lines.len() > LINES_MAX {
        return Err("an order has 1 to 100 lines");
    }
    let (mut names, mut subtotals, mut paid) = (BTreeSet::new(), 0i128, 0i128);
    for line in lines {
        if !names.insert(line.line) {
            return Err("two lines have one name");
        }
        let price = i128::from(line.unit_price) * i128::from(line.quantity);
        if line.quantity == 0 || line.unit_price < 0 || price != i128::from(line.subtotal) {
            return Err("a line's subtotal is not its units' price");
        }
        // Without overflow: 0 <= subtotal, and the discount is between -subtotal and 0.
        if line.discount > 0 || line.discount < -line.subtotal || line.tax < 0 {
            return Err("a line's shares are out of range");
        }
        subtotals += price;
        paid += i128::from(line.subtotal) + i128::from(line.discount);
        paid += if tax_included { 0 } else { i128::from(line.tax) };
    }
    if subtotals != i128::from(subtotal) {
        return Err("the lines do not add up to the subtotal");
    }
    // The rest is shipping.
    if paid > i128::from(total) {
        return Err("the lines cost more than the total");
    }
    Ok(())
}

impl fmt::Debug for Placement {
    /// Without what tells who the shopper is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Placement")
            .field("checkout", &self.checkout)
            .field("owner", &self.owner)
            .field("currency", &self.currency)
            .field("lines", &self.lines)
            .field("total", &self.quote.total)
            .field("authorised", &self.authorised)
            .field("capture", &self.capture)
            .finish_non_exhaustive()
    }
}
