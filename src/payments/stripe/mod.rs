//! Stripe, by PaymentIntents that are captured by hand.
//!
//! An authorisation is two calls: an intent is created, unconfirmed, under an idempotency key made of ours, and then
//! confirmed with the shopper's token. Only the second reserves money, so whoever lost the first one's answer gets the
//! very same intent by creating it again. To abandon a key is to cancel that intent.
//!
//! Stripe forgets idempotency keys after a day or more; attempts at a payment are settled within minutes. It also keeps
//! what it answered under one, failures of its own included: in doubt the intent itself is looked at. Cancelling needs no
//! key, an intent is cancelled once.

mod client;
mod object;
#[cfg(test)]
mod tests;
mod webhook;

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt};
use hyper::HeaderMap;
use secrecy::SecretString;

use self::{
    client::{Client, Form, Refusal, Trouble},
    object::{Intent, IntentStatus, Page, Refund},
};
use super::gateway::{Abandon, Failure, Find, Found, Gateway, Status, Webhook, WebhookError};
use crate::{
    domain::{
        Currency, Money, Reference, UnixMillis,
        payment::{Abandoned, Authorise, Authorised, Deed, Moved},
    },
    net::{NoAuthorities, WrongUrl},
};

/// Where an intent keeps the key that it was created under.
const KEY: &str = "trolley_key";
/// Where a refund keeps its deed's key.
const DEED: &str = "trolley_deed";
/// Most refunds of one payment: what one page of Stripe's holds.
const REFUNDS_MAX: usize = 100;
/// Currencies that Stripe counts in other units than ISO 4217 does: they are refused before anything is asked.
const OTHER_UNITS: [&str; 3] = ["ISK", "MGA", "UGX"];

/// How to reach Stripe, and what is shared with it.
#[derive(Clone, Debug)]
pub struct Options {
    /// `https://api.stripe.com`, or a test server's; plain HTTP is taken on a loopback address alone.
    pub base_url: Box<str>,
    /// The account's secret key.
    pub secret_key: SecretString,
    /// The secret of the webhook endpoint; without it no message is taken.
    pub webhook_secret: Option<SecretString>,
    /// Where shoppers return to after they did what their bank required.
    pub return_url: Box<str>,
}

/// Why Stripe cannot be used with these options.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// The base is no URL of a server.
    #[error("the base URL {0}")]
    Url(WrongUrl),
    /// The secret key would travel in the clear.
    #[error("the base URL must be https, or a loopback address")]
    Plain,
    /// The key cannot be part of a request.
    #[error("the secret key is empty or holds characters that no key has")]
    Key,
    /// Nothing to check Stripe's certificate with.
    #[error(transparent)]
    Authorities(#[from] NoAuthorities),
}

/// Stripe.
#[derive(Clone, Debug)]
pub struct Stripe {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    client: Client,
    webhook_secret: Option<SecretString>,
    return_url: Box<str>,
}

impl Stripe {
    /// A client; it connects when it is first asked.
    ///
    /// # Errors
    /// [`OptionsError`] when the options cannot work.
    pub fn new(options: Options) -> Result<Self, OptionsError> {
        let Options { base_url, secret_key, webhook_secret, return_url } = options;
        let client = Client::new(&base_url, &secret_key)?;
        Ok(Self { inner: Arc::new(Inner { client, webhook_secret, return_url }) })
    }
}

impl Inner {
    /// The one intent of a key: created, or the same again.
    async fn create(&self, key: Reference, amount: Money) -> Result<Intent, Trouble> {
        let form = Form::new()
            .with("amount", amount.amount)
            .with("currency", amount.currency.as_str().to_ascii_lowercase())
            .with("capture_method", "manual")
            .with("payment_method_types[0]", "card")
            .with(&format!("metadata[{KEY}]"), key);
        self.client
            .post("/v1/payment_intents", form, Some(format!("trolley-{key}-create")))
            .await
            .map(|(intent, _)| intent)
    }

    async fn look(&self, reference: &str) -> Result<Intent, Trouble> {
        self.client.get(&format!("{}?expand[]=latest_charge", intent_path(reference)?)).await
    }

