//! What holds for every order, whatever is asked of it and however its deeds are answered.

mod world;

use proptest::prelude::*;

use self::world::{any_happening, lives};
use super::*;
use crate::domain::{
    CartId, CheckoutId, Context, Currency, GuestId, OrderId, Reference, Slot, UnixMillis,
    address::{Address, Country},
    cart::{LINES_MAX, LineId, Owner},
    pricing::{Discounted, Offer, Priced, Quote},
};

fn owner() -> Owner {
    Owner::Guest(GuestId::new(Slot::from_bits(3), UnixMillis(1), 1))
}

/// The shop asks, at this time.
fn shop(now: u64) -> Context {
    Context { now: UnixMillis(now), by: None, if_revision: None, expire_after_ms: 0 }
}

/// A line of this product; what is paid for it is its price less `discount`, and the tax on top.
fn bought(line: u32, sku: &str, quantity: u16, unit_price: i64, discount: i64, tax: i64) -> Bought {
    Bought {
        line: LineId(line),
        sku: sku.into(),
        title: "Mug, blue".into(),
        options: vec![("size".into(), "M".into())].into(),
        metadata: vec![("gift".into(), "true".into())].into(),
        quantity,
        unit_price,
        subtotal: unit_price * i64::from(quantity),
        discount,
        tax,
    }
}

fn placement_of(lines: Vec<Bought>, capture: Capture) -> Placement {
    let priced = |b: &Bought| Priced { line: b.line, subtotal: b.subtotal, discount: b.discount, tax: b.tax };
    let subtotal = lines.iter().map(|line| line.subtotal).sum::<i64>();
    let discount = lines.iter().map(|line| line.discount).sum::<i64>();
    let tax = lines.iter().map(|line| line.tax).sum::<i64>();
    let total = subtotal + discount + tax + 490;
    let offer = |id: &str, price| Offer { id: id.into(), title: "Parcel".into(), price };
    Placement {
        checkout: CheckoutId::new(Slot::from_bits(3), UnixMillis(1), 2),
        cart: CartId::new(Slot::from_bits(3), UnixMillis(1), 3),
        owner: owner(),
        currency: Currency::EUR,
        email: "ada@example.org".into(),
        address: Some(Address {
            name: "Ada Lovelace".into(),
            line1: "12 St James's Square".into(),
            line2: None,
            city: "London".into(),
            region: Some("Greater London".into()),
            postal_code: "SW1Y 4JH".into(),
            country: Country::parse("GB").unwrap(),
        }),
        quote: Quote {
            currency: Currency::EUR,
            lines: lines.iter().map(priced).collect(),
            discounts: vec![Discounted { code: "WELCOME10".into(), amount: discount }],
            offers: vec![offer("express", 990), offer("standard", 490)],
            option: Some("standard".into()),
            subtotal,
            discount,
            shipping: 490,
            tax,
            tax_included: false,
            total,
        },
        lines,
        gateway: "sandbox".into(),
        reference: "pay_1".into(),
        authorised: total,
        capture,
    }
}

/// Three lines, two of them of one product.
pub(crate) fn placement(capture: Capture) -> Placement {
    let lines =
        vec![bought(1, "mug", 3, 1299, -389, 233), bought(2, "tee", 7, 2490, -1, 19), bought(4, "mug", 2, 1299, 0, 0)];
    placement_of(lines, capture)
}

pub(crate) fn apply(order: &mut Option<Order>, command: &Command, context: &Context) -> Result<usize, Refusal> {
    let events = decide(order.as_ref(), command, context)?;
    events.iter().for_each(|event| evolve(order, event));
    Ok(events.len())
}

fn asked(order: &mut Option<Order>, command: &Command) -> Result<usize, Refusal> {
    apply(order, command, &shop(5))
}

pub(crate) fn made(capture: Capture) -> Option<Order> {
    let mut order = None;
    asked(&mut order, &Command::Place(Box::new(placement(capture)))).unwrap();
    order
}

