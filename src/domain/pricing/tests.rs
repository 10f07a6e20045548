//! One worked example per rule of `docs/pricing.md`, and what holds for every purchase.

use proptest::prelude::*;

use super::*;
use crate::domain::{
    Currency, UnixMillis,
    address::{Address, Country},
    cart::LineId,
    discount::{Rule, Worth},
};

const NOW: UnixMillis = UnixMillis(1_000);

fn dollars() -> Currency {
    Currency::parse("USD").unwrap()
}

fn country(code: &str) -> Country {
    Country::parse(code).unwrap()
}

fn address(code: &str, region: Option<&str>) -> Address {
    Address {
        name: "N".into(),
        line1: "L".into(),
        line2: None,
        city: "C".into(),
        region: region.map(Box::from),
        postal_code: "1".into(),
        country: country(code),
    }
}

fn rule(code: &str, worth: Worth) -> Rule {
    Rule {
        code: code.into(),
        worth,
        currency: Currency::EUR,
        per_line: false,
        categories: vec![],
        minimum: 0,
        valid_from: None,
        valid_until: None,
        uses_max: None,
        uses_per_shopper_max: None,
    }
}

fn percent_off(code: &str, basis_points: u16) -> Rule {
    rule(code, Worth::Percent { basis_points })
}

fn fixed(code: &str, amount: i64) -> Rule {
    rule(code, Worth::Fixed { amount })
}

fn free_shipping() -> Rule {
    rule("FREE", Worth::FreeShipping)
}

fn tax(code: &str, region: Option<&str>, category: Option<&str>, basis_points: u16) -> Tax {
    Tax { country: country(code), region: region.map(Box::from), category: category.map(Box::from), basis_points }
}

fn way(id: &str, countries: Option<&[&str]>, rates: Vec<Rate>) -> Shipping {
    let countries = countries.map(|codes| codes.iter().map(|code| country(code)).collect());
    Shipping { id: id.into(), title: id.into(), countries, currency: Currency::EUR, rates }
}

fn flat(price: i64) -> Rate {
    Rate { up_to: None, price }
}

fn tables() -> Tables {
    let up_to = |up_to, price| Rate { up_to: Some(up_to), price };
    Tables {
        shipping: vec![
            way("standard", Some(&["DE"]), vec![up_to(UpTo::Total(4_999), 490), flat(0)]),
            way("standard", None, vec![up_to(UpTo::WeightG(1_000), 1_490), up_to(UpTo::WeightG(5_000), 2_490)]),
            way("express", Some(&["DE"]), vec![flat(1_190)]),
        ],
        taxes: vec![
            tax("DE", None, None, 1_900),
            tax("DE", None, Some("books"), 700),
            tax("US", Some("NY"), None, 888),
            tax("US", None, Some("books"), 100),
            tax("US", Some("NY"), Some("books"), 0),
        ],
        tax_included: true,
    }
}

/// What is asked, owned: `(unit price, quantity, category, weight)` each.
#[derive(Clone, Debug)]
struct Basket {
    items: Vec<(i64, u16, &'static str, u32)>,
    rules: Vec<Rule>,
    to: Option<Address>,
    option: Option<&'static str>,
    tables: Tables,
}

impl Basket {
    fn of(prices: &[i64], rules: &[Rule]) -> Self {
        let items = prices.iter().map(|price| (*price, 1, "", 0)).collect();
        Self { items, rules: rules.to_vec(), to: None, option: None, tables: tables() }
    }

    fn to(self, code: &str, option: Option<&'static str>) -> Self {
        Self { to: Some(address(code, None)), option, ..self }
    }

    fn quoted(&self) -> Result<Quoted, Refusal> {
        let categories: Vec<[Box<str>; 1]> =
            self.items.iter().map(|(_, _, category, _)| [(*category).into()]).collect();
        let item = |(n, ((unit_price, quantity, _, weight_g), categories)): (usize, (&(i64, u16, _, u32), _))| Item {
            line: LineId(n as u32 + 1),
            quantity: *quantity,
            unit_price: *unit_price,
            categories,
            weight_g: *weight_g,
        };
        let categories = categories.iter().map(<[Box<str>; 1]>::as_slice);
        let items: Vec<Item<'_>> = self.items.iter().zip(categories).enumerate().map(item).collect();
        quote(&Request {
            currency: Currency::EUR,
            items: &items,
            rules: &self.rules,
            now: NOW,
            address: self.to.as_ref(),
            option: self.option,
            tables: &self.tables,
        })
    }

