//! What every payment gateway can do.

use std::{fmt, sync::Arc};

use futures_util::future::BoxFuture;
use hyper::HeaderMap;

use crate::domain::{
    Id, Money, Reference, UnixMillis,
    payment::{Abandoned, Authorise, Authorised, Deed, GatewayReference, Moved},
};

/// Why there is no answer. The reason is for logs and never holds a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// This call certainly did not do the deed: it was not sent, or was turned away unread. It says nothing of earlier
    /// calls under the same key.
    #[error("not sent: {0}")]
    NotSent(Arc<str>),
    /// The deed may have been done, or may still be: ask again under the same key until there is an answer, or abandon
    /// the key. A look-up that finds nothing decides nothing.
    #[error("outcome unknown: {0}")]
    Unknown(Arc<str>),
}

impl Failure {
    /// Certainly not done by this call.
    pub(super) fn not_sent(why: impl fmt::Display) -> Self {
        Self::NotSent(why.to_string().into())
    }

    /// Perhaps done.
    pub(super) fn unknown(why: impl fmt::Display) -> Self {
        Self::Unknown(why.to_string().into())
    }

    /// The same reason, when the call that failed was not yet the deed.
    pub(super) fn before_the_deed(self) -> Self {
        let (Self::NotSent(why) | Self::Unknown(why)) = self;
        Self::NotSent(why)
    }

    /// The same reason, when the deed was sent before the call that failed.
    pub(super) fn after_the_deed(self) -> Self {
        let (Self::NotSent(why) | Self::Unknown(why)) = self;
        Self::Unknown(why)
    }
}

/// The key that a text names, as a key is shown.
pub(super) fn key_of(text: &str) -> Option<Reference> {
    let (by, n) = text.split_once('-')?;
    let key = Reference { by: Id::parse(by).ok()?, n: n.parse().ok()? };
    // One name each: leading zeros and upper case are another text.
    (key.to_string() == text).then_some(key)
}

/// Which payment to look for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Find {
    /// The key that it was authorised under.
    pub key: Reference,
    /// Which gateway.
    pub gateway: Box<str>,
    /// The gateway's name for it, where it is known: then it is found for certain.
    pub reference: Option<GatewayReference>,
}

/// Which key to abandon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abandon {
    /// The key.
    pub key: Reference,
    /// Which gateway.
    pub gateway: Box<str>,
    /// The gateway's name for the payment, where it is known.
    pub reference: Option<GatewayReference>,
    /// How much was to be authorised under it: a gateway that names payments itself is asked to begin the very same one
    /// again, and tells by that which it was.
    pub amount: Money,
}

/// Where a payment stands at its gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It was begun, and nothing is decided.
    Begun,
    /// It waits for the shopper.
    ActionRequired,
    /// The money is reserved.
    Authorised,
    /// It was declined.
    Declined,
    /// Money moved to the shop.
    Captured,
    /// It was abandoned, or voided: no money is reserved.
    Cancelled,
}

/// A payment as its gateway has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The gateway's name for it.
    pub reference: GatewayReference,
    /// Where it stands.
    pub status: Status,
    /// How much was asked for.
    pub amount: Money,
    /// Minor units moved to the shop.
    pub captured: i64,
    /// Minor units of these moved back. 0 where the gateway does not tell.
    pub refunded: i64,
}

/// What a gateway tells of its own accord, once its signature was checked. It may come twice, late and out of order: it
/// says where to look, and decides nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// The gateway's name for this message: the same again is the same message.
    pub id: Box<str>,
    /// The gateway's name for the payment.
    pub reference: GatewayReference,
    /// The key that the payment was begun under, where the gateway tells it.
    pub key: Option<Reference>,
    /// What happened.
    pub what: Happened,
}

/// What happened to a payment at its gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// The money is reserved.
    Authorised,
    /// It was declined.
    Declined,
    /// It waits for the shopper.
    ActionRequired,
    /// Money moved to the shop.
    Captured,
    /// No money is reserved any more.
    Cancelled,
    /// Money moved back to the shopper.
    Refunded,
}

/// Why a message is not taken for the gateway's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// This gateway sends none, or none are configured.
    #[error("this gateway sends no messages here")]
    None,
    /// It is not signed with the secret that is shared with the gateway.
    #[error("the message is not signed by the gateway")]
    Unsigned,
    /// It was signed too long ago, or by a clock that is ahead.
    #[error("the message was signed too long ago")]
    Stale,
    /// It is signed and cannot be read.
    #[error("the message cannot be read")]
    Malformed,
    /// It is signed, and about nothing that the shop follows: acknowledge it.
    #[error("the message is about nothing that the shop follows")]
    Irrelevant,
}

/// A payment gateway. Every deed may be asked for again under its key, and then answers as it did.
pub trait Gateway: Send + Sync + fmt::Debug + 'static {
    /// Reserves money.
    fn authorise(&self, ask: Authorise) -> BoxFuture<'static, Result<Authorised, Failure>>;

    /// Moves reserved money to the shop, all of it or a part.
    fn capture(&self, deed: Deed) -> BoxFuture<'static, Result<Moved, Failure>>;

    /// Frees reserved money of which nothing was captured.
    fn void(&self, deed: Deed) -> BoxFuture<'static, Result<Moved, Failure>>;

    /// Moves captured money back, all of it or a part; never more than was captured.
    fn refund(&self, deed: Deed) -> BoxFuture<'static, Result<Moved, Failure>>;

    /// Looks a payment up. `None` decides nothing: an authorisation may still be on its way.
    fn find(&self, find: Find) -> BoxFuture<'static, Result<Option<Found>, Failure>>;

    /// Makes sure that from now on no authorisation under the key can succeed, and tells whether one had.
    fn abandon(&self, abandon: Abandon) -> BoxFuture<'static, Result<Abandoned, Failure>>;

    /// Reads a message of the gateway's.
    ///
    /// # Errors
    /// [`WebhookError`] unless it is signed, fresh and about a payment.
    fn parse_webhook(&self, headers: &HeaderMap, body: &[u8], now: UnixMillis) -> Result<Webhook, WebhookError>;
}
