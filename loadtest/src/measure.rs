//! What was measured: latencies from the intended time of sending, and every failure under its class.

use std::{
    collections::BTreeMap,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use crate::{failure::Effect, service::Settled};

/// Longest latency that is told apart from longer ones.
const LATENCY_US_MAX: u64 = 60_000_000;
/// Most seconds that are kept one by one.
pub const SECONDS_MAX: usize = 3_600;

/// Number by class.
pub type Classes = BTreeMap<String, u64>;

/// What a run showed.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Microseconds from the intended send to the end, good or not.
    pub latency_us: Histogram<u64>,
    /// The same by operation.
    pub operations: BTreeMap<&'static str, Histogram<u64>>,
    /// Microseconds by which the generator itself was late.
    pub lag_us: Histogram<u64>,
    /// The run, second by second, by when requests should have been sent.
    pub seconds: Vec<Second>,
    /// Shoppers that came.
    pub arrivals: u64,
    /// Shoppers that were sent away because too many were inside.
    pub dropped: u64,
    /// Requests that have ended.
    pub requests: u64,
    /// Of them, those that succeeded in time, at the first try or later.
    pub good: u64,
    /// Of them, those that succeeded at the first try.
    pub first_try_good: u64,
    /// Requests that did not succeed and may have had an effect.
    pub unknown: u64,
    /// First tries that failed.
    pub first_try: Classes,
    /// Of them, those of which it is certain that nothing happened.
    pub first_try_none: u64,
    /// Why requests failed in the end.
    pub failed: Classes,
    /// Answers that were wrong, such as a cart without what was acknowledged.
    pub wrong: Classes,
    /// Of all requests, those of the others, whom what the rest do must not harm.
    pub others: Group,
    /// An empty histogram each, to begin from.
    empty: Histogram<u64>,
    empty_second: Second,
}

/// Some of the requests.
#[derive(Clone, Debug)]
pub struct Group {
    /// Microseconds from the intended send to the end, good or not.
    pub latency_us: Histogram<u64>,
    /// Requests that have ended.
    pub requests: u64,
    /// Of them, good ones.
    pub good: u64,
}

/// One second of a run.
#[derive(Clone, Debug)]
pub struct Second {
    /// Requests that should have been sent in it.
    pub requests: u64,
    /// Of them, good ones.
    pub good: u64,
    /// Of them, those whose first try failed.
    pub first_try_failed: u64,
    /// Good answers that came in it.
    pub answered: u64,
    /// Microseconds, two digits.
    pub latency_us: Histogram<u64>,
}

impl Measured {
    fn new() -> Result<Self, hdrhistogram::CreationError> {
        let empty = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)?;
        // It grows with what it holds: most seconds are short of long latencies.
        let second = Histogram::new(2)?;
        Ok(Self {
            latency_us: empty.clone(),
            operations: BTreeMap::new(),
            lag_us: empty.clone(),
            seconds: Vec::new(),
            arrivals: 0,
            dropped: 0,
            requests: 0,
            good: 0,
            first_try_good: 0,
            unknown: 0,
            first_try: Classes::new(),
            first_try_none: 0,
            failed: Classes::new(),
            wrong: Classes::new(),
            others: Group { latency_us: empty.clone(), requests: 0, good: 0 },
            empty,
            empty_second: Second { requests: 0, good: 0, first_try_failed: 0, answered: 0, latency_us: second },
        })
    }

    /// Requests that did not succeed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.requests - self.good
    }

    fn second(&mut self, at: Duration) -> Option<&mut Second> {
        let n = usize::try_from(at.as_secs()).ok().filter(|n| *n < SECONDS_MAX)?;
        if self.seconds.len() <= n {
            self.seconds.resize(n + 1, self.empty_second.clone());
        }
        self.seconds.get_mut(n)
    }

    /// Counts a request that was due at `due` and has ended at `ended`, both from the beginning of the run.
    fn request(&mut self, operation: &'static str, due: Duration, ended: Duration, settled: &Settled) {
        let latency = us(ended.saturating_sub(due));
        let is_good = settled.end.is_ok();
        self.requests += 1;
        self.latency_us.saturating_record(latency);
        let empty = &self.empty;
        self.operations.entry(operation).or_insert_with(|| empty.clone()).saturating_record(latency);
        self.good += u64::from(is_good);
        match &settled.first {
            None => self.first_try_good += 1,
            Some(failure) => {
                *self.first_try.entry(failure.to_string()).or_default() += 1;
                self.first_try_none += u64::from(failure.effect() == Effect::None);
            }
        }
        if let Err((failure, effect)) = &settled.end {
            *self.failed.entry(failure.to_string()).or_default() += 1;
            self.unknown += u64::from(*effect == Effect::Unknown);
        }
        if let Some(second) = self.second(due) {
            second.requests += 1;
            second.good += u64::from(is_good);
            second.first_try_failed += u64::from(settled.first.is_some());
            // One that grows takes every value; `saturating_record` would hold it to what it holds already.
            let _cannot_fail = second.latency_us.record(latency.min(LATENCY_US_MAX));
        }
        if is_good && let Some(second) = self.second(ended) {
            second.answered += 1;
        }
    }
}

