//! What may be asked of a cart. Parsed at the door: quantities, texts and products are already well-formed here,
//! what depends on the cart's state is checked by `decide`.

use super::state::{LineId, Metadata, Options, Owner};
use crate::domain::{CartId, CheckoutId, Currency, discount::Rule};

/// Some units to add, with the product's facts as the catalogue told them just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addition {
    /// Which product.
    pub sku: Box<str>,
    /// Its title.
    pub title: Box<str>,
    /// Its unit price in minor units.
    pub unit_price: i64,
    /// The price's currency.
    pub currency: Currency,
    /// How many more: at least 1.
    pub quantity: u16,
    /// The most that one line of it may hold.
    pub quantity_max: u16,
    /// What was chosen.
    pub options: Options,
    /// The client's own facts.
    pub metadata: Metadata,
}

/// A line's new quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetQuantity {
    /// Which line (a saved one has no quantity to set: restore it first).
    pub line: LineId,
    /// How many from now on; 0 removes the line.
    pub quantity: u16,
}

/// What may be asked of a cart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Make the cart. On a cart that is there already, with the same owner: no change.
    Create {
        /// Its id, minted by the caller with its owner's slot.
        id: CartId,
        /// Whose it will be.
        owner: Owner,
        /// Of every price in it.
        currency: Currency,
    },
    /// Add units of a product; same product, options and metadata join the same line.
    Add(Addition),
    /// Set a line's quantity.
    SetQuantity(SetQuantity),
    /// Remove a line, saved or not.
    Remove(LineId),
    /// Remove every line that would be bought; saved ones stay.
    Clear,
    /// Keep a line for later.
    Save(LineId),
    /// Take a saved line back; joins an equal line if there is one, within its limit.
    Restore(LineId),
    /// Set note and e-mail; `None` leaves, `Some(None)` erases.
    Patch {
        /// The new note.
        note: Option<Option<Box<str>>>,
        /// The new e-mail address.
        email: Option<Option<Box<str>>>,
    },
    /// Apply a discount code, as the shop defines it now; one that is there already takes over the definition.
    ApplyCode(Rule),
    /// Take a discount code away.
    RemoveCode(Box<str>),
    /// Begin a checkout of all lines with all codes. In a checkout already: no change, the state names it.
    Begin {
        /// Its id, minted by the caller with the cart's slot.
        checkout: CheckoutId,
        /// The unit prices that the shopper accepted, where they are others than those seen.
        prices: Vec<(LineId, i64)>,
    },
    /// The checkout is known to exist. Of another checkout: no change.
    Opened {
        /// Which.
        checkout: CheckoutId,
    },
    /// The checkout was completed: take what was bought out of the cart. Of another checkout: no change.
    Settle {
        /// Which.
        checkout: CheckoutId,
        /// Units bought of each line.
        bought: Vec<(LineId, u16)>,
    },
    /// The checkout ended without a purchase. Of another checkout: no change.
    LetGo {
        /// Which.
        checkout: CheckoutId,
    },
    /// End the cart.
    Close,
    /// The clock says so: expire if `expires_at` has come, else nothing.
    Expire,
}