    async fn authorise(&self, ask: Authorise) -> Result<Authorised, Failure> {
        let Some(method) = method(&ask.token.0) else {
            return Ok(declined("This is no token of the gateway's."));
        };
        if !is_supported(ask.amount.currency) {
            return Ok(declined("The gateway does not take this currency."));
        }
        let intent = match self.create(ask.key, ask.amount).await {
            Ok(intent) => intent,
            Err(Trouble::Refused(refusal)) => return Ok(declined(&refusal.message)),
            Err(Trouble::Broken { is_replay: true, .. }) => return Ok(Authorised::Unavailable),
            // Nothing is reserved before an intent is confirmed.
            Err(trouble) => return Err(trouble.failure().before_the_deed()),
        };
        let path = match intent_path(&intent.id) {
            Ok(path) => format!("{path}/confirm"),
            Err(trouble) => return Err(trouble.failure().before_the_deed()),
        };
        let form = method.with("return_url", &self.return_url);
        let confirmed = self.client.post(&path, form, Some(format!("trolley-{}-confirm", ask.key))).await;
        match confirmed {
            // What was answered the first time may be history: the shopper may have acted since.
            Ok((confirmed, is_replay)) if !is_replay => authorised(confirmed),
            Err(Trouble::Refused(refusal)) if refusal.is_card() => Ok(declined(&refusal.message)),
            Err(Trouble::Failed(failure)) => Err(failure),
            Ok(_) => authorised(self.look(&intent.id).await.map_err(in_doubt)?),
            Err(Trouble::Broken { failure, .. }) => {
                // It may have done it before it broke.
                let now = self.look(&intent.id).await.map_err(in_doubt)?;
                authorised(now).map_err(|_| failure)
            }
            Err(Trouble::Refused(refusal)) => {
                let now = self.look(&intent.id).await.map_err(in_doubt)?;
                match now.status {
                    // Never confirmed, and Stripe will not: the token is none, or is used up.
                    IntentStatus::RequiresPaymentMethod | IntentStatus::RequiresConfirmation => {
                        Ok(declined(&refusal.message))
                    }
                    _ => authorised(now),
                }
            }
        }
    }

    async fn capture(&self, deed: Deed) -> Result<Moved, Failure> {
        let Ok(path) = intent_path(&deed.reference) else { return Ok(no_such_payment()) };
        let form = Form::new().with("amount_to_capture", deed.amount.amount);
        let (path, key) = (format!("{path}/capture"), format!("trolley-{}-capture", deed.key));
        let trouble = match self.client.post::<Intent>(&path, form, Some(key)).await {
            Ok((intent, _)) if intent.status == IntentStatus::Succeeded => return Ok(Moved::Yes),
            Ok((intent, _)) => {
                return Err(Failure::unknown(format!("the intent is {:?} after its capture", intent.status)));
            }
            Err(Trouble::Failed(failure)) => return Err(failure),
            Err(trouble) => trouble,
        };
        // Captured before, by this very deed: an intent is captured once. Stripe deletes none: one that is not there is
        // another account's, whose key was configured by mistake, which is no reason to cancel an order.
        let now = self.look(&deed.reference).await.map_err(in_doubt)?;
        if now.status == IntentStatus::Succeeded && now.received() == deed.amount.amount {
            return Ok(Moved::Yes);
        }
        match trouble {
            Trouble::Refused(refusal) => Ok(Moved::Refused { reason: refusal.message }),
            other => Err(other.failure()),
        }
    }

    /// Cancels the intent; returns it as it then stands, whoever cancelled it, and what was said against it.
    async fn cancel(&self, reference: &str) -> Result<(Intent, Option<Refusal>), Trouble> {
        let path = format!("{}/cancel", intent_path(reference)?);
        match self.client.post(&path, Form::new(), None).await {
            Ok((intent, _)) => Ok((intent, None)),
            Err(Trouble::Refused(refusal)) => Ok((self.look(reference).await?, Some(refusal))),
            Err(trouble) => Err(trouble),
        }
    }

    async fn void(&self, deed: Deed) -> Result<Moved, Failure> {
        match self.cancel(&deed.reference).await {
            Ok((intent, _)) if intent.status == IntentStatus::Canceled => Ok(Moved::Yes),
            Ok((_, Some(refusal))) => Ok(Moved::Refused { reason: refusal.message }),
            Ok((intent, None)) => Err(Failure::unknown(format!("the intent is {:?} after all", intent.status))),
            Err(Trouble::Refused(_)) => Ok(no_such_payment()),
            Err(trouble) => Err(trouble.failure()),
        }
    }

