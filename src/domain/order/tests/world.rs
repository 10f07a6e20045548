//! A gateway and the stocks around one order, and any order of things that can happen between them.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{apply, made, named, placement, refused, shop};
use crate::domain::{Context, Reference, order::*, payment};

/// A gateway and the stocks, which do each deed once under its reference and answer a copy as they answered before. They
/// fail the test when money or goods would move that are not there.
struct World {
    order: Option<Order>,
    now: u64,
    /// Each step that was ever pending, its call, and when it last was.
    calls: BTreeMap<(u32, bool), (Step, Call, u64)>,
    /// What was answered under each reference, and can come again at any time.
    answers: Vec<(Step, Done)>,
    bank: BTreeMap<Reference, (payment::Deed, Done)>,
    captured: i64,
    refunded: i64,
    voided: bool,
    /// The gateway told that money went back, and was not answered yet.
    told: bool,
    /// What the gateway was found to have taken and given back, and of which revision somebody knew before.
    found: Option<(u64, i64, i64)>,
    /// It once refused what it could have done.
    unwilling: bool,
    entries: BTreeMap<Reference, u32>,
    /// Of both products: available, sold, outside.
    stock: BTreeMap<Box<str>, [i64; 3]>,
}

impl World {
    fn new(capture: Capture) -> Self {
        let mut stock = BTreeMap::<Box<str>, [i64; 3]>::new();
        for line in &placement(capture).lines {
            stock.entry(line.sku.clone()).or_default()[1] += i64::from(line.quantity);
        }
        let order = made(capture);
        let (bank, entries, calls) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut world = Self {
            order,
            now: 5,
            calls,
            answers: Vec::new(),
            bank,
            captured: 0,
            refunded: 0,
            voided: false,
            told: false,
            found: None,
            unwilling: false,
            entries,
            stock,
        };
        world.look();
        world
    }

    fn order(&self) -> &Order {
        self.order.as_ref().unwrap()
    }

    fn tell(&mut self, command: &Command) {
        self.tell_upon(None, command);
    }

    /// Whether it was not refused.
    fn tell_upon(&mut self, if_revision: Option<u64>, command: &Command) -> bool {
        let before = self.order.clone().unwrap();
        let told = apply(&mut self.order, command, &Context { if_revision, ..shop(self.now) });
        let after = self.order();
        assert!(after.revision >= before.revision && after.deed_next >= before.deed_next);
        if !matches!(told, Ok(1..)) {
            assert_eq!(after, &before, "a refusal, or no event, changes nothing");
        }
        self.look();
        told.is_ok()
    }

    /// Checks the order, and that a step that was pending before asks for the very same.
    fn look(&mut self) {
        let order = self.order();
        order.check().unwrap();
        for (step, call) in pending(order) {
            let key = match step {
                Step::Deed(n) => (n, false),
                Step::Forget(n) => (n, true),
            };
            let known = self.calls.entry(key).or_insert_with(|| (step, call.clone(), 0));
            assert_eq!((known.0, &known.1), (step, &call));
            known.2 = self.now;
        }
    }

    /// The `at`th call that was ever made comes to whom it asks; copies come while stocks are made to remember.
    fn perform(&mut self, at: usize, willing: bool) {
        let calls: Vec<_> = self.calls.values().cloned().collect();
        if calls.is_empty() {
            return;
        }
        let (step, call, asked_at) = calls[at % calls.len()].clone();
        if self.now - asked_at < REMEMBER_MS {
            let done = self.perform_call(&call, willing);
            self.answers.push((step, done));
        }
    }

    fn perform_call(&mut self, call: &Call, willing: bool) -> Done {
        match call {
            Call::Capture(deed) | Call::Void(deed) | Call::Refund(deed) => {
                if let Some((known, done)) = self.bank.get(&deed.key) {
                    assert_eq!(known, deed, "one key, two deeds");
                    return done.clone();
                }
                let is_there = !matches!(call, Call::Refund(_)) || deed.amount.amount <= self.captured - self.refunded;
                self.unwilling |= !willing;
                let done = if willing && is_there { Done::Yes } else { refused() };
                self.bank.insert(deed.key, (deed.clone(), done.clone()));
                match call {
                    _ if done != Done::Yes => {}
                    Call::Capture(_) => self.captured += deed.amount.amount,
                    Call::Refund(_) => self.refunded += deed.amount.amount,
                    _ => self.voided = true,
                }
                assert!(self.captured <= self.order().payment.authorised && self.refunded <= self.captured);
                assert!(!self.voided || self.captured == 0, "what was let go of was taken");
                done
            }
            Call::Ship { sku, by, quantity } => self.goods(sku, *by, *quantity, 1, 2),
            Call::Restock { sku, by, quantity, from: Origin::Sold } => self.goods(sku, *by, *quantity, 1, 0),
            Call::Restock { sku, by, quantity, from: Origin::Returned } => self.goods(sku, *by, *quantity, 2, 0),
            Call::Forget { by, .. } => {
                self.entries.remove(by);
                Done::Yes
            }
        }
    }

    fn goods(&mut self, sku: &str, by: Reference, quantity: u32, from: usize, to: usize) -> Done {
        if *self.entries.entry(by).or_insert(0) == 0 {
            self.entries.insert(by, quantity);
            let stock = self.stock.get_mut(sku).unwrap();
            stock[from] -= i64::from(quantity);
            stock[to] += i64::from(quantity);
            assert!(stock[1] >= 0, "more left than was sold");
        }
        Done::Yes
    }