/// Answers everything that is pending.
pub(crate) fn answer(order: &mut Option<Order>, done: &Done) {
    for (step, _) in pending(order.as_ref().unwrap()) {
        asked(order, &on_done(step, done.clone(), false)).unwrap();
    }
}

pub(crate) fn fulfil(lines: &[(u32, u16)]) -> Command {
    Command::Fulfil { lines: named(lines), carrier: Some("DHL".into()), label: Some("JD014600".into()) }
}

fn named(lines: &[(u32, u16)]) -> Vec<(LineId, u16)> {
    lines.iter().map(|(id, units)| (LineId(*id), *units)).collect()
}

pub(crate) fn take_back(lines: &[(u32, u16)]) -> Command {
    Command::Return { lines: named(lines) }
}

fn refused() -> Done {
    Done::Refused { reason: "no".into() }
}

fn status(order: &Option<Order>) -> Status {
    order.as_ref().unwrap().status()
}

proptest! {
    #[test]
    fn p5_money_and_goods_move_once_whatever_is_asked_and_however_often_it_is_answered(
        happenings in prop::collection::vec(any_happening(), 0..80), at_order: bool
    ) {
        lives(if at_order { Capture::AtOrder } else { Capture::AtFulfilment }, &happenings);
    }

    /// However goods come back, what goes back for them is in the end exactly what was paid for them.
    #[test]
    fn the_shares_of_returns_are_what_was_paid(
        lines in prop::collection::vec((1..40u16, 0..10_000i64, 0..100u8, 0..3_000i64), 1..6),
        pieces in prop::collection::vec((any::<prop::sample::Index>(), 1..9u16), 0..60)
    ) {
        let line = |(n, (quantity, price, percent, tax)): (usize, (u16, i64, u8, i64))| {
            let discount = -(price * i64::from(quantity) * i64::from(percent) / 100);
            bought(n as u32 + 1, "mug", quantity, price, discount, tax)
        };
        let lines: Vec<_> = lines.into_iter().enumerate().map(line).collect();
        let everything: Vec<_> = lines.iter().map(|line| (line.line.0, line.quantity)).collect();
        let paid: i64 = lines.iter().map(|line| line.subtotal + line.discount + line.tax).sum();
        let mut order = None;
        asked(&mut order, &Command::Place(Box::new(placement_of(lines, Capture::AtOrder)))).unwrap();
        answer(&mut order, &Done::Yes);
        asked(&mut order, &fulfil(&everything)).unwrap();
        for (pick, units) in pieces {
            let (line, _) = everything[pick.index(everything.len())];
            let _ = asked(&mut order, &take_back(&[(line, units)]));
        }
        let left: Vec<_> = order.as_ref().unwrap().lines.iter()
            .filter(|line| line.returned < line.fulfilled)
            .map(|line| (line.bought.line.0, line.fulfilled - line.returned))
            .collect();
        if !left.is_empty() {
            asked(&mut order, &take_back(&left)).unwrap();
        }
        answer(&mut order, &Done::Yes);
        let order = order.unwrap();
        prop_assert_eq!(order.payment.refunded, paid);
        prop_assert_eq!(order.status(), Status::Returned);
    }
}

#[test]
fn what_comes_first_in_the_status() {
    let mut order = made(Capture::AtOrder);
    assert_eq!(status(&order), Status::Placed);
    answer(&mut order, &Done::Yes);
    assert_eq!(status(&order), Status::Paid);
    let mut cancelled = order.clone();
    asked(&mut order, &fulfil(&[(1, 3)])).unwrap();
    assert_eq!(status(&order), Status::PartlyFulfilled);
    asked(&mut order, &fulfil(&[(2, 7), (4, 2)])).unwrap();
    assert_eq!(status(&order), Status::Fulfilled);
    asked(&mut order, &take_back(&[(4, 1)])).unwrap();
    assert_eq!(status(&order), Status::Fulfilled, "the money has not gone back yet");
    answer(&mut order, &Done::Yes);
    assert_eq!(status(&order), Status::PartlyRefunded);
    let rest = order.as_ref().unwrap().refundable();
    let mut returned = order.clone();
    asked(&mut order, &Command::Refund { amount: rest }).unwrap();
    answer(&mut order, &Done::Yes);
    assert_eq!(status(&order), Status::Refunded);
    asked(&mut returned, &take_back(&[(1, 3), (2, 7), (4, 1)])).unwrap();
    assert_eq!(status(&returned), Status::Returned);
    asked(&mut cancelled, &Command::Cancel { reason: None }).unwrap();
    answer(&mut cancelled, &Done::Yes);
    let order = cancelled.unwrap();
    assert_eq!((order.status(), order.payment.refunded), (Status::Cancelled, order.payment.captured));
}

