//! Messages that Stripe signs: `Stripe-Signature: t=<seconds>,v1=<HMAC-SHA-256 of "t.body">,…`.

use hmac::{Hmac, KeyInit, Mac};
use hyper::HeaderMap;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::Sha256;

use super::KEY;
use crate::{
    domain::UnixMillis,
    payments::gateway::{Happened, Webhook, WebhookError, key_of},
};

/// How far the moment of signing may be from now: what Stripe's own libraries allow. Both ways together it is no longer
/// than a receipt lives: a repetition within it is known by its id.
const TOLERANCE_MS: u64 = 5 * 60 * 1_000;
/// Signatures that are looked at: one for each secret while secrets are being changed.
const SIGNATURES_MAX: usize = 4;

#[derive(Deserialize)]
struct Event {
    id: Box<str>,
    #[serde(rename = "type")]
    kind: Box<str>,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    object: Object,
}

#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    id: Box<str>,
    #[serde(default)]
    payment_intent: Option<Box<str>>,
    #[serde(default)]
    metadata: serde_json::Map<String, serde_json::Value>,
}

/// Checks and reads a message.
pub(super) fn parse(
    secret: &SecretString,
    headers: &HeaderMap,
    body: &[u8],
    now: UnixMillis,
) -> Result<Webhook, WebhookError> {
    let header = headers.get("stripe-signature").and_then(|value| value.to_str().ok()).ok_or(WebhookError::Unsigned)?;
    let signed_at = verified(secret, header, body).ok_or(WebhookError::Unsigned)?;
    let signed_at = UnixMillis(signed_at.saturating_mul(1_000));
    if now.since_ms(signed_at).max(signed_at.since_ms(now)) > TOLERANCE_MS {
        return Err(WebhookError::Stale);
    }
    let event: Event = serde_json::from_slice(body).map_err(|_| WebhookError::Malformed)?;
    let object = event.data.object;
    let (what, reference) = match &*event.kind {
        "payment_intent.amount_capturable_updated" => (Happened::Authorised, Some(object.id)),
        "payment_intent.payment_failed" => (Happened::Declined, Some(object.id)),
        "payment_intent.requires_action" => (Happened::ActionRequired, Some(object.id)),
        "payment_intent.succeeded" => (Happened::Captured, Some(object.id)),
        "payment_intent.canceled" => (Happened::Cancelled, Some(object.id)),
        "charge.refunded" => (Happened::Refunded, object.payment_intent),
        _ => return Err(WebhookError::Irrelevant),
    };
    let reference = reference.filter(|reference| !reference.is_empty()).ok_or(WebhookError::Malformed)?;
    let key = object.metadata.get(KEY).and_then(|key| key_of(key.as_str()?));
    Ok(Webhook { id: event.id, reference, key, what })
}

