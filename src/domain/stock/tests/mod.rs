//! What holds for every stock, whatever arrives in whatever order, however often and however late.

mod any;
mod late;

use super::*;
use crate::domain::{
    Context, Id, Reference, UnixMillis,
    holds::{Act, Hold, State},
    product::Availability,
};

const MINUTE_MS: u64 = 60 * 1000;

fn reference(of: u128, n: u32) -> Reference {
    Reference { by: Id(of), n }
}

fn apply(stock: &mut Option<Stock>, command: &Command, now: u64) -> Result<Vec<Change>, Refusal> {
    let context = Context { now: UnixMillis(now), by: None, if_revision: None, expire_after_ms: 0 };
    let events = decide(stock.as_ref(), command, &context)?;
    events.iter().for_each(|event| evolve(stock, event));
    Ok(events.into_iter().map(|event| event.change).collect())
}

fn hold(of: u128, quantity: u32, expires_at: u64) -> Command {
    let (sku, by) = ("mug".into(), reference(of, 0));
    Command::Hold { sku, initial: 10, by, quantity, expires_at: UnixMillis(expires_at) }
}

fn act(of: u128, act: Act) -> Command {
    Command::Act { by: reference(of, 0), act }
}

fn release(of: u128) -> Command {
    Command::Release { sku: "mug".into(), initial: 10, by: reference(of, 0) }
}

fn pin(of: u128, attempt: u32) -> Command {
    act(of, Act::Pin { attempt })
}

fn unpin(of: u128, attempt: u32, expires_at: u64) -> Command {
    act(of, Act::Unpin { attempt, expires_at: UnixMillis(expires_at) })
}

fn ship(of: u128, n: u32, quantity: u32) -> Command {
    Command::Ship { by: reference(of, n), quantity }
}

fn restock(of: u128, n: u32, quantity: u32, from: Source) -> Command {
    Command::Restock { by: reference(of, n), quantity, from }
}

fn adjust(change: i32) -> Command {
    Command::Adjust { sku: "mug".into(), initial: 10, change, reason: "counted".into() }
}

/// A stock of ten after these commands, each at one moment later than the one before.
fn after(commands: &[Command]) -> Option<Stock> {
    let mut stock = None;
    for (n, command) in commands.iter().enumerate() {
        apply(&mut stock, command, 1 + n as u64).unwrap();
    }
    stock
}

fn parts(stock: Option<&Stock>) -> [u32; 4] {
    stock.map_or([0; 4], |stock| [stock.available, stock.held(), stock.sold, stock.on_hand()])
}

#[test]
fn p4_a_purchase_a_cancellation_and_a_return_move_units_and_lose_none() {
    let mut stock = None;
    let steps: &[(Command, [u32; 4])] = &[
        (hold(1, 3, 100), [7, 3, 0, 10]),
        (pin(1, 1), [7, 3, 0, 10]),
        (unpin(1, 1, 200), [7, 3, 0, 10]),
        (pin(1, 2), [7, 3, 0, 10]),
        (act(1, Act::Commit), [7, 0, 3, 10]),
        (act(1, Act::Forget), [7, 0, 3, 10]),
        (ship(1, 1, 1), [7, 0, 2, 9]),
        (restock(1, 2, 2, Source::Sold), [9, 0, 0, 9]),
        (restock(1, 3, 1, Source::Returned), [10, 0, 0, 10]),
        (adjust(-4), [6, 0, 0, 6]),
        (hold(2, 6, 100), [0, 6, 0, 6]),
        (act(2, Act::Release), [6, 0, 0, 6]),
    ];
    for (n, (command, expected)) in steps.iter().enumerate() {
        apply(&mut stock, command, 1 + n as u64).unwrap();
        assert_eq!(parts(stock.as_ref()), *expected, "{command:?}");
    }
}

/// The first thing that a stock hears may be that a hold is given back whose request is still on its way.
#[test]
fn p4_a_hold_given_back_before_it_came_is_refused_when_it_comes() {
    let mut stock = None;
    apply(&mut stock, &release(1), 1).unwrap();
    assert_eq!(parts(stock.as_ref()), [10, 0, 0, 10]);
    assert_eq!(apply(&mut stock, &hold(1, 4, 50), 2), Err(Refusal::Ended));
    assert_eq!(apply(&mut stock, &release(1), 3), Ok(vec![]), "it is given back already");
    apply(&mut stock, &hold(2, 4, 50), 4).unwrap();
    apply(&mut stock, &release(2), 5).unwrap();
    assert_eq!(parts(stock.as_ref()), [10, 0, 0, 10]);
    let other = Command::Release { sku: "cup".into(), initial: 10, by: reference(2, 0) };
    assert_eq!(apply(&mut stock, &other, 6), Err(Refusal::NotFound));
}

