//! What a cart is.

use std::fmt;

use thin_vec::ThinVec;

use crate::domain::{CartId, CheckoutId, Currency, GuestId, UnixMillis, discount::Rule};

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
    /// Some of it is being bought; takes changes, which are not bought along.
    CheckingOut,
    /// Ended by buying all of it.
    Ordered,
}

impl Status {
    /// As clients read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Expired => "expired",
            Self::CheckingOut => "checking_out",
            Self::Ordered => "ordered",
        }
    }

    /// Whether it takes no changes any more.
    #[must_use]
    pub const fn has_ended(self) -> bool {
        match self {
            Self::Open | Self::CheckingOut => false,
            Self::Closed | Self::Expired | Self::Ordered => true,
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

/// What a text takes of a row beside its bytes: its length.
const TEXT_BYTES: usize = 3;
/// What a line's numbers and counts take of a row at most.
const NUMBERS_BYTES: usize = 26;

impl Line {
    /// Whether an addition of this product, choice and metadata belongs to this line.
    #[must_use]
    pub fn joins(&self, sku: &str, options: &Options, metadata: &Metadata) -> bool {
        *self.sku == *sku && self.options == *options && self.metadata == *metadata
    }

    /// What it takes of a row, rounded up.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        let pairs = |pairs: &[(Box<str>, Box<str>)]| {
            pairs.iter().map(|(name, value)| name.len() + value.len() + 2 * TEXT_BYTES).sum::<usize>()
        };
        let texts = self.sku.len() + self.title.len() + 2 * TEXT_BYTES;
        NUMBERS_BYTES + texts + pairs(&self.options) + pairs(&self.metadata)
    }
}

/// What a cart knows of the checkout that buys from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InCheckout {
    /// Its name.
    pub id: CheckoutId,
    /// Whether it is known to exist: until then the cart goes on to ask for it.
    pub opened: bool,
    /// What it buys, as the cart was at its beginning; emptied once it is opened, for it has its own copy.
    pub lines: ThinVec<Line>,
    /// The codes that it buys with.
    pub codes: ThinVec<Rule>,
}

/// A cart. Its lists are thin, one word each: nodes keep hundreds of thousands of carts in memory, most without codes or
/// saved lines.
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
    pub lines: ThinVec<Line>,
    /// What is kept for later, oldest first.
    pub saved: ThinVec<Line>,
    /// Discount codes, in the order in which they came; none twice.
    pub codes: ThinVec<Rule>,
    /// The checkout that buys from it, as long as the status says so; few carts have one.
    pub checkout: Option<Box<InCheckout>>,
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
    /// Lines and saved lines together.
    #[must_use]
    pub fn line_count(&self) -> usize {
        self.lines.len() + self.saved.len()
    }
}
