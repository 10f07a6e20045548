//! What a failed request says about what it did, and about the database.

use scylla::{
    errors::{DbError, ExecutionError, RequestAttemptError},
    statement::Consistency,
};

/// What a failure says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Certainly not applied, now or later. Otherwise it may have been applied, or may still be.
    pub(super) not_applied: bool,
    /// It speaks of the database rather than of the request: the breaker counts it.
    pub(super) outage: bool,
}

/// Never reached a node.
const NOT_SENT: Verdict = Verdict { not_applied: true, outage: true };
/// A node refused it before doing anything, whoever asks.
const REFUSED: Verdict = Verdict { not_applied: true, outage: false };
/// Nobody knows.
const UNKNOWN: Verdict = Verdict { not_applied: false, outage: true };

/// What the failure of a conditional update says. In doubt it is unknown: then the same update is sent again, which can
/// do no harm.
pub(super) fn verdict(error: &ExecutionError) -> Verdict {
    match error {
        ExecutionError::BadQuery(_) | ExecutionError::PrepareError(_) | ExecutionError::UseKeyspaceError(_) => REFUSED,
        ExecutionError::EmptyPlan | ExecutionError::ConnectionPoolError(_) => NOT_SENT,
        ExecutionError::LastAttemptError(attempt) => attempt_verdict(attempt),
        // A client timeout, and whatever else a later driver may tell.
        _ => UNKNOWN,
    }
}

fn attempt_verdict(error: &RequestAttemptError) -> Verdict {
    match error {
        RequestAttemptError::SerializationError(_)
        | RequestAttemptError::CqlRequestSerialization(_)
        | RequestAttemptError::RepreparedIdChanged { .. } => REFUSED,
        RequestAttemptError::UnableToAllocStreamId => NOT_SENT,
        RequestAttemptError::DbError(error, _) => db_verdict(error),
        // A connection that broke, and an answer that cannot be read.
        _ => UNKNOWN,
    }
}

fn db_verdict(error: &DbError) -> Verdict {
    match error {
        // Told before the first round of Paxos. At another consistency it is the commit that lacks replicas: that one
        // comes after the decision.
        DbError::Unavailable { consistency: Consistency::Serial | Consistency::LocalSerial, .. } => NOT_SENT,
        DbError::IsBootstrapping => NOT_SENT,
        DbError::RateLimitReached { rejected_by_coordinator: true, .. } => NOT_SENT,
        DbError::SyntaxError
        | DbError::Invalid
        | DbError::AlreadyExists { .. }
        | DbError::AuthenticationError
        | DbError::Unauthorized
        | DbError::ConfigError
        | DbError::Unprepared { .. } => REFUSED,
        // Timeouts and failures of any phase: the proposal may be accepted by some, and completed by whoever comes next.
        _ => UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use scylla::errors::WriteType;

    use super::*;

    fn told(error: DbError) -> Verdict {
        verdict(&ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, String::new())))
    }

    #[test]
    fn only_what_never_began_is_certainly_not_applied() {
        let unavailable = |consistency| DbError::Unavailable { consistency, required: 2, alive: 1 };
        assert_eq!(told(unavailable(Consistency::LocalSerial)), NOT_SENT);
        assert_eq!(told(unavailable(Consistency::LocalQuorum)), UNKNOWN, "the commit lacks replicas");
        let (consistency, received, required) = (Consistency::LocalSerial, 1, 2);
        for write_type in [WriteType::Cas, WriteType::Simple] {
            assert_eq!(told(DbError::WriteTimeout { consistency, received, required, write_type }), UNKNOWN);
        }
        assert_eq!(told(DbError::ReadTimeout { consistency, received, required, data_present: false }), UNKNOWN);
        assert_eq!(told(DbError::ServerError), UNKNOWN);
        assert_eq!(told(DbError::Overloaded), UNKNOWN);
        assert_eq!(verdict(&ExecutionError::RequestTimeout(Duration::from_secs(3))), UNKNOWN);
        assert_eq!(verdict(&ExecutionError::EmptyPlan), NOT_SENT);
    }

    #[test]
    fn a_wrong_request_says_nothing_about_the_database() {
        for error in [DbError::Invalid, DbError::SyntaxError, DbError::Unauthorized] {
            assert_eq!(told(error), REFUSED);
        }
    }
}