    async fn refund(&self, deed: Deed) -> Result<Moved, Failure> {
        // Until the refund itself is sent, nothing is.
        let not_sent = |trouble: Trouble| trouble.failure().before_the_deed();
        let intent = match self.look(&deed.reference).await {
            Ok(intent) => intent,
            Err(Trouble::Refused(_)) => return Ok(no_such_payment()),
            Err(trouble) => return Err(not_sent(trouble)),
        };
        if intent.status != IntentStatus::Succeeded {
            return Ok(Moved::Refused { reason: "Nothing was captured.".into() });
        }
        let list = format!("/v1/refunds?payment_intent={}&limit={REFUNDS_MAX}", intent.id);
        let refunds: Page<Refund> = self.client.get(&list).await.map_err(not_sent)?;
        let own = deed.key.to_string();
        if let Some(done) = refunds.data.iter().find(|refund| refund.metadata.get(DEED) == Some(&own)) {
            return Ok(match done.is_dead() {
                false => Moved::Yes,
                true => Moved::Refused { reason: "The gateway could not refund it.".into() },
            });
        }
        // Stripe checks this too; not every server that speaks its language does.
        let refunded = refunds.data.iter().filter(|refund| !refund.is_dead()).map(|refund| refund.amount);
        let refunded = refunded.fold(0_i64, i64::saturating_add);
        let left = intent.received().saturating_sub(refunded);
        if refunds.has_more || deed.amount.amount <= 0 || deed.amount.amount > left {
            return Ok(Moved::Refused { reason: "More than what was captured.".into() });
        }
        let form = Form::new()
            .with("payment_intent", &intent.id)
            .with("amount", deed.amount.amount)
            .with(&format!("metadata[{DEED}]"), &own);
        match self.client.post::<Refund>("/v1/refunds", form, Some(format!("trolley-{own}-refund"))).await {
            Ok((refund, _)) if refund.is_dead() => {
                Ok(Moved::Refused { reason: "The gateway could not refund it.".into() })
            }
            Ok(_) => Ok(Moved::Yes),
            Err(Trouble::Refused(refusal)) => Ok(Moved::Refused { reason: refusal.message }),
            Err(trouble) => Err(trouble.failure()),
        }
    }

    async fn find(&self, find: Find) -> Result<Option<Found>, Failure> {
        let intent = match &find.reference {
            Some(reference) => match self.look(reference).await {
                Ok(intent) => Some(intent),
                Err(Trouble::Refused(_)) => None,
                Err(trouble) => return Err(trouble.failure()),
            },
            None => {
                // Stripe's search lags behind by up to a minute: another reason why finding nothing decides nothing.
                let path = format!("/v1/payment_intents/search?query=metadata%5B%27{KEY}%27%5D%3A%27{}%27", find.key);
                let page: Page<Intent> = self.client.get(&path).await.map_err(Trouble::failure)?;
                page.data.into_iter().next()
            }
        };
        intent.map(found).transpose()
    }

    async fn abandon(&self, abandon: Abandon) -> Result<Abandoned, Failure> {
        let intent = match &abandon.reference {
            Some(reference) => self.look(reference).await,
            None if !is_supported(abandon.amount.currency) => return Ok(Abandoned::Nothing),
            None => self.create(abandon.key, abandon.amount).await,
        };
        let id = match (intent, abandon.reference) {
            (Ok(intent), _) => intent.id,
            // Stripe keeps no such intent, or will make none under this key: none can be confirmed.
            (Err(Trouble::Refused(_) | Trouble::Broken { is_replay: true, .. }), None) => {
                return Ok(Abandoned::Nothing);
            }
            (Err(trouble), _) => return Err(in_doubt(trouble)),
        };
        // What creating it again tells is how it was then.
        let now = self.look(&id).await.map_err(in_doubt)?;
        if now.is_authorised() {
            return Ok(Abandoned::Authorised { reference: now.id });
        }
        let (after, refusal) = self.cancel(&id).await.map_err(in_doubt)?;
        match after.status {
            IntentStatus::Canceled => Ok(Abandoned::Nothing),
            _ if after.is_authorised() => Ok(Abandoned::Authorised { reference: after.id }),
            status => Err(Failure::unknown(format!("the intent is {status:?} and cannot be cancelled: {refusal:?}"))),
        }
    }
}

fn declined(reason: &str) -> Authorised {
    Authorised::Declined { reason: reason.into() }
}

fn no_such_payment() -> Moved {
    Moved::Refused { reason: "The gateway has no such payment.".into() }
}