#[test]
fn every_refusal() {
    let ends = |expires_at| Act::Extend { expires_at: UnixMillis(expires_at) };
    let held = after(&[hold(1, 4, 50)]);
    let pinned = after(&[hold(1, 4, 50), pin(1, 2)]);
    let bought = after(&[hold(1, 4, 50), pin(1, 2), act(1, Act::Commit)]);
    let released = after(&[hold(1, 4, 50), act(1, Act::Release)]);
    let forgotten = after(&[hold(1, 4, 50), act(1, Act::Release), act(1, Act::Forget)]);
    let barred = after(&[adjust(1), act(1, Act::Release)]);
    let shipped = after(&[hold(1, 4, 50), pin(1, 2), act(1, Act::Commit), ship(1, 1, 4)]);
    let other = Command::Adjust { sku: "cup".into(), initial: 1, change: 1, reason: "".into() };
    let table = [
        (None, pin(1, 1), Refusal::NotFound),
        (None, act(1, Act::Release), Refusal::NotFound),
        (None, ship(1, 1, 1), Refusal::NotFound),
        (None, hold(1, 11, 50), Refusal::Insufficient { available: 10 }),
        (None, adjust(-11), Refusal::Insufficient { available: 10 }),
        (None, adjust(i32::MAX), Refusal::TooManyUnits),
        (held.clone(), other, Refusal::NotFound),
        (held.clone(), hold(2, 7, 50), Refusal::Insufficient { available: 6 }),
        (held.clone(), hold(2, 1, 20), Refusal::Ended),
        (held.clone(), pin(1, 0), Refusal::NotHeld),
        (held.clone(), pin(2, 1), Refusal::NotHeld),
        (held.clone(), act(2, ends(99)), Refusal::NotHeld),
        (held.clone(), act(1, Act::Commit), Refusal::NotHeld),
        (held.clone(), act(1, Act::Forget), Refusal::NotHeld),
        (pinned.clone(), pin(1, 1), Refusal::NotHeld),
        (pinned.clone(), pin(1, 3), Refusal::NotHeld),
        (pinned.clone(), unpin(1, 3, 99), Refusal::NotHeld),
        (pinned, act(1, Act::Forget), Refusal::NotHeld),
        (bought.clone(), act(1, Act::Release), Refusal::NotHeld),
        (bought.clone(), unpin(1, 2, 99), Refusal::NotHeld),
        (bought.clone(), act(1, ends(99)), Refusal::NotHeld),
        (bought.clone(), ship(1, 1, 5), Refusal::NotSold { sold: 4 }),
        (bought, restock(1, 1, 5, Source::Sold), Refusal::NotSold { sold: 4 }),
        (shipped.clone(), restock(1, 2, 1, Source::Sold), Refusal::NotSold { sold: 0 }),
        (shipped, restock(1, 2, UNITS_MAX, Source::Returned), Refusal::TooManyUnits),
        (released.clone(), hold(1, 4, 50), Refusal::Ended),
        (released, pin(1, 3), Refusal::NotHeld),
        (forgotten.clone(), hold(1, 4, 50), Refusal::Ended),
        (forgotten, act(1, Act::Commit), Refusal::NotHeld),
        (barred, hold(1, 4, 50), Refusal::Ended),
    ];
    for (mut stock, command, refusal) in table {
        assert_eq!(apply(&mut stock, &command, 20), Err(refusal), "{command:?}");
    }
    let stale = Context { now: UnixMillis(20), by: None, if_revision: Some(1), expire_after_ms: 0 };
    assert_eq!(decide(held.as_ref(), &adjust(1), &stale), Err(Refusal::RevisionMismatch { present: 2 }));
}

#[test]
fn p10_what_has_lapsed_is_let_go_when_its_time_has_come_and_not_before() {
    let mut stock = after(&[hold(1, 4, 50), hold(2, 3, 60), hold(3, 1, 40), pin(3, 1)]);
    assert_eq!(stock.as_ref().unwrap().wake_at(), Some(UnixMillis(50)));
    assert_eq!(apply(&mut stock, &Command::Expire, 49), Ok(vec![]));
    assert_eq!(apply(&mut stock, &Command::Expire, 50).unwrap().len(), 1);
    assert_eq!(parts(stock.as_ref()), [6, 4, 0, 10], "the pinned one stays");
    assert_eq!(stock.as_ref().unwrap().wake_at(), Some(UnixMillis(60)));
    apply(&mut stock, &Command::Expire, 60).unwrap();
    assert_eq!(stock.unwrap().wake_at(), None);
}

