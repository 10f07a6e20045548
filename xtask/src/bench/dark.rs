//! For how long nobody serves a shard that is handed over: three nodes, each drained in turn while shoppers come at a quarter
//! of what the nodes can take.

use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use super::{cluster::watch_for, release, text};
use crate::run::{Guarded, output};

/// Shoppers that come so fast that the nodes, not the schedule, say how many are done.
const FLOOD_PER_S: &str = "20000";
const FLOOD_S: &str = "6";
/// So many at once keep every node busy and none overloaded.
const FLOOD_INSIDE: &str = "64";
/// Seconds of load around one drain, and when in them the drain begins.
const LOAD_S: &str = "9";
const DRAIN_AFTER: Duration = Duration::from_secs(3);
/// How long shards move after a node came back.
const LEVELLED_AFTER: Duration = Duration::from_secs(4);
const DARK: &str = "trolley_cluster_shard_dark_seconds";
const SAVES: &str = "trolley_store_save_duration_seconds";

/// Three nodes, however they are started.
pub(super) trait Nodes {
    /// Where a node's public and its operators' listeners are; both stay the same when it is started again.
    fn listeners(&self, at: usize) -> (String, String);
    /// Makes it leave in order; returns when it has.
    fn drain(&mut self, at: usize) -> Result<(), String>;
    /// Starts it again; returns when it is ready.
    fn start(&mut self, at: usize) -> Result<(), String>;
}

/// How many were at most so long, by the upper bounds of a metric's buckets.
#[derive(Clone, Debug, Default)]
pub(super) struct Buckets(BTreeMap<u64, f64>);

