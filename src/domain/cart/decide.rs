//! Decides what a command does to a cart.

use super::{
    CHECKOUT_BYTES_MAX, CODES_MAX, LINES_MAX,
    command::{Addition, Command, SetQuantity},
    event::{Change, Event},
    refusal::Refusal,
    state::{Cart, Line, LineId, Status},
};
use crate::domain::{CheckoutId, Context, discount::Rule, product::UNIT_PRICE_MAX};

/// Decides the events that `command` causes, or why the cart refuses it. No event = nothing to change.
///
/// # Errors
/// The [`Refusal`]; it had no effect.
pub fn decide(cart: Option<&Cart>, command: &Command, context: &Context) -> Result<Vec<Event>, Refusal> {
    let change = match (cart, command) {
        (None, Command::Create { id, owner, currency }) => {
            Some(Change::Created { id: *id, owner: *owner, currency: *currency })
        }
        (None, _) => return Err(Refusal::NotFound),
        (Some(cart), command) => {
            if context.by.is_some_and(|by| by != cart.owner) {
                return Err(Refusal::NotFound);
            }
            if let Some(seen) = context.if_revision
                && seen != cart.revision
            {
                return Err(Refusal::RevisionMismatch { present: cart.revision });
            }
            match cart.status {
                Status::Open | Status::CheckingOut => open(cart, command, context)?,
                ended @ (Status::Closed | Status::Expired | Status::Ordered) => match command {
                    Command::Close | Command::Expire => None,
                    // Told late or twice by a checkout that the cart is done with.
                    Command::Opened { .. } | Command::Settle { .. } | Command::LetGo { .. } => None,
                    _ => return Err(Refusal::NotOpen(ended)),
                },
            }
        }
    };
    let event = |change| Event {
        at: context.now,
        expires_at: match (&change, cart) {
            (Change::Expired | Change::Closed | Change::CheckoutOpened, Some(cart)) => cart.expires_at,
            _ => context.now.plus_ms(context.expire_after_ms),
        },
        change,
    };
    Ok(change.map(event).into_iter().collect())
}

fn open(cart: &Cart, command: &Command, context: &Context) -> Result<Option<Change>, Refusal> {
    Ok(match command {
        Command::Create { id, owner, .. } if *id == cart.id && *owner == cart.owner => None,
        Command::Create { .. } => return Err(Refusal::NotFound),
        Command::Add(addition) => Some(add(cart, addition)?),
        Command::SetQuantity(set) => set_quantity(cart, *set)?,
        Command::Remove(id) => {
            let known = cart.lines.iter().chain(&cart.saved).any(|line| line.id == *id);
            Some(known.then_some(Change::LineRemoved(*id)).ok_or(Refusal::LineNotFound(*id))?)
        }
        Command::Clear => (!cart.lines.is_empty()).then_some(Change::Cleared),
        Command::Save(id) => {
            find(&cart.lines, *id)?;
            Some(Change::LineSaved(*id))
        }
        Command::Restore(id) => Some(restore(cart, *id)?),
        Command::Patch { note, email } => {
            let note = note.clone().filter(|note| *note != cart.note);
            let email = email.clone().filter(|email| *email != cart.email);
            (note.is_some() || email.is_some()).then_some(Change::Patched { note, email })
        }
        Command::ApplyCode(rule) => apply_code(cart, rule, context)?,
        Command::RemoveCode(code) => {
            let known = cart.codes.iter().any(|rule| rule.code == *code);
            Some(known.then(|| Change::CodeRemoved(code.clone())).ok_or(Refusal::CodeNotFound)?)
        }
        Command::Begin { checkout, prices } => begin(cart, *checkout, prices)?,
        Command::Opened { checkout } => {
            let waits = cart.checkout.as_ref().is_some_and(|present| present.id == *checkout && !present.opened);
            waits.then_some(Change::CheckoutOpened)
        }
        Command::Settle { checkout, bought } => {
            is_in(cart, *checkout).then(|| Change::Settled { bought: bought.clone() })
        }
        Command::LetGo { checkout } => is_in(cart, *checkout).then_some(Change::CheckoutLeft),
        Command::Close if cart.checkout.is_some() => return Err(Refusal::NotOpen(Status::CheckingOut)),
        Command::Close => Some(Change::Closed),
        // A cart in checkout waits for its checkout, which has an expiry of its own.
        Command::Expire => (cart.checkout.is_none() && context.now >= cart.expires_at).then_some(Change::Expired),
    })
}

fn add(cart: &Cart, addition: &Addition) -> Result<Change, Refusal> {
    if addition.currency != cart.currency {
        return Err(Refusal::CurrencyMismatch { cart: cart.currency, product: addition.currency });
    }
    let Addition { sku, title, unit_price, quantity, quantity_max, options, metadata, .. } = addition;
    let joined = cart.lines.iter().find(|line| line.joins(sku, options, metadata));
    let had = joined.map_or(0, |line| line.quantity);
    within(units_of(cart, sku) + u32::from(*quantity), *quantity_max)?;
    let quantity = within(u32::from(had) + u32::from(*quantity), *quantity_max)?;
    fits(cart, joined, *unit_price, quantity)?;
    if let Some(line) = joined {
        return Ok(Change::LineJoined {
            line: line.id,
            quantity,
            quantity_max: *quantity_max,
            unit_price: *unit_price,
            title: title.clone(),
        });
    }
    if cart.line_count() >= LINES_MAX {
        return Err(Refusal::TooManyLines { max: LINES_MAX });
    }
    Ok(Change::LineAdded(Line {
        id: LineId(cart.line_next),
        sku: sku.clone(),
        title: title.clone(),
        quantity,
        quantity_max: *quantity_max,
        unit_price: *unit_price,
        options: options.clone(),
        metadata: metadata.clone(),
    }))
}

