//! The bank upon a store that fails, and asked by several nodes at once.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::Notify;

use super::*;
use crate::{
    domain::{Id, payment::Token},
    store::{
        Memory,
        faulty::{Fault, Faulty},
    },
};

fn key(n: u32) -> Reference {
    Reference { by: Id(42), n }
}

fn eur(amount: i64) -> Money {
    Money { amount, currency: Currency::EUR }
}

fn ask(n: u32, token: &str) -> Authorise {
    Authorise { key: key(n), gateway: "sandbox".into(), token: Token(token.into()), amount: eur(1000) }
}

fn deed(payment: u32, n: u32, amount: i64) -> Deed {
    Deed { key: key(n), gateway: "sandbox".into(), reference: bank::reference(key(payment)), amount: eur(amount) }
}

fn find(n: u32) -> Find {
    Find { key: key(n), gateway: "sandbox".into(), reference: None }
}

fn abandon(n: u32) -> Abandon {
    Abandon { key: key(n), gateway: "sandbox".into(), reference: None, amount: eur(1000) }
}

fn yes(n: u32) -> Result<Authorised, Failure> {
    Ok(Authorised::Yes { reference: bank::reference(key(n)) })
}

fn over(store: &Faulty<Memory>) -> Sandbox {
    Sandbox::new(Arc::new(store.clone()), Options::default())
}

#[tokio::test]
async fn the_book_outlives_the_bank_and_is_shared() {
    let store = Faulty::new(Memory::default());
    let (one, other) = (over(&store), over(&store));
    assert_eq!(one.authorise(ask(1, "tok_approve")).await, yes(1));
    assert_eq!(other.authorise(ask(1, "tok_decline")).await, yes(1), "it is authorised already");
    assert_eq!(other.capture(deed(1, 1, 600)).await, Ok(Moved::Yes));
    assert_eq!(one.refund(deed(1, 2, 100)).await, Ok(Moved::Yes));
    let found = one.find(find(1)).await.unwrap().unwrap();
    assert_eq!((found.status, found.captured, found.refunded), (Status::Captured, 600, 100));
    assert_eq!(found.amount, eur(1000));
    assert_eq!(one.find(find(2)).await, Ok(None));
}

#[tokio::test]
async fn the_same_deed_from_many_nodes_at_once_is_done_once() {
    let store = Faulty::new(Memory::default());
    let banks: Vec<Sandbox> = (0..8).map(|_| over(&store)).collect();
    let answers = join_all(banks.iter().map(|bank| bank.authorise(ask(1, "tok_approve")))).await;
    assert!(answers.iter().all(|answer| *answer == yes(1)), "{answers:?}");
    let answers = join_all(banks.iter().map(|bank| bank.capture(deed(1, 1, 1000)))).await;
    assert!(answers.iter().all(|answer| *answer == Ok(Moved::Yes)), "{answers:?}");
    let different = join_all(banks.iter().zip(2..).map(|(bank, n)| bank.refund(deed(1, n, 300)))).await;
    assert_eq!(different.iter().filter(|answer| **answer == Ok(Moved::Yes)).count(), 3, "1000 hold three times 300");
    let found = banks[0].find(find(1)).await.unwrap().unwrap();
    assert_eq!((found.captured, found.refunded), (1000, 900));
}

#[tokio::test]
async fn two_answers_under_one_key_at_once_are_one() {
    let store = Faulty::new(Memory::default());
    let (one, other) = (over(&store), over(&store));
    let gate = Arc::new(Notify::new());
    store.on_saves([Fault::Hold(gate.clone())]);
    let mut held = one.authorise(ask(1, "tok_approve"));
    assert!((&mut held).now_or_never().is_none(), "decided, and not yet saved");
    let said = other.authorise(ask(1, "tok_decline")).await;
    gate.notify_one();
    assert_eq!(held.await, said, "the one that came second says what the first had done");
    assert!(matches!(said, Ok(Authorised::Declined { .. })));
}

#[tokio::test]
async fn a_save_whose_answer_is_lost_is_not_another_deed() {
    for fault in [Fault::ApplyThenFail, Fault::Lose] {
        let store = Faulty::new(Memory::default());
        let bank = over(&store);
        bank.authorise(ask(1, "tok_approve")).await.unwrap();
        bank.capture(deed(1, 1, 1000)).await.unwrap();
        store.on_saves([fault.clone(), fault.clone()]);
        assert_eq!(bank.refund(deed(1, 2, 600)).await, Ok(Moved::Yes), "{fault:?}");
        let found = bank.find(find(1)).await.unwrap().unwrap();
        assert_eq!(found.refunded, 600, "{fault:?}");
    }
}

