//! From frozen bytes to a checkout; what no checkout can be is malformed.

use super::{
    frozen::{
        AddressV1, AttemptStateV1, AttemptV1, BoughtV1, CheckoutV1, EndV1, HoldStateV1, HoldV1, LackV1, OwnerV1,
        PhaseV1, QuoteV1, RuleV1, UndoV1, UndoneV1, WhatV1, WorthV1,
    },
    malformed,
};
use crate::{
    codec::envelope::DecodeError,
    domain::{
        CartId, CheckoutId, Currency, GuestId, Id, UnixMillis,
        address::{Address, Country},
        cart::{LINES_MAX, Line, LineId, Owner},
        checkout::{
            ATTEMPTS_MAX, Attempt, AttemptState, CODES_MAX, Checkout, CheckoutLine, Email, End, Hold, HoldState, Lack,
            Phase, Status, Undo, Undone, What,
        },
        discount::{Rule, Worth},
        payment::{TOKEN_BYTES_MAX, Token},
        pricing::{Discounted, Offer, Priced, Quote},
    },
};

impl TryFrom<CheckoutV1> for Checkout {
    type Error = DecodeError;

    fn try_from(v1: CheckoutV1) -> Result<Self, DecodeError> {
        let checkout = Self {
            id: CheckoutId(Id(v1.id)),
            revision: v1.revision,
            cart: CartId(Id(v1.cart)),
            owner: v1.owner.into(),
            currency: currency(v1.currency)?,
            lines: lines(v1.lines)?,
            codes: codes(v1.codes)?,
            quote: v1.quote.try_into()?,
            email: v1.email.map(|email| Email(email.into())),
            address: v1.address.map(Address::try_from).transpose()?,
            option: text(v1.option),
            holds: v1.holds.into_iter().map(Hold::from).collect(),
            phase: v1.phase.into(),
            attempts: v1.attempts.into_iter().map(Attempt::try_from).collect::<Result<_, _>>()?,
            ttl_ms: v1.ttl_ms,
            created_at: UnixMillis(v1.created_at),
            updated_at: UnixMillis(v1.updated_at),
            expires_at: UnixMillis(v1.expires_at),
            expires_at_max: UnixMillis(v1.expires_at_max),
        };
        holds_together(&checkout)?;
        Ok(checkout)
    }
}

/// What its steps rely on: with less, one of them could not be done, and the checkout would wait for ever.
fn holds_together(checkout: &Checkout) -> Result<(), DecodeError> {
    if checkout.holds.len() > LINES_MAX + CODES_MAX {
        return Err(malformed("more holds than lines and codes"));
    }
    if checkout.attempts.len() > ATTEMPTS_MAX {
        return Err(malformed("more payment attempts than may be tried"));
    }
    if checkout.quote.lines.len() != checkout.lines.len() || checkout.quote.currency != checkout.currency {
        return Err(malformed("a quote of something else"));
    }
    let attempts = checkout.attempts.len();
    let known = |hold: &Hold| match hold.state {
        HoldState::Pinned { attempt } => (1..=attempts).contains(&(attempt as usize)),
        _ => true,
    };
    if !checkout.holds.iter().all(known) {
        return Err(malformed("a hold of an attempt that was not made"));
    }
    let unnamed = |attempt: &Attempt| attempt.undo == Undo::Void && attempt.reference.is_none();
    if checkout.attempts.iter().any(unnamed) {
        return Err(malformed("money to give back of a payment without a name"));
    }
    let last = checkout.attempts.last();
    let is_whole = match checkout.phase {
        Phase::Authorising { .. } => last.is_some_and(|last| last.token.is_some()),
        Phase::Committing | Phase::Placing | Phase::Settling => {
            last.is_some_and(|last| last.state == AttemptState::Approved && last.reference.is_some())
        }
        Phase::Pinning | Phase::RequiresAction | Phase::Abandoning => last.is_some(),
        _ => true,
    };
    let is_told = checkout.email.is_some() && checkout.address.is_some();
    let pays = matches!(checkout.visible_status(), Status::Completing | Status::RequiresAction);
    if !is_whole || (pays && !is_told) {
        return Err(malformed("a phase without what it needs"));
    }
    Ok(())
}

