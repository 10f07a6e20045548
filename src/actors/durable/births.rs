//! What an actor needs done may begin with its own birth, where another's row remembers to make it: on real checkouts.

use std::time::Duration;

use super::*;
use crate::{
    actors::checkout::CheckoutEntity,
    domain::{
        CartId, CheckoutId, Currency, GuestId, Slot, Try,
        cart::{Line, LineId, Owner},
        checkout::{Checkout, CheckoutLine, Command, Create, Done, HoldState, Phase},
        pricing::{Priced, Quote},
    },
    store::{Head, Row, Saved},
};

type Out = Output<CheckoutEntity, u32>;

struct Bench {
    machine: Durable<CheckoutEntity, u32>,
    around: Surroundings,
    op_id: u128,
}

fn create() -> Command {
    let slot = Slot::from_bits(3);
    let line = |n: u32, sku: &str| Line {
        id: LineId(n),
        sku: sku.into(),
        title: "Mug".into(),
        quantity: 1,
        quantity_max: 99,
        unit_price: 500,
        options: Box::default(),
        metadata: Box::default(),
    };
    let bought = |n, sku| CheckoutLine { line: line(n, sku), categories: vec![], weight_g: 0, stock_initial: 5 };
    let priced = |n| Priced { line: LineId(n), subtotal: 500, discount: 0, tax: 0 };
    Command::Create(Box::new(Create {
        id: CheckoutId::new(slot, UnixMillis(1), 7),
        cart: CartId::new(slot, UnixMillis(1), 2),
        owner: Owner::Guest(GuestId::new(slot, UnixMillis(1), 1)),
        currency: Currency::EUR,
        lines: vec![bought(1, "mug"), bought(2, "tee")],
        codes: vec![],
        quote: Quote {
            currency: Currency::EUR,
            lines: vec![priced(1), priced(2)],
            discounts: vec![],
            offers: vec![],
            option: None,
            subtotal: 1_000,
            discount: 0,
            shipping: 0,
            tax: 0,
            tax_included: true,
            total: 1_000,
        },
        email: None,
        asked_at: UnixMillis(1_000_000),
        ttl_ms: 900_000,
        ttl_max_ms: 3_600_000,
    }))
}

impl Bench {
    fn new() -> Self {
        let around = Surroundings {
            wall: UnixMillis(1_000_000),
            mono_ms: 1_000,
            epoch: 5,
            fence: 5,
            expire_after_ms: 1,
            emits: false,
        };
        Self { machine: Durable::default(), around, op_id: 0 }
    }

    fn step(&mut self, input: Input<CheckoutEntity, u32>) -> Vec<Out> {
        let (next, mut out) = (&mut self.op_id, Vec::new());
        let mut op_id = || {
            *next += 1;
            *next
        };
        self.machine.step(input, &self.around, &mut op_id, &mut out);
        out
    }

    /// The cart asks for the checkout.
    fn born(&mut self, nth: Try) -> Vec<Out> {
        let timeout = Duration::from_secs(3);
        let ask = Ask { command: create(), by: None, if_revision: None, key: None, timeout, deed: Some(nth) };
        self.step(Input::Ask { ask, since_ms: 1_000, token: 1 })
    }

    fn held(&mut self, number: u128) -> Vec<Out> {
        self.step(Input::Performed(number, Ok(Done::Ok)))
    }

    fn checkout(&self) -> &Checkout {
        self.machine.committed().unwrap()
    }
}

fn row(out: &[Out]) -> Option<Row> {
    out.iter().find_map(|output| if let Out::Save(order) = output { Some(order.row.clone()) } else { None })
}

/// What was begun: numbers, and which attempt it is.
fn begun(out: &[Out]) -> Vec<(u128, Try)> {
    let begun = |output: &Out| if let Out::Perform { number, nth, .. } = output { Some((*number, *nth)) } else { None };
    out.iter().filter_map(begun).collect()
}

#[test]
fn goods_are_asked_for_with_the_birth_and_their_answers_wait_for_it() {
    let mut bench = Bench::new();
    let out = bench.born(Try::First);
    let [(mug, Try::First), (tee, Try::First)] = begun(&out)[..] else { panic!("{out:?}") };
    let birth = row(&out).unwrap();
    assert!(bench.held(mug).is_empty() && bench.held(tee).is_empty(), "nothing is decided on what is not saved");
    assert!(bench.machine.committed().is_none(), "or shown");
    let out = bench.step(Input::Saved(birth.op_id, Saved::Applied));
    assert!(begun(&out).is_empty(), "all is begun already");
    assert_eq!(bench.checkout().phase, Phase::Holding);
    let held = row(&out).expect("both answers are saved together");
    bench.step(Input::Saved(held.op_id, Saved::Applied));
    assert_eq!(bench.checkout().phase, Phase::Open);
    assert!(bench.checkout().holds.iter().all(|hold| hold.once), "nobody else has asked");
}

/// Whether it is told that all is held before that is saved.
fn foretells(out: &[Out]) -> bool {
    let foretold: Vec<_> =
        out.iter().filter_map(|output| if let Out::Foretold(state) = output { Some(state) } else { None }).collect();
    assert!(foretold.iter().all(|state| !state.is_holding()));
    !foretold.is_empty()
}

