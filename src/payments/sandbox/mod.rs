//! A small bank for development, tests and load: deterministic, its book durable and shared by every node.
//!
//! One row for each payment key, changed by compare-and-set alone: whichever node asks, and however often, a key's deed
//! happens once. What a payment does is said by the shopper's token (`tok_approve`, `tok_decline`, …: see [`bank`]).
//! Rows stay for ever: the book is what a load test is reconciled with.

pub mod bank;

use std::{sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, FutureExt};
use hyper::HeaderMap;

use self::bank::{Ask, Say};
use super::gateway::{Abandon, Failure, Find, Found, Gateway, Status, Webhook, WebhookError};
use crate::{
    codec::{self, BANK_SCHEMA_V, BankDeedKind, BankPayment, BankState},
    domain::{
        Currency, Money, Reference, UnixMillis,
        payment::{Abandoned, Authorise, Authorised, Deed, Moved},
    },
    store::{Expect, Kind, Row, SCAN_MAX, Settled, Store, settle},
    telemetry::clock,
};

/// Attempts to save when others save the same payment at the same time. Each lost one was another's progress, and a
/// payment has few askers.
const ATTEMPTS_MAX: usize = 16;

/// What can be chosen about the bank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where a shopper confirms a payment of `tok_action`; the payment's reference follows.
    pub action_url: Box<str>,
    /// How late the answer to `tok_slow` is.
    pub slow: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { action_url: "/sandbox/payments/".into(), slow: Duration::from_secs(3) }
    }
}

/// The sandbox bank. Clones are the same bank.
#[derive(Clone, Debug)]
pub struct Sandbox {
    store: Arc<dyn Store>,
    options: Options,
}

/// A page of the book, in no particular order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookPage {
    /// Payments.
    pub payments: Vec<BankPayment>,
    /// Where the next page starts; `None` = this was the last. A page may be empty and not the last.
    pub next: Option<u128>,
}

impl Sandbox {
    /// The bank whose book is in this store.
    #[must_use]
    pub const fn new(store: Arc<dyn Store>, options: Options) -> Self {
        Self { store, options }
    }

    /// The key of the payment that a reference names; `None` = it is none of this bank's.
    #[must_use]
    pub fn key_of(&self, reference: &str) -> Option<Reference> {
        bank::key_of(reference)
    }

    /// The shopper did what a payment of `tok_action` required: its money is reserved now. Returns whether it is; false =
    /// there is no such payment, or it was abandoned or declined.
    ///
    /// # Errors
    /// [`Failure`] when the store does not answer; confirming again is safe.
    pub async fn confirm(&self, reference: &str) -> Result<bool, Failure> {
        let Some(key) = bank::key_of(reference) else { return Ok(false) };
        Ok(self.perform(key, Ask::Confirm).await?.say == Say::Confirmed(true))
    }

    /// Every payment, page by page from `cursor` on (`None` = the start), at most `limit` of them.
    ///
    /// # Errors
    /// [`Failure`] when the store does not answer, or holds what this release cannot read.
    pub async fn book(&self, cursor: Option<u128>, limit: usize) -> Result<BookPage, Failure> {
        let page = self.store.scan_rows(Kind::Bank, cursor, limit.clamp(1, SCAN_MAX)).await;
        let page = page.map_err(Failure::not_sent)?;
        let decode = |(_, row): (u128, Row)| codec::decode_bank(&row.body).map_err(Failure::not_sent);
        let payments = page.rows.into_iter().map(decode).collect::<Result<_, _>>()?;
        Ok(BookPage { payments, next: page.next })
    }

    /// Decides upon the row as it is, and saves what comes of it before anything is said.
    async fn perform(&self, key: Reference, ask: Ask<'_>) -> Result<Performed, Failure> {
        let id = row_id(key);
        for _ in 0..ATTEMPTS_MAX {
            // Nothing of this attempt is out yet: every failure until the save is a certain one, and every save that was
            // lost certainly did nothing.
            let row = self.store.load(Kind::Bank, id, true).await.map_err(Failure::not_sent)?;
            let expect = row.as_ref().map_or(Expect::Absent, |row| Expect::Version(row.version));
            let payment = row.map(|row| codec::decode_bank(&row.body)).transpose().map_err(Failure::not_sent)?;
            if payment.as_ref().is_some_and(|payment| payment.key() != key) {
                return Err(Failure::not_sent("two keys have the same hash"));
            }
            let now = clock::now();
            let outcome = bank::decide(payment.as_ref(), key, &ask, now);
            let Some(next) = outcome.next else {
                return Ok(Performed { say: outcome.say, is_slow: outcome.is_slow, payment });
            };
            let body = codec::encode_bank(&next).map_err(Failure::not_sent)?;
            let row = Row {
                version: expect.next(),
                epoch: 0,
                op_id: op_id(key, &ask, expect.next()),
                schema_v: BANK_SCHEMA_V,
                updated_at_ms: now.0,
                ttl_s: None,
                body: body.into(),
            };
            match settle(&self.store, Kind::Bank, id, expect, row).await {
                Ok(Settled::Applied) => {
                    return Ok(Performed { say: outcome.say, is_slow: outcome.is_slow, payment: Some(next) });
                }
                Ok(Settled::Lost(_)) => {}
                Err(reason) => return Err(Failure::unknown(reason)),
            }
        }
        Err(Failure::not_sent("others kept changing the payment"))
    }