/// The attempt was given up before its pin arrived: the pin must not bind units that nobody would let go.
#[test]
fn p4_a_pin_that_comes_after_its_unpin_is_refused() {
    let mut stock = after(&[hold(1, 4, 50), unpin(1, 2, 60)]);
    assert_eq!(apply(&mut stock, &pin(1, 2), 10), Err(Refusal::NotHeld));
    apply(&mut stock, &Command::Expire, 59).unwrap();
    assert_eq!(parts(stock.as_ref()), [6, 4, 0, 10], "held for as long as was said last");
    apply(&mut stock, &pin(1, 3), 59).unwrap();
}

/// A shopper is not refused for units whose time is over only because nobody has said so yet.
#[test]
fn lapsed_holds_make_room_for_new_ones_before_their_wake() {
    let mut stock = after(&[hold(1, 10, 50)]);
    assert_eq!(apply(&mut stock, &hold(2, 1, 99), 49), Err(Refusal::Insufficient { available: 0 }));
    assert_eq!(apply(&mut stock, &hold(2, 11, 99), 50), Err(Refusal::Insufficient { available: 10 }));
    apply(&mut stock, &hold(2, 10, 99), 50).unwrap();
    assert_eq!(parts(stock.as_ref()), [0, 10, 0, 10]);
    assert_eq!(apply(&mut stock, &pin(1, 1), 51), Err(Refusal::NotHeld));
}

#[test]
fn p9_holds_and_moves_have_a_bound_and_letting_go_is_never_refused() {
    let mut stock = None;
    let large = Command::Adjust { sku: "mug".into(), initial: 100_000, change: 1, reason: "counted".into() };
    apply(&mut stock, &large, 1).unwrap();
    let late = 100 * MINUTE_MS;
    for n in 0..OPEN_HOLDS_MAX as u128 {
        apply(&mut stock, &hold(n, 1, late), 2).unwrap();
    }
    assert_eq!(apply(&mut stock, &hold(1_000_000, 1, late), 3), Err(Refusal::TooManyHolds));
    apply(&mut stock, &hold(0, 1, late + 1), 3).unwrap();
    apply(&mut stock, &act(0, Act::Release), 3).unwrap();
    apply(&mut stock, &hold(1_000_000, 1, late), 3).unwrap();
    // Ended holds that nobody forgets fill the row, until they are old enough.
    for n in 2_000_000..2_000_000 + HOLDS_MAX as u128 {
        apply(&mut stock, &act(n, Act::Release), 4).unwrap();
    }
    apply(&mut stock, &act(1, Act::Release), 5).unwrap();
    assert_eq!(stock.as_ref().unwrap().holds.as_slice().len(), HOLDS_MAX);
    assert_eq!(apply(&mut stock, &hold(1_000_001, 1, late), 5), Err(Refusal::TooManyHolds));
    apply(&mut stock, &hold(1_000_001, 1, 3 * late), 130 * MINUTE_MS).unwrap();
    assert_eq!(parts(stock.as_ref()), [100_000, 1, 0, 100_001], "all that lapsed is there again");

    for n in 0..MOVES_MAX as u32 {
        apply(&mut stock, &restock(1, n, 1, Source::Returned), 7).unwrap();
    }
    assert_eq!(apply(&mut stock, &restock(2, 0, 1, Source::Returned), 7), Err(Refusal::TooManyHolds));
    for n in 0..MOVES_MAX as u32 {
        apply(&mut stock, &Command::Act { by: reference(1, n), act: Act::Forget }, 8 + u64::from(n)).unwrap();
    }
    let kept: Vec<u32> = stock.as_ref().unwrap().moves.iter().map(|one| one.by.n).collect();
    assert_eq!(kept, (500..1_000).collect::<Vec<_>>(), "the newest");
    apply(&mut stock, &restock(2, 0, 1, Source::Returned), 2_000).unwrap();
}

#[test]
fn a_stock_is_out_low_or_plenty() {
    for (taken, level) in
        [(10, Availability::OutOfStock), (9, Availability::Low), (5, Availability::Low), (4, Availability::InStock)]
    {
        assert_eq!(after(&[hold(1, taken, 50)]).unwrap().level(), level);
    }
}
