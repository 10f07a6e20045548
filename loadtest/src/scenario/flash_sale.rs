//! Many shoppers, few units, one product: whoever gets none tries again until all are sold.

use std::time::{Duration, Instant};

use rand::RngExt;

use super::Visit;
use crate::{
    buying::Bought,
    shopper::{Add, Shopper},
};

/// One card in so many is declined; its shopper leaves, and the goods are to be had again.
const DECLINES_ONE_IN: u64 = 7;
/// One card in so many is approved without the shop being told.
const LOSES_ONE_IN: u64 = 5;
/// Longest pause before another try.
const PAUSE_MAX_MS: u64 = 1_000;
/// How long a shopper tries: the sale is long over.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) async fn visit(visit: &mut Visit<'_>, number: u64, shopper: &mut Shopper) -> Option<()> {
    let variant = visit.stage.variants.first()?;
    let account = shopper.make().await?;
    account.free(&variant.sku);
    shopper.add(&account, Add::keyed(variant)).await?;
    let token = match number {
        n if n.is_multiple_of(DECLINES_ONE_IN) => "tok_decline",
        n if n.is_multiple_of(LOSES_ONE_IN) => "tok_answer_lost",
        _ => "tok_approve",
    };
    let until = Instant::now() + PATIENCE;
    while shopper.buy(&account, token).await == Bought::NoStock
        && shopper.orders() < visit.stage.units
        && Instant::now() < until
    {
        let pause = visit.random.random_range(PAUSE_MAX_MS / 4..PAUSE_MAX_MS);
        shopper.wait(Duration::from_millis(pause)).await;
    }
    Some(())
}
