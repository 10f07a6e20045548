//! What a checkout does where it is told to, one rule at a time; `saga` holds it against a whole world.

mod saga;
mod world;

use super::*;
use crate::domain::{
    CartId, CheckoutId, Context, Currency, GuestId, OrderId, Slot, UnixMillis,
    address::{Address, Country},
    cart::{Line, LineId, Owner},
    discount::{Rule, Worth},
    payment::{self, Authorised, Token},
    pricing::{Discounted, Offer, Priced, Quote},
};

/// An answer to a request that may have a second one on its way.
fn on_done(step: Step, done: Done) -> Command {
    super::on_done(step, done, false)
}

pub(super) const TTL_MS: u64 = 15 * 60_000;
pub(super) const TTL_MAX_MS: u64 = 60 * 60_000;
pub(super) const START: u64 = 1_795_000_000_000;

pub(super) fn owner() -> Owner {
    Owner::Guest(GuestId::new(Slot::from_bits(3), UnixMillis(1), 1))
}

fn line(n: u32, sku: &str, quantity: u16) -> CheckoutLine {
    CheckoutLine {
        line: Line {
            id: LineId(n),
            sku: sku.into(),
            title: "Mug".into(),
            quantity,
            quantity_max: 99,
            unit_price: 1_000,
            options: Box::default(),
            metadata: Box::default(),
        },
        categories: vec!["kitchen".into()],
        weight_g: 300,
        stock_initial: 5,
    }
}

pub(super) fn quote(option: Option<&str>) -> Quote {
    let priced = |line, subtotal| Priced { line: LineId(line), subtotal, discount: -100, tax: 0 };
    Quote {
        currency: Currency::EUR,
        lines: vec![priced(1, 1_000), priced(2, 2_000), priced(3, 1_000)],
        discounts: vec![Discounted { code: "TEN".into(), amount: -300 }],
        offers: vec![Offer { id: "standard".into(), title: "Standard".into(), price: 490 }],
        option: option.map(Box::from),
        subtotal: 4_000,
        discount: -300,
        shipping: if option.is_some() { 490 } else { 0 },
        tax: 0,
        tax_included: true,
        total: if option.is_some() { 4_190 } else { 3_700 },
    }
}

fn rule() -> Rule {
    Rule {
        code: "TEN".into(),
        worth: Worth::Percent { basis_points: 1_000 },
        currency: Currency::EUR,
        per_line: false,
        categories: vec![],
        minimum: 0,
        valid_from: None,
        valid_until: None,
        uses_max: Some(10),
        uses_per_shopper_max: None,
    }
}

/// Three lines of two products, and a code.
pub(super) fn create() -> Create {
    Create {
        id: CheckoutId::new(Slot::from_bits(3), UnixMillis(1), 7),
        cart: CartId::new(Slot::from_bits(3), UnixMillis(1), 2),
        owner: owner(),
        currency: Currency::EUR,
        lines: vec![line(1, "mug", 1), line(2, "tee", 2), line(3, "mug", 1)],
        codes: vec![rule()],
        quote: Quote { offers: vec![], ..quote(None) },
        email: None,
        asked_at: UnixMillis(START),
        ttl_ms: TTL_MS,
        ttl_max_ms: TTL_MAX_MS,
    }
}

pub(super) fn address() -> Address {
    Address {
        name: "Ada Lovelace".into(),
        line1: "12 Rose Street".into(),
        line2: None,
        city: "Bristol".into(),
        region: None,
        postal_code: "BS1 1AA".into(),
        country: Country::parse("GB").unwrap(),
    }
}

pub(super) fn details() -> Command {
    Command::Patch(Box::new(Patch {
        email: Some(Some(Email("ada@example.org".into()))),
        address: Some(Some(address())),
        option: Some(Some("standard".into())),
        quote: quote(Some("standard")),
    }))
}

pub(super) fn pay(token: &str) -> Command {
    Command::Complete { gateway: "sandbox".into(), token: Token(token.into()) }
}

