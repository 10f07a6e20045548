//! Money is reserved once for each key, and never more moves than there is.

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::domain::Id;

const NOW: UnixMillis = UnixMillis(1_764_000_000_000);
const KEY: Reference = Reference { by: Id(7 << 100), n: 3 };

fn eur(amount: i64) -> Money {
    Money { amount, currency: Currency::EUR }
}

/// A bank of one payment.
#[derive(Default)]
struct Bank(Option<BankPayment>);

impl Bank {
    fn ask(&mut self, ask: &Ask<'_>) -> Say {
        let outcome = decide(self.0.as_ref(), KEY, ask, NOW);
        self.0 = outcome.next.or_else(|| self.0.take());
        outcome.say
    }

    fn authorise(&mut self, token: &str) -> Say {
        self.ask(&Ask::Authorise { amount: eur(1000), token })
    }

    fn abandon(&mut self) -> Say {
        self.ask(&Ask::Abandon { amount: eur(1000) })
    }

    fn deed(&mut self, n: u32, kind: BankDeedKind, amount: i64) -> Say {
        self.ask(&Ask::Deed { key: Reference { n, ..KEY }, kind, amount: eur(amount) })
    }

    fn moves(&mut self, n: u32, kind: BankDeedKind, amount: i64) -> bool {
        match self.deed(n, kind, amount) {
            Say::Moved(moved) => moved == Moved::Yes,
            other => panic!("{other:?}"),
        }
    }

    fn book(&self) -> (BankState, i64, i64) {
        self.0.as_ref().map(|payment| (payment.state, payment.captured, payment.refunded)).unwrap()
    }
}

fn yes() -> Say {
    Say::Authorised(Authorised::Yes { reference: reference(KEY) })
}

fn is_declined(say: &Say) -> bool {
    matches!(say, Say::Authorised(Authorised::Declined { .. }))
}

fn had_succeeded() -> Say {
    Say::Abandoned(Abandoned::Authorised { reference: reference(KEY) })
}

const NOTHING: Say = Say::Abandoned(Abandoned::Nothing);
use BankDeedKind::{Capture, Refund, Void};

#[test]
fn each_token_does_what_the_api_says() {
    let first_and_again = |token| {
        let mut bank = Bank::default();
        (bank.authorise(token), bank.authorise(token))
    };
    assert_eq!(first_and_again("tok_approve"), (yes(), yes()));
    assert_eq!(first_and_again("tok_slow"), (yes(), yes()));
    assert_eq!(first_and_again("tok_answer_lost"), (Say::Silence, yes()), "it happened: the same key tells");
    assert_eq!(first_and_again("tok_late"), (Say::Silence, yes()), "asked again, it happens");
    let down = Say::Authorised(Authorised::Unavailable);
    assert_eq!(first_and_again("tok_down"), (down.clone(), down));
    for token in ["tok_decline", "tok_of_nobody", ""] {
        let (first, again) = first_and_again(token);
        assert!(is_declined(&first) && first == again, "{token}");
    }
    let slow = |token| decide(None, KEY, &Ask::Authorise { amount: eur(1), token }, NOW).is_slow;
    assert!(slow("tok_slow") && !slow("tok_approve"));
}

#[test]
fn an_action_is_done_once_and_then_the_same_key_succeeds() {
    let mut bank = Bank::default();
    let required = Say::Authorised(Authorised::ActionRequired { reference: reference(KEY), url: Box::default() });
    assert_eq!(bank.authorise("tok_action"), required);
    assert_eq!(bank.authorise("tok_action"), required, "asking does not do it");
    assert!(!bank.moves(1, Capture, 1), "nothing is reserved yet");
    assert_eq!(bank.ask(&Ask::Confirm), Say::Confirmed(true));
    assert_eq!(bank.ask(&Ask::Confirm), Say::Confirmed(true));
    assert_eq!(bank.authorise("tok_action"), yes());
    assert_eq!(bank.abandon(), had_succeeded());

    let mut abandoned = Bank::default();
    abandoned.authorise("tok_action");
    assert_eq!(abandoned.abandon(), NOTHING);
    assert_eq!(abandoned.ask(&Ask::Confirm), Say::Confirmed(false), "too late");
    assert!(is_declined(&abandoned.authorise("tok_action")));
    assert_eq!(Bank::default().ask(&Ask::Confirm), Say::Confirmed(false));
}