/// A look at an intent failed after something was sent: whatever that failure is, the deed is in doubt.
fn in_doubt(trouble: Trouble) -> Failure {
    trouble.failure().after_the_deed()
}

fn is_supported(currency: Currency) -> bool {
    !OTHER_UNITS.contains(&currency.as_str())
}

/// Where an intent is. Its id came from outside, and must not become another path.
fn intent_path(reference: &str) -> Result<String, Trouble> {
    let is_id = !reference.is_empty() && reference.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match is_id {
        true => Ok(format!("/v1/payment_intents/{reference}")),
        false => Err(Trouble::Refused(Refusal::of("The gateway has no such payment."))),
    }
}

/// How a token is handed over: a payment method, a card's token, or what Stripe's form confirmed.
fn method(token: &str) -> Option<Form> {
    let form = Form::new();
    match token.split_once('_')?.0 {
        "pm" => Some(form.with("payment_method", token)),
        "ctoken" => Some(form.with("confirmation_token", token)),
        "tok" => Some(form.with("payment_method_data[type]", "card").with("payment_method_data[card][token]", token)),
        _ => None,
    }
}

/// What an intent that was confirmed says.
fn authorised(intent: Intent) -> Result<Authorised, Failure> {
    match intent.status {
        _ if intent.is_authorised() => Ok(Authorised::Yes { reference: intent.id }),
        IntentStatus::RequiresAction => {
            let url = intent.action_url().unwrap_or_default();
            Ok(Authorised::ActionRequired { url, reference: intent.id })
        }
        IntentStatus::Canceled => Ok(declined("The payment was cancelled.")),
        IntentStatus::RequiresPaymentMethod if intent.last_payment_error.is_some() => {
            let said = intent.last_payment_error.and_then(|error| error.message);
            Ok(declined(said.as_deref().unwrap_or("The card was declined.")))
        }
        status => Err(Failure::unknown(format!("the intent is {status:?}"))),
    }
}

fn found(intent: Intent) -> Result<Found, Failure> {
    let status = match intent.status {
        IntentStatus::RequiresAction => Status::ActionRequired,
        IntentStatus::RequiresCapture => Status::Authorised,
        IntentStatus::Succeeded => Status::Captured,
        IntentStatus::Canceled => Status::Cancelled,
        IntentStatus::RequiresPaymentMethod if intent.last_payment_error.is_some() => Status::Declined,
        _ => Status::Begun,
    };
    let currency = Currency::parse(&intent.currency.to_ascii_uppercase()).map_err(Failure::not_sent)?;
    Ok(Found {
        status,
        amount: Money { amount: intent.amount, currency },
        captured: intent.received(),
        refunded: intent.refunded(),
        reference: intent.id,
    })
}

impl Gateway for Stripe {
    fn authorise(&self, ask: Authorise) -> BoxFuture<'static, Result<Authorised, Failure>> {
        let inner = Arc::clone(&self.inner);
        async move { inner.authorise(ask).await }.boxed()
    }

    fn capture(&self, deed: Deed) -> BoxFuture<'static, Result<Moved, Failure>> {
        let inner = Arc::clone(&self.inner);
        async move { inner.capture(deed).await }.boxed()
    }

    fn void(&self, deed: Deed) -> BoxFuture<'static, Result<Moved, Failure>> {
        let inner = Arc::clone(&self.inner);
        async move { inner.void(deed).await }.boxed()
    }

    fn refund(&self, deed: Deed) -> BoxFuture<'static, Result<Moved, Failure>> {
        let inner = Arc::clone(&self.inner);
        async move { inner.refund(deed).await }.boxed()
    }

    fn find(&self, find: Find) -> BoxFuture<'static, Result<Option<Found>, Failure>> {
        let inner = Arc::clone(&self.inner);
        async move { inner.find(find).await }.boxed()
    }

    fn abandon(&self, abandon: Abandon) -> BoxFuture<'static, Result<Abandoned, Failure>> {
        let inner = Arc::clone(&self.inner);
        async move { inner.abandon(abandon).await }.boxed()
    }

    fn parse_webhook(&self, headers: &HeaderMap, body: &[u8], now: UnixMillis) -> Result<Webhook, WebhookError> {
        let secret = self.inner.webhook_secret.as_ref().ok_or(WebhookError::None)?;
        webhook::parse(secret, headers, body, now)
    }
}