#[test]
fn that_all_is_held_is_foretold_and_nothing_that_clients_see() {
    for (tee, cancelled, expected) in [
        (Done::Ok, false, true),
        (Done::Insufficient { available: 0 }, false, false), // a refusal may be none when it is asked for again
        (Done::Ok, true, false),
    ] {
        let mut bench = Bench::new();
        let out = bench.born(Try::First);
        let numbers: Vec<_> = begun(&out).into_iter().map(|(number, _)| number).collect();
        bench.held(numbers[0]);
        bench.step(Input::Performed(numbers[1], Ok(tee)));
        if cancelled {
            let timeout = Duration::from_secs(3);
            let ask = Ask { command: Command::Cancel, by: None, if_revision: None, key: None, timeout, deed: None };
            bench.step(Input::Ask { ask, since_ms: 1_000, token: 2 });
        }
        let out = bench.step(Input::Saved(row(&out).unwrap().op_id, Saved::Applied));
        assert!(row(&out).is_some());
        assert_eq!((foretells(&out), bench.machine.foretold().is_some()), (expected, expected), "{out:?}");
        assert!(bench.checkout().is_holding());
        let out = bench.step(Input::Saved(row(&out).unwrap().op_id, Saved::Refused(Reason::new("full"))));
        assert!(bench.machine.foretold().is_none() && bench.checkout().is_holding(), "not saved, and asked for again");
        let is_taken_back = |output: &Out| matches!(output, Out::Committed(state) if state.is_holding());
        assert_eq!(out.iter().any(is_taken_back), expected, "whoever follows is told");
    }
}

#[test]
fn what_came_due_while_its_answer_was_saved_is_asked_for_again_when_the_save_is_refused() {
    let mut bench = Bench::new();
    let out = bench.born(Try::First);
    begun(&out).into_iter().for_each(|(number, _)| drop(bench.held(number)));
    let held = row(&bench.step(Input::Saved(row(&out).unwrap().op_id, Saved::Applied))).unwrap();
    bench.around.mono_ms += 9_000;
    assert!(begun(&bench.step(Input::Tick)).is_empty(), "they ride");
    let out = bench.step(Input::Saved(held.op_id, Saved::Refused(Reason::new("full"))));
    assert!(matches!(begun(&out)[..], [(_, Try::Again), (_, Try::Again)]), "{out:?}");
}

#[test]
fn a_birth_that_was_asked_for_before_comes_first_and_its_goods_may_be_asked_for_twice() {
    let mut bench = Bench::new();
    let out = bench.born(Try::Again);
    assert!(begun(&out).is_empty());
    let out = bench.step(Input::Saved(row(&out).unwrap().op_id, Saved::Applied));
    let [(mug, Try::Again), (tee, Try::Again)] = begun(&out)[..] else { panic!("{out:?}") };
    bench.held(mug);
    let held = row(&bench.held(tee)).unwrap();
    bench.step(Input::Saved(held.op_id, Saved::Applied));
    assert!(bench.checkout().holds.iter().all(|hold| matches!(hold.state, HoldState::Held { .. }) && !hold.once));
}

#[test]
fn what_was_begun_with_a_birth_that_the_store_refused_is_forgotten() {
    let mut bench = Bench::new();
    let out = bench.born(Try::First);
    let (mug, birth) = (begun(&out)[0].0, row(&out).unwrap());
    bench.held(mug);
    bench.step(Input::Saved(birth.op_id, Saved::Refused(Reason::new("full"))));
    assert!(bench.machine.is_cold());
    assert!(bench.held(begun(&out)[1].0).is_empty(), "nobody waits for it any more");
}

#[test]
fn a_birth_that_came_second_takes_over_what_the_first_one_needs() {
    let mut bench = Bench::new();
    let out = bench.born(Try::First);
    let (mug, birth) = (begun(&out)[0].0, row(&out).unwrap());
    bench.held(mug);
    let theirs = Row { op_id: birth.op_id + 1_000, ..birth.clone() };
    let head = Head { version: theirs.version, epoch: theirs.epoch, op_id: theirs.op_id };
    let out = bench.step(Input::Saved(birth.op_id, Saved::Lost(Some(head))));
    let load = out.iter().find_map(|output| if let Out::Load { number, .. } = output { Some(*number) } else { None });
    let out = bench.step(Input::Loaded(load.unwrap(), Ok(Some(theirs))));
    assert_eq!(bench.checkout().holds[0].state, HoldState::Wanted, "an answer from before proves nothing of them");
    // The answer to the cart rests on a save of its own.
    let out = [out, bench.step(Input::Tick)].into_iter().flatten().collect::<Vec<_>>();
    assert!(begun(&out).iter().all(|(_, nth)| *nth == Try::Again) && begun(&out).len() == 2, "{out:?}");
}

/// Begun again while its answer waits, what was refused may be held after all, and nobody would know.
#[test]
fn what_was_answered_is_not_begun_again_while_the_answer_waits_for_a_save() {
    let mut bench = Bench::new();
    let out = bench.born(Try::First);
    let [(mug, _), (tee, _)] = begun(&out)[..] else { panic!("{out:?}") };
    let birth = row(&out).unwrap();
    bench.step(Input::Saved(birth.op_id, Saved::Unknown(Reason::new("no answer"))));
    bench.step(Input::Performed(mug, Ok(Done::Insufficient { available: 0 })));
    bench.around.mono_ms += 60_000;
    assert!(begun(&bench.step(Input::Tick)).is_empty());
    bench.held(tee);
    let out = bench.step(Input::Saved(birth.op_id, Saved::Applied));
    assert!(begun(&out).is_empty(), "{out:?}");
    let refused = row(&out).expect("both answers are saved");
    bench.around.mono_ms += 60_000;
    assert!(begun(&bench.step(Input::Tick)).is_empty(), "they ride");
    let out = bench.step(Input::Saved(refused.op_id, Saved::Applied));
    assert_eq!(bench.checkout().holds[0].state, HoldState::Refused);
    assert_eq!(begun(&out).len(), 1, "the other is given back: {out:?}");
}
