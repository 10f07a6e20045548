//! Carts of as many lines as a cart may have: a visit reads one and adds a unit to one of its lines.

use super::Visit;
use crate::{
    catalogue::Variant,
    shopper::{Add, Shopper},
};

/// Lines that a cart may have.
const LINES: usize = 100;

/// With fewer variants than lines, a variant has several lines, told apart by metadata.
pub(super) fn lines(variants: &[Variant]) -> Vec<(Variant, usize)> {
    (0..LINES).map(|n| (variants[n % variants.len()].clone(), n / variants.len())).collect()
}

pub(super) async fn visit(visit: &mut Visit<'_>, shopper: &mut Shopper) -> Option<()> {
    let account = visit.one_of(&visit.stage.carts)?;
    let variants = &visit.stage.variants;
    let variant = visit.one_of(&variants[..LINES.min(variants.len())])?;
    shopper.look(account).await?;
    shopper.add(account, Add::unkeyed(variant)).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_another_one_however_few_products_there_are() {
        for products in [1, 3, 100, 215] {
            let variants: Vec<_> = (0..products).map(|n| Variant::plain(&format!("sku-{n}"))).collect();
            let mut lines: Vec<_> = lines(&variants).into_iter().map(|(variant, copy)| (variant.sku, copy)).collect();
            lines.sort();
            lines.dedup();
            assert_eq!(lines.len(), LINES);
        }
    }
}
