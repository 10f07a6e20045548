//! Checkouts and orders as clients read them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::dto::timestamp;
use crate::domain::{
    Currency, UnixMillis,
    address::{Address, Country},
    cart,
    checkout::{AttemptState, Checkout},
    order::{Bought, Order},
    pricing::{Discounted, Offer},
};

/// Integer minor units of an ISO 4217 currency.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Amount)]
pub(super) struct Amount {
    amount: i64,
    currency: String,
}

impl Amount {
    pub(super) fn new(amount: i64, currency: Currency) -> Self {
        Self { amount, currency: currency.as_str().to_owned() }
    }
}

/// A postal address.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PostalAddress {
    pub(super) name: String,
    pub(super) line1: String,
    #[serde(default)]
    pub(super) line2: Option<String>,
    pub(super) city: String,
    #[serde(default)]
    pub(super) region: Option<String>,
    pub(super) postal_code: String,
    /// ISO 3166-1 alpha-2.
    #[schema(example = "DE")]
    pub(super) country: String,
}

impl From<&Address> for PostalAddress {
    fn from(address: &Address) -> Self {
        Self {
            name: address.name.to_string(),
            line1: address.line1.to_string(),
            line2: address.line2.as_deref().map(str::to_owned),
            city: address.city.to_string(),
            region: address.region.as_deref().map(str::to_owned),
            postal_code: address.postal_code.to_string(),
            country: address.country.as_str().to_owned(),
        }
    }
}

impl PostalAddress {
    /// The address, or which part of it cannot be one.
    pub(super) fn read(self) -> Result<Address, (&'static str, String)> {
        let bytes_max = crate::domain::address::PART_BYTES_MAX;
        let part = |name: &'static str, text: String| {
            let text = text.trim();
            let fits = (1..=bytes_max).contains(&text.len()) && !text.chars().any(char::is_control);
            if fits { Ok(Box::from(text)) } else { Err((name, format!("1 to {bytes_max} bytes of text"))) }
        };
        let optional = |name, text: Option<String>| {
            text.filter(|text| !text.trim().is_empty()).map(|text| part(name, text)).transpose()
        };
        Ok(Address {
            name: part("name", self.name)?,
            line1: part("line1", self.line1)?,
            line2: optional("line2", self.line2)?,
            city: part("city", self.city)?,
            region: optional("region", self.region)?,
            postal_code: part("postal_code", self.postal_code)?,
            country: Country::parse(&self.country)
                .ok_or(("country", "two upper-case letters (ISO 3166-1 alpha-2)".to_owned()))?,
        })
    }
}

/// A line of a checkout or an order.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct PurchaseLine {
    id: String,
    sku: String,
    title: String,
    quantity: u16,
    options: BTreeMap<String, String>,
    metadata: BTreeMap<String, serde_json::Value>,
    unit_price: Amount,
    /// Unit price times quantity.
    total: Amount,
    /// Its share of all discounts: zero or negative.
    discount: Amount,
    tax: Amount,
    /// Units that have left; of an order.
    #[serde(skip_serializing_if = "Option::is_none")]
    fulfilled: Option<u16>,
    /// Units that came back; of an order.
    #[serde(skip_serializing_if = "Option::is_none")]
    returned: Option<u16>,
}

fn options(pairs: &cart::Options) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

/// Values are JSON scalars kept as text.
fn metadata(pairs: &cart::Metadata) -> BTreeMap<String, serde_json::Value> {
    let value = |text: &str| serde_json::from_str(text).unwrap_or(serde_json::Value::Null);
    pairs.iter().map(|(name, text)| (name.to_string(), value(text))).collect()
}

/// What a purchase costs.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct PurchaseTotals {
    subtotal: Amount,
    discount: Amount,
    shipping: Amount,
    tax: Amount,
    /// Whether prices include the tax.
    tax_included: bool,
    total: Amount,
}

/// What a code takes off.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct CodeTaken {
    code: String,
    amount: Amount,
}

fn taken(discounts: &[Discounted], currency: Currency) -> Vec<CodeTaken> {
    let one =
        |taken: &Discounted| CodeTaken { code: taken.code.to_string(), amount: Amount::new(taken.amount, currency) };
    discounts.iter().map(one).collect()
}

/// A way of shipping.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct ShippingOffer {
    id: String,
    title: String,
    price: Amount,
}

impl ShippingOffer {
    fn new(offer: &Offer, currency: Currency) -> Self {
        let price = Amount::new(offer.price, currency);
        Self { id: offer.id.to_string(), title: offer.title.to_string(), price }
    }
}

