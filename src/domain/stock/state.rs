//! What a product's stock is.

use super::{LOW_MAX, command::Source};
use crate::domain::{
    Reference, UnixMillis,
    holds::{Hold, Holds, KEPT_MS},
    product::Availability,
};

/// What moved units that were sold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Moved {
    /// They left.
    Shipped,
    /// They can be had again.
    Restocked(Source),
}

/// Units that an order moved: remembered so that it moves them once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// Its name: who asked.
    pub by: Reference,
    /// How many.
    pub quantity: u32,
    /// What moved them.
    pub moved: Moved,
    /// When whoever asked said that it will not ask again.
    pub forgotten_at: Option<UnixMillis>,
}

impl Move {
    /// Whether it has been remembered for long enough.
    #[must_use]
    pub fn is_spent(&self, now: UnixMillis) -> bool {
        self.forgotten_at.is_some_and(|at| at.plus_ms(KEPT_MS) <= now)
    }
}

/// The stock of one product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stock {
    /// Which product.
    pub sku: Box<str>,
    /// Rises with every change; 1 when opened.
    pub revision: u64,
    /// How many can be had.
    pub available: u32,
    /// How many are bought and have not left.
    pub sold: u32,
    /// What checkouts hold, and held.
    pub holds: Holds<u32>,
    /// What orders moved; sorted by name, no name twice.
    pub moves: Vec<Move>,
    /// When it was opened.
    pub created_at: UnixMillis,
    /// When it last changed.
    pub updated_at: UnixMillis,
}

impl Stock {
    /// A stock as it is when it is opened.
    #[must_use]
    pub fn opened(sku: Box<str>, available: u32, at: UnixMillis) -> Self {
        Self {
            sku,
            revision: 1,
            available,
            sold: 0,
            holds: Holds::default(),
            moves: Vec::new(),
            created_at: at,
            updated_at: at,
        }
    }

    /// How many checkouts hold.
    #[must_use]
    pub fn held(&self) -> u32 {
        units(self.holds.open())
    }

    /// How many there are: available, held and sold together.
    #[must_use]
    pub fn on_hand(&self) -> u32 {
        self.available.saturating_add(self.held()).saturating_add(self.sold)
    }

    /// How many can be had once what has lapsed is let go.
    #[must_use]
    pub fn available_at(&self, now: UnixMillis) -> u32 {
        self.available.saturating_add(units(self.holds.lapsed(now)))
    }

    /// As shoppers read it.
    #[must_use]
    pub const fn level(&self) -> Availability {
        Self::level_of(self.available)
    }

    /// What shoppers read where so many can be had.
    #[must_use]
    pub const fn level_of(available: u32) -> Availability {
        match available {
            0 => Availability::OutOfStock,
            1..=LOW_MAX => Availability::Low,
            _ => Availability::InStock,
        }
    }

    /// When the clock must next do something.
    #[must_use]
    pub fn wake_at(&self) -> Option<UnixMillis> {
        self.holds.next_expiry()
    }

    /// The move of this name.
    #[must_use]
    pub fn find_move(&self, by: Reference) -> Option<&Move> {
        self.place(by).ok().and_then(|at| self.moves.get(at))
    }

    /// Whether something is kept only against late commands, and for long enough.
    #[must_use]
    pub fn has_spent(&self, now: UnixMillis) -> bool {
        self.holds.has_spent(now) || self.moves.iter().any(|one| one.is_spent(now))
    }

    /// Where a move of this name is, or belongs.
    pub(super) fn place(&self, by: Reference) -> Result<usize, usize> {
        self.moves.binary_search_by_key(&by, |one| one.by)
    }
}

/// How many units these holds are of.
fn units<'a>(holds: impl Iterator<Item = &'a Hold<u32>>) -> u32 {
    holds.fold(0, |sum, hold| sum.saturating_add(hold.what))
}
