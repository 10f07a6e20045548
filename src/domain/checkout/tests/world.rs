//! A world around one checkout: stock, codes, a gateway, a cart and orders, each as simple as the rules allow, and a
//! post that duplicates, delays without limit, overtakes and loses.

use std::collections::BTreeMap;

use super::{START, apply, create, details, pay};
use crate::domain::{
    Reference, UnixMillis,
    checkout::{Call, Checkout, Command, Done, Placement, Step, What, evolve, on_done, on_wake, pending, wake_at},
    payment::{Abandoned, Authorise, Authorised},
};

/// Where choices come from; `None` once they are used up.
pub(super) trait Dice {
    /// One of `0..sides`.
    fn roll(&mut self, sides: usize) -> Option<usize>;
}

/// An entry of a stock or of a code, by the rules of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Held { attempt: u32, until: u64 },
    Pinned { attempt: u32 },
    Committed,
    Released,
}

#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) available: u32,
    pub(super) sold: u32,
    pub(super) on_hand: u32,
    pub(super) entries: BTreeMap<Reference, (Entry, u32)>,
}

impl Shelf {
    fn new(units: u32) -> Self {
        Self { available: units, sold: 0, on_hand: units, entries: BTreeMap::new() }
    }

    pub(super) fn held(&self) -> u32 {
        let counts = |(entry, quantity): &(Entry, u32)| match entry {
            Entry::Held { .. } | Entry::Pinned { .. } => *quantity,
            Entry::Committed | Entry::Released => 0,
        };
        self.entries.values().map(counts).sum()
    }

    pub(super) fn expire(&mut self, now: u64) {
        for (entry, quantity) in self.entries.values_mut() {
            if matches!(entry, Entry::Held { until, .. } if *until <= now) {
                *entry = Entry::Released;
                self.available += *quantity;
            }
        }
    }

    fn perform(&mut self, call: &Call, now: u64) -> Done {
        // A hold that is over counts as held until its clock says so, and is refused all the same.
        let over = |until: u64| until <= now;
        match call {
            Call::Hold { what, by, until, .. } => {
                let until = until.0;
                let wanted = match what {
                    What::Stock { quantity, .. } => *quantity,
                    What::Code { .. } => 1,
                };
                match self.entries.get_mut(by) {
                    _ if over(until) => return Done::Lost,
                    Some((Entry::Held { until: at, .. }, _)) => *at = until.max(*at),
                    Some((Entry::Pinned { .. } | Entry::Committed, _)) => {}
                    Some((Entry::Released, _)) => return Done::Lost,
                    None if self.available < wanted => {
                        return match what {
                            What::Stock { .. } => Done::Insufficient { available: self.available },
                            What::Code { .. } => Done::CodeRefused { reason: "used up".into() },
                        };
                    }
                    None => {
                        self.available -= wanted;
                        self.entries.insert(*by, (Entry::Held { attempt: 0, until }, wanted));
                    }
                }
            }
            Call::Extend { by, until, .. } => match self.entries.get_mut(by) {
                Some((Entry::Held { until: at, .. }, _)) if !over(*at) => *at = until.0.max(*at),
                Some((Entry::Pinned { .. }, _)) => {}
                _ => return Done::Lost,
            },
            Call::Pin { by, attempt, .. } => match self.entries.get_mut(by) {
                Some((entry, _)) => match *entry {
                    Entry::Held { until, attempt: last } if !over(until) && *attempt > last => {
                        *entry = Entry::Pinned { attempt: *attempt };
                    }
                    Entry::Pinned { attempt: of } if of == *attempt => {}
                    Entry::Committed => {}
                    _ => return Done::Lost,
                },
                None => return Done::Lost,
            },
            Call::Unpin { by, attempt, until, .. } => match self.entries.get_mut(by) {
                Some((entry, _)) => match *entry {
                    Entry::Pinned { attempt: of } if of == *attempt => {
                        *entry = Entry::Held { attempt: *attempt, until: until.0 };
                    }
                    Entry::Pinned { attempt: of } if of > *attempt => {}
                    Entry::Held { .. } => {}
                    _ => return Done::Lost,
                },
                None => return Done::Lost,
            },
            Call::Commit { by, .. } => match self.entries.get_mut(by) {
                Some((entry @ Entry::Pinned { .. }, quantity)) => {
                    *entry = Entry::Committed;
                    self.sold += *quantity;
                }
                Some((Entry::Committed, _)) => {}
                _ => return Done::Lost,
            },
            Call::Release { by, .. } => match self.entries.get_mut(by) {
                Some((entry @ (Entry::Held { .. } | Entry::Pinned { .. }), quantity)) => {
                    *entry = Entry::Released;
                    self.available += *quantity;
                }
                Some((Entry::Released, _)) => {}
                Some((Entry::Committed, _)) => return Done::Lost,
                None => {
                    self.entries.insert(*by, (Entry::Released, 0));
                }
            },
            Call::Forget { by, .. } => match self.entries.get(by) {
                Some((Entry::Held { .. } | Entry::Pinned { .. }, _)) => return Done::Lost,
                _ => {
                    self.entries.remove(by);
                }
            },
            other => panic!("{other:?} is not for a shelf"),
        }
        Done::Ok
    }
}