#[test]
fn p5_money_that_went_back_at_the_gateway_is_told_from_the_shops_own() {
    let mut order = made(Capture::AtOrder);
    let captured = order.as_ref().unwrap().payment.authorised;
    let learn = |refunded| Command::LearnRefunded { captured, refunded };
    assert_eq!(asked(&mut order, &learn(30)), Err(Refusal::Busy), "it was taken, and nobody has heard of it");
    answer(&mut order, &Done::Yes);
    assert_eq!(order.as_ref().unwrap().payment.captured, captured);
    for (total, events) in [(0, 0), (30, 1), (30, 0), (20, 0)] {
        assert_eq!(asked(&mut order, &learn(total)), Ok(events), "{total}");
    }
    asked(&mut order, &Command::Refund { amount: 50 }).unwrap();
    assert_eq!(asked(&mut order, &learn(80)), Err(Refusal::Busy), "30 and 50, or 80 and none yet?");
    answer(&mut order, &Done::Yes);
    assert_eq!(asked(&mut order, &learn(80)), Ok(0));
    assert_eq!(asked(&mut order, &learn(i64::MAX)), Ok(1));
    assert_eq!(order.as_ref().unwrap().payment.refunded, captured, "no more than was taken");
    let shopper = Context { by: Some(owner()), ..shop(5) };
    assert_eq!(apply(&mut order, &learn(1), &shopper), Err(Refusal::ShopOnly));
}

#[test]
fn p5_the_rest_of_a_cancelled_order_goes_back_although_a_part_was_back_already() {
    let mut order = made(Capture::AtOrder);
    answer(&mut order, &Done::Yes);
    let captured = order.as_ref().unwrap().payment.captured;
    asked(&mut order, &Command::Cancel { reason: None }).unwrap();
    // Somebody gave 30 back meanwhile: the gateway will not give back all.
    answer(&mut order, &refused());
    assert_eq!(asked(&mut order, &Command::LearnRefunded { captured, refunded: 30 }), Ok(1));
    assert_eq!(order.as_ref().unwrap().refunding(), captured - 30);
    answer(&mut order, &Done::Yes);
    assert_eq!(order.unwrap().payment.refunded, captured);
}

#[test]
fn p6_a_capture_that_is_refused_cancels_the_order_and_its_goods_go_back() {
    for capture in [Capture::AtOrder, Capture::AtFulfilment] {
        let mut order = made(capture);
        if capture == Capture::AtFulfilment {
            assert!(pending(order.as_ref().unwrap()).is_empty());
            asked(&mut order, &fulfil(&[(1, 1)])).unwrap();
            let waits = order.as_ref().unwrap();
            assert_eq!((waits.lines[0].fulfilled, waits.shipments[0].left_at), (0, None), "nothing leaves unpaid");
        }
        answer(&mut order, &refused());
        let cancelled = order.as_ref().unwrap();
        assert_eq!((cancelled.status(), cancelled.cancelled), (Status::Cancelled, Some(Cause::CaptureRefused)));
        assert!(cancelled.shipments.is_empty());
        let calls: Vec<_> = pending(cancelled).into_iter().map(|(_, call)| call).collect();
        let restocked = |name: &str| {
            calls.iter().find_map(|call| match call {
                Call::Restock { sku, quantity, from: Origin::Sold, .. } if &**sku == name => Some(*quantity),
                _ => None,
            })
        };
        assert!(matches!(&calls[0], Call::Void(deed) if deed.amount.amount == cancelled.payment.authorised));
        assert_eq!((calls.len(), restocked("mug"), restocked("tee")), (3, Some(5), Some(7)));
        answer(&mut order, &Done::Yes);
        assert!(order.unwrap().payment.voided);
    }
}