pub(super) fn apply(checkout: &mut Option<Checkout>, command: &Command, now: u64) -> Result<usize, Refusal> {
    let context = Context { now: UnixMillis(now), by: None, if_revision: None, expire_after_ms: 0 };
    let events = decide(checkout.as_ref(), command, &context)?;
    events.iter().for_each(|event| evolve(checkout, event));
    Ok(events.len())
}

/// Answers every pending step that `answer` has an answer to.
fn answer_all(checkout: &mut Option<Checkout>, now: u64, answer: impl Fn(Step) -> Option<Done>) {
    for (step, _) in pending(checkout.as_ref().unwrap()) {
        if let Some(done) = answer(step) {
            apply(checkout, &on_done(step, done), now).unwrap();
        }
    }
}

fn all_ok(step: Step) -> Option<Done> {
    (!matches!(step, Step::Authorise { .. } | Step::Abandon(_))).then_some(Done::Ok)
}

fn made() -> Option<Checkout> {
    let mut checkout = None;
    apply(&mut checkout, &Command::Create(Box::new(create())), START).unwrap();
    checkout
}

/// Everything held, and stretched to the visible expiry.
fn opened() -> Option<Checkout> {
    let mut checkout = made();
    answer_all(&mut checkout, START + 10, all_ok);
    answer_all(&mut checkout, START + 20, all_ok);
    apply(&mut checkout, &details(), START + 30).unwrap();
    checkout
}

/// Everything pinned, the gateway asked.
fn authorising() -> Option<Checkout> {
    let mut checkout = opened();
    assert_eq!(apply(&mut checkout, &pay("tok_approve"), START + 100), Ok(1));
    answer_all(&mut checkout, START + 110, all_ok);
    checkout
}

fn gateway_says(checkout: &mut Option<Checkout>, authorised: Authorised, now: u64) {
    let asked = pending(checkout.as_ref().unwrap());
    let (step, _) = asked.iter().find(|(step, _)| matches!(step, Step::Authorise { .. })).unwrap();
    apply(checkout, &on_done(*step, Done::Authorised(authorised)), now).unwrap();
}

fn yes() -> Authorised {
    Authorised::Yes { reference: "pay_1".into() }
}

fn names(checkout: &Option<Checkout>) -> Vec<Step> {
    pending(checkout.as_ref().unwrap()).into_iter().map(|(step, _)| step).collect()
}

#[test]
fn one_hold_per_product_and_code() {
    let checkout = made().unwrap();
    let stock = |sku: &str| What::Stock { sku: sku.into(), initial: 5, quantity: 2 };
    let whats: Vec<_> = checkout.holds.iter().map(|hold| hold.what.clone()).collect();
    assert_eq!(whats, [stock("mug"), stock("tee"), What::Code { code: "TEN".into() }]);
    assert_eq!(names(&Some(checkout)), [Step::Hold(0), Step::Hold(1), Step::Hold(2)]);
}