/// What the gateway knows of a key. Its token says how it behaves: `yes`, `no`, `action`, and `away`, which answers once
/// that it is away and has nothing of the key, and then approves.
#[derive(Debug, Default)]
pub(super) struct Payment {
    pub(super) reserved: bool,
    pub(super) voided: bool,
    pub(super) abandoned: bool,
    declined: bool,
    acted: bool,
    was_away: bool,
}

#[derive(Debug, Default)]
pub(super) struct Gateway(pub(super) BTreeMap<Reference, Payment>);

impl Gateway {
    fn authorise(&mut self, asked: &Authorise) -> Authorised {
        let payment = self.0.entry(asked.key).or_default();
        let reference: Box<str> = format!("pay-{}", asked.key.n).into();
        match &*asked.token.0 {
            _ if payment.reserved => {}
            _ if payment.abandoned || payment.declined => return Authorised::Declined { reason: "no".into() },
            "no" => {
                payment.declined = true;
                return Authorised::Declined { reason: "no".into() };
            }
            "action" if !payment.acted => return Authorised::ActionRequired { reference, url: "u".into() },
            "away" if !payment.was_away => {
                payment.was_away = true;
                return Authorised::Unavailable;
            }
            _ => payment.reserved = true,
        }
        Authorised::Yes { reference }
    }

    fn abandon(&mut self, key: Reference) -> Abandoned {
        let payment = self.0.entry(key).or_default();
        payment.abandoned = true;
        if payment.reserved {
            return Abandoned::Authorised { reference: format!("pay-{}", key.n).into() };
        }
        Abandoned::Nothing
    }
}

/// What came of it in one world, for counting that worlds differ.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) overtaken: usize,
    pub(super) voids: usize,
    pub(super) attempts: usize,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) now: u64,
    pub(super) checkout: Option<Checkout>,
    pub(super) mugs: Shelf,
    pub(super) tees: Shelf,
    pub(super) codes: Shelf,
    pub(super) gateway: Gateway,
    pub(super) orders: Vec<Placement>,
    pub(super) settled: usize,
    pub(super) let_go: usize,
    in_checkout: bool,
    requests: Vec<(Step, Call)>,
    answers: Vec<(Step, Done)>,
    /// Every request that was ever sent, as often as it was.
    sent: Vec<Step>,
    pub(super) seen: Seen,
}

/// Most letters in the post at once.
const POST_MAX: usize = 60;

/// Which of so many letters arrives next: the newest as often as any other, or nothing would ever come of much.
fn letter(letters: usize, dice: &mut dyn Dice) -> Option<usize> {
    if dice.roll(2)? == 0 { Some(letters - 1) } else { dice.roll(letters) }
}

