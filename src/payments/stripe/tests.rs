//! The client against stripe-stateful-mock: another's idea of idempotency keys. It knows charges and not the intents that
//! the gateway uses, so it is asked through the client itself.

use serde::Deserialize;

use super::client::{Client, Form, Trouble};
use crate::payments::Failure;

#[path = "../../../tests/it/payments/others.rs"]
mod others;

#[derive(Debug, Deserialize)]
struct Charge {
    id: String,
    amount: i64,
    captured: bool,
}

#[derive(Debug, Deserialize)]
struct Charges {
    data: Vec<Charge>,
}

fn client(server: &others::Other) -> Client {
    Client::new(&server.url, &"sk_test_1".to_owned().into()).unwrap()
}

/// A charge that is captured by hand.
async fn charge(client: &Client, amount: i64, source: &str, key: &str) -> Result<(Charge, bool), Trouble> {
    let form =
        Form::new().with("amount", amount).with("currency", "eur").with("source", source).with("capture", "false");
    client.post("/v1/charges", form, Some(key.to_owned())).await
}

async fn charges(client: &Client) -> usize {
    client.get::<Charges>("/v1/charges").await.unwrap().data.len()
}

#[tokio::test]
async fn a_key_is_answered_as_the_first_time_and_never_used_for_anything_else() {
    let server = others::Other::start("stateful");
    let client = client(&server);
    let (first, is_replay) = charge(&client, 1000, "tok_visa", "key-1").await.unwrap();
    assert_eq!((first.amount, first.captured, is_replay), (1000, false, false));
    let (again, is_replay) = charge(&client, 1000, "tok_visa", "key-1").await.unwrap();
    assert_eq!((&again.id, is_replay), (&first.id, true));
    // Whatever was done under the key was another thing: this deed is in doubt, and never taken for refused.
    let other = charge(&client, 1001, "tok_visa", "key-1").await.unwrap_err();
    assert!(matches!(&other, Trouble::Failed(Failure::Unknown(why)) if why.contains("idempotent")), "{other:?}");
    assert_eq!(charges(&client).await, 1);
    let (next, is_replay) = charge(&client, 1001, "tok_visa", "key-2").await.unwrap();
    assert!(next.id != first.id && !is_replay);
    assert_eq!(charges(&client).await, 2);
}

#[tokio::test]
async fn a_failure_a_decline_and_a_success_are_told_apart_and_a_kept_failure_says_that_it_is_kept() {
    let server = others::Other::start("stateful");
    let client = client(&server);
    let chain = "tok_500|tok_chargeDeclined|tok_visa";
    let broken = async |key: &'static str| match charge(&client, 1000, chain, key).await {
        Err(Trouble::Broken { failure: Failure::Unknown(_), is_replay }) => is_replay,
        other => panic!("{other:?}"),
    };
    // The chain goes on with each charge that is really tried; a failure that is kept under its key is not.
    assert!(!broken("key-1").await && broken("key-1").await);
    let declined = charge(&client, 1000, chain, "key-2").await.unwrap_err();
    assert!(matches!(&declined, Trouble::Refused(refusal) if refusal.is_card()), "{declined:?}");
    let (charged, _) = charge(&client, 1000, chain, "key-3").await.unwrap();
    let path = format!("/v1/charges/{}/capture", charged.id);
    let capture = || client.post::<Charge>(&path, Form::new(), None);
    assert!(capture().await.unwrap().0.captured);
    let twice = capture().await.unwrap_err();
    assert!(matches!(&twice, Trouble::Refused(refusal) if !refusal.is_card()), "{twice:?}");
    let missing = client.get::<Charge>("/v1/charges/ch_of_nobody").await.unwrap_err();
    assert!(matches!(missing, Trouble::Refused(_)), "{missing:?}");
}
