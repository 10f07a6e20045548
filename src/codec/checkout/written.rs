//! From a checkout to its frozen bytes.

use super::frozen::{
    AddressV1, AttemptStateV1, AttemptV1, BoughtV1, CheckoutV1, EndV1, HoldStateV1, HoldV1, LackV1, OfferV1, OwnerV1,
    PhaseV1, PricedV1, QuoteV1, RuleV1, UndoV1, UndoneV1, WhatV1, WorthV1,
};
use crate::domain::{
    GuestId,
    address::Address,
    cart::Owner,
    checkout::{
        Attempt, AttemptState, Checkout, CheckoutLine, Email, End, Hold, HoldState, Lack, Phase, Undo, Undone, What,
    },
    discount::{Rule, Worth},
    pricing::Quote,
};

impl From<&Checkout> for CheckoutV1 {
    fn from(checkout: &Checkout) -> Self {
        Self {
            id: checkout.id.0.0,
            revision: checkout.revision,
            cart: checkout.cart.0.0,
            owner: checkout.owner.into(),
            currency: checkout.currency.bytes(),
            lines: checkout.lines.iter().map(BoughtV1::from).collect(),
            codes: checkout.codes.iter().map(RuleV1::from).collect(),
            quote: (&checkout.quote).into(),
            email: email(checkout.email.as_ref()),
            address: checkout.address.as_ref().map(AddressV1::from),
            option: text(checkout.option.as_deref()),
            holds: checkout.holds.iter().map(HoldV1::from).collect(),
            phase: checkout.phase.into(),
            attempts: checkout.attempts.iter().map(AttemptV1::from).collect(),
            ttl_ms: checkout.ttl_ms,
            created_at: checkout.created_at.0,
            updated_at: checkout.updated_at.0,
            expires_at: checkout.expires_at.0,
            expires_at_max: checkout.expires_at_max.0,
        }
    }
}

pub(super) fn text(text: Option<&str>) -> Option<String> {
    text.map(str::to_owned)
}

pub(super) fn email(email: Option<&Email>) -> Option<String> {
    email.map(|Email(email)| email.to_string())
}

