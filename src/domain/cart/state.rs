//! What a cart is.

use std::fmt;

use crate::domain::{CartId, Currency, GuestId, Money, MoneyError, UnixMillis};

/// Chosen product options, sorted by name, no name twice.
pub type Options = Box<[(Box<str>, Box<str>)]>;
/// The client's own facts about a line, sorted by name, no name twice. Values are JSON scalars as text, kept as sent.
pub type Metadata = Box<[(Box<str>, Box<str>)]>;

/// Names a line within its cart: `l1`, `l2` …; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LineId(pub u32);

impl fmt::Display for LineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "l{}", self.0)
    }
}

impl std::str::FromStr for LineId {
    type Err = ();
    /// Reads `l1`; no sign, no leading zero.
    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = text.strip_prefix('l').ok_or(())?;
        if digits.starts_with('0') || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(());
        }
        digits.parse().map(Self).map_err(|_| ())
    }
}

/// Whose cart it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// A shopper without an account.
    Guest(GuestId),
}

/// Where a cart is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Takes changes.
    Open,
    /// Ended by its shopper.
    Closed,
    /// Ended by time.
    Expired,
}

impl Status {
    /// As clients read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Expired => "expired",
        }
    }
}

/// Some units of one product, in one choice of options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its name in this cart.
    pub id: LineId,
    /// Which product.
    pub sku: Box<str>,
    /// The product's title when the line was last added to.
    pub title: Box<str>,
    /// How many: 1 to `quantity_max`.
    pub quantity: u16,
    /// The most that this line may hold, from the product when it was last added to.
    pub quantity_max: u16,
    /// Price of one unit that the shopper last saw, in the cart's currency's minor units.
    pub unit_price: i64,
    /// What was chosen.
    pub options: Options,
    /// The client's own facts.
    pub metadata: Metadata,
}

impl Line {
    /// Whether an addition of this product, choice and metadata belongs to this line.
    #[must_use]
    pub fn joins(&self, sku: &str, options: &Options, metadata: &Metadata) -> bool {
        *self.sku == *sku && self.options == *options && self.metadata == *metadata
    }
}

/// Sums over the lines (saved ones do not count).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Sum of the lines.
    pub subtotal: Money,
    /// What is taken off: zero or negative.
    pub discount: Money,
    /// What remains.
    pub total: Money,
}

/// A cart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cart {
    /// Its name.
    pub id: CartId,
    /// Rises with every change that a client can see; 1 when made.
    pub revision: u64,
    /// Whose it is.
    pub owner: Owner,
    /// Which of its owner's active carts it is, counted by the account; 0 for guests.
    pub generation: u32,
    /// Where it is in its life.
    pub status: Status,
    /// Of every price in it.
    pub currency: Currency,
    /// What would be bought, oldest first.
    pub lines: Vec<Line>,
    /// What is kept for later, oldest first.
    pub saved: Vec<Line>,
    /// The number that the next new line gets.
    pub line_next: u32,
    /// The shopper's note.
    pub note: Option<Box<str>>,
    /// Where to write to the shopper.
    pub email: Option<Box<str>>,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When it last changed.
    pub updated_at: UnixMillis,
    /// When it expires unless it changes before.
    pub expires_at: UnixMillis,
}

impl Cart {
    /// Price of the whole line.
    ///
    /// # Errors
    /// [`MoneyError::Overflow`]; `decide` refuses what would get there.
    pub fn line_total(&self, line: &Line) -> Result<Money, MoneyError> {
        Money { amount: line.unit_price, currency: self.currency }.checked_mul(u32::from(line.quantity))
    }

    /// Sums over the lines.
    ///
    /// # Errors
    /// [`MoneyError::Overflow`]; `decide` refuses what would get there.
    pub fn totals(&self) -> Result<Totals, MoneyError> {
        let zero = Money::zero(self.currency);
        let subtotal = self.lines.iter().try_fold(zero, |sum, line| sum.checked_add(self.line_total(line)?))?;
        Ok(Totals { subtotal, discount: zero, total: subtotal })
    }

    /// Lines and saved lines together.
    #[must_use]
    pub fn line_count(&self) -> usize {
        self.lines.len() + self.saved.len()
    }
}
