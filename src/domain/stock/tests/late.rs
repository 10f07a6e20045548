//! Checkouts that do as they should, over a network that repeats whatever was ever sent, as late as it likes.

use proptest::{prelude::*, sample::Index};

use super::*;

/// A checkout, or the order that came of it, which sends each command after the answer to the one before.
#[derive(Clone, Debug)]
struct Sender {
    of: u128,
    quantity: u32,
    script: std::vec::IntoIter<Command>,
    bought: u32,
    shipped: u32,
}

fn any_sender(of: u128) -> impl Strategy<Value = Sender> {
    (1..5u32, 0..3u32, any::<bool>(), 0..4u32).prop_map(move |(quantity, declines, pays, ships)| {
        let ends = 15 * MINUTE_MS;
        let mut script = vec![hold(of, quantity, ends)];
        for attempt in 1..=declines {
            script.extend([pin(of, attempt), unpin(of, attempt, ends)]);
        }
        if pays {
            script.extend([pin(of, declines + 1), act(of, Act::Commit), act(of, Act::Forget)]);
            for n in 1..=ships.min(quantity) {
                script.push(ship(of, n, 1));
                script.push(Command::Act { by: reference(of, n), act: Act::Forget });
            }
        } else {
            script.extend([release(of), act(of, Act::Forget)]);
        }
        Sender { of, quantity, script: script.into_iter(), bought: 0, shipped: 0 }
    })
}

impl Sender {
    /// Sends the next command; whether there was one.
    fn send(&mut self, stock: &mut Option<Stock>, now: u64, sent: &mut Vec<Command>) -> bool {
        let Some(command) = self.script.next() else { return false };
        match apply(stock, &command, now) {
            Ok(_) => match command {
                Command::Act { act: Act::Commit, .. } => self.bought = self.quantity,
                Command::Ship { quantity, .. } => self.shipped += quantity,
                _ => {}
            },
            // No units, or its time is over: it gives up.
            Err(refusal) => {
                let may_be = matches!(command, Command::Hold { .. } | Command::Act { act: Act::Pin { .. }, .. });
                assert!(may_be, "{command:?}: {refusal}");
                self.script = vec![release(self.of), act(self.of, Act::Forget)].into_iter();
            }
        }
        sent.push(command);
        true
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// However much is repeated, and however late: each unit is bought and shipped at most once, and none stays held.
    #[test]
    fn p4_late_repeats_buy_ship_and_hold_nothing_twice(
        senders in (any_sender(1), any_sender(2), any_sender(3)),
        turns in prop::collection::vec((0..3usize, 0..MINUTE_MS, prop::collection::vec(any::<Index>(), 0..4)), 0..80),
        repeats in prop::collection::vec(any::<Index>(), 0..40),
    ) {
        let (mut stock, mut sent, mut now) = (None, Vec::new(), 10);
        let mut senders = [senders.0, senders.1, senders.2];
        for (who, later, again) in turns {
            now += later;
            senders[who].send(&mut stock, now, &mut sent);
            for at in again.into_iter().filter(|_| !sent.is_empty()) {
                drop(apply(&mut stock, &sent[at.index(sent.len())], now));
            }
        }
        for sender in &mut senders {
            while sender.send(&mut stock, now, &mut sent) {}
        }
        for at in repeats {
            drop(apply(&mut stock, &sent[at.index(sent.len())], now));
        }
        let sum = |of: fn(&Sender) -> u32| senders.iter().map(of).sum::<u32>();
        let (bought, shipped) = (sum(|sender| sender.bought), sum(|sender| sender.shipped));
        prop_assert_eq!(parts(stock.as_ref()), [10 - bought, 0, bought - shipped, 10 - shipped]);
    }
}