    /// Somebody gives money back at the gateway itself.
    fn give_back(&mut self, amount: i64) {
        let amount = amount.min(self.captured - self.refunded);
        self.refunded += amount;
        self.told |= amount > 0;
    }

    /// Because it told, somebody reads the order, and asks the gateway what it has given back.
    fn look_at_gateway(&mut self) {
        if self.told && !self.order().moves_money() {
            self.found = Some((self.order().revision, self.captured, self.refunded));
        }
    }

    /// The order learns it, some time later; then the gateway is answered, and does not tell again.
    fn learn(&mut self) {
        let Some((revision, captured, refunded)) = self.found.take() else { return };
        if self.tell_upon(Some(revision), &Command::LearnRefunded { captured, refunded }) && refunded == self.refunded {
            self.told = false;
        }
        let (told, gone) = (self.order().payment.refunded, self.refunded);
        assert!(told <= gone, "{told} of {gone}");
    }

    /// Lets everything come to its end.
    fn finish(&mut self) {
        for _ in 0..20 {
            let mut keys = pending(self.order());
            keys.reverse();
            for (step, call) in keys {
                let done = self.perform_call(&call, true);
                self.tell(&on_done(step, done, false));
            }
            self.look_at_gateway();
            self.learn();
            self.now += REMEMBER_MS;
            self.tell(&on_wake());
        }
        let order = self.order();
        assert!(order.deeds.is_empty() && wake_at(order).is_none(), "{:?} is never done", order.deeds);
        assert!(self.entries.is_empty(), "a stock remembers for ever");
        let payment = &order.payment;
        assert_eq!((payment.captured, payment.refunded, payment.voided), (self.captured, self.refunded, self.voided));
        for (sku, [available, sold, outside]) in &self.stock {
            let of_sku = || order.lines.iter().filter(|line| line.bought.sku == *sku);
            let sum = |units: fn(&Line) -> u16| of_sku().map(|line| i64::from(units(line))).sum::<i64>();
            let (quantity, fulfilled, returned) =
                (sum(|line| line.bought.quantity), sum(|line| line.fulfilled), sum(|line| line.returned));
            assert_eq!(*outside, fulfilled - returned);
            let is_back = if order.cancelled.is_some() { quantity } else { returned };
            assert_eq!(*available, is_back);
            assert_eq!(*sold, quantity - fulfilled - if order.cancelled.is_some() { quantity } else { 0 });
        }
        if order.cancelled.is_some() && !self.unwilling {
            assert!(payment.voided || payment.refunded == payment.captured, "a cancelled order kept money");
        }
        assert!(!order.has_shipped() || order.is_paid(), "goods left without money");
    }
}

#[derive(Clone, Debug)]
pub(super) enum Happens {
    Asked(Command),
    /// A call, or a copy of one, arrives.
    Performed(usize, bool),
    /// An answer, or a copy of one, arrives.
    Answered(usize),
    GivenBack(i64),
    LookedAtGateway,
    Learnt,
    Later(u64),
}

pub(super) fn any_happening() -> impl Strategy<Value = Happens> {
    let lines = || {
        let line = prop_oneof![Just(1u32), Just(2), Just(4), 0..6u32];
        prop::collection::vec((line, 0..5u16), 0..4).prop_map(|lines| named(&lines))
    };
    let command = prop_oneof![
        1 => Just(Command::Capture),
        6 => lines().prop_map(|lines| Command::Fulfil { lines, carrier: None, label: None }),
        1 => Just(Command::Cancel { reason: Some("changed my mind".into()) }),
        4 => lines().prop_map(|lines| Command::Return { lines }),
        2 => (-1..3_000i64).prop_map(|amount| Command::Refund { amount }),
        1 => Just(Command::Place(Box::new(placement(Capture::AtOrder)))),
        1 => Just(on_wake()),
    ];
    prop_oneof![
        4 => command.prop_map(Happens::Asked),
        // Willing nine times in ten.
        5 => (any::<usize>(), 0..10u8).prop_map(|(at, luck)| Happens::Performed(at, luck > 0)),
        5 => any::<usize>().prop_map(Happens::Answered),
        1 => (1..3_000i64).prop_map(Happens::GivenBack),
        1 => Just(Happens::LookedAtGateway),
        1 => Just(Happens::Learnt),
        1 => (0..REMEMBER_MS).prop_map(Happens::Later),
    ]
}

/// Lives an order through all that happens, and to its end.
pub(super) fn lives(capture: Capture, happenings: &[Happens]) {
    let mut world = World::new(capture);
    for happens in happenings {
        match happens {
            Happens::Asked(command) => world.tell(command),
            Happens::Performed(at, willing) => world.perform(*at, *willing),
            Happens::Answered(_) if world.answers.is_empty() => {}
            Happens::Answered(at) => {
                let (step, done) = world.answers[at % world.answers.len()].clone();
                world.tell(&on_done(step, done, false));
            }
            Happens::GivenBack(amount) => world.give_back(*amount),
            Happens::LookedAtGateway => world.look_at_gateway(),
            Happens::Learnt => world.learn(),
            Happens::Later(ms) => {
                world.now += ms;
                world.look();
            }
        }
    }
    world.finish();
}