#[test]
fn a_parcel_that_waits_for_the_money_leaves_with_it() {
    let mut order = made(Capture::AtFulfilment);
    asked(&mut order, &fulfil(&[(1, 1), (1, 1)])).unwrap();
    asked(&mut order, &fulfil(&[(4, 2)])).unwrap();
    let error = Refusal::QuantityOutOfRange { line: LineId(1), requested: 2, max: 1 };
    assert_eq!(asked(&mut order, &fulfil(&[(1, 2)])), Err(error), "units that wait are taken");
    assert_eq!(pending(order.as_ref().unwrap()).len(), 1, "the money is taken once");
    answer(&mut order, &Done::Yes);
    let sent = order.unwrap();
    assert!(sent.shipments.iter().all(|parcel| parcel.left_at == Some(UnixMillis(5))));
    let by = Reference { by: sent.id.0, n: DEED_FIRST + 1 };
    let ship = Call::Ship { sku: "mug".into(), by, quantity: 4 };
    assert_eq!(pending(&sent), [(Step::Deed(DEED_FIRST + 1), ship)], "one deed for one stock");
}

#[test]
fn a_stock_forgets_at_once_what_it_was_asked_for_once() {
    for once in [true, false] {
        let mut order = made(Capture::AtOrder);
        answer(&mut order, &Done::Yes);
        asked(&mut order, &fulfil(&[(1, 1)])).unwrap();
        let step = pending(order.as_ref().unwrap())[0].0;
        asked(&mut order, &on_done(step, Done::Yes, once)).unwrap();
        let is_forgetting = matches!(pending(order.as_ref().unwrap())[..], [(Step::Forget(_), _)]);
        assert_eq!((is_forgetting, wake_at(order.as_ref().unwrap()).is_none()), (once, once));
    }
}

/// Whether to void or to refund is known when the capture was answered, and not before.
#[test]
fn a_cancel_while_the_money_is_being_taken_waits_for_the_answer() {
    for (done, back) in [(Done::Yes, "refund"), (refused(), "void")] {
        let mut order = made(Capture::AtOrder);
        let by_shopper = Context { by: Some(owner()), ..shop(6) };
        assert_eq!(apply(&mut order, &Command::Cancel { reason: None }, &by_shopper), Ok(1));
        assert_eq!(order.as_ref().unwrap().cancelled, Some(Cause::Shopper));
        let step = Step::Deed(DEED_FIRST);
        assert_eq!(asked(&mut order, &on_done(step, done.clone(), false)), Ok(1));
        assert_eq!(asked(&mut order, &on_done(step, done, false)), Ok(0), "again");
        let money = pending(order.as_ref().unwrap()).into_iter().find_map(|(_, call)| match call {
            Call::Refund(deed) => Some(("refund", deed.amount.amount)),
            Call::Void(deed) => Some(("void", deed.amount.amount)),
            _ => None,
        });
        assert_eq!(money, Some((back, order.unwrap().totals.total)));
    }
}

#[test]
fn a_refund_that_is_refused_may_be_asked_for_again_under_another_number() {
    let mut order = made(Capture::AtOrder);
    answer(&mut order, &Done::Yes);
    asked(&mut order, &Command::Cancel { reason: None }).unwrap();
    answer(&mut order, &refused());
    let amount = order.as_ref().unwrap().refundable();
    assert_eq!(asked(&mut order, &Command::Refund { amount }), Ok(1));
    answer(&mut order, &Done::Yes);
    assert_eq!(order.unwrap().payment.refunded, amount);
}

