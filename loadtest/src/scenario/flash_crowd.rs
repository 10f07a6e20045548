//! New shoppers come for the same few products: each opens one and puts it into a new cart.

use super::Visit;
use crate::shopper::{Add, Shopper};

/// Products that everybody wants.
const WANTED: usize = 3;

pub(super) async fn visit(visit: &mut Visit<'_>, shopper: &mut Shopper) -> Option<()> {
    let skus = &visit.stage.skus;
    let sku = visit.one_of(&skus[..WANTED.min(skus.len())])?;
    shopper.read("read product", &format!("/v1/products/{sku}")).await?;
    let account = shopper.make().await?;
    shopper.add(&account, Add::keyed(sku)).await.map(drop)
}
