//! Card numbers are refused wherever they come in: gateways take them, the shop never does.
//!
//! Not looked at are headers. None of them is kept, logged or told back, and a client's own keys may be what it likes: one in
//! ten timestamps would be refused.

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

/// In a path or a query: as a whole part of it, or anywhere in the words that are searched for. Within an id, which is
/// random, any row of digits may be.
pub(super) fn refuse_cards_in_uri(uri: &Uri) -> Result<(), Problem> {
    let (path, query) = (uri.path(), uri.query().unwrap_or_default());
    if !has_enough_digits(path.as_bytes()) && !has_enough_digits(query.as_bytes()) {
        return Ok(());
    }
    let is_card = |part: &str, anywhere: bool| {
        let text = percent_decode_str(part).decode_utf8_lossy();
        (anywhere || !text.contains(char::is_alphabetic)) && looks_like_card(&text)
    };
    let in_query = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or(("", pair));
        is_card(name, false) || is_card(&value.replace('+', " "), name == "q")
    };
    let found = path.split('/').any(|part| is_card(part, false)) || query.split('&').any(in_query);
    if found { Err(Problem::new(Code::CardDataRefused, DETAIL)) } else { Ok(()) }
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
    use crate::domain::{CartId, Id};

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
    fn a_card_number_in_a_path_or_a_query_is_refused_and_an_id_is_not_taken_for_one() {
        let refused = |uri: &str| refuse_cards_in_uri(&uri.parse().unwrap()).is_err();
        for uri in [
            "/v1/carts/cart_1/discount-codes/4242424242424242",
            "/v1/carts/cart_1/discount-codes/4242%204242%204242%204242",
            "/v1/products/4242-4242-4242-4242",
            "/v1/products?limit=9&q=pay+4242+4242+4242+4242+now",
            "/v1/products?4242424242424242",
            "/v1/orders?cursor=4242424242424242",
        ] {
            assert!(refused(uri), "{uri}");
        }
        // Thirteen digits that pass the check, within what no shopper typed.
        let id = CartId(Id::parse("04222222222222abcdefghjkmn").unwrap());
        for uri in [
            &*format!("/v1/carts/{id}"),
            "/v1/products?cursor=4242424242424242f",
            "/v1/products/4242424242424243",
            "/v1/products?q=2026-11-26&limit=100",
        ] {
            assert!(!refused(uri), "{uri}");
        }
    }
}
