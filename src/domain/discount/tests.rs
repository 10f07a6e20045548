//! What holds for every code, whatever arrives in whatever order, however often and however late.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::domain::{
    Context, Currency, Id, Reference, UnixMillis,
    holds::{self, Act, State},
};

const MINUTE_MS: u64 = 60 * 1000;

fn apply(discount: &mut Option<Discount>, command: &Command, now: u64) -> Result<Vec<Change>, Refusal> {
    let context = Context { now: UnixMillis(now), by: None, if_revision: None, expire_after_ms: 0 };
    let events = decide(discount.as_ref(), command, &context)?;
    events.iter().for_each(|event| evolve(discount, event));
    Ok(events.into_iter().map(|event| event.change).collect())
}

fn rule(uses_max: Option<u32>, uses_per_shopper_max: Option<u32>) -> Rule {
    Rule {
        code: "WELCOME10".into(),
        worth: Worth::Percent { basis_points: 1_000 },
        currency: Currency::EUR,
        per_line: false,
        categories: Vec::new(),
        minimum: 0,
        valid_from: None,
        valid_until: None,
        uses_max,
        uses_per_shopper_max,
    }
}

fn defined(uses_max: Option<u32>, uses_per_shopper_max: Option<u32>) -> Option<Discount> {
    let mut discount = None;
    apply(&mut discount, &Command::Define(rule(uses_max, uses_per_shopper_max)), 1).unwrap();
    discount
}

fn hold(of: u128, shopper: u128, expires_at: u64) -> Command {
    Command::Hold { by: Reference { by: Id(of), n: 0 }, shopper, expires_at: UnixMillis(expires_at) }
}

fn act(of: u128, act: Act) -> Command {
    Command::Act { by: Reference { by: Id(of), n: 0 }, act }
}

/// A use that is paid for.
fn buy(discount: &mut Option<Discount>, of: u128, shopper: u128, now: u64) -> Result<(), Refusal> {
    apply(discount, &hold(of, shopper, now + 1), now)?;
    for act in [Act::Pin { attempt: 1 }, Act::Commit, Act::Forget] {
        apply(discount, &self::act(of, act), now).unwrap();
    }
    Ok(())
}

#[test]
fn the_last_use_is_promised_once_and_is_there_again_when_it_is_given_back() {
    let mut discount = defined(Some(2), None);
    buy(&mut discount, 1, 7, 10).unwrap();
    apply(&mut discount, &hold(2, 7, 50), 10).unwrap();
    assert_eq!(apply(&mut discount, &hold(3, 8, 50), 10), Err(Refusal::UsedUp));
    apply(&mut discount, &hold(2, 7, 60), 10).unwrap();
    apply(&mut discount, &act(2, Act::Release), 11).unwrap();
    apply(&mut discount, &hold(4, 8, 50), 11).unwrap();
    assert_eq!(apply(&mut discount, &hold(5, 9, 60), 49), Err(Refusal::UsedUp));
    apply(&mut discount, &hold(5, 9, 60), 50).unwrap();
    assert_eq!(discount.unwrap().used, 1);
}

#[test]
fn a_limit_per_shopper_is_each_shopper_s_own_and_outlives_the_holds() {
    let mut discount = defined(None, Some(2));
    buy(&mut discount, 1, 7, 10).unwrap();
    apply(&mut discount, &hold(2, 7, 50), 10).unwrap();
    assert_eq!(apply(&mut discount, &hold(3, 7, 50), 10), Err(Refusal::UsedUpByShopper));
    apply(&mut discount, &hold(4, 8, 50), 10).unwrap();
    buy(&mut discount, 5, 7, 50).unwrap();
    assert_eq!(apply(&mut discount, &hold(6, 7, u64::MAX), 1 << 40), Err(Refusal::UsedUpByShopper));
    let discount = discount.unwrap();
    assert_eq!((discount.used, discount.used_by(7), discount.used_by(8)), (2, 2, 0));
}

#[test]
fn a_new_definition_keeps_what_was_used_and_what_is_held() {
    let mut discount = defined(None, None);
    for shopper in 0..3 {
        buy(&mut discount, shopper, shopper, 10).unwrap();
    }
    apply(&mut discount, &hold(9, 9, 50), 10).unwrap();
    assert_eq!(apply(&mut discount, &Command::Define(rule(None, None)), 11), Ok(vec![]), "the same again");
    apply(&mut discount, &Command::Define(rule(Some(2), Some(1))), 11).unwrap();
    assert_eq!(apply(&mut discount, &hold(10, 10, 50), 12), Err(Refusal::UsedUp));
    for act in [Act::Pin { attempt: 1 }, Act::Commit] {
        apply(&mut discount, &self::act(9, act), 12).unwrap();
    }
    let discount = discount.unwrap();
    assert_eq!((discount.used, &*discount.shoppers), (4, [(9, 1)].as_slice()));
}