/// What the shopper must do for a payment.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct PaymentAction {
    /// Where.
    url: String,
}

/// The present, or last, payment attempt.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct PaymentView {
    /// `pending`, `requires_action`, `authorised`, `declined`, `unavailable` or `abandoned`.
    status: &'static str,
    gateway: String,
    /// Why, where it was declined.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<PaymentAction>,
}

/// Something the shopper should know.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Notice {
    level: &'static str,
    code: &'static str,
    pointer: String,
    detail: String,
}

/// A checkout.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Checkout)]
pub(super) struct CheckoutView {
    id: String,
    /// Rises with every change that a client can see; the ETag.
    revision: u64,
    cart_id: String,
    /// `open`, `completing`, `requires_action`, `completed`, `cancelled` or `expired`.
    status: &'static str,
    currency: String,
    lines: Vec<PurchaseLine>,
    discounts: Vec<CodeTaken>,
    totals: PurchaseTotals,
    email: Option<String>,
    shipping_address: Option<PostalAddress>,
    shipping_options: Vec<ShippingOffer>,
    shipping_option: Option<String>,
    payment: Option<PaymentView>,
    /// When hold, quote and payment attempt end together.
    expires_at: String,
    order_id: Option<String>,
    messages: Vec<Notice>,
    created_at: String,
    updated_at: String,
}

fn time(at: UnixMillis) -> String {
    timestamp(at).to_string()
}

impl From<&Checkout> for CheckoutView {
    fn from(checkout: &Checkout) -> Self {
        let currency = checkout.currency;
        let amount = |amount| Amount::new(amount, currency);
        let quote = &checkout.quote;
        let line = |(bought, priced): (&crate::domain::checkout::CheckoutLine, &crate::domain::pricing::Priced)| {
            let line = &bought.line;
            PurchaseLine {
                id: line.id.to_string(),
                sku: line.sku.to_string(),
                title: line.title.to_string(),
                quantity: line.quantity,
                options: options(&line.options),
                metadata: metadata(&line.metadata),
                unit_price: amount(line.unit_price),
                total: amount(priced.subtotal),
                discount: amount(priced.discount),
                tax: amount(priced.tax),
                fulfilled: None,
                returned: None,
            }
        };
        let lacking = checkout.refused_lines().map(|refused| Notice {
            level: "error",
            code: "insufficient_stock",
            pointer: format!("/lines/{}", refused.line),
            detail: format!("{} wanted, {} available", refused.wanted, refused.available),
        });
        let codes = checkout.refused_codes().map(|refused| Notice {
            level: "error",
            code: "discount_not_applicable",
            pointer: format!("/discounts/{}", refused.code),
            detail: refused.reason.to_owned(),
        });
        Self {
            id: checkout.id.to_string(),
            revision: checkout.revision,
            cart_id: checkout.cart.to_string(),
            status: checkout.visible_status().as_str(),
            currency: currency.as_str().to_owned(),
            lines: checkout.lines.iter().zip(&quote.lines).map(line).collect(),
            discounts: taken(&quote.discounts, currency),
            totals: PurchaseTotals {
                subtotal: amount(quote.subtotal),
                discount: amount(quote.discount),
                shipping: amount(quote.shipping),
                tax: amount(quote.tax),
                tax_included: quote.tax_included,
                total: amount(quote.total),
            },
            email: checkout.email.as_ref().map(|email| email.0.to_string()),
            shipping_address: checkout.address.as_ref().map(PostalAddress::from),
            shipping_options: quote.offers.iter().map(|offer| ShippingOffer::new(offer, currency)).collect(),
            shipping_option: checkout.option.as_deref().map(str::to_owned),
            payment: checkout.attempts.last().map(|attempt| {
                let (status, reason, url) = match &attempt.state {
                    AttemptState::Pending => ("pending", None, None),
                    AttemptState::ActionRequired { url } => ("requires_action", None, Some(url)),
                    AttemptState::Approved => ("authorised", None, None),
                    AttemptState::Declined { reason } => ("declined", Some(reason), None),
                    AttemptState::Unavailable => ("unavailable", None, None),
                    AttemptState::Abandoned => ("abandoned", None, None),
                };
                PaymentView {
                    status,
                    gateway: attempt.gateway.to_string(),
                    reason: reason.map(|reason| reason.to_string()),
                    action: url.map(|url| PaymentAction { url: url.to_string() }),
                }
            }),
            expires_at: time(checkout.expires_at),
            order_id: checkout.order_id().map(|id| id.to_string()),
            messages: lacking.chain(codes).collect(),
            created_at: time(checkout.created_at),
            updated_at: time(checkout.updated_at),
        }
    }
}

