//! A shopper with one cart.

use std::io;

use crate::client::{Answer, Connection, request};

/// A shopper's cart, and the token that opens it.
#[derive(Clone, Debug)]
pub struct Cart {
    /// Its id.
    pub id: String,
    /// The guest's token.
    pub token: String,
}

impl Cart {
    /// Makes a guest and a cart.
    ///
    /// # Errors
    /// When the connection breaks or the server refuses.
    pub async fn make(connection: &mut Connection) -> io::Result<Self> {
        let answer = connection.ask(&request("POST", "/v1/carts", &[], None)).await?;
        Self::of(&answer).ok_or_else(|| io::Error::other(format!("no cart was made: {}", answer.status)))
    }

    /// The cart that was made, if one was.
    #[must_use]
    pub fn of(answer: &Answer) -> Option<Self> {
        let cart = answer.json();
        Some(Self { id: cart["id"].as_str()?.to_owned(), token: cart["guest_token"].as_str()?.to_owned() })
    }

    /// A request about this cart; `path` follows the cart's own.
    #[must_use]
    pub fn request(&self, method: &str, path: &str, key: Option<&str>, body: Option<&str>) -> Vec<u8> {
        let bearer = format!("Bearer {}", self.token);
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(key.map(|key| ("idempotency-key", key)));
        request(method, &format!("/v1/carts/{}{path}", self.id), &headers, body)
    }

    /// Units of a product to add.
    #[must_use]
    pub fn add(&self, sku: &str, quantity: u32, key: Option<&str>) -> Vec<u8> {
        self.request("POST", "/items", key, Some(&format!(r#"{{"sku":"{sku}","quantity":{quantity}}}"#)))
    }

    /// The cart as it is.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn read(&self, connection: &mut Connection) -> io::Result<Answer> {
        connection.ask(&self.request("GET", "", None, None)).await
    }
}

/// A cart on its way to being an order, and the token that opens it.
#[derive(Clone, Debug)]
pub struct Checkout {
    /// Its id.
    pub id: String,
    /// The guest's token.
    pub token: String,
}

/// Where the goods go.
const ADDRESS: &str =
    r#"{"name":"Ada Lovelace","line1":"Torstr. 1","city":"Berlin","postal_code":"10119","country":"DE"}"#;

impl Checkout {
    /// A request that begins to buy a cart.
    #[must_use]
    pub fn begin(cart: &Cart, key: &str) -> Vec<u8> {
        let body = format!(r#"{{"cart_id":"{}","accept_price_changes":true}}"#, cart.id);
        asked(&cart.token, "POST", "/v1/checkouts", &[("idempotency-key", key)], Some(&body))
    }

    /// The checkout that was begun, if one was.
    #[must_use]
    pub fn of(answer: &Answer, cart: &Cart) -> Option<Self> {
        Some(Self { id: answer.json()["id"].as_str()?.to_owned(), token: cart.token.clone() })
    }

    fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> Vec<u8> {
        asked(&self.token, method, &format!("/v1/checkouts/{}{path}", self.id), headers, body)
    }

    /// The checkout as it is.
    #[must_use]
    pub fn read(&self) -> Vec<u8> {
        self.request("GET", "", &[], None)
    }

    /// To whom and where to, made upon a revision.
    #[must_use]
    pub fn address(&self, revision: u64, key: &str) -> Vec<u8> {
        self.patch(revision, key, &format!(r#"{{"email":"ada@shop.example","shipping_address":{ADDRESS}}}"#))
    }

    /// How it is shipped, made upon a revision.
    #[must_use]
    pub fn ship_by(&self, option: &str, revision: u64, key: &str) -> Vec<u8> {
        self.patch(revision, key, &format!(r#"{{"shipping_option":"{option}"}}"#))
    }

    fn patch(&self, revision: u64, key: &str, body: &str) -> Vec<u8> {
        let tag = format!("\"{revision}\"");
        self.request("PATCH", "", &[("if-match", &tag), ("idempotency-key", key)], Some(body))
    }

    /// Pays with a token of the sandbox.
    #[must_use]
    pub fn complete(&self, token: &str, key: &str) -> Vec<u8> {
        let body = format!(r#"{{"payment":{{"gateway":"sandbox","token":"{token}"}}}}"#);
        self.request("POST", "/complete", &[("idempotency-key", key)], Some(&body))
    }

    /// Ends it.
    #[must_use]
    pub fn cancel(&self) -> Vec<u8> {
        self.request("POST", "/cancel", &[("idempotency-key", "cancel")], None)
    }

    /// Its order.
    #[must_use]
    pub fn order(&self, id: &str) -> Vec<u8> {
        asked(&self.token, "GET", &format!("/v1/orders/{id}"), &[], None)
    }
}

fn asked(token: &str, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> Vec<u8> {
    let bearer = format!("Bearer {token}");
    let headers: Vec<_> = [("authorization", bearer.as_str())].into_iter().chain(headers.iter().copied()).collect();
    request(method, path, &headers, body)
}