fn set_quantity(cart: &Cart, set: SetQuantity) -> Result<Option<Change>, Refusal> {
    let SetQuantity { line: id, quantity } = set;
    let line = find(&cart.lines, id)?;
    if quantity == 0 {
        return Ok(Some(Change::LineRemoved(id)));
    }
    // Lines above a limit that the shop lowered since may shrink, never grow.
    let present = units_of(cart, &line.sku);
    if quantity > line.quantity {
        within(present - u32::from(line.quantity) + u32::from(quantity), line.quantity_max)?;
    }
    fits(cart, Some(line), line.unit_price, quantity)?;
    Ok((quantity != line.quantity).then_some(Change::QuantitySet { line: id, quantity }))
}

fn restore(cart: &Cart, id: LineId) -> Result<Change, Refusal> {
    let saved = find(&cart.saved, id)?;
    let equal = cart.lines.iter().find(|line| line.joins(&saved.sku, &saved.options, &saved.metadata));
    let max = equal.map_or(saved.quantity_max, |into| into.quantity_max);
    let present = units_of(cart, &saved.sku);
    if present > 0 {
        within(present + u32::from(saved.quantity), max)?;
    }
    let Some(into) = equal else {
        fits(cart, None, saved.unit_price, saved.quantity)?;
        return Ok(Change::LineRestored(id));
    };
    let quantity = within(u32::from(into.quantity) + u32::from(saved.quantity), into.quantity_max)?;
    if cart.checkout.is_some() {
        // A line that may be bought keeps its name, by which it is taken out once it is bought.
        fits(cart, None, saved.unit_price, saved.quantity)?;
        return Ok(Change::LineRestored(id));
    }
    fits(cart, Some(into), into.unit_price, quantity)?;
    Ok(Change::LineRejoined { line: id, into: into.id, quantity })
}

fn apply_code(cart: &Cart, rule: &Rule, context: &Context) -> Result<Option<Change>, Refusal> {
    rule.is_valid(cart.currency, context.now).map_err(Refusal::CodeNotApplicable)?;
    let present = cart.codes.iter().find(|present| present.code == rule.code);
    if present.is_none() && cart.codes.len() >= CODES_MAX {
        return Err(Refusal::TooManyCodes { max: CODES_MAX });
    }
    Ok((present != Some(rule)).then(|| Change::CodeApplied(rule.clone())))
}

fn begin(cart: &Cart, checkout: CheckoutId, accepted: &[(LineId, i64)]) -> Result<Option<Change>, Refusal> {
    if cart.checkout.is_some() {
        return Ok(None);
    }
    if cart.lines.is_empty() {
        return Err(Refusal::Empty);
    }
    let price =
        |line: &Line| accepted.iter().find(|(id, _)| *id == line.id).map_or(line.unit_price, |(_, price)| *price);
    let total = cart.lines.iter().map(|line| i128::from(price(line)) * i128::from(line.quantity)).sum::<i128>();
    let are_prices = cart.lines.iter().all(|line| (0..=UNIT_PRICE_MAX).contains(&price(line)));
    if !are_prices || i64::try_from(total).is_err() {
        return Err(Refusal::TotalTooLarge);
    }
    let weigh = |lines: &[Line]| lines.iter().map(Line::weight_bytes).sum::<usize>();
    if 2 * weigh(&cart.lines) + weigh(&cart.saved) > CHECKOUT_BYTES_MAX {
        return Err(Refusal::LinesTooLarge);
    }
    let changed = cart.lines.iter().filter(|line| price(line) != line.unit_price);
    Ok(Some(Change::CheckoutBegun { checkout, prices: changed.map(|line| (line.id, price(line))).collect() }))
}

fn is_in(cart: &Cart, checkout: CheckoutId) -> bool {
    cart.checkout.as_ref().is_some_and(|present| present.id == checkout)
}

fn find(lines: &[Line], id: LineId) -> Result<&Line, Refusal> {
    lines.iter().find(|line| line.id == id).ok_or(Refusal::LineNotFound(id))
}

/// Units of a product in the cart, in whatever choice of options and with whatever metadata: of its limit, which is a cart's,
/// each line takes a part.
fn units_of(cart: &Cart, sku: &str) -> u32 {
    cart.lines.iter().filter(|line| *line.sku == *sku).map(|line| u32::from(line.quantity)).sum()
}

fn within(requested: u32, max: u16) -> Result<u16, Refusal> {
    u16::try_from(requested)
        .ok()
        .filter(|quantity| *quantity <= max)
        .ok_or(Refusal::QuantityOutOfRange { requested, max })
}

/// Whether the total still fits in 64 bits once `replaced` (or a new line) has this price and quantity.
fn fits(cart: &Cart, replaced: Option<&Line>, unit_price: i64, quantity: u16) -> Result<(), Refusal> {
    let others = cart.lines.iter().filter(|line| replaced.is_none_or(|replaced| replaced.id != line.id));
    let of = |price: i64, quantity: u16| i128::from(price) * i128::from(quantity);
    let total = of(unit_price, quantity) + others.map(|line| of(line.unit_price, line.quantity)).sum::<i128>();
    i64::try_from(total).map(|_| ()).map_err(|_| Refusal::TotalTooLarge)
}