fn texts(texts: &[Box<str>]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

fn pairs(pairs: &[(Box<str>, Box<str>)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

impl From<Owner> for OwnerV1 {
    fn from(owner: Owner) -> Self {
        match owner {
            Owner::Guest(GuestId(id)) => Self::Guest(id.0),
        }
    }
}

impl From<&CheckoutLine> for BoughtV1 {
    fn from(bought: &CheckoutLine) -> Self {
        let line = &bought.line;
        Self {
            line: line.id.0,
            sku: line.sku.to_string(),
            title: line.title.to_string(),
            quantity: line.quantity,
            quantity_max: line.quantity_max,
            unit_price: line.unit_price,
            options: pairs(&line.options),
            metadata: pairs(&line.metadata),
            categories: texts(&bought.categories),
            weight_g: bought.weight_g,
            stock_initial: bought.stock_initial,
        }
    }
}

impl From<&Rule> for RuleV1 {
    fn from(rule: &Rule) -> Self {
        Self {
            code: rule.code.to_string(),
            worth: match rule.worth {
                Worth::Percent { basis_points } => WorthV1::Percent(basis_points),
                Worth::Fixed { amount } => WorthV1::Fixed(amount),
                Worth::FreeShipping => WorthV1::FreeShipping,
            },
            currency: rule.currency.bytes(),
            per_line: rule.per_line,
            categories: texts(&rule.categories),
            minimum: rule.minimum,
            valid_from: rule.valid_from.map(|at| at.0),
            valid_until: rule.valid_until.map(|at| at.0),
            uses_max: rule.uses_max,
            uses_per_shopper_max: rule.uses_per_shopper_max,
        }
    }
}

impl From<&Quote> for QuoteV1 {
    fn from(quote: &Quote) -> Self {
        let priced = quote.lines.iter().map(|priced| PricedV1 {
            line: priced.line.0,
            subtotal: priced.subtotal,
            discount: priced.discount,
            tax: priced.tax,
        });
        let offers = quote.offers.iter().map(|offer| OfferV1 {
            id: offer.id.to_string(),
            title: offer.title.to_string(),
            price: offer.price,
        });
        Self {
            currency: quote.currency.bytes(),
            lines: priced.collect(),
            discounts: quote.discounts.iter().map(|taken| (taken.code.to_string(), taken.amount)).collect(),
            offers: offers.collect(),
            option: text(quote.option.as_deref()),
            subtotal: quote.subtotal,
            discount: quote.discount,
            shipping: quote.shipping,
            tax: quote.tax,
            tax_included: quote.tax_included,
            total: quote.total,
        }
    }
}

impl From<&Address> for AddressV1 {
    fn from(address: &Address) -> Self {
        Self {
            name: address.name.to_string(),
            line1: address.line1.to_string(),
            line2: text(address.line2.as_deref()),
            city: address.city.to_string(),
            region: text(address.region.as_deref()),
            postal_code: address.postal_code.to_string(),
            country: address.country.bytes(),
        }
    }
}

impl From<&Hold> for HoldV1 {
    fn from(hold: &Hold) -> Self {
        Self {
            what: match &hold.what {
                What::Stock { sku, initial, quantity } => {
                    WhatV1::Stock { sku: sku.to_string(), initial: *initial, quantity: *quantity }
                }
                What::Code { code } => WhatV1::Code(code.to_string()),
            },
            state: match hold.state {
                HoldState::Wanted => HoldStateV1::Wanted,
                HoldState::Refused => HoldStateV1::Refused,
                HoldState::Held { until } => HoldStateV1::Held(until.0),
                HoldState::Pinned { attempt } => HoldStateV1::Pinned(attempt),
                HoldState::Committed => HoldStateV1::Committed,
                HoldState::Released => HoldStateV1::Released,
                HoldState::Forgotten => HoldStateV1::Forgotten,
            },
            lack: hold.lack.as_ref().map(|lack| match lack {
                Lack::Stock { available } => LackV1::Stock(*available),
                Lack::Code { reason } => LackV1::Code(reason.to_string()),
            }),
            once: hold.once,
        }
    }
}

impl From<&Attempt> for AttemptV1 {
    fn from(attempt: &Attempt) -> Self {
        Self {
            gateway: attempt.gateway.to_string(),
            token: attempt.token.as_ref().map(|token| token.0.to_string()),
            amount: attempt.amount,
            started_at: attempt.started_at.0,
            hold_until: attempt.hold_until.0,
            round: attempt.round,
            reference: text(attempt.reference.as_deref()),
            state: match &attempt.state {
                AttemptState::Pending => AttemptStateV1::Pending,
                AttemptState::ActionRequired { url } => AttemptStateV1::ActionRequired(url.to_string()),
                AttemptState::Approved => AttemptStateV1::Approved,
                AttemptState::Declined { reason } => AttemptStateV1::Declined(reason.to_string()),
                AttemptState::Unavailable => AttemptStateV1::Unavailable,
                AttemptState::Abandoned => AttemptStateV1::Abandoned,
            },
            undo: match attempt.undo {
                Undo::Nothing => UndoV1::Nothing,
                Undo::Abandon => UndoV1::Abandon,
                Undo::Void => UndoV1::Void,
                Undo::Voided => UndoV1::Voided,
                Undo::VoidRefused => UndoV1::VoidRefused,
            },
        }
    }
}

const fn undone(undone: Undone) -> UndoneV1 {
    match undone {
        Undone::Cancelled => UndoneV1::Cancelled,
        Undone::Expired => UndoneV1::Expired,
        Undone::Refused => UndoneV1::Refused,
    }
}

const fn end(end: End) -> EndV1 {
    match end {
        End::Completed => EndV1::Completed,
        End::Undone(end) => EndV1::Undone(undone(end)),
    }
}

impl From<Phase> for PhaseV1 {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Holding => Self::Holding,
            Phase::Open => Self::Open,
            Phase::Pinning => Self::Pinning,
            Phase::Authorising { until } => Self::Authorising(until.0),
            Phase::RequiresAction => Self::RequiresAction,
            Phase::Abandoning => Self::Abandoning,
            Phase::Committing => Self::Committing,
            Phase::Placing => Self::Placing,
            Phase::Settling => Self::Settling,
            Phase::Releasing(of) => Self::Releasing(undone(of)),
            Phase::LettingGo(of) => Self::LettingGo(undone(of)),
            Phase::Remembering(of) => Self::Remembering(end(of)),
            Phase::Forgetting(of) => Self::Forgetting(end(of)),
            Phase::Ended(of) => Self::Ended(end(of)),
        }
    }
}
