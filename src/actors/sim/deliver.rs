//! Messages reach whom they are for, in any order, or what is left of them.

use std::time::Duration;

use super::{
    entity::{Ask as Wish, copy},
    message::{Deed, Message},
    world::{Broken, FATES, Machine, TIMEOUT_MS, World},
};
use crate::{
    actors::{
        ask::Ask,
        durable::{Again, Input, SaveOrder},
    },
    domain::Try,
    store::{Reason, Row, Saved},
};

/// Tokens from here on are of deeds, not of clients.
const DEEDS_FROM: u64 = 1 << 63;

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

    pub(super) fn deliver(&mut self, message: Message) -> Result<(), Broken> {
        match message {
            Message::Load { node, life, id, number } => {
                let fails = self.faults && self.rng.one_in(12);
                let row = if fails { Err(Reason::new("planned")) } else { Ok(self.model.row(id)) };
                self.messages.push(Message::Loaded { node, life, id, number, row });
            }
            Message::Loaded { node, life, id, number, row } if self.lives(node, life) => {
                let head = row.as_ref().map(|row| row.as_ref().map(Row::head));
                self.note(format_args!("n{node} a{id} loaded {head:?}"));
                if self.nodes[node].actors.contains_key(&id) {
                    self.step(node, id, Input::Loaded(number, row))?;
                }
            }
            Message::Save { node, life, id, order, answers } => self.save(node, life, id, order, answers)?,
            Message::Saved { node, life, id, op_id, saved } if self.lives(node, life) => {
                self.note(format_args!("n{node} a{id} save {op_id} is told {saved:?}"));
                let is_out = self.nodes[node].out.get(&id) == Some(&op_id);
                let unsettled = self.nodes[node].actors.get(&id).is_some_and(Machine::is_unsettled);
                let settles = match saved {
                    Saved::Unknown(_) => false,
                    Saved::Refused(_) => !unsettled,
                    Saved::Applied | Saved::Lost(_) => true,
                };
                if is_out && settles {
                    self.nodes[node].out.remove(&id);
                }
                if self.nodes[node].actors.contains_key(&id) {
                    self.step(node, id, Input::Saved(op_id, saved))?;
                }
            }
            Message::Unmark { id, armed } => {
                self.note(format_args!("a{id} entry due={} version={} deleted", armed.due.0, armed.version));
                self.model.unmark(id, armed);
            }
            Message::Again { op } => {
                let node = self.any_serving_node();
                self.attempt(node, op)?;
            }
            Message::Offer(offer) => self.offered(offer)?,
            Message::Told { node, life, id, up_to, published } => self.told((node, life, id), up_to, published)?,
            Message::Deed(deed) => self.deed(deed)?,
            Message::Performed(deed, result) if self.lives(deed.node, deed.life) => {
                self.note(format_args!("n{} a{} is told of {}: {result:?}", deed.node, deed.id, deed.op));
                if self.nodes[deed.node].actors.contains_key(&deed.id) {
                    let input = Input::Performed(deed.number, result.ok_or(Again));
                    self.step(deed.node, deed.id, input)?;
                }
            }
            Message::Loaded { .. } | Message::Saved { .. } | Message::Performed(..) => {}
        }
        Ok(())
    }

    /// One actor's deed reaches another: or it is lost, comes twice, much later, or only its answer is lost.
    fn deed(&mut self, deed: Deed) -> Result<(), Broken> {
        let fate = if self.faults { self.rng.below(12) } else { FATES };
        if fate == 0 {
            self.messages.push(Message::Performed(deed, None));
            return Ok(());
        }
        if fate == 1 {
            self.messages.push(Message::Deed(deed));
        }
        if fate == 2 {
            self.messages.push(Message::Performed(deed, None));
        }
        let node = self.any_serving_node();
        let token = DEEDS_FROM + self.deeds_begun;
        self.deeds_begun += 1;
        if self.nodes[node].is_serving() {
            self.deeds.insert(token, (node, deed));
            let timeout = Duration::from_millis(TIMEOUT_MS);
            let command = Wish::Receive(copy(deed.op));
            let ask = Ask { command, by: None, if_revision: None, key: None, timeout, deed: Some(Try::Again) };
            return self.step(node, deed.to, Input::Ask { ask, since_ms: self.mono_ms, token });
        }
        self.messages.push(Message::Performed(deed, None));
        Ok(())
    }

    fn save(&mut self, node: usize, life: u32, id: u128, order: SaveOrder, answers: bool) -> Result<(), Broken> {
        let op_id = order.row.op_id;
        let planned = || Reason::new("planned");
        let answer = |saved| Message::Saved { node, life, id, op_id, saved };
        let drawn = if self.faults && answers { self.rng.below(FATES) } else { FATES };
        let fate = if drawn < self.mix.faulty_fates { drawn % 5 } else { FATES };
        match fate {
            // Certainly not now or later; its agenda entry may be there all the same.
            0 => {
                self.model.mark(id, order.arm);
                self.messages.push(answer(Saved::Refused(planned())));
            }
            // Lost on the way.
            1 => self.messages.push(answer(Saved::Unknown(planned()))),
            // Slow: it lands whenever it is picked again, be it long after its sender gave up.
            2 | 3 => {
                self.messages.push(answer(Saved::Unknown(planned())));
                self.messages.push(Message::Save { node, life, id, order, answers: false });
            }
            _ => {
                let saved = self.model.save(id, &order).map_err(|why| Broken("P2", why))?;
                self.note(format_args!("a{id} save {op_id} of n{node} lands: {saved:?}"));
                match fate {
                    4 => self.messages.push(answer(Saved::Unknown(planned()))),
                    _ if answers => self.messages.push(answer(saved)),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}