    fn quote(&self) -> Quote {
        self.quoted().unwrap().quote
    }
}

fn line_discounts(quote: &Quote) -> Vec<i64> {
    quote.lines.iter().map(|line| line.discount).collect()
}

fn code_amounts(quote: &Quote) -> Vec<i64> {
    quote.discounts.iter().map(|discounted| discounted.amount).collect()
}

#[test]
fn halves_are_rounded_up() {
    // 10 % of 25.95 is 2.595.
    assert_eq!(Basket::of(&[2_595], &[percent_off("TEN", 1_000)]).quote().discount, -260);
    assert_eq!((percent(15, 1_000), percent(25, 1_000), percent(14, 1_000)), (2, 3, 1));
    assert_eq!((percent(i64::MAX, 10_000), percent(-5, 1_000)), (i64::MAX, 0));
}

#[test]
fn a_sum_is_shared_by_largest_remainder() {
    // 10 % of 9.99 is 1.00; a third of it each would be 0.33⅓: the earliest gets the cent that is left.
    let quote = Basket::of(&[333, 333, 333], &[percent_off("TEN", 1_000)]).quote();
    assert_eq!((line_discounts(&quote), quote.discount), (vec![-34, -33, -33], -100));
    assert_eq!(allocate(10, &[2, 1, 3]), [3, 2, 5], "3⅓, 1⅔, 5: not the first, the largest");
    assert_eq!(allocate(5, &[0, 0]), [0, 0]);
    assert_eq!(allocate(5, &[0, 7, -3]), [0, 5, 0]);
}

#[test]
fn per_line_comes_before_the_sum_and_percentages_before_amounts() {
    let per_line = Rule { per_line: true, ..percent_off("LINE", 1_000) };
    let per_line_fixed = Rule { per_line: true, ..fixed("EACH", 100) };
    // Given in the wrong order: 10.00 and 20.00 → 10 % of each (9.00, 18.00) → 1.00 of each (8.00, 17.00) → half of 25.00
    // (12.50) → 2.00 of that.
    let rules = [fixed("TWO", 200), percent_off("HALF", 5_000), per_line_fixed, per_line];
    let quote = Basket::of(&[1_000, 2_000], &rules).quote();
    assert_eq!(code_amounts(&quote), [-200, -1_250, -200, -300], "told in the order given");
    assert_eq!((quote.subtotal, quote.discount, quote.total), (3_000, -1_950, 1_050));
}

#[test]
fn no_discount_goes_below_zero() {
    let basket = Basket::of(&[300, 200], &[fixed("BIG", 10_000), fixed("MORE", 1)]);
    let Quoted { quote, not_applied } = basket.quoted().unwrap();
    assert_eq!((code_amounts(&quote), quote.total), (vec![-500], 0));
    assert_eq!(not_applied, [NotApplied { code: "MORE".into(), reason: Reason::NothingLeft }]);
    let each = Basket::of(&[300, 200], &[Rule { per_line: true, ..fixed("EACH", 250) }]).quote();
    assert_eq!(line_discounts(&each), [-250, -200]);
}

#[test]
fn a_code_that_does_not_apply_says_why() {
    let table = [
        (Rule { currency: dollars(), ..fixed("A", 1) }, Reason::Currency(dollars())),
        (Rule { valid_from: Some(UnixMillis(1_001)), ..fixed("A", 1) }, Reason::NotYet),
        (Rule { valid_until: Some(NOW), ..fixed("A", 1) }, Reason::Over),
        (Rule { categories: vec!["pans".into()], ..fixed("A", 1) }, Reason::NoLine),
        (Rule { minimum: 1_001, ..fixed("A", 1) }, Reason::Minimum { minimum: 1_001, reached: 1_000 }),
        (Rule { minimum: 1_001, ..free_shipping() }, Reason::Minimum { minimum: 1_001, reached: 1_000 }),
    ];
    for (rule, reason) in table {
        let Quoted { quote, not_applied } = Basket::of(&[1_000], std::slice::from_ref(&rule)).quoted().unwrap();
        assert_eq!(not_applied, [NotApplied { code: rule.code, reason }]);
        assert_eq!((quote.discounts.len(), quote.discount), (0, 0));
    }
    let in_time = Rule { valid_from: Some(NOW), valid_until: Some(UnixMillis(1_001)), ..fixed("A", 1) };
    assert_eq!(Basket::of(&[1_000], &[in_time]).quote().discount, -1);
}

#[test]
fn a_code_for_some_categories_leaves_other_lines_alone_and_its_minimum_counts_only_them() {
    let mut basket = Basket::of(&[1_000, 2_000], &[Rule { categories: vec!["books".into()], ..fixed("READ", 300) }]);
    basket.items[1].2 = "books";
    assert_eq!(line_discounts(&basket.quote()), [0, -300]);
    basket.rules[0].minimum = 2_001;
    let reason = Reason::Minimum { minimum: 2_001, reached: 2_000 };
    assert_eq!(basket.quoted().unwrap().not_applied[0].reason, reason);
    // Before discounts: a code before it does not take its minimum away.
    basket.rules[0].minimum = 2_000;
    basket.rules.insert(0, Rule { per_line: true, ..percent_off("HALF", 5_000) });
    assert_eq!(basket.quote().discounts.len(), 2);
}

#[test]
fn shipping_goes_by_country_weight_and_what_is_paid_for_the_goods() {
    let titles = |quote: &Quote| quote.offers.iter().map(|o| (o.id.to_string(), o.price)).collect::<Vec<_>>();
    let offers = |of: &[(&str, i64)]| of.iter().map(|(id, price)| ((*id).to_owned(), *price)).collect::<Vec<_>>();
    assert_eq!(titles(&Basket::of(&[5_000], &[]).quote()), [], "no address yet");
    let home = |rules: &[Rule]| Basket::of(&[5_000], rules).to("DE", None).quote();
    assert_eq!(titles(&home(&[])), offers(&[("standard", 0), ("express", 1_190)]), "50.00 ship for nothing");
    assert_eq!(titles(&home(&[fixed("ONE", 1)])), offers(&[("standard", 490), ("express", 1_190)]), "49.99 do not");
    let away = |weight| {
        let mut basket = Basket::of(&[5_000], &[]).to("NZ", None);
        (basket.items[0].1, basket.items[0].3) = (2, weight);
        titles(&basket.quote())
    };
    assert_eq!([away(500), away(501)], [offers(&[("standard", 1_490)]), offers(&[("standard", 2_490)])]);
    assert_eq!(away(2_501), [], "too heavy for any rate");
    let foreign =
        Tables { shipping: vec![Shipping { currency: dollars(), ..tables().shipping[2].clone() }], ..tables() };
    assert_eq!(titles(&Basket { tables: foreign, ..Basket::of(&[1], &[]).to("DE", None) }.quote()), []);
}

#[test]
fn a_way_that_is_not_offered_is_refused() {
    let basket = Basket::of(&[1_000], &[]);
    assert_eq!(basket.clone().to("NZ", Some("express")).quoted(), Err(Refusal::OptionNotOffered));
    assert_eq!(Basket { option: Some("standard"), ..basket }.quoted(), Err(Refusal::OptionNotOffered));
}

#[test]
fn free_shipping_takes_off_the_chosen_way_and_no_goods() {
    let basket = Basket::of(&[1_000], &[free_shipping(), Rule { code: "TWICE".into(), ..free_shipping() }]);
    let none_chosen = basket.clone().to("DE", None).quote();
    assert_eq!((code_amounts(&none_chosen), none_chosen.total), (vec![0, 0], 1_000));
    let Quoted { quote, not_applied } = basket.to("DE", Some("express")).quoted().unwrap();
    assert_eq!((quote.shipping, code_amounts(&quote), line_discounts(&quote)), (1_190, vec![-1_190], vec![0]));
    assert_eq!((quote.discount, quote.total), (-1_190, 1_000));
    assert_eq!(not_applied, [NotApplied { code: "TWICE".into(), reason: Reason::NothingLeft }]);
}

#[test]
fn tax_that_is_included_is_found_within_and_other_tax_comes_on_top() {
    // 11.90 with 19 % are 10.00 and 1.90; the same for shipping; 3.21 with 7 % are 3.00 and 0.21.
    let mut basket = Basket::of(&[1_190, 321], &[]).to("DE", Some("express"));
    basket.items[1].2 = "books";
    let within = basket.quote();
    assert_eq!(within.lines.iter().map(|line| line.tax).collect::<Vec<_>>(), [190, 21]);
    assert_eq!((within.tax, within.total), (190 + 21 + 190, 1_190 + 321 + 1_190));
    basket.tables.tax_included = false;
    let on_top = basket.quote();
    assert_eq!(on_top.lines.iter().map(|line| line.tax).collect::<Vec<_>>(), [226, 22]);
    assert_eq!((on_top.tax, on_top.total), (226 + 22 + 226, 1_190 + 321 + 1_190 + 474));
}

#[test]
fn tax_is_on_what_is_paid_after_discounts() {
    let basket = Basket::of(&[2_380], &[percent_off("HALF", 5_000), free_shipping()]).to("DE", Some("express"));
    assert_eq!((basket.quote().lines[0].tax, basket.quote().tax), (190, 190), "free shipping has no tax");
}

#[test]
fn the_most_specific_tax_is_due() {
    let due = |code, region, category: &str| tables().tax_basis_points(&address(code, region), &[category.into()]);
    assert_eq!((due("DE", None, "mugs"), due("DE", None, "books")), (1_900, 700));
    assert_eq!((due("US", None, "mugs"), due("US", None, "books")), (0, 100));
    assert_eq!((due("US", Some(" ny "), "mugs"), due("US", Some("NY"), "books")), (888, 0));
    let region_first =
        Tables { taxes: vec![tax("US", None, Some("books"), 100), tax("US", Some("NY"), None, 888)], ..tables() };
    assert_eq!(region_first.tax_basis_points(&address("US", Some("NY")), &["books".into()]), 888);
    assert_eq!(due("NZ", None, "books"), 0);
    let shipping_free = Tables { taxes: vec![tax("DE", None, Some(SHIPPING_CATEGORY), 500)], ..tables() };
    let quote = Basket { tables: shipping_free, ..Basket::of(&[1_000], &[]).to("DE", Some("express")) }.quote();
    assert_eq!((quote.lines[0].tax, quote.tax), (0, 57), "5 % within 11.90");
}

#[test]
fn what_would_not_fit_is_refused() {
    for prices in [vec![i64::MAX, 1], vec![-1]] {
        assert_eq!(Basket::of(&prices, &[]).quoted(), Err(Refusal::OutOfRange), "{prices:?}");
    }
    let most = Basket::of(&[i64::MAX], &[]).to("DE", Some("express"));
    assert_eq!(most.quoted(), Err(Refusal::OutOfRange), "with its shipping");
    let mut twice = Basket::of(&[i64::MAX / 2 + 1], &[]);
    twice.items[0].1 = 2;
    assert_eq!(twice.quoted(), Err(Refusal::OutOfRange));
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let worth = prop_oneof![
        (1..=10_000_u16).prop_map(|basis_points| Worth::Percent { basis_points }),
        (1..20_000_i64).prop_map(|amount| Worth::Fixed { amount }),
        Just(Worth::FreeShipping),
    ];
    (worth, any::<bool>(), 0..3_usize, 0..6_000_i64, any::<[bool; 2]>()).prop_map(
        |(worth, per_line, category, minimum, [over, early])| Rule {
            per_line,
            categories: [vec![], vec!["books".into()], vec!["pans".into(), "books".into()]][category].clone(),
            minimum: (minimum - 4_000).max(0),
            valid_until: (over && early).then_some(NOW),
            ..rule("", worth)
        },
    )
}

prop_compose! {
    fn any_basket()(
        items in prop::collection::vec((0..5_000_i64, 1..9_u16, prop::sample::select(vec!["", "books", "pans"]), 0..900_u32), 0..7),
        mut rules in prop::collection::vec(any_rule(), 0..5),
        to in prop::option::of(prop::sample::select(vec![("DE", None), ("US", Some("NY")), ("US", None), ("NZ", None)])),
        wants: bool, tax_included: bool, basis_points in 0..2_600_u16,
    ) -> Basket {
        rules.iter_mut().enumerate().for_each(|(n, rule)| rule.code = format!("C{n}").into());
        let mut tables = Tables { tax_included, ..tables() };
        tables.taxes[0].basis_points = basis_points;
        let mut basket = Basket { items, rules, to: to.map(|(code, region)| address(code, region)), option: None, tables };
        if wants && basket.quote().offers.iter().any(|offer| &*offer.id == "standard") {
            basket.option = Some("standard");
        }
        basket
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_parts_make_the_total_and_nothing_is_below_zero(basket in any_basket()) {
        let Quoted { quote, not_applied } = basket.quoted().unwrap();
        let of = |part: fn(&Priced) -> i64| quote.lines.iter().map(part).sum::<i64>();
        prop_assert_eq!(of(|line| line.subtotal), quote.subtotal);
        prop_assert_eq!(code_amounts(&quote).iter().sum::<i64>(), quote.discount);
        let on_top = if quote.tax_included { 0 } else { quote.tax };
        prop_assert_eq!(quote.total, quote.subtotal + quote.discount + quote.shipping + on_top);
        prop_assert!(quote.total >= 0 && quote.tax >= 0);
        prop_assert!(quote.discounts.iter().all(|discounted| discounted.amount <= 0));
        prop_assert!(quote.lines.iter().all(|line| line.discount <= 0 && line.subtotal + line.discount >= 0));
        // What no line lost came off the shipping, and no more than it costs.
        let shipping_off = of(|line| line.discount) - quote.discount;
        prop_assert!((0..=quote.shipping).contains(&shipping_off));
        // Tax that is included is part of what is paid; each part is rounded by less than one unit.
        let paid = quote.subtotal + quote.discount + quote.shipping;
        prop_assert!(!quote.tax_included || quote.tax <= paid);
        prop_assert!(quote.tax == 0 || basket.to.is_some());
        let told = quote.discounts.len() + not_applied.len();
        prop_assert_eq!(told, basket.rules.len(), "every code is told of once");
    }

    #[test]
    fn one_more_code_never_makes_the_goods_dearer(basket in any_basket(), another in any_rule()) {
        let goods = |basket: &Basket| { let quote = basket.quote(); quote.lines.iter().map(|l| l.subtotal + l.discount).sum::<i64>() };
        let mut more = Basket { option: None, ..basket.clone() };
        // The last of its sort: codes before it take off what they took off.
        more.rules.push(Rule { code: "LAST".into(), per_line: false, worth: Worth::Fixed { amount: 100 }, ..another });
        prop_assert!(goods(&more) <= goods(&basket));
        prop_assert!(goods(&more) >= goods(&basket) - 100);
    }

    #[test]
    fn shares_are_exact_in_proportion_and_within_their_weights(total in 0..100_000_i64, weights in prop::collection::vec(0..1_000_000_i64, 1..20)) {
        let shares = allocate(total, &weights);
        let sum: i64 = weights.iter().sum();
        prop_assert_eq!(shares.iter().sum::<i64>(), if sum == 0 { 0 } else { total });
        for (share, weight) in shares.iter().zip(&weights) {
            prop_assert!(total > sum || share <= weight);
            prop_assert!(sum == 0 || (share * sum - total * weight).abs() < sum, "less than a unit off");
        }
    }

    #[test]
    fn net_and_tax_make_the_price_that_includes_it(amount in 0..1_000_000_i64, basis_points in 0..3_000_u16) {
        let within = tax_within(amount, basis_points);
        prop_assert!((0..=amount).contains(&within));
        // Put on top of the net again, it is the same tax but for one unit of rounding.
        prop_assert!((percent(amount - within, basis_points) - within).abs() <= 1);
    }
}
