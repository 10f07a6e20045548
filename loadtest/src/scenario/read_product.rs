//! Opens one product: a single request, to be held against other load tools.

use super::Visit;
use crate::shopper::Shopper;

pub(super) async fn visit(visit: &mut Visit<'_>, shopper: &mut Shopper) -> Option<()> {
    let variant = visit.one_of(&visit.stage.variants)?;
    shopper.read("read product", &format!("/v1/products/{}", variant.sku)).await.map(drop)
}