#[tokio::test]
async fn a_store_that_cannot_be_read_is_a_certain_failure_and_one_that_refuses_a_save_is_not() {
    let store = Faulty::new(Memory::default());
    let bank = over(&store);
    store.on_loads([Fault::Fail]);
    assert!(matches!(bank.authorise(ask(1, "tok_approve")).await, Err(Failure::NotSent(_))));
    store.on_saves([Fault::Fail]);
    assert!(matches!(bank.authorise(ask(1, "tok_approve")).await, Err(Failure::Unknown(_))));
    assert_eq!(bank.authorise(ask(1, "tok_approve")).await, yes(1), "the same key again");
}

#[tokio::test]
async fn an_answer_that_is_lost_or_late_is_unknown_and_the_key_tells() {
    let bank = over(&Faulty::new(Memory::default()));
    assert!(matches!(bank.authorise(ask(1, "tok_answer_lost")).await, Err(Failure::Unknown(_))));
    assert_eq!(bank.authorise(ask(1, "tok_answer_lost")).await, yes(1));
    assert!(matches!(bank.authorise(ask(2, "tok_late")).await, Err(Failure::Unknown(_))));
    assert_eq!(bank.find(find(2)).await, Ok(None));
    assert_eq!(bank.find(find(2)).await.unwrap().unwrap().status, Status::Authorised, "after it was not found");
    assert!(matches!(bank.authorise(ask(3, "tok_late")).await, Err(Failure::Unknown(_))));
    assert_eq!(bank.abandon(abandon(3)).await, Ok(Abandoned::Nothing));
    assert!(matches!(bank.authorise(ask(3, "tok_late")).await, Ok(Authorised::Declined { .. })));
    assert_eq!(bank.authorise(ask(4, "tok_down")).await, Ok(Authorised::Unavailable));
    assert_eq!(bank.authorise(ask(4, "tok_approve")).await, yes(4), "nothing had begun");
}

#[tokio::test]
async fn what_is_answered_slowly_has_happened_before() {
    let store = Faulty::new(Memory::default());
    let patient =
        Sandbox::new(Arc::new(store.clone()), Options { slow: Duration::from_secs(3600), ..Options::default() });
    let mut asked = tokio::spawn(patient.authorise(ask(1, "tok_slow")));
    let bank = over(&store);
    while bank.find(find(1)).await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    assert!((&mut asked).now_or_never().is_none(), "it takes its time");
    assert_eq!(bank.authorise(ask(1, "tok_slow")).await, yes(1), "and whoever asks again need not wait");
    asked.abort();
    let quick = Sandbox::new(Arc::new(store), Options { slow: Duration::ZERO, ..Options::default() });
    assert_eq!(quick.authorise(ask(2, "tok_slow")).await, yes(2));
}

#[tokio::test]
async fn a_shopper_confirms_by_the_reference_that_the_url_ends_with() {
    let options = Options { action_url: "https://bank.example/pay/".into(), ..Options::default() };
    let bank = Sandbox::new(Arc::new(Memory::default()), options);
    let Ok(Authorised::ActionRequired { reference, url }) = bank.authorise(ask(1, "tok_action")).await else {
        panic!("no action required")
    };
    assert_eq!(*url, *format!("https://bank.example/pay/{reference}"));
    assert_eq!(bank.confirm("sbx_nobody").await, Ok(false));
    assert_eq!(bank.confirm(&bank::reference(key(2))).await, Ok(false));
    assert_eq!(bank.confirm(&reference).await, Ok(true));
    assert_eq!(bank.authorise(ask(1, "tok_action")).await, yes(1));
}

#[tokio::test]
async fn the_book_tells_of_every_payment_once() {
    let bank = over(&Faulty::new(Memory::default()));
    for n in 0..25 {
        bank.authorise(ask(n, if n % 2 == 0 { "tok_approve" } else { "tok_decline" })).await.unwrap();
    }
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let page = bank.book(cursor, 10).await.unwrap();
        seen.extend(page.payments.iter().map(|payment| (payment.n, payment.state)));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    seen.sort_by_key(|(n, _)| *n);
    let state = |n| if n % 2 == 0 { BankState::Authorised } else { BankState::Declined };
    assert_eq!(seen, (0..25).map(|n| (n, state(n))).collect::<Vec<_>>());
}
