//! What waits for the writer. Handing a job over wakes the writer's thread only when it has what it waits for: on a busy
//! machine a thread that wakes for every job does little else. Jobs that nobody waits for do not begin a batch, for some
//! milliseconds: a busy store has begun one by then, and each batch costs a sync.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::writer::Job;
use crate::store::{Haste, Reason};

/// Jobs in one batch: enough to share one sync among everyone who waits, few enough that the first is not kept
/// waiting by the work for the last.
const BATCH_JOBS_MAX: usize = 1024;
/// Bytes in one batch: what a slow disk syncs within tens of milliseconds.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A batch that follows one of at least so many urgent jobs waits a little for as many again: those who were just answered
/// are about to come back, and a sync costs the same for all of them. One lonely writer never waits.
const COMPANY_JOBS_MIN: usize = 8;

/// How long a patient job waits for an urgent one to share a sync with: several syncs of a fast disk, and nothing to
/// whoever comes to its actor meanwhile.
const PATIENCE_MAX: Duration = Duration::from_millis(2);

/// Jobs in the order in which they came.
pub(super) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
}

impl Default for Queue {
    fn default() -> Self {
        Self::new(PATIENCE_MAX)
    }
}

struct State {
    jobs: VecDeque<Job>,
    /// How many of them are urgent.
    urgent: usize,
    /// When the others may wait no longer, if there are any.
    patient_until: Option<Instant>,
    patience_max: Duration,
    closed: bool,
    wanted: Wanted,
}

/// What the writer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// It does not wait.
    Nothing,
    /// A job of whatever sort.
    Any,
    /// So many urgent ones, or a full batch.
    Urgent(usize),
}

impl State {
    fn push(&mut self, job: Job) {
        match job.work.haste() {
            Haste::Urgent => self.urgent += 1,
            Haste::Patient => {
                self.patient_until = self.patient_until.or_else(|| Some(Instant::now() + self.patience_max))
            }
        }
        self.jobs.push_back(job);
    }

    /// Takes the first ones out.
    fn drain(&mut self, count: usize) -> Vec<Job> {
        let batch = self.jobs.drain(..count).collect();
        self.urgent = self.jobs.iter().filter(|job| job.work.haste() == Haste::Urgent).count();
        // Patience begins anew for those who did not fit; they are the next batch's first.
        self.patient_until = (self.urgent < self.jobs.len()).then(|| Instant::now() + self.patience_max);
        batch
    }

    fn has(&self, wanted: Wanted) -> bool {
        match wanted {
            Wanted::Nothing => false,
            Wanted::Any => !self.jobs.is_empty(),
            Wanted::Urgent(count) => self.urgent >= count || self.jobs.len() >= BATCH_JOBS_MAX,
        }
    }
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
    fn new(patience_max: Duration) -> Self {
        let (jobs, urgent, patient_until) = (VecDeque::new(), 0, None);
        let state = State { jobs, urgent, patient_until, patience_max, closed: false, wanted: Wanted::Nothing };
        Self { state: Mutex::new(state), wake: Condvar::new() }
    }

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
        state.push(job);
        if state.has(state.wanted) {
            state.wanted = Wanted::Nothing;
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Takes no more jobs. What waits is still given out.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }

    /// The next batch, after one with `urgent_before` urgent jobs: waits for the first job at most `patience` (`None` = for ever), and for
    /// company at most `company_wait`. Whoever woke the writer may be amid sending several: where both share a core, they are
    /// let finish first.
    pub(super) fn take(&self, urgent_before: usize, patience: Option<Duration>, company_wait: Duration) -> Next {
        let until = patience.map(|patience| Instant::now() + patience);
        let mut state = self.wait_for_first(self.lock(), until);
        if state.jobs.is_empty() {
            return if state.closed { Next::Closed } else { Next::Nothing };
        }
        if state.jobs.len() < COMPANY_JOBS_MIN {
            drop(state);
            thread::yield_now();
            state = self.lock();
        }
        if urgent_before >= COMPANY_JOBS_MIN {
            state = self.wait(state, Wanted::Urgent(urgent_before), Some(Instant::now() + company_wait));
        }
        let mut bytes = 0;
        let fits = |job: &&Job| {
            bytes += job.work.bytes();
            bytes <= BATCH_BYTES_MAX
        };
        // One job alone may be larger than a batch should be.
        let count = state.jobs.iter().take(BATCH_JOBS_MAX).take_while(fits).count().max(1);
        Next::Batch(state.drain(count))
    }

