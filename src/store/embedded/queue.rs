//! What waits for the writer. Handing a job over wakes the writer's thread only when it has what it waits for: on a busy
//! machine a thread that wakes for every job does little else.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::writer::Job;
use crate::store::Reason;

/// Jobs in one batch: enough to share one sync among everyone who waits, few enough that the first is not kept
/// waiting by the work for the last.
const BATCH_JOBS_MAX: usize = 1024;
/// Bytes in one batch: what a slow disk syncs within tens of milliseconds.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A batch that follows one of at least so many jobs waits a little for as many again: those who were just answered
/// are about to come back, and a sync costs the same for all of them. One lonely writer never waits.
const COMPANY_JOBS_MIN: usize = 8;

/// Jobs in the order in which they came.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    closed: bool,
    /// How many jobs the writer waits for; 0 = it does not wait.
    wanted: usize,
}

/// What there is to do.
pub(super) enum Next {
    Batch(Vec<Job>),
    /// Nothing came in time.
    Nothing,
    /// Nothing will come any more.
    Closed,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is one push or take: a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a job, or refuses it once closed.
    pub(super) fn push(&self, job: Job) {
        let mut state = self.lock();
        if state.closed {
            drop(state);
            return job.work.refuse(&Reason::new("the store is closed"));
        }
        state.jobs.push_back(job);
        if state.wanted != 0 && state.jobs.len() >= state.wanted {
            state.wanted = 0;
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Takes no more jobs. What waits is still given out.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }

    /// The next batch, after one of `before` jobs: waits for the first job at most `patience` (`None` = for ever), and for
    /// company at most `company_wait`. Whoever woke the writer may be amid sending several: where both share a core, they are
    /// let finish first.
    pub(super) fn take(&self, before: usize, patience: Option<Duration>, company_wait: Duration) -> Next {
        let mut state = self.wait(self.lock(), 1, patience);
        if state.jobs.is_empty() {
            return if state.closed { Next::Closed } else { Next::Nothing };
        }
        if state.jobs.len() < COMPANY_JOBS_MIN {
            drop(state);
            thread::yield_now();
            state = self.lock();
        }
        let company = if before >= COMPANY_JOBS_MIN { before.min(BATCH_JOBS_MAX) } else { 1 };
        let mut state = self.wait(state, company, Some(company_wait));
        let mut bytes = 0;
        let fits = |job: &&Job| {
            bytes += job.work.bytes();
            bytes <= BATCH_BYTES_MAX
        };
        // One job alone may be larger than a batch should be.
        let count = state.jobs.iter().take(BATCH_JOBS_MAX).take_while(fits).count().max(1);
        Next::Batch(state.jobs.drain(..count).collect())
    }

    fn wait<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        wanted: usize,
        patience: Option<Duration>,
    ) -> MutexGuard<'a, State> {
        let until = patience.map(|patience| Instant::now() + patience);
        while state.jobs.len() < wanted && !state.closed {
            state.wanted = wanted;
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            state = match left {
                None => self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => break,
                Some(left) => self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
        state.wanted = 0;
        state
    }
}
