//! Prices a purchase: discounts, then shipping, then tax.

use super::{
    quote::{Discounted, NotApplied, Offer, Priced, Quote, Quoted, Reason},
    request::{Item, Refusal, Request},
    round::{allocate, percent, tax_within},
    tables::{BASIS_POINTS_MAX, SHIPPING_CATEGORY},
};
use crate::domain::{
    address::Address,
    discount::{Rule, Worth},
};

/// What the purchase costs.
///
/// # Errors
/// [`Refusal`]. A code that does not apply is none: it is told beside the quote.
pub fn quote(request: &Request<'_>) -> Result<Quoted, Refusal> {
    let mut goods = Goods::new(request)?;
    let mut codes = Codes::new(request, &goods);
    codes.take_off_goods(&mut goods);
    let (offers, chosen) = shipping(request, &goods)?;
    codes.take_off_shipping(&mut goods, chosen.as_ref());
    let tax = tax(request, &mut goods, chosen.as_ref())?;
    total(request, goods, codes, offers, chosen, tax)
}

/// The lines while codes are taken off them.
struct Goods<'a> {
    items: &'a [Item<'a>],
    subtotals: Vec<i64>,
    /// What is still to be paid of each.
    left: Vec<i64>,
    taxes: Vec<i64>,
    /// What is taken off the shipping.
    shipping_off: i64,
}

impl<'a> Goods<'a> {
    fn new(request: &Request<'a>) -> Result<Self, Refusal> {
        let items = request.items;
        let subtotal = |item: &Item<'_>| {
            if item.unit_price < 0 { None } else { item.unit_price.checked_mul(i64::from(item.quantity)) }
        };
        let subtotals = items.iter().map(subtotal).collect::<Option<Vec<i64>>>().ok_or(Refusal::OutOfRange)?;
        // From here on no sum of lines overflows.
        sum(&subtotals)?;
        let left = subtotals.clone();
        Ok(Self { items, subtotals, left, taxes: vec![0; items.len()], shipping_off: 0 })
    }

    /// Takes `off` each of the lines `at`, and returns their sum.
    fn take(&mut self, at: &[usize], off: &[i64]) -> i64 {
        at.iter().zip(off).for_each(|(line, off)| self.left[*line] -= off);
        off.iter().sum()
    }

    fn weight_g(&self) -> u64 {
        let weight = |item: &Item<'_>| u64::from(item.weight_g) * u64::from(item.quantity);
        self.items.iter().map(weight).fold(0, u64::saturating_add)
    }
}

/// What becomes of each code, in the order asked; `None` = not yet known.
struct Codes<'a> {
    rules: &'a [Rule],
    /// The lines that each applies to.
    lines: Vec<Vec<usize>>,
    /// What each takes off, or why nothing.
    done: Vec<Option<Result<i64, Reason>>>,
}

impl<'a> Codes<'a> {
    fn new(request: &Request<'a>, goods: &Goods<'_>) -> Self {
        let of_categories = |rule: &Rule| {
            let fits = |item: &Item<'_>| {
                rule.categories.is_empty() || item.categories.iter().any(|category| rule.categories.contains(category))
            };
            request.items.iter().enumerate().filter(|(_, item)| fits(item)).map(|(at, _)| at).collect::<Vec<_>>()
        };
        let lines: Vec<_> = request.rules.iter().map(of_categories).collect();
        let done = request.rules.iter().zip(&lines).map(|(rule, lines)| {
            let reached = lines.iter().map(|line| goods.subtotals[*line]).sum();
            applies(request, rule, lines, reached).err().map(Err)
        });
        Self { rules: request.rules, done: done.collect(), lines }
    }

    /// Codes that take off each line come before those that take off a sum, percentages before amounts; of one sort the
    /// one given first. Each takes off what those before it have left.
    fn take_off_goods(&mut self, goods: &mut Goods<'_>) {
        let rank = |rule: &Rule| (!rule.per_line, matches!(rule.worth, Worth::Fixed { .. }));
        let mut order: Vec<usize> = (0..self.rules.len()).filter(|at| self.done[*at].is_none()).collect();
        order.sort_by_key(|at| rank(&self.rules[*at]));
        for at in order {
            let (rule, lines) = (&self.rules[at], &self.lines[at]);
            let left: Vec<i64> = lines.iter().map(|line| goods.left[*line]).collect();
            let sum: i64 = left.iter().sum();
            let worth = |of: i64| match rule.worth {
                Worth::Percent { basis_points } => Some(percent(of, basis_points.min(BASIS_POINTS_MAX))),
                Worth::Fixed { amount } => Some(amount.clamp(0, of)),
                Worth::FreeShipping => None,
            };
            let off = if rule.per_line {
                left.iter().map(|of| worth(*of)).collect::<Option<Vec<i64>>>()
            } else {
                worth(sum).map(|off| allocate(off, &left))
            };
            if let Some(off) = off {
                self.done[at] = Some(if sum > 0 { Ok(goods.take(lines, &off)) } else { Err(Reason::NothingLeft) });
            }
        }
    }

    /// What is still open are codes for free shipping: the first takes off all of it.
    fn take_off_shipping(&mut self, goods: &mut Goods<'_>, chosen: Option<&Offer>) {
        for done in self.done.iter_mut().filter(|done| done.is_none()) {
            *done = Some(match chosen {
                // Before a way is chosen, the code is good for whatever will be.
                None => Ok(0),
                Some(offer) if offer.price > goods.shipping_off => {
                    let off = offer.price - goods.shipping_off;
                    goods.shipping_off = offer.price;
                    Ok(off)
                }
                Some(_) => Err(Reason::NothingLeft),
            });
        }
    }
}

