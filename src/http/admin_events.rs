//! Events that sinks did not take: looked at, delivered again, forgotten.

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    admin::Admin,
    dto::timestamp,
    problem::{Code, Problem},
};
use crate::{
    events::{DeadLetter, ReplayError},
    store::Reason,
};

/// Where a list starts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    cursor: Option<String>,
}

/// A dead letter, as operators see it.
#[derive(Debug, Serialize)]
struct LetterView {
    id: Box<str>,
    sink: Box<str>,
    event: String,
    #[serde(rename = "type")]
    kind: &'static str,
    subject: String,
    happened_at: String,
    attempts: u64,
    given_up_at: String,
    why: Box<str>,
    data: Option<Value>,
}

impl From<DeadLetter> for LetterView {
    fn from(letter: DeadLetter) -> Self {
        let DeadLetter { id, event, sink, attempts, at, why } = letter;
        Self {
            id,
            sink,
            event: event.id(),
            kind: event.kind().name(),
            subject: event.actor().to_owned(),
            happened_at: timestamp(event.at()).to_string(),
            attempts,
            given_up_at: timestamp(at).to_string(),
            why,
            // Made by this program, so JSON; one that is damaged is still to be replayed or forgotten.
            data: serde_json::from_slice(event.body()).ok(),
        }
    }
}

#[derive(Debug, Serialize)]
struct PageView {
    items: Vec<LetterView>,
    next_cursor: Option<Box<str>>,
}

/// A page of dead letters, oldest event first.
pub(super) async fn list(
    State(admin): State<Admin>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(Wanted { cursor }) = wanted.map_err(|error| Problem::new(Code::InvalidRequest, error.body_text()))?;
    let page = admin.relay.dead(cursor.as_deref()).await.map_err(unavailable)?;
    let items = page.letters.into_iter().map(LetterView::from).collect();
    Ok(Json(PageView { items, next_cursor: page.next }).into_response())
}

/// Delivers a letter again, now and out of order; one that its sink takes is forgotten.
pub(super) async fn replay(State(admin): State<Admin>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    admin.relay.replay(&id).await.map_err(|error| match error {
        ReplayError::NotFound => Problem::new(Code::NotFound, error.to_string()),
        ReplayError::NoSink(_) | ReplayError::Sink(_) => Problem::new(Code::IllegalTransition, error.to_string()),
        ReplayError::Store(reason) => unavailable(reason),
    })?;
    Ok(StatusCode::NO_CONTENT)
}

/// Forgets a letter, whether or not it is there.
pub(super) async fn forget(State(admin): State<Admin>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    admin.relay.forget(&id).await.map_err(unavailable)?;
    Ok(StatusCode::NO_CONTENT)
}

fn unavailable(reason: Reason) -> Problem {
    Problem::new(Code::StoreUnavailable, format!("the list of dead letters cannot be read or changed: {reason}"))
}
