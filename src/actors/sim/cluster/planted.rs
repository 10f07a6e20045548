//! Planted bugs: the simulation must see each of them.

use super::world::run;
use crate::cluster::machine::{Bug, plant};

/// Seeds within which a bug must be found.
const SEEDS: u64 = 4_000;

/// Plants the bug, looks for a violation, and says how long it took.
fn finds(bug: Bug, promises: &[&str]) {
    plant(Some(bug));
    let found = (0..SEEDS).find_map(|seed| run(seed, false).err().map(|violation| (seed, violation)));
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
    renewal_lost_and_ignored_breaks_p8_or_p2: RenewalLostIgnored breaks "P8" | "P2" | "P9";
    judging_without_a_lease_breaks_p8: JudgesWithoutLease breaks "P8";
    a_gap_ignored_breaks_p8: GapIgnored breaks "P8";
    an_eviction_lost_and_ignored_breaks_p8: EvictionLostIgnored breaks "P8" | "P2" | "P9";
    never_evicting_breaks_p9: NeverEvicts breaks "P9";
    taking_over_at_once_breaks_p8: TakesOverAtOnce breaks "P8";
    an_unknown_handover_reopened_breaks_p8: UnknownHandoverReopened breaks "P8" | "P2";
    an_epoch_kept_breaks_p2: EpochKept breaks "P2";
    a_format_raised_before_all_read_it_breaks_the_gate: FormatRaisedEarly breaks "gate";
    a_format_forgotten_breaks_the_gate: FormatForgotten breaks "gate";
    levelling_amid_a_rollout_breaks_the_rollout: LevelsAmidRollout breaks "rollout";
    hops_without_a_bound_break_p9: HopsUnbounded breaks "P9";
    asking_again_without_a_key_breaks_p3: RetriesUnkeyed breaks "P3";
    an_unknown_outcome_forgotten_breaks_p2: UnknownForgotten breaks "P2";
    a_stale_answer_unmarked_breaks_p8: StaleUnmarked breaks "P8";
    a_silence_forgiven_breaks_p8: SilenceForgiven breaks "P8";
}