#[test]
fn a_purchase_from_end_to_end() {
    let mut checkout = authorising();
    assert_eq!(names(&checkout), [Step::Authorise { attempt: 1, round: 0 }]);
    let Some((_, Call::Authorise(asked))) = pending(checkout.as_ref().unwrap()).pop() else { panic!() };
    assert_eq!((asked.amount.amount, &*asked.token.0), (4_190, "tok_approve"));
    assert_eq!(checkout.as_ref().unwrap().visible_status(), Status::Completing);
    gateway_says(&mut checkout, yes(), START + 200);
    assert_eq!(checkout.as_ref().unwrap().attempt(1).unwrap().token, None, "a token is of no more use");
    assert_eq!(names(&checkout), [Step::Commit(0), Step::Commit(1), Step::Commit(2)]);
    answer_all(&mut checkout, START + 210, all_ok);
    let Some((Step::Place, Call::Place(placement))) = pending(checkout.as_ref().unwrap()).pop() else { panic!() };
    assert_eq!((placement.authorised.amount, &*placement.reference), (4_190, "pay_1"));
    assert_eq!(placement.lines.len(), 3);
    assert_eq!(checkout.as_ref().unwrap().order_id(), None);
    answer_all(&mut checkout, START + 220, all_ok);
    let id = checkout.as_ref().unwrap().id;
    assert_eq!(checkout.as_ref().unwrap().order_id(), Some(OrderId::of(id)));
    let Some((Step::Settle, Call::Settle { bought, .. })) = pending(checkout.as_ref().unwrap()).pop() else { panic!() };
    assert_eq!(bought, [(LineId(1), 1), (LineId(2), 2), (LineId(3), 1)]);
    answer_all(&mut checkout, START + 230, all_ok);
    assert_eq!(names(&checkout), [], "a request to hold may still be on its way");
    let due = wake_at(checkout.as_ref().unwrap()).unwrap();
    assert_eq!(due.0, START + HOLD_FIRST_MS + CLOCKS_APART_MS);
    assert_eq!(apply(&mut checkout, &on_wake(), due.0 - 1), Ok(0));
    apply(&mut checkout, &on_wake(), due.0).unwrap();
    answer_all(&mut checkout, due.0 + 10, all_ok);
    let checkout = checkout.unwrap();
    assert!(checkout.is_ended() && pending(&checkout).is_empty() && wake_at(&checkout).is_none());
    // Made; details; attempt; approved; completed.
    assert_eq!(checkout.revision, 5, "only what clients see counts");
}

#[test]
fn what_was_asked_for_once_is_forgotten_at_once() {
    let mut checkout = made();
    for (step, _) in pending(checkout.as_ref().unwrap()) {
        apply(&mut checkout, &super::on_done(step, Done::Ok, true), START + 1).unwrap();
    }
    apply(&mut checkout, &Command::Cancel, START + 2).unwrap();
    answer_all(&mut checkout, START + 3, all_ok); // released
    answer_all(&mut checkout, START + 4, all_ok); // let go
    assert_eq!(names(&checkout), [0, 1, 2].map(Step::Forget), "nothing can be on its way");
    answer_all(&mut checkout, START + 5, all_ok);
    assert!(checkout.unwrap().is_ended());
}

#[test]
fn what_was_asked_for_once_and_refused_needs_nothing_more() {
    let mut checkout = made();
    let short = Done::Insufficient { available: 1 };
    apply(&mut checkout, &super::on_done(Step::Hold(0), short, true), START + 1).unwrap();
    apply(&mut checkout, &super::on_done(Step::Hold(1), Done::Ok, true), START + 1).unwrap();
    apply(&mut checkout, &super::on_done(Step::Hold(2), Done::Ok, false), START + 1).unwrap();
    assert_eq!(names(&checkout), [Step::Release(1), Step::Release(2)]);
    answer_all(&mut checkout, START + 2, all_ok);
    answer_all(&mut checkout, START + 3, all_ok); // let go
    assert_eq!(names(&checkout), [], "a second request for one of them may come");
    let due = wake_at(checkout.as_ref().unwrap()).unwrap();
    apply(&mut checkout, &on_wake(), due.0).unwrap();
    assert_eq!(names(&checkout), [Step::Forget(1), Step::Forget(2)]);
}

#[test]
fn what_is_short_is_named_once_all_have_answered() {
    let mut checkout = made();
    let answer = |step| match step {
        Step::Hold(1) => Some(Done::Ok),
        Step::Hold(0) => Some(Done::Insufficient { available: 1 }),
        _ => None,
    };
    answer_all(&mut checkout, START + 1, answer);
    assert!(checkout.as_ref().unwrap().is_holding());
    let used_up = Done::CodeRefused { reason: "used up".into() };
    apply(&mut checkout, &on_done(Step::Hold(2), used_up), START + 2).unwrap();
    assert_eq!(names(&checkout), [Step::Release(0), Step::Release(1), Step::Release(2)], "refused ones too");
    answer_all(&mut checkout, START + 3, all_ok);
    let checkout = checkout.unwrap();
    assert_eq!(checkout.visible_status(), Status::Cancelled);
    let refused = |line| RefusedLine { line: LineId(line), sku: "mug", wanted: 2, available: 1 };
    assert_eq!(checkout.refused_lines().collect::<Vec<_>>(), [refused(1), refused(3)]);
    assert_eq!(checkout.refused_codes().collect::<Vec<_>>(), [RefusedCode { code: "TEN", reason: "used up" }]);
}