pub(super) fn currency(bytes: [u8; 3]) -> Result<Currency, DecodeError> {
    let text = std::str::from_utf8(&bytes).map_err(|_| malformed("the currency is no text"))?;
    Currency::parse(text).map_err(|_| malformed("the currency is no ISO 4217 code"))
}

pub(super) fn text(text: Option<String>) -> Option<Box<str>> {
    text.map(String::into_boxed_str)
}

fn texts(texts: Vec<String>) -> Vec<Box<str>> {
    texts.into_iter().map(String::into_boxed_str).collect()
}

fn pairs(pairs: Vec<(String, String)>) -> Box<[(Box<str>, Box<str>)]> {
    pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}

pub(super) fn lines(lines: Vec<BoughtV1>) -> Result<Vec<CheckoutLine>, DecodeError> {
    if !(1..=LINES_MAX).contains(&lines.len()) {
        return Err(malformed("no lines, or more than a cart may hold"));
    }
    lines.into_iter().map(CheckoutLine::try_from).collect()
}

pub(super) fn codes(codes: Vec<RuleV1>) -> Result<Vec<Rule>, DecodeError> {
    if codes.len() > CODES_MAX {
        return Err(malformed("more codes than a cart takes"));
    }
    codes.into_iter().map(Rule::try_from).collect()
}

pub(super) fn token(token: String) -> Result<Token, DecodeError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(malformed("a token that no gateway gives"));
    }
    Ok(Token(token.into()))
}

impl From<OwnerV1> for Owner {
    fn from(v1: OwnerV1) -> Self {
        match v1 {
            OwnerV1::Guest(id) => Self::Guest(GuestId(Id(id))),
        }
    }
}

impl TryFrom<BoughtV1> for CheckoutLine {
    type Error = DecodeError;

    fn try_from(v1: BoughtV1) -> Result<Self, DecodeError> {
        if v1.quantity == 0 {
            return Err(malformed("a line of no units"));
        }
        Ok(Self {
            line: Line {
                id: LineId(v1.line),
                sku: v1.sku.into(),
                title: v1.title.into(),
                quantity: v1.quantity,
                quantity_max: v1.quantity_max,
                unit_price: v1.unit_price,
                options: pairs(v1.options),
                metadata: pairs(v1.metadata),
            },
            categories: texts(v1.categories),
            weight_g: v1.weight_g,
            stock_initial: v1.stock_initial,
        })
    }
}

impl TryFrom<RuleV1> for Rule {
    type Error = DecodeError;

    fn try_from(v1: RuleV1) -> Result<Self, DecodeError> {
        Ok(Self {
            code: v1.code.into(),
            worth: match v1.worth {
                WorthV1::Percent(basis_points) => Worth::Percent { basis_points },
                WorthV1::Fixed(amount) => Worth::Fixed { amount },
                WorthV1::FreeShipping => Worth::FreeShipping,
            },
            currency: currency(v1.currency)?,
            per_line: v1.per_line,
            categories: texts(v1.categories),
            minimum: v1.minimum,
            valid_from: v1.valid_from.map(UnixMillis),
            valid_until: v1.valid_until.map(UnixMillis),
            uses_max: v1.uses_max,
            uses_per_shopper_max: v1.uses_per_shopper_max,
        })
    }
}

impl TryFrom<QuoteV1> for Quote {
    type Error = DecodeError;

    fn try_from(v1: QuoteV1) -> Result<Self, DecodeError> {
        let priced = v1.lines.into_iter().map(|priced| Priced {
            line: LineId(priced.line),
            subtotal: priced.subtotal,
            discount: priced.discount,
            tax: priced.tax,
        });
        let offers = v1.offers.into_iter().map(|offer| Offer {
            id: offer.id.into(),
            title: offer.title.into(),
            price: offer.price,
        });
        let discounts = v1.discounts.into_iter().map(|(code, amount)| Discounted { code: code.into(), amount });
        Ok(Self {
            currency: currency(v1.currency)?,
            lines: priced.collect(),
            discounts: discounts.collect(),
            offers: offers.collect(),
            option: text(v1.option),
            subtotal: v1.subtotal,
            discount: v1.discount,
            shipping: v1.shipping,
            tax: v1.tax,
            tax_included: v1.tax_included,
            total: v1.total,
        })
    }
}

impl TryFrom<AddressV1> for Address {
    type Error = DecodeError;