#[test]
fn what_is_late_happens_after_a_look_up_that_found_nothing_unless_it_was_abandoned() {
    let mut late = Bank::default();
    late.authorise("tok_late");
    assert_eq!(late.ask(&Ask::Find), Say::Seen(false));
    assert_eq!(late.book().0, BankState::Authorised, "it happened all the same");
    assert_eq!(late.ask(&Ask::Find), Say::Seen(true));
    assert_eq!(late.abandon(), had_succeeded());

    let mut abandoned = Bank::default();
    abandoned.authorise("tok_late");
    assert_eq!(abandoned.abandon(), NOTHING);
    assert_eq!(abandoned.ask(&Ask::Find), Say::Seen(true));
    assert_eq!(abandoned.book().0, BankState::Abandoned);
}

#[test]
fn a_key_that_was_abandoned_first_never_succeeds() {
    for token in
        ["tok_approve", "tok_slow", "tok_answer_lost", "tok_late", "tok_action", "tok_capture_fails", "tok_down"]
    {
        let mut bank = Bank::default();
        assert_eq!(bank.abandon(), NOTHING);
        for _ in 0..3 {
            assert!(is_declined(&bank.authorise(token)), "{token}");
            bank.ask(&Ask::Find);
            bank.ask(&Ask::Confirm);
        }
        assert!(!bank.moves(1, Capture, 1000));
        assert_eq!(bank.book(), (BankState::Abandoned, 0, 0));
    }
}

#[test]
fn a_capture_that_the_token_forbids_is_refused_for_good_and_a_void_is_not() {
    let mut bank = Bank::default();
    assert_eq!(bank.authorise("tok_capture_fails"), yes());
    assert!(!bank.moves(1, Capture, 1000) && !bank.moves(1, Capture, 1000) && !bank.moves(2, Capture, 1));
    assert!(bank.moves(3, Void, 0));
    assert_eq!(bank.book(), (BankState::Voided, 0, 0));
}

#[test]
fn money_moves_in_parts_and_never_more_than_there_is() {
    let mut bank = Bank::default();
    bank.authorise("tok_approve");
    assert!(!bank.moves(1, Refund, 1), "nothing was captured");
    assert!(bank.moves(2, Capture, 700));
    assert!(bank.moves(2, Capture, 700), "the same deed again");
    assert!(!bank.moves(3, Capture, 301));
    assert!(!bank.moves(4, Void, 0), "money was captured");
    assert!(bank.moves(5, Refund, 200));
    assert!(!bank.moves(6, Refund, 501));
    assert!(!bank.moves(7, Refund, 0) && !bank.moves(8, Capture, -5));
    assert!(bank.moves(9, Refund, 500));
    assert_eq!(bank.book(), (BankState::Authorised, 700, 700));
    assert!(!bank.moves(1, Refund, 1), "refused once is refused for good");
    assert_eq!(bank.deed(5, Refund, 199), Say::Misused, "another deed under a used key");
    assert_eq!(bank.deed(5, Capture, 200), Say::Misused);
    assert_eq!(bank.book(), (BankState::Authorised, 700, 700));
}

#[test]
fn a_void_frees_once_and_ends_it() {
    let mut bank = Bank::default();
    bank.authorise("tok_approve");
    assert!(bank.moves(1, Void, 77) && bank.moves(1, Void, 0), "its amount says nothing");
    assert!(!bank.moves(2, Capture, 1000));
    assert_eq!(bank.abandon(), NOTHING);
    assert!(is_declined(&bank.authorise("tok_approve")));
}