#[test]
fn a_decline_opens_it_again_with_its_goods_held() {
    let mut checkout = authorising();
    gateway_says(&mut checkout, Authorised::Declined { reason: "no money".into() }, START + 200);
    let open = checkout.as_ref().unwrap();
    assert_eq!(open.visible_status(), Status::Open);
    assert_eq!(open.attempt(1).unwrap().state, AttemptState::Declined { reason: "no money".into() });
    let unpins = |n: u16| (0..n).map(|hold| Step::Unpin { hold, attempt: 1 }).collect::<Vec<_>>();
    assert_eq!(names(&checkout), unpins(3));
    // The next attempt unpins what is still pinned for the last one before it pins.
    apply(&mut checkout, &on_done(Step::Unpin { hold: 2, attempt: 1 }, Done::Ok), START + 210).unwrap();
    assert_eq!(apply(&mut checkout, &pay("tok_other"), START + 220), Ok(1));
    let mut wanted = unpins(2);
    wanted.push(Step::Pin { hold: 2, attempt: 2 });
    assert_eq!(names(&checkout), wanted);
    answer_all(&mut checkout, START + 230, all_ok);
    answer_all(&mut checkout, START + 240, all_ok);
    assert_eq!(names(&checkout), [Step::Authorise { attempt: 2, round: 0 }]);
    let begun_or_joined = |token| attempt_of(outcome(&pay(token), checkout.as_ref().unwrap()));
    assert_eq!((begun_or_joined("tok_other"), begun_or_joined("tok_third")), ((2, false), (2, true)));
}

#[test]
fn a_gateway_that_is_away_does_not_keep_the_shopper_from_another_and_is_asked_until_it_is_certain() {
    let mut checkout = authorising();
    gateway_says(&mut checkout, Authorised::Unavailable, START + 200);
    assert_eq!(checkout.as_ref().unwrap().visible_status(), Status::Open);
    assert!(names(&checkout).contains(&Step::Abandon(1)));
    apply(&mut checkout, &Command::Complete { gateway: "other".into(), token: Token("t".into()) }, START + 210)
        .unwrap();
    answer_all(&mut checkout, START + 220, all_ok);
    answer_all(&mut checkout, START + 230, all_ok);
    gateway_says(&mut checkout, yes(), START + 240);
    let late = Done::Abandoned(payment::Abandoned::Authorised { reference: "pay_0".into() });
    apply(&mut checkout, &on_done(Step::Abandon(1), late), START + 250).unwrap();
    assert!(names(&checkout).contains(&Step::Void(1)));
    let attempt = checkout.as_ref().unwrap().attempt(2).unwrap().clone();
    assert_eq!((attempt.state, attempt.reference.as_deref()), (AttemptState::Approved, Some("pay_1")));
    assert_eq!(checkout.as_ref().unwrap().attempt(1).unwrap().state, AttemptState::Unavailable);
    // A gateway that let go by itself has nothing to give back.
    apply(&mut checkout, &on_done(Step::Void(1), Done::Lost), START + 260).unwrap();
    assert_eq!(checkout.as_ref().unwrap().attempt(1).unwrap().undo, Undo::VoidRefused);
    assert!(!names(&checkout).contains(&Step::Void(1)));
}

