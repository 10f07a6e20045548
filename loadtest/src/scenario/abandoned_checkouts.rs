//! Shoppers who begin to buy and walk away, at each stage of a checkout. What they held comes back when their checkouts
//! expire, and is sold to those who wait for it.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use rand::RngExt;

use super::Visit;
use crate::{
    buying::{Begun, Bought, Paid},
    catalogue::Variant,
    shopper::{Add, Shopper, World},
};

/// Longest pause before another try.
const PAUSE_MAX_MS: u64 = 1_000;

/// Where a shopper walks away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// With the goods held.
    Begun,
    /// Once it is said where to and how.
    Addressed,
    /// When the card is declined.
    Declined,
    /// When the bank wants the payment confirmed.
    ActionRequired,
}

const STAGES: [Stage; 4] = [Stage::Begun, Stage::Addressed, Stage::Declined, Stage::ActionRequired];

/// Where the shopper of this number walks away; `None` = they want to buy, as every other does.
fn walks_away_at(number: u64) -> Option<Stage> {
    let walker = number / 2;
    if number.is_multiple_of(2) { STAGES.get(usize::try_from(walker).ok()? % STAGES.len()).copied() } else { None }
}

/// Whether the service's checkouts expire soon enough to wait for it: one is begun, and cancelled.
pub(super) async fn prepare(variant: &Variant, life_max: Duration, world: &Arc<World>) -> io::Result<()> {
    let wrong = |what: String| io::Error::other(what);
    let mut shopper = Shopper::new(world, Instant::now());
    let account = shopper.make().await.ok_or_else(|| wrong("no cart can be made".to_owned()))?;
    account.free(&variant.sku);
    let added = shopper.add(&account, Add::keyed(variant)).await;
    added.ok_or_else(|| wrong(format!("{} cannot be put into a cart", variant.sku)))?;
    let begun = shopper.begin(&account).await.map_err(|why| wrong(format!("no checkout can be begun: {why:?}")))?;
    shopper.cancel(&begun).await;
    let lives = begun.lives().ok_or_else(|| wrong("a checkout does not say when it expires".to_owned()))?;
    if lives > life_max {
        return Err(wrong(format!(
            "checkouts live {} s here: start the nodes with --set checkout.expire_after={}s, or wait for longer with \
             --life-max",
            lives.as_secs(),
            life_max.as_secs()
        )));
    }
    Ok(())
}

pub(super) async fn visit(visit: &mut Visit<'_>, number: u64, shopper: &mut Shopper) -> Option<()> {
    let variant = visit.stage.variants.first()?;
    let account = shopper.make().await?;
    account.free(&variant.sku);
    shopper.add(&account, Add::keyed(variant)).await?;
    if let Some(stage) = walks_away_at(number) {
        // Whoever comes too late for the goods has nothing to leave.
        let mut begun = shopper.begin(&account).await.ok()?;
        let is_there = go_until(stage, shopper, &mut begun).await;
        // One that did not get so far is ended by the audit, whatever became of it.
        return if is_there { shopper.leave(&mut begun).await.ok() } else { None };
    }
    let mut back_by = shopper.world().purchases.back_by();
    while shopper.buy(&account, "tok_approve").await == Bought::NoStock {
        if shopper.orders() >= visit.stage.units {
            return Some(());
        }
        if Instant::now() >= back_by {
            shopper.world().purchases.waited_in_vain();
            return None;
        }
        let pause = visit.random.random_range(PAUSE_MAX_MS / 4..PAUSE_MAX_MS);
        shopper.wait(Duration::from_millis(pause)).await;
        // Others may have left something since, but waiting does not itself give longer to wait.
        back_by = back_by.max(shopper.world().purchases.left_back_by());
    }
    Some(())
}

async fn go_until(stage: Stage, shopper: &mut Shopper, begun: &mut Begun) -> bool {
    if stage == Stage::Begun {
        return true;
    }
    if shopper.address(begun).await.is_err() {
        return false;
    }
    let (token, expected) = match stage {
        Stage::Declined => ("tok_decline", Paid::Declined),
        Stage::ActionRequired => ("tok_action", Paid::ActionRequired),
        Stage::Begun | Stage::Addressed => return true,
    };
    let payment = shopper.payment(begun, token);
    match shopper.try_to_pay(begun, &payment).await {
        Ok(paid) if paid == expected => true,
        Ok(_) => {
            shopper.wrong("a payment that is neither declined nor to be confirmed as its token says");
            false
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_other_shopper_walks_away_and_as_many_at_each_stage() {
        let stages: Vec<_> = (1..=16).map(walks_away_at).collect();
        assert_eq!(stages.iter().filter(|stage| stage.is_none()).count(), 8);
        for stage in STAGES {
            assert_eq!(stages.iter().filter(|walks| **walks == Some(stage)).count(), 2, "{stage:?}");
        }
    }
}
