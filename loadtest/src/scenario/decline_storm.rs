//! Cards are declined in droves: whoever is refused tries again, with another key and another card, until they are approved
//! or give up. Others buy meanwhile as on any day.

use std::time::Duration;

use rand::RngExt;

use super::Visit;
use crate::{
    buying::{Begun, Bought, Paid},
    shopper::{Add, Shopper},
};

/// One shopper in so many has a good card: the others, who must not notice.
const OTHERS_ONE_IN: u64 = 4;
/// Of so many payments that are refused …
const REFUSALS: u32 = 10;
/// … so many are so because the gateway cannot be asked …
const DOWN: u32 = 1;
/// … and so many because the bank wants its shopper to confirm. Half of them do.
const ACTION: u32 = 1;
/// Longest pause before another try: another card is looked for.
const PAUSE_MAX_MS: u64 = 500;

/// How payments of a decline storm go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storm {
    /// How many of a hundred payments are refused.
    pub refused_percent: u32,
    /// Most tries of a shopper.
    pub tries: u32,
}

impl Storm {
    /// The token of a payment that drew this number below a hundred, and another below [`REFUSALS`].
    fn token(self, luck: u32, kind: u32) -> &'static str {
        match (luck < self.refused_percent, kind) {
            (false, _) => "tok_approve",
            (true, kind) if kind < DOWN => "tok_down",
            (true, kind) if kind < DOWN + ACTION => "tok_action",
            (true, _) => "tok_decline",
        }
    }
}

pub(super) async fn visit(visit: &mut Visit<'_>, number: u64, shopper: &mut Shopper) -> Option<()> {
    let variant = visit.one_of(&visit.stage.variants)?;
    let is_other = number.is_multiple_of(OTHERS_ONE_IN);
    if is_other {
        shopper.is_one_of_the_others();
    }
    let account = shopper.make().await?;
    // Bought units leave the cart: orders are held against stock instead.
    account.free(&variant.sku);
    shopper.add(&account, Add::keyed(variant)).await?;
    if is_other {
        let bought = shopper.buy(&account, "tok_approve").await;
        if bought == Bought::Declined {
            shopper.wrong("a good card that is declined");
        }
        return Some(());
    }
    let mut begun = shopper.begin(&account).await.ok()?;
    shopper.address(&mut begun).await.ok()?;
    match pay(visit, shopper, &mut begun).await {
        Some(order) => shopper.look_at_order(&begun, &order).await,
        None => shopper.cancel(&begun).await,
    }
    Some(())
}

/// Tries until there is an order; `None` = gave up.
async fn pay(visit: &mut Visit<'_>, shopper: &mut Shopper, begun: &mut Begun) -> Option<String> {
    for _ in 0..visit.stage.storm.tries {
        let token = visit.stage.storm.token(visit.random.random_range(..100), visit.random.random_range(..REFUSALS));
        let payment = shopper.payment(begun, token);
        match shopper.try_to_pay(begun, &payment).await.ok()? {
            Paid::Order(order) => return Some(order),
            Paid::ActionRequired => {
                // Until they do or give up, there is no other try.
                if visit.random.random_bool(0.5) {
                    return None;
                }
                shopper.confirm(begun).await.ok()?;
                let Paid::Order(order) = shopper.try_to_pay(begun, &payment).await.ok()? else {
                    shopper.wrong("a payment that is confirmed and not approved");
                    return None;
                };
                return Some(order);
            }
            Paid::Declined | Paid::Unavailable => {
                let pause = visit.random.random_range(..PAUSE_MAX_MS);
                shopper.wait(Duration::from_millis(pause)).await;
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_hundred_payments_so_many_are_refused_and_in_every_way() {
        let storm = Storm { refused_percent: 80, tries: 5 };
        let tokens: Vec<_> = (0..100).flat_map(|luck| (0..REFUSALS).map(move |kind| storm.token(luck, kind))).collect();
        let count = |token| tokens.iter().filter(|drawn| **drawn == token).count();
        assert_eq!(
            [count("tok_approve"), count("tok_down"), count("tok_action"), count("tok_decline")],
            [200, 80, 80, 640]
        );
        let none = Storm { refused_percent: 0, tries: 5 };
        assert_eq!(none.token(0, 0), "tok_approve");
    }
}
