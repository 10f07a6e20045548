//! Turns that panic: one drops its command, several put the actor in quarantine.

use std::time::Duration;

use super::{Deeds, Durable, Entity, Note, Output, Phase, Surroundings, Token};
use crate::actors::ask::Failure;

/// Panics within [`PANIC_WINDOW_MS`] that quarantine an actor.
pub(super) const PANICS_MAX: usize = 3;
/// How long a panic counts.
pub(super) const PANIC_WINDOW_MS: u64 = 60_000;
/// First rest of a quarantined actor; doubles to [`REST_MAX_MS`].
pub(super) const REST_MIN_MS: u64 = 30_000;
/// Longest rest.
pub(super) const REST_MAX_MS: u64 = 600_000;

#[derive(Debug, Default)]
pub(super) struct Trouble {
    pub(super) panics_ms: Vec<u64>,
    rests: u32,
    rested_at_ms: u64,
}

impl<E: Entity, T: Token> Durable<E, T> {
    pub(super) fn forget_trouble(&mut self, now_ms: u64) {
        if let Some(trouble) = &mut self.trouble {
            trouble.panics_ms.retain(|at| now_ms.saturating_sub(*at) < PANIC_WINDOW_MS);
            let calm = now_ms.saturating_sub(trouble.rested_at_ms) >= REST_MAX_MS;
            if trouble.panics_ms.is_empty() && (trouble.rests == 0 || calm) {
                self.trouble = None;
            }
        }
    }

    /// A turn panicked: count it, and rest when it happens too often.
    pub(super) fn panicked(&mut self, around: &Surroundings, out: &mut Vec<Output<E, T>>) {
        out.push(Output::Note(Note::Panicked));
        out.push(Output::Retracted);
        self.phase = Phase::Cold;
        self.deeds = Deeds::default();
        let now_ms = around.mono_ms;
        let trouble = self.trouble.get_or_insert_default();
        trouble.panics_ms.retain(|at| now_ms.saturating_sub(*at) < PANIC_WINDOW_MS);
        trouble.panics_ms.push(now_ms);
        // Its memory must not pin it longer than it matters.
        out.push(Output::WakeAt(now_ms + PANIC_WINDOW_MS));
        if trouble.panics_ms.len() < PANICS_MAX {
            return;
        }
        let rest_ms = REST_MIN_MS.saturating_mul(1 << trouble.rests.min(8)).min(REST_MAX_MS);
        trouble.rests += 1;
        trouble.rested_at_ms = now_ms + rest_ms;
        trouble.panics_ms.clear();
        let retry_after = Duration::from_millis(rest_ms);
        self.phase = Phase::Resting { until_ms: now_ms + rest_ms };
        out.push(Output::Note(Note::Quarantined(retry_after)));
        out.push(Output::WakeAt(now_ms + rest_ms));
        out.push(Output::WakeAt(now_ms + rest_ms + REST_MAX_MS));
        self.fail_waiting(&Failure::Quarantined { retry_after }, out);
    }
}
