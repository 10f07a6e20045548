//! The catalogue's file format: JSON Lines, one product per line, as the public contract writes a product.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use crate::domain::{
    Currency, Money,
    cart::QUANTITY_MAX,
    product::{Availability, Product, UNIT_PRICE_MAX},
};

/// Most products of a catalogue: every node keeps it whole in memory, at about 1 KiB each.
pub const PRODUCTS_MAX: usize = 100_000;
/// Most faults told of one file: enough to see the pattern.
const FAULTS_MAX: usize = 50;
const SKU_BYTES_MAX: usize = 64;
const TITLE_BYTES_MAX: usize = 200;
const DESCRIPTION_BYTES_MAX: usize = 4000;
const URL_BYTES_MAX: usize = 2000;
const OPTIONS_MAX: usize = 10;
const OPTION_VALUES_MAX: usize = 50;
const OPTION_BYTES_MAX: usize = 64;
const CATEGORIES_MAX: usize = 20;

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct Fault {
    /// Which line, from 1.
    pub line: usize,
    /// What is wrong, and where in it.
    pub what: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    sku: String,
    title: String,
    #[serde(default)]
    description: String,
    price: WrittenMoney,
    #[serde(default)]
    options: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    image_url: Option<String>,
    #[serde(default)]
    categories: Vec<String>,
    #[serde(default)]
    availability: WrittenAvailability,
    #[serde(default = "quantity_max")]
    quantity_max: u16,
    #[serde(default)]
    weight_g: u32,
    #[serde(default)]
    stock: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenMoney {
    amount: i64,
    currency: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "snake_case")]
enum WrittenAvailability {
    #[default]
    InStock,
    Low,
    OutOfStock,
}

const fn quantity_max() -> u16 {
    QUANTITY_MAX
}

/// Every product of a file.
///
/// # Errors
/// Every fault found, up to a bound; nothing of such a file is used.
pub fn parse(file: &[u8]) -> Result<Vec<Product>, Vec<Fault>> {
    let (mut products, mut faults) = (Vec::<Product>::new(), Vec::new());
    let mut seen: HashMap<Box<str>, usize> = HashMap::new();
    for (n, line) in file.split(|byte| *byte == b'\n').enumerate() {
        let line_number = n + 1;
        let mut fault = |what: String| faults.push(Fault { line: line_number, what });
        if line.trim_ascii().is_empty() {
            continue;
        }
        match parse_product(line) {
            Err(what) => fault(what),
            Ok(product) => {
                if let Some(first) = seen.insert(product.sku.clone(), line_number) {
                    fault(format!("/sku: {:?} is on line {first} already", product.sku));
                } else if let Some(first) = products.first()
                    && first.price.currency != product.price.currency
                {
                    let (this, others) = (product.price.currency, first.price.currency);
                    fault(format!(
                        "/price/currency: {this}, while line 1 on are in {others}: one catalogue has one currency"
                    ));
                } else {
                    products.push(product);
                }
            }
        }
        if products.len() > PRODUCTS_MAX {
            fault(format!("more than {PRODUCTS_MAX} products"));
        }
        if faults.len() >= FAULTS_MAX || products.len() > PRODUCTS_MAX {
            break;
        }
    }
    if products.is_empty() && faults.is_empty() {
        faults.push(Fault { line: 1, what: "the file holds no product".to_owned() });
    }
    if faults.is_empty() { Ok(products) } else { Err(faults) }
}

/// One product.
///
/// # Errors
/// What is wrong, with a JSON pointer.
pub fn parse_product(line: &[u8]) -> Result<Product, String> {
    let mut json = serde_json::Deserializer::from_slice(line);
    let written: Written = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let pointer =
            if matches!(path.as_str(), "." | "?") { String::new() } else { format!("/{}: ", path.replace('.', "/")) };
        format!("{pointer}{}", error.into_inner())
    })?;
    json.end().map_err(|error| error.to_string())?;
    check(written)
}

