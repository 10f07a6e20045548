//! Whether the database is worth asking for a save: after failures without a success in between it is not, until a probe
//! succeeds. Pure: the clock comes in, and whoever owns it sends the probes.

use crate::store::Reason;

/// Failures in a row before saves are refused: one may be a connection that a restarted node broke.
const FAILURES_MIN: u32 = 3;
/// How long failures must have gone on: a node that dies breaks everything in flight to it at one moment, and the others
/// go on.
const FAILING_MIN_MS: u64 = 500;

/// The state of the breaker.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    failing_since_ms: u64,
    open: Option<Reason>,
}

impl Breaker {
    /// Why saves are refused now; `None` = they are not.
    pub(super) const fn refusal(&self) -> Option<&Reason> {
        self.open.as_ref()
    }

    /// Whether a probe should find out how things are.
    pub(super) const fn is_in_doubt(&self) -> bool {
        self.failures > 0
    }

    /// Something succeeded. Returns whether saves are taken again from now on.
    pub(super) fn succeeded(&mut self) -> bool {
        self.failures = 0;
        self.open.take().is_some()
    }

    /// Something failed in a way that speaks of the database and not of the request. Returns whether saves are refused
    /// from now on.
    pub(super) fn failed(&mut self, reason: &Reason, now_ms: u64) -> bool {
        if self.failures == 0 {
            self.failing_since_ms = now_ms;
        }
        self.failures = self.failures.saturating_add(1);
        let is_enough = self.failures >= FAILURES_MIN && now_ms.saturating_sub(self.failing_since_ms) >= FAILING_MIN_MS;
        let opens = is_enough && self.open.is_none();
        if opens {
            self.open = Some(reason.clone());
        }
        opens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(failures: impl IntoIterator<Item = u64>) -> Breaker {
        let mut breaker = Breaker::default();
        for now_ms in failures {
            breaker.failed(&Reason::new("it timed out"), now_ms);
        }
        breaker
    }

    #[test]
    fn failures_that_go_on_open_it_and_one_success_closes_it() {
        let mut breaker = after([0, 400]);
        assert!(breaker.is_in_doubt());
        assert!(breaker.failed(&Reason::new("it timed out"), 500), "opened");
        assert!(!breaker.failed(&Reason::new("again"), 600), "was open already");
        assert_eq!(breaker.refusal(), Some(&Reason::new("it timed out")));
        assert!(breaker.succeeded(), "closed");
        assert!(!breaker.succeeded(), "was closed already");
        assert_eq!(breaker.refusal(), None);
        assert!(!breaker.is_in_doubt());
    }

    #[test]
    fn a_burst_and_failures_between_successes_do_not_open_it() {
        assert_eq!(after([7; 100]).refusal(), None, "one node died with all that was in flight to it");
        assert_eq!(after([0, 5_000]).refusal(), None, "two are too few");
        let mut breaker = after([0, 300]);
        breaker.succeeded();
        breaker.failed(&Reason::new("another"), 600);
        breaker.failed(&Reason::new("another"), 900);
        breaker.failed(&Reason::new("another"), 1_000);
        assert_eq!(breaker.refusal(), None, "the time counts from the success on");
    }
}
