//! Standard Webhooks 1.0, symmetric: who tells an event proves it with an HMAC over id, timestamp and body.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// What a secret starts with, so that one that leaked into a file is recognised.
const PREFIX: &str = "whsec_";
/// Shortest and longest secret, in bytes, by the specification.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Secrets that sign at once: the present one, and the one before while consumers change over.
const SECRETS_MAX: usize = 2;

/// Signs what is sent; holds the secrets and shows none.
#[derive(Clone)]
pub struct Signer(Vec<Hmac<Sha256>>);

/// Why a text holds no secret. It does not repeat the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be {PREFIX} and the base64 of 24 to 64 random bytes; for a change over, the new and the old one separated by a comma"
)]
pub struct WrongSecret;

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer")
    }
}

impl Signer {
    /// Reads `whsec_…`, or two of them separated by a comma.
    ///
    /// # Errors
    /// [`WrongSecret`].
    pub fn new(secrets: &str) -> Result<Self, WrongSecret> {
        let keys: Vec<_> = secrets.split(',').map(|secret| key(secret.trim())).collect::<Result<_, _>>()?;
        if keys.len() > SECRETS_MAX { Err(WrongSecret) } else { Ok(Self(keys)) }
    }

    /// The value of `webhook-signature`: one signature for each secret.
    #[must_use]
    pub fn sign(&self, id: &str, timestamp_s: u64, body: &[u8]) -> String {
        let sign = |key: &Hmac<Sha256>| {
            let mut mac = key.clone();
            mac.update(format!("{id}.{timestamp_s}.").as_bytes());
            mac.update(body);
            format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
        };
        self.0.iter().map(sign).collect::<Vec<_>>().join(" ")
    }
}

fn key(secret: &str) -> Result<Hmac<Sha256>, WrongSecret> {
    let encoded = secret.strip_prefix(PREFIX).ok_or(WrongSecret)?;
    let bytes = STANDARD.decode(encoded).map_err(|_| WrongSecret)?;
    if !SECRET_BYTES.contains(&bytes.len()) {
        return Err(WrongSecret);
    }
    Hmac::new_from_slice(&bytes).map_err(|_| WrongSecret)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    /// What the reference implementations are tested with.
    #[test]
    fn the_published_vector_holds() {
        let signer = Signer::new(SECRET).unwrap();
        assert_eq!(signer.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, BODY), SIGNATURE);
        assert_ne!(signer.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_331, BODY), SIGNATURE);
    }

    #[test]
    fn two_secrets_sign_while_consumers_change_over() {
        let new = format!("whsec_{}", STANDARD.encode([7; 32]));
        let both =
            Signer::new(&format!("{new}, {SECRET}")).unwrap().sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, BODY);
        let alone = Signer::new(&new).unwrap().sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, BODY);
        assert_eq!(both, format!("{alone} {SIGNATURE}"));
    }

    #[test]
    fn a_secret_that_guards_nothing_is_refused_and_none_is_shown() {
        let short = format!("whsec_{}", STANDARD.encode([7; 23]));
        let three = [SECRET; 3].join(",");
        for wrong in ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", "whsec_?", &short, &three] {
            assert!(Signer::new(wrong).is_err(), "{wrong}");
        }
        assert_eq!(format!("{:?}", Signer::new(SECRET).unwrap()), "Signer");
    }
}
