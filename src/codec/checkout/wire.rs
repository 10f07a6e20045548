//! What is asked of a checkout by actors and doors on other nodes, and why it says no. Frozen like every record, because
//! nodes of two releases talk while a rollout lasts.

use bincode::{Decode, Encode};

use super::{
    frozen::{AddressV1, BoughtV1, OwnerV1, QuoteV1, RuleV1},
    malformed, read,
    written::{email, text},
};
use crate::{
    codec::envelope::{self, DecodeError, EncodeError, RECORD_BYTES_MAX, RecordKind},
    domain::{
        CartId, CheckoutId, Id, UnixMillis,
        address::Address,
        checkout::{Command, Create, Done, Email, GATEWAY_BYTES_MAX, Missing, Patch, Refusal, Status, Step},
        payment::{Abandoned, Authorised},
    },
};

/// Version of the bytes.
const WIRE_V: u16 = 1;
/// What every body starts with: commands to all kinds of actors share one kind of record, and must not be mixed up.
const TAG: u8 = RecordKind::Checkout as u8;

#[derive(PartialEq, Encode, Decode)]
struct Tagged<T> {
    tag: u8,
    body: T,
}

#[derive(PartialEq, Encode, Decode)]
enum CommandV1 {
    Create(Box<CreateV1>),
    Patch(Box<PatchV1>),
    /// Gateway, token.
    Complete(String, String),
    Confirm,
    Cancel,
    Expire,
    Done(StepV1, DoneV1, bool),
}

#[derive(PartialEq, Encode, Decode)]
struct CreateV1 {
    id: u128,
    cart: u128,
    owner: OwnerV1,
    currency: [u8; 3],
    lines: Vec<BoughtV1>,
    codes: Vec<RuleV1>,
    quote: QuoteV1,
    email: Option<String>,
    asked_at_ms: u64,
    ttl_ms: u64,
    ttl_max_ms: u64,
}

#[derive(PartialEq, Encode, Decode)]
struct PatchV1 {
    email: Option<Option<String>>,
    address: Option<Option<AddressV1>>,
    option: Option<Option<String>>,
    quote: QuoteV1,
}

/// Holds, attempts, rounds and times in the order of the step's fields.
#[derive(PartialEq, Encode, Decode)]
enum StepV1 {
    Hold(u16),
    Extend(u16, u64),
    Pin(u16, u32),
    Unpin(u16, u32),
    Commit(u16),
    Release(u16),
    Forget(u16),
    Authorise(u32, u32),
    Abandon(u32),
    Void(u32),
    Place,
    Settle,
    LetGo,
}

#[derive(PartialEq, Encode, Decode)]
enum DoneV1 {
    Ok,
    Insufficient(u32),
    Lost,
    CodeRefused(String),
    Approved(String),
    Declined(String),
    /// Reference, URL.
    ActionRequired(String, String),
    Unavailable,
    AbandonedNothing,
    AbandonedAuthorised(String),
}

#[derive(PartialEq, Encode, Decode)]
enum RefusalV1 {
    NotFound,
    /// A place in [`STATUSES`].
    NotOpen(u8),
    RevisionMismatch(u64),
    /// A place in [`MISSING`].
    Missing(u8),
    StillHolding,
    TooManyAttempts,
    TooLate,
    QuoteMismatch,
}

/// In the order of their persistent numbers.
const STATUSES: [Status; 6] =
    [Status::Open, Status::Completing, Status::RequiresAction, Status::Completed, Status::Cancelled, Status::Expired];
/// In the order of their persistent numbers.
const MISSING: [Missing; 3] = [Missing::Email, Missing::Address, Missing::Option];

/// The command's bytes.
///
/// # Errors
/// [`EncodeError::TooLarge`] past a record's bound.
pub fn encode_checkout_command(command: &Command) -> Result<Vec<u8>, EncodeError> {
    let body = match command {
        Command::Create(create) => CommandV1::Create(Box::new(CreateV1 {
            id: create.id.0.0,
            cart: create.cart.0.0,
            owner: create.owner.into(),
            currency: create.currency.bytes(),
            lines: create.lines.iter().map(BoughtV1::from).collect(),
            codes: create.codes.iter().map(RuleV1::from).collect(),
            quote: (&create.quote).into(),
            email: email(create.email.as_ref()),
            asked_at_ms: create.asked_at.0,
            ttl_ms: create.ttl_ms,
            ttl_max_ms: create.ttl_max_ms,
        })),
        Command::Patch(patch) => CommandV1::Patch(Box::new(PatchV1 {
            email: patch.email.as_ref().map(|to| email(to.as_ref())),
            address: patch.address.as_ref().map(|to| to.as_ref().map(AddressV1::from)),
            option: patch.option.as_ref().map(|to| text(to.as_deref())),
            quote: (&patch.quote).into(),
        })),
        Command::Complete { gateway, token } => CommandV1::Complete(gateway.to_string(), token.0.to_string()),
        Command::Confirm => CommandV1::Confirm,
        Command::Cancel => CommandV1::Cancel,
        Command::Expire => CommandV1::Expire,
        Command::Done { step, done, once } => CommandV1::Done((*step).into(), done.into(), *once),
    };
    envelope::seal(RecordKind::Command, WIRE_V, 1, &Tagged { tag: TAG, body }, RECORD_BYTES_MAX)
}

