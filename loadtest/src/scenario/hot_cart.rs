//! Everybody adds a unit to one line of one cart and sets it back to one, without keys. What the line ends at depends
//! on the order; the other lines must stay as they are.

use super::Visit;
use crate::{
    ledger::Account,
    shopper::{Add, Shopper},
};

/// Lines of the cart, the first of them hot.
const LINES: usize = 3;

pub(super) fn lines(skus: &[String]) -> Vec<(String, usize)> {
    skus.iter().take(LINES).map(|sku| (sku.clone(), 0)).collect()
}

pub(super) fn prepare(carts: &[Account], skus: &[String]) {
    for (cart, sku) in carts.iter().zip(skus) {
        cart.free(sku);
    }
}

pub(super) async fn visit(visit: &Visit<'_>, shopper: &mut Shopper) -> Option<()> {
    let (account, sku) = (visit.stage.carts.first()?, visit.stage.skus.first()?);
    shopper.add(account, Add::unkeyed(sku)).await;
    shopper.set(account, "l1", 1).await.map(drop)
}