#[test]
fn every_refusal() {
    let placed = made(Capture::AtOrder);
    let mut paid = placed.clone();
    answer(&mut paid, &Done::Yes);
    let mut sent = paid.clone();
    asked(&mut sent, &fulfil(&[(1, 3)])).unwrap();
    let mut cancelled = paid.clone();
    asked(&mut cancelled, &Command::Cancel { reason: None }).unwrap();
    let mut many = paid.clone();
    let mut heavy = placement(Capture::AtFulfilment);
    heavy.lines[0].quantity = 2;
    let illegal = |status, action| Refusal::IllegalTransition { status, action };
    let total = paid.as_ref().unwrap().totals.total;
    let table = [
        (None, Command::Capture, Refusal::NotFound),
        (None, Command::Place(Box::new(heavy)), Refusal::Inconsistent),
        (placed.clone(), fulfil(&[(1, 1)]), illegal(Status::Placed, Action::Fulfil)),
        (placed, Command::Refund { amount: 1 }, illegal(Status::Placed, Action::Refund)),
        (paid.clone(), take_back(&[(1, 1)]), illegal(Status::Paid, Action::Return)),
        (paid.clone(), fulfil(&[]), Refusal::NoLines),
        (paid.clone(), fulfil(&[(3, 1)]), Refusal::LineNotFound(LineId(3))),
        (paid.clone(), fulfil(&[(1, 0)]), Refusal::QuantityOutOfRange { line: LineId(1), requested: 0, max: 3 }),
        (paid.clone(), Command::Refund { amount: 0 }, Refusal::RefundOutOfRange { requested: 0, max: total }),
        (
            paid.clone(),
            Command::Refund { amount: total + 1 },
            Refusal::RefundOutOfRange { requested: total + 1, max: total },
        ),
        (sent.clone(), Command::Cancel { reason: None }, illegal(Status::PartlyFulfilled, Action::Cancel)),
        (sent.clone(), take_back(&[(2, 1)]), Refusal::QuantityOutOfRange { line: LineId(2), requested: 1, max: 0 }),
        (cancelled.clone(), Command::Capture, illegal(Status::Cancelled, Action::Capture)),
        (cancelled, fulfil(&[(1, 1)]), illegal(Status::Cancelled, Action::Fulfil)),
    ];
    for (mut order, command, refusal) in table {
        assert_eq!(asked(&mut order, &command), Err(refusal), "{command:?}");
    }
    let by = |order: &Option<Order>, context: Context, command: Command| decide(order.as_ref(), &command, &context);
    let stranger = Owner::Guest(GuestId::new(Slot::from_bits(3), UnixMillis(1), 9));
    let back = || take_back(&[(1, 1)]);
    assert_eq!(by(&sent, Context { by: Some(stranger), ..shop(6) }, back()), Err(Refusal::NotFound));
    let stale = Context { if_revision: Some(1), ..shop(6) };
    assert_eq!(by(&sent, stale, back()), Err(Refusal::RevisionMismatch { present: 3 }));
    let shopper = Context { by: Some(owner()), ..shop(6) };
    assert_eq!(by(&sent, shopper, Command::Refund { amount: 1 }), Err(Refusal::ShopOnly));
    assert!(by(&sent, shopper, back()).is_ok());
    for _ in 0..SHIPMENTS_MAX {
        many.as_mut().unwrap().lines[1].bought.quantity = 99;
        asked(&mut many, &fulfil(&[(2, 1)])).unwrap();
    }
    assert_eq!(asked(&mut many, &fulfil(&[(2, 1)])), Err(Refusal::TooManyShipments { max: SHIPMENTS_MAX }));
    let mut busy = paid;
    for _ in 0..DEEDS_MAX {
        asked(&mut busy, &Command::Refund { amount: 1 }).unwrap();
    }
    assert_eq!(asked(&mut busy, &Command::Refund { amount: 1 }), Err(Refusal::Busy));
    assert!(asked(&mut busy, &Command::Cancel { reason: None }).is_ok(), "what must be is never held up");
}

