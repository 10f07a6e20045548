//! The machine step by step, on real carts.

use std::time::Duration;

mod patience;

use super::{receipts::YOUNG_MAX, saving::*, *};
use crate::{
    actors::{
        ask::{Effect, Key},
        cart::CartEntity,
    },
    domain::{
        CartId, Currency, GuestId, Slot, Try,
        cart::{Addition, Cart, Command, Owner, Refusal, Status},
    },
    store::{Expect, Head, Reason, Row, Saved},
};

type Out = Output<CartEntity, u32>;
type Told = Outcome<CartEntity>;

const HOUR_MS: u64 = 60 * 60 * 1000;

/// A machine, its surroundings, and what it said.
struct Bench {
    machine: Durable<CartEntity, u32>,
    around: Surroundings,
    op_id: u128,
    out: Vec<Out>,
}

fn owner() -> Owner {
    Owner::Guest(GuestId::new(Slot::from_bits(1), UnixMillis(1), 1))
}

fn create() -> Command {
    Command::Create { id: CartId::new(Slot::from_bits(1), UnixMillis(1), 2), owner: owner(), currency: Currency::EUR }
}

fn add() -> Command {
    Command::Add(Addition {
        sku: "mug".into(),
        title: "Mug".into(),
        unit_price: 1,
        currency: Currency::EUR,
        quantity: 1,
        quantity_max: 999,
        options: Box::default(),
        metadata: Box::default(),
    })
}

impl Bench {
    fn new() -> Self {
        let around = Surroundings {
            wall: UnixMillis(1_000_000),
            mono_ms: 1_000,
            epoch: 5,
            fence: 5,
            expire_after_ms: 24 * HOUR_MS,
            emits: false,
        };
        Self { machine: Durable::default(), around, op_id: 0, out: Vec::new() }
    }

    /// With a cart in memory; returns its row too.
    fn with_cart() -> (Self, Row) {
        let mut bench = Self::new();
        bench.ask(1, create(), None);
        let row = bench.save().row;
        bench.saved(&row, Saved::Applied);
        bench.out.clear();
        (bench, row)
    }

    fn step(&mut self, input: Input<CartEntity, u32>) {
        let next = &mut self.op_id;
        let mut op_id = || {
            *next += 1;
            *next
        };
        self.machine.step(input, &self.around, &mut op_id, &mut self.out);
    }

    fn ask(&mut self, token: u32, command: Command, key: Option<u128>) {
        let key = key.map(|key| Key { key, request: key });
        let timeout = Duration::from_secs(3);
        let ask = Ask { command, by: Some(owner()), if_revision: None, key, timeout, deed: None };
        self.step(Input::Ask { ask, since_ms: self.around.mono_ms, token });
    }

    fn read(&mut self, token: u32) {
        self.step(Input::Read { timeout: Duration::from_secs(3), since_ms: self.around.mono_ms, token });
    }

    fn load(&mut self, row: Option<Row>) {
        let number = self.loads().pop().expect("no load is out");
        self.out.retain(|output| !matches!(output, Output::Load { .. }));
        self.step(Input::Loaded(number, Ok(row)));
    }

    fn loads(&self) -> Vec<u128> {
        let number = |output: &Out| if let Output::Load { number, .. } = output { Some(*number) } else { None };
        self.out.iter().filter_map(number).collect()
    }

    /// The only save that was sent; forgets it.
    fn save(&mut self) -> SaveOrder {
        let mut saves = self.saves();
        assert_eq!(saves.len(), 1, "{:?}", self.out);
        self.out.retain(|output| !matches!(output, Output::Save(_)));
        saves.remove(0)
    }

    fn saves(&self) -> Vec<SaveOrder> {
        let order = |output: &Out| if let Output::Save(order) = output { Some(order.clone()) } else { None };
        self.out.iter().filter_map(order).collect()
    }

    fn saved(&mut self, row: &Row, saved: Saved) {
        self.step(Input::Saved(row.op_id, saved));
    }

    /// What was told to whom; forgets it.
    fn told(&mut self) -> Vec<(u32, Told)> {
        let (replies, rest) = std::mem::take(&mut self.out).into_iter().partition(|o| matches!(o, Output::Reply(..)));
        self.out = rest;
        let replies: Vec<Out> = replies;
        let reply = |output| if let Output::Reply(token, told) = output { Some((token, told)) } else { None };
        replies.into_iter().filter_map(reply).collect()
    }

