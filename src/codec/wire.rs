//! What nodes ask each other: version 1, frozen like every record, because nodes of two releases talk while a rollout
//! lasts.

use bincode::{Decode, Encode};

use super::envelope::{self, DecodeError, EncodeError, RECORD_BYTES_MAX, RecordKind};
use crate::domain::{
    CartId, Currency, GuestId, Id,
    cart::{Addition, Command, LINES_MAX, LineId, Owner, Refusal, SetQuantity, Status},
};

/// Version of the bytes.
const WIRE_V: u16 = 1;

/// A question on its way to the owner of a cart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// How often it has been forwarded.
    pub hops: u8,
    /// Version of the map that it was routed by.
    pub map_version: u64,
    /// Whose it is about.
    pub cart: CartId,
    /// What is asked.
    pub question: Question,
}

/// What is asked of a cart.
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
        /// What is asked.
        command: Command,
        /// Who asks.
        by: Option<Owner>,
        /// The revision that the change was made upon.
        if_revision: Option<u64>,
        /// Hashes of its key and of the whole request.
        key: Option<(u128, u128)>,
    },
}

/// What the owner says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The committed cart, as a sealed record.
    Cart {
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
    /// The cart said no.
    Refused(Refusal),
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
    cart: u128,
    question: QuestionV1,
}

#[derive(Debug, PartialEq, Encode, Decode)]
enum QuestionV1 {
    Read,
    Watch(u64),
    Ask { command: CommandV1, by: Option<u128>, if_revision: Option<u64>, key: Option<(u128, u128)> },
}

#[derive(Debug, PartialEq, Encode, Decode)]
enum CommandV1 {
    Create(u128, u128, [u8; 3]),
    Add {
        sku: String,
        title: String,
        unit_price: i64,
        currency: [u8; 3],
        quantity: u16,
        quantity_max: u16,
        options: Vec<(String, String)>,
        metadata: Vec<(String, String)>,
    },
    SetQuantity(u32, u16),
    Remove(u32),
    Clear,
    Save(u32),
    Restore(u32),
    Patch(Option<Option<String>>, Option<Option<String>>),
    Close,
    Expire,
}

#[derive(Debug, PartialEq, Encode, Decode)]
enum ReplyV1 {
    Cart { record: Vec<u8>, outcome: u32, replayed: bool, stale_ms: Option<u64>, owner: Option<String> },
    Unchanged,
    NotOwner(u64),
    Failed(FailedV1),
}

#[derive(Debug, PartialEq, Encode, Decode)]
enum FailedV1 {
    Refused(RefusalV1),
    KeyReused,
    TooManyKeys(u64),
    Overloaded(u64),
    StoreUnavailable(bool),
    TimedOut(bool),
    Quarantined(u64),
    Draining,
    Internal(bool),
}

#[derive(Debug, PartialEq, Encode, Decode)]
enum RefusalV1 {
    NotFound,
    NotOpen(u8),
    LineNotFound(u32),
    TooManyLines,
    QuantityOutOfRange(u32, u16),
    TotalTooLarge,
    CurrencyMismatch([u8; 3], [u8; 3]),
    RevisionMismatch(u64),
}

