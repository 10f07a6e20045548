//! What clients read and write: borrowed views, serialised straight into one buffer.

use std::{
    collections::BTreeMap,
    fmt::Display,
    time::{Duration, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

use super::cart_json;
use crate::domain::{
    Currency, Money, UnixMillis,
    cart::{Cart, CategoriesOf, Line, Shown, Summary, Totals},
    product::{Availability, Product},
};

/// Integer minor units of an ISO 4217 currency.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Money)]
pub(super) struct MoneyView {
    #[schema(example = 1299)]
    amount: i64,
    #[serde(serialize_with = "currency")]
    #[schema(value_type = String, example = "EUR")]
    currency: Currency,
}

impl From<Money> for MoneyView {
    fn from(money: Money) -> Self {
        Self { amount: money.amount, currency: money.currency }
    }
}

/// A product.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Product)]
pub(super) struct ProductView<'a> {
    #[schema(example = "mug-blue")]
    sku: &'a str,
    title: &'a str,
    description: &'a str,
    price: MoneyView,
    /// Option name to the values that may be chosen; every name must be chosen.
    #[serde(serialize_with = "option_values")]
    #[schema(value_type = BTreeMap<String, Vec<String>>)]
    options: &'a [(Box<str>, Vec<Box<str>>)],
    image_url: Option<&'a str>,
    #[schema(value_type = Vec<String>)]
    categories: &'a [Box<str>],
    /// `in_stock`, `low` (1 to 5 can be had) or `out_of_stock`, as its stock said last: what others buy, or set aside in
    /// their checkouts, shows within about a second, within two where nobody has bought of it yet. Only a checkout sets
    /// goods aside.
    #[schema(example = "in_stock")]
    availability: &'static str,
    /// The most of it that one line may hold.
    quantity_max: u16,
}

impl<'a> ProductView<'a> {
    /// The product, and whether it can be had now.
    pub(super) fn new(product: &'a Product, availability: Availability) -> Self {
        Self {
            sku: &product.sku,
            title: &product.title,
            description: &product.description,
            price: product.price.into(),
            options: &product.options,
            image_url: product.image_url.as_deref(),
            categories: &product.categories,
            availability: match availability {
                Availability::InStock => "in_stock",
                Availability::Low => "low",
                Availability::OutOfStock => "out_of_stock",
            },
            quantity_max: product.quantity_max,
        }
    }
}

/// A page of products in SKU order.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProductPage<'a> {
    pub(super) items: Vec<ProductView<'a>>,
    /// Where the next page starts; `null` on the last.
    pub(super) next_cursor: Option<String>,
}

/// A cart, for the API's description; `cart_json` writes it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Cart)]
pub(super) struct CartView<'a> {
    #[serde(serialize_with = "display")]
    #[schema(value_type = String, example = "cart_01hzy3v7k2m4n6p8q0r2s4t6v8")]
    id: crate::domain::CartId,
    /// Rises with every change that a client can see; the ETag.
    revision: u64,
    /// `open`, `checking_out`, `ordered`, `closed` or `expired`.
    status: &'static str,
    #[serde(serialize_with = "currency")]
    #[schema(value_type = String, example = "EUR")]
    currency: Currency,
    #[serde(serialize_with = "lines")]
    #[schema(value_type = Vec<LineView>)]
    lines: Lines<'a>,
    #[serde(serialize_with = "lines")]
    #[schema(value_type = Vec<LineView>)]
    saved_for_later: Lines<'a>,
    /// Its codes; one that takes nothing off says why in `messages`.
    discounts: Vec<DiscountView<'a>>,
    totals: TotalsView,
    messages: Vec<MessageView>,
    note: Option<&'a str>,
    email: Option<&'a str>,
    #[serde(serialize_with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    created_at: UnixMillis,
    #[serde(serialize_with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    updated_at: UnixMillis,
    /// When it expires unless it changes before.
    #[serde(serialize_with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    expires_at: UnixMillis,
    /// The new guest's token, told once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) guest_token: Option<&'a str>,
}

#[derive(Debug, Clone, Copy)]
struct Lines<'a>(&'a Cart, &'a [Line]);

/// A line of a cart.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Line)]
pub(super) struct LineView<'a> {
    #[serde(serialize_with = "display")]
    #[schema(value_type = String, example = "l1")]
    id: crate::domain::cart::LineId,
    sku: &'a str,
    title: &'a str,
    quantity: u16,
    #[serde(serialize_with = "pairs")]
    #[schema(value_type = BTreeMap<String, String>)]
    options: &'a [(Box<str>, Box<str>)],
    #[serde(serialize_with = "metadata")]
    #[schema(value_type = BTreeMap<String, serde_json::Value>)]
    metadata: &'a [(Box<str>, Box<str>)],
    unit_price: MoneyView,
    total: MoneyView,
}

/// What a code takes off.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Discount)]
pub(super) struct DiscountView<'a> {
    code: &'a str,
    amount: MoneyView,
}