    fn pass(&mut self, ms: u64) {
        self.around.mono_ms += ms;
        self.around.wall = self.around.wall.plus_ms(ms);
        self.step(Input::Tick);
    }
}

fn units(told: &Told) -> u16 {
    told.as_ref().expect("refused").state.lines.iter().map(|line| line.quantity).sum()
}

fn unknown() -> Saved {
    Saved::Unknown(Reason::new("a test"))
}

fn foreign(row: &Row, version: u64, epoch: u64) -> Saved {
    Saved::Lost(Some(Head { version, epoch, op_id: row.op_id + 1_000 }))
}

/// P9: no wait is without a bound, also when the store never answers.
#[test]
fn a_save_without_an_answer_becomes_unknown_and_may_still_end_well() {
    let (mut bench, _) = Bench::with_cart();
    bench.ask(2, add(), None);
    let row = bench.save().row;
    let at = |bench: &mut Bench, ms| {
        bench.around.mono_ms = ms;
        bench.step(Input::Tick);
    };
    at(&mut bench, 1_000 + 3_000);
    assert!(matches!(&bench.told()[..], [(2, Err(Failure::TimedOut(Effect::Unknown)))]));
    assert!(!bench.machine.is_unsettled());
    assert!(bench.out.iter().any(|output| matches!(output, Output::WakeAt(ms) if *ms == 11_000)), "{:?}", bench.out);
    at(&mut bench, 11_000);
    assert!(bench.machine.is_unsettled(), "a shard with such a save is not handed off as clean");
    assert!(bench.saves().is_empty(), "the first attempt is still out");
    bench.saved(&row, Saved::Applied);
    assert!(!bench.machine.is_unsettled());
    bench.read(3);
    assert!(matches!(&bench.told()[..], [(3, Ok(answer))] if answer.state.lines.len() == 1));
}

#[test]
fn p1_an_answer_waits_for_its_save_and_a_read_tells_what_is_committed() {
    let (mut bench, _) = Bench::with_cart();
    bench.ask(2, add(), None);
    bench.read(3);
    let told = bench.told();
    assert_eq!((told.len(), told[0].0, units(&told[0].1)), (1, 3, 0), "only the read is answered");
    let save = bench.save();
    bench.saved(&save.row, Saved::Applied);
    let told = bench.told();
    assert_eq!((told.len(), told[0].0, units(&told[0].1)), (1, 2, 1));
}

#[test]
fn what_waits_behind_a_save_shares_the_next_one() {
    let (mut bench, _) = Bench::with_cart();
    (0..100).for_each(|n| bench.ask(n, add(), None));
    let first = bench.save();
    bench.saved(&first.row, Saved::Applied);
    let second = bench.save();
    assert_eq!((first.riders, second.riders), (1, 99));
    bench.saved(&second.row, Saved::Applied);
    assert!(bench.told().iter().skip(1).all(|(_, told)| units(told) == 100));
    assert!(bench.machine.is_idle() && bench.saves().is_empty());
}

#[test]
fn p2_an_unknown_outcome_is_settled_by_the_identical_save_alone() {
    for end in ["applied", "ours already", "foreign"] {
        let (mut bench, row) = Bench::with_cart();
        bench.ask(2, add(), None);
        let save = bench.save();
        bench.saved(&save.row, unknown());
        assert!(bench.machine.is_unsettled() && bench.told().is_empty());
        bench.pass(RESEND_AFTER_MIN_MS);
        let again = bench.save();
        assert_eq!((again.row.clone(), again.expect), (save.row.clone(), save.expect), "the identical save");
        match end {
            "applied" => bench.saved(&save.row, Saved::Applied),
            "ours already" => bench.saved(&save.row, Saved::Lost(Some(save.row.head()))),
            _ => {
                bench.saved(&save.row, foreign(&save.row, 2, 5));
                assert!(bench.told().is_empty());
                bench.load(Some(Row { version: 2, ..row }));
                let decided_again = bench.save();
                assert_eq!(decided_again.expect, Expect::Version(2));
                bench.saved(&decided_again.row, Saved::Applied);
            }
        }
        let told = bench.told();
        assert_eq!((told.len(), units(&told[0].1)), (1, 1), "{end}");
    }
}

