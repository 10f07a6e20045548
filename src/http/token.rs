//! Guest tokens and stream tickets: checked by their MAC alone, without a look-up.
//!
//! ```text
//! gst_ <guest id, 26> <key id, 2 hex> <MAC, 32 hex>          HMAC-SHA-256, cut to 128 bits
//! tkt_ <cart id, 26> <guest id, 26> <expiry, 12 hex> <key id, 2 hex> <MAC, 32 hex>
//! ```

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::domain::{CartId, GuestId, Id, UnixMillis};

/// What a guest token starts with.
pub const GUEST_PREFIX: &str = "gst_";
const TICKET_PREFIX: &str = "tkt_";
/// How long a ticket opens its stream.
pub const TICKET_TTL_MS: u64 = 15 * 60 * 1000;
const ID_LEN: usize = 26;
const MAC_BYTES: usize = 16;
const TAIL_LEN: usize = 2 + 2 * MAC_BYTES;

/// Makes and checks guest tokens and stream tickets.
#[derive(Clone)]
pub struct GuestTokens {
    /// The first signs, all verify. Prepared: the key's two SHA-256 blocks are hashed once, not per request.
    keys: Vec<(u8, Hmac<Sha256>)>,
}

impl fmt::Debug for GuestTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GuestTokens({} keys)", self.keys.len())
    }
}

/// There is no key to sign with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cluster has no guest key")]
pub struct NoKey;

impl GuestTokens {
    /// With these keys, the newest first.
    ///
    /// # Errors
    /// [`NoKey`] without any.
    pub fn new(keys: &[(u8, [u8; 32])]) -> Result<Self, NoKey> {
        let prepared = keys.iter().map(|(id, key)| Some((*id, Hmac::new_from_slice(key).ok()?)));
        let keys = prepared.collect::<Option<Vec<_>>>().unwrap_or_default();
        if keys.is_empty() { Err(NoKey) } else { Ok(Self { keys }) }
    }

    /// The guest's token.
    #[must_use]
    pub fn guest_token(&self, guest: GuestId) -> String {
        let body = format!("{GUEST_PREFIX}{}", guest.0);
        self.sign(body)
    }

    /// The guest whose token this is.
    #[must_use]
    pub fn guest(&self, token: &str) -> Option<GuestId> {
        let body = self.verify(token)?;
        Id::parse(body.strip_prefix(GUEST_PREFIX)?).ok().map(GuestId)
    }

    /// A ticket to watch one cart of one guest, until [`TICKET_TTL_MS`] from `now`.
    #[must_use]
    pub fn ticket(&self, cart: CartId, guest: GuestId, now: UnixMillis) -> String {
        let expiry = now.plus_ms(TICKET_TTL_MS).0;
        self.sign(format!("{TICKET_PREFIX}{}{}{expiry:012x}", cart.0, guest.0))
    }

    /// The guest whose ticket for this cart it is, if it has not expired.
    #[must_use]
    pub fn ticket_guest(&self, ticket: &str, cart: CartId, now: UnixMillis) -> Option<GuestId> {
        let body = self.verify(ticket)?.strip_prefix(TICKET_PREFIX)?;
        let (for_cart, rest) = body.split_at_checked(ID_LEN)?;
        let (guest, expiry) = rest.split_at_checked(ID_LEN)?;
        let is_for_it = Id::parse(for_cart).is_ok_and(|id| id == cart.0);
        let lives = u64::from_str_radix(expiry, 16).is_ok_and(|expiry| now.0 < expiry);
        if is_for_it && lives { Id::parse(guest).ok().map(GuestId) } else { None }
    }

    fn sign(&self, mut body: String) -> String {
        use fmt::Write as _;
        // `new` refuses to be without a key.
        if let Some((id, key)) = self.keys.first() {
            let mac = mac(key, *id, &body);
            let _ = write!(body, "{id:02x}"); // writing to a string cannot fail
            for byte in mac {
                let _ = write!(body, "{byte:02x}");
            }
        }
        body
    }

