//! Decides what a command does to an order.

use std::collections::BTreeMap;

use super::{
    DEEDS_MAX, REMEMBER_MS, SHIPMENTS_MAX,
    command::Command,
    deed::{DeedState, Done, Origin, Step, Work},
    event::{Change, Event},
    pending::wake_at,
    placement::{Capture, Placement},
    refusal::{Action, Refusal},
    state::{Cause, Line, Order},
};
use crate::domain::{
    CheckoutId, Context, UnixMillis,
    cart::{LineId, Owner},
};

/// What happened, and the deeds that it adds.
type Decided = Vec<(Change, Vec<Work>)>;

/// Decides the events that `command` causes, or why the order refuses it. No event = nothing to change.
///
/// # Errors
/// The [`Refusal`]; it had no effect.
pub fn decide(order: Option<&Order>, command: &Command, context: &Context) -> Result<Vec<Event>, Refusal> {
    let decided = match (order, command) {
        (None, Command::Place(placement)) => place(placement)?,
        (None, _) => return Err(Refusal::NotFound),
        (Some(order), Command::Place(placement)) => again(order, placement.checkout, placement.owner)?,
        (Some(order), Command::Done { step, done, once }) => settle(order, *step, done, *once),
        (Some(order), Command::Wake) => wake(order, context.now),
        (Some(order), command) => {
            if context.by.is_some_and(|by| by != order.owner) {
                return Err(Refusal::NotFound);
            }
            if let Some(seen) = context.if_revision
                && seen != order.revision
            {
                return Err(Refusal::RevisionMismatch { present: order.revision });
            }
            asked(order, command, context.by)?
        }
    };
    Ok(decided.into_iter().map(|(change, wants)| Event { at: context.now, change, wants }).collect())
}

fn asked(order: &Order, command: &Command, by: Option<Owner>) -> Result<Decided, Refusal> {
    let is_the_shops = matches!(
        command,
        Command::Capture | Command::Fulfil { .. } | Command::Refund { .. } | Command::LearnRefunded { .. }
    );
    if by.is_some() && is_the_shops {
        return Err(Refusal::ShopOnly);
    }
    match command {
        Command::Capture => capture(order),
        Command::Fulfil { lines, carrier, label } => fulfil(order, lines, carrier.clone(), label.clone()),
        Command::Cancel { reason } => {
            let cause = if by.is_some() { Cause::Shopper } else { Cause::Shop };
            cancel(order, cause, reason.clone())
        }
        Command::Return { lines } => take_back(order, lines),
        Command::Refund { amount } => refund(order, *amount),
        Command::LearnRefunded { captured, refunded } => learn_refunded(order, *captured, *refunded),
        // Decided before.
        Command::Place(_) | Command::Done { .. } | Command::Wake => Ok(Vec::new()),
    }
}

fn place(placement: &Placement) -> Result<Decided, Refusal> {
    placement.check().map_err(|_| Refusal::Inconsistent)?;
    let amount = placement.quote.total;
    let takes_money = placement.capture == Capture::AtOrder && amount > 0;
    let wants = takes_money.then_some(Work::Capture { amount }).into_iter().collect();
    Ok(vec![(Change::Placed(Box::new(placement.clone())), wants)])
}

fn again(order: &Order, checkout: CheckoutId, owner: Owner) -> Result<Decided, Refusal> {
    if order.checkout() == checkout && order.owner == owner { Ok(Vec::new()) } else { Err(Refusal::NotFound) }
}

fn capture(order: &Order) -> Result<Decided, Refusal> {
    if order.cancelled.is_some() {
        return Err(illegal(order, Action::Capture));
    }
    if order.is_paid() || order.is_capturing() {
        return Ok(Vec::new());
    }
    Ok(vec![(Change::CaptureAsked, vec![Work::Capture { amount: order.totals.total }])])
}

