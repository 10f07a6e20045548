//! What a run must keep, such as `p99<50ms`, `good>=99.99%` or `lost==0`.

use std::{fmt, str::FromStr, time::Duration};

use crate::{ledger::Audit, measure::Measured};

/// What can be held.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Metric {
    Latency(f64),
    LatencyMax,
    Lag(f64),
    Good,
    FirstTry,
    Rate,
    Failed,
    Unknown,
    Wrong,
    Dropped,
    Lost,
    Doubled,
    Maybe,
    OthersLatency(f64),
    OthersLatencyMax,
    OthersGood,
}

/// Every metric under its name.
const METRICS: [(&str, Metric); 22] = [
    ("p50", Metric::Latency(0.5)),
    ("p90", Metric::Latency(0.9)),
    ("p99", Metric::Latency(0.99)),
    ("p99.9", Metric::Latency(0.999)),
    ("p99.99", Metric::Latency(0.9999)),
    ("max", Metric::LatencyMax),
    ("lag_p99", Metric::Lag(0.99)),
    ("good", Metric::Good),
    ("first_try", Metric::FirstTry),
    ("rate", Metric::Rate),
    ("failed", Metric::Failed),
    ("unknown", Metric::Unknown),
    ("wrong", Metric::Wrong),
    ("dropped", Metric::Dropped),
    ("lost", Metric::Lost),
    ("doubled", Metric::Doubled),
    ("maybe", Metric::Maybe),
    ("others_p50", Metric::OthersLatency(0.5)),
    ("others_p99", Metric::OthersLatency(0.99)),
    ("others_p99.9", Metric::OthersLatency(0.999)),
    ("others_max", Metric::OthersLatencyMax),
    ("others_good", Metric::OthersGood),
];

type Comparison = fn(f64, f64) -> bool;

/// Comparisons; those of two characters come first, or they would be read as those of one.
const COMPARISONS: [(&str, Comparison); 5] = [
    ("<=", |found, bound| found <= bound),
    (">=", |found, bound| found >= bound),
    ("==", |found, bound| found == bound),
    ("<", |found, bound| found < bound),
    (">", |found, bound| found > bound),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Milliseconds,
    Percent,
    Number,
}

impl Metric {
    fn unit(self) -> Unit {
        match self {
            Self::Latency(_) | Self::LatencyMax | Self::Lag(_) => Unit::Milliseconds,
            Self::OthersLatency(_) | Self::OthersLatencyMax => Unit::Milliseconds,
            Self::Good | Self::FirstTry | Self::OthersGood => Unit::Percent,
            _ => Unit::Number,
        }
    }

    /// `None` when it is not known: nothing happened, or a cart could not be read.
    fn value(self, measured: &Measured, audit: &Audit, took: Duration) -> Option<f64> {
        let ms = |us: u64| us as f64 / 1000.0;
        let share = |of: u64| of as f64 / measured.requests as f64 * 100.0;
        if measured.requests == 0 || (self.is_of_others() && measured.others.requests == 0) {
            return None;
        }
        Some(match self {
            Self::Latency(quantile) => ms(measured.latency_us.value_at_quantile(quantile)),
            Self::LatencyMax => ms(measured.latency_us.max()),
            Self::Lag(quantile) => ms(measured.lag_us.value_at_quantile(quantile)),
            Self::Good => share(measured.good),
            Self::FirstTry => share(measured.first_try_good),
            Self::Rate => measured.good as f64 / took.as_secs_f64(),
            Self::Failed => measured.failures() as f64,
            Self::Unknown => measured.unknown as f64,
            Self::Wrong => measured.wrong.values().sum::<u64>() as f64,
            Self::Dropped => measured.dropped as f64,
            Self::Lost | Self::Doubled | Self::Maybe if audit.unread > 0 => return None,
            Self::Lost => audit.lost as f64,
            Self::Doubled => audit.doubled as f64,
            Self::Maybe => audit.maybe as f64,
            Self::OthersLatency(quantile) => ms(measured.others.latency_us.value_at_quantile(quantile)),
            Self::OthersLatencyMax => ms(measured.others.latency_us.max()),
            Self::OthersGood => measured.others.good as f64 / measured.others.requests as f64 * 100.0,
        })
    }

    fn is_of_others(self) -> bool {
        matches!(self, Self::OthersLatency(_) | Self::OthersLatencyMax | Self::OthersGood)
    }
}

/// One thing to keep.
#[derive(Clone, Debug)]
pub struct Objective {
    text: String,
    metric: Metric,
    keeps: Comparison,
    bound: f64,
}