#[test]
fn patience_ends_and_what_is_found_decides() {
    let asked = |found: payment::Abandoned| {
        let mut checkout = authorising();
        let until = wake_at(checkout.as_ref().unwrap()).unwrap().0;
        assert_eq!(until, START + 110 + AUTHORISE_PATIENCE_MS);
        assert_eq!(apply(&mut checkout, &on_wake(), until - 1), Ok(0));
        apply(&mut checkout, &on_wake(), until).unwrap();
        assert_eq!(names(&checkout), [Step::Abandon(1)]);
        let late = on_done(Step::Authorise { attempt: 1, round: 0 }, Done::Authorised(yes()));
        assert_eq!(apply(&mut checkout, &late, until + 1), Ok(0), "the key is being abandoned: that answer will tell");
        apply(&mut checkout, &on_done(Step::Abandon(1), Done::Abandoned(found)), until + 2).unwrap();
        checkout.unwrap()
    };
    let nothing = asked(payment::Abandoned::Nothing);
    assert_eq!(nothing.visible_status(), Status::Open);
    assert_eq!(nothing.attempt(1).unwrap().state, AttemptState::Abandoned);
    let reserved = asked(payment::Abandoned::Authorised { reference: "pay_1".into() });
    assert_eq!((reserved.phase, &reserved.attempts[0].state), (Phase::Committing, &AttemptState::Approved));
}

#[test]
fn an_action_waits_for_its_shopper_and_an_answer_from_before_is_of_no_use() {
    let mut checkout = authorising();
    let action = Authorised::ActionRequired { reference: "pay_1".into(), url: "https://bank.example/3ds".into() };
    gateway_says(&mut checkout, action.clone(), START + 200);
    let waiting = checkout.as_ref().unwrap();
    assert_eq!(waiting.visible_status(), Status::RequiresAction);
    assert_eq!(
        waiting.attempt(1).unwrap().state,
        AttemptState::ActionRequired { url: "https://bank.example/3ds".into() }
    );
    assert_eq!(apply(&mut checkout, &pay("tok_approve"), START + 210), Ok(0), "joins");
    apply(&mut checkout, &Command::Confirm, START + 220).unwrap();
    let before = on_done(Step::Authorise { attempt: 1, round: 0 }, Done::Authorised(action));
    assert_eq!(apply(&mut checkout, &before, START + 230), Ok(0));
    gateway_says(&mut checkout, yes(), START + 240);
    assert_eq!(checkout.unwrap().phase, Phase::Committing);
}

#[test]
fn a_gateway_that_never_answers_keeps_no_goods_past_the_checkouts_time_and_its_money_is_asked_after() {
    let mut checkout = authorising();
    let patience = wake_at(checkout.as_ref().unwrap()).unwrap().0;
    apply(&mut checkout, &on_wake(), patience).unwrap();
    assert_eq!(names(&checkout), [Step::Abandon(1)]);
    let over = checkout.as_ref().unwrap().expires_at.0 + HOLD_GRACE_MS;
    assert_eq!(wake_at(checkout.as_ref().unwrap()), Some(UnixMillis(over)));
    assert_eq!(apply(&mut checkout, &on_wake(), over - 1), Ok(0));
    apply(&mut checkout, &on_wake(), over).unwrap();
    assert_eq!(checkout.as_ref().unwrap().visible_status(), Status::Expired);
    let wanted = [Step::Release(0), Step::Release(1), Step::Release(2), Step::Abandon(1)];
    assert_eq!(names(&checkout), wanted);
    let found = Done::Abandoned(payment::Abandoned::Authorised { reference: "pay_1".into() });
    apply(&mut checkout, &on_done(Step::Abandon(1), found), over + 1).unwrap();
    assert!(names(&checkout).contains(&Step::Void(1)), "late money goes back");
}