#[test]
fn every_refusal() {
    let valid = |from: Option<u64>, until: Option<u64>| {
        let mut discount = None;
        let rule = Rule { valid_from: from.map(UnixMillis), valid_until: until.map(UnixMillis), ..rule(None, None) };
        apply(&mut discount, &Command::Define(rule), 1).unwrap();
        discount
    };
    let mut held = defined(None, None);
    apply(&mut held, &hold(1, 7, 50), 10).unwrap();
    let mut released = held.clone();
    apply(&mut released, &act(1, Act::Release), 11).unwrap();
    let table = [
        (None, hold(1, 7, 50), Refusal::NotFound),
        (None, act(1, Act::Release), Refusal::NotFound),
        (valid(Some(21), None), hold(1, 7, 50), Refusal::NotValidNow),
        (valid(None, Some(20)), hold(1, 7, 50), Refusal::NotValidNow),
        (defined(Some(0), None), hold(1, 7, 50), Refusal::UsedUp),
        (defined(None, Some(0)), hold(1, 7, 50), Refusal::UsedUpByShopper),
        (held.clone(), hold(2, 7, 20), Refusal::Ended),
        (held.clone(), act(1, Act::Commit), Refusal::NotHeld),
        (released, hold(1, 7, 50), Refusal::Ended),
    ];
    for (mut discount, command, refusal) in table {
        assert_eq!(apply(&mut discount, &command, 20), Err(refusal), "{command:?}");
    }
    apply(&mut valid(Some(20), Some(21)), &hold(1, 7, 50), 20).unwrap();
    let stale = Context { now: UnixMillis(20), by: None, if_revision: Some(1), expire_after_ms: 0 };
    assert_eq!(decide(held.as_ref(), &Command::Expire, &stale), Err(Refusal::RevisionMismatch { present: 2 }));
}

#[test]
fn p9_holds_and_shoppers_have_a_bound() {
    let mut discount = defined(None, Some(1));
    for n in 0..OPEN_HOLDS_MAX as u128 {
        apply(&mut discount, &hold(n, n, 9_000), 2).unwrap();
    }
    assert_eq!(apply(&mut discount, &hold(1 << 90, 1 << 90, 9_000), 3), Err(Refusal::TooMany));
    let mut discount = defined(None, Some(1));
    for n in 0..SHOPPERS_MAX as u128 {
        buy(&mut discount, n, n, 10).unwrap();
    }
    assert_eq!(buy(&mut discount, 1 << 90, 1 << 90, 10), Err(Refusal::UsedUp));
    let discount = discount.unwrap();
    assert_eq!((discount.shoppers.len(), discount.holds.as_slice().len()), (SHOPPERS_MAX, holds::FORGOTTEN_MAX));
}

fn any_command(now: u64) -> impl Strategy<Value = Command> {
    let of = || 0..6u128;
    let ends = move || (0..20 * MINUTE_MS).prop_map(move |ms| UnixMillis(now - MINUTE_MS + ms));
    let attempt = || 0..4u32;
    prop_oneof![
        8 => (of(), 0..3u128, ends()).prop_map(|(of, shopper, ends)| hold(of, shopper, ends.0)),
        2 => (of(), ends()).prop_map(|(of, expires_at)| act(of, Act::Extend { expires_at })),
        6 => (of(), attempt()).prop_map(|(of, attempt)| act(of, Act::Pin { attempt })),
        2 => (of(), attempt(), ends())
            .prop_map(|(of, attempt, expires_at)| act(of, Act::Unpin { attempt, expires_at })),
        4 => of().prop_map(|of| act(of, Act::Commit)),
        2 => of().prop_map(|of| act(of, Act::Release)),
        2 => of().prop_map(|of| act(of, Act::Forget)),
        1 => Just(Command::Expire),
    ]
}

/// Commands, each some minutes after the one before.
fn any_script() -> impl Strategy<Value = Vec<(Command, u64)>> {
    let step = (1..60u64).prop_flat_map(|minute| {
        let now = minute * 3 * MINUTE_MS;
        any_command(now).prop_map(move |command| (command, now))
    });
    prop::collection::vec(step, 0..80).prop_map(|mut script| {
        script.sort_by_key(|(_, now)| *now);
        script
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn p4_no_code_is_used_more_often_than_it_may_be(
        script in any_script(), uses_max in 1..6u32, uses_per_shopper_max in prop::option::of(1..4u32)
    ) {
        let mut discount = defined(Some(uses_max), uses_per_shopper_max);
        let (mut used, mut used_by) = (0, BTreeMap::<u128, u32>::new());
        for (command, now) in script {
            let shoppers: BTreeMap<_, _> =
                discount.iter().flat_map(|d| d.holds.as_slice()).map(|hold| (hold.by, hold.what)).collect();
            for change in apply(&mut discount, &command, now).unwrap_or_default() {
                if let Change::Hold(holds::Change::Committed { by }) = change {
                    used += 1;
                    *used_by.entry(shoppers[&by]).or_default() += 1;
                }
            }
            let discount = discount.as_ref().unwrap();
            prop_assert_eq!(discount.used, used);
            // What is promised counts: whatever is held may be bought.
            prop_assert!(u64::from(used) + discount.holds.open().count() as u64 <= u64::from(uses_max));
            for (shopper, max) in (0..3).filter_map(|shopper| Some((shopper, uses_per_shopper_max?))) {
                let bought = used_by.get(&shopper).copied().unwrap_or(0);
                let held = discount.holds.open().filter(|hold| hold.what == shopper).count() as u32;
                prop_assert!(bought + held <= max, "shopper {} has {} and {} of {}", shopper, bought, held, max);
            }
        }
    }

    #[test]
    fn p4_a_code_does_the_same_thing_once_and_keeps_what_is_pinned(script in any_script()) {
        let mut discount = defined(Some(5), Some(2));
        for (command, now) in script {
            if apply(&mut discount, &command, now).is_ok() {
                prop_assert_eq!(apply(&mut discount, &command, now), Ok(vec![]), "{:?}", command);
            }
            let pinned: Vec<_> = discount.iter().flat_map(|d| d.holds.as_slice()).copied().collect();
            for hold in pinned.into_iter().filter(|hold| hold.state == State::Pinned) {
                let (mut other, then) = (discount.clone(), now + 1_000 * MINUTE_MS);
                apply(&mut other, &Command::Expire, then).unwrap();
                let commit = Command::Act { by: hold.by, act: Act::Commit };
                let committed = Change::Hold(holds::Change::Committed { by: hold.by });
                prop_assert_eq!(apply(&mut other, &commit, then), Ok(vec![committed]));
            }
        }
    }
}
