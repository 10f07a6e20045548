//! What nodes ask each other: version 1, frozen like every record, because nodes of two releases talk while a rollout
//! lasts.

use bincode::{Decode, Encode};

use super::envelope::{self, DecodeError, EncodeError, RECORD_BYTES_MAX, RecordKind};
use crate::domain::{GuestId, Id, Try, cart::Owner};

/// Version of the bytes.
const WIRE_V: u16 = 1;

/// A question on its way to the owner of an actor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// How often it has been forwarded.
    pub hops: u8,
    /// Version of the map that it was routed by.
    pub map_version: u64,
    /// Of which kind the actor is: the store's number.
    pub kind: u8,
    /// Which actor it is about.
    pub id: Id,
    /// What is asked.
    pub question: Question,
}

/// What is asked of an actor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Its committed state.
    Read,
    /// Its committed state, once its revision is another than this.
    Watch {
        /// The revision that the asker knows.
        seen: u64,
    },
    /// A command.
    Ask {
        /// What is asked, in its kind's bytes.
        command: Vec<u8>,
        /// Who asks.
        by: Option<Owner>,
        /// The revision that the change was made upon.
        if_revision: Option<u64>,
        /// Hashes of its key and of the whole request.
        key: Option<(u128, u128)>,
        /// Whether another actor asks, which asks again until it is told, and whether it does so already.
        deed: Option<Try>,
    },
    /// Its committed state, as clients read it: a [`View`](super::view::View) where it is in memory, a reply otherwise.
    Show,
}

/// What the owner says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The committed state, as a sealed record.
    State {
        /// The record.
        record: Vec<u8>,
        /// What the command did.
        outcome: u32,
        /// Whether it was done before under the same key.
        replayed: bool,
        /// So many milliseconds ago it was the newest for certain; `None` = it is.
        stale_ms: Option<u64>,
        /// Who answered, where that is not the node that was asked.
        owner: Option<String>,
    },
    /// Nothing has changed in the time given.
    Unchanged,
    /// Certainly not done: the shard is not this node's, as of this version of the map.
    NotOwner {
        /// The version.
        map_version: u64,
    },
    /// There is no such answer.
    Failed(Failed),
}

/// Why there is no answer; the actors' own failure, told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failed {
    /// The actor said no, in its kind's bytes.
    Refused(Vec<u8>),
    /// The key was used for another request.
    KeyReused,
    /// Too many keyed commands; when it is worth another try, in milliseconds.
    TooManyKeys(u64),
    /// A queue is full; as above.
    Overloaded(u64),
    /// The store; whether the effect is unknown.
    StoreUnavailable(bool),
    /// Too late; as above.
    TimedOut(bool),
    /// The actor rests; for how many milliseconds.
    Quarantined(u64),
    /// The node leaves.
    Draining,
    /// A fault of ours; whether the effect is unknown.
    Internal(bool),
}

#[derive(Debug, PartialEq, Encode, Decode)]
struct RequestV1 {
    hops: u8,
    map_version: u64,
    kind: u8,
    id: u128,
    question: QuestionV1,
}

#[derive(Debug, PartialEq, Encode, Decode)]
enum QuestionV1 {
    Read,
    Watch(u64),
    Ask { command: Vec<u8>, by: Option<u128>, if_revision: Option<u64>, key: Option<(u128, u128)>, deed: Option<TryV1> },
    Show,
}

#[derive(Debug, PartialEq, Encode, Decode)]
enum TryV1 {
    First,
    Again,
}

#[derive(Debug, PartialEq, Encode, Decode)]
enum ReplyV1 {
    State { record: Vec<u8>, outcome: u32, replayed: bool, stale_ms: Option<u64>, owner: Option<String> },
    Unchanged,
    NotOwner(u64),
    Failed(FailedV1),
}

#[derive(Debug, PartialEq, Encode, Decode)]
enum FailedV1 {
    Refused(Vec<u8>),
    KeyReused,
    TooManyKeys(u64),
    Overloaded(u64),
    StoreUnavailable(bool),
    TimedOut(bool),
    Quarantined(u64),
    Draining,
    Internal(bool),
}

/// The request's bytes.
///
/// # Errors
/// [`EncodeError::TooLarge`] past a record's bound.
pub fn encode_request(request: Request) -> Result<Vec<u8>, EncodeError> {
    let v1 = RequestV1 {
        hops: request.hops,
        map_version: request.map_version,
        kind: request.kind,
        id: request.id.0,
        question: request.question.into(),
    };
    envelope::seal(RecordKind::Request, WIRE_V, 1, &v1, RECORD_BYTES_MAX)
}