#[test]
fn beyond_the_next_version_only_receipts_can_tell() {
    let (mut bench, row) = Bench::with_cart();
    bench.ask(2, add(), None);
    let first = bench.save();
    bench.ask(3, add(), Some(33));
    bench.saved(&first.row, Saved::Applied);
    bench.told();
    let mut second = bench.save();
    bench.saved(&second.row, unknown());
    bench.ask(4, add(), None);
    bench.pass(RESEND_AFTER_MIN_MS);
    bench.save();
    bench.saved(&second.row, foreign(&second.row, 9, 5));
    assert!(bench.told().is_empty(), "the keyed one is decided again, the waiting one was never part of it");
    // The row tells that the keyed command is in it.
    second.row.version = 9;
    bench.load(Some(second.row));
    let last = bench.save();
    bench.saved(&last.row, Saved::Applied);
    let told = bench.told();
    assert!(told.iter().find(|(token, _)| *token == 3).unwrap().1.as_ref().unwrap().replayed);
    assert_eq!(units(&told.iter().find(|(token, _)| *token == 4).unwrap().1), 3);

    let (mut bench, _) = Bench::with_cart();
    bench.ask(2, add(), None);
    let save = bench.save();
    bench.saved(&save.row, foreign(&save.row, 9, 5));
    assert_eq!(
        bench.told()[0].1.as_ref().unwrap_err(),
        &Failure::StoreUnavailable(Effect::Unknown),
        "unkeyed: nobody knows"
    );
    drop(row);
}

#[test]
fn p2_a_newer_epoch_deposes_on_load_and_on_conflict() {
    let (mut bench, row) = Bench::with_cart();
    bench.ask(2, add(), None);
    bench.ask(3, add(), None);
    let save = bench.save();
    bench.saved(&save.row, foreign(&save.row, 2, 6));
    let told = bench.told();
    assert_eq!(told[0].1.as_ref().unwrap_err(), &Failure::StoreUnavailable(Effect::Unknown), "it rode in a save");
    assert_eq!(told[1].1.as_ref().unwrap_err(), &Failure::NotOwner, "it never did");
    assert!(bench.out.iter().any(|output| matches!(output, Output::Fenced)));

    let mut bench = Bench::new();
    bench.read(1);
    bench.load(Some(Row { epoch: 6, ..row }));
    assert_eq!(bench.told()[0].1.as_ref().unwrap_err(), &Failure::NotOwner);
    assert!(bench.out.iter().any(|output| matches!(output, Output::Fenced)));
}

#[test]
fn p2_a_row_below_the_fence_is_claimed_before_anything_is_told_of_it() {
    let (_, row) = Bench::with_cart();
    let mut bench = Bench::new();
    (bench.around.epoch, bench.around.fence) = (8, 7);
    bench.read(1);
    bench.load(Some(row.clone()));
    assert!(bench.told().is_empty());
    assert!(!bench.out.iter().any(|output| matches!(output, Output::Committed(_))), "it is not shown either");
    let claim = bench.save();
    assert_eq!((claim.expect, claim.row.epoch), (Expect::Version(1), 8));
    bench.read(2);
    assert!(bench.told().is_empty());
    bench.saved(&claim.row, Saved::Applied);
    assert_eq!(bench.told().len(), 2);

    let mut bench = Bench::new();
    (bench.around.epoch, bench.around.fence) = (8, 5);
    bench.read(1);
    bench.load(Some(row));
    assert_eq!(bench.told().len(), 1, "a clean handoff carries its fence along: nothing to claim");
}

#[test]
fn a_refused_save_leaves_what_is_committed_and_certainly_had_no_effect() {
    let (mut bench, _) = Bench::with_cart();
    bench.ask(2, add(), None);
    let save = bench.save();
    bench.saved(&save.row, Saved::Refused(Reason::new("full")));
    assert_eq!(bench.told()[0].1.as_ref().unwrap_err(), &Failure::StoreUnavailable(Effect::None));
    bench.read(3);
    assert_eq!(units(&bench.told()[0].1), 0);
    // Once an attempt may have landed, a refusal of the next one settles nothing.
    bench.ask(4, add(), None);
    let save = bench.save();
    bench.saved(&save.row, unknown());
    bench.pass(RESEND_AFTER_MIN_MS);
    bench.save();
    bench.saved(&save.row, Saved::Refused(Reason::new("full")));
    assert!(bench.told().is_empty() && bench.machine.is_unsettled());
}