/// The command back.
///
/// # Errors
/// [`DecodeError`] on anything that no release wrote, whatever it is.
pub fn decode_checkout_command(bytes: &[u8]) -> Result<Command, DecodeError> {
    Ok(match untagged(envelope::open(bytes, RecordKind::Command, WIRE_V)?)? {
        CommandV1::Create(v1) => Command::Create(Box::new(Create {
            id: CheckoutId(Id(v1.id)),
            cart: CartId(Id(v1.cart)),
            owner: v1.owner.into(),
            currency: read::currency(v1.currency)?,
            lines: read::lines(v1.lines)?,
            codes: read::codes(v1.codes)?,
            quote: v1.quote.try_into()?,
            email: v1.email.map(|email| Email(email.into())),
            asked_at: UnixMillis(v1.asked_at_ms),
            ttl_ms: v1.ttl_ms,
            ttl_max_ms: v1.ttl_max_ms,
        })),
        CommandV1::Patch(v1) => Command::Patch(Box::new(Patch {
            email: v1.email.map(|to| to.map(|email| Email(email.into()))),
            address: v1.address.map(|to| to.map(Address::try_from).transpose()).transpose()?,
            option: v1.option.map(read::text),
            quote: v1.quote.try_into()?,
        })),
        CommandV1::Complete(gateway, _) if gateway.len() > GATEWAY_BYTES_MAX => {
            return Err(malformed("a gateway's name that is too long"));
        }
        CommandV1::Complete(gateway, token) => {
            Command::Complete { gateway: gateway.into(), token: read::token(token)? }
        }
        CommandV1::Confirm => Command::Confirm,
        CommandV1::Cancel => Command::Cancel,
        CommandV1::Expire => Command::Expire,
        CommandV1::Done(step, done, once) => Command::Done { step: step.into(), done: done.into(), once },
    })
}

/// The refusal's bytes.
///
/// # Errors
/// [`EncodeError::TooLarge`] past a record's bound.
pub fn encode_checkout_refusal(refusal: &Refusal) -> Result<Vec<u8>, EncodeError> {
    let body = match refusal {
        Refusal::NotFound => RefusalV1::NotFound,
        Refusal::NotOpen(status) => RefusalV1::NotOpen(match status {
            Status::Open => 0,
            Status::Completing => 1,
            Status::RequiresAction => 2,
            Status::Completed => 3,
            Status::Cancelled => 4,
            Status::Expired => 5,
        }),
        Refusal::RevisionMismatch { present } => RefusalV1::RevisionMismatch(*present),
        Refusal::Missing(missing) => RefusalV1::Missing(match missing {
            Missing::Email => 0,
            Missing::Address => 1,
            Missing::Option => 2,
        }),
        Refusal::StillHolding => RefusalV1::StillHolding,
        Refusal::TooManyAttempts => RefusalV1::TooManyAttempts,
        Refusal::TooLate => RefusalV1::TooLate,
        Refusal::QuoteMismatch => RefusalV1::QuoteMismatch,
    };
    envelope::seal(RecordKind::Refusal, WIRE_V, 1, &Tagged { tag: TAG, body }, RECORD_BYTES_MAX)
}

/// The refusal back.
///
/// # Errors
/// [`DecodeError`] on anything that no release wrote, whatever it is.
pub fn decode_checkout_refusal(bytes: &[u8]) -> Result<Refusal, DecodeError> {
    Ok(match untagged(envelope::open(bytes, RecordKind::Refusal, WIRE_V)?)? {
        RefusalV1::NotFound => Refusal::NotFound,
        RefusalV1::NotOpen(nth) => {
            let status = STATUSES.get(usize::from(nth)).ok_or_else(|| malformed("a status that no checkout has"))?;
            Refusal::NotOpen(*status)
        }
        RefusalV1::RevisionMismatch(present) => Refusal::RevisionMismatch { present },
        RefusalV1::Missing(nth) => {
            let missing = MISSING.get(usize::from(nth)).ok_or_else(|| malformed("nothing that can be missing"))?;
            Refusal::Missing(*missing)
        }
        RefusalV1::StillHolding => Refusal::StillHolding,
        RefusalV1::TooManyAttempts => Refusal::TooManyAttempts,
        RefusalV1::TooLate => Refusal::TooLate,
        RefusalV1::QuoteMismatch => Refusal::QuoteMismatch,
    })
}