    fn verify<'a>(&self, token: &'a str) -> Option<&'a str> {
        let (body, tail) = token.split_at_checked(token.len().checked_sub(TAIL_LEN)?)?;
        let (id, given) = tail.split_at_checked(2)?;
        let id = u8::from_str_radix(id, 16).ok()?;
        let (_, key) = self.keys.iter().find(|(known, _)| *known == id)?;
        let mut mac_given = [0; MAC_BYTES];
        for (byte, pair) in mac_given.iter_mut().zip(given.as_bytes().chunks_exact(2)) {
            *byte = hex(pair[0])? << 4 | hex(pair[1])?;
        }
        bool::from(mac(key, id, body).ct_eq(&mac_given)).then_some(body)
    }
}

/// Lower case only: a token has one spelling.
const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

fn mac(key: &Hmac<Sha256>, id: u8, body: &str) -> [u8; MAC_BYTES] {
    let mut mac = key.clone();
    mac.update(&[id]);
    mac.update(body.as_bytes());
    let full: [u8; 32] = mac.finalize().into_bytes().into();
    let mut cut = [0; MAC_BYTES];
    cut.copy_from_slice(&full[..MAC_BYTES]);
    cut
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Slot;

    fn tokens(ids: &[u8]) -> GuestTokens {
        GuestTokens::new(&ids.iter().map(|id| (*id, [*id; 32])).collect::<Vec<_>>()).unwrap()
    }

    fn guest() -> GuestId {
        GuestId::new(Slot::from_bits(9), UnixMillis(5), 7)
    }

    #[test]
    fn a_token_names_its_guest_and_survives_a_new_key() {
        let token = tokens(&[1]).guest_token(guest());
        assert_eq!(tokens(&[1]).guest(&token), Some(guest()));
        assert_eq!(tokens(&[2, 1]).guest(&token), Some(guest()));
        assert_eq!(tokens(&[2]).guest(&token), None, "its key is gone");
    }

    #[test]
    fn no_other_text_is_a_token() {
        let tokens = tokens(&[1]);
        let token = tokens.guest_token(guest());
        for at in 0..token.len() {
            let mut forged = token.clone().into_bytes();
            forged[at] = if forged[at] == b'0' { b'1' } else { b'0' };
            assert_eq!(tokens.guest(std::str::from_utf8(&forged).unwrap()), None, "byte {at}");
        }
        for forged in ["", "gst_", &token[1..], &token[..token.len() - 1], &format!("{token}0"), &token.to_uppercase()]
        {
            assert_eq!(tokens.guest(forged), None, "{forged}");
        }
        let other = GuestTokens::new(&[(1, [9; 32])]).unwrap().guest_token(guest());
        assert_eq!(tokens.guest(&other), None, "signed with another key");
        let ticket = tokens.ticket(CartId(guest().0), guest(), UnixMillis(0));
        assert_eq!(tokens.guest(&ticket), None, "a ticket is no token");
    }

    #[test]
    fn a_ticket_opens_one_cart_for_fifteen_minutes() {
        let tokens = tokens(&[1]);
        let cart = CartId::new(Slot::from_bits(9), UnixMillis(5), 8);
        let other = CartId::new(Slot::from_bits(9), UnixMillis(5), 9);
        let ticket = tokens.ticket(cart, guest(), UnixMillis(1000));
        assert_eq!(tokens.ticket_guest(&ticket, cart, UnixMillis(1000 + TICKET_TTL_MS - 1)), Some(guest()));
        assert_eq!(tokens.ticket_guest(&ticket, cart, UnixMillis(1000 + TICKET_TTL_MS)), None);
        assert_eq!(tokens.ticket_guest(&ticket, other, UnixMillis(1000)), None);
        assert_eq!(tokens.ticket_guest(&tokens.guest_token(guest()), cart, UnixMillis(1000)), None);
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", tokens(&[1])), "GuestTokens(1 keys)");
    }
}