impl Buckets {
    /// Of all series of one metric on one page of metrics, where its labels hold this.
    pub(super) fn read(page: &str, metric: &str, label: &str) -> Self {
        let mut buckets = BTreeMap::new();
        for line in page.lines().filter(|line| line.starts_with(&format!("{metric}_bucket{{")) && line.contains(label))
        {
            let bound = line.split("le=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
            let bound_us =
                bound.parse::<f64>().ok().filter(|bound| bound.is_finite()).map_or(u64::MAX, |s| (s * 1e6) as u64);
            let count: f64 = line.rsplit(' ').next().and_then(|count| count.parse().ok()).unwrap_or_default();
            *buckets.entry(bound_us).or_default() += count;
        }
        Self(buckets)
    }

    pub(super) fn add(&mut self, more: &Self, sign: f64) {
        for (bound, count) in &more.0 {
            *self.0.entry(*bound).or_default() += sign * count;
        }
    }

    pub(super) fn count(&self) -> f64 {
        self.0.values().last().copied().unwrap_or_default()
    }

    /// This quantile in seconds, taken to lie evenly within its bucket.
    pub(super) fn quantile_s(&self, quantile: f64) -> f64 {
        let rank = self.count() * quantile;
        let (mut lower, mut below) = (0.0, 0.0);
        for (bound, count) in &self.0 {
            let upper = if *bound == u64::MAX { f64::INFINITY } else { *bound as f64 / 1e6 };
            if *count >= rank {
                return lower + (upper - lower) * (rank - below) / (count - below).max(1.0);
            }
            (lower, below) = (upper, *count);
        }
        f64::INFINITY
    }

    /// The upper bound, in seconds, of the bucket in which this quantile lies: it is at most so much.
    pub(super) fn at_most_s(&self, quantile: f64) -> f64 {
        let rank = self.count() * quantile;
        let bound = self.0.iter().find(|(_, count)| **count >= rank).map_or(u64::MAX, |(bound, _)| *bound);
        if bound == u64::MAX { f64::INFINITY } else { bound as f64 / 1e6 }
    }
}

/// What was measured.
pub(super) struct Measured {
    /// How long nobody served a shard.
    pub(super) dark: Buckets,
    /// How long conditional saves of carts took that were applied, on all nodes that stayed.
    pub(super) saves: Buckets,
}

fn page(nodes: &impl Nodes, at: usize) -> Result<String, String> {
    output(Command::new("curl").args(["-sS", &format!("http://{}/metrics", nodes.listeners(at).1)]))
}

fn shoppers(nodes: &impl Nodes) -> Command {
    let all: Vec<_> = (0..3).map(|at| nodes.listeners(at)).collect();
    let joined = |of: fn(&(String, String)) -> &String| all.iter().map(of).cloned().collect::<Vec<_>>().join(",");
    let mut command = Command::new(release("loadtest"));
    command.args(["browse-and-cart", "--address", &joined(|(http, _)| http), "--admin", &joined(|(_, admin)| admin)]);
    command
}

/// Visits that the nodes can take in a second.
fn peak(nodes: &impl Nodes) -> Result<f64, String> {
    let report = release("peak.json");
    let mut command = shoppers(nodes);
    command.args(["--rate", FLOOD_PER_S, "--seconds", FLOOD_S, "--in-flight", FLOOD_INSIDE, "--json"]).arg(&report);
    output(&mut command)?;
    let told: Value = serde_json::from_str(&std::fs::read_to_string(&report).map_err(text)?).map_err(text)?;
    let of = |name: &str| told["generator"][name].as_f64().unwrap_or_default();
    Ok((of("arrivals") - of("dropped")) / told["took_s"].as_f64().unwrap_or(1.0))
}

/// Drains each node in turn under load.
pub(super) fn measure(nodes: &mut impl Nodes) -> Result<Measured, String> {
    let peak = peak(nodes)?;
    let rate = format!("{:.0}", (peak / 4.0).max(1.0));
    println!("three nodes take {peak:.0} visits/s; drained one after the other at {rate}/s");
    let mut measured = Measured { dark: Buckets::default(), saves: Buckets::default() };
    for drained in 0..3 {
        watch_for(LEVELLED_AFTER);
        let report = release("drain.json");
        let mut command = shoppers(nodes);
        command.args(["--rate", &rate, "--seconds", LOAD_S, "--json"]).arg(&report).stdout(Stdio::null());
        let mut load = Guarded::spawn(&mut command)?;
        watch_for(DRAIN_AFTER);
        let others: Vec<usize> = (0..3).filter(|at| *at != drained).collect();
        let before: Vec<String> = others.iter().map(|at| page(nodes, *at)).collect::<Result<_, _>>()?;
        nodes.drain(drained)?;
        let after: Vec<String> = others.iter().map(|at| page(nodes, *at)).collect::<Result<_, _>>()?;
        for (pages, sign) in [(before, -1.0), (after, 1.0)] {
            for page in pages {
                measured.dark.add(&Buckets::read(&page, DARK, ""), sign);
                measured.saves.add(&Buckets::read(&page, SAVES, "haste=\"urgent\",outcome=\"applied\""), sign);
            }
        }
        load.child.wait().map_err(text)?;
        drop(load);
        let told: Value = serde_json::from_str(&std::fs::read_to_string(&report).map_err(text)?).map_err(text)?;
        println!(
            "  n{} drained: good {:.3} %, at the first try {:.3} %, p99 {:.1} ms, lost {}, doubled {}",
            drained + 1,
            told["good_percent"].as_f64().unwrap_or_default(),
            told["first_try_percent"].as_f64().unwrap_or_default(),
            told["latency_ms"]["p99"].as_f64().unwrap_or_default(),
            told["ledger"]["lost"],
            told["ledger"]["doubled"],
        );
        nodes.start(drained)?;
    }
    if measured.dark.count() < 1.0 {
        return Err("no shard was handed over".to_owned());
    }
    Ok(measured)
}

/// As text: at most so many milliseconds.
pub(super) fn at_most(seconds: f64) -> String {
    format!("at most {:.1} ms", seconds * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# HELP x y\n\
        trolley_a_bucket{outcome=\"applied\",le=\"0.001\"} 2\n\
        trolley_a_bucket{outcome=\"applied\",le=\"0.05\"} 98\n\
        trolley_a_bucket{outcome=\"applied\",le=\"+Inf\"} 100\n\
        trolley_a_bucket{outcome=\"lost\",le=\"0.001\"} 7\n\
        trolley_ab_bucket{le=\"0.001\"} 7\n";

    #[test]
    fn a_quantile_is_told_as_the_bound_of_its_bucket() {
        let buckets = Buckets::read(PAGE, "trolley_a", "outcome=\"applied\"");
        assert_eq!((buckets.count(), buckets.at_most_s(0.5), buckets.at_most_s(0.02)), (100.0, 0.05, 0.001));
        assert!((buckets.quantile_s(0.5) - 0.0255).abs() < 1e-9, "48 of 96 into 1 to 50 ms");
        assert_eq!(buckets.at_most_s(0.99), f64::INFINITY, "beyond the last bound nothing is known");
        let mut none = buckets.clone();
        none.add(&buckets, -1.0);
        assert_eq!(none.count(), 0.0);
    }
}