    fn try_from(v1: AddressV1) -> Result<Self, DecodeError> {
        let country = std::str::from_utf8(&v1.country).ok().and_then(Country::parse);
        Ok(Self {
            name: v1.name.into(),
            line1: v1.line1.into(),
            line2: text(v1.line2),
            city: v1.city.into(),
            region: text(v1.region),
            postal_code: v1.postal_code.into(),
            country: country.ok_or_else(|| malformed("the country is no ISO 3166-1 code"))?,
        })
    }
}

impl From<HoldV1> for Hold {
    fn from(v1: HoldV1) -> Self {
        Self {
            what: match v1.what {
                WhatV1::Stock { sku, initial, quantity } => What::Stock { sku: sku.into(), initial, quantity },
                WhatV1::Code(code) => What::Code { code: code.into() },
            },
            state: match v1.state {
                HoldStateV1::Wanted => HoldState::Wanted,
                HoldStateV1::Refused => HoldState::Refused,
                HoldStateV1::Held(until) => HoldState::Held { until: UnixMillis(until) },
                HoldStateV1::Pinned(attempt) => HoldState::Pinned { attempt },
                HoldStateV1::Committed => HoldState::Committed,
                HoldStateV1::Released => HoldState::Released,
                HoldStateV1::Forgotten => HoldState::Forgotten,
            },
            lack: v1.lack.map(|lack| match lack {
                LackV1::Stock(available) => Lack::Stock { available },
                LackV1::Code(reason) => Lack::Code { reason: reason.into() },
            }),
            once: v1.once,
        }
    }
}

impl TryFrom<AttemptV1> for Attempt {
    type Error = DecodeError;

    fn try_from(v1: AttemptV1) -> Result<Self, DecodeError> {
        Ok(Self {
            gateway: v1.gateway.into(),
            token: v1.token.map(token).transpose()?,
            amount: v1.amount,
            started_at: UnixMillis(v1.started_at),
            hold_until: UnixMillis(v1.hold_until),
            round: v1.round,
            reference: text(v1.reference),
            state: match v1.state {
                AttemptStateV1::Pending => AttemptState::Pending,
                AttemptStateV1::ActionRequired(url) => AttemptState::ActionRequired { url: url.into() },
                AttemptStateV1::Approved => AttemptState::Approved,
                AttemptStateV1::Declined(reason) => AttemptState::Declined { reason: reason.into() },
                AttemptStateV1::Unavailable => AttemptState::Unavailable,
                AttemptStateV1::Abandoned => AttemptState::Abandoned,
            },
            undo: match v1.undo {
                UndoV1::Nothing => Undo::Nothing,
                UndoV1::Abandon => Undo::Abandon,
                UndoV1::Void => Undo::Void,
                UndoV1::Voided => Undo::Voided,
                UndoV1::VoidRefused => Undo::VoidRefused,
            },
        })
    }
}

const fn undone(v1: UndoneV1) -> Undone {
    match v1 {
        UndoneV1::Cancelled => Undone::Cancelled,
        UndoneV1::Expired => Undone::Expired,
        UndoneV1::Refused => Undone::Refused,
    }
}

const fn end(v1: EndV1) -> End {
    match v1 {
        EndV1::Completed => End::Completed,
        EndV1::Undone(of) => End::Undone(undone(of)),
    }
}

impl From<PhaseV1> for Phase {
    fn from(v1: PhaseV1) -> Self {
        match v1 {
            PhaseV1::Holding => Self::Holding,
            PhaseV1::Open => Self::Open,
            PhaseV1::Pinning => Self::Pinning,
            PhaseV1::Authorising(until) => Self::Authorising { until: UnixMillis(until) },
            PhaseV1::RequiresAction => Self::RequiresAction,
            PhaseV1::Abandoning => Self::Abandoning,
            PhaseV1::Committing => Self::Committing,
            PhaseV1::Placing => Self::Placing,
            PhaseV1::Settling => Self::Settling,
            PhaseV1::Releasing(of) => Self::Releasing(undone(of)),
            PhaseV1::LettingGo(of) => Self::LettingGo(undone(of)),
            PhaseV1::Remembering(of) => Self::Remembering(end(of)),
            PhaseV1::Forgetting(of) => Self::Forgetting(end(of)),
            PhaseV1::Ended(of) => Self::Ended(end(of)),
        }
    }
}
