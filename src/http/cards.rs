//! Card numbers are refused wherever somebody may type one: gateways take them, the shop never does.
//!
//! Not looked at are queries and headers. They take no words, and but for a request's id, which must not look like one, none
//! of it is kept, logged or told back; a client's own keys may be what it likes: one in ten timestamps would be refused.

use axum::http::Uri;
use percent_encoding::percent_decode_str;

use super::{
    change::escaped,
    problem::{Code, Problem},
};
use crate::payments::looks_like_card;

const DETAIL: &str = "this looks like a card number: give it to the payment gateway's page, and send its token here";

/// A number has 13 digits at least: most requests have not as many in all.
fn has_enough_digits(bytes: &[u8]) -> bool {
    bytes.iter().filter(|byte| byte.is_ascii_digit()).count() >= 13
}

/// Where a path has what a shopper typed: a discount code. Its other parts are ids, which are random and may have any row of
/// digits in them, and SKUs, which may be the numbers of barcodes.
pub(super) fn refuse_card_as_code(uri: &Uri) -> Result<(), Problem> {
    let Some((_, code)) = uri.path().split_once("/discount-codes/") else { return Ok(()) };
    let is_card = has_enough_digits(code.as_bytes()) && looks_like_card(&percent_decode_str(code).decode_utf8_lossy());
    if is_card { Err(Problem::new(Code::CardDataRefused, DETAIL)) } else { Ok(()) }
}

/// Card numbers are refused wherever they are in a body, before anything of it is kept, logged or told back: gateways take
/// them, the shop never does.
pub(super) fn refuse_cards(body: &[u8]) -> Result<(), Problem> {
    if !has_enough_digits(body) {
        return Ok(());
    }
    let value = serde_json::from_slice::<serde_json::Value>(body);
    let found = value.ok().and_then(|value| card_in(&value, String::new()));
    // In what is no JSON, and in a field of whose name there are several, it has no place that could be named.
    let found = found.or_else(|| looks_like_card(&String::from_utf8_lossy(body)).then(String::new));
    found.map_or(Ok(()), |pointer| Err(Problem::at(Code::CardDataRefused, pointer, DETAIL)))
}

/// Where in a value a card number is.
fn card_in(value: &serde_json::Value, at: String) -> Option<String> {
    use serde_json::Value;
    match value {
        Value::String(text) => looks_like_card(text).then_some(at),
        Value::Number(number) => looks_like_card(&number.to_string()).then_some(at),
        Value::Array(items) => items.iter().enumerate().find_map(|(n, item)| card_in(item, format!("{at}/{n}"))),
        Value::Object(fields) => fields.iter().find_map(|(name, field)| {
            // The name itself is not told back.
            if looks_like_card(name) { Some(at.clone()) } else { card_in(field, format!("{at}/{}", escaped(name))) }
        }),
        Value::Null | Value::Bool(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_number_is_refused_also_where_no_field_can_be_named() {
        for body in [
            r#"{"note": "4242 4242 4242 4242""#,
            r#"{"note": 4242424242424242"#,
            r#"{"note": "4242424242424242", "note": "later"}"#,
            "4242-4242-4242-4242",
        ] {
            let refused = format!("{:?}", refuse_cards(body.as_bytes()).unwrap_err());
            assert!(refused.contains("CardDataRefused"), "{body}");
            assert!(!refused.contains("4242"), "it is not told back");
        }
        for body in
            [r#"{"a": 4242, "b": [4242, 4242, 4242]}"#, r#"{"at": 1795700168478, "until": "2026-11-26T13:31:20Z"#]
        {
            assert!(refuse_cards(body.as_bytes()).is_ok(), "{body}");
        }
    }

    #[test]
    fn a_card_number_for_a_discount_code_is_refused_and_no_barcode_or_id_is_taken_for_one() {
        let refused = |uri: &str| refuse_card_as_code(&uri.parse().unwrap()).is_err();
        for code in ["4242424242424242", "4242%204242%204242%204242", "4242-4242-4242-4242", "VISA4242424242424242"] {
            assert!(refused(&format!("/v1/carts/cart_1/discount-codes/{code}")), "{code}");
        }
        // Thirteen digits that pass the check, where they may.
        for uri in [
            "/v1/products/4006381333023",
            "/v1/products?cursor=31303030303037",
            "/v1/carts/cart_04222222222222abcdefghjkmn/discount-codes/TEA10",
            "/v1/carts/cart_1/discount-codes/4242424242424243",
        ] {
            assert!(!refused(uri), "{uri}");
        }
    }
}
