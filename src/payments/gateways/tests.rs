//! What a caller may rely on when gateways fail.

use std::{collections::VecDeque, sync::Mutex};

use futures_util::future::{self, FutureExt};

use super::*;
use crate::domain::{Currency, Id, Money, Reference, payment::Token};

/// What one call does.
#[derive(Clone, Debug)]
enum Does {
    Answer(Authorised),
    Fail(Failure),
    Hang,
}

/// A gateway with a script; past its end it answers yes.
#[derive(Debug, Default)]
struct Scripted {
    script: Mutex<VecDeque<Does>>,
    asked: Mutex<Vec<Authorise>>,
}

impl Scripted {
    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

fn yes() -> Authorised {
    Authorised::Yes { reference: "it".into() }
}

impl Gateway for Scripted {
    fn authorise(&self, ask: Authorise) -> BoxFuture<'static, Result<Authorised, Failure>> {
        self.asked.lock().unwrap().push(ask);
        match self.script.lock().unwrap().pop_front() {
            None => future::ready(Ok(yes())).boxed(),
            Some(Does::Answer(answer)) => future::ready(Ok(answer)).boxed(),
            Some(Does::Fail(failure)) => future::ready(Err(failure)).boxed(),
            Some(Does::Hang) => future::pending().boxed(),
        }
    }

    fn capture(&self, _: Deed) -> BoxFuture<'static, Result<Moved, Failure>> {
        future::ready(Ok(Moved::Yes)).boxed()
    }

    fn void(&self, _: Deed) -> BoxFuture<'static, Result<Moved, Failure>> {
        future::ready(Ok(Moved::Yes)).boxed()
    }

    fn refund(&self, _: Deed) -> BoxFuture<'static, Result<Moved, Failure>> {
        future::ready(Ok(Moved::Refused { reason: "no".into() })).boxed()
    }

    fn find(&self, _: Find) -> BoxFuture<'static, Result<Option<Found>, Failure>> {
        future::ready(Ok(None)).boxed()
    }

    fn abandon(&self, _: Abandon) -> BoxFuture<'static, Result<Abandoned, Failure>> {
        future::ready(Ok(Abandoned::Nothing)).boxed()
    }

    fn parse_webhook(&self, _: &HeaderMap, _: &[u8], _: UnixMillis) -> Result<Webhook, WebhookError> {
        Err(WebhookError::Irrelevant)
    }
}

fn gateways(name: &str, limits: Limits, script: impl IntoIterator<Item = Does>) -> (Gateways, Arc<Scripted>) {
    let scripted = Arc::new(Scripted { script: Mutex::new(script.into_iter().collect()), ..Scripted::default() });
    let gateway: Arc<dyn Gateway> = scripted.clone();
    (Gateways::new([(name.into(), gateway)], limits), scripted)
}

