//! Everybody adds a unit to one line of one cart and sets it back to one, without keys. What the line ends at depends
//! on the order; the other lines must stay as they are.

use super::Visit;
use crate::{
    catalogue::Variant,
    ledger::Account,
    shopper::{Add, Shopper},
};

/// Lines of the cart, the first of them hot.
const LINES: usize = 3;

pub(super) fn lines(variants: &[Variant]) -> Vec<(Variant, usize)> {
    variants.iter().take(LINES).map(|variant| (variant.clone(), 0)).collect()
}

pub(super) fn prepare(carts: &[Account], variants: &[Variant]) {
    for (cart, hot) in carts.iter().zip(variants) {
        cart.free(&hot.sku);
    }
}

pub(super) async fn visit(visit: &Visit<'_>, shopper: &mut Shopper) -> Option<()> {
    let (account, hot) = (visit.stage.carts.first()?, visit.stage.variants.first()?);
    shopper.add(account, Add::unkeyed(hot)).await;
    shopper.set(account, "l1", 1).await.map(drop)
}
