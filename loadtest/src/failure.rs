//! How a try fails, whether anything may have happened, and whether to try again.

use std::{fmt, io};

use crate::client::Answer;

/// Longest problem code that is counted under its own name: a server of any kind may answer.
const CODE_BYTES_MAX: usize = 40;

/// Whether a try that failed may have had its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Certainly not.
    None,
    /// Perhaps.
    Unknown,
}

/// Why a try did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It was answered, with a status outside 2xx.
    Problem {
        /// The status.
        status: u16,
        /// The problem's code; empty without one.
        code: String,
        /// What the problem says of the outcome.
        effect: Effect,
    },
    /// Nobody listens there.
    Refused,
    /// No connection came about for another reason.
    Unreached,
    /// The connection broke after the request was, at least in part, sent.
    Broken,
    /// No answer in time.
    Late,
}

impl Failure {
    /// Why an answer is no success, if it is none.
    #[must_use]
    pub fn of(answer: &Answer) -> Option<Self> {
        if (200..300).contains(&answer.status) {
            return None;
        }
        let problem = answer.json();
        let code = problem["code"].as_str().unwrap_or_default();
        let is_name =
            code.len() <= CODE_BYTES_MAX && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        Some(Self::Problem {
            status: answer.status,
            code: if is_name { code.to_owned() } else { String::new() },
            effect: if problem["outcome"] == "none" { Effect::None } else { Effect::Unknown },
        })
    }

    /// Why a connection could not be opened.
    #[must_use]
    pub fn of_connecting(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::ConnectionRefused { Self::Refused } else { Self::Unreached }
    }

    /// Whether anything may have happened.
    #[must_use]
    pub fn effect(&self) -> Effect {
        match self {
            Self::Problem { effect, .. } => *effect,
            Self::Refused | Self::Unreached => Effect::None,
            Self::Broken | Self::Late => Effect::Unknown,
        }
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Problem { status, code, .. } => {
                matches!(status, 408 | 429 | 500..) || code == "idempotency_in_progress"
            }
            Self::Refused | Self::Unreached | Self::Broken | Self::Late => true,
        }
    }

    /// Whether to send it again: what may be repeated whenever it may succeed, anything else only when certainly
    /// nothing happened.
    #[must_use]
    pub fn is_tried_again(&self, may_repeat: bool) -> bool {
        self.may_pass() && (may_repeat || self.effect() == Effect::None)
    }
}

/// The class under which it is counted.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Problem { status, code, effect } => {
                let outcome = if *effect == Effect::None { "none" } else { "unknown" };
                write!(f, "{status} {code}{}({outcome})", if code.is_empty() { "" } else { " " })
            }
            Self::Refused => f.write_str("connection refused (none)"),
            Self::Unreached => f.write_str("not reached (none)"),
            Self::Broken => f.write_str("connection broken (unknown)"),
            Self::Late => f.write_str("timeout (unknown)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, head: Vec::new(), body: body.as_bytes().to_vec() }
    }

    #[test]
    fn an_unkeyed_request_is_repeated_only_when_certainly_nothing_happened() {
        let moving = Failure::of(&answer(503, r#"{"code":"shard_moving","outcome":"none"}"#)).unwrap();
        let unknown = Failure::of(&answer(503, r#"{"code":"store_unavailable","outcome":"unknown"}"#)).unwrap();
        let bare = Failure::of(&answer(502, "bad gateway")).unwrap();
        let silent = [unknown, bare, Failure::Broken, Failure::Late];
        assert!([&moving, &Failure::Refused].iter().all(|failure| failure.is_tried_again(false)));
        assert!(!silent.iter().any(|failure| failure.is_tried_again(false)));
        assert!(silent.iter().all(|failure| failure.is_tried_again(true)));
    }

    #[test]
    fn a_refusal_for_good_is_never_repeated() {
        let refused = Failure::of(&answer(422, r#"{"code":"too_many_lines","outcome":"none"}"#)).unwrap();
        assert!(!refused.is_tried_again(true));
        let waiting = Failure::of(&answer(409, r#"{"code":"idempotency_in_progress","outcome":"none"}"#)).unwrap();
        assert!(waiting.is_tried_again(true));
    }

    #[test]
    fn a_class_names_status_code_and_outcome() {
        let class = |status, body| Failure::of(&answer(status, body)).unwrap().to_string();
        assert_eq!(class(503, r#"{"code":"draining","outcome":"none"}"#), "503 draining (none)");
        assert_eq!(class(502, "<html>"), "502 (unknown)");
        assert_eq!(class(500, r#"{"code":"<script>","outcome":"unknown"}"#), "500 (unknown)");
        assert!(Failure::of(&answer(201, "")).is_none());
    }
}
