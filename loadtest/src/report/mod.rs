//! What a run came to, for people, scripts and a page.

pub mod html;
pub mod json;
mod svg;
pub mod text;

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::{
    arrivals::{Arrivals, Shape},
    faults::Mark,
    ledger::Audit,
    measure::Measured,
    objective::Verdict,
    purchases::Reconciled,
};

/// The percentiles of every report.
const PERCENTILES: [(&str, f64); 5] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];

/// A run, done and audited.
#[derive(Clone, Debug)]
pub struct Report {
    /// What shoppers did.
    pub scenario: String,
    /// When they came.
    pub schedule: Arrivals,
    /// To how many nodes, at the end.
    pub nodes: usize,
    /// From the first arrival to the last answer.
    pub took: Duration,
    /// What was measured.
    pub measured: Measured,
    /// What the ledger found.
    pub audit: Audit,
    /// What became of purchases, if there were to be any.
    pub reconciled: Option<Reconciled>,
    /// What was done to the service.
    pub faults: Vec<Mark>,
    /// The objectives.
    pub verdicts: Vec<Verdict>,
}

impl Report {
    /// The schedule in words.
    fn arrivals(&self) -> String {
        let Arrivals { shape, rate, duration, .. } = self.schedule;
        let seconds = duration.as_secs_f64();
        match shape {
            Shape::Constant => format!("constant {rate}/s for {seconds} s"),
            Shape::Poisson => format!("poisson {rate}/s for {seconds} s"),
            Shape::Step { steps, peak } => format!("{steps} steps from {rate}/s to {peak}/s in {seconds} s"),
            Shape::Spike { from, length, peak } => {
                let (from, to) = (from.as_secs_f64(), (from + length).as_secs_f64());
                format!("{rate}/s for {seconds} s, {peak}/s from {from:.1} s to {to:.1} s")
            }
        }
    }

    /// Good requests a second.
    fn rate(&self) -> f64 {
        self.measured.good as f64 / self.took.as_secs_f64()
    }

    fn share(&self, of: u64) -> f64 {
        of as f64 / self.measured.requests.max(1) as f64 * 100.0
    }
}

fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}

/// Every percentile and the longest, in milliseconds.
fn percentiles(us: &Histogram<u64>) -> Vec<(&'static str, f64)> {
    let at = PERCENTILES.map(|(name, quantile)| (name, ms(us.value_at_quantile(quantile))));
    at.into_iter().chain([("max", ms(us.max()))]).collect()
}