/// The request's bytes.
///
/// # Errors
/// [`EncodeError::TooLarge`] past a record's bound.
pub fn encode_request(request: Request) -> Result<Vec<u8>, EncodeError> {
    let v1 = RequestV1 {
        hops: request.hops,
        map_version: request.map_version,
        cart: request.cart.0.0,
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
    let RequestV1 { hops, map_version, cart, question } = v1;
    Ok(Request { hops, map_version, cart: CartId(Id(cart)), question: question.try_into()? })
}

/// The reply's bytes.
///
/// # Errors
/// [`EncodeError::TooLarge`] past a record's bound.
pub fn encode_reply(reply: Reply) -> Result<Vec<u8>, EncodeError> {
    let v1 = match reply {
        Reply::Cart { record, outcome, replayed, stale_ms, owner } => {
            ReplyV1::Cart { record, outcome, replayed, stale_ms, owner }
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
        ReplyV1::Cart { record, outcome, replayed, stale_ms, owner } => {
            Reply::Cart { record, outcome, replayed, stale_ms, owner }
        }
        ReplyV1::Unchanged => Reply::Unchanged,
        ReplyV1::NotOwner(map_version) => Reply::NotOwner { map_version },
        ReplyV1::Failed(failed) => Reply::Failed(failed.try_into()?),
    })
}

fn malformed(what: &str) -> DecodeError {
    DecodeError::Malformed(what.to_owned())
}

fn currency(bytes: [u8; 3]) -> Result<Currency, DecodeError> {
    let text = std::str::from_utf8(&bytes).map_err(|_| malformed("the currency is no text"))?;
    Currency::parse(text).map_err(|_| malformed("the currency is no ISO 4217 code"))
}

fn owned(pairs: Box<[(Box<str>, Box<str>)]>) -> Vec<(String, String)> {
    pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn boxed(pairs: Vec<(String, String)>) -> Box<[(Box<str>, Box<str>)]> {
    pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}

const fn guest(owner: Owner) -> u128 {
    let Owner::Guest(GuestId(id)) = owner;
    id.0
}

impl From<Question> for QuestionV1 {
    fn from(question: Question) -> Self {
        match question {
            Question::Read => Self::Read,
            Question::Watch { seen } => Self::Watch(seen),
            Question::Ask { command, by, if_revision, key } => {
                Self::Ask { command: command.into(), by: by.map(guest), if_revision, key }
            }
        }
    }
}

impl TryFrom<QuestionV1> for Question {
    type Error = DecodeError;

    fn try_from(v1: QuestionV1) -> Result<Self, DecodeError> {
        Ok(match v1 {
            QuestionV1::Read => Self::Read,
            QuestionV1::Watch(seen) => Self::Watch { seen },
            QuestionV1::Ask { command, by, if_revision, key } => {
                let by = by.map(|id| Owner::Guest(GuestId(Id(id))));
                Self::Ask { command: command.try_into()?, by, if_revision, key }
            }
        })
    }
}

impl From<Command> for CommandV1 {
    fn from(command: Command) -> Self {
        let text = |text: Option<Option<Box<str>>>| text.map(|text| text.map(String::from));
        match command {
            Command::Create { id, owner, currency } => Self::Create(id.0.0, guest(owner), currency.bytes()),
            Command::Add(add) => Self::Add {
                sku: add.sku.into(),
                title: add.title.into(),
                unit_price: add.unit_price,
                currency: add.currency.bytes(),
                quantity: add.quantity,
                quantity_max: add.quantity_max,
                options: owned(add.options),
                metadata: owned(add.metadata),
            },
            Command::SetQuantity(set) => Self::SetQuantity(set.line.0, set.quantity),
            Command::Remove(line) => Self::Remove(line.0),
            Command::Clear => Self::Clear,
            Command::Save(line) => Self::Save(line.0),
            Command::Restore(line) => Self::Restore(line.0),
            Command::Patch { note, email } => Self::Patch(text(note), text(email)),
            Command::Close => Self::Close,
            Command::Expire => Self::Expire,
        }
    }
}

impl TryFrom<CommandV1> for Command {
    type Error = DecodeError;

    fn try_from(v1: CommandV1) -> Result<Self, DecodeError> {
        let text = |text: Option<Option<String>>| text.map(|text| text.map(String::into_boxed_str));
        Ok(match v1 {
            CommandV1::Create(id, owner, code) => {
                Self::Create { id: CartId(Id(id)), owner: Owner::Guest(GuestId(Id(owner))), currency: currency(code)? }
            }
            CommandV1::Add { sku, title, unit_price, currency: code, quantity, quantity_max, options, metadata } => {
                if quantity == 0 {
                    return Err(malformed("an addition of no units"));
                }
                Self::Add(Addition {
                    sku: sku.into(),
                    title: title.into(),
                    unit_price,
                    currency: currency(code)?,
                    quantity,
                    quantity_max,
                    options: boxed(options),
                    metadata: boxed(metadata),
                })
            }
            CommandV1::SetQuantity(line, quantity) => Self::SetQuantity(SetQuantity { line: LineId(line), quantity }),
            CommandV1::Remove(line) => Self::Remove(LineId(line)),
            CommandV1::Clear => Self::Clear,
            CommandV1::Save(line) => Self::Save(LineId(line)),
            CommandV1::Restore(line) => Self::Restore(LineId(line)),
            CommandV1::Patch(note, email) => Self::Patch { note: text(note), email: text(email) },
            CommandV1::Close => Self::Close,
            CommandV1::Expire => Self::Expire,
        })
    }
}

impl From<Failed> for FailedV1 {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Refused(refusal) => Self::Refused(refusal.into()),
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

impl TryFrom<FailedV1> for Failed {
    type Error = DecodeError;

    fn try_from(v1: FailedV1) -> Result<Self, DecodeError> {
        Ok(match v1 {
            FailedV1::Refused(refusal) => Self::Refused(refusal.try_into()?),
            FailedV1::KeyReused => Self::KeyReused,
            FailedV1::TooManyKeys(ms) => Self::TooManyKeys(ms),
            FailedV1::Overloaded(ms) => Self::Overloaded(ms),
            FailedV1::StoreUnavailable(unknown) => Self::StoreUnavailable(unknown),
            FailedV1::TimedOut(unknown) => Self::TimedOut(unknown),
            FailedV1::Quarantined(ms) => Self::Quarantined(ms),
            FailedV1::Draining => Self::Draining,
            FailedV1::Internal(unknown) => Self::Internal(unknown),
        })
    }
}

impl From<Refusal> for RefusalV1 {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotFound => Self::NotFound,
            Refusal::NotOpen(status) => Self::NotOpen(match status {
                Status::Open => 0,
                Status::Closed => 1,
                Status::Expired => 2,
            }),
            Refusal::LineNotFound(line) => Self::LineNotFound(line.0),
            Refusal::TooManyLines { .. } => Self::TooManyLines,
            Refusal::QuantityOutOfRange { requested, max } => Self::QuantityOutOfRange(requested, max),
            Refusal::TotalTooLarge => Self::TotalTooLarge,
            Refusal::CurrencyMismatch { cart, product } => Self::CurrencyMismatch(cart.bytes(), product.bytes()),
            Refusal::RevisionMismatch { present } => Self::RevisionMismatch(present),
        }
    }
}

impl TryFrom<RefusalV1> for Refusal {
    type Error = DecodeError;

    fn try_from(v1: RefusalV1) -> Result<Self, DecodeError> {
        Ok(match v1 {
            RefusalV1::NotFound => Self::NotFound,
            RefusalV1::NotOpen(0) => Self::NotOpen(Status::Open),
            RefusalV1::NotOpen(1) => Self::NotOpen(Status::Closed),
            RefusalV1::NotOpen(2) => Self::NotOpen(Status::Expired),
            RefusalV1::NotOpen(_) => return Err(malformed("a status that no cart has")),
            RefusalV1::LineNotFound(line) => Self::LineNotFound(LineId(line)),
            RefusalV1::TooManyLines => Self::TooManyLines { max: LINES_MAX },
            RefusalV1::QuantityOutOfRange(requested, max) => Self::QuantityOutOfRange { requested, max },
            RefusalV1::TotalTooLarge => Self::TotalTooLarge,
            RefusalV1::CurrencyMismatch(cart, product) => {
                Self::CurrencyMismatch { cart: currency(cart)?, product: currency(product)? }
            }
            RefusalV1::RevisionMismatch(present) => Self::RevisionMismatch { present },
        })
    }
}
