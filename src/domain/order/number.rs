//! The number of an order that people can say.

use std::fmt;

use crate::domain::OrderId;

/// Crockford's alphabet in upper case, as it is printed: no I, L, O, U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Bits of a number: 12 digits of 5.
const BITS: u32 = 60;

/// An order's number for people: 60 bits mixed from its id, written as three groups of four digits, `7K3M-9QXA-2B4D`.
/// Two of a million orders share one with a chance of one in two million; the id is what programs go by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number(u64);

impl Number {
    /// The number of this order, for ever: it is printed on paper, so the mixing never changes.
    #[must_use]
    pub const fn of(order: OrderId) -> Self {
        let bits = order.0.0;
        // Ids of one shopper share their upper bits, ids of one moment their middle ones: every bit must reach every digit.
        let upper = mix((bits >> 64) as u64);
        Self(mix(upper ^ (bits as u64)) >> (u64::BITS - BITS))
    }
}

/// One step of SplitMix64: each bit of the result depends on each of `bits`, and no two `bits` have one result.
const fn mix(bits: u64) -> u64 {
    let bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in (0..12).rev() {
            let digit = ALPHABET[((self.0 >> (5 * place)) & 31) as usize];
            fmt::Write::write_char(f, char::from(digit))?;
            if place == 8 || place == 4 {
                f.write_str("-")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
