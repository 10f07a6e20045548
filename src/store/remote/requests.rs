//! Requests of a client from their beginning to their end: those that wait to be sent, and those that wait for an answer.
//!
//! Pure: time comes in as ticks. What it holds back it can name: a save that was never handed to the socket is certainly
//! not applied, every other one may be.

use tokio::sync::oneshot;

use super::wire::Answer;
use crate::store::{Done, Reason, Saved};

/// Requests of one process that may wait at once: four times what the other side works on, so that a burst is only slow.
const REQUESTS_MAX: usize = 16 * 1024;
/// Bytes that may wait to be sent: past them the other side has long stopped reading.
const OUTGOING_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Who waits for an answer.
#[derive(Debug)]
pub(super) enum Waiting {
    /// The connection itself.
    Ping,
    /// Whoever is told of a save.
    Save(Done),
    /// Whoever awaits anything else.
    Other(oneshot::Sender<Result<Answer, Reason>>),
}

impl Waiting {
    /// Tells what was answered.
    pub(super) fn answer(self, answer: Answer) {
        match (self, answer) {
            (Self::Ping, _) => {}
            (Self::Save(done), Answer::Saved(saved)) => done.tell(saved),
            (Self::Save(done), _) => done.tell(Saved::Unknown(Reason::new("the answer to a save was none"))),
            (Self::Other(sender), Answer::Failed(reason)) => {
                let _ = sender.send(Err(reason)); // nobody waits any more
            }
            (Self::Other(sender), answer) => {
                let _ = sender.send(Ok(answer)); // nobody waits any more
            }
        }
    }

    /// Tells that it is certainly not done.
    pub(super) fn refuse(self, reason: &Reason) {
        self.fail(reason, Saved::Refused);
    }

    /// Tells that it may be done, or may still be.
    pub(super) fn give_up(self, reason: &Reason) {
        self.fail(reason, Saved::Unknown);
    }

    fn fail(self, reason: &Reason, save: impl FnOnce(Reason) -> Saved) {
        match self {
            Self::Ping => {}
            Self::Save(done) => done.tell(save(reason.clone())),
            Self::Other(sender) => {
                let _ = sender.send(Err(reason.clone())); // nobody waits any more
            }
        }
    }
}

/// A place for one request.
#[derive(Debug, Default)]
struct Slot {
    /// Rises with every request, so that an answer that comes too late finds nobody.
    generation: u32,
    waiting: Option<Waiting>,
    /// Which write it went with, or will.
    batch: u64,
    /// The tick at which nobody waits any longer.
    ends_at_tick: u64,
}

/// Those whose requests ended together with their connection.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// Never handed to the socket.
    pub(super) unsent: Vec<Waiting>,
    /// Perhaps received.
    pub(super) sent: Vec<Waiting>,
}

/// All requests of a client.
#[derive(Debug)]
pub(super) struct Requests {
    slots: Vec<Slot>,
    free: Vec<u32>,
    outgoing: Vec<u8>,
    /// Number of the write that takes what is outgoing now.
    batch: u64,
    tick: u64,
    timeout_ticks: u64,
    /// Why there is no connection; `None` = there is one.
    away: Option<Reason>,
}

impl Requests {
    /// None yet, and no connection.
    pub(super) fn new(timeout_ticks: u64, away: Reason) -> Self {
        let (slots, free, outgoing) = (Vec::new(), Vec::new(), Vec::new());
        Self { slots, free, outgoing, batch: 0, tick: 0, timeout_ticks, away: Some(away) }
    }

    /// Why there is no connection, if there is none.
    pub(super) const fn away(&self) -> Option<&Reason> {
        self.away.as_ref()
    }

    /// From now on requests are taken, or not and why.
    pub(super) fn set_away(&mut self, away: Option<Reason>) {
        self.away = away;
    }