#[test]
fn another_card_gives_up_the_one_that_waits_unless_it_has_paid() {
    let asked = |found| {
        let mut checkout = authorising();
        let action = Authorised::ActionRequired { reference: "pay_1".into(), url: "u".into() };
        gateway_says(&mut checkout, action, START + 200);
        assert_eq!(apply(&mut checkout, &pay("tok_other"), START + 210), Ok(1));
        assert_eq!(names(&checkout), [Step::Abandon(1)]);
        assert_eq!(attempt_of(outcome(&pay("tok_other"), checkout.as_ref().unwrap())), (1, true), "not its own yet");
        assert_eq!(apply(&mut checkout, &pay("tok_other"), START + 215), Ok(0), "joins");
        apply(&mut checkout, &on_done(Step::Abandon(1), Done::Abandoned(found)), START + 220).unwrap();
        checkout
    };
    let mut free = asked(payment::Abandoned::Nothing);
    assert_eq!(apply(&mut free, &pay("tok_other"), START + 230), Ok(1));
    assert_eq!(free.unwrap().attempts.len(), 2);
    let paid = asked(payment::Abandoned::Authorised { reference: "pay_1".into() }).unwrap();
    assert_eq!((paid.phase, paid.attempts.len()), (Phase::Committing, 1), "the shopper had confirmed it: one payment");
    let mut late = authorising();
    let action = Authorised::ActionRequired { reference: "pay_1".into(), url: "u".into() };
    gateway_says(&mut late, action, START + 200);
    let expires_at = late.as_ref().unwrap().expires_at.0;
    assert_eq!(apply(&mut late, &pay("tok_other"), expires_at), Ok(0), "its time is over");
}

#[test]
fn a_shopper_who_is_faster_than_the_gateway_s_answer_is_not_forgotten() {
    let mut checkout = authorising();
    let patience = wake_at(checkout.as_ref().unwrap());
    let revision = checkout.as_ref().unwrap().revision;
    assert_eq!(apply(&mut checkout, &Command::Confirm, START + 150), Ok(1));
    let asked = checkout.as_ref().unwrap();
    assert_eq!((wake_at(asked), asked.revision), (patience, revision), "neither patience nor what clients see changes");
    assert_eq!(names(&checkout), [Step::Authorise { attempt: 1, round: 1 }]);
    let action = Authorised::ActionRequired { reference: "pay_1".into(), url: "u".into() };
    let before = on_done(Step::Authorise { attempt: 1, round: 0 }, Done::Authorised(action));
    assert_eq!(apply(&mut checkout, &before, START + 200), Ok(0), "nobody would ever act again");
    gateway_says(&mut checkout, yes(), START + 210);
    assert_eq!(checkout.unwrap().phase, Phase::Committing);
}

#[test]
fn an_action_that_nobody_takes_expires_and_gives_money_and_goods_back() {
    let mut checkout = authorising();
    let action = Authorised::ActionRequired { reference: "pay_1".into(), url: "u".into() };
    gateway_says(&mut checkout, action, START + 200);
    let due = wake_at(checkout.as_ref().unwrap()).unwrap();
    assert_eq!(due, checkout.as_ref().unwrap().expires_at);
    apply(&mut checkout, &on_wake(), due.0).unwrap();
    let unwinding = checkout.as_ref().unwrap();
    assert_eq!((unwinding.visible_status(), &unwinding.attempts[0].token), (Status::Expired, &None));
    let steps = [Step::Release(0), Step::Release(1), Step::Release(2), Step::Abandon(1)];
    assert_eq!(names(&checkout), steps);
}

#[test]
fn cancel_works_until_money_and_goods_are_certain() {
    let paid = || {
        let mut checkout = authorising();
        gateway_says(&mut checkout, yes(), START + 200);
        checkout
    };
    let mut pinning = opened();
    apply(&mut pinning, &pay("t"), START + 100).unwrap();
    for (mut checkout, abandons) in [(made(), false), (opened(), false), (pinning, false), (authorising(), true)] {
        apply(&mut checkout, &Command::Cancel, START + 300).unwrap();
        assert_eq!(names(&checkout).contains(&Step::Abandon(1)), abandons, "{:?}", names(&checkout));
        assert_eq!(apply(&mut checkout, &Command::Cancel, START + 301), Ok(0), "again");
        assert_eq!(apply(&mut checkout, &pay("t"), START + 302), Err(Refusal::NotOpen(Status::Cancelled)));
        answer_all(&mut checkout, START + 303, all_ok);
        assert!(names(&checkout).contains(&Step::LetGo));
    }
    let mut checkout = paid();
    assert_eq!(apply(&mut checkout, &Command::Cancel, START + 300), Err(Refusal::TooLate));
    for _ in 0..3 {
        answer_all(&mut checkout, START + 310, all_ok);
        assert_eq!(apply(&mut checkout, &Command::Cancel, START + 320), Err(Refusal::TooLate));
        assert_eq!(apply(&mut checkout, &pay("again"), START + 320), Ok(0), "joins");
    }
    assert_eq!(checkout.unwrap().attempts.len(), 1);
}

