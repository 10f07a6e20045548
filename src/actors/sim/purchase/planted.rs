//! Planted bugs of the saga: the simulation must see each of them.

use std::{cell::RefCell, collections::BTreeMap};

use super::{kinds::Call, world::run};
use crate::{
    actors::{
        durable::{Bug, is_planted, plant},
        errand::Errand,
    },
    domain::{Reference, UnixMillis, checkout, discount, holds::Act, order, payment, stock},
    payments::Abandon,
};

/// Seeds within which a bug must be found.
const SEEDS: u64 = 4_000;

thread_local! {
    /// How often a key was used.
    static USED: RefCell<BTreeMap<Reference, u32>> = const { RefCell::new(BTreeMap::new()) };
}

/// The same key the first time, another one whenever it is used again.
fn rekeyed(key: Reference) -> Reference {
    USED.with_borrow_mut(|used| {
        let times = used.entry(key).or_default();
        *times += 1;
        Reference { n: key.n + 1_000 * (*times - 1), ..key }
    })
}

/// What becomes of an errand where a kind mistakes what its call needs.
pub(super) fn mistaken(call: &Call, errand: Errand) -> Errand {
    use checkout::Call::{Abandon as Abandoned, Authorise, Commit, Hold, Release, Unpin, Void};
    let acts = |errand: Errand, act: Act| match errand {
        Errand::Stock(id, stock::Command::Act { by, .. }) => Errand::Stock(id, stock::Command::Act { by, act }),
        Errand::Discount(id, discount::Command::Act { by, .. }) => {
            Errand::Discount(id, discount::Command::Act { by, act })
        }
        errand => errand,
    };
    match (call, errand) {
        (Call::Checkout(Hold { .. }), Errand::Stock(id, stock::Command::Hold { sku, initial, by, quantity, .. }))
            if is_planted(Bug::HoldEndless) =>
        {
            let expires_at = UnixMillis(u64::MAX);
            Errand::Stock(id, stock::Command::Hold { sku, initial, by, quantity, expires_at })
        }
        (Call::Checkout(Unpin { until, .. }), errand) if is_planted(Bug::UnpinIgnored) => {
            acts(errand, Act::Unpin { attempt: 0, expires_at: *until })
        }
        (Call::Checkout(Commit { .. }), errand) if is_planted(Bug::CommitSkipped) => {
            acts(errand, Act::Extend { expires_at: UnixMillis(0) })
        }
        (Call::Checkout(Release { .. }), errand @ Errand::Discount(..)) if is_planted(Bug::CodeKept) => {
            acts(errand, Act::Forget)
        }
        (Call::Checkout(Void(_)), Errand::Void(deed)) if is_planted(Bug::VoidSkipped) => Errand::Refund(deed),
        (Call::Checkout(Abandoned { .. }), Errand::Abandon(ask)) if is_planted(Bug::AbandonSkipped) => {
            Errand::Abandon(Abandon { key: Reference { n: ask.key.n + 1_000, ..ask.key }, ..ask })
        }
        (Call::Checkout(Authorise(_)), Errand::Authorise(ask)) if is_planted(Bug::AuthoriseRekeyed) => {
            Errand::Authorise(payment::Authorise { key: rekeyed(ask.key), ..ask })
        }
        (Call::Order(_), Errand::Capture(deed)) if is_planted(Bug::CaptureRekeyed) => {
            Errand::Capture(payment::Deed { key: rekeyed(deed.key), ..deed })
        }
        (Call::Order(_), Errand::Refund(deed)) if is_planted(Bug::RefundRekeyed) => {
            Errand::Refund(payment::Deed { key: rekeyed(deed.key), ..deed })
        }
        (
            Call::Order(order::Call::Restock { .. }),
            Errand::Stock(id, stock::Command::Restock { by, quantity, from }),
        ) if is_planted(Bug::RestockRekeyed) => {
            Errand::Stock(id, stock::Command::Restock { by: rekeyed(by), quantity, from })
        }
        (_, errand) => errand,
    }
}

/// Plants the bug, looks for a violation, and says how long it took.
fn finds(bug: Bug, promises: &[&str]) {
    plant(Some(bug));
    let found = (0..SEEDS).find_map(|seed| {
        USED.with_borrow_mut(BTreeMap::clear);
        run(seed, false).err().map(|violation| (seed, violation))
    });
    plant(None);
    match found {
        Some((seed, violation)) => {
            println!("{bug:?}: found by seed {seed}: {violation}");
            assert!(promises.contains(&violation.promise), "{bug:?} shows as {violation}");
        }
        None => panic!("{bug:?} was not found in {SEEDS} seeds"),
    }
}

macro_rules! planted_bugs {
    ($($name:ident: $bug:ident breaks $($promise:literal)|+;)+) => {$(
        #[test]
        fn $name() {
            finds(Bug::$bug, &[$($promise),+]);
        }
    )+};
}

planted_bugs! {
    a_pin_without_its_attempt_breaks_p4: PinUnfenced breaks "P4";
    an_unpin_without_effect_breaks_p4: UnpinIgnored breaks "P4" | "P5";
    a_release_that_leaves_nothing_behind_breaks_p4: ReleaseForgotten breaks "P4";
    an_order_before_its_goods_are_sold_breaks_p6: CommitSkipped breaks "P4" | "P6";
    a_hold_without_an_end_breaks_p4: HoldEndless breaks "P4";
    a_cart_settled_twice_breaks_p6: SettledTwice breaks "P6";
    a_use_of_a_code_that_is_not_counted_breaks_p4: UsesUncounted breaks "P4";
    a_code_not_released_breaks_p4: CodeKept breaks "P4";
    a_dropped_receipt_of_a_purchase_breaks_p3: ReceiptDropped breaks "P3" | "P6";
    a_young_receipt_of_a_purchase_evicted_breaks_p3: ReceiptEvictedYoung breaks "P3";
    a_void_skipped_breaks_p5: VoidSkipped breaks "P5";
    an_abandonment_skipped_breaks_p5: AbandonSkipped breaks "P5";
    a_reservation_retried_under_a_new_key_breaks_p5: AuthoriseRekeyed breaks "P5";
    a_capture_retried_under_a_new_key_breaks_p5: CaptureRekeyed breaks "P5";
    a_refund_retried_under_a_new_key_breaks_p5: RefundRekeyed breaks "P5";
    a_restock_retried_under_a_new_key_breaks_p4: RestockRekeyed breaks "P4";
    a_cancellation_past_the_point_of_no_return_breaks_p4: CancelledTooLate breaks "P4" | "P5" | "P6";
    a_purchase_deed_before_its_state_is_saved_breaks_p1: PerformedBeforeSave breaks "P1";
    a_change_told_while_it_is_being_saved_breaks_p1: ForetoldBlindly breaks "P1";
    a_deed_answered_by_a_deposed_owner_breaks_p10: DeedUnconfirmed breaks "P4" | "P5" | "P10";
    a_second_request_thought_impossible_breaks_p4: OnceAssumed breaks "P4" | "P10";
    a_birth_repeated_and_taken_for_the_first_breaks_p4: BirthTakenForFirst breaks "P4" | "P10";
    a_purchase_deed_given_up_breaks_p10: DeedGivenUp breaks "P10";
    purchase_events_offered_before_their_state_is_saved_break_p7: PublishedBeforeSave breaks "P7";
    purchase_events_cleared_when_they_are_offered_break_p7: ClearedWhenOffered breaks "P7";
    purchase_events_dropped_when_a_lost_save_is_done_again_break_p7: UntoldWhenDoneAgain breaks "P7";
}
