//! A cart's commands and refusals between nodes: version 1, frozen like every record, because nodes of two releases talk
//! while a rollout lasts.

use bincode::{Decode, Encode};

use super::{
    envelope::{self, DecodeError, EncodeError, RECORD_BYTES_MAX, RecordKind},
    rule_v1::RuleV1,
};
use crate::domain::{
    CartId, CheckoutId, Currency, GuestId, Id,
    cart::{Addition, CODES_MAX, Command, LINES_MAX, LineId, Owner, Refusal, SetQuantity, Status},
    pricing::Reason,
};

/// Version of the bytes.
const WIRE_V: u16 = 1;

/// The command's bytes.
///
/// # Errors
/// [`EncodeError::TooLarge`] past a record's bound.
pub fn encode_cart_command(command: &Command) -> Result<Vec<u8>, EncodeError> {
    envelope::seal(RecordKind::Command, WIRE_V, 1, &CommandV1::from(command.clone()), RECORD_BYTES_MAX)
}

/// The command back.
///
/// # Errors
/// [`DecodeError`] on anything that no release wrote, whatever it is.
pub fn decode_cart_command(bytes: &[u8]) -> Result<Command, DecodeError> {
    envelope::open::<CommandV1>(bytes, RecordKind::Command, WIRE_V)?.try_into()
}

/// The refusal's bytes.
///
/// # Errors
/// [`EncodeError::TooLarge`] past a record's bound.
pub fn encode_cart_refusal(refusal: &Refusal) -> Result<Vec<u8>, EncodeError> {
    envelope::seal(RecordKind::Refusal, WIRE_V, 1, &RefusalV1::from(refusal.clone()), RECORD_BYTES_MAX)
}

/// The refusal back.
///
/// # Errors
/// [`DecodeError`] on anything that no release wrote, whatever it is.
pub fn decode_cart_refusal(bytes: &[u8]) -> Result<Refusal, DecodeError> {
    envelope::open::<RefusalV1>(bytes, RecordKind::Refusal, WIRE_V)?.try_into()
}

#[derive(Debug, PartialEq, Encode, Decode)]
pub(super) enum CommandV1 {
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
    ApplyCode(RuleV1),
    RemoveCode(String),
    Begin(u128, Vec<(u32, i64)>),
    Opened(u128),
    Settle(u128, Vec<(u32, u16)>),
    LetGo(u128),
}

#[derive(Debug, PartialEq, Encode, Decode)]
pub(super) enum RefusalV1 {
    NotFound,
    NotOpen(u8),
    LineNotFound(u32),
    TooManyLines,
    QuantityOutOfRange(u32, u16),
    TotalTooLarge,
    CurrencyMismatch([u8; 3], [u8; 3]),
    RevisionMismatch(u64),
    CodeNotApplicable(ReasonV1),
    TooManyCodes,
    CodeNotFound,
    Empty,
    LinesTooLarge,
}

#[derive(Debug, PartialEq, Encode, Decode)]
pub(super) enum ReasonV1 {
    Currency([u8; 3]),
    NotYet,
    Over,
    NoLine,
    Minimum(i64, i64),
    NothingLeft,
}

fn malformed(what: &str) -> DecodeError {
    DecodeError::Malformed(what.to_owned())
}

fn currency(bytes: [u8; 3]) -> Result<Currency, DecodeError> {
    let text = std::str::from_utf8(&bytes).map_err(|_| malformed("the currency is no text"))?;
    Currency::parse(text).map_err(|_| malformed("the currency is no ISO 4217 code"))
}