/// What another actor is told for good rests on a row that was seen to be the newest, also where nothing changes.
#[test]
fn p2_an_actor_that_asks_is_told_nothing_from_memory_alone() {
    let deed = |bench: &mut Bench, token| {
        let (command, timeout) = (Command::Clear, Duration::from_secs(3));
        let ask = Ask { command, by: None, if_revision: None, key: None, timeout, deed: Some(Try::Again) };
        let since_ms = bench.around.mono_ms;
        bench.step(Input::Ask { ask, since_ms, token });
    };
    let (mut bench, row) = Bench::with_cart();
    deed(&mut bench, 2);
    assert!(bench.told().is_empty(), "it is empty already, as far as this owner knows");
    let save = bench.save();
    bench.saved(&save.row, Saved::Applied);
    assert!(bench.told()[0].1.is_ok());

    deed(&mut bench, 3);
    let save = bench.save();
    bench.saved(&save.row, foreign(&save.row, row.version + 7, 9));
    assert!(!bench.told().iter().any(|(token, told)| *token == 3 && told.is_ok()), "it is another's by now");
}

/// P3: who repeats what may have happened is never told that nothing did, whichever way the wait ends.
#[test]
fn p3_a_repetition_behind_an_unsettled_save_is_told_unknown() {
    let waiting = || {
        let (mut bench, _) = Bench::with_cart();
        bench.ask(2, add(), Some(7));
        let row = bench.save().row;
        bench.saved(&row, unknown());
        bench.ask(3, add(), Some(7));
        bench.ask(4, add(), Some(8));
        (bench, row)
    };
    let effect = |bench: &mut Bench, token: u32| {
        let told = bench.told();
        let (_, outcome) = told.iter().find(|(there, _)| *there == token).expect("it was told").clone();
        outcome.expect_err("it failed")
    };
    let (mut late, _) = waiting();
    late.pass(3_000);
    let told = late.told();
    let of = |token| told.iter().find(|(there, _)| *there == token).unwrap().1.as_ref().unwrap_err();
    assert_eq!(of(3), &Failure::StoreUnavailable(Effect::Unknown));
    assert_eq!(of(4), &Failure::StoreUnavailable(Effect::None));

    let (mut fenced, row) = waiting();
    fenced.saved(&row, foreign(&row, row.version + 3, 9));
    assert_eq!(effect(&mut fenced, 3), Failure::StoreUnavailable(Effect::Unknown));

    let (mut moved, _) = waiting();
    let mut out = Vec::new();
    moved.machine.abandon(&Failure::Draining, &mut out);
    moved.out.append(&mut out);
    assert_eq!(effect(&mut moved, 3), Failure::StoreUnavailable(Effect::Unknown));
}

/// P9: nobody waits out a store that says that it takes no writes.
#[test]
fn behind_a_save_of_unknown_outcome_a_refusing_store_refuses_at_once() {
    let (mut bench, _) = Bench::with_cart();
    let effects = |bench: &mut Bench| -> Vec<(u32, Effect)> {
        let effect = |(token, told): (u32, Told)| match told {
            Err(Failure::StoreUnavailable(effect)) => (token, effect),
            other => panic!("{other:?}"),
        };
        bench.told().into_iter().map(effect).collect()
    };
    bench.ask(2, add(), Some(7));
    let row = bench.save().row;
    bench.saved(&row, unknown());
    bench.ask(3, add(), None);
    assert!(bench.told().is_empty(), "the next attempt may end well");
    bench.pass(RESEND_AFTER_MIN_MS);
    bench.save();
    bench.saved(&row, Saved::Refused(Reason::new("away")));
    assert_eq!(effects(&mut bench), [(3, Effect::None)]);
    bench.ask(4, add(), None);
    bench.ask(5, add(), Some(7));
    assert_eq!(effects(&mut bench), [(4, Effect::None), (5, Effect::Unknown)], "5 repeats what rides");
    bench.read(6);
    assert_eq!(units(&bench.told()[0].1), 0, "what is committed is still shown");
    bench.saved(&row, Saved::Applied);
    assert!(bench.out.iter().any(|output| matches!(output, Output::Note(Note::Settled("applied")))));
    assert_eq!(units(&bench.told()[0].1), 1);
}

