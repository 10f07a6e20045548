//! Any commands in any order: stale attempts, late holds, moves under names that others have used.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::domain::holds::{self, KEPT_MS};

fn any_act() -> impl Strategy<Value = Act> {
    let attempt = || 0..4u32;
    prop_oneof![
        Just(Act::Extend { expires_at: UnixMillis(0) }),
        attempt().prop_map(|attempt| Act::Pin { attempt }),
        attempt().prop_map(|attempt| Act::Pin { attempt }),
        attempt().prop_map(|attempt| Act::Unpin { attempt, expires_at: UnixMillis(0) }),
        Just(Act::Commit),
        Just(Act::Release),
        Just(Act::Forget),
    ]
}

/// A command at `now`, whose times lie around it.
#[derive(Clone, Debug)]
enum Wish {
    Hold(u128, u32, i64),
    Act(u128, u32, Act, i64),
    Ship(u128, u32, u32),
    Restock(u128, u32, u32, bool),
    Adjust(i32),
    Expire,
}

impl Wish {
    fn at(&self, now: u64) -> Command {
        let around = |ms: i64| now.saturating_add_signed(ms);
        match *self {
            Self::Hold(of, quantity, ms) => hold(of, quantity, around(ms)),
            Self::Act(of, n, act, ms) => {
                let expires_at = UnixMillis(around(ms));
                let act = match act {
                    Act::Extend { .. } => Act::Extend { expires_at },
                    Act::Unpin { attempt, .. } => Act::Unpin { attempt, expires_at },
                    other => other,
                };
                Command::Act { by: reference(of, n), act }
            }
            Self::Ship(of, n, quantity) => ship(of, n, quantity),
            Self::Restock(of, n, quantity, is_sold) => {
                restock(of, n, quantity, if is_sold { Source::Sold } else { Source::Returned })
            }
            Self::Adjust(change) => adjust(change),
            Self::Expire => Command::Expire,
        }
    }
}

fn any_wish() -> impl Strategy<Value = Wish> {
    let ms = || -2 * MINUTE_MS as i64..20 * MINUTE_MS as i64;
    let of = || 0..4u128;
    prop_oneof![
        6 => (of(), 1..8u32, ms()).prop_map(|(of, quantity, ms)| Wish::Hold(of, quantity, ms)),
        16 => (of(), any_act(), ms()).prop_map(|(of, act, ms)| Wish::Act(of, 0, act, ms)),
        1 => (of(), 0..3u32).prop_map(|(of, n)| Wish::Act(of, n, Act::Forget, 0)),
        3 => (of(), 0..3u32, 1..4u32).prop_map(|(of, n, quantity)| Wish::Ship(of, n, quantity)),
        3 => (of(), 0..3u32, 1..4u32, any::<bool>()).prop_map(|(of, n, q, is_sold)| Wish::Restock(of, n, q, is_sold)),
        1 => (-8..8i32).prop_map(Wish::Adjust),
        1 => Just(Wish::Expire),
    ]
}

fn any_script() -> impl Strategy<Value = Vec<(Wish, u64)>> {
    let later = prop_oneof![4 => 0..MINUTE_MS, 1 => 0..KEPT_MS * 5 / 4];
    prop::collection::vec((any_wish(), later), 0..80)
}

/// What the events say, counted by hand in numbers that can be negative.
#[derive(Default)]
struct Ledger {
    available: i64,
    held: BTreeMap<Reference, i64>,
    sold: i64,
    on_hand: i64,
    /// The highest attempt of each hold since it was made.
    attempts: BTreeMap<Reference, u32>,
    /// Moves that must not happen again, and until when.
    moved: BTreeMap<Reference, u64>,
}

