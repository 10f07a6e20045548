//! What an event's data may hold: small things that become JSON, each with its schema and its bound.

use std::fmt::Display;

use serde_json::{Value, json};

use crate::domain::{CartId, CheckoutId, Currency, OrderId, UnixMillis, cart::LineId};

/// Longest word: that of a SKU, which an event must name in full.
const WORD_BYTES_MAX: usize = 64;
/// What every id of ours looks like after its prefix.
const ID_PATTERN: &str = "[0-7][0-9a-hjkmnp-tv-z]{25}$";

/// One field of an event's data.
pub(super) trait Field {
    /// Its JSON; `None` = it is left out.
    fn json(&self) -> Option<Value>;
    /// The schema of that JSON.
    fn schema() -> Value;
    /// Whether it may be left out.
    const OPTIONAL: bool = false;
    /// A value whose JSON is as long as any.
    #[cfg(test)]
    fn longest() -> Self;
}

/// A short word of a machine's making: a SKU, a code, a number, a status, a reason. Whatever is not plain ASCII becomes
/// `_`, whatever is too long is cut: an event is small by construction, and free text has no way into one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word(Box<str>);

impl Word {
    /// The word, plain and short.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.:".contains(c) { c } else { '_' };
        Self(text.chars().take(WORD_BYTES_MAX).map(plain).collect())
    }
}

impl From<&str> for Word {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl Field for Word {
    fn json(&self) -> Option<Value> {
        Some(Value::from(&*self.0))
    }

    fn schema() -> Value {
        json!({"type": "string", "maxLength": WORD_BYTES_MAX, "pattern": "^[0-9A-Za-z._:-]*$"})
    }

    #[cfg(test)]
    fn longest() -> Self {
        Self::new(&"W".repeat(WORD_BYTES_MAX + 1))
    }
}

/// A whole number: how many, or an amount in minor units.
impl Field for i64 {
    fn json(&self) -> Option<Value> {
        Some(Value::from(*self))
    }

    fn schema() -> Value {
        json!({"type": "integer"})
    }

    #[cfg(test)]
    fn longest() -> Self {
        Self::MIN
    }
}

/// A count.
impl Field for u32 {
    fn json(&self) -> Option<Value> {
        Some(Value::from(*self))
    }

    fn schema() -> Value {
        json!({"type": "integer", "minimum": 0})
    }

    #[cfg(test)]
    fn longest() -> Self {
        Self::MAX
    }
}

impl Field for LineId {
    fn json(&self) -> Option<Value> {
        Some(shown(self))
    }

    fn schema() -> Value {
        json!({"type": "string", "pattern": "^l[1-9][0-9]*$"})
    }

    #[cfg(test)]
    fn longest() -> Self {
        Self(u32::MAX)
    }
}

impl Field for Currency {
    fn json(&self) -> Option<Value> {
        Some(Value::from(self.as_str()))
    }

    fn schema() -> Value {
        json!({"type": "string", "pattern": "^[A-Z]{3}$"})
    }

    #[cfg(test)]
    fn longest() -> Self {
        Self::parse("EUR").unwrap()
    }
}

impl Field for UnixMillis {
    fn json(&self) -> Option<Value> {
        Some(shown(super::envelope::timestamp(*self)))
    }

    fn schema() -> Value {
        json!({"type": "string", "format": "date-time"})
    }

    #[cfg(test)]
    fn longest() -> Self {
        Self(u64::MAX)
    }
}

macro_rules! ids {
    ($($id:ident),+) => {$(
        impl Field for $id {
            fn json(&self) -> Option<Value> {
                Some(shown(self))
            }

            fn schema() -> Value {
                json!({"type": "string", "pattern": format!("^{}{ID_PATTERN}", Self::PREFIX)})
            }

            #[cfg(test)]
            fn longest() -> Self {
                Self(crate::domain::Id(u128::MAX))
            }
        }
    )+};
}

ids!(CartId, CheckoutId, OrderId);

impl<T: Field> Field for Option<T> {
    fn json(&self) -> Option<Value> {
        self.as_ref().and_then(T::json)
    }

    fn schema() -> Value {
        T::schema()
    }

    const OPTIONAL: bool = true;

    #[cfg(test)]
    fn longest() -> Self {
        Some(T::longest())
    }
}

fn shown(value: impl Display) -> Value {
    Value::from(value.to_string())
}