#[test]
fn p9_deadlines_end_waits_and_say_whether_anything_may_have_happened() {
    let (mut bench, _) = Bench::with_cart();
    bench.ask(2, add(), None);
    bench.ask(3, add(), None);
    bench.pass(3_000);
    let told = bench.told();
    assert_eq!(told[0].1.as_ref().unwrap_err(), &Failure::TimedOut(Effect::Unknown), "its save is out");
    assert_eq!(told[1].1.as_ref().unwrap_err(), &Failure::TimedOut(Effect::None), "it only waited");
}

#[test]
fn p9_queues_are_bounded_by_count_and_age() {
    let (mut bench, _) = Bench::with_cart();
    for token in 0..WAITING_MAX as u32 + 1 {
        bench.ask(token, add(), None);
    }
    let told = bench.told();
    assert_eq!(told.len(), 1);
    assert!(matches!(told[0].1, Err(Failure::Overloaded { .. })));

    let (mut bench, _) = Bench::with_cart();
    bench.ask(2, add(), None);
    bench.ask(3, add(), None);
    bench.around.mono_ms += WAITING_AGE_MAX_MS + 1;
    bench.ask(4, add(), None);
    assert!(matches!(bench.told()[..], [(4, Err(Failure::Overloaded { .. }))]));
}

#[test]
fn p9_too_many_young_keys_are_refused_before_they_are_decided() {
    let (mut bench, _) = Bench::with_cart();
    for key in 0..=YOUNG_MAX as u128 {
        bench.ask(2, Command::Clear, Some(key));
        if key < YOUNG_MAX as u128 {
            let save = bench.save();
            bench.saved(&save.row, Saved::Applied);
            bench.told();
        }
    }
    let Err(Failure::TooManyKeys { retry_after }) = bench.told()[0].1 else { panic!("it was taken") };
    assert_eq!(retry_after, Duration::from_secs(600));
}

#[test]
fn p3_a_key_that_changed_nothing_still_has_its_receipt() {
    let (mut bench, _) = Bench::with_cart();
    bench.ask(2, Command::Clear, Some(7));
    let save = bench.save();
    bench.saved(&save.row, Saved::Applied);
    bench.ask(3, add(), None);
    let save = bench.save();
    bench.saved(&save.row, Saved::Applied);
    bench.told();
    bench.ask(4, Command::Clear, Some(7));
    let told = bench.told();
    assert!(told[0].1.as_ref().unwrap().replayed);
    assert_eq!(units(&told[0].1), 1, "cleared once, when it was empty");
}

#[test]
fn p10_a_timer_fires_early_arms_again_and_its_entries_are_deleted_once_needless() {
    let (mut bench, row) = Bench::with_cart();
    let armed = CartEntity::decode(&row.body).unwrap().armed.unwrap();
    assert_eq!(armed.due, UnixMillis(1_000_000 + 24 * HOUR_MS));
    bench.around.wall = bench.around.wall.plus_ms(HOUR_MS);
    bench.ask(2, add(), None);
    let save = bench.save();
    assert_eq!(save.arm, None, "a later timer needs no new entry");
    bench.saved(&save.row, Saved::Applied);

    bench.around.wall = armed.due;
    bench.step(Input::Wake(armed));
    let save = bench.save();
    let next = save.arm.expect("armed anew");
    assert_eq!(next.due, UnixMillis(1_000_000 + 25 * HOUR_MS));
    let unmarks = |bench: &Bench| bench.out.iter().filter(|output| matches!(output, Output::Unmark(_))).count();
    assert_eq!(unmarks(&bench), 0, "the old entry stays until the new one is committed");
    bench.saved(&save.row, Saved::Applied);
    assert_eq!(unmarks(&bench), 1);

    bench.around.wall = next.due;
    bench.step(Input::Wake(next));
    let save = bench.save();
    bench.saved(&save.row, Saved::Applied);
    let cart: Cart = CartEntity::decode(&save.row.body).unwrap().state;
    assert_eq!((cart.status, save.arm, save.row.ttl_s.is_some()), (Status::Expired, None, true));
    bench.out.clear();
    bench.step(Input::Wake(next));
    assert_eq!(unmarks(&bench), 1, "superfluous: deleted when it fires");
}

#[test]
fn p10_an_entry_younger_than_the_row_in_memory_makes_it_read_the_row_again() {
    let (mut bench, row) = Bench::with_cart();
    bench.step(Input::Wake(Armed { due: bench.around.wall, version: 2 }));
    assert!(bench.saves().is_empty() && bench.machine.committed().is_none());
    bench.read(2);
    bench.load(Some(row));
    assert_eq!(bench.told().len(), 1);
}

