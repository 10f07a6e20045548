//! Planted bugs: the simulation must see each of them.

use super::world::run;
use crate::actors::durable::{Bug, plant};

/// Seeds within which a bug must be found.
const SEEDS: u64 = 20_000;

/// Plants the bug, looks for a violation, and says how long it took.
fn finds(bug: Bug, promises: &[&str]) {
    plant(Some(bug));
    let found = (0..SEEDS).find_map(|seed| run(seed).err().map(|violation| (seed, violation)));
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
    reply_before_save_breaks_p1: ReplyBeforeSave breaks "P1" | "P2";
    refusal_told_from_a_state_that_was_lost_breaks_p1: RefusalBeforeSave breaks "P1";
    dropped_receipt_breaks_p3: ReceiptDropped breaks "P3";
    receipt_evicted_young_breaks_p3: ReceiptEvictedYoung breaks "P3";
    two_saves_in_flight_break_p2: TwoSavesInFlight breaks "P2" | "P1" | "P10";
    lost_wake_breaks_p10: WakeLost breaks "P10";
    marker_not_written_breaks_p10: MarkerNotWritten breaks "P10";
    marker_deleted_too_early_breaks_p10: MarkerDeletedEarly breaks "P10";
    unknown_settled_by_a_read_breaks_p2: UnknownSettledByRead breaks "P2" | "P3";
    skipped_claim_breaks_p2_or_p10: ClaimSkipped breaks "P2" | "P10";
    row_of_a_newer_epoch_taken_as_own_breaks_p2: NewerEpochIsMine breaks "P2";
    absence_told_from_an_older_load_breaks_p2: AbsenceKept breaks "P2";
    unbounded_queue_breaks_p9: QueueUnbounded breaks "P9";
    deed_before_its_state_is_saved_breaks_p1: PerformedBeforeSave breaks "P1";
    deed_given_up_breaks_p10: DeedGivenUp breaks "P10";
    deed_that_nobody_looks_after_breaks_p10: NotLookedAfter breaks "P10";
    events_offered_before_their_state_is_saved_break_p7: PublishedBeforeSave breaks "P7";
    events_cleared_when_they_are_offered_break_p7: ClearedWhenOffered breaks "P7";
    unsent_events_that_nobody_looks_after_break_p7_or_p10: UnsentNotLookedAfter breaks "P7" | "P10";
    forgotten_spill_breaks_p7: SpillForgotten breaks "P7";
}
