//! The products as the service lists them: what can be added to a cart, in every variant.

use std::{io, sync::Arc, time::Instant};

use serde_json::{Map, Value, json};

use crate::shopper::{Shopper, World};

/// Most pages of the catalogue that are read: a thousand products are enough for any cart.
const PAGES_MAX: usize = 10;
/// Units of a product that shoppers must be able to have in one cart.
const QUANTITY_NEEDED: u64 = 900;
/// Most variants of one product: as many as a cart may have lines.
const VARIANTS_MAX: usize = 100;

/// A product in one choice of its options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// The product.
    pub sku: String,
    /// What is chosen, as JSON.
    pub options: String,
}

impl Variant {
    /// A product without options.
    #[must_use]
    pub fn plain(sku: &str) -> Self {
        Self { sku: sku.to_owned(), options: "{}".to_owned() }
    }
}

/// Everything that can be had in any number.
///
/// # Errors
/// When the catalogue cannot be read, or has nothing.
pub async fn read(world: &Arc<World>) -> io::Result<Vec<Variant>> {
    let (mut all, mut path) = (Vec::new(), "/v1/products?limit=100".to_owned());
    for _ in 0..PAGES_MAX {
        let page = Shopper::new(world, Instant::now()).read("list", &path).await;
        let page = page.ok_or_else(|| io::Error::other("the catalogue cannot be read"))?.json();
        all.extend(page["items"].as_array().into_iter().flatten().flat_map(variants));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/products?limit=100&cursor={cursor}");
    }
    // Each product's first variant comes first: shoppers choose among many products.
    all.sort_by_key(|(nth, _)| *nth);
    if all.is_empty() {
        return Err(io::Error::other("the catalogue has no product in stock"));
    }
    Ok(all.into_iter().map(|(_, variant)| variant).collect())
}

/// A product's variants, counted.
fn variants(product: &Value) -> Vec<(usize, Variant)> {
    let is_fit = product["availability"] != "out_of_stock" && product["quantity_max"].as_u64() >= Some(QUANTITY_NEEDED);
    let Some(sku) = product["sku"].as_str().filter(|_| is_fit) else { return Vec::new() };
    let mut choices = vec![Map::new()];
    for (option, values) in product["options"].as_object().into_iter().flatten() {
        let values: Vec<_> = values.as_array().into_iter().flatten().collect();
        let with = |choice: &Map<String, Value>, value: &Value| {
            let mut choice = choice.clone();
            choice.insert(option.clone(), value.clone());
            choice
        };
        choices = choices.iter().flat_map(|choice| values.iter().map(|value| with(choice, value))).collect();
        choices.truncate(VARIANTS_MAX);
    }
    let variant = |options| Variant { sku: sku.to_owned(), options: json!(options).to_string() };
    choices.into_iter().map(variant).enumerate().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_has_a_variant_for_each_choice_of_its_options() {
        let options = json!({ "colour": ["red"], "size": ["S", "M"] });
        let product = json!({ "sku": "shirt", "availability": "in_stock", "quantity_max": 999, "options": options });
        let found: Vec<_> = variants(&product).into_iter().map(|(_, variant)| variant.options).collect();
        assert_eq!(found, [r#"{"colour":"red","size":"S"}"#, r#"{"colour":"red","size":"M"}"#]);
    }

    #[test]
    fn what_is_short_is_left_alone() {
        let product = |availability, most| json!({ "sku": "mug", "availability": availability, "quantity_max": most });
        assert!(variants(&product("out_of_stock", 999)).is_empty());
        assert!(variants(&product("low", 2)).is_empty());
        assert_eq!(variants(&product("low", 999)), [(0, Variant::plain("mug"))]);
    }
}
