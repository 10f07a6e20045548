//! The Stripe gateway: what it does with a well-behaved server, and what it makes of lost answers.

use std::{process::Command, time::Duration};

use axum::{Router, body::Bytes, http::HeaderMap, routing::post};
use serde_json::Value;
use tokio::sync::mpsc;
use trolley::{
    domain::payment::{Abandoned, Authorised, Moved},
    payments::{Failure, Gateway, Happened, Status, Stripe, WebhookError},
    telemetry::clock,
};

use super::{
    abandon, ask, client, deed, eur, find, key,
    others::Other,
    strict::{Fault, Strict},
};

fn reference_of(answer: Result<Authorised, Failure>) -> String {
    match answer {
        Ok(Authorised::Yes { reference } | Authorised::ActionRequired { reference, .. }) => reference.into(),
        other => panic!("{other:?}"),
    }
}

fn is_yes(answer: &Result<Authorised, Failure>) -> bool {
    matches!(answer, Ok(Authorised::Yes { .. }))
}

fn is_declined(answer: &Result<Authorised, Failure>) -> bool {
    matches!(answer, Ok(Authorised::Declined { .. }))
}

fn is_unknown<T>(answer: &Result<T, Failure>) -> bool {
    matches!(answer, Err(Failure::Unknown(_)))
}

fn is_not_sent<T>(answer: &Result<T, Failure>) -> bool {
    matches!(answer, Err(Failure::NotSent(_)))
}

fn is_refused(answer: &Result<Moved, Failure>) -> bool {
    matches!(answer, Ok(Moved::Refused { .. }))
}

// ---- localstripe: another's idea of Stripe ---------------------------------------------------------------------------

