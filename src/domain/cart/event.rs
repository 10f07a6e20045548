//! What happened to a cart.

use super::state::{Line, LineId, Owner};
use crate::domain::{CartId, CheckoutId, Currency, UnixMillis, discount::Rule};

/// One change, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When it happened.
    pub at: UnixMillis,
    /// When the cart expires unless it changes again.
    pub expires_at: UnixMillis,
    /// What happened.
    pub change: Change,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The cart was made.
    Created {
        /// Its id.
        id: CartId,
        /// Whose it is.
        owner: Owner,
        /// Of every price in it.
        currency: Currency,
    },
    /// A new line came to the end.
    LineAdded(Line),
    /// A line grew by an addition and took over the product's present facts.
    LineJoined {
        /// Which line.
        line: LineId,
        /// Its quantity from now on.
        quantity: u16,
        /// The limit from now on.
        quantity_max: u16,
        /// The price seen from now on, in minor units.
        unit_price: i64,
        /// The title from now on.
        title: Box<str>,
    },
    /// A line's quantity was set.
    QuantitySet {
        /// Which line.
        line: LineId,
        /// Its quantity from now on: at least 1.
        quantity: u16,
    },
    /// A line, saved or not, went.
    LineRemoved(LineId),
    /// Every line went; saved ones stayed.
    Cleared,
    /// A line went to the end of the saved ones.
    LineSaved(LineId),
    /// A saved line went to the end of the lines.
    LineRestored(LineId),
    /// A saved line was poured into an equal line.
    LineRejoined {
        /// The saved line that went.
        line: LineId,
        /// The line that took its units.
        into: LineId,
        /// That line's quantity from now on.
        quantity: u16,
    },
    /// Note and e-mail were set.
    Patched {
        /// The note from now on, if it changed.
        note: Option<Option<Box<str>>>,
        /// The e-mail address from now on, if it changed.
        email: Option<Option<Box<str>>>,
    },
    /// A code was applied, or defined anew.
    CodeApplied(Rule),
    /// A code went.
    CodeRemoved(Box<str>),
    /// A checkout of all lines with all codes began.
    CheckoutBegun {
        /// Its id.
        checkout: CheckoutId,
        /// Unit prices from now on, of the lines where they changed.
        prices: Vec<(LineId, i64)>,
    },
    /// The checkout exists. Clients see none of it: the revision stays.
    CheckoutOpened,
    /// What was bought left the cart, and the codes that it was bought with.
    Settled {
        /// Units bought of each line.
        bought: Vec<(LineId, u16)>,
    },
    /// The checkout ended without a purchase.
    CheckoutLeft,
    /// Its shopper ended it.
    Closed,
    /// Time ended it.
    Expired,
}
