//! Bugs that tests plant to prove that the simulation sees them. Outside tests there are none.

/// Whether this bug is planted: a constant `false` outside tests.
macro_rules! planted {
    ($bug:ident) => {{
        #[cfg(test)]
        let is = crate::actors::durable::planted::is(crate::actors::durable::planted::Bug::$bug);
        #[cfg(not(test))]
        let is = false;
        is
    }};
}
pub(in crate::actors) use planted;

/// What can be planted.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::actors) enum Bug {
    /// Answers leave when the save is sent.
    ReplyBeforeSave,
    /// A refusal leaves although it was decided on a state that is not committed.
    RefusalBeforeSave,
    /// A keyed command leaves no receipt.
    ReceiptDropped,
    /// Young receipts give way to newer ones.
    ReceiptEvictedYoung,
    /// A second save is sent while the first is out.
    TwoSavesInFlight,
    /// A due timer is ignored.
    WakeLost,
    /// A timer is armed in the row, but its agenda entry is not written.
    MarkerNotWritten,
    /// An agenda entry is deleted when the save that replaces it is sent.
    MarkerDeletedEarly,
    /// An unknown outcome is settled by reading the row again.
    UnknownSettledByRead,
    /// A row below the fence is used without a claim.
    ClaimSkipped,
    /// A row of a newer epoch is loaded as one's own.
    NewerEpochIsMine,
    /// Who came after the load was sent is told of its absence too.
    AbsenceKept,
    /// The queue of one actor has no bound.
    QueueUnbounded,
    /// What a state needs done elsewhere is begun before the state is committed.
    PerformedBeforeSave,
    /// What could not be done elsewhere is not tried again.
    DeedGivenUp,
    /// Nobody is woken for what must still be done elsewhere.
    NotLookedAfter,
    /// No bug: so much is bought of a product that its stock remembers forgotten holds no time at all.
    BusyShelf,
    /// Whatever was done elsewhere is taken to have been asked for once, on a busy shelf.
    OnceAssumed,
    /// An actor that is made on a repeated request takes it for the first, on a busy shelf.
    BirthTakenForFirst,
    /// Whatever others have done is told before it is saved, with whatever is saved with it.
    ForetoldBlindly,
    /// Another actor is told from memory that there is nothing to do.
    DeedUnconfirmed,
    /// A stock pins for whatever attempt.
    PinUnfenced,
    /// What is pinned stays so when its attempt is over.
    UnpinIgnored,
    /// A stock remembers no hold that was given back.
    ReleaseForgotten,
    /// A checkout's goods are not sold when its order is made.
    CommitSkipped,
    /// Goods are held without an end.
    HoldEndless,
    /// A cart takes what was bought out of itself whenever it is told.
    SettledTwice,
    /// A code does not count who has used it.
    UsesUncounted,
    /// A code is not given back.
    CodeKept,
    /// Money is not given back.
    VoidSkipped,
    /// A key is not abandoned.
    AbandonSkipped,
    /// Money is reserved again under another key.
    AuthoriseRekeyed,
    /// Money is taken again under another key.
    CaptureRekeyed,
    /// Money is given back again under another key.
    RefundRekeyed,
    /// Goods are put back again under another name.
    RestockRekeyed,
    /// A checkout is cancelled when its goods are being sold.
    CancelledTooLate,
    /// Events are offered before the state that they tell of is committed.
    PublishedBeforeSave,
    /// What is decided again, because its save was lost, is not told.
    UntoldWhenDoneAgain,
    /// Events leave the row when they are offered.
    ClearedWhenOffered,
    /// Nobody is woken for events that nobody has taken.
    UnsentNotLookedAfter,
    /// Spilled events are not thought of when the rest is offered.
    SpillForgotten,
}

#[cfg(test)]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Plants `bug` on this thread (`None` = clean).
#[cfg(test)]
pub(in crate::actors) fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

#[cfg(test)]
pub(in crate::actors) fn is(bug: Bug) -> bool {
    let planted = PLANTED.get();
    planted == Some(bug)
        || (bug == Bug::BusyShelf && matches!(planted, Some(Bug::OnceAssumed | Bug::BirthTakenForFirst)))
}
