//! The gateway: the sandbox bank's own decisions upon a book in memory. What goes wrong on the way to it and back is the
//! world's.

use std::collections::BTreeMap;

use crate::{
    actors::{
        durable::Again,
        errand::{Answer, Errand},
    },
    codec::{BankDeedKind, BankPayment, BankState},
    domain::{Reference, UnixMillis, payment},
    payments::sandbox::bank::{Ask, Say, decide, key_of},
};

#[derive(Debug, Default)]
pub(super) struct Bank {
    pub(super) book: BTreeMap<Reference, BankPayment>,
}

impl Bank {
    /// Does what an errand asks of a gateway.
    pub(super) fn run(&mut self, errand: &Errand, now: UnixMillis) -> Result<Answer, Again> {
        match errand {
            Errand::Authorise(ask) => {
                self.told(ask.key, &Ask::Authorise { amount: ask.amount, token: &ask.token.0 }, now)
            }
            Errand::Abandon(ask) => self.told(ask.key, &Ask::Abandon { amount: ask.amount }, now),
            Errand::Capture(deed) => self.moved(deed, BankDeedKind::Capture, now),
            Errand::Void(deed) => self.moved(deed, BankDeedKind::Void, now),
            Errand::Refund(deed) => self.moved(deed, BankDeedKind::Refund, now),
            _ => Err(Again),
        }
    }

    /// The shopper does what a payment required of them.
    pub(super) fn confirm(&mut self, key: Reference, now: UnixMillis) {
        let _ = self.told(key, &Ask::Confirm, now); // whatever is said, the shopper is not told
    }

    fn moved(&mut self, deed: &payment::Deed, kind: BankDeedKind, now: UnixMillis) -> Result<Answer, Again> {
        let key = key_of(&deed.reference).ok_or(Again)?;
        self.told(key, &Ask::Deed { key: deed.key, kind, amount: deed.amount }, now)
    }

    fn told(&mut self, key: Reference, ask: &Ask<'_>, now: UnixMillis) -> Result<Answer, Again> {
        let outcome = decide(self.book.get(&key), key, ask, now);
        if let Some(next) = outcome.next {
            self.book.insert(key, next);
        }
        match outcome.say {
            Say::Authorised(authorised) => Ok(Answer::Authorised(authorised)),
            Say::Abandoned(abandoned) => Ok(Answer::Abandoned(abandoned)),
            Say::Moved(moved) => Ok(Answer::Moved(moved)),
            Say::Silence | Say::Misused | Say::Confirmed(_) | Say::Seen(_) => Err(Again),
        }
    }
}

/// Whether money is reserved that nobody has taken.
pub(super) fn is_live(payment: &BankPayment) -> bool {
    payment.state == BankState::Authorised && payment.captured == 0
}
