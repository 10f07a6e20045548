//! New shoppers come for the same few products: each opens one and puts it into a new cart.

use super::Visit;
use crate::shopper::{Add, Shopper};

/// Products that everybody wants.
const WANTED: usize = 3;

pub(super) async fn visit(visit: &mut Visit<'_>, shopper: &mut Shopper) -> Option<()> {
    let variants = &visit.stage.variants;
    let wanted = visit.one_of(&variants[..WANTED.min(variants.len())])?;
    shopper.read("read product", &format!("/v1/products/{}", wanted.sku)).await?;
    let account = shopper.make().await?;
    shopper.add(&account, Add::keyed(wanted)).await.map(drop)
}