fn quick() -> Limits {
    Limits { pause_min: Duration::ZERO, pause_max: Duration::ZERO, ..Limits::default() }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn ask(gateway: &str) -> Authorise {
    Authorise {
        key: Reference { by: Id(1), n: 1 },
        gateway: gateway.into(),
        token: Token("tok_approve".into()),
        amount: Money { amount: 5, currency: Currency::EUR },
    }
}

fn not_sent() -> Does {
    Does::Fail(Failure::not_sent("refused"))
}

fn unknown() -> Does {
    Does::Fail(Failure::unknown("reset"))
}

#[tokio::test]
async fn a_failed_call_is_repeated_under_the_same_key_until_there_is_an_answer() {
    let (gateways, scripted) = gateways("a", quick(), [not_sent(), unknown()]);
    assert_eq!(gateways.authorise(ask("a"), soon()).await, Ok(yes()));
    let asked = scripted.asked.lock().unwrap().clone();
    assert_eq!(asked, [ask("a"), ask("a"), ask("a")]);
}

#[tokio::test]
async fn a_gateway_is_not_asked_for_nothing() {
    let (gateways, scripted) = gateways("scripted", quick(), [Does::Answer(Authorised::Unavailable)]);
    let mut ask = ask("scripted");
    ask.amount.amount = 0;
    let abandon = Abandon { key: ask.key, gateway: ask.gateway.clone(), reference: None, amount: ask.amount };
    let answer = gateways.authorise(ask, soon()).await;
    assert_eq!(answer, Ok(Authorised::Yes { reference: NOTHING_TO_PAY.into() }));
    assert_eq!(gateways.abandon(abandon, soon()).await, Ok(Abandoned::Nothing));
    assert_eq!(scripted.asked(), 0);
}

#[tokio::test]
async fn answers_are_not_repeated_whatever_they_say() {
    let answers = [Authorised::Declined { reason: "no".into() }, Authorised::Unavailable, yes()].map(Does::Answer);
    let (gateways, scripted) = gateways("b", quick(), answers);
    for _ in 0..3 {
        gateways.authorise(ask("b"), soon()).await.unwrap();
    }
    assert_eq!(scripted.asked(), 3);
}

#[tokio::test]
async fn once_in_doubt_it_stays_in_doubt() {
    let (gateways, scripted) = gateways("c", quick(), [not_sent(), unknown(), not_sent(), not_sent()]);
    assert_eq!(gateways.authorise(ask("c"), soon()).await, Err(Failure::unknown("reset")), "an earlier call may land");
    assert_eq!(scripted.asked(), 4, "calls have a bound");
}

#[tokio::test]
async fn what_was_never_sent_is_said_to_be_so() {
    let (gateways, _) = gateways("d", quick(), vec![not_sent(); 4]);
    assert!(matches!(gateways.authorise(ask("d"), soon()).await, Err(Failure::NotSent(_))));
    assert!(matches!(gateways.authorise(ask("nobody"), soon()).await, Err(Failure::NotSent(_))));
    assert!(gateways.has("d") && !gateways.has("nobody"));
    assert_eq!(gateways.names().collect::<Vec<_>>(), ["d"]);
}

#[tokio::test]
async fn a_gateway_that_hangs_is_given_up_within_the_limit_and_in_doubt() {
    let limits = Limits { call_timeout: Duration::from_millis(20), call_min: Duration::ZERO, calls_max: 2, ..quick() };
    let (gateways, scripted) = gateways("e", limits, [Does::Hang, Does::Hang]);
    assert!(matches!(gateways.authorise(ask("e"), soon()).await, Err(Failure::Unknown(_))));
    assert_eq!(scripted.asked(), 2);
    assert_eq!(gateways.authorise(ask("e"), soon()).await, Ok(yes()));
}

#[tokio::test]
async fn nothing_is_begun_that_the_deadline_leaves_no_time_for() {
    let (gateways, scripted) = gateways("f", quick(), [unknown()]);
    assert!(matches!(gateways.authorise(ask("f"), Instant::now()).await, Err(Failure::NotSent(_))));
    assert_eq!(scripted.asked(), 0);
    // A deadline that comes before the pause is over: not waited for, and still in doubt.
    let hour = Duration::from_secs(3600);
    let slow = Gateways { limits: Limits { pause_min: hour, pause_max: hour, ..Limits::default() }, ..gateways };
    let deadline = Instant::now() + Duration::from_millis(100);
    assert!(matches!(slow.authorise(ask("f"), deadline).await, Err(Failure::Unknown(_))));
    assert_eq!(scripted.asked(), 1);
}

#[tokio::test]
async fn a_gateway_that_keeps_failing_is_left_alone_and_the_others_are_not() {
    let failing = Arc::new(Scripted { script: Mutex::new(vec![unknown(); 100_000].into()), ..Scripted::default() });
    let well = Arc::new(Scripted::default());
    let both: [(Box<str>, Arc<dyn Gateway>); 2] = [("g".into(), failing.clone()), ("h".into(), well)];
    let gateways = Gateways::new(both, Limits { pause_min: Duration::from_millis(50), ..quick() });
    while gateways.breaker("g") == Some(BreakerState::Closed) {
        assert!(gateways.authorise(ask("g"), soon()).await.is_err());
    }
    let asked = failing.asked();
    assert!(matches!(gateways.authorise(ask("g"), soon()).await, Err(Failure::NotSent(_))), "nobody was asked");
    assert_eq!(failing.asked(), asked);
    assert_eq!(gateways.authorise(ask("h"), soon()).await, Ok(yes()));
    assert_eq!(gateways.breaker("h"), Some(BreakerState::Closed));
    let shown = metrics().payment_breaker_state.with_label_values(&["g"]).get();
    assert_eq!(shown, BreakerState::Open as i64);
    assert!(metrics().payment_calls_total.with_label_values(&["g", "authorise", "unknown"]).get() >= 5);
}