/// What a shopper's browser, or the account's owner, asks of it.
pub(super) fn curl(server: &Other, path: &str, parameters: &[&str]) -> Value {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-u", "sk_test_1:", &format!("{}{path}", server.url)]);
    for parameter in parameters {
        curl.args(["-d", parameter]);
    }
    let output = curl.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

pub(super) fn card(server: &Other, number: &str) -> String {
    let number = format!("card[number]={number}");
    let card = ["type=card", &number, "card[exp_month]=12", "card[exp_year]=2030", "card[cvc]=123"];
    curl(server, "/v1/payment_methods", &card)["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_independent_server_agrees_on_authorise_capture_refund_and_find() {
    let server = Other::start("localstripe");
    let stripe = client(&server.url);
    let reference = reference_of(stripe.authorise(ask(1, &card(&server, "4242424242424242"))).await);
    let found = stripe.find(find(1, Some(&reference))).await.unwrap().unwrap();
    assert_eq!((found.status, found.amount, found.captured), (Status::Authorised, eur(1000), 0));
    assert_eq!(stripe.capture(deed(&reference, 1, 700)).await, Ok(Moved::Yes));
    assert_eq!(stripe.refund(deed(&reference, 2, 300)).await, Ok(Moved::Yes));
    assert_eq!(stripe.refund(deed(&reference, 2, 300)).await, Ok(Moved::Yes), "the same deed");
    assert!(is_refused(&stripe.refund(deed(&reference, 3, 401)).await), "this server would pay it out");
    assert_eq!(stripe.refund(deed(&reference, 4, 400)).await, Ok(Moved::Yes));
    assert!(is_refused(&stripe.refund(deed(&reference, 5, 1)).await));
    assert!(is_refused(&stripe.void(deed(&reference, 6, 0)).await), "captured");
    let found = stripe.find(find(1, Some(&reference))).await.unwrap().unwrap();
    assert_eq!((found.status, found.reference.as_ref()), (Status::Captured, reference.as_str()));
    assert_eq!(stripe.find(find(2, Some("pi_of_nobody"))).await, Ok(None));
    assert!(is_unknown(&stripe.capture(deed("pi_of_nobody", 7, 1)).await), "of another account, by mistake");
    assert!(is_refused(&stripe.refund(deed("pi_of_nobody", 8, 1)).await));
    assert!(is_refused(&stripe.void(deed("pi_of_nobody", 9, 0)).await));
    for path in ["", "../refunds", "pi_1/cancel", "pi_1?x=1"] {
        assert!(is_refused(&stripe.capture(deed(path, 10, 1)).await), "{path}");
        assert!(is_refused(&stripe.refund(deed(path, 10, 1)).await), "{path}");
        assert!(is_refused(&stripe.void(deed(path, 10, 1)).await), "{path}");
    }
    let (id, of) = (curl(&server, "/v1/payment_intents", &[]), &reference);
    assert_eq!(id["data"][0]["metadata"]["trolley_key"], key(1).to_string(), "{of}");
}

#[tokio::test]
async fn an_independent_server_agrees_on_declines_actions_and_abandonment() {
    let server = Other::start("localstripe");
    let stripe = client(&server.url);
    assert!(is_declined(&stripe.authorise(ask(1, &card(&server, "4000000000000341"))).await));
    assert!(is_declined(&stripe.authorise(ask(2, "pm_of_nobody")).await));

    let secure = card(&server, "4000002500003155");
    let Ok(Authorised::ActionRequired { reference, url }) = stripe.authorise(ask(3, &secure)).await else {
        panic!("no action required")
    };
    assert!(url.starts_with("https://bank.example/") && url.ends_with("https://shop.example/back"), "{url}");
    let status = async || stripe.find(find(3, Some(&reference))).await.unwrap().unwrap().status;
    assert_eq!(status().await, Status::ActionRequired);
    let path = format!("/v1/payment_intents/{reference}");
    let secret = curl(&server, &path, &[])["client_secret"].as_str().unwrap().to_owned();
    curl(&server, &format!("{path}/_authenticate"), &[&format!("client_secret={secret}"), "success=true"]);
    assert_eq!(status().await, Status::Authorised);
    let had = Abandoned::Authorised { reference: reference.clone() };
    assert_eq!(stripe.abandon(abandon(3, Some(&reference))).await, Ok(had));
    assert_eq!(stripe.void(deed(&reference, 1, 0)).await, Ok(Moved::Yes));
    assert_eq!(stripe.void(deed(&reference, 1, 0)).await, Ok(Moved::Yes), "the same deed");
    assert_eq!(status().await, Status::Cancelled);

    let waiting = reference_of(stripe.authorise(ask(4, &secure)).await);
    assert_eq!(stripe.abandon(abandon(4, Some(&waiting))).await, Ok(Abandoned::Nothing));
    assert_eq!(stripe.abandon(abandon(4, Some(&waiting))).await, Ok(Abandoned::Nothing));
    let found = stripe.find(find(4, Some(&waiting))).await.unwrap().unwrap();
    assert_eq!(found.status, Status::Cancelled);
}

#[tokio::test]
async fn an_independent_server_s_signed_messages_are_taken_and_forged_ones_are_not() {
    let server = Other::start("localstripe");
    let stripe = client(&server.url);
    let (heard, mut messages) = mpsc::channel::<(HeaderMap, Bytes)>(8);
    let hear = move |headers: HeaderMap, body: Bytes| async move { heard.send((headers, body)).await.unwrap() };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("url=http://{}/hook", listener.local_addr().unwrap());
    let shop =
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/hook", post(hear))).await.unwrap() });
    curl(&server, "/_config/webhooks/shop", &[&url, "secret=whsec_1"]);
    let reference = reference_of(stripe.authorise(ask(1, &card(&server, "4242424242424242"))).await);
    stripe.capture(deed(&reference, 1, 1000)).await.unwrap();
    let (headers, body) = loop {
        let (headers, body) = messages.recv().await.unwrap();
        match stripe.parse_webhook(&headers, &body, clock::now()) {
            Ok(message) => {
                assert_eq!((message.what, &*message.reference), (Happened::Captured, &*reference));
                assert_eq!(message.key, Some(key(1)));
                assert!(!message.id.is_empty());
                break (headers, body);
            }
            Err(error) => assert_eq!(error, WebhookError::Irrelevant),
        }
    };
    let forged = [&body[..], b" "].concat();
    assert_eq!(stripe.parse_webhook(&headers, &forged, clock::now()), Err(WebhookError::Unsigned));
    let later = clock::now().plus_ms(10 * 60 * 1_000);
    assert_eq!(stripe.parse_webhook(&headers, &body, later), Err(WebhookError::Stale));
    shop.abort();
}

// ---- a strict server that fails on demand ----------------------------------------------------------------------------

async fn strict() -> (Strict, Stripe) {
    let server = Strict::start().await;
    let stripe = client(&server.url);
    (server, stripe)
}

#[tokio::test]
async fn the_same_key_is_one_intent_confirmed_once() {
    let (server, stripe) = strict().await;
    let first = stripe.authorise(ask(1, "pm_ok")).await;
    assert!(is_yes(&first));
    assert_eq!(stripe.authorise(ask(1, "pm_ok")).await, first);
    let both = tokio::join!(stripe.authorise(ask(1, "pm_ok")), stripe.authorise(ask(1, "pm_ok")));
    assert_eq!(both, (first.clone(), first));
    assert_eq!(server.intent()["status"], "requires_capture");
    assert_eq!(server.world().confirmations, 1);
    let by_key = stripe.find(find(1, None)).await.unwrap().unwrap();
    assert_eq!((by_key.status, by_key.reference.as_ref()), (Status::Authorised, "pi_1"));
    assert_eq!(stripe.find(find(2, None)).await, Ok(None));
}

#[tokio::test]
async fn whatever_is_lost_on_the_way_the_same_key_tells() {
    // The calls are: create, confirm.
    for (faults, is_certain) in [
        (vec![Fault::Lose], true),
        (vec![Fault::Cut], true),
        (vec![Fault::None, Fault::Lose], false),
        (vec![Fault::None, Fault::Cut], false),
    ] {
        let (server, stripe) = strict().await;
        server.on_calls(faults.clone());
        let first = stripe.authorise(ask(1, "pm_ok")).await;
        // Without a confirmation no money is reserved, whatever became of the intent.
        assert!(if is_certain { is_not_sent(&first) } else { is_unknown(&first) }, "{faults:?}: {first:?}");
        assert!(is_yes(&stripe.authorise(ask(1, "pm_ok")).await), "{faults:?}");
        assert_eq!(server.intent()["status"], "requires_capture", "{faults:?}");
        assert_eq!(server.world().confirmations, 1, "{faults:?}");
    }
}

#[tokio::test]
async fn a_server_that_remembers_its_own_failure_does_not_hide_what_was_done() {
    let (server, stripe) = strict().await;
    server.on_calls([Fault::None, Fault::Break]);
    assert!(is_yes(&stripe.authorise(ask(1, "pm_ok")).await), "it was done before it failed");
    assert!(is_yes(&stripe.authorise(ask(1, "pm_ok")).await));

    let (server, stripe) = strict().await;
    server.on_calls([Fault::None, Fault::Fail]);
    assert!(is_unknown(&stripe.authorise(ask(1, "pm_ok")).await));
    assert!(is_unknown(&stripe.authorise(ask(1, "pm_ok")).await), "its failure is all that it says under this key");
    assert_eq!(stripe.abandon(abandon(1, None)).await, Ok(Abandoned::Nothing), "the way out");
    assert_eq!(server.intent()["status"], "canceled");
    assert!(is_declined(&stripe.authorise(ask(1, "pm_ok")).await));

    let (server, stripe) = strict().await;
    server.on_calls([Fault::Fail]);
    assert!(is_not_sent(&stripe.authorise(ask(1, "pm_ok")).await));
    assert_eq!(stripe.authorise(ask(1, "pm_ok")).await, Ok(Authorised::Unavailable), "no intent comes of this key");
    assert_eq!(stripe.abandon(abandon(1, None)).await, Ok(Abandoned::Nothing));
    assert!(server.world().intents.is_empty());
}

#[tokio::test]
async fn an_abandoned_key_never_succeeds_and_one_that_had_succeeded_is_told() {
    let (server, stripe) = strict().await;
    assert_eq!(stripe.abandon(abandon(1, None)).await, Ok(Abandoned::Nothing));
    assert!(is_declined(&stripe.authorise(ask(1, "pm_ok")).await), "abandoned before it was asked for");
    assert_eq!(server.intent()["status"], "canceled");
    assert_eq!(stripe.abandon(abandon(1, None)).await, Ok(Abandoned::Nothing));

    let (server, stripe) = strict().await;
    server.on_calls([Fault::None, Fault::Cut]);
    assert!(is_unknown(&stripe.authorise(ask(1, "pm_ok")).await));
    let had = Ok(Abandoned::Authorised { reference: "pi_1".into() });
    assert_eq!(stripe.abandon(abandon(1, None)).await, had);
    assert_eq!(server.intent()["status"], "requires_capture", "what succeeded is not undone");

    let (server, stripe) = strict().await;
    reference_of(stripe.authorise(ask(1, "pm_action")).await);
    // Created again, looked at, cancelled: the last one's answer is lost.
    server.on_calls([Fault::None, Fault::None, Fault::Cut]);
    assert!(is_unknown(&stripe.abandon(abandon(1, None)).await));
    assert_eq!(stripe.abandon(abandon(1, None)).await, Ok(Abandoned::Nothing));
    assert_eq!(stripe.void(deed("pi_1", 9, 0)).await, Ok(Moved::Yes));
}

#[tokio::test]
async fn after_the_shopper_acted_the_same_key_succeeds_although_its_first_answer_is_remembered() {
    let (server, stripe) = strict().await;
    let first = stripe.authorise(ask(1, "pm_action")).await;
    let Ok(Authorised::ActionRequired { reference, url }) = &first else { panic!("{first:?}") };
    assert_eq!(&**url, "https://bank.example/pi_1?back=https://shop.example/back");
    assert_eq!(stripe.authorise(ask(1, "pm_action")).await, first, "not yet");
    server.act(reference);
    assert!(is_yes(&stripe.authorise(ask(1, "pm_action")).await));
}

#[tokio::test]
async fn a_decline_stays_one_and_a_key_used_for_another_amount_gets_no_answer() {
    let (server, stripe) = strict().await;
    let declined = stripe.authorise(ask(1, "pm_declined")).await;
    assert_eq!(declined, Ok(Authorised::Declined { reason: "Your card was declined.".into() }));
    assert_eq!(stripe.authorise(ask(1, "pm_declined")).await, declined);
    assert_eq!(stripe.find(find(1, Some("pi_1"))).await.unwrap().unwrap().status, Status::Declined);
    assert_eq!(stripe.abandon(abandon(1, None)).await, Ok(Abandoned::Nothing));
    assert!(is_declined(&stripe.authorise(ask(2, "pm_of_nobody")).await));
    let mut other = ask(2, "pm_ok");
    other.amount = eur(1001);
    assert!(is_not_sent(&stripe.authorise(other).await));
    let before = server.calls().len();
    assert!(before > 0);
    for token in ["tok", "4242424242424242", "sk_test_1", ""] {
        assert!(is_declined(&stripe.authorise(ask(3, token)).await), "{token}");
    }
    let mut krona = ask(3, "pm_ok");
    krona.amount.currency = trolley::domain::Currency::parse("ISK").unwrap();
    assert!(is_declined(&stripe.authorise(krona).await));
    assert_eq!(server.calls(), Vec::<String>::new(), "nobody was asked");
}

#[tokio::test]
async fn money_moves_once_for_each_deed_whatever_is_lost() {
    for fault in [Fault::Cut, Fault::Lose, Fault::Break] {
        let (server, stripe) = strict().await;
        stripe.authorise(ask(1, "pm_ok")).await.unwrap();
        server.on_calls([fault]);
        let first = stripe.capture(deed("pi_1", 1, 900)).await;
        let is_found_out = fault == Fault::Break;
        assert!(if is_found_out { first == Ok(Moved::Yes) } else { is_unknown(&first) }, "{fault:?}: {first:?}");
        assert_eq!(stripe.capture(deed("pi_1", 1, 900)).await, Ok(Moved::Yes), "{fault:?}");
        assert_eq!(server.intent()["amount_received"], 900);
        // Looked at, listed, refunded: nothing moves before the last.
        for before in [vec![fault], vec![Fault::None, fault]] {
            server.on_calls(before);
            assert!(is_not_sent(&stripe.refund(deed("pi_1", 2, 500)).await), "{fault:?}");
        }
        server.on_calls([Fault::None, Fault::None, fault]);
        assert!(is_unknown(&stripe.refund(deed("pi_1", 2, 500)).await), "{fault:?}");
        assert_eq!(stripe.refund(deed("pi_1", 2, 500)).await, Ok(Moved::Yes), "{fault:?}");
        assert_eq!(server.world().refunds.len(), 1, "{fault:?}");
        assert!(is_refused(&stripe.refund(deed("pi_1", 3, 401)).await), "{fault:?}");
        assert!(is_refused(&stripe.refund(deed("pi_1", 4, 0)).await), "{fault:?}");
        assert_eq!(stripe.refund(deed("pi_1", 5, 400)).await, Ok(Moved::Yes), "{fault:?}");
        let refused = stripe.capture(deed("pi_1", 6, 901)).await;
        assert!(is_refused(&refused), "captured already, with another amount: {refused:?}");
    }
}

#[tokio::test]
async fn what_is_turned_away_unread_was_certainly_not_done() {
    let (server, stripe) = strict().await;
    for status in [401, 403, 429] {
        server.on_calls([Fault::Refuse(status)]);
        assert!(is_not_sent(&stripe.authorise(ask(1, "pm_ok")).await), "{status}");
        server.on_calls([Fault::None, Fault::Refuse(status)]);
        assert!(is_not_sent(&stripe.authorise(ask(1, "pm_ok")).await), "{status}");
    }
    server.on_calls([Fault::None, Fault::Refuse(409)]);
    assert!(is_unknown(&stripe.authorise(ask(1, "pm_ok")).await), "the same key is at work elsewhere");
    assert_eq!(server.world().confirmations, 0);
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        client(&format!("http://{}", listener.local_addr().unwrap()))
    };
    assert!(is_not_sent(&nobody.authorise(ask(1, "pm_ok")).await));
    assert!(is_not_sent(&nobody.capture(deed("pi_1", 1, 1)).await));
}

#[tokio::test]
async fn a_server_that_hangs_is_left_and_the_key_tells_later() {
    use std::sync::Arc;
    use trolley::payments::{Gateways, Limits};
    // Accepts by its backlog, and never reads.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway: Arc<dyn Gateway> = Arc::new(client(&format!("http://{}", silent.local_addr().unwrap())));
    let limits = Limits { call_timeout: Duration::from_millis(50), calls_max: 2, ..Limits::default() };
    let gateways = Gateways::new([("stripe".into(), gateway)], limits);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    assert!(is_unknown(&gateways.capture(deed("pi_1", 1, 1), deadline).await));
}

#[test]
fn secrets_are_not_shown_and_do_not_travel_in_the_clear() {
    use trolley::payments::stripe::{Options, OptionsError};
    let options = |base_url: &str, key: &str| Options {
        base_url: base_url.into(),
        secret_key: key.to_owned().into(),
        webhook_secret: Some("whsec_1".to_owned().into()),
        return_url: "https://shop.example/back".into(),
    };
    let stripe = Stripe::new(options("https://api.stripe.com", "sk_live_7")).unwrap();
    let shown = format!("{stripe:?} {:?}", options("https://api.stripe.com", "sk_live_7"));
    assert!(!shown.contains("sk_live_7") && !shown.contains("whsec_1"), "{shown}");
    let fault = |base, key| Stripe::new(options(base, key)).unwrap_err();
    assert_eq!(fault("http://api.stripe.com", "sk_live_7"), OptionsError::Plain);
    assert_eq!(fault("http://127.evil.example", "sk_live_7"), OptionsError::Plain);
    assert!(matches!(fault("ftp://127.0.0.1", "sk_live_7"), OptionsError::Url(_)));
    assert!(matches!(fault("", "sk_live_7"), OptionsError::Url(_)));
    assert_eq!(fault("https://api.stripe.com", ""), OptionsError::Key);
    assert_eq!(fault("https://api.stripe.com", "sk\nx"), OptionsError::Key);
}