/// The request back.
///
/// # Errors
/// [`DecodeError`] on anything that no release wrote, whatever it is.
pub fn decode_request(bytes: &[u8]) -> Result<Request, DecodeError> {
    let v1: RequestV1 = envelope::open(bytes, RecordKind::Request, WIRE_V)?;
    let RequestV1 { hops, map_version, kind, id, question } = v1;
    Ok(Request { hops, map_version, kind, id: Id(id), question: question.into() })
}

/// The reply's bytes.
///
/// # Errors
/// [`EncodeError::TooLarge`] past a record's bound.
pub fn encode_reply(reply: Reply) -> Result<Vec<u8>, EncodeError> {
    let v1 = match reply {
        Reply::State { record, outcome, replayed, stale_ms, owner } => {
            ReplyV1::State { record, outcome, replayed, stale_ms, owner }
        }
        Reply::Unchanged => ReplyV1::Unchanged,
        Reply::NotOwner { map_version } => ReplyV1::NotOwner(map_version),
        Reply::Failed(failed) => ReplyV1::Failed(failed.into()),
    };
    envelope::seal(RecordKind::Reply, WIRE_V, 1, &v1, RECORD_BYTES_MAX)
}

/// The reply back.
///
/// # Errors
/// [`DecodeError`] on anything that no release wrote, whatever it is.
pub fn decode_reply(bytes: &[u8]) -> Result<Reply, DecodeError> {
    Ok(match envelope::open(bytes, RecordKind::Reply, WIRE_V)? {
        ReplyV1::State { record, outcome, replayed, stale_ms, owner } => {
            Reply::State { record, outcome, replayed, stale_ms, owner }
        }
        ReplyV1::Unchanged => Reply::Unchanged,
        ReplyV1::NotOwner(map_version) => Reply::NotOwner { map_version },
        ReplyV1::Failed(failed) => Reply::Failed(failed.into()),
    })
}

const fn guest(owner: Owner) -> u128 {
    let Owner::Guest(GuestId(id)) = owner;
    id.0
}

impl From<Try> for TryV1 {
    fn from(nth: Try) -> Self {
        match nth {
            Try::First => Self::First,
            Try::Again => Self::Again,
        }
    }
}

impl From<TryV1> for Try {
    fn from(v1: TryV1) -> Self {
        match v1 {
            TryV1::First => Self::First,
            TryV1::Again => Self::Again,
        }
    }
}

impl From<Question> for QuestionV1 {
    fn from(question: Question) -> Self {
        match question {
            Question::Read => Self::Read,
            Question::Watch { seen } => Self::Watch(seen),
            Question::Ask { command, by, if_revision, key, deed } => {
                Self::Ask { command, by: by.map(guest), if_revision, key, deed: deed.map(TryV1::from) }
            }
            Question::Show => Self::Show,
        }
    }
}

impl From<QuestionV1> for Question {
    fn from(v1: QuestionV1) -> Self {
        match v1 {
            QuestionV1::Read => Self::Read,
            QuestionV1::Watch(seen) => Self::Watch { seen },
            QuestionV1::Ask { command, by, if_revision, key, deed } => {
                let by = by.map(|id| Owner::Guest(GuestId(Id(id))));
                Self::Ask { command, by, if_revision, key, deed: deed.map(Try::from) }
            }
            QuestionV1::Show => Self::Show,
        }
    }
}

impl From<Failed> for FailedV1 {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Refused(refusal) => Self::Refused(refusal),
            Failed::KeyReused => Self::KeyReused,
            Failed::TooManyKeys(ms) => Self::TooManyKeys(ms),
            Failed::Overloaded(ms) => Self::Overloaded(ms),
            Failed::StoreUnavailable(unknown) => Self::StoreUnavailable(unknown),
            Failed::TimedOut(unknown) => Self::TimedOut(unknown),
            Failed::Quarantined(ms) => Self::Quarantined(ms),
            Failed::Draining => Self::Draining,
            Failed::Internal(unknown) => Self::Internal(unknown),
        }
    }
}

impl From<FailedV1> for Failed {
    fn from(v1: FailedV1) -> Self {
        match v1 {
            FailedV1::Refused(refusal) => Self::Refused(refusal),
            FailedV1::KeyReused => Self::KeyReused,
            FailedV1::TooManyKeys(ms) => Self::TooManyKeys(ms),
            FailedV1::Overloaded(ms) => Self::Overloaded(ms),
            FailedV1::StoreUnavailable(unknown) => Self::StoreUnavailable(unknown),
            FailedV1::TimedOut(unknown) => Self::TimedOut(unknown),
            FailedV1::Quarantined(ms) => Self::Quarantined(ms),
            FailedV1::Draining => Self::Draining,
            FailedV1::Internal(unknown) => Self::Internal(unknown),
        }
    }
}
