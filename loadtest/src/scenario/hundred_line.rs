//! Carts of as many lines as a cart may have: a visit reads one and adds a unit to one of its lines.

use super::Visit;
use crate::shopper::{Add, Shopper};

/// Lines that a cart may have.
const LINES: usize = 100;

/// With fewer products than lines, a product has several lines, told apart by metadata.
pub(super) fn lines(skus: &[String]) -> Vec<(String, usize)> {
    (0..LINES).map(|n| (skus[n % skus.len()].clone(), n / skus.len())).collect()
}

pub(super) async fn visit(visit: &mut Visit<'_>, shopper: &mut Shopper) -> Option<()> {
    let account = visit.one_of(&visit.stage.carts)?;
    let skus = &visit.stage.skus;
    let sku = visit.one_of(&skus[..LINES.min(skus.len())])?;
    shopper.look(account).await?;
    shopper.add(account, Add::unkeyed(sku)).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_another_one_however_few_products_there_are() {
        for products in [1, 3, 100, 215] {
            let skus: Vec<_> = (0..products).map(|n| format!("sku-{n}")).collect();
            let mut lines = lines(&skus);
            lines.sort();
            lines.dedup();
            assert_eq!(lines.len(), LINES);
        }
    }
}