impl World {
    pub(super) fn new(mugs: u32, tees: u32, uses: u32) -> Self {
        let mut checkout = None;
        apply(&mut checkout, &Command::Create(Box::new(create())), START).unwrap();
        Self {
            now: START,
            checkout,
            mugs: Shelf::new(mugs),
            tees: Shelf::new(tees),
            codes: Shelf::new(uses),
            gateway: Gateway::default(),
            orders: Vec::new(),
            settled: 0,
            let_go: 0,
            in_checkout: true,
            requests: Vec::new(),
            answers: Vec::new(),
            sent: Vec::new(),
            seen: Seen::default(),
        }
    }

    pub(super) fn state(&self) -> &Checkout {
        self.checkout.as_ref().unwrap()
    }

    pub(super) fn shelves(&self) -> [&Shelf; 3] {
        [&self.mugs, &self.tees, &self.codes]
    }

    /// Does whatever the dice say, until they say nothing more.
    pub(super) fn run(&mut self, dice: &mut dyn Dice) {
        while self.act(dice).is_some() {
            self.check();
        }
    }

    fn act(&mut self, dice: &mut dyn Dice) -> Option<()> {
        match dice.roll(20)? {
            0..=4 => {
                let pending = pending(self.state());
                if !pending.is_empty() && self.requests.len() < POST_MAX {
                    let at = dice.roll(pending.len())?;
                    self.sent.push(pending[at].0);
                    self.requests.push(pending[at].clone());
                }
            }
            5..=10 if !self.requests.is_empty() => {
                let at = letter(self.requests.len(), dice)?;
                let again = dice.roll(3)? == 0;
                let (step, call) = if again { self.requests[at].clone() } else { self.requests.swap_remove(at) };
                self.sent.extend(again.then_some(step));
                let done = self.perform(&call);
                if dice.roll(5)? != 0 && self.answers.len() < POST_MAX {
                    self.answers.push((step, done)); // else the answer is lost
                }
            }
            11..=14 if !self.answers.is_empty() => {
                let at = letter(self.answers.len(), dice)?;
                let again = dice.roll(4)? == 0;
                let (step, done) = if again { self.answers[at].clone() } else { self.answers.swap_remove(at) };
                self.tell(&on_done(step, done, self.is_once(step)));
            }
            15 => self.now += [1, 50, 500, 2_000, 5_000, 20_000, 40_000, 61_000][dice.roll(8)?],
            16 => self.tell(&on_wake()),
            17 => {
                let now = self.now;
                [&mut self.mugs, &mut self.tees, &mut self.codes].into_iter().for_each(|shelf| shelf.expire(now));
            }
            18 => {
                let token = ["yes", "no", "action", "away"][dice.roll(4)?];
                self.tell(&details());
                self.tell(&pay(token));
            }
            19 => match dice.roll(12)? {
                0 => self.tell(&Command::Cancel),
                1 => self.now += 16 * 60_000,
                2..=6 => self.acted(),
                7 => self.tell(&Command::Confirm),
                _ => {}
            },
            _ => {}
        }
        Some(())
    }

    /// The shopper does what every payment wants of them.
    fn acted(&mut self) {
        self.gateway.0.values_mut().for_each(|payment| payment.acted = true);
        self.tell(&Command::Confirm);
    }

    fn is_once(&self, step: Step) -> bool {
        self.sent.iter().filter(|sent| **sent == step).count() == 1
    }

    fn tell(&mut self, command: &Command) {
        let context =
            crate::domain::Context { now: UnixMillis(self.now), by: None, if_revision: None, expire_after_ms: 0 };
        if let Ok(events) = crate::domain::checkout::decide(self.checkout.as_ref(), command, &context) {
            if events.is_empty() && matches!(command, Command::Done { .. }) {
                self.seen.overtaken += 1;
            }
            events.iter().for_each(|event| evolve(&mut self.checkout, event));
        }
        self.seen.attempts = self.state().attempts.len();
    }

