//! Looks through a page of products, opens one, and puts it into a new cart.

use super::Visit;
use crate::shopper::{Add, Shopper};

pub(super) async fn visit(visit: &mut Visit<'_>, shopper: &mut Shopper) -> Option<()> {
    shopper.read("list", "/v1/products?limit=20").await?;
    let variant = visit.one_of(&visit.stage.variants)?;
    shopper.read("read product", &format!("/v1/products/{}", variant.sku)).await?;
    let account = shopper.make().await?;
    shopper.add(&account, Add::keyed(variant)).await?;
    shopper.look(&account).await.map(drop)
}
