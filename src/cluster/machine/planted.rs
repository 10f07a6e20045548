//! Bugs that tests plant to see that the simulation finds them; in a release every one of them is `false`.

/// A bug to plant.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A renewal that lost its row goes on as if nothing had happened.
    RenewalLostIgnored,
    /// Others are judged also without a lease of one's own.
    JudgesWithoutLease,
    /// What stood still before a gap in the looks counts on.
    GapIgnored,
    /// An eviction that failed counts as one that succeeded.
    EvictionLostIgnored,
    /// Nobody is ever evicted for standing still.
    NeverEvicts,
    /// Shards are taken over before the old owner's lease is outlived.
    TakesOverAtOnce,
    /// A handover whose outcome is not known counts as one that failed.
    UnknownHandoverReopened,
    /// The record format is raised before every member reads it.
    FormatRaisedEarly,
    /// A node is given shards though it does not read the format that is written.
    FormatForgotten,
    /// Moves are made also while releases differ.
    LevelsAmidRollout,
    /// A handover keeps the epoch.
    EpochKept,
    /// A peer that was silent affirms a lease as if it had not been.
    SilenceForgiven,
    /// A request is forwarded however often.
    HopsUnbounded,
    /// A command without a key is asked again after an answer was lost.
    RetriesUnkeyed,
    /// After an answer was lost, a later failure is told as if nothing could have happened.
    UnknownForgotten,
    /// What another node told as stale is told as fresh.
    StaleUnmarked,
}

#[cfg(test)]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug in this thread, or none.
#[cfg(test)]
pub(crate) fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

#[cfg(test)]
pub(crate) fn is_planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

macro_rules! planted {
    ($bug:ident) => {{
        #[cfg(test)]
        let planted = $crate::cluster::machine::planted::is_planted($crate::cluster::machine::planted::Bug::$bug);
        #[cfg(not(test))]
        let planted = false;
        planted
    }};
}
pub(crate) use planted;