    /// Takes a request, which `put` encodes. `Ok` = whether nothing waited to be sent before it.
    pub(super) fn add(
        &mut self,
        waiting: Waiting,
        put: impl FnOnce(&mut Vec<u8>, u64) -> Result<(), usize>,
    ) -> Result<bool, (Waiting, Reason)> {
        if let Some(reason) = &self.away {
            return Err((waiting, reason.clone()));
        }
        let is_full = self.free.is_empty() && self.slots.len() >= REQUESTS_MAX;
        if is_full || self.outgoing.len() >= OUTGOING_BYTES_MAX {
            return Err((waiting, Reason::new("too many requests wait for the store")));
        }
        let at = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX) // far fewer by their bound
        });
        let slot = &mut self.slots[at as usize];
        slot.generation = slot.generation.wrapping_add(1);
        let was_empty = self.outgoing.is_empty();
        let id = u64::from(slot.generation) << 32 | u64::from(at);
        if let Err(bytes) = put(&mut self.outgoing, id) {
            self.free.push(at);
            return Err((waiting, Reason::new(format!("a request of {bytes} bytes is more than the store takes"))));
        }
        slot.waiting = Some(waiting);
        slot.batch = self.batch;
        slot.ends_at_tick = self.tick + self.timeout_ticks;
        Ok(was_empty)
    }

    /// Exchanges what waits to be sent for an empty buffer. From then on it may have been received.
    pub(super) fn take_outgoing(&mut self, empty: &mut Vec<u8>) {
        if !self.outgoing.is_empty() {
            std::mem::swap(&mut self.outgoing, empty);
            self.batch += 1;
        }
    }

    /// Who waits for this answer; `None` = nobody any more.
    pub(super) fn answered(&mut self, id: u64) -> Option<Waiting> {
        let at = id as u32;
        let slot = self.slots.get_mut(at as usize).filter(|slot| u64::from(slot.generation) == id >> 32)?;
        let waiting = slot.waiting.take()?;
        self.free.push(at);
        Some(waiting)
    }

    /// A tick later: those whose time is over.
    pub(super) fn tick(&mut self) -> Vec<Waiting> {
        self.tick += 1;
        let tick = self.tick;
        self.end(|slot| slot.ends_at_tick <= tick)
    }

    /// The connection has ended, and nothing is sent over it any more.
    pub(super) fn lose(&mut self, reason: Reason) -> Ended {
        self.away = Some(reason);
        let batch = self.batch;
        let unsent = self.end(|slot| slot.batch == batch);
        let sent = self.end(|_| true);
        self.outgoing.clear();
        self.batch += 1;
        Ended { unsent, sent }
    }

    fn end(&mut self, is_over: impl Fn(&Slot) -> bool) -> Vec<Waiting> {
        let mut ended = Vec::new();
        for (at, slot) in (0..).zip(&mut self.slots) {
            if slot.waiting.is_some() && is_over(slot) {
                ended.extend(slot.waiting.take());
                self.free.push(at);
            }
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, sync_channel};

    use super::*;

    fn requests() -> Requests {
        let mut requests = Requests::new(3, Reason::new("away"));
        requests.set_away(None);
        requests
    }

    fn save() -> (Waiting, Receiver<Saved>) {
        let (sender, receiver) = sync_channel(1);
        let done = Done::new(move |saved| {
            let _ = sender.send(saved); // not every test listens
        });
        (Waiting::Save(done), receiver)
    }

    /// Adds a request of one byte; its id.
    fn add(requests: &mut Requests, waiting: Waiting) -> u64 {
        let mut added = 0;
        let put = |out: &mut Vec<u8>, id| {
            added = id;
            out.push(0);
            Ok(())
        };
        requests.add(waiting, put).unwrap();
        added
    }

    #[test]
    fn what_was_never_sent_is_refused_and_what_was_is_unknown() {
        let mut requests = requests();
        let ((first, first_told), (second, second_told)) = (save(), save());
        add(&mut requests, first);
        let mut batch = Vec::new();
        requests.take_outgoing(&mut batch);
        assert_eq!(batch, [0]);
        add(&mut requests, second);
        let ended = requests.lose(Reason::new("cut"));
        ended.sent.into_iter().for_each(|waiting| waiting.give_up(&Reason::new("cut")));
        ended.unsent.into_iter().for_each(|waiting| waiting.refuse(&Reason::new("cut")));
        assert_eq!(first_told.recv(), Ok(Saved::Unknown(Reason::new("cut"))));
        assert_eq!(second_told.recv(), Ok(Saved::Refused(Reason::new("cut"))));
        // Nothing of the old connection is sent over the new one.
        requests.set_away(None);
        batch.clear();
        requests.take_outgoing(&mut batch);
        assert!(batch.is_empty());
    }

    #[test]
    fn an_answer_that_comes_too_late_finds_nobody() {
        let mut requests = requests();
        let late = add(&mut requests, save().0);
        assert!(requests.tick().is_empty() && requests.tick().is_empty());
        assert_eq!(requests.tick().len(), 1);
        assert!(requests.answered(late).is_none());
        let next = add(&mut requests, save().0);
        assert_ne!(next, late, "the place is used again, the id is not");
        assert!(requests.answered(late).is_none());
        assert!(requests.answered(next).is_some());
        assert!(requests.answered(next).is_none(), "an answer is given once");
        assert!(requests.answered(u64::MAX).is_none());
    }

    #[test]
    fn too_many_and_too_long_requests_are_turned_away() {
        let mut requests = requests();
        for _ in 0..REQUESTS_MAX {
            add(&mut requests, Waiting::Ping);
        }
        assert!(requests.add(Waiting::Ping, |_, _| Ok(())).is_err());
        assert!(requests.answered(1 << 32).is_some());
        assert!(requests.add(Waiting::Ping, |_, _| Err(7)).is_err());
        assert!(requests.add(Waiting::Ping, |_, _| Ok(())).is_ok(), "its place was given back");
        assert!(requests.add(Waiting::Ping, |_, _| Ok(())).is_err());
    }
}