fn us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Where all shoppers of a run record.
#[derive(Debug)]
pub struct Measure {
    began: Instant,
    measured: Mutex<Measured>,
}

impl Measure {
    /// A run that begins at `began`.
    ///
    /// # Errors
    /// When there can be no histogram.
    pub fn new(began: Instant) -> io::Result<Self> {
        Ok(Self { began, measured: Mutex::new(Measured::new().map_err(io::Error::other)?) })
    }

    /// When the run began.
    #[must_use]
    pub fn began(&self) -> Instant {
        self.began
    }

    fn measured(&self) -> MutexGuard<'_, Measured> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A shopper came, so much later than intended.
    pub fn arrived(&self, lag: Duration) {
        let mut measured = self.measured();
        measured.arrivals += 1;
        measured.lag_us.saturating_record(us(lag));
    }

    /// A shopper was sent away.
    pub fn dropped(&self) {
        self.measured().dropped += 1;
    }

    /// A request has ended.
    pub fn request(&self, operation: &'static str, due: Instant, settled: &Settled) {
        let (due, ended) = (due.saturating_duration_since(self.began), self.began.elapsed());
        self.measured().request(operation, due, ended, settled);
    }

    /// A request of one of the others has ended; it is counted among all of them besides.
    pub fn of_others(&self, due: Instant, settled: &Settled) {
        let (due, ended) = (due.saturating_duration_since(self.began), self.began.elapsed());
        let others = &mut self.measured().others;
        others.requests += 1;
        others.good += u64::from(settled.end.is_ok());
        others.latency_us.saturating_record(us(ended.saturating_sub(due)));
    }

    /// An answer was wrong.
    pub fn wrong(&self, what: &str) {
        *self.measured().wrong.entry(what.to_owned()).or_default() += 1;
    }

    /// All of it so far.
    #[must_use]
    pub fn read(&self) -> Measured {
        self.measured().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;

    fn ended(end: Result<(), (Failure, Effect)>, first: Option<Failure>) -> Settled {
        let node = crate::nodes::Node { name: String::new(), http: String::new(), admin: None };
        let answer = crate::client::Answer { status: 200, head: Vec::new(), body: Vec::new() };
        Settled { end: end.map(|()| (answer, node.into())), first, tries: 1 }
    }

    #[test]
    fn latency_counts_from_the_intended_time_in_the_second_of_the_intended_time() {
        let mut measured = Measured::new().unwrap();
        measured.request("read", Duration::from_millis(900), Duration::from_millis(3900), &ended(Ok(()), None));
        assert_eq!(measured.latency_us.max() / 10_000, 300);
        let per_second: Vec<_> = measured.seconds.iter().map(|second| (second.requests, second.answered)).collect();
        assert_eq!(per_second, [(1, 0), (0, 0), (0, 0), (0, 1)]);
        assert_eq!(measured.seconds[0].latency_us.max() / 100_000, 30);
    }

    #[test]
    fn first_tries_and_ends_are_counted_apart() {
        let mut measured = Measured::new().unwrap();
        let mut request = |end, first| measured.request("add", Duration::ZERO, Duration::ZERO, &ended(end, first));
        request(Ok(()), None);
        request(Ok(()), Some(Failure::Refused));
        request(Err((Failure::Late, Effect::Unknown)), Some(Failure::Broken));
        assert_eq!((measured.requests, measured.good, measured.first_try_good), (3, 2, 1));
        assert_eq!((measured.first_try_none, measured.unknown, measured.failures()), (1, 1, 1));
        assert_eq!(measured.failed.keys().collect::<Vec<_>>(), ["timeout (unknown)"]);
    }
}