fn check(written: Written) -> Result<Product, String> {
    let Written { sku, title, description, price, options, image_url, categories, .. } = written;
    let (availability, quantity_max) = (written.availability, written.quantity_max);
    let sku_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if sku.is_empty() || sku.len() > SKU_BYTES_MAX || !sku.chars().all(sku_char) {
        return Err(format!("/sku: must be 1–{SKU_BYTES_MAX} of A–Z a–z 0–9 . _ -"));
    }
    text("/title", &title, 1, TITLE_BYTES_MAX)?;
    text("/description", &description, 0, DESCRIPTION_BYTES_MAX)?;
    let currency = Currency::parse(&price.currency).map_err(|error| format!("/price/currency: {error}"))?;
    if !(0..=UNIT_PRICE_MAX).contains(&price.amount) {
        return Err(format!("/price/amount: must be 0 to {UNIT_PRICE_MAX} minor units"));
    }
    if options.len() > OPTIONS_MAX {
        return Err(format!("/options: at most {OPTIONS_MAX}"));
    }
    for (name, values) in &options {
        text("/options (a name)", name, 1, OPTION_BYTES_MAX)?;
        if values.is_empty() || values.len() > OPTION_VALUES_MAX {
            return Err(format!("/options/{name}: 1 to {OPTION_VALUES_MAX} values"));
        }
        for value in values {
            text(&format!("/options/{name}"), value, 1, OPTION_BYTES_MAX)?;
        }
    }
    if let Some(url) = &image_url {
        text("/image_url", url, 1, URL_BYTES_MAX)?;
    }
    if categories.len() > CATEGORIES_MAX {
        return Err(format!("/categories: at most {CATEGORIES_MAX}"));
    }
    for category in &categories {
        text("/categories", category, 1, OPTION_BYTES_MAX)?;
    }
    if !(1..=QUANTITY_MAX).contains(&quantity_max) {
        return Err(format!("/quantity_max: must be 1 to {QUANTITY_MAX}"));
    }
    let boxed = |texts: Vec<String>| texts.into_iter().map(String::into_boxed_str).collect();
    Ok(Product {
        sku: sku.into(),
        title: title.into(),
        description: description.into(),
        price: Money { amount: price.amount, currency },
        options: options.into_iter().map(|(name, values)| (name.into(), boxed(values))).collect(),
        image_url: image_url.map(String::into_boxed_str),
        categories: boxed(categories),
        availability: match availability {
            WrittenAvailability::InStock => Availability::InStock,
            WrittenAvailability::Low => Availability::Low,
            WrittenAvailability::OutOfStock => Availability::OutOfStock,
        },
        quantity_max,
        weight_g: written.weight_g,
        stock: written.stock,
    })
}

fn text(pointer: &str, text: &str, bytes_min: usize, bytes_max: usize) -> Result<(), String> {
    if (bytes_min..=bytes_max).contains(&text.len()) && !text.chars().any(|c| c.is_control() && c != '\n') {
        return Ok(());
    }
    Err(format!("{pointer}: must be {bytes_min} to {bytes_max} bytes without control characters"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(file: &str) -> Vec<String> {
        parse(file.as_bytes()).unwrap_err().iter().map(Fault::to_string).collect()
    }

    const GOOD: &str = r#"{"sku":"a","title":"A","price":{"amount":1,"currency":"EUR"}}"#;

    #[test]
    fn faults_name_line_and_place() {
        let table = [
            ("{", "line 2: EOF"),
            (
                r#"{"sku":"b","title":"B","price":{"amount":"1","currency":"EUR"}}"#,
                "line 2: /price/amount: invalid type",
            ),
            (
                r#"{"sku":"b","title":"B","price":{"amount":1,"currency":"EUR"},"colour":1}"#,
                "line 2: /colour: unknown field",
            ),
            (r#"{"sku":"b c","title":"B","price":{"amount":1,"currency":"EUR"}}"#, "line 2: /sku: must be"),
            (r#"{"sku":"b","title":"B","price":{"amount":-1,"currency":"EUR"}}"#, "line 2: /price/amount: must be"),
            (r#"{"sku":"b","title":"B","price":{"amount":1,"currency":"USD"}}"#, "line 2: /price/currency: USD"),
            (
                r#"{"sku":"b","title":"B","price":{"amount":1,"currency":"EUR"},"quantity_max":0}"#,
                "line 2: /quantity_max",
            ),
            (
                r#"{"sku":"b","title":"B","price":{"amount":1,"currency":"EUR"},"stock":-1}"#,
                "line 2: /stock: invalid value",
            ),
            (GOOD, r#"line 2: /sku: "a" is on line 1 already"#),
        ];
        for (line, expected) in table {
            let found = faults(&format!("{GOOD}\n{line}"));
            assert!(found.len() == 1 && found[0].starts_with(expected), "{line}: {found:?}");
        }
        assert_eq!(faults(" \n"), ["line 1: the file holds no product"]);
    }

    #[test]
    fn weight_and_stock_may_be_left_out() {
        let facts = |line: &str| parse_product(line.as_bytes()).map(|product| (product.weight_g, product.stock));
        assert_eq!(facts(GOOD), Ok((0, 0)));
        let said = GOOD.replace(r#""sku":"a""#, r#""sku":"a","weight_g":350,"stock":1000"#);
        assert_eq!(facts(&said), Ok((350, 1000)));
    }

    #[test]
    fn all_faults_are_told_up_to_a_bound() {
        assert_eq!(faults("{\n{\n{").len(), 3);
        assert_eq!(faults(&"{\n".repeat(200)).len(), FAULTS_MAX);
    }
}