fn fulfil(
    order: &Order,
    lines: &[(LineId, u16)],
    carrier: Option<Box<str>>,
    label: Option<Box<str>>,
) -> Result<Decided, Refusal> {
    let leaves = order.is_paid();
    if order.cancelled.is_some() || (!leaves && order.capture == Capture::AtOrder) {
        return Err(illegal(order, Action::Fulfil));
    }
    let left = |line: &Line| line.bought.quantity.saturating_sub(line.fulfilled + order.waiting(line.bought.line));
    let lines = chosen(order, lines, left)?;
    if order.shipments.len() >= SHIPMENTS_MAX {
        return Err(Refusal::TooManyShipments { max: SHIPMENTS_MAX });
    }
    has_room(order)?;
    let wants = match leaves {
        true => ship(order, &lines),
        false if order.is_capturing() => Vec::new(),
        false => vec![Work::Capture { amount: order.totals.total }],
    };
    Ok(vec![(Change::Fulfilled { lines, carrier, label, leaves }, wants)])
}

fn cancel(order: &Order, cause: Cause, reason: Option<Box<str>>) -> Result<Decided, Refusal> {
    if order.cancelled.is_some() {
        return Ok(Vec::new());
    }
    if order.has_shipped() {
        return Err(illegal(order, Action::Cancel));
    }
    // While the money is being taken nobody knows whether to void or to refund: its answer will tell.
    let mut wants = if order.is_capturing() { Vec::new() } else { give_back(order, order.payment.captured) };
    wants.extend(restock(order, &everything(order), Origin::Sold));
    Ok(vec![(Change::Cancelled { cause, reason }, wants)])
}

/// What gives all the money of a cancelled order back, of which `captured` was taken.
fn give_back(order: &Order, captured: i64) -> Vec<Work> {
    let amount = captured - order.payment.refunded - order.refunding();
    let work = match captured {
        0 => (order.payment.authorised > 0).then_some(Work::Void),
        _ => (amount > 0).then_some(Work::Refund { amount }),
    };
    work.into_iter().collect()
}

fn take_back(order: &Order, lines: &[(LineId, u16)]) -> Result<Decided, Refusal> {
    if order.cancelled.is_some() || !order.has_shipped() {
        return Err(illegal(order, Action::Return));
    }
    let lines = chosen(order, lines, |line| line.fulfilled - line.returned)?;
    has_room(order)?;
    let included = order.totals.tax_included;
    let share = |(id, units): &(LineId, u16)| order.line(*id).map_or(0, |line| line.share(*units, included));
    // Money that the shop gave back before, of its own accord, is not given twice.
    let refund = lines.iter().map(share).sum::<i64>().min(order.refundable());
    let mut wants = restock(order, &lines, Origin::Returned);
    if refund > 0 {
        wants.push(Work::Refund { amount: refund });
    }
    Ok(vec![(Change::Returned { lines, refund }, wants)])
}

fn refund(order: &Order, amount: i64) -> Result<Decided, Refusal> {
    if order.payment.captured == 0 {
        return Err(illegal(order, Action::Refund));
    }
    let max = order.refundable();
    if amount < 1 || amount > max {
        return Err(Refusal::RefundOutOfRange { requested: amount, max });
    }
    has_room(order)?;
    Ok(vec![(Change::RefundAsked { amount }, vec![Work::Refund { amount }])])
}

fn learn_refunded(order: &Order, captured: i64, refunded: i64) -> Result<Decided, Refusal> {
    let payment = &order.payment;
    if order.moves_money() || captured > payment.captured {
        return Err(Refusal::Busy);
    }
    let amount = refunded.min(payment.captured) - payment.refunded;
    if amount <= 0 {
        return Ok(Vec::new());
    }
    // The gateway refused to give all of it back, as a part was back already: the rest of what was cancelled goes back too.
    let rest = payment.captured - payment.refunded - amount;
    let owes = order.cancelled.is_some() && rest > 0;
    let wants = owes.then_some(Work::Refund { amount: rest }).into_iter().collect();
    Ok(vec![(Change::RefundLearnt { amount }, wants)])
}