#[test]
fn activity_stretches_the_visible_expiry_up_to_its_limit_and_the_holds_beyond_it() {
    let mut checkout = opened();
    let first = checkout.as_ref().unwrap().expires_at.0;
    assert_eq!(first, START + TTL_MS, "half a minute won is not worth telling every hold");
    for minute in [10, 20, 30, 40, 50, 55] {
        let now = START + minute * 60_000;
        let other = Email(format!("ada{minute}@example.org").into());
        let change = Patch { email: Some(Some(other)), address: None, option: None, quote: quote(Some("standard")) };
        apply(&mut checkout, &Command::Patch(Box::new(change)), now).unwrap();
        let expires_at = checkout.as_ref().unwrap().expires_at;
        assert_eq!(expires_at.0, (now + TTL_MS).min(START + TTL_MAX_MS));
        answer_all(&mut checkout, now + 1, |step| {
            assert!(matches!(step, Step::Extend { until, .. } if until.0 == expires_at.0 + HOLD_GRACE_MS));
            Some(Done::Ok)
        });
        assert_eq!(names(&checkout), []);
    }
    let late = START + TTL_MAX_MS;
    assert_eq!(
        apply(&mut checkout, &pay("t"), late),
        Err(Refusal::NotOpen(Status::Expired)),
        "before the clock says so"
    );
    apply(&mut checkout, &on_wake(), late).unwrap();
    assert_eq!(checkout.unwrap().visible_status(), Status::Expired);
}

#[test]
fn every_refusal() {
    let bare = || {
        let mut checkout = made();
        answer_all(&mut checkout, START, all_ok);
        checkout
    };
    let with = |email: bool, address_too: bool| {
        let mut checkout = bare();
        let change = Patch {
            email: email.then(|| Some(Email("a@b".into()))),
            address: address_too.then(|| Some(address())),
            option: None,
            quote: quote(None),
        };
        apply(&mut checkout, &Command::Patch(Box::new(change)), START + 1).unwrap();
        checkout
    };
    let mut tried = opened();
    for _ in 0..ATTEMPTS_MAX {
        apply(&mut tried, &pay("t"), START + 100).unwrap();
        answer_all(&mut tried, START + 100, all_ok);
        gateway_says(&mut tried, Authorised::Declined { reason: "no".into() }, START + 100);
        answer_all(&mut tried, START + 100, all_ok);
    }
    let patch = |option: Option<&str>, quote: Quote| {
        Command::Patch(Box::new(Patch { email: None, address: None, option: Some(option.map(Box::from)), quote }))
    };
    let other_line = Quote { lines: quote(None).lines[..2].to_vec(), ..quote(None) };
    let other_code = Quote { discounts: vec![Discounted { code: "X".into(), amount: -300 }], ..quote(None) };
    let other_cart = Create { cart: CartId::new(Slot::from_bits(3), UnixMillis(1), 9), ..create() };
    let dollars = Create { currency: Currency::parse("USD").unwrap(), ..create() };
    let table = [
        (None, Command::Cancel, Refusal::NotFound),
        (None, Command::Create(Box::new(dollars)), Refusal::QuoteMismatch),
        (None, Command::Create(Box::new(Create { lines: vec![], ..create() })), Refusal::QuoteMismatch),
        (made(), Command::Create(Box::new(other_cart)), Refusal::NotFound),
        (made(), pay("t"), Refusal::StillHolding),
        (bare(), pay("t"), Refusal::Missing(Missing::Email)),
        (with(true, false), pay("t"), Refusal::Missing(Missing::Address)),
        (with(true, true), pay("t"), Refusal::Missing(Missing::Option)),
        (tried, pay("t"), Refusal::TooManyAttempts),
        (bare(), patch(Some("standard"), quote(None)), Refusal::QuoteMismatch),
        (bare(), patch(Some("drone"), quote(Some("drone"))), Refusal::QuoteMismatch),
        (bare(), patch(None, other_line), Refusal::QuoteMismatch),
        (bare(), patch(None, other_code), Refusal::QuoteMismatch),
        (authorising(), details(), Refusal::NotOpen(Status::Completing)),
    ];
    for (mut checkout, command, refusal) in table {
        let before = checkout.clone();
        assert_eq!(apply(&mut checkout, &command, START + 200), Err(refusal), "{command:?}");
        assert_eq!(checkout, before);
    }
    let stranger = Owner::Guest(GuestId::new(Slot::from_bits(3), UnixMillis(1), 9));
    let context = Context { now: UnixMillis(START), by: Some(stranger), if_revision: None, expire_after_ms: 0 };
    assert_eq!(decide(made().as_ref(), &Command::Cancel, &context), Err(Refusal::NotFound));
    let stale = Context { by: Some(owner()), if_revision: Some(7), ..context };
    assert_eq!(decide(made().as_ref(), &Command::Cancel, &stale), Err(Refusal::RevisionMismatch { present: 1 }));
    let mut again = made();
    assert_eq!(apply(&mut again, &Command::Create(Box::new(create())), START + 5), Ok(0));
}