/// Facts about lines: no more of them than a cart has lines.
fn few<T>(facts: Vec<T>) -> Result<Vec<T>, DecodeError> {
    if facts.len() <= LINES_MAX { Ok(facts) } else { Err(malformed("more lines than a cart may hold")) }
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
            Command::ApplyCode(rule) => Self::ApplyCode((&rule).into()),
            Command::RemoveCode(code) => Self::RemoveCode(code.into()),
            Command::Begin { checkout, prices } => {
                Self::Begin(checkout.0.0, prices.into_iter().map(|(line, price)| (line.0, price)).collect())
            }
            Command::Opened { checkout } => Self::Opened(checkout.0.0),
            Command::Settle { checkout, bought } => {
                Self::Settle(checkout.0.0, bought.into_iter().map(|(line, units)| (line.0, units)).collect())
            }
            Command::LetGo { checkout } => Self::LetGo(checkout.0.0),
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
            CommandV1::ApplyCode(rule) => Self::ApplyCode(rule.try_into()?),
            CommandV1::RemoveCode(code) => Self::RemoveCode(code.into()),
            CommandV1::Begin(id, prices) => Self::Begin {
                checkout: CheckoutId(Id(id)),
                prices: few(prices)?.into_iter().map(|(line, price)| (LineId(line), price)).collect(),
            },
            CommandV1::Opened(id) => Self::Opened { checkout: CheckoutId(Id(id)) },
            CommandV1::Settle(id, bought) => Self::Settle {
                checkout: CheckoutId(Id(id)),
                bought: few(bought)?.into_iter().map(|(line, units)| (LineId(line), units)).collect(),
            },
            CommandV1::LetGo(id) => Self::LetGo { checkout: CheckoutId(Id(id)) },
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
                Status::CheckingOut => 3,
                Status::Ordered => 4,
            }),
            Refusal::LineNotFound(line) => Self::LineNotFound(line.0),
            Refusal::TooManyLines { .. } => Self::TooManyLines,
            Refusal::QuantityOutOfRange { requested, max } => Self::QuantityOutOfRange(requested, max),
            Refusal::TotalTooLarge => Self::TotalTooLarge,
            Refusal::CurrencyMismatch { cart, product } => Self::CurrencyMismatch(cart.bytes(), product.bytes()),
            Refusal::RevisionMismatch { present } => Self::RevisionMismatch(present),
            Refusal::CodeNotApplicable(reason) => Self::CodeNotApplicable(match reason {
                Reason::Currency(of) => ReasonV1::Currency(of.bytes()),
                Reason::NotYet => ReasonV1::NotYet,
                Reason::Over => ReasonV1::Over,
                Reason::NoLine => ReasonV1::NoLine,
                Reason::Minimum { minimum, reached } => ReasonV1::Minimum(minimum, reached),
                Reason::NothingLeft => ReasonV1::NothingLeft,
            }),
            Refusal::TooManyCodes { .. } => Self::TooManyCodes,
            Refusal::CodeNotFound => Self::CodeNotFound,
            Refusal::Empty => Self::Empty,
            Refusal::LinesTooLarge => Self::LinesTooLarge,
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
            RefusalV1::NotOpen(3) => Self::NotOpen(Status::CheckingOut),
            RefusalV1::NotOpen(4) => Self::NotOpen(Status::Ordered),
            RefusalV1::NotOpen(_) => return Err(malformed("a status that no cart has")),
            RefusalV1::LineNotFound(line) => Self::LineNotFound(LineId(line)),
            RefusalV1::TooManyLines => Self::TooManyLines { max: LINES_MAX },
            RefusalV1::QuantityOutOfRange(requested, max) => Self::QuantityOutOfRange { requested, max },
            RefusalV1::TotalTooLarge => Self::TotalTooLarge,
            RefusalV1::CurrencyMismatch(cart, product) => {
                Self::CurrencyMismatch { cart: currency(cart)?, product: currency(product)? }
            }
            RefusalV1::RevisionMismatch(present) => Self::RevisionMismatch { present },
            RefusalV1::CodeNotApplicable(reason) => Self::CodeNotApplicable(match reason {
                ReasonV1::Currency(of) => Reason::Currency(currency(of)?),
                ReasonV1::NotYet => Reason::NotYet,
                ReasonV1::Over => Reason::Over,
                ReasonV1::NoLine => Reason::NoLine,
                ReasonV1::Minimum(minimum, reached) => Reason::Minimum { minimum, reached },
                ReasonV1::NothingLeft => Reason::NothingLeft,
            }),
            RefusalV1::TooManyCodes => Self::TooManyCodes { max: CODES_MAX },
            RefusalV1::CodeNotFound => Self::CodeNotFound,
            RefusalV1::Empty => Self::Empty,
            RefusalV1::LinesTooLarge => Self::LinesTooLarge,
        })
    }
}