    fn perform(&mut self, call: &Call) -> Done {
        let (Call::Hold { what, .. }
        | Call::Extend { what, .. }
        | Call::Pin { what, .. }
        | Call::Unpin { what, .. }
        | Call::Commit { what, .. }
        | Call::Release { what, .. }
        | Call::Forget { what, .. }) = call
        else {
            return self.perform_elsewhere(call);
        };
        let shelf = match what {
            What::Stock { sku, .. } if &**sku == "mug" => &mut self.mugs,
            What::Stock { .. } => &mut self.tees,
            What::Code { .. } => &mut self.codes,
        };
        shelf.perform(call, self.now)
    }

    fn perform_elsewhere(&mut self, call: &Call) -> Done {
        match call {
            Call::Authorise(asked) => return Done::Authorised(self.gateway.authorise(asked)),
            Call::Abandon { key, .. } => return Done::Abandoned(self.gateway.abandon(*key)),
            Call::Void(deed) => {
                let payment = self.gateway.0.get_mut(&deed.key).unwrap();
                assert!(payment.reserved, "there was money to void");
                payment.voided = true;
                self.seen.voids += 1;
            }
            Call::Place(placement) => {
                if self.orders.is_empty() {
                    self.orders.push((**placement).clone());
                }
                assert_eq!(self.orders[0], **placement, "the same order every time");
            }
            Call::Settle { .. } if self.in_checkout => {
                self.in_checkout = false;
                self.settled += 1;
            }
            Call::LetGo { .. } if self.in_checkout => {
                self.in_checkout = false;
                self.let_go += 1;
            }
            _ => {}
        }
        Done::Ok
    }

    /// What holds at every moment.
    fn check(&self) {
        for shelf in self.shelves() {
            assert_eq!(shelf.available + shelf.held() + shelf.sold, shelf.on_hand);
        }
        let useful = |payment: &&Payment| payment.reserved && !payment.voided;
        if let Some(order) = self.orders.first() {
            let committed = |shelf: &Shelf| shelf.sold > 0 && shelf.held() == 0;
            assert!(self.shelves().into_iter().all(committed), "an order of goods that were not sold");
            let key = Reference { by: order.checkout.0, n: self.state().attempt_n() };
            assert!(self.gateway.0.get(&key).filter(useful).is_some(), "an order that nobody paid for");
        }
        for attempt in &self.state().attempts {
            use crate::domain::checkout::AttemptState::{ActionRequired, Pending};
            assert!(attempt.token.is_none() || matches!(attempt.state, Pending | ActionRequired { .. }));
        }
    }

    /// Everything that is pending is done and answered, time passes when nothing is, until the checkout has ended. Then
    /// every letter still in the post arrives, twice, and time goes on until no hold can live by itself.
    pub(super) fn settle(&mut self) {
        for _ in 0..300 {
            if self.state().is_ended() {
                break;
            }
            let pending = pending(self.state());
            if pending.is_empty() {
                let due = wake_at(self.state()).expect("what waits for nothing has ended");
                self.now = self.now.max(due.0);
                self.tell(&on_wake());
            }
            for (step, call) in pending {
                self.sent.push(step);
                let done = self.perform(&call);
                self.tell(&on_done(step, done, self.is_once(step)));
                self.check();
            }
        }
        assert!(self.state().is_ended(), "it goes on for ever: {:?}", self.state().phase);
        for _ in 0..2 {
            for (_, call) in self.requests.clone() {
                self.perform(&call);
            }
            for (step, done) in self.answers.clone() {
                self.tell(&on_done(step, done, self.is_once(step)));
            }
            self.check();
        }
        self.now += 2 * 60 * 60_000;
        let now = self.now;
        [&mut self.mugs, &mut self.tees, &mut self.codes].into_iter().for_each(|shelf| shelf.expire(now));
    }
}