    /// Waits for an urgent job, or for the end of a patient one's patience.
    fn wait_for_first<'a>(&'a self, state: MutexGuard<'a, State>, until: Option<Instant>) -> MutexGuard<'a, State> {
        let state = self.wait(state, Wanted::Any, until);
        let until = [until, state.patient_until].into_iter().flatten().min();
        if state.jobs.is_empty() { state } else { self.wait(state, Wanted::Urgent(1), until) }
    }

    fn wait<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        wanted: Wanted,
        until: Option<Instant>,
    ) -> MutexGuard<'a, State> {
        while !state.has(wanted) && !state.closed {
            state.wanted = wanted;
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            state = match left {
                None => self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => break,
                Some(left) => self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
        state.wanted = Wanted::Nothing;
        state
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::{Semaphore, oneshot};

    use super::*;
    use crate::store::embedded::writer::Work;

    const FOR_EVER: Duration = Duration::from_secs(3600);

    fn job(haste: Haste) -> Job {
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        Job { work: Work::Index { changes: Vec::new(), haste, done: oneshot::channel().0 }, place }
    }

    /// Lets whoever takes from the queue go when the test has failed.
    struct CloseOnPanic<'a>(&'a Queue);

    impl Drop for CloseOnPanic<'_> {
        fn drop(&mut self) {
            if thread::panicking() {
                self.0.close();
            }
        }
    }

    /// How many jobs the next batch has, while `meanwhile` happens.
    fn batch(queue: &Queue, meanwhile: impl FnOnce()) -> usize {
        thread::scope(|scope| {
            let taking = scope.spawn(|| queue.take(0, None, Duration::ZERO));
            let _closes = CloseOnPanic(queue);
            meanwhile();
            let Next::Batch(jobs) = taking.join().unwrap() else { panic!("no batch") };
            jobs.len()
        })
    }

    fn until_the_writer_wants(queue: &Queue, wanted: Wanted) {
        let until = Instant::now() + Duration::from_secs(30);
        while queue.lock().wanted != wanted {
            assert!(Instant::now() < until, "the writer does not wait for it");
            thread::yield_now();
        }
    }

    #[test]
    fn a_patient_job_rides_with_the_next_urgent_one() {
        let queue = Queue::new(FOR_EVER);
        let jobs = batch(&queue, || {
            until_the_writer_wants(&queue, Wanted::Any);
            queue.push(job(Haste::Patient));
            until_the_writer_wants(&queue, Wanted::Urgent(1));
            queue.push(job(Haste::Patient));
            queue.push(job(Haste::Urgent));
        });
        assert_eq!(jobs, 3);
    }

    #[test]
    fn patience_ends() {
        let queue = Queue::new(Duration::from_millis(1));
        assert_eq!(batch(&queue, || queue.push(job(Haste::Patient))), 1);
    }

    #[test]
    fn a_queue_that_closes_gives_out_what_is_patient() {
        let queue = Queue::new(FOR_EVER);
        queue.push(job(Haste::Patient));
        assert_eq!(batch(&queue, || queue.close()), 1);
        assert!(matches!(queue.take(0, None, Duration::ZERO), Next::Closed));
    }

    #[test]
    fn whoever_did_not_fit_is_counted_again() {
        let queue = Queue::new(FOR_EVER);
        (0..BATCH_JOBS_MAX).for_each(|_| queue.push(job(Haste::Urgent)));
        queue.push(job(Haste::Patient));
        assert_eq!(batch(&queue, || {}), BATCH_JOBS_MAX);
        let jobs = batch(&queue, || {
            until_the_writer_wants(&queue, Wanted::Urgent(1));
            queue.push(job(Haste::Urgent));
        });
        assert_eq!(jobs, 2);
    }
}