/// Something the shopper should know.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Message)]
pub(super) struct MessageView {
    #[schema(example = "warning")]
    level: &'static str,
    #[schema(example = "discount_minimum_not_reached")]
    code: &'static str,
    #[schema(example = "/discounts/0")]
    pointer: String,
}

/// Sums over the lines.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Totals)]
pub(super) struct TotalsView {
    subtotal: MoneyView,
    discount: MoneyView,
    total: MoneyView,
}

impl<'a> CartView<'a> {
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "`cart_json` writes what this describes; a test holds them equal")
    )]
    pub(super) fn new(cart: &'a Cart, categories: CategoriesOf<'_>) -> Self {
        let Summary { totals: Totals { subtotal, discount, total }, codes } = cart_json::summary(cart, categories);
        let message = |(at, shown): (usize, &Shown<'_>)| {
            let code = shown.not_applied?.as_str();
            Some(MessageView { level: "warning", code, pointer: format!("/discounts/{at}") })
        };
        let messages = codes.iter().enumerate().filter_map(message).collect();
        let discount_view = |shown: &Shown<'a>| DiscountView {
            code: shown.code,
            amount: Money { amount: shown.amount, currency: cart.currency }.into(),
        };
        Self {
            id: cart.id,
            revision: cart.revision,
            status: cart.status.as_str(),
            currency: cart.currency,
            lines: Lines(cart, &cart.lines),
            saved_for_later: Lines(cart, &cart.saved),
            discounts: codes.iter().map(discount_view).collect(),
            totals: TotalsView { subtotal: subtotal.into(), discount: discount.into(), total: total.into() },
            messages,
            note: cart.note.as_deref(),
            email: cart.email.as_deref(),
            created_at: cart.created_at,
            updated_at: cart.updated_at,
            expires_at: cart.expires_at,
            guest_token: None,
        }
    }
}

fn currency<S: Serializer>(currency: &Currency, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(currency.as_str())
}

fn display<S: Serializer>(value: &impl Display, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

fn rfc3339<S: Serializer>(at: &UnixMillis, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&timestamp(*at))
}

/// RFC 3339, UTC, milliseconds.
pub(super) fn timestamp(at: UnixMillis) -> impl Display {
    // Years past 9999 cannot be written; nothing that a clock gave comes near.
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(at.0.min(253_402_300_799_999)))
}

fn lines<S: Serializer>(Lines(cart, lines): &Lines<'_>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(lines.iter().map(|line| LineView {
        id: line.id,
        sku: &line.sku,
        title: &line.title,
        quantity: line.quantity,
        options: &line.options,
        metadata: &line.metadata,
        unit_price: MoneyView { amount: line.unit_price, currency: cart.currency },
        total: cart.line_total(line).unwrap_or_else(|_| Money::zero(cart.currency)).into(),
    }))
}

fn pairs<S: Serializer>(pairs: &&[(Box<str>, Box<str>)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(pairs.iter().map(|(name, value)| (name, value)))
}

fn option_values<S: Serializer>(options: &&[(Box<str>, Vec<Box<str>>)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(options.iter().map(|(name, values)| (name, values)))
}

/// Metadata values are JSON scalars kept as text.
fn metadata<S: Serializer>(pairs: &&[(Box<str>, Box<str>)], to: S) -> Result<S::Ok, S::Error> {
    let value = |text: &str| serde_json::from_str(text).unwrap_or(serde_json::Value::Null);
    to.collect_map(pairs.iter().map(|(name, text)| (name, value(text))))
}

/// A new cart.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateCart {
    /// Must be the catalogue's, which is also the default.
    #[schema(example = "EUR")]
    pub(super) currency: Option<String>,
}

/// Units to add.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AddItem {
    #[schema(example = "mug-blue", max_length = 64)]
    pub(super) sku: String,
    #[schema(minimum = 1, maximum = 999, example = 2)]
    pub(super) quantity: u32,
    /// Every option of the product, chosen.
    #[serde(default)]
    pub(super) options: BTreeMap<String, String>,
    /// Up to 20 names and 1 KiB in all; values are strings, numbers or booleans.
    #[serde(default)]
    pub(super) metadata: BTreeMap<String, serde_json::Value>,
}

/// A new quantity.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SetQuantity {
    /// 0 removes the line.
    #[schema(minimum = 0, maximum = 999, example = 3)]
    pub(super) quantity: u32,
}

/// What is left out stays as it is; `null` erases.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PatchCart {
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, max_length = 2000)]
    pub(super) note: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, max_length = 254)]
    pub(super) email: Option<Option<String>>,
}

/// Tells `null` from absence.
fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// A ticket for one event stream.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Ticket {
    /// Goes into the stream's address as `?ticket=`.
    pub(super) ticket: String,
    /// Seconds until it expires.
    #[schema(example = 900)]
    pub(super) expires_in: u64,
}
