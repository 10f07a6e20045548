//! A cart's JSON, written straight into one buffer.
//!
//! Every answer about a cart is made here, and with a general serialiser this was two fifths of what a read computes
//! (`valgrind --tool=callgrind`): field names are literals here, and only people's texts are looked at byte by byte.
//! `dto::CartView` says the same for the API's description; a test holds the two equal.

use std::io::Write as _;

use crate::domain::{
    Currency, Id, Money, UnixMillis,
    cart::{Cart, CategoriesOf, Line, Metadata, Options, Shown, Summary, Totals},
};

use super::dto::timestamp;

/// Room for a cart of a few lines; more grows.
const BYTES_USUAL: usize = 1536;

/// Sums and codes as clients read them.
pub(super) fn summary<'a>(cart: &'a Cart, categories: CategoriesOf<'_>) -> Summary<'a> {
    // No committed cart overflows: `decide` refuses what would, and decoding checks it again.
    let zero = Money::zero(cart.currency);
    let totals = Totals { subtotal: zero, discount: zero, total: zero };
    cart.summary(categories).unwrap_or(Summary { totals, codes: Vec::new() })
}

/// The cart as clients read it; with the new guest's token, told once.
pub(super) fn write(cart: &Cart, categories: CategoriesOf<'_>, guest_token: Option<&str>) -> Vec<u8> {
    let Summary { totals: Totals { subtotal, discount, total }, codes } = summary(cart, categories);
    let mut to = Vec::with_capacity(BYTES_USUAL);
    to.extend_from_slice(br#"{"id":"cart_"#);
    to.extend_from_slice(&Id::digits(cart.id.0));
    to.extend_from_slice(br#"","revision":"#);
    integer(cart.revision, &mut to);
    to.extend_from_slice(br#","status":""#);
    to.extend_from_slice(cart.status.as_str().as_bytes());
    to.extend_from_slice(br#"","currency":""#);
    to.extend_from_slice(&cart.currency.bytes());
    to.extend_from_slice(br#"","lines":"#);
    lines(&cart.lines, cart, &mut to);
    to.extend_from_slice(br#","saved_for_later":"#);
    lines(&cart.saved, cart, &mut to);
    to.extend_from_slice(br#","discounts":"#);
    list(b'[', b']', &codes, &mut to, |shown, to| {
        to.extend_from_slice(br#"{"code":"#);
        string(shown.code, to);
        to.extend_from_slice(br#","amount":"#);
        money(shown.amount, cart.currency, to);
        to.push(b'}');
    });
    to.extend_from_slice(br#","totals":{"subtotal":"#);
    money(subtotal.amount, cart.currency, &mut to);
    to.extend_from_slice(br#","discount":"#);
    money(discount.amount, cart.currency, &mut to);
    to.extend_from_slice(br#","total":"#);
    money(total.amount, cart.currency, &mut to);
    to.extend_from_slice(br#"},"messages":"#);
    messages(&codes, &mut to);
    to.extend_from_slice(br#","note":"#);
    optional(cart.note.as_deref(), &mut to);
    to.extend_from_slice(br#","email":"#);
    optional(cart.email.as_deref(), &mut to);
    for (name, at) in [
        (br#","created_at":""#, cart.created_at),
        (br#","updated_at":""#, cart.updated_at),
        (br#","expires_at":""#, cart.expires_at),
    ] {
        to.extend_from_slice(name);
        time(at, &mut to);
        to.push(b'"');
    }
    if let Some(token) = guest_token {
        to.extend_from_slice(br#","guest_token":"#);
        string(token, &mut to);
    }
    to.push(b'}');
    to
}

/// Codes that take nothing off say why.
fn messages(codes: &[Shown<'_>], to: &mut Vec<u8>) {
    let refused = codes.iter().enumerate().filter_map(|(at, shown)| Some((at, shown.not_applied?)));
    to.push(b'[');
    for (n, (at, reason)) in refused.enumerate() {
        if n > 0 {
            to.push(b',');
        }
        to.extend_from_slice(br#"{"level":"warning","code":""#);
        to.extend_from_slice(reason.as_str().as_bytes());
        to.extend_from_slice(br#"","pointer":"/discounts/"#);
        integer(at, to);
        to.extend_from_slice(br#""}"#);
    }
    to.push(b']');
}

fn lines(lines: &[Line], cart: &Cart, to: &mut Vec<u8>) {
    list(b'[', b']', lines, to, |line, to| {
        to.extend_from_slice(br#"{"id":"l"#);
        integer(line.id.0, to);
        to.extend_from_slice(br#"","sku":"#);
        string(&line.sku, to);
        to.extend_from_slice(br#","title":"#);
        string(&line.title, to);
        to.extend_from_slice(br#","quantity":"#);
        integer(line.quantity, to);
        to.extend_from_slice(br#","options":"#);
        options(&line.options, to);
        to.extend_from_slice(br#","metadata":"#);
        metadata(&line.metadata, to);
        to.extend_from_slice(br#","unit_price":"#);
        money(line.unit_price, cart.currency, to);
        to.extend_from_slice(br#","total":"#);
        money(cart.line_total(line).map_or(0, |total| total.amount), cart.currency, to);
        to.push(b'}');
    });
}

fn options(options: &Options, to: &mut Vec<u8>) {
    list(b'{', b'}', options, to, |(name, value), to| {
        string(name, to);
        to.push(b':');
        string(value, to);
    });
}

/// Values are JSON scalars kept as text; checked again, since one that is none would spoil the whole answer.
fn metadata(metadata: &Metadata, to: &mut Vec<u8>) {
    list(b'{', b'}', metadata, to, |(name, value), to| {
        string(name, to);
        to.push(b':');
        let is_json = serde_json::from_str::<serde::de::IgnoredAny>(value).is_ok();
        to.extend_from_slice(if is_json { value.trim().as_bytes() } else { b"null" });
    });
}

fn list<T>(open: u8, close: u8, items: &[T], to: &mut Vec<u8>, write: impl Fn(&T, &mut Vec<u8>)) {
    to.push(open);
    for (n, item) in items.iter().enumerate() {
        if n > 0 {
            to.push(b',');
        }
        write(item, to);
    }
    to.push(close);
}

fn money(amount: i64, currency: Currency, to: &mut Vec<u8>) {
    to.extend_from_slice(br#"{"amount":"#);
    integer(amount, to);
    to.extend_from_slice(br#","currency":""#);
    to.extend_from_slice(&currency.bytes());
    to.extend_from_slice(br#""}"#);
}

fn integer(value: impl itoa::Integer, to: &mut Vec<u8>) {
    to.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn time(at: UnixMillis, to: &mut Vec<u8>) {
    // Writing to a vector cannot fail.
    let _ = write!(to, "{}", timestamp(at));
}

fn optional(text: Option<&str>, to: &mut Vec<u8>) {
    match text {
        Some(text) => string(text, to),
        None => to.extend_from_slice(b"null"),
    }
}

fn string(text: &str, to: &mut Vec<u8>) {
    // All bytes and no early end: so it is done many at a time.
    let must_escape = |byte: u8| (byte < b' ') | (byte == b'"') | (byte == b'\\');
    if text.bytes().fold(false, |found, byte| found | must_escape(byte)) {
        // Writing to a vector cannot fail.
        let _ = serde_json::to_writer(to, text);
        return;
    }
    to.push(b'"');
    to.extend_from_slice(text.as_bytes());
    to.push(b'"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::dto::CartView, *};
    use crate::codec::tests::samples::{any_cart, cart_v2};

    proptest! {
        /// The API's description is generated from `CartView`.
        #[test]
        fn what_is_written_is_what_the_description_says(record in any_cart(), token in prop::option::of("\\PC{0,9}")) {
            let filed = |sku: &str| sku.chars().take(1).map(|c| c.to_string().into()).collect();
            let mut view = CartView::new(&record.state, &filed);
            view.guest_token = token.as_deref();
            let said = serde_json::to_string(&view).unwrap();
            prop_assert_eq!(String::from_utf8(write(&record.state, &filed, token.as_deref())).unwrap(), said);
        }
    }

    /// Two lines of 2 × 12.99; the sample's codes: 10 % of each mug, 2.50 of each mug, free shipping.
    #[test]
    fn codes_are_shown_with_what_they_take_off_and_why_they_do_not() {
        let cart = cart_v2().state;
        let shown = |categories: CategoriesOf<'_>| -> serde_json::Value {
            serde_json::from_slice(&write(&cart, categories, None)).unwrap()
        };
        let euros = |amount: i64| serde_json::json!({ "amount": amount, "currency": "EUR" });
        let mugs = shown(&|_| vec!["mugs".into()]);
        assert_eq!(mugs["status"], "checking_out");
        let amounts: Vec<_> = mugs["discounts"].as_array().unwrap().iter().map(|code| code["amount"].clone()).collect();
        assert_eq!(amounts, [euros(-520), euros(-500), euros(0)]);
        assert_eq!((&mugs["totals"]["discount"], &mugs["totals"]["total"]), (&euros(-1020), &euros(4176)));
        assert_eq!(mugs["messages"], serde_json::json!([]));
        let pans = shown(&|sku| vec![if sku == "sku-1" { "pans".into() } else { "pots".into() }]);
        let message = |n| {
            let pointer = format!("/discounts/{n}");
            serde_json::json!({ "level": "warning", "code": "discount_matches_no_line", "pointer": pointer })
        };
        assert_eq!(pans["messages"], serde_json::json!([message(0), message(1)]));
        assert_eq!(pans["totals"]["discount"], euros(0));
    }

    #[test]
    fn every_byte_that_json_escapes_is_escaped() {
        for code in (0..0x100).filter_map(char::from_u32) {
            let text = format!("a{code}b");
            let mut written = Vec::new();
            string(&text, &mut written);
            assert_eq!(String::from_utf8(written).unwrap(), serde_json::to_string(&text).unwrap());
        }
    }
}
