//! Puts three things into a new cart and buys them.

use super::Visit;
use crate::{
    buying::Bought,
    shopper::{Add, Shopper},
};

/// Things in a cart.
const THINGS: usize = 3;

pub(super) async fn visit(visit: &mut Visit<'_>, shopper: &mut Shopper) -> Option<()> {
    let account = shopper.make().await?;
    for thing in 0..THINGS {
        let hot = visit.stage.variants.first().filter(|_| thing == 0 && visit.stage.hot);
        let variant = hot.or_else(|| visit.one_of(&visit.stage.variants))?;
        // Bought units leave the cart: orders are held against stock instead.
        account.free(&variant.sku);
        shopper.add(&account, Add::keyed(variant)).await?;
    }
    if shopper.buy(&account, "tok_approve").await == Bought::NoStock {
        shopper.wrong("a product that is in stock cannot be bought");
    }
    Some(())
}