impl Ledger {
    fn count(&mut self, change: &Change, now: u64) {
        match change {
            Change::Opened { available, .. } => {
                self.available = i64::from(*available);
                self.on_hand = self.available;
            }
            Change::Hold(change) => self.count_hold(change),
            Change::Shipped { by, quantity } => {
                self.once(*by, now);
                self.sold -= i64::from(*quantity);
                self.on_hand -= i64::from(*quantity);
            }
            Change::Restocked { by, quantity, from } => {
                self.once(*by, now);
                self.available += i64::from(*quantity);
                match from {
                    Source::Sold => self.sold -= i64::from(*quantity),
                    Source::Returned => self.on_hand += i64::from(*quantity),
                }
            }
            Change::MoveForgotten { by } => drop(self.moved.insert(*by, now + KEPT_MS)),
            Change::Adjusted { change, .. } => {
                self.available += i64::from(*change);
                self.on_hand += i64::from(*change);
            }
            Change::Swept => {}
        }
    }

    fn once(&mut self, by: Reference, now: u64) {
        let again = self.moved.insert(by, u64::MAX);
        assert!(again.is_none_or(|until| until <= now), "{by} moved units twice");
    }

    fn count_hold(&mut self, change: &holds::Change<u32>) {
        match *change {
            holds::Change::Held { by, what, .. } => {
                self.available -= i64::from(what);
                assert_eq!(self.held.insert(by, i64::from(what)), None);
                self.attempts.remove(&by);
            }
            holds::Change::Pinned { by, attempt } => {
                let newest = self.attempts.insert(by, attempt).unwrap_or(0);
                assert!(attempt > newest, "{by} was pinned for {attempt} after {newest}");
            }
            holds::Change::Unpinned { by, attempt, .. } => drop(self.attempts.insert(by, attempt)),
            holds::Change::Committed { by } => self.sold += self.held.remove(&by).unwrap(),
            holds::Change::Released { by } => self.available += self.held.remove(&by).unwrap(),
            holds::Change::Extended { .. } | holds::Change::Barred { .. } | holds::Change::Forgotten { .. } => {}
        }
    }

    fn agrees(&self, stock: &Stock) {
        let held: i64 = self.held.values().sum();
        assert!(self.available >= 0 && held >= 0 && self.sold >= 0, "something is negative");
        assert_eq!(self.available + held + self.sold, self.on_hand, "units were made or lost");
        let parts = parts(Some(stock)).map(i64::from);
        assert_eq!(parts, [self.available, held, self.sold, self.on_hand]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn p4_on_hand_is_available_held_and_sold_and_nothing_is_oversold(script in any_script()) {
        let (mut stock, mut ledger, mut now) = (None, Ledger::default(), 1_000_000);
        for (wish, later) in script {
            now += later;
            if let Ok(changes) = apply(&mut stock, &wish.at(now), now) {
                changes.iter().for_each(|change| ledger.count(change, now));
            }
            if let Some(stock) = &stock {
                ledger.agrees(stock);
            }
        }
    }

    #[test]
    fn p4_whatever_was_accepted_is_accepted_again_without_effect(script in any_script()) {
        let (mut stock, mut now) = (None, 1_000_000);
        for (wish, later) in script {
            now += later;
            let command = wish.at(now);
            // An adjustment is guarded by its client's key.
            if apply(&mut stock, &command, now).is_ok() && !matches!(command, Command::Adjust { .. }) {
                prop_assert_eq!(apply(&mut stock, &command, now), Ok(vec![]), "{:?}", command);
            }
        }
    }

    #[test]
    fn p4_the_commit_of_what_is_pinned_is_never_refused(script in any_script(), much_later: u32) {
        let (mut stock, mut now) = (None, 1_000_000);
        for (wish, later) in script {
            now += later;
            drop(apply(&mut stock, &wish.at(now), now));
            let pinned = |hold: &&Hold<u32>| hold.state == State::Pinned;
            let holds: Vec<_> = stock.iter().flat_map(|stock| stock.holds.as_slice()).filter(pinned).copied().collect();
            for held in holds {
                let (mut other, then) = (stock.clone(), now + u64::from(much_later));
                apply(&mut other, &Command::Expire, then).unwrap();
                let commit = Command::Act { by: held.by, act: Act::Commit };
                let committed = Change::Hold(holds::Change::Committed { by: held.by });
                prop_assert_eq!(apply(&mut other, &commit, then), Ok(vec![committed]));
            }
        }
    }
}