    async fn reserve(self, ask: Authorise) -> Result<Authorised, Failure> {
        let done = self.perform(ask.key, Ask::Authorise { amount: ask.amount, token: &ask.token.0 }).await?;
        if done.is_slow {
            tokio::time::sleep(self.options.slow).await;
        }
        match done.say {
            Say::Authorised(Authorised::ActionRequired { reference, .. }) => {
                let url = format!("{}{reference}", self.options.action_url).into();
                Ok(Authorised::ActionRequired { reference, url })
            }
            Say::Authorised(answer) => Ok(answer),
            Say::Silence => Err(Failure::unknown("the answer was lost")),
            said => Err(misused(&said)),
        }
    }

    fn deed(&self, deed: Deed, kind: BankDeedKind) -> BoxFuture<'static, Result<Moved, Failure>> {
        let bank = self.clone();
        async move {
            let Some(payment) = bank::key_of(&deed.reference) else {
                return Ok(Moved::Refused { reason: "there is no such payment".into() });
            };
            let ask = Ask::Deed { key: deed.key, kind, amount: deed.amount };
            match bank.perform(payment, ask).await?.say {
                Say::Moved(moved) => Ok(moved),
                said => Err(misused(&said)),
            }
        }
        .boxed()
    }
}

/// What was said, and the payment as it now stands.
struct Performed {
    say: Say,
    is_slow: bool,
    payment: Option<BankPayment>,
}

/// Another deed's answer is not this one's, and that nothing was done cannot be said either.
fn misused(said: &Say) -> Failure {
    Failure::unknown(format!("the key was used for something else: {said:?}"))
}

/// The id of a key's row.
fn row_id(key: Reference) -> u128 {
    xxhash_rust::xxh3::xxh3_128(&[&key.by.0.to_be_bytes()[..], &key.n.to_be_bytes()].concat())
}

/// Names the save of one deed at one version, whoever makes it: two nodes that do the same deed at the same time make the
/// same save, and the later one finds its own.
fn op_id(key: Reference, ask: &Ask<'_>, version: u64) -> u128 {
    let amount = |amount: &Money| [&amount.amount.to_be_bytes()[..], &amount.currency.bytes()].concat();
    let reference = |key: &Reference| [&key.by.0.to_be_bytes()[..], &key.n.to_be_bytes()].concat();
    // All that the decision rests on: two asks that differ in anything are two saves.
    let asked = match ask {
        Ask::Authorise { amount: money, token } => [&[1], &amount(money)[..], token.as_bytes()].concat(),
        Ask::Confirm => vec![2],
        Ask::Find => vec![3],
        Ask::Abandon { amount: money } => [&[4], &amount(money)[..]].concat(),
        Ask::Deed { key, kind, amount: money } => [&[5 + *kind as u8], &amount(money)[..], &reference(key)].concat(),
    };
    xxhash_rust::xxh3::xxh3_128(&[&reference(&key)[..], &version.to_be_bytes(), &asked].concat())
}

fn found(payment: &BankPayment) -> Result<Found, Failure> {
    let currency = std::str::from_utf8(&payment.currency).ok().and_then(|text| Currency::parse(text).ok());
    let currency = currency.ok_or_else(|| Failure::not_sent("the book has a payment of no currency"))?;
    let status = match payment.state {
        BankState::Authorised if payment.captured > 0 => Status::Captured,
        BankState::Authorised => Status::Authorised,
        BankState::ActionRequired => Status::ActionRequired,
        BankState::Declined => Status::Declined,
        BankState::Abandoned | BankState::Voided => Status::Cancelled,
        BankState::Late => Status::Begun,
    };
    Ok(Found {
        reference: bank::reference(payment.key()),
        status,
        amount: Money { amount: payment.amount, currency },
        captured: payment.captured,
        refunded: payment.refunded,
    })
}

impl Gateway for Sandbox {
    fn authorise(&self, ask: Authorise) -> BoxFuture<'static, Result<Authorised, Failure>> {
        self.clone().reserve(ask).boxed()
    }

    fn capture(&self, deed: Deed) -> BoxFuture<'static, Result<Moved, Failure>> {
        self.deed(deed, BankDeedKind::Capture)
    }

    fn void(&self, deed: Deed) -> BoxFuture<'static, Result<Moved, Failure>> {
        self.deed(deed, BankDeedKind::Void)
    }

    fn refund(&self, deed: Deed) -> BoxFuture<'static, Result<Moved, Failure>> {
        self.deed(deed, BankDeedKind::Refund)
    }

    fn find(&self, find: Find) -> BoxFuture<'static, Result<Option<Found>, Failure>> {
        let bank = self.clone();
        async move {
            let done = bank.perform(find.key, Ask::Find).await?;
            let is_there = done.say == Say::Seen(true);
            done.payment.as_ref().filter(|_| is_there).map(found).transpose()
        }
        .boxed()
    }

    fn abandon(&self, abandon: Abandon) -> BoxFuture<'static, Result<Abandoned, Failure>> {
        let bank = self.clone();
        async move {
            match bank.perform(abandon.key, Ask::Abandon { amount: abandon.amount }).await?.say {
                Say::Abandoned(answer) => Ok(answer),
                said => Err(misused(&said)),
            }
        }
        .boxed()
    }

    /// The bank sends none.
    fn parse_webhook(&self, _: &HeaderMap, _: &[u8], _: UnixMillis) -> Result<Webhook, WebhookError> {
        Err(WebhookError::None)
    }
}

#[cfg(test)]
mod tests;