#[test]
fn a_new_actor_is_saved_without_being_looked_for_and_one_that_is_there_is_found_by_that() {
    let mut bench = Bench::new();
    bench.ask(1, create(), Some(7));
    let save = bench.save();
    assert!(bench.loads().is_empty() && save.expect == Expect::Absent);
    bench.saved(&save.row, foreign(&save.row, 3, 5));
    assert!(bench.loads().len() == 1 && bench.told().is_empty(), "decided again upon what is there");
}

#[test]
fn absence_is_told_only_to_those_who_asked_before_the_load() {
    let mut bench = Bench::new();
    bench.read(1);
    bench.read(2);
    let number = bench.loads()[0];
    bench.step(Input::Loaded(number, Ok(None)));
    assert!(matches!(bench.told()[..], [(1, Err(Failure::Refused(Refusal::NotFound)))]));
    assert_eq!(bench.loads().len(), 2, "the second is looked up anew");
}

/// A turn that panics drops its command alone; three within a minute send the actor to rest, each time for longer.
#[test]
fn an_actor_that_panics_drops_one_command_and_rests_when_it_goes_on() {
    use crate::actors::sim::{
        entity::{Ask as Wish, TallyEntity},
        quiet_planned_panics,
    };
    quiet_planned_panics();
    let mut machine: Durable<TallyEntity, u32> = Durable::default();
    let mut around =
        Surroundings { wall: UnixMillis(1), mono_ms: 1_000, epoch: 1, fence: 1, expire_after_ms: 0, emits: false };
    let (mut numbers, mut row) = (0, None);
    // Plays the store, always well; returns what was told.
    let mut ask = |around: &Surroundings, wishes: &[Wish]| {
        let mut out = Vec::new();
        let mut op_id = || {
            numbers += 1;
            numbers
        };
        for (token, wish) in wishes.iter().enumerate() {
            let (command, timeout) = (wish.clone(), Duration::from_secs(3));
            let ask = Ask { command, by: None, if_revision: None, key: None, timeout, deed: None };
            let input = Input::Ask { ask, since_ms: around.mono_ms, token: token as u32 };
            machine.step(input, around, &mut op_id, &mut out);
        }
        let mut told = Vec::new();
        while !out.is_empty() {
            for output in std::mem::take(&mut out) {
                match output {
                    Output::Load { number, .. } => {
                        machine.step(Input::Loaded(number, Ok(row.clone())), around, &mut op_id, &mut out);
                    }
                    Output::Save(order) => {
                        row = Some(order.row.clone());
                        machine.step(Input::Saved(order.row.op_id, Saved::Applied), around, &mut op_id, &mut out);
                    }
                    Output::Reply(token, outcome) => told.push((token, outcome.map(|answer| answer.state.ops.clone()))),
                    _ => {}
                }
            }
        }
        machine.step(Input::Tick, around, &mut op_id, &mut out);
        told.sort_by_key(|(token, _)| *token);
        told.into_iter().map(|(_, outcome)| outcome).collect::<Vec<_>>()
    };
    assert_eq!(ask(&around, &[Wish::Add(1)]), [Ok(vec![1])]);
    let told = ask(&around, &[Wish::Add(2), Wish::Panic, Wish::Add(3)]);
    assert_eq!(told[1], Err(Failure::Internal(Effect::None)));
    assert!(told[0].is_ok() && told[2].is_ok(), "the others are decided again: {told:?}");
    assert_eq!(ask(&around, &[Wish::Panic]), [Err(Failure::Internal(Effect::None))]);
    let mut rest_ms = super::trouble::REST_MIN_MS;
    for _ in 0..6 {
        assert_eq!(ask(&around, &[Wish::Panic]), [Err(Failure::Internal(Effect::None))]);
        let retry_after = Duration::from_millis(rest_ms);
        assert_eq!(ask(&around, &[Wish::Add(9)]), [Err(Failure::Quarantined { retry_after })]);
        around.mono_ms += rest_ms;
        ask(&around, &[]);
        let told = ask(&around, &[Wish::Add(around.mono_ms as u32)]);
        assert!(told[0].is_ok(), "released: {told:?}");
        ask(&around, &[Wish::Panic]);
        ask(&around, &[Wish::Panic]);
        rest_ms = (rest_ms * 2).min(super::trouble::REST_MAX_MS);
    }
}