fn untagged<T>(tagged: Tagged<T>) -> Result<T, DecodeError> {
    if tagged.tag == TAG { Ok(tagged.body) } else { Err(malformed("it is about another kind of actor")) }
}

impl From<Step> for StepV1 {
    fn from(step: Step) -> Self {
        match step {
            Step::Hold(hold) => Self::Hold(hold),
            Step::Extend { hold, until } => Self::Extend(hold, until.0),
            Step::Pin { hold, attempt } => Self::Pin(hold, attempt),
            Step::Unpin { hold, attempt } => Self::Unpin(hold, attempt),
            Step::Commit(hold) => Self::Commit(hold),
            Step::Release(hold) => Self::Release(hold),
            Step::Forget(hold) => Self::Forget(hold),
            Step::Authorise { attempt, round } => Self::Authorise(attempt, round),
            Step::Abandon(attempt) => Self::Abandon(attempt),
            Step::Void(attempt) => Self::Void(attempt),
            Step::Place => Self::Place,
            Step::Settle => Self::Settle,
            Step::LetGo => Self::LetGo,
        }
    }
}

impl From<StepV1> for Step {
    fn from(v1: StepV1) -> Self {
        match v1 {
            StepV1::Hold(hold) => Self::Hold(hold),
            StepV1::Extend(hold, until) => Self::Extend { hold, until: UnixMillis(until) },
            StepV1::Pin(hold, attempt) => Self::Pin { hold, attempt },
            StepV1::Unpin(hold, attempt) => Self::Unpin { hold, attempt },
            StepV1::Commit(hold) => Self::Commit(hold),
            StepV1::Release(hold) => Self::Release(hold),
            StepV1::Forget(hold) => Self::Forget(hold),
            StepV1::Authorise(attempt, round) => Self::Authorise { attempt, round },
            StepV1::Abandon(attempt) => Self::Abandon(attempt),
            StepV1::Void(attempt) => Self::Void(attempt),
            StepV1::Place => Self::Place,
            StepV1::Settle => Self::Settle,
            StepV1::LetGo => Self::LetGo,
        }
    }
}

impl From<&Done> for DoneV1 {
    fn from(done: &Done) -> Self {
        match done {
            Done::Ok => Self::Ok,
            Done::Insufficient { available } => Self::Insufficient(*available),
            Done::Lost => Self::Lost,
            Done::CodeRefused { reason } => Self::CodeRefused(reason.to_string()),
            Done::Authorised(Authorised::Yes { reference }) => Self::Approved(reference.to_string()),
            Done::Authorised(Authorised::Declined { reason }) => Self::Declined(reason.to_string()),
            Done::Authorised(Authorised::ActionRequired { reference, url }) => {
                Self::ActionRequired(reference.to_string(), url.to_string())
            }
            Done::Authorised(Authorised::Unavailable) => Self::Unavailable,
            Done::Abandoned(Abandoned::Nothing) => Self::AbandonedNothing,
            Done::Abandoned(Abandoned::Authorised { reference }) => Self::AbandonedAuthorised(reference.to_string()),
        }
    }
}

impl From<DoneV1> for Done {
    fn from(v1: DoneV1) -> Self {
        match v1 {
            DoneV1::Ok => Self::Ok,
            DoneV1::Insufficient(available) => Self::Insufficient { available },
            DoneV1::Lost => Self::Lost,
            DoneV1::CodeRefused(reason) => Self::CodeRefused { reason: reason.into() },
            DoneV1::Approved(reference) => Self::Authorised(Authorised::Yes { reference: reference.into() }),
            DoneV1::Declined(reason) => Self::Authorised(Authorised::Declined { reason: reason.into() }),
            DoneV1::ActionRequired(reference, url) => {
                Self::Authorised(Authorised::ActionRequired { reference: reference.into(), url: url.into() })
            }
            DoneV1::Unavailable => Self::Authorised(Authorised::Unavailable),
            DoneV1::AbandonedNothing => Self::Abandoned(Abandoned::Nothing),
            DoneV1::AbandonedAuthorised(reference) => {
                Self::Abandoned(Abandoned::Authorised { reference: reference.into() })
            }
        }
    }
}