#[test]
fn what_a_person_wrote_and_what_pays_shows_nowhere() {
    let mut checkout = opened();
    apply(&mut checkout, &pay("tok_secret"), START + 100).unwrap();
    let texts = [format!("{checkout:?}"), format!("{:?}", details()), format!("{:?}", pay("tok_secret"))];
    for text in texts {
        for secret in ["ada@", "Lovelace", "Rose Street", "tok_secret"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

/// What a late request asks for has ended by the time to which its entries are remembered.
#[test]
fn what_is_held_first_is_held_from_when_its_cart_asked() {
    let mut late = None;
    apply(&mut late, &Command::Create(Box::new(create())), START + 50_000).unwrap();
    let untils = |checkout: &Checkout| -> Vec<u64> {
        let until = |(_, call)| if let Call::Hold { until, .. } = call { Some(until.0) } else { None };
        pending(checkout).into_iter().filter_map(until).collect()
    };
    assert_eq!(untils(late.as_ref().unwrap()), [START + HOLD_FIRST_MS; 3]);
    assert_eq!(late.unwrap().expires_at.0, START + 50_000 + TTL_MS, "the shopper has their time from now");
    // A clock that is ahead wins nothing.
    let mut early = None;
    apply(&mut early, &Command::Create(Box::new(create())), START - 50_000).unwrap();
    assert_eq!(untils(early.as_ref().unwrap()), [START - 50_000 + HOLD_FIRST_MS; 3]);
}

#[test]
fn one_that_has_let_its_cart_go_says_so_to_whoever_begins_it_anew() {
    let again = Command::Create(Box::new(create()));
    let mut checkout = made();
    for (phase, told) in [
        (Phase::Settling, Ok(0)),
        (Phase::LettingGo(Undone::Cancelled), Ok(0)),
        (Phase::Remembering(End::Completed), Err(Refusal::NotOpen(Status::Completed))),
        (Phase::Ended(End::Undone(Undone::Expired)), Err(Refusal::NotOpen(Status::Expired))),
    ] {
        checkout.as_mut().unwrap().phase = phase;
        assert_eq!(apply(&mut checkout, &again, START + 5), told, "{phase:?}");
    }
}
