//! CloudEvents 1.0, structured mode: one JSON document for each event.

use std::{
    fmt::{Display, Write as _},
    str::FromStr,
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;

use super::outgoing::Outgoing;
use crate::domain::UnixMillis;

/// What the document says of itself as a body.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";
/// The last millisecond of the year 9999: RFC 3339 cannot write later ones.
const LAST_MS: u64 = 253_402_300_799_999;
/// Longest name of a source: goes into every event.
const SOURCE_BYTES_MAX: usize = 200;

/// Which shop tells: the `source` of every event, a URI reference. An event's id is unique within it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source(Box<str>);

/// Why a text names no source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a URI or path of 1 to {SOURCE_BYTES_MAX} characters, such as /trolley or https://shop.example")]
pub struct WrongSource;

impl Default for Source {
    fn default() -> Self {
        Self("/trolley".into())
    }
}

impl FromStr for Source {
    type Err = WrongSource;

    fn from_str(text: &str) -> Result<Self, WrongSource> {
        // The characters of RFC 3986; none of them needs escaping in JSON.
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&b);
        let is_source = (1..=SOURCE_BYTES_MAX).contains(&text.len()) && text.bytes().all(fits);
        is_source.then(|| Self(text.into())).ok_or(WrongSource)
    }
}

/// The event as a CloudEvent. Every part but the data is of characters that JSON takes as they are.
#[must_use]
pub fn cloud_event(event: &Outgoing, source: &Source) -> Bytes {
    let kind = event.kind();
    let mut text = String::with_capacity(512 + event.body().len());
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        r#"{{"specversion":"1.0","id":"{}-{}","source":"{}","type":"{}","subject":"{}","time":"{}","datacontenttype":"application/json","dataschema":"{}","sequence":"{:020}","data":"#,
        event.actor(),
        event.sequence(),
        source.0,
        kind.name(),
        event.actor(),
        timestamp(event.at()),
        kind.schema_uri(),
        // The sequence extension compares as text.
        event.sequence(),
    );
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(event.body());
    bytes.push(b'}');
    bytes.into()
}

/// RFC 3339, UTC, milliseconds.
pub(super) fn timestamp(at: UnixMillis) -> impl Display {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(at.0.min(LAST_MS)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        domain::cart::LineId,
        events::{Data, Word},
    };

    #[test]
    fn an_event_is_the_document_that_consumers_were_promised() {
        let data = Data::CartLineAdded { line: LineId(3), sku: Word::new("tea-01"), quantity: 2, unit_price: 499 };
        let event = Outgoing::new("cart_7zzzzzzzzzzzzzzzzzzzzzzzzz", 12, UnixMillis(1_700_000_000_123), &data).unwrap();
        let document: Value = serde_json::from_slice(&cloud_event(&event, &Source::default())).unwrap();
        let expected = json!({
            "specversion": "1.0",
            "id": "cart_7zzzzzzzzzzzzzzzzzzzzzzzzz-12",
            "source": "/trolley",
            "type": "trolley.cart.line_added.v1",
            "subject": "cart_7zzzzzzzzzzzzzzzzzzzzzzzzz",
            "time": "2023-11-14T22:13:20.123Z",
            "datacontenttype": "application/json",
            "dataschema": "urn:trolley:events:cart.line_added.v1",
            "sequence": "00000000000000000012",
            "data": {"line": "l3", "sku": "tea-01", "quantity": 2, "unit_price": 499},
        });
        assert_eq!(document, expected);
        // The same event is the same bytes, whoever tells it and however often.
        assert_eq!(cloud_event(&event, &Source::default()), cloud_event(&event.clone(), &Source::default()));
    }

    #[test]
    fn a_source_is_a_uri_reference() {
        for right in ["/trolley", "https://shop.example/eu?x=1", "urn:shop:7"] {
            assert!(right.parse::<Source>().is_ok(), "{right}");
        }
        for wrong in ["", "a b", "sh\"op", "ö", &"x".repeat(SOURCE_BYTES_MAX + 1)] {
            assert_eq!(wrong.parse::<Source>(), Err(WrongSource), "{wrong}");
        }
    }
}
