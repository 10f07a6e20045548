//! The report as one page: no script, nothing from elsewhere.

use std::fmt::Write;

use super::{
    Report, ms, percentiles,
    svg::{Scale, Series, chart, escape},
};
use crate::measure::{Classes, Second};

const STYLE: &str = "
:root { color-scheme: light dark; --soft: color-mix(in srgb, currentColor 55%, transparent); }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1000px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { padding: .2rem 1.2rem .2rem 0; text-align: right; } th { font-weight: 600; color: var(--soft); }
td:first-child, th:first-child { text-align: left; }
figure { margin: 1.5rem 0; } figcaption { font-weight: 600; } figcaption span { color: var(--soft); font-weight: 400; }
svg { width: 100%; height: auto; overflow: visible; } svg text { font-size: 11px; fill: var(--soft); }
svg path { fill: none; stroke-width: 1.8; stroke-linejoin: round; stroke-linecap: round; }
.grid { stroke: currentColor; opacity: .12; } line.mark { stroke: #d33; stroke-dasharray: 3 3; }
svg text.mark { fill: #d33; } .legend { margin: 0; } .legend span { margin-right: 1.2rem; }
.kept { color: #1a7f37; } .broken { color: #d33; font-weight: 600; } .soft { color: var(--soft); margin-top: 0; }
";

/// The page.
#[must_use]
pub fn render(report: &Report) -> String {
    let title = escape(&format!("{} under load", report.scenario));
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head>\n<body><h1>{title}</h1>\n\
         <p class=\"soft\">{}, {} nodes, seed {}</p>\n{}{}{}{}{}</body></html>\n",
        escape(&report.arrivals()),
        report.nodes,
        report.schedule.seed,
        verdicts(report),
        summary(report),
        charts(report),
        latencies(report),
        classes(report),
    )
}

fn verdicts(report: &Report) -> String {
    let row = |verdict: &crate::objective::Verdict| {
        let (class, word) = if verdict.is_kept { ("kept", "kept") } else { ("broken", "broken") };
        let (objective, found) = (escape(&verdict.objective), escape(&verdict.found));
        format!("<tr><td>{objective}</td><td>{found}</td><td class=\"{class}\">{word}</td></tr>\n")
    };
    let rows: String = report.verdicts.iter().map(row).collect();
    if rows.is_empty() { rows } else { format!("<h2>Objectives</h2><table>{rows}</table>\n") }
}

fn summary(report: &Report) -> String {
    let (measured, audit) = (&report.measured, &report.audit);
    let rows = [
        ("Requests", format!("{} ({:.0} good a second)", measured.requests, report.rate())),
        ("Good: succeeded within 10 s", format!("{:.4} %", report.share(measured.good))),
        ("Succeeded at the first try", format!("{:.4} %", report.share(measured.first_try_good))),
        ("Ended with unknown outcome", measured.unknown.to_string()),
        ("Arrivals, dropped", format!("{}, {}", measured.arrivals + measured.dropped, measured.dropped)),
        ("Generator lag, p99", format!("{:.2} ms", ms(measured.lag_us.value_at_quantile(0.99)))),
        ("Units acknowledged", audit.acknowledged.to_string()),
        ("Units lost, doubled", format!("{}, {}", audit.lost, audit.doubled)),
        ("Units that may have been added", audit.maybe.to_string()),
        ("Carts read again, not readable", format!("{}, {}", audit.carts, audit.unread)),
    ];
    let rows: String = rows.iter().map(|(name, value)| format!("<tr><td>{name}</td><td>{value}</td></tr>\n")).collect();
    format!("<h2>Summary</h2><table>{rows}</table>\n")
}

fn charts(report: &Report) -> String {
    let seconds = &report.measured.seconds;
    let marks: Vec<_> = report.faults.iter().map(|fault| (fault.at.as_secs_f64(), fault.command.clone())).collect();
    let series = |name, colour, value: &dyn Fn(&Second) -> Option<f64>| Series {
        name,
        colour,
        values: seconds.iter().map(value).collect(),
    };
    let quantile = |quantile: f64| {
        move |second: &Second| (second.requests > 0).then(|| ms(second.latency_us.value_at_quantile(quantile).max(1)))
    };
    let latency = [
        series("p50", "#2a78d6", &quantile(0.5)),
        series("p99", "#e08a00", &quantile(0.99)),
        series("max", "#b0489f", &quantile(1.0)),
    ];
    let rate = [
        series("should have been sent", "#888888", &|second| Some(second.requests as f64)),
        series("good answers", "#2a78d6", &|second| Some(second.answered as f64)),
    ];
    let errors = [
        series("first try failed", "#e08a00", &|second| Some(second.first_try_failed as f64)),
        series("failed in the end", "#d33333", &|second| Some((second.requests - second.good) as f64)),
    ];
    [
        chart("Latency from the intended send", "ms, logarithmic", Scale::Logarithmic, &latency, &marks),
        chart("Rate", "requests a second", Scale::Linear, &rate, &marks),
        chart("Failures", "requests a second", Scale::Linear, &errors, &marks),
    ]
    .concat()
}

fn latencies(report: &Report) -> String {
    let measured = &report.measured;
    let mut table = String::from("<h2>Latency by operation, ms</h2><table><tr><th></th><th>requests</th>");
    let mut put = |text: std::fmt::Arguments<'_>| {
        let _cannot_fail = write!(table, "{text}");
    };
    for (name, _) in percentiles(&measured.latency_us) {
        put(format_args!("<th>{name}</th>"));
    }
    put(format_args!("</tr>\n"));
    for (name, us) in measured.operations.iter().map(|(name, us)| (*name, us)).chain([("all", &measured.latency_us)]) {
        put(format_args!("<tr><td>{}</td><td>{}</td>", escape(name), us.len()));
        for (_, ms) in percentiles(us) {
            put(format_args!("<td>{ms:.2}</td>"));
        }
        put(format_args!("</tr>\n"));
    }
    put(format_args!("</table>\n"));
    table
}

fn classes(report: &Report) -> String {
    let measured = &report.measured;
    let list = |title: &str, classes: &Classes| {
        let row = |(class, count): (&String, &u64)| format!("<tr><td>{}</td><td>{count}</td></tr>\n", escape(class));
        let rows: String = classes.iter().map(row).collect();
        if rows.is_empty() { rows } else { format!("<h2>{title}</h2><table>{rows}</table>\n") }
    };
    let told: String = report.audit.told.iter().map(|told| format!("<li>{}</li>", escape(told))).collect();
    let fault = |fault: &crate::faults::Mark| {
        let (at, command) = (fault.at.as_secs_f64(), escape(&fault.command));
        let after = fault.answered.map_or("not answered".to_owned(), |answered| {
            format!("answered after {:.1} s", (answered - fault.at).as_secs_f64())
        });
        format!("<tr><td>{at:.1} s</td><td>{command}</td><td>{after}</td></tr>\n")
    };
    let faults: String = report.faults.iter().map(fault).collect();
    [
        if faults.is_empty() { faults } else { format!("<h2>Faults</h2><table>{faults}</table>\n") },
        list("First tries that failed", &measured.first_try),
        list("Requests that failed in the end", &measured.failed),
        list("Wrong answers", &measured.wrong),
        if told.is_empty() { told } else { format!("<h2>Differences</h2><ul>{told}</ul>\n") },
    ]
    .concat()
}
