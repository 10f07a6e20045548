//! Messages reach whom they are for, in any order, or what is left of them.

use std::time::Duration;

use super::{
    kinds::{Name, Role, by_sort},
    node::shard_of,
    planted::mistaken,
    world::{Deed, FATES, Message, TIMEOUT_MS, World},
};
use crate::{
    actors::{
        ask::{Ask, Failure},
        cart::CartEntity,
        checkout::CheckoutEntity,
        discount::DiscountEntity,
        durable::{Again, Input, Outcome, SaveOrder},
        errand::{Answer, Errand, Terms},
        order::OrderEntity,
        sim::world::Broken,
        stock::StockEntity,
    },
    domain::{Try, payment::Authorised},
    store::{Reason, Saved},
};

/// How late a message may come: far past whatever it was about.
const LATE_MAX_MS: u64 = 100 * 60_000;

impl World {
    pub(super) fn deliver_any(&mut self) -> Result<(), Broken> {
        if self.messages.is_empty() {
            return Ok(());
        }
        let at = self.rng.below(self.messages.len() as u64) as usize;
        let message = self.messages.swap_remove(at);
        self.deliver(message)
    }

    fn lives(&self, node: usize, life: u32) -> bool {
        self.nodes[node].life == life
    }

    /// It comes when nobody thinks of it any more: in seconds, or in more than an hour.
    fn delay(&mut self, message: Message) {
        let most_ms = [2_000, 20_000, 90_000, 20 * 60_000, LATE_MAX_MS][self.rng.below(5) as usize];
        let at_ms = self.mono_ms + self.rng.below(most_ms);
        self.late.push((at_ms, message));
    }

    pub(super) fn deliver(&mut self, message: Message) -> Result<(), Broken> {
        match message {
            Message::Load { node, life, name, number } => {
                let fails = self.faults && self.mix.faulty_fates > 0 && self.rng.one_in(16);
                let row = by_sort!(name.0, self.row_of(name.1));
                let row = if fails { Err(Reason::new("planned")) } else { Ok(row) };
                self.messages.push(Message::Loaded { node, life, name, number, row });
            }
            Message::Loaded { node, life, name, number, row } if self.lives(node, life) => {
                by_sort!(name.0, self.step_if_there(node, name.1, Input::Loaded(number, row)))?;
            }
            Message::Save { node, life, name, order, answers } => self.save(node, life, name, order, answers)?,
            Message::Saved { node, life, name, op_id, saved } if self.lives(node, life) => {
                self.saved(node, name, op_id, saved)?;
            }
            Message::Unmark { name, armed } => self.model.unmark(name, armed),
            Message::Again(op) => self.attempt(u64::from(op))?,
            Message::Errand(errand, nth, deed) => self.errand(errand, nth, deed)?,
            Message::Performed(deed, result) if self.lives(deed.node, deed.life) => {
                self.note(format_args!("n{} {:?} is told of {:?}: {result:?}", deed.node, deed.name, deed.call));
                let (sort, id) = deed.name;
                by_sort!(sort, self.performed(deed.node, id, deed.number, result))?;
            }
            Message::Offer(offer) => self.offered(offer)?,
            Message::Told { node, life, name, up_to, published } if self.lives(node, life) => {
                self.told(node, name, up_to, published)?;
            }
            Message::Loaded { .. } | Message::Saved { .. } | Message::Performed(..) | Message::Told { .. } => {}
        }
        Ok(())
    }

    fn row_of<E: Role>(&self, id: u128) -> Option<crate::store::Row> {
        self.model.row::<E>(id)
    }

    fn performed<E: Role>(
        &mut self,
        node: usize,
        id: u128,
        number: u128,
        result: Result<super::kinds::Done, Again>,
    ) -> Result<(), Broken> {
        let done = result.and_then(|done| E::done(done).ok_or(Again));
        self.step_if_there::<E>(node, id, Input::Performed(number, done))
    }

