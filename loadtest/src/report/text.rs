//! The short summary.

use std::fmt::Write;

use super::{Report, percentiles};
use crate::measure::Classes;

/// The summary, for a terminal.
#[must_use]
pub fn render(report: &Report) -> String {
    let (measured, mut text) = (&report.measured, String::new());
    let nodes = if report.nodes == 1 { "1 node".to_owned() } else { format!("{} nodes", report.nodes) };
    // Writing to a string cannot fail.
    let mut line = |line: std::fmt::Arguments<'_>| {
        let _cannot_fail = writeln!(text, "{line}");
    };
    line(format_args!("{} · {} · {nodes}", report.scenario, report.arrivals()));
    line(format_args!(
        "requests  {} ({:.0} good/s) · good {:.4} % · first try {:.4} %",
        measured.requests,
        report.rate(),
        report.share(measured.good),
        report.share(measured.first_try_good)
    ));
    line(format_args!("latency   {}", milliseconds(&percentiles(&measured.latency_us))));
    let lag = percentiles(&measured.lag_us);
    line(format_args!("generator lag {}", milliseconds(&[lag[0], lag[2], lag[5]])));
    line(format_args!("arrivals  {} · dropped {}", measured.arrivals + measured.dropped, measured.dropped));
    if measured.others.requests > 0 {
        let others = &measured.others;
        let share = others.good as f64 / others.requests as f64 * 100.0;
        let latency = milliseconds(&percentiles(&others.latency_us));
        line(format_args!("others    {} · good {share:.4} % · {latency}", others.requests));
    }
    let mut list = |title: &str, classes: &Classes| {
        if !classes.is_empty() {
            let list: Vec<_> = classes.iter().map(|(class, count)| format!("{class} {count}")).collect();
            line(format_args!("{title}  {}", list.join(" · ")));
        }
    };
    list("first-try refusals", &measured.first_try);
    list("failed in the end", &measured.failed);
    list("WRONG", &measured.wrong);
    for fault in &report.faults {
        let answered = fault.answered.map_or("not answered".to_owned(), |at| {
            format!("answered after {:.1} s: {}", (at - fault.at).as_secs_f64(), fault.answer)
        });
        line(format_args!("fault     {:.1} s {} · {answered}", fault.at.as_secs_f64(), fault.command));
    }
    line(format_args!("ledger    {}", report.audit));
    if let Some(reconciled) = &report.reconciled {
        line(format_args!("purchases {reconciled}"));
        for (name, us) in &measured.operations {
            let [p50, _, p99, ..] = percentiles(us)[..] else { continue };
            line(format_args!("  {name:<16} {:>8} · {}", us.len(), milliseconds(&[p50, p99])));
        }
    }
    for verdict in &report.verdicts {
        line(format_args!("objective {verdict}"));
    }
    text.trim_end().to_owned()
}

fn milliseconds(values: &[(&str, f64)]) -> String {
    let values: Vec<_> = values.iter().map(|(name, ms)| format!("{name} {ms:.2}")).collect();
    format!("{} ms", values.join(" · "))
}