/// When the body was signed, if one of the signatures is right. The comparison takes the same time wherever they differ.
fn verified(secret: &SecretString, header: &str, body: &[u8]) -> Option<u64> {
    let parts = || header.split(',').filter_map(|part| part.trim().split_once('='));
    let signed_at = parts().find_map(|(name, value)| (name == "t").then_some(value))?;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).ok()?;
    mac.update(signed_at.as_bytes());
    mac.update(b".");
    mac.update(body);
    let signatures =
        parts().filter(|(name, _)| *name == "v1").take(SIGNATURES_MAX).filter_map(|(_, hex)| bytes_of(hex));
    signatures.into_iter().any(|signature| mac.clone().verify_slice(&signature).is_ok()).then_some(())?;
    signed_at.parse().ok()
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let pairs = hex.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;
    use crate::domain::{Id, Reference};

    const SIGNED_AT_S: u64 = 1_764_000_000;
    const NOW: UnixMillis = UnixMillis(SIGNED_AT_S * 1_000 + 250);

    fn secret(text: &str) -> SecretString {
        text.to_owned().into()
    }

    fn hex(secret: &str, signed_at_s: u64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(format!("{signed_at_s}.").as_bytes());
        mac.update(body);
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn read(header: &str, body: &[u8], now: UnixMillis) -> Result<Webhook, WebhookError> {
        let mut headers = HeaderMap::new();
        headers.insert("stripe-signature", HeaderValue::from_str(header).unwrap());
        parse(&secret("whsec_1"), &headers, body, now)
    }

    fn event(kind: &str, object: &str) -> Vec<u8> {
        format!(r#"{{"id":"evt_1","type":"{kind}","data":{{"object":{object}}}}}"#).into_bytes()
    }

    fn signed(body: &[u8]) -> String {
        format!("t={SIGNED_AT_S},v1={}", hex("whsec_1", SIGNED_AT_S, body))
    }

    /// The reference implementation's own arithmetic, over fixed bytes.
    #[test]
    fn the_signature_is_the_one_that_stripe_makes() {
        assert_eq!(
            hex("whsec_test_secret", 1_492_774_577, br#"{"id":"evt_test"}"#),
            include_str!("webhook_signature.txt").trim()
        );
    }

    #[test]
    fn each_kind_of_message_names_its_payment_and_what_happened() {
        let key = Reference { by: Id(7 << 64), n: 2 };
        let intent = format!(r#"{{"id":"pi_1","metadata":{{"trolley_key":"{key}"}}}}"#);
        for (kind, what) in [
            ("payment_intent.amount_capturable_updated", Happened::Authorised),
            ("payment_intent.payment_failed", Happened::Declined),
            ("payment_intent.requires_action", Happened::ActionRequired),
            ("payment_intent.succeeded", Happened::Captured),
            ("payment_intent.canceled", Happened::Cancelled),
        ] {
            let body = event(kind, &intent);
            let expected = Webhook { id: "evt_1".into(), reference: "pi_1".into(), key: Some(key), what };
            assert_eq!(read(&signed(&body), &body, NOW), Ok(expected));
        }
        let body = event("charge.refunded", r#"{"id":"ch_1","payment_intent":"pi_1"}"#);
        let expected = Webhook { id: "evt_1".into(), reference: "pi_1".into(), key: None, what: Happened::Refunded };
        assert_eq!(read(&signed(&body), &body, NOW), Ok(expected));
        let body = event("charge.refunded", r#"{"id":"ch_1"}"#);
        assert_eq!(read(&signed(&body), &body, NOW), Err(WebhookError::Malformed), "of no payment");
        let body = event("customer.created", "{}");
        assert_eq!(read(&signed(&body), &body, NOW), Err(WebhookError::Irrelevant));
    }

    #[test]
    fn what_is_not_signed_with_the_secret_is_not_even_read() {
        let body = event("payment_intent.succeeded", r#"{"id":"pi_1"}"#);
        let right = hex("whsec_1", SIGNED_AT_S, &body);
        let wrong = hex("whsec_2", SIGNED_AT_S, &body);
        for header in [
            String::new(),
            "t=".to_owned(),
            format!("t={SIGNED_AT_S}"),
            format!("v1={right}"),
            format!("t={SIGNED_AT_S},v1={wrong}"),
            format!("t={SIGNED_AT_S},v0={right}"),
            format!("t={},v1={right}", SIGNED_AT_S + 1),
            format!("t={SIGNED_AT_S},v1={}", &right[..62]),
            format!("t={SIGNED_AT_S},v1={right}0"),
            format!("t={SIGNED_AT_S},v1=zz{right}"),
        ] {
            assert_eq!(read(&header, &body, NOW), Err(WebhookError::Unsigned), "{header}");
        }
        assert_eq!(read(&signed(&body), b"{}", NOW), Err(WebhookError::Unsigned), "another body");
        assert_eq!(parse(&secret("whsec_1"), &HeaderMap::new(), &body, NOW), Err(WebhookError::Unsigned));
        let two = format!("t={SIGNED_AT_S},v1={wrong},v1={right}");
        assert!(read(&two, &body, NOW).is_ok(), "while secrets are being changed there are two");
        assert_eq!(read(&signed(b"no json"), b"no json", NOW), Err(WebhookError::Malformed));
    }

    #[test]
    fn an_old_message_is_refused_and_so_is_one_from_the_future() {
        let body = event("payment_intent.succeeded", r#"{"id":"pi_1"}"#);
        let at = |now_ms| read(&signed(&body), &body, UnixMillis(now_ms));
        let signed_at_ms = SIGNED_AT_S * 1_000;
        assert!(at(signed_at_ms + TOLERANCE_MS).is_ok() && at(signed_at_ms - TOLERANCE_MS).is_ok());
        assert_eq!(at(signed_at_ms + TOLERANCE_MS + 1), Err(WebhookError::Stale));
        assert_eq!(at(signed_at_ms - TOLERANCE_MS - 1), Err(WebhookError::Stale));
    }
}
