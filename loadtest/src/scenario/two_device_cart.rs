//! A telephone and a computer add to the same cart at the same time: both adds must be there.

use super::Visit;
use crate::shopper::{Add, Shopper};

pub(super) async fn visit(visit: &mut Visit<'_>, shopper: &mut Shopper) -> Option<()> {
    let (one, other) = (visit.one_of(&visit.stage.variants)?, visit.one_of(&visit.stage.variants)?);
    let account = shopper.make().await?;
    let mut device = shopper.device();
    let both = tokio::join!(shopper.add(&account, Add::keyed(one)), device.add(&account, Add::keyed(other)));
    both.0.and(both.1)?;
    // The ledger holds both by now, whichever device looks.
    let seen = tokio::join!(shopper.look(&account), device.look(&account));
    seen.0.and(seen.1).map(drop)
}