#[test]
fn an_order_that_costs_nothing_is_paid_when_it_is_made() {
    let mut gift = placement_of(vec![bought(1, "mug", 2, 100, -200, 0)], Capture::AtOrder);
    (gift.quote.total, gift.quote.shipping, gift.authorised) = (0, 0, 0);
    let mut order = None;
    asked(&mut order, &Command::Place(Box::new(gift))).unwrap();
    assert_eq!((status(&order), pending(order.as_ref().unwrap()).len()), (Status::Paid, 0));
    asked(&mut order, &fulfil(&[(1, 2)])).unwrap();
    asked(&mut order, &take_back(&[(1, 2)])).unwrap();
    let calls = pending(order.as_ref().unwrap());
    assert!(calls.iter().all(|(_, call)| matches!(call, Call::Ship { .. } | Call::Restock { .. })), "no money moves");
}

#[test]
fn the_history_keeps_the_newest_and_counts_the_rest() {
    let mut order = made(Capture::AtOrder);
    answer(&mut order, &Done::Yes);
    for _ in 0..150 {
        asked(&mut order, &Command::Refund { amount: 1 }).unwrap();
        answer(&mut order, &Done::Refused { reason: "ä".repeat(99).into() });
    }
    let order = order.unwrap();
    assert_eq!((order.history.len(), order.history_dropped), (HISTORY_MAX, 102));
    let newest = order.history.last().unwrap();
    assert_eq!((newest.kind, newest.amount), (Kind::RefundRefused, Some(1)));
    assert_eq!(newest.note.as_deref(), Some(&*"ä".repeat(NOTE_BYTES_MAX / 2)));
    order.check().unwrap();
}

#[test]
fn who_the_shopper_is_does_not_show_in_debug() {
    let made = made(Capture::AtOrder).unwrap();
    let place = Command::Place(Box::new(placement(Capture::AtOrder)));
    let event = decide(None, &place, &shop(1)).unwrap();
    let shown = format!("{made:?} {place:?} {event:?}");
    for secret in ["ada@", "Ada", "St James", "London", "SW1Y"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

#[test]
fn a_placement_that_is_no_order_is_told() {
    let broken = |change: fn(&mut Placement)| {
        let mut placement = placement(Capture::AtOrder);
        placement.check().unwrap();
        change(&mut placement);
        placement.check().unwrap_err()
    };
    let faults = [
        broken(|p| p.lines.clear()),
        broken(|p| p.lines = (0..=LINES_MAX as u32).map(|n| bought(n, "mug", 1, 1, 0, 0)).collect()),
        broken(|p| p.lines[1].line = LineId(1)),
        broken(|p| p.lines[0].unit_price = -1),
        broken(|p| p.lines[0].discount = i64::MIN),
        broken(|p| p.lines[0].tax = i64::MAX),
        broken(|p| p.quote.subtotal += 1),
        broken(|p| p.quote.total -= 491),
        broken(|p| p.authorised -= 1),
        broken(|p| p.currency = Currency::parse("USD").unwrap()),
    ];
    assert_eq!(faults.len(), 10);
}

/// Numbers are printed on paper: this one's order will always be found under it.
#[test]
fn numbers_are_fixed_and_apart() {
    let order = |slot, at, random| OrderId::new(Slot::from_bits(slot), UnixMillis(at), random);
    assert_eq!(Number::of(order(3, 1, 2)).to_string(), "1ZN1-4QYV-AM29");
    let mut numbers: Vec<_> = (0..5_000u128).map(|n| Number::of(order(3, 1 + n as u64 % 7, n))).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 5_000);
    let heads: std::collections::BTreeSet<_> = numbers.iter().map(|n| n.to_string()[..2].to_owned()).collect();
    assert!(heads.len() > 900, "numbers of one shopper differ from their first digits on: {}", heads.len());
}
