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
