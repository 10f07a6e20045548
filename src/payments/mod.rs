//! Money: what a payment gateway is asked, by which gateways, and with how much patience.
//!
//! Every deed has a key that never changes: asking again under it asks for the same deed. A gateway answers for good, or
//! fails in one of two ways that the asker must tell apart ([`Failure`]).

mod breaker;
mod card;
mod gateway;
mod gateways;
pub mod sandbox;
pub mod stripe;

pub use breaker::BreakerState;
pub use card::looks_like_card;
pub use gateway::{Abandon, Failure, Find, Found, Gateway, Happened, Status, Webhook, WebhookError};
pub use gateways::{Gateways, Limits};
pub use sandbox::Sandbox;
pub use stripe::Stripe;
