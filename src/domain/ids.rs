//! Ids: a kind prefix and 26 characters of Crockford base32 over 128 bits.
//!
//! The bits, from the top: 14 of slot (the shopper's place in the ring, inherited by everything they own), 48 of
//! milliseconds, 66 of randomness. Random bits arrive as an argument.

use std::fmt;

use super::time::UnixMillis;

/// Number of slots, for ever.
pub const SLOTS: u16 = 1 << SLOT_BITS;
const SLOT_BITS: u32 = 14;
const TIME_BITS: u32 = 48;
const RANDOM_BITS: u32 = 66;
const TEXT_LEN: usize = 26;
/// Crockford's alphabet, in lower case: no i, l, o, u.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

const NO_DIGIT: u8 = 0xff;
/// What each byte stands for, in either case: every request parses two ids.
const DIGITS: [u8; 256] = {
    let mut digits = [NO_DIGIT; 256];
    let mut n = 0;
    while n < ALPHABET.len() {
        digits[ALPHABET[n] as usize] = n as u8;
        digits[ALPHABET[n].to_ascii_uppercase() as usize] = n as u8;
        n += 1;
    }
    digits
};

/// A shopper's place in the ring: 0 to 16,383.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

impl Slot {
    /// The slot named by the low 14 bits.
    #[must_use]
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits & (SLOTS - 1))
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The shard that holds this slot in a cluster of `shards` shards (a power of two, at most [`SLOTS`]).
    #[must_use]
    pub const fn shard(self, shards: u16) -> ShardId {
        ShardId(self.0 / (SLOTS / shards))
    }
}

/// A unit of ownership, supervision and recovery: a contiguous range of slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// 128 bits without a kind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub u128);

impl Id {
    /// A new id: the slot's bits, the moment's low 48 bits and the low 66 bits of `random`.
    #[must_use]
    pub const fn new(slot: Slot, at: UnixMillis, random: u128) -> Self {
        let time = (at.0 & ((1 << TIME_BITS) - 1)) as u128;
        Self(
            ((slot.0 as u128) << (TIME_BITS + RANDOM_BITS))
                | (time << RANDOM_BITS)
                | (random & ((1 << RANDOM_BITS) - 1)),
        )
    }

    /// The slot it carries.
    #[must_use]
    pub const fn slot(self) -> Slot {
        Slot((self.0 >> (TIME_BITS + RANDOM_BITS)) as u16)
    }

    /// Its 26 characters, ASCII.
    #[must_use]
    pub fn digits(self) -> [u8; TEXT_LEN] {
        // Two halves of 13 digits, the upper in one word: shifting all 128 bits for each digit costs thrice as much.
        let (mut upper, mut lower) = ((self.0 >> 65) as u64, self.0 & ((1 << 65) - 1));
        let mut text = [0u8; TEXT_LEN];
        for place in (0..TEXT_LEN / 2).rev() {
            text[place] = ALPHABET[(upper & 31) as usize];
            text[place + TEXT_LEN / 2] = ALPHABET[(lower & 31) as usize];
            upper >>= 5;
            lower >>= 5;
        }
        text
    }

    /// Parses the 26 characters (either case). The first carries three bits only.
    ///
    /// # Errors
    /// [`IdError`] on another length, a character outside the alphabet, or more than 128 bits.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        if text.len() != TEXT_LEN {
            return Err(IdError::Length);
        }
        let mut bits: u128 = 0;
        for (i, c) in text.bytes().enumerate() {
            let digit = DIGITS[usize::from(c)];
            if digit == NO_DIGIT {
                return Err(IdError::Character);
            }
            if i == 0 && digit > 7 {
                return Err(IdError::Overflow);
            }
            bits = (bits << 5) | u128::from(digit);
        }
        Ok(Self(bits))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.digits()).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The prefix is not the one of the kind asked for.
    #[error("the id does not start with the prefix of its kind")]
    Prefix,
    /// Not 26 characters after the prefix.
    #[error("an id has 26 characters after its prefix")]
    Length,
    /// A character outside Crockford's base32 alphabet.
    #[error("an id holds digits and letters other than i, l, o and u")]
    Character,
    /// The first character carries more than the three bits left of 128.
    #[error("the id's first character must be 0 to 7")]
    Overflow,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Id);

        impl $name {
            /// What its text starts with.
            pub const PREFIX: &'static str = $prefix;

            /// A new id; see [`Id::new`].
            #[must_use]
            pub const fn new(slot: Slot, at: UnixMillis, random: u128) -> Self {
                Self(Id::new(slot, at, random))
            }

            /// The slot it carries.
            #[must_use]
            pub const fn slot(self) -> Slot {
                self.0.slot()
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Id::parse(text.strip_prefix($prefix).ok_or(IdError::Prefix)?).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )+};
}

kinds! {
    /// A cart.
    CartId = "cart_";
    /// A checkout; its shopper's slot.
    CheckoutId = "chk_";
    /// An order: its checkout's bits under another prefix, so that placing it twice is placing it once.
    OrderId = "ord_";
    /// The stock of one product: a hash of its SKU.
    StockId = "stk_";
    /// A discount code: a hash of its letters.
    DiscountId = "dsc_";
    /// A shopper without an account.
    GuestId = "gue_";
}

impl OrderId {
    /// The one order that a checkout may yield.
    #[must_use]
    pub const fn of(checkout: CheckoutId) -> Self {
        Self(checkout.0)
    }
}

/// Names one deed of one actor to another, for ever: who does it, and which of its deeds it is. Whoever is asked twice
/// under the same reference does it once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// The actor that asks.
    pub by: Id,
    /// Counts its deeds.
    pub n: u32,
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.by, self.n)
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