/// What the answer to a deed does. One that comes again, or late, finds nothing pending and does nothing.
fn settle(order: &Order, step: Step, done: &Done, once: bool) -> Decided {
    let (Step::Deed(n) | Step::Forget(n)) = step;
    let Some(deed) = order.deeds.iter().find(|deed| deed.n == n) else { return Vec::new() };
    let settled = |wants| (Change::Settled { n, done: done.clone(), once }, wants);
    match (step, deed.state, deed.work, done) {
        // A stock that will not forget keeps an entry; that is its business.
        (Step::Forget(_), DeedState::Forgetting, ..) => vec![(Change::Forgotten { n }, Vec::new())],
        (Step::Deed(_), DeedState::Wanted, Work::Capture { amount }, Done::Yes) => {
            if order.cancelled.is_some() {
                return vec![settled(give_back(order, order.payment.captured + amount))];
            }
            let waiting = waiting(order);
            let leaves = (!waiting.is_empty()).then(|| (Change::WaitingShipped, ship(order, &waiting)));
            [settled(Vec::new())].into_iter().chain(leaves).collect()
        }
        (Step::Deed(_), DeedState::Wanted, Work::Capture { .. }, Done::Refused { reason }) => {
            let mut wants = give_back(order, order.payment.captured);
            if order.cancelled.is_some() {
                return vec![settled(wants)];
            }
            wants.extend(restock(order, &everything(order), Origin::Sold));
            let change = Change::Cancelled { cause: Cause::CaptureRefused, reason: Some(reason.clone()) };
            vec![settled(Vec::new()), (change, wants)]
        }
        (Step::Deed(_), DeedState::Wanted, ..) => vec![settled(Vec::new())],
        _ => Vec::new(),
    }
}

fn wake(order: &Order, now: UnixMillis) -> Decided {
    if wake_at(order).is_none_or(|at| now < at) {
        return Vec::new();
    }
    let until = UnixMillis(now.0.saturating_sub(REMEMBER_MS));
    vec![(Change::ForgetDue { until }, Vec::new())]
}

fn illegal(order: &Order, action: Action) -> Refusal {
    Refusal::IllegalTransition { status: order.status(), action }
}

fn has_room(order: &Order) -> Result<(), Refusal> {
    if order.deeds.len() >= DEEDS_MAX { Err(Refusal::Busy) } else { Ok(()) }
}

/// The lines that were named, each once, in the order of their names, within what is left of each.
fn chosen(order: &Order, lines: &[(LineId, u16)], left: impl Fn(&Line) -> u16) -> Result<Vec<(LineId, u16)>, Refusal> {
    let mut sums = BTreeMap::<LineId, u32>::new();
    for (id, units) in lines {
        let sum = sums.entry(*id).or_default();
        *sum = sum.saturating_add(u32::from(*units));
    }
    if sums.is_empty() {
        return Err(Refusal::NoLines);
    }
    let within = |(id, requested): (LineId, u32)| {
        let max = left(order.line(id).ok_or(Refusal::LineNotFound(id))?);
        let units = u16::try_from(requested).ok().filter(|units| (1..=max).contains(units));
        units.map(|units| (id, units)).ok_or(Refusal::QuantityOutOfRange { line: id, requested, max })
    };
    sums.into_iter().map(within).collect()
}

fn everything(order: &Order) -> Vec<(LineId, u16)> {
    order.lines.iter().map(|line| (line.bought.line, line.bought.quantity)).collect()
}

/// Everything in the parcels that wait for the money.
fn waiting(order: &Order) -> Vec<(LineId, u16)> {
    let of = |line: &Line| (line.bought.line, order.waiting(line.bought.line));
    order.lines.iter().map(of).filter(|(_, units)| *units > 0).collect()
}

fn ship(order: &Order, lines: &[(LineId, u16)]) -> Vec<Work> {
    by_product(order, lines).map(|(goods, quantity)| Work::Ship { goods, quantity }).collect()
}

fn restock(order: &Order, lines: &[(LineId, u16)], from: Origin) -> Vec<Work> {
    by_product(order, lines).map(|(goods, quantity)| Work::Restock { goods, quantity, from }).collect()
}

/// Units by product: two lines may be of one SKU in two choices of options, whose stock is one. A product is named by the
/// first of the order's lines that is of it.
fn by_product(order: &Order, lines: &[(LineId, u16)]) -> impl Iterator<Item = (LineId, u32)> {
    let mut sums: Vec<(LineId, u32)> = Vec::new();
    for (id, units) in lines {
        let sku = order.line(*id).map(|line| &line.bought.sku);
        let first = order.lines.iter().find(|line| Some(&line.bought.sku) == sku);
        let goods = first.map_or(*id, |line| line.bought.line);
        match sums.iter_mut().find(|(known, _)| *known == goods) {
            Some((_, sum)) => *sum += u32::from(*units),
            None => sums.push((goods, u32::from(*units))),
        }
    }
    sums.into_iter()
}