impl FromStr for Objective {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let split = COMPARISONS.iter().find_map(|(sign, keeps)| {
            let (name, bound) = text.split_once(sign)?;
            Some((name.trim(), *keeps, bound.trim()))
        });
        let (name, keeps, bound) = split.ok_or_else(|| format!("{text:?} compares nothing: say p99<50ms"))?;
        let Some((_, metric)) = METRICS.iter().find(|(known, _)| *known == name) else {
            return Err(format!("there is no {name:?}; there are {}", METRICS.map(|(name, _)| name).join(", ")));
        };
        let bound = match metric.unit() {
            Unit::Milliseconds => milliseconds(bound),
            Unit::Percent => bound.strip_suffix('%').and_then(number),
            Unit::Number => number(bound),
        };
        let bound = bound.ok_or_else(|| match metric.unit() {
            Unit::Milliseconds => format!("{name} is held against a time such as 50ms"),
            Unit::Percent => format!("{name} is held against a share such as 99.9%"),
            Unit::Number => format!("{name} is held against a number"),
        })?;
        Ok(Self { text: text.to_owned(), metric: *metric, keeps, bound })
    }
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| number.is_finite())
}

fn milliseconds(text: &str) -> Option<f64> {
    // `ms` and `us` end in `s` too.
    let units = [("ms", 1.0), ("us", 0.001), ("s", 1000.0)];
    units.iter().find_map(|(unit, factor)| Some(number(text.strip_suffix(unit)?)? * factor))
}

/// An objective, and what was found.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// As it was asked for.
    pub objective: String,
    /// What it came to, for people.
    pub found: String,
    /// Whether it is kept.
    pub is_kept: bool,
}

impl Objective {
    /// Whether it is about the others alone, whom what the rest do must not harm.
    #[must_use]
    pub fn is_of_others(&self) -> bool {
        self.metric.is_of_others()
    }

    /// Holds it against a run that took so long. What is not known is not kept.
    #[must_use]
    pub fn judge(&self, measured: &Measured, audit: &Audit, took: Duration) -> Verdict {
        let value = self.metric.value(measured, audit, took);
        let found = match (value, self.metric.unit()) {
            (None, _) => "not known".to_owned(),
            (Some(value), Unit::Milliseconds) => format!("{value:.2} ms"),
            (Some(value), Unit::Percent) => format!("{value:.4} %"),
            (Some(value), Unit::Number) if value.fract() == 0.0 => format!("{value}"),
            (Some(value), Unit::Number) => format!("{value:.1}"),
        };
        let is_kept = value.is_some_and(|value| (self.keeps)(value, self.bound));
        Verdict { objective: self.text.clone(), found, is_kept }
    }
}

/// As it was asked for.
impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<6} {} ({})", if self.is_kept { "kept" } else { "BROKEN" }, self.objective, self.found)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::{client::Answer, measure::Measure, nodes::Node, service::Settled};

    fn verdict(objective: &str, audit: &Audit) -> bool {
        let measure = Measure::new(Instant::now()).unwrap();
        let node = Node { name: String::new(), http: String::new(), admin: None };
        let answer = Answer { status: 200, head: Vec::new(), body: Vec::new() };
        for n in 0..4 {
            let end = Ok((answer.clone(), node.clone().into()));
            let first = (n == 0).then_some(crate::failure::Failure::Refused);
            let settled = Settled { end, first, tries: 1 };
            measure.request("read", Instant::now(), &settled);
            if n == 1 {
                measure.of_others(Instant::now(), &settled);
            }
        }
        objective.parse::<Objective>().unwrap().judge(&measure.read(), audit, Duration::from_secs(2)).is_kept
    }

    #[test]
    fn objectives_are_kept_or_broken() {
        let lost = Audit { lost: 1, ..Audit::default() };
        let kept = |objective| verdict(objective, &lost);
        assert!(kept("p99<5s") && kept("good>=100%") && kept("first_try == 75%") && kept("rate>=2"));
        assert!(kept("doubled==0") && kept("lost<=1"));
        assert!(kept("others_good==100%") && kept("others_p99<5s") && !kept("others_max<0us"));
        assert!(!kept("lost==0") && !kept("first_try>75%") && !kept("max<0us"));
    }

    #[test]
    fn what_is_not_known_is_not_kept() {
        let unread = Audit { unread: 1, ..Audit::default() };
        assert!(!verdict("lost==0", &unread));
        assert!(verdict("failed==0", &unread));
    }

    #[test]
    fn what_says_nothing_is_refused() {
        for wrong in ["p99", "p98<5ms", "p99<5", "good>99", "lost==none", "lost=0"] {
            assert!(wrong.parse::<Objective>().is_err(), "{wrong}");
        }
    }
}
