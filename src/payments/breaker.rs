//! Whether a gateway is worth asking: after failures in a row it is not, until one call has found out that it is. Pure:
//! the clock comes in.

/// Failures in a row before calls are refused.
const FAILURES_MIN: u32 = 5;
/// How long failures must have gone on: a broken connection fails everything in flight on it at one moment.
const FAILING_MIN_MS: u64 = 1_000;
/// How long calls are refused before one may try: a gateway's short outage costs shoppers no longer than this.
const OPEN_MIN_MS: u64 = 2_000;
/// Longest time, reached by doubling: a long outage is probed twice a minute, and its end is noticed within that.
const OPEN_MAX_MS: u64 = 30_000;
/// How long a trial may take before another one is let through: longer than any call, so it only ever counts when the
/// first was given up by its caller.
const TRIAL_MAX_MS: u64 = 60_000;

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum BreakerState {
    /// Calls go through.
    Closed = 0,
    /// One call is finding out.
    HalfOpen = 1,
    /// Calls are refused.
    Open = 2,
}

/// The breaker of one gateway.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    failing_since_ms: u64,
    /// `Some` = open.
    open: Option<Open>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    /// How long it stays so this time.
    for_ms: u64,
    /// When a trial may start.
    until_ms: u64,
    /// When the present trial is given up; `None` = there is none.
    trial_until_ms: Option<u64>,
}

impl Breaker {
    /// Where it stands.
    pub(super) const fn state(&self) -> BreakerState {
        match self.open {
            None => BreakerState::Closed,
            Some(Open { trial_until_ms: Some(_), .. }) => BreakerState::HalfOpen,
            Some(_) => BreakerState::Open,
        }
    }

    /// Whether a call may go through now. A call that may must tell how it ended.
    pub(super) fn admits(&mut self, now_ms: u64) -> bool {
        let Some(open) = &mut self.open else { return true };
        let may_try = now_ms >= open.trial_until_ms.unwrap_or(open.until_ms);
        if may_try {
            open.trial_until_ms = Some(now_ms.saturating_add(TRIAL_MAX_MS));
        }
        may_try
    }

    /// The gateway answered, whatever it said.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// The gateway did not answer, or not sensibly.
    pub(super) fn failed(&mut self, now_ms: u64) {
        if let Some(open) = &mut self.open {
            // Calls that were in flight when it opened say nothing new.
            if open.trial_until_ms.take().is_some() {
                open.for_ms = (open.for_ms * 2).min(OPEN_MAX_MS);
                open.until_ms = now_ms.saturating_add(open.for_ms);
            }
            return;
        }
        if self.failures == 0 {
            self.failing_since_ms = now_ms;
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures >= FAILURES_MIN && now_ms.saturating_sub(self.failing_since_ms) >= FAILING_MIN_MS {
            let for_ms = OPEN_MIN_MS;
            self.open = Some(Open { for_ms, until_ms: now_ms.saturating_add(for_ms), trial_until_ms: None });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(failures: impl IntoIterator<Item = u64>) -> Breaker {
        let mut breaker = Breaker::default();
        failures.into_iter().for_each(|now_ms| breaker.failed(now_ms));
        breaker
    }

    fn open_at_1_000() -> Breaker {
        after([0, 10, 20, 30, 1_000])
    }

    #[test]
    fn failures_that_go_on_open_it() {
        assert_eq!(after([0, 10, 20, 1_000]).state(), BreakerState::Closed, "four are too few");
        assert_eq!(after([7; 100]).state(), BreakerState::Closed, "one connection broke with all that was on it");
        let mut interrupted = after([0, 10, 20, 30]);
        interrupted.succeeded();
        interrupted.failed(1_000);
        assert_eq!(interrupted.state(), BreakerState::Closed, "in a row, and not in all");
        let mut open = open_at_1_000();
        assert_eq!(open.state(), BreakerState::Open);
        assert!(!open.admits(1_000 + OPEN_MIN_MS - 1));
    }

    #[test]
    fn one_call_at_a_time_finds_out() {
        let mut breaker = open_at_1_000();
        let due = 1_000 + OPEN_MIN_MS;
        assert!(breaker.admits(due));
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert!(!breaker.admits(due + 1), "while the first is out");
        breaker.succeeded();
        assert_eq!(breaker.state(), BreakerState::Closed);
        assert!(breaker.admits(due + 2) && breaker.admits(due + 2));
    }

    #[test]
    fn a_failed_trial_doubles_the_wait_up_to_a_bound() {
        let mut breaker = open_at_1_000();
        let (mut now, mut wait) = (1_000, OPEN_MIN_MS);
        for _ in 0..10 {
            assert!(!breaker.admits(now + wait - 1), "{wait} ms after {now}");
            now += wait;
            assert!(breaker.admits(now));
            breaker.failed(now);
            wait = (wait * 2).min(OPEN_MAX_MS);
        }
        assert_eq!(wait, OPEN_MAX_MS);
    }

    #[test]
    fn what_was_in_flight_when_it_opened_does_not_prolong_it() {
        let mut breaker = open_at_1_000();
        breaker.failed(1_000 + OPEN_MIN_MS - 1);
        assert!(breaker.admits(1_000 + OPEN_MIN_MS));
    }

    #[test]
    fn a_trial_that_its_caller_gave_up_does_not_keep_it_open_for_ever() {
        let mut breaker = open_at_1_000();
        let due = 1_000 + OPEN_MIN_MS;
        assert!(breaker.admits(due));
        assert!(!breaker.admits(due + TRIAL_MAX_MS - 1));
        assert!(breaker.admits(due + TRIAL_MAX_MS));
    }
}
