//! Which saves may wait: those in which nobody rides who waits.

use super::*;
use crate::{domain::CheckoutId, store::Haste};

fn checkout() -> CheckoutId {
    CheckoutId::new(Slot::from_bits(1), UnixMillis(1), 3)
}

/// A cart whose shopper has begun to buy it, that all is saved of.
fn being_bought() -> Bench {
    let (mut bench, _) = Bench::with_cart();
    for command in [add(), Command::Begin { checkout: checkout(), prices: Vec::new() }] {
        bench.ask(2, command, None);
        let save = bench.save();
        assert_eq!(save.haste, Haste::Urgent, "a shopper waits");
        bench.saved(&save.row, Saved::Applied);
    }
    bench.out.clear();
    bench
}

#[test]
fn nobody_waits_for_a_note_that_the_checkout_is_there() {
    let mut bench = being_bought();
    bench.ask(3, Command::Opened { checkout: checkout() }, None);
    let note = bench.save();
    assert_eq!(note.haste, Haste::Patient);
    // Behind it come a shopper and one more note: they share a save, and one of them waits for it.
    bench.ask(4, add(), None);
    bench.ask(5, Command::Settle { checkout: checkout(), bought: Vec::new() }, None);
    bench.saved(&note.row, Saved::Applied);
    assert_eq!(bench.save().haste, Haste::Urgent);
}

#[test]
fn a_reader_makes_a_save_urgent_and_so_does_a_claim() {
    let (_, row) = Bench::with_cart();
    let settles = |fence: u64, reader: Option<u32>| {
        let mut bench = Bench::new();
        (bench.around.fence, bench.around.epoch) = (fence, fence.max(row.epoch));
        let key = Some(7); // even where it changes nothing, its receipt is saved
        bench.ask(1, Command::Settle { checkout: checkout(), bought: Vec::new() }, key);
        reader.into_iter().for_each(|token| bench.read(token));
        bench.load(Some(row.clone()));
        bench.save().haste
    };
    assert_eq!(settles(row.epoch, None), Haste::Patient);
    assert_eq!(settles(row.epoch, Some(2)), Haste::Urgent);
    assert_eq!(settles(row.epoch + 1, None), Haste::Urgent, "until it is claimed nobody can be shown it");
}