    // ---- the store ----

    fn is_unsettled<E: Role>(&mut self, node: usize, id: u128) -> bool {
        E::machines(&mut self.nodes[node].hosts).get(&id).is_some_and(crate::actors::durable::Durable::is_unsettled)
    }

    fn saved(&mut self, node: usize, name: Name, op_id: u128, saved: Saved) -> Result<(), Broken> {
        let unsettled = by_sort!(name.0, self.is_unsettled(node, name.1));
        let settles = match saved {
            Saved::Unknown(_) => false,
            Saved::Refused(_) => !unsettled,
            Saved::Applied | Saved::Lost(_) => true,
        };
        if settles && self.nodes[node].out.get(&name) == Some(&op_id) {
            self.nodes[node].out.remove(&name);
        }
        by_sort!(name.0, self.step_if_there(node, name.1, Input::Saved(op_id, saved)))
    }

    fn save(&mut self, node: usize, life: u32, name: Name, order: SaveOrder, answers: bool) -> Result<(), Broken> {
        let op_id = order.row.op_id;
        let answer = |saved| Message::Saved { node, life, name, op_id, saved };
        let planned = || Reason::new("planned");
        let drawn = if self.faults && answers { self.rng.below(FATES) } else { FATES };
        let fate = if drawn < self.mix.faulty_fates { drawn % 5 } else { FATES };
        match fate {
            // Certainly not now or later; its agenda entry may be there all the same.
            0 => {
                self.model.mark(name, order.arm);
                self.messages.push(answer(Saved::Refused(planned())));
            }
            // Lost on the way.
            1 => self.messages.push(answer(Saved::Unknown(planned()))),
            // Slow: it lands long after its sender gave up, perhaps.
            2 | 3 => {
                self.messages.push(answer(Saved::Unknown(planned())));
                self.delay(Message::Save { node, life, name, order, answers: false });
            }
            _ => {
                let saved = by_sort!(name.0, self.land(name.1, &order))?;
                self.note(format_args!("{name:?} save {op_id} of n{node} lands: {saved:?}"));
                match fate {
                    4 => self.messages.push(answer(Saved::Unknown(planned()))),
                    _ if answers => self.messages.push(answer(saved)),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn land<E: Role>(&mut self, id: u128, order: &SaveOrder) -> Result<Saved, Broken> {
        let saved = self.model.save::<E>(id, order).map_err(|why| Broken("P2", why))?;
        if saved == Saved::Applied {
            self.check::<E>(id)?;
        }
        Ok(saved)
    }

    // ---- deeds ----

    /// Sends a deed off: or it is lost, comes twice, much later, or only its answer is lost. Whoever asked is told to
    /// try again, as one whose patience ends: nothing between nodes makes two of one request that is answered.
    pub(super) fn begin(&mut self, deed: Deed) {
        let (shop, now) = (&self.shop, self.wall());
        let product = |sku: &str| shop.product(sku);
        let terms = Terms {
            now,
            product: &product,
            tables: &shop.tables,
            checkout_ttl_ms: shop.ttl_ms,
            checkout_ttl_max_ms: shop.ttl_max_ms,
        };
        let Ok(errand) = deed.call.errand(&terms, shop.capture) else {
            return self.messages.push(Message::Performed(deed, Err(Again)));
        };
        let (errand, nth) = (mistaken(&deed.call, errand), deed.nth);
        let drawn = if self.faults { self.rng.below(FATES) } else { FATES };
        let fate = if drawn < self.mix.faulty_deeds { drawn % 5 } else { FATES };
        match fate {
            0 => self.messages.push(Message::Performed(deed, Err(Again))),
            1 | 2 => {
                self.delay(Message::Errand(errand, nth, None));
                self.messages.push(Message::Performed(deed, Err(Again)));
            }
            3 => {
                self.messages.push(Message::Errand(errand, nth, None));
                self.messages.push(Message::Performed(deed, Err(Again)));
            }
            4 => {
                // No second one is the first.
                self.delay(Message::Errand(errand.clone(), Try::Again, None));
                self.messages.push(Message::Errand(errand, nth, None));
                self.messages.push(Message::Performed(deed, Err(Again)));
            }
            _ => self.messages.push(Message::Errand(errand, nth, Some(deed))),
        }
    }

    fn errand(&mut self, errand: Errand, nth: Try, deed: Option<Deed>) -> Result<(), Broken> {
        match errand {
            Errand::Cart(id, command) => self.tell::<CartEntity>(id.0.0, command, nth, deed),
            Errand::Checkout(id, command) => self.tell::<CheckoutEntity>(id.0.0, command, nth, deed),
            Errand::Stock(id, command) => self.tell::<StockEntity>(id.0.0, command, nth, deed),
            Errand::Discount(id, command) => self.tell::<DiscountEntity>(id.0.0, command, nth, deed),
            Errand::Order(id, command) => self.tell::<OrderEntity>(id.0.0, command, nth, deed),
            errand => self.ask_bank(&errand, deed),
        }
    }

    fn tell<E: Role>(&mut self, id: u128, command: E::Command, nth: Try, deed: Option<Deed>) -> Result<(), Broken> {
        let shard = shard_of((E::SORT, id));
        let node = self.a_server_of(shard);
        if self.nodes[node].views[shard].is_none() {
            if let Some(deed) = deed {
                self.messages.push(Message::Performed(deed, Err(Again)));
            }
            return Ok(());
        }
        self.note(format_args!("n{node} {:?} {id} is asked {command:?}", E::SORT));
        self.token_next += 1;
        let token = self.token_next;
        if let Some(deed) = deed {
            self.deeds.insert(token, (node, deed));
        }
        let timeout = Duration::from_millis(TIMEOUT_MS);
        let ask = Ask { command, by: None, if_revision: None, key: None, timeout, deed: Some(nth) };
        self.step::<E>(node, id, Input::Ask { ask, since_ms: self.mono_ms, token })
    }

    fn ask_bank(&mut self, errand: &Errand, deed: Option<Deed>) -> Result<(), Broken> {
        let answer = if self.mono_ms < self.bank_back_ms {
            let says_so = matches!(errand, Errand::Authorise(_)) && self.rng.one_in(2);
            if says_so { Ok(Answer::Authorised(Authorised::Unavailable)) } else { Err(Again) }
        } else {
            let answer = self.bank.run(errand, self.wall());
            self.note(format_args!("the gateway is asked {errand:?}: {answer:?}"));
            self.check_money()?;
            answer
        };
        if let Some(deed) = deed {
            let done = answer.and_then(|answer| deed.call.done(answer));
            self.messages.push(Message::Performed(deed, done));
        }
        Ok(())
    }

    /// An actor answered a deed, or a client.
    pub(super) fn answered<E: Role>(&mut self, node: usize, token: u64, outcome: Outcome<E>) {
        if let Some((_, deed)) = self.deeds.remove(&token) {
            let answer = match outcome {
                Ok(_) => Ok(E::answer(Ok(()))),
                Err(Failure::Refused(refusal)) => Ok(E::answer(Err(refusal))),
                Err(_) => Err(Again),
            };
            let done = answer.and_then(|answer| deed.call.done(answer));
            self.messages.push(Message::Performed(deed, done));
        } else if let Some((_, op)) = self.asked.remove(&token) {
            let told = outcome.as_ref().map(|_| ());
            let is_unsure = matches!(told, Err(failure) if !matches!(failure, Failure::Refused(_)));
            self.note(format_args!("n{node} operation {op} is answered {told:?}"));
            if is_unsure || self.rng.one_in(6) {
                self.perhaps_again(op);
            }
        }
    }
}
