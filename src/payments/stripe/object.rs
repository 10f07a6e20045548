//! What of Stripe's objects is read.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::domain::payment::GatewayReference;

/// A payment.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Intent {
    pub(super) id: GatewayReference,
    pub(super) status: IntentStatus,
    pub(super) amount: i64,
    pub(super) currency: Box<str>,
    #[serde(default)]
    amount_received: Option<i64>,
    #[serde(default)]
    pub(super) last_payment_error: Option<PaymentError>,
    #[serde(default)]
    pub(super) next_action: Option<NextAction>,
    /// What was charged: its id, or all of it when asked for.
    #[serde(default)]
    pub(super) latest_charge: Option<serde_json::Value>,
}

/// Where a payment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum IntentStatus {
    RequiresPaymentMethod,
    RequiresConfirmation,
    RequiresAction,
    Processing,
    RequiresCapture,
    Canceled,
    Succeeded,
    /// What Stripe may come to say.
    #[serde(other)]
    Other,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct PaymentError {
    #[serde(default)]
    pub(super) message: Option<Box<str>>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct NextAction {
    #[serde(default)]
    redirect_to_url: Option<Redirect>,
}

#[derive(Clone, Debug, Deserialize)]
struct Redirect {
    url: Box<str>,
}

/// Money on its way back.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Refund {
    pub(super) amount: i64,
    #[serde(default)]
    status: Option<Box<str>>,
    #[serde(default)]
    pub(super) metadata: BTreeMap<String, String>,
}

/// One page of a list.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Page<T> {
    pub(super) data: Vec<T>,
    #[serde(default)]
    pub(super) has_more: bool,
}

impl Intent {
    /// Whether money is reserved, or was moved.
    pub(super) const fn is_authorised(&self) -> bool {
        matches!(self.status, IntentStatus::RequiresCapture | IntentStatus::Succeeded)
    }

    /// What was moved to the shop. Not every server tells; all of it was, then.
    pub(super) const fn received(&self) -> i64 {
        match (self.amount_received, self.status) {
            (Some(received), _) => received,
            (None, IntentStatus::Succeeded) => self.amount,
            (None, _) => 0,
        }
    }

    /// Where the shopper does what is required.
    pub(super) fn action_url(&self) -> Option<Box<str>> {
        Some(self.next_action.as_ref()?.redirect_to_url.as_ref()?.url.clone())
    }

    /// What was moved back, where it is told.
    pub(super) fn refunded(&self) -> i64 {
        self.latest_charge.as_ref().and_then(|charge| charge.get("amount_refunded")?.as_i64()).unwrap_or(0)
    }
}

impl Refund {
    /// Whether it did not move anything, and will not.
    pub(super) fn is_dead(&self) -> bool {
        matches!(self.status.as_deref(), Some("failed" | "canceled"))
    }
}
