//! Every event type: its number, its name, its data and the schema of that data, in one table.
//!
//! The data is small: ids, SKUs, quantities, amounts in minor units, words. No token, address, e-mail, note or title has a
//! field to be in. Whoever needs more asks the API for the resource that the event names.

use serde_json::{Map, Value, json};

use super::field::{Field, Word};
use crate::domain::{CartId, CheckoutId, Currency, OrderId, UnixMillis, cart::LineId};

macro_rules! events {
    ($($(#[doc = $doc:literal])+ $kind:ident = $number:literal, $name:literal {
        $($(#[doc = $field_doc:literal])+ $field:ident: $type:ty,)*
    })+) => {
        /// What kind of thing happened. The numbers are persistent: actors keep them in their rows.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum EventType {
            $($(#[doc = $doc])+ $kind = $number,)+
        }

        impl EventType {
            /// Every type, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)+];

            /// The type with this number.
            #[must_use]
            pub fn from_number(number: u16) -> Option<Self> {
                Self::ALL.iter().copied().find(|kind| *kind as u16 == number)
            }

            /// As consumers read it: what happened to what, and the version of its data.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => concat!("trolley.", $name, ".v1"),)+
                }
            }

            /// The URI that names the schema of its data.
            #[must_use]
            pub const fn schema_uri(self) -> &'static str {
                match self {
                    $(Self::$kind => concat!("urn:trolley:events:", $name, ".v1"),)+
                }
            }

            /// The JSON Schema of its data. New optional fields may come; anything else makes a v2.
            #[must_use]
            pub fn schema(self) -> Value {
                let (mut fields, mut required) = (Map::new(), Vec::new());
                let doc = match self {
                    $(Self::$kind => {
                        $(describe::<$type>(stringify!($field), concat!($($field_doc),+), &mut fields, &mut required);)*
                        concat!($($doc),+)
                    })+
                };
                json!({
                    "$schema": "https://json-schema.org/draft/2020-12/schema",
                    "$id": self.schema_uri(),
                    "title": self.name(),
                    "description": doc.trim(),
                    "type": "object",
                    "properties": fields,
                    "required": required,
                })
            }
        }

        /// What happened, with what a consumer needs to act on it.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Data {
            $($(#[doc = $doc])+ $kind { $($(#[doc = $field_doc])+ $field: $type,)* },)+
        }

        impl Data {
            /// Its type.
            #[must_use]
            pub const fn kind(&self) -> EventType {
                match self {
                    $(Self::$kind { .. } => EventType::$kind,)+
                }
            }

            /// Its JSON.
            #[must_use]
            pub fn json(&self) -> Value {
                let fields: Vec<(&str, Option<Value>)> = match self {
                    $(Self::$kind { $($field,)* } => vec![$((stringify!($field), $field.json()),)*],)+
                };
                fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
            }

            /// One of each type, as long as they come.
            #[cfg(test)]
            pub(super) fn longest() -> Vec<Self> {
                vec![$(Self::$kind { $($field: Field::longest(),)* },)+]
            }
        }
    };
}

events! {
    /// A cart was made.
    CartCreated = 1, "cart.created" {
        /// Of every price in it.
        currency: Currency,
    }
    /// A new line came into a cart.
    CartLineAdded = 2, "cart.line_added" {
        /// Its name within the cart.
        line: LineId,
        /// Which product.
        sku: Word,
        /// How many.
        quantity: u32,
        /// Price of one unit that the shopper saw, in minor units.
        unit_price: i64,
    }
    /// A line's quantity changed.
    CartLineChanged = 3, "cart.line_changed" {
        /// Its name within the cart.
        line: LineId,
        /// How many from now on.
        quantity: u32,
        /// Price of one unit from now on, in minor units, where the change brought one.
        unit_price: Option<i64>,
    }
    /// A line left a cart.
    CartLineRemoved = 4, "cart.line_removed" {
        /// Its name within the cart.
        line: LineId,
    }
    /// Every line left a cart; saved ones stayed.
    CartCleared = 5, "cart.cleared" {}
    /// A line was saved for later.
    CartLineSaved = 6, "cart.line_saved" {
        /// Its name within the cart.
        line: LineId,
    }
    /// A saved line came back into the cart.
    CartLineRestored = 7, "cart.line_restored" {
        /// Its name within the cart.
        line: LineId,
        /// The equal line that took its units, where there was one.
        into: Option<LineId>,
        /// That line's quantity from now on.
        quantity: Option<u32>,
    }
    /// A cart's note or e-mail address was set; neither is told here.
    CartPatched = 8, "cart.patched" {}
    /// A cart's shopper ended it.
    CartClosed = 9, "cart.closed" {}
    /// Time ended a cart.
    CartExpired = 10, "cart.expired" {}
    /// A discount code was applied to a cart.
    CartCodeApplied = 11, "cart.code_applied" {
        /// Which code.
        code: Word,
    }
    /// A discount code was taken off a cart.
    CartCodeRemoved = 12, "cart.code_removed" {
        /// Which code.
        code: Word,
    }
    /// A checkout of a cart began.
    CartCheckoutBegun = 13, "cart.checkout_begun" {
        /// Which checkout.
        checkout: CheckoutId,
    }
    /// A checkout of a cart ended without an order; the cart is open again.
    CartCheckoutLeft = 14, "cart.checkout_left" {
        /// Which checkout.
        checkout: CheckoutId,
    }
    /// A checkout of a cart was completed: what was bought left the cart.
    CartOrdered = 15, "cart.ordered" {
        /// Which checkout.
        checkout: CheckoutId,
        /// Lines that stayed, having come in meanwhile.
        lines_left: u32,
    }

    /// A checkout was opened.
    CheckoutOpened = 101, "checkout.opened" {
        /// Of which cart.
        cart: CartId,
        /// Of every amount in it.
        currency: Currency,
        /// What it would cost by now, in minor units.
        total: i64,
        /// When it expires unless something happens before.
        expires_at: UnixMillis,
    }
    /// A checkout's e-mail address, address or shipping option was set; only the sum is told here.
    CheckoutUpdated = 102, "checkout.updated" {
        /// Of the amount.
        currency: Currency,
        /// What it costs from now on, in minor units.
        total: i64,
    }
    /// A shopper began to pay.
    CheckoutPaymentStarted = 103, "checkout.payment_started" {
        /// Which attempt.
        attempt: u32,
        /// By which gateway.
        gateway: Word,
        /// Of the amount.
        currency: Currency,
        /// How much, in minor units.
        amount: i64,
    }
    /// A payment waits for its shopper.
    CheckoutActionRequired = 104, "checkout.action_required" {
        /// Which attempt.
        attempt: u32,
    }
    /// A payment did not come about; the checkout is open again.
    CheckoutPaymentFailed = 105, "checkout.payment_failed" {
        /// Which attempt.
        attempt: u32,
        /// Why, in a word: declined, unavailable, abandoned, or the gateway's own.
        reason: Word,
    }
    /// A checkout became an order.
    CheckoutCompleted = 106, "checkout.completed" {
        /// Which order.
        order: OrderId,
        /// Of the amount.
        currency: Currency,
        /// What it cost, in minor units.
        total: i64,
    }
    /// A checkout ended without an order.
    CheckoutEnded = 107, "checkout.ended" {
        /// How: cancelled, expired, refused.
        status: Word,
    }

    /// An order was placed.
    OrderPlaced = 201, "order.placed" {
        /// The number that people say.
        number: Word,
        /// Of which checkout.
        checkout: CheckoutId,
        /// Of every amount in it.
        currency: Currency,
        /// What it costs, in minor units.
        total: i64,
        /// How many lines it has.
        lines: u32,
    }
    /// An order's money was captured.
    OrderPaid = 202, "order.paid" {
        /// Of the amount.
        currency: Currency,
        /// How much was captured, in minor units.
        amount: i64,
    }
    /// Goods of an order were sent.
    OrderFulfilled = 203, "order.fulfilled" {
        /// Which shipment of the order.
        shipment: u32,
        /// How many units went with it.
        quantity: u32,
        /// The order's status from now on.
        status: Word,
    }
    /// An order was cancelled.
    OrderCancelled = 204, "order.cancelled" {
        /// Why, in a word.
        reason: Word,
    }
    /// Goods of an order came back.
    OrderReturned = 205, "order.returned" {
        /// How many units came back.
        quantity: u32,
        /// The order's status from now on.
        status: Word,
    }
    /// Money of an order was given back.
    OrderRefunded = 206, "order.refunded" {
        /// Of the amount.
        currency: Currency,
        /// How much this time, in minor units.
        amount: i64,
        /// How much altogether, in minor units.
        refunded: i64,
    }

    /// Units of a product were put aside for a checkout.
    StockHeld = 301, "stock.held" {
        /// Which product.
        sku: Word,
        /// How many.
        quantity: u32,
        /// How many can be had from now on.
        available: u32,
        /// For whom, a checkout or an order, and which of its deeds.
        by: Word,
    }
    /// Units that were put aside can be had again.
    StockReleased = 302, "stock.released" {
        /// Which product.
        sku: Word,
        /// How many.
        quantity: u32,
        /// How many can be had from now on.
        available: u32,
        /// Who had them, and by which deed; absent when it was time that let go of several.
        by: Option<Word>,
    }
    /// Units that were put aside are sold.
    StockSold = 303, "stock.sold" {
        /// Which product.
        sku: Word,
        /// How many.
        quantity: u32,
        /// To whom, and by which deed.
        by: Word,
    }
    /// Sold units left the house.
    StockShipped = 304, "stock.shipped" {
        /// Which product.
        sku: Word,
        /// How many.
        quantity: u32,
        /// For whom, and by which deed.
        by: Word,
    }
    /// Units of a cancelled or returned order can be had again.
    StockRestocked = 305, "stock.restocked" {
        /// Which product.
        sku: Word,
        /// How many.
        quantity: u32,
        /// How many can be had from now on.
        available: u32,
        /// Whose they were, and by which deed.
        by: Word,
    }
    /// Somebody counted, received or wrote off.
    StockAdjusted = 306, "stock.adjusted" {
        /// Which product.
        sku: Word,
        /// By how many: negative when they became fewer.
        change: i64,
        /// How many can be had from now on.
        available: u32,
        /// Why, in a word.
        reason: Word,
    }
    /// What shoppers are told of a product's stock changed.
    StockLevelChanged = 307, "stock.level_changed" {
        /// Which product.
        sku: Word,
        /// out, low or in_stock.
        level: Word,
        /// How many can be had from now on.
        available: u32,
    }
}

fn describe<T: Field>(name: &str, doc: &str, fields: &mut Map<String, Value>, required: &mut Vec<String>) {
    let mut schema = T::schema();
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("description".to_owned(), Value::from(doc.trim()));
    }
    fields.insert(name.to_owned(), schema);
    if !T::OPTIONAL {
        required.push(name.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_and_numbers_are_unique_and_numbers_are_found_again() {
        let names: HashSet<&str> = EventType::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), EventType::ALL.len());
        for kind in EventType::ALL {
            assert_eq!(EventType::from_number(*kind as u16), Some(*kind));
        }
        assert_eq!(EventType::from_number(0), None);
    }

    #[test]
    fn every_type_has_its_published_schema() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/events");
        for kind in EventType::ALL {
            let path = dir.join(format!("{}.json", kind.name()));
            let published: Value =
                serde_json::from_slice(&std::fs::read(&path).unwrap_or_else(|_| panic!("{}", path.display()))).unwrap();
            assert_eq!(published, kind.schema(), "run: cargo run --example event_schemas");
        }
        assert_eq!(std::fs::read_dir(dir).unwrap().count(), EventType::ALL.len(), "a schema without a type");
    }

    #[test]
    fn data_holds_what_its_schema_says() {
        for data in Data::longest() {
            let (json, schema) = (data.json(), data.kind().schema());
            jsonschema::validate(&schema, &json).unwrap_or_else(|error| panic!("{data:?}: {error}"));
            for name in json.as_object().unwrap().keys() {
                assert!(schema["properties"].get(name).is_some(), "{name} of {data:?} is not in its schema");
            }
        }
    }

    #[test]
    fn what_is_unknown_is_left_out() {
        let data = Data::CartLineChanged { line: LineId(1), quantity: 2, unit_price: None };
        assert_eq!(data.json(), json!({"line": "l1", "quantity": 2}));
    }
}