/// Money of an order at its gateway.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct OrderPayment {
    gateway: String,
    /// The gateway's name for it.
    reference: String,
    authorised: Amount,
    captured: Amount,
    refunded: Amount,
}

/// A parcel.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct OrderShipment {
    lines: Vec<ShippedLine>,
    carrier: Option<String>,
    label: Option<String>,
    /// When it left, or was asked for while it waits for the money.
    at: String,
    /// Whether it has left.
    left: bool,
}

/// What of a line is in a parcel.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct ShippedLine {
    line: String,
    quantity: u16,
}

/// Something that happened to an order.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct OrderEvent {
    at: String,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    amount: Option<Amount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// An order.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Order)]
pub(super) struct OrderView {
    id: String,
    /// Rises with every change that a client can see; the ETag.
    revision: u64,
    /// What people say on the telephone.
    number: String,
    /// `placed`, `paid`, `partly_fulfilled`, `fulfilled`, `cancelled`, `returned`, `partly_refunded` or `refunded`.
    status: &'static str,
    currency: String,
    lines: Vec<PurchaseLine>,
    discounts: Vec<CodeTaken>,
    totals: PurchaseTotals,
    payments: Vec<OrderPayment>,
    shipments: Vec<OrderShipment>,
    /// What happened, oldest first: the newest 200.
    events: Vec<OrderEvent>,
    /// How many older ones are not told any more.
    events_dropped: u32,
    email: String,
    shipping_address: Option<PostalAddress>,
    shipping_option: Option<ShippingOffer>,
    checkout_id: String,
    placed_at: String,
}

impl From<&Order> for OrderView {
    fn from(order: &Order) -> Self {
        let currency = order.currency;
        let amount = |amount| Amount::new(amount, currency);
        let line = |line: &crate::domain::order::Line| {
            let Bought {
                line: id,
                sku,
                title,
                options: chosen,
                metadata: facts,
                quantity,
                unit_price,
                subtotal,
                discount,
                tax,
            } = &line.bought;
            PurchaseLine {
                id: id.to_string(),
                sku: sku.to_string(),
                title: title.to_string(),
                quantity: *quantity,
                options: options(chosen),
                metadata: metadata(facts),
                unit_price: amount(*unit_price),
                total: amount(*subtotal),
                discount: amount(*discount),
                tax: amount(*tax),
                fulfilled: Some(line.fulfilled),
                returned: Some(line.returned),
            }
        };
        let totals = &order.totals;
        Self {
            id: order.id.to_string(),
            revision: order.revision,
            number: order.number().to_string(),
            status: order.status().as_str(),
            currency: currency.as_str().to_owned(),
            lines: order.lines.iter().map(line).collect(),
            discounts: taken(&totals.discounts, currency),
            totals: PurchaseTotals {
                subtotal: amount(totals.subtotal),
                discount: amount(totals.discount),
                shipping: amount(totals.shipping),
                tax: amount(totals.tax),
                tax_included: totals.tax_included,
                total: amount(totals.total),
            },
            payments: vec![OrderPayment {
                gateway: order.payment.gateway.to_string(),
                reference: order.payment.reference.to_string(),
                authorised: amount(order.payment.authorised),
                captured: amount(order.payment.captured),
                refunded: amount(order.payment.refunded),
            }],
            shipments: order
                .shipments
                .iter()
                .map(|shipment| OrderShipment {
                    lines: shipment
                        .lines
                        .iter()
                        .map(|(line, quantity)| ShippedLine { line: line.to_string(), quantity: *quantity })
                        .collect(),
                    carrier: shipment.carrier.as_deref().map(str::to_owned),
                    label: shipment.label.as_deref().map(str::to_owned),
                    at: time(shipment.left_at.unwrap_or(shipment.asked_at)),
                    left: shipment.left_at.is_some(),
                })
                .collect(),
            events: order
                .history
                .iter()
                .map(|entry| OrderEvent {
                    at: time(entry.at),
                    kind: entry.kind.as_str(),
                    amount: entry.amount.map(amount),
                    note: entry.note.as_deref().map(str::to_owned),
                })
                .collect(),
            events_dropped: order.history_dropped,
            email: order.email.to_string(),
            shipping_address: order.address.as_ref().map(PostalAddress::from),
            shipping_option: totals.offer.as_ref().map(|offer| ShippingOffer::new(offer, currency)),
            checkout_id: order.checkout().to_string(),
            placed_at: time(order.placed_at),
        }
    }
}
