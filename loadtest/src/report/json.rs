//! The report for scripts.

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use super::{Report, ms, percentiles};

/// The whole report; times are milliseconds save where a name says otherwise.
#[must_use]
pub fn render(report: &Report) -> Value {
    let (measured, audit) = (&report.measured, &report.audit);
    let seconds: Vec<_> = measured
        .seconds
        .iter()
        .enumerate()
        .map(|(second, of)| {
            json!({
                "second": second, "requests": of.requests, "good": of.good, "answered": of.answered,
                "first_try_failed": of.first_try_failed, "latency_ms": latency(&of.latency_us),
            })
        })
        .collect();
    let operations: Map<_, _> =
        measured.operations.iter().map(|(name, us)| ((*name).to_owned(), operation(us))).collect();
    let faults: Vec<_> = report
        .faults
        .iter()
        .map(|fault| {
            let answered_s = fault.answered.map(|at| at.as_secs_f64());
            json!({ "at_s": fault.at.as_secs_f64(), "command": fault.command, "answered_s": answered_s, "answer": fault.answer })
        })
        .collect();
    let verdicts: Vec<_> = report
        .verdicts
        .iter()
        .map(|verdict| json!({ "objective": verdict.objective, "found": verdict.found, "kept": verdict.is_kept }))
        .collect();
    json!({
        "scenario": report.scenario,
        "arrivals": report.arrivals(),
        "seed": report.schedule.seed,
        "nodes": report.nodes,
        "took_s": report.took.as_secs_f64(),
        "rate": report.rate(),
        "requests": measured.requests,
        "good": measured.good,
        "good_percent": report.share(measured.good),
        "first_try_good": measured.first_try_good,
        "first_try_percent": report.share(measured.first_try_good),
        "first_try_refusals": measured.first_try,
        "first_try_refusals_without_effect": measured.first_try_none,
        "failed": measured.failed,
        "unknown": measured.unknown,
        "wrong": measured.wrong,
        "latency_ms": latency(&measured.latency_us),
        "operations": operations,
        "others": {
            "requests": measured.others.requests, "good": measured.others.good, "latency_ms": latency(&measured.others.latency_us),
        },
        "generator": {
            "arrivals": measured.arrivals + measured.dropped, "dropped": measured.dropped, "lag_ms": latency(&measured.lag_us),
        },
        "ledger": {
            "carts": audit.carts, "acknowledged": audit.acknowledged, "lost": audit.lost, "doubled": audit.doubled,
            "maybe": audit.maybe, "unread": audit.unread, "told": audit.told,
        },
        "purchases": report.reconciled.as_ref().map(|found| json!({
            "checkouts": found.checkouts, "left": found.left, "orders": found.orders, "acknowledged": found.acknowledged, "units": found.units,
            "money": found.money, "declined": found.declined, "lost": found.lost, "oversold": found.oversold, "double_charged": found.double_charged,
            "orders_without_payment": found.unpaid, "payments_without_order": found.orphaned, "held": found.held,
            "stock_differs": found.differs, "ended_otherwise": found.misended, "not_served": found.unserved, "unread": found.unread, "told": found.told,
        })),
        "faults": faults,
        "objectives": verdicts,
        "seconds": seconds,
    })
}

fn latency(us: &Histogram<u64>) -> Value {
    percentiles(us).into_iter().map(|(name, ms)| (name.to_owned(), json!(ms))).collect::<Map<_, _>>().into()
}

fn operation(us: &Histogram<u64>) -> Value {
    json!({ "requests": us.len(), "mean_ms": us.mean() / 1000.0, "min_ms": ms(us.min()), "latency_ms": latency(us) })
}