#[test]
fn another_amount_under_a_used_key_gets_nobody_s_answer() {
    let mut bank = Bank::default();
    bank.authorise("tok_approve");
    assert_eq!(bank.ask(&Ask::Authorise { amount: eur(1001), token: "tok_approve" }), Say::Misused);
    let dollars = Money { amount: 1000, currency: Currency::parse("USD").unwrap() };
    assert_eq!(bank.ask(&Ask::Authorise { amount: dollars, token: "tok_approve" }), Say::Misused);
    assert_eq!(bank.authorise("tok_decline"), yes(), "the first token is the one that counts");
}

#[test]
fn deeds_without_end_are_refused() {
    let mut bank = Bank::default();
    bank.authorise("tok_approve");
    for n in 0..BANK_DEEDS_MAX as u32 {
        assert!(bank.moves(n, Capture, 1));
    }
    let n = BANK_DEEDS_MAX as u32;
    assert!(!bank.moves(n, Capture, 1) && bank.moves(0, Capture, 1));
}

#[test]
fn a_reference_names_its_key() {
    assert_eq!(key_of(&reference(KEY)), Some(KEY));
    let text = reference(KEY);
    for other in
        ["", "sbx_", "sbx_-1", &text[1..], &text.to_uppercase(), &text.replace("-3", "-03"), &format!("{text} ")]
    {
        assert_eq!(key_of(other), None, "{other}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Authorise(usize),
    Confirm,
    Find,
    Abandon,
    Deed(u32, BankDeedKind, i64),
}

const TOKENS: [&str; 8] = [
    "tok_approve",
    "tok_decline",
    "tok_action",
    "tok_slow",
    "tok_answer_lost",
    "tok_late",
    "tok_capture_fails",
    "tok_down",
];

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![Just(Capture), Just(Void), Just(Refund)];
    prop_oneof![
        3 => (0..TOKENS.len()).prop_map(Step::Authorise),
        1 => Just(Step::Confirm),
        1 => Just(Step::Find),
        1 => Just(Step::Abandon),
        6 => (0_u32..12, kind, prop_oneof![0_i64..1100, any::<i64>()]).prop_map(|(n, kind, amount)| Step::Deed(n, kind, amount)),
    ]
}

proptest! {
    /// Whatever is asked, in whatever order and however often.
    #[test]
    fn no_sequence_of_asks_breaks_a_promise(steps in vec(step(), 1..60)) {
        let mut bank = Bank::default();
        let mut abandoned = false;
        let mut answers = std::collections::BTreeMap::new();
        for step in steps {
            let before = bank.0.clone();
            let say = match &step {
                Step::Authorise(token) => bank.authorise(TOKENS[*token]),
                Step::Confirm => bank.ask(&Ask::Confirm),
                Step::Find => bank.ask(&Ask::Find),
                Step::Abandon => bank.abandon(),
                Step::Deed(n, kind, amount) => bank.deed(*n, *kind, *amount),
            };
            if let Some(payment) = &bank.0 {
                let bytes = crate::codec::encode_bank(payment).unwrap();
                let read = crate::codec::decode_bank(&bytes);
                prop_assert_eq!(read.as_ref(), Ok(payment), "the book can be read");
                prop_assert!(payment.refunded <= payment.captured && payment.captured <= payment.amount);
            }
            prop_assert!(!abandoned || !matches!(say, Say::Authorised(Authorised::Yes { .. })), "abandoned, then {:?}", step);
            abandoned |= say == NOTHING;
            if let (Step::Deed(n, ..), Say::Moved(moved), Some(_)) = (&step, &say, &before) {
                let is_yes = *moved == Moved::Yes;
                prop_assert_eq!(*answers.entry(*n).or_insert(is_yes), is_yes, "one answer for each deed");
            }
            if let (Some(before), Some(after)) = (before, &bank.0) {
                let moved = (after.captured - before.captured, after.refunded - before.refunded);
                prop_assert!(moved == (0, 0) || matches!(say, Say::Moved(Moved::Yes)), "money moved and nobody was told");
            }
        }
    }
}
