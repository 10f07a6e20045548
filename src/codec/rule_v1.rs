//! A discount code's rule: version 1, frozen, a part of other records.

use bincode::{Decode, Encode};

use super::envelope::DecodeError;
use crate::domain::{
    Currency, UnixMillis,
    discount::{CODE_BYTES_MAX, Rule, Worth},
    pricing::BASIS_POINTS_MAX,
};

/// Version 1, frozen: the order of the fields is the format.
#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) struct RuleV1 {
    code: String,
    worth: WorthV1,
    currency: [u8; 3],
    per_line: bool,
    categories: Vec<String>,
    minimum: i64,
    valid_from: Option<u64>,
    valid_until: Option<u64>,
    uses_max: Option<u32>,
    uses_per_shopper_max: Option<u32>,
}

#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
enum WorthV1 {
    Percent(u16),
    Fixed(i64),
    FreeShipping,
}

impl From<&Rule> for RuleV1 {
    fn from(rule: &Rule) -> Self {
        Self {
            code: rule.code.to_string(),
            worth: match rule.worth {
                Worth::Percent { basis_points } => WorthV1::Percent(basis_points),
                Worth::Fixed { amount } => WorthV1::Fixed(amount),
                Worth::FreeShipping => WorthV1::FreeShipping,
            },
            currency: rule.currency.bytes(),
            per_line: rule.per_line,
            categories: rule.categories.iter().map(ToString::to_string).collect(),
            minimum: rule.minimum,
            valid_from: rule.valid_from.map(|at| at.0),
            valid_until: rule.valid_until.map(|at| at.0),
            uses_max: rule.uses_max,
            uses_per_shopper_max: rule.uses_per_shopper_max,
        }
    }
}

impl TryFrom<RuleV1> for Rule {
    type Error = DecodeError;

    fn try_from(v1: RuleV1) -> Result<Self, DecodeError> {
        let malformed = |what: &str| DecodeError::Malformed(what.to_owned());
        let currency = std::str::from_utf8(&v1.currency)
            .ok()
            .and_then(|text| Currency::parse(text).ok())
            .ok_or_else(|| malformed("the currency is no ISO 4217 code"))?;
        if v1.code.is_empty() || v1.code.len() > CODE_BYTES_MAX {
            return Err(malformed("a discount code that is none"));
        }
        let worth = match v1.worth {
            WorthV1::Percent(basis_points @ 1..=BASIS_POINTS_MAX) => Worth::Percent { basis_points },
            WorthV1::Fixed(amount @ 0..) => Worth::Fixed { amount },
            WorthV1::FreeShipping => Worth::FreeShipping,
            WorthV1::Percent(_) | WorthV1::Fixed(_) => return Err(malformed("a discount that no code can give")),
        };
        Ok(Self {
            code: v1.code.into(),
            worth,
            currency,
            per_line: v1.per_line,
            categories: v1.categories.into_iter().map(String::into_boxed_str).collect(),
            minimum: v1.minimum,
            valid_from: v1.valid_from.map(UnixMillis),
            valid_until: v1.valid_until.map(UnixMillis),
            uses_max: v1.uses_max,
            uses_per_shopper_max: v1.uses_per_shopper_max,
        })
    }
}