/// Whether a code applies at all, to lines that came to `reached` before discounts.
fn applies(request: &Request<'_>, rule: &Rule, lines: &[usize], reached: i64) -> Result<(), Reason> {
    rule.is_valid(request.currency, request.now)?;
    if lines.is_empty() {
        return Err(Reason::NoLine);
    }
    if reached < rule.minimum {
        return Err(Reason::Minimum { minimum: rule.minimum, reached });
    }
    Ok(())
}

fn shipping(request: &Request<'_>, goods: &Goods<'_>) -> Result<(Vec<Offer>, Option<Offer>), Refusal> {
    let offers = request.address.map_or_else(Vec::new, |address| {
        request.tables.offers(address, request.currency, goods.weight_g(), goods.left.iter().sum())
    });
    let chosen = match request.option {
        None => None,
        Some(id) => Some(offers.iter().find(|offer| *offer.id == *id).cloned().ok_or(Refusal::OptionNotOffered)?),
    };
    Ok((offers, chosen))
}

/// The tax on what is left of each line and of the shipping, each rounded by itself; their sum.
fn tax(request: &Request<'_>, goods: &mut Goods<'_>, chosen: Option<&Offer>) -> Result<i64, Refusal> {
    let Some(address) = request.address else { return Ok(0) };
    let on = |amount: i64, categories: &[Box<str>], address: &Address| {
        let basis_points = request.tables.tax_basis_points(address, categories);
        if request.tables.tax_included { tax_within(amount, basis_points) } else { percent(amount, basis_points) }
    };
    let goods_taxes = goods.left.iter().zip(request.items).map(|(left, item)| on(*left, item.categories, address));
    goods.taxes = goods_taxes.collect();
    let of_shipping =
        chosen.map_or(0, |offer| on(offer.price - goods.shipping_off, &[Box::from(SHIPPING_CATEGORY)], address));
    sum(&goods.taxes)?.checked_add(of_shipping).ok_or(Refusal::OutOfRange)
}

fn total(
    request: &Request<'_>,
    goods: Goods<'_>,
    codes: Codes<'_>,
    offers: Vec<Offer>,
    chosen: Option<Offer>,
    tax: i64,
) -> Result<Quoted, Refusal> {
    let mut not_applied = Vec::new();
    let mut discounts = Vec::new();
    for (rule, done) in codes.rules.iter().zip(codes.done) {
        match done {
            Some(Ok(off)) => discounts.push(Discounted { code: rule.code.clone(), amount: -off }),
            Some(Err(reason)) => not_applied.push(NotApplied { code: rule.code.clone(), reason }),
            None => {}
        }
    }
    let priced = |at: usize| Priced {
        line: goods.items[at].line,
        subtotal: goods.subtotals[at],
        discount: goods.left[at] - goods.subtotals[at],
        tax: goods.taxes[at],
    };
    let lines: Vec<Priced> = (0..goods.items.len()).map(priced).collect();
    let subtotal: i64 = goods.subtotals.iter().sum();
    let discount = goods.left.iter().sum::<i64>() - subtotal - goods.shipping_off;
    let shipping = chosen.as_ref().map_or(0, |offer| offer.price);
    let tax_included = request.tables.tax_included;
    let on_top = if tax_included { 0 } else { tax };
    let total = sum(&[subtotal, shipping, on_top])?.checked_add(discount).ok_or(Refusal::OutOfRange)?;
    let option = chosen.map(|offer| offer.id);
    let currency = request.currency;
    let quote =
        Quote { currency, lines, discounts, offers, option, subtotal, discount, shipping, tax, tax_included, total };
    Ok(Quoted { quote, not_applied })
}

fn sum(amounts: &[i64]) -> Result<i64, Refusal> {
    amounts.iter().try_fold(0_i64, |sum, amount| sum.checked_add(*amount)).ok_or(Refusal::OutOfRange)
}
