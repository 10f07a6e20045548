//! The shop's tables of shipping and tax, read from TOML.

use std::collections::HashSet;

use serde::Deserialize;
use toml::Spanned;

use super::jsonl::Fault;
use crate::domain::{
    Currency,
    address::Country,
    pricing::{BASIS_POINTS_MAX, Rate, Shipping, Tables, Tax, UpTo},
    product::UNIT_PRICE_MAX,
};

/// The tables of a shop that names no file of its own.
const BUILT_IN: &str = include_str!("tables.toml");
/// Largest file of tables that is read: far more than any shop's.
pub const TABLES_BYTES_MAX: u64 = 1024 * 1024;
/// Most ways of shipping: each is looked at for every quote.
const SHIPPING_MAX: usize = 200;
/// Most rates of one way.
const RATES_MAX: usize = 50;
/// Most taxes: each is looked at for every line of a quote.
const TAXES_MAX: usize = 2_000;
/// Longest name of anything: what the catalogue allows for a category.
const NAME_BYTES_MAX: usize = 64;
/// Longest title of a way of shipping.
const TITLE_BYTES_MAX: usize = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    tax_included: bool,
    #[serde(default)]
    shipping: Vec<WrittenShipping>,
    #[serde(default)]
    tax: Vec<WrittenTax>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenShipping {
    id: Spanned<String>,
    title: Spanned<String>,
    countries: Option<Vec<Spanned<String>>>,
    currency: Spanned<String>,
    rates: Spanned<Vec<WrittenRate>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRate {
    up_to_weight_g: Option<Spanned<i64>>,
    up_to_total: Option<Spanned<i64>>,
    price: Spanned<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenTax {
    country: Spanned<String>,
    region: Option<Spanned<String>>,
    category: Option<Spanned<String>>,
    basis_points: Spanned<i64>,
}

/// The built-in tables.
///
/// # Errors
/// Never: a test rules it out.
pub fn built_in_tables() -> Result<Tables, Fault> {
    parse_tables(BUILT_IN)
}

/// Reads tables.
///
/// # Errors
/// The first thing that is wrong, with its line and field.
pub fn parse_tables(text: &str) -> Result<Tables, Fault> {
    let line =
        |offset: usize| text.as_bytes()[..offset.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1;
    let fault = |offset: usize, what: String| Fault { line: line(offset), what };
    let written: Written = toml::from_str(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        fault(offset, format!("{}{}", field(text, offset), error.message()))
    })?;
    check(written).map_err(|(offset, what)| fault(offset, what))
}

/// The field that a fault at this place is about: its own name, or the one that the value there is given to.
fn field(text: &str, offset: usize) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let (before, rest) = text.split_at_checked(offset).unwrap_or((text, ""));
    let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
    let (first, behind) = rest.split_at(end);
    let name = if behind.trim_start().starts_with('=') {
        first
    } else {
        let line = before.rsplit('\n').next().unwrap_or_default();
        let (given_to, _) = line.rsplit_once('=').unwrap_or_default();
        given_to.trim_end().rsplit(|c| !is_part(c)).next().unwrap_or_default()
    };
    if name.is_empty() { String::new() } else { format!("{name}: ") }
}

type Wrong = (usize, String);

fn check(written: Written) -> Result<Tables, Wrong> {
    let Written { tax_included, shipping, tax } = written;
    if let Some(way) = shipping.get(SHIPPING_MAX) {
        return Err((way.id.span().start, format!("shipping: at most {SHIPPING_MAX}")));
    }
    if let Some(one) = tax.get(TAXES_MAX) {
        return Err((one.country.span().start, format!("tax: at most {TAXES_MAX}")));
    }
    let shipping = shipping.into_iter().map(way).collect::<Result<_, _>>()?;
    let mut seen = HashSet::new();
    let mut taxes = Vec::with_capacity(tax.len());
    for written in tax {
        let start = written.country.span().start;
        let tax = one_tax(written)?;
        if !seen.insert((tax.country, tax.region.as_deref().map(str::to_ascii_lowercase), tax.category.clone())) {
            return Err((start, "country: there is a tax for this country, region and category already".to_owned()));
        }
        taxes.push(tax);
    }
    Ok(Tables { shipping, taxes, tax_included })
}

fn way(written: WrittenShipping) -> Result<Shipping, Wrong> {
    let rates_at = written.rates.span().start;
    let rates = written.rates.into_inner();
    if rates.is_empty() || rates.len() > RATES_MAX {
        return Err((rates_at, format!("rates: 1 to {RATES_MAX}")));
    }
    let rates: Vec<Rate> = rates.into_iter().map(rate).collect::<Result<_, _>>()?;
    // Behind one that always holds, no other is ever looked at.
    if rates.iter().rev().skip(1).any(|rate| rate.up_to.is_none()) {
        return Err((rates_at, "rates: only the last may be without a bound".to_owned()));
    }
    let countries = written.countries.map(|codes| codes.iter().map(|code| country("countries", code)).collect());
    let currency = Currency::parse(written.currency.get_ref())
        .map_err(|error| (written.currency.span().start, format!("currency: {error}")))?;
    Ok(Shipping {
        id: name("id", &written.id, NAME_BYTES_MAX)?,
        title: name("title", &written.title, TITLE_BYTES_MAX)?,
        countries: countries.transpose()?,
        currency,
        rates,
    })
}

fn rate(written: WrittenRate) -> Result<Rate, Wrong> {
    let WrittenRate { up_to_weight_g, up_to_total, price } = written;
    let up_to = match (up_to_weight_g, up_to_total) {
        (Some(_), Some(total)) => {
            return Err((total.span().start, "up_to_total: a rate has one bound, weight or total".to_owned()));
        }
        (Some(grams), None) => {
            let from_zero = |grams| u64::try_from(grams).map_err(|_| "must be 0 or more".to_owned());
            Some(UpTo::WeightG(from_zero(*grams.get_ref()).map_err(|what| at("up_to_weight_g", &grams, what))?))
        }
        (None, Some(total)) => Some(UpTo::Total(within("up_to_total", &total, i64::MAX)?)),
        (None, None) => None,
    };
    Ok(Rate { up_to, price: within("price", &price, UNIT_PRICE_MAX)? })
}

fn one_tax(written: WrittenTax) -> Result<Tax, Wrong> {
    let basis_points = within("basis_points", &written.basis_points, BASIS_POINTS_MAX.into())?;
    Ok(Tax {
        country: country("country", &written.country)?,
        region: written.region.map(|region| name("region", &region, NAME_BYTES_MAX)).transpose()?,
        category: written.category.map(|category| name("category", &category, NAME_BYTES_MAX)).transpose()?,
        // `within` its bound, it fits.
        basis_points: u16::try_from(basis_points).unwrap_or(BASIS_POINTS_MAX),
    })
}

fn at<T>(field: &str, place: &Spanned<T>, what: String) -> Wrong {
    (place.span().start, format!("{field}: {what}"))
}

fn country(field: &str, code: &Spanned<String>) -> Result<Country, Wrong> {
    let what = "a country is two upper-case letters (ISO 3166-1)";
    Country::parse(code.get_ref()).ok_or_else(|| at(field, code, what.to_owned()))
}

fn name(field: &str, text: &Spanned<String>, bytes_max: usize) -> Result<Box<str>, Wrong> {
    let name = text.get_ref();
    if name.trim().is_empty() || name.trim() != name || name.len() > bytes_max || name.chars().any(char::is_control) {
        let what = format!("must be 1 to {bytes_max} bytes without control characters or spaces around them");
        return Err(at(field, text, what));
    }
    Ok(name.as_str().into())
}

fn within(field: &str, number: &Spanned<i64>, max: i64) -> Result<i64, Wrong> {
    let value = *number.get_ref();
    if (0..=max).contains(&value) { Ok(value) } else { Err(at(field, number, format!("must be 0 to {max}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::address::Address;

    fn to(country: &str) -> Address {
        let text = || Box::from("x");
        let country = Country::parse(country).unwrap();
        Address { name: text(), line1: text(), line2: None, city: text(), region: None, postal_code: text(), country }
    }

    #[test]
    fn the_built_in_tables_ship_everywhere_and_tax_some_countries() {
        let tables = built_in_tables().unwrap();
        for (country, standard, express) in
            [("DE", 490, 1290), ("PT", 490, 1290), ("US", 1490, 2990), ("NZ", 1990, 3990)]
        {
            let offers = tables.offers(&to(country), Currency::EUR, 350, 1299);
            let prices: Vec<_> = offers.iter().map(|offer| (&*offer.id, offer.price)).collect();
            assert_eq!(prices, [("standard", standard), ("express", express)], "{country}");
        }
        let tax = |country, category: &str| tables.tax_basis_points(&to(country), &[category.into()]);
        assert_eq!([tax("DE", "mugs"), tax("DE", "books"), tax("US", "mugs")], [1900, 700, 0]);
        assert!(tables.tax_included);
    }

    const WAY: &str = "tax_included = false\n[[shipping]]\nid = \"a\"\ntitle = \"A\"\ncurrency = \"EUR\"\n";

    #[test]
    fn what_is_written_is_what_is_read() {
        let text = format!(
            "{WAY}rates = [{{ up_to_total = 4999, price = 490 }}, {{ price = 0 }}]\n\
             [[tax]]\ncountry = \"US\"\nregion = \"NY\"\ncategory = \"books\"\nbasis_points = 888"
        );
        let tables = parse_tables(&text).unwrap();
        let rates = vec![Rate { up_to: Some(UpTo::Total(4999)), price: 490 }, Rate { up_to: None, price: 0 }];
        let way = Shipping { id: "a".into(), title: "A".into(), countries: None, currency: Currency::EUR, rates };
        let (region, category) = (Some("NY".into()), Some("books".into()));
        let tax = Tax { country: Country::parse("US").unwrap(), region, category, basis_points: 888 };
        assert_eq!(tables, Tables { shipping: vec![way], taxes: vec![tax], tax_included: false });
        assert_eq!(parse_tables("tax_included = true").unwrap().shipping, [], "a shop may ship nothing");
    }

    #[test]
    fn faults_name_line_and_field() {
        let way = |rest: &str| format!("{WAY}{rest}");
        let tax = |rest: &str| format!("tax_included = true\n[[tax]]\n{rest}");
        let table = [
            (String::new(), "line 1: missing field `tax_included`"),
            ("tax_included = 1".to_owned(), "line 1: tax_included: invalid type"),
            ("tax_included = true\ncolour = 1".to_owned(), "line 2: colour: unknown field"),
            ("tax_included = true\n[[tax]".to_owned(), "line 2: "),
            (way("rates = [{ price = \"4\" }]"), "line 6: price: invalid type"),
            (way("rates = [\n  { price = 1, up_to = 2 },\n]"), "line 7: up_to: unknown field"),
            (way("rates = []"), "line 6: rates: 1 to 50"),
            (way("rates = [{ price = -1 }]"), "line 6: price: must be 0 to"),
            (way("rates = [{ price = 1, up_to_weight_g = -1 }]"), "line 6: up_to_weight_g: must be 0"),
            (
                way("rates = [{ price = 1, up_to_total = 1, up_to_weight_g = 1 }]"),
                "line 6: up_to_total: a rate has one",
            ),
            (way("rates = [{ price = 1 }, { price = 2 }]"), "line 6: rates: only the last"),
            (way("rates = [{ price = 1 }]\ncountries = [\n\"DE\",\n\"de\"]"), "line 9: countries: a country is two"),
            (way("rates = [{ price = 1 }]").replace("EUR", "euro"), "line 5: currency: a currency is three"),
            (way("rates = [{ price = 1 }]").replace("\"A\"", "\" \""), "line 4: title: must be 1 to 200"),
            (tax("country = \"DE\"\nbasis_points = 10001"), "line 4: basis_points: must be 0 to 10000"),
            (tax("country = \"Germany\"\nbasis_points = 1"), "line 3: country: a country is two"),
            (
                tax("country = \"DE\"\nbasis_points = 1\n[[tax]]\ncountry = \"DE\"\nbasis_points = 2"),
                "line 6: country: there is a tax for this",
            ),
        ];
        for (text, expected) in table {
            let fault = parse_tables(&text).unwrap_err().to_string();
            assert!(fault.starts_with(expected), "{text}\n{fault}");
        }
    }
}
