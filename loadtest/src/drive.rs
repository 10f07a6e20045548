//! Sends shoppers when they are due, whether or not the service keeps up.

use std::{
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
};

use crate::{
    arrivals::Arrivals,
    scenario::Stage,
    shopper::{Shopper, World},
};

/// Due arrivals that wait for the runtime; beyond it the pacer waits, and the lag tells.
const DUE_MAX: usize = 1024;
/// How much before an arrival is due the pacer stops waiting and looks at the clock: what a wake-up takes.
const WAKE_UP: Duration = Duration::from_micros(80);

/// Runs a schedule to its end and waits for the last answers; at most so many shoppers are inside at once, and those
/// who come on top are dropped.
///
/// # Errors
/// When there can be no pacer.
pub async fn drive(arrivals: Arrivals, stage: Arc<Stage>, world: &Arc<World>, inside_max: usize) -> io::Result<()> {
    let (began, inside) = (world.measure.began(), Arc::new(Semaphore::new(inside_max)));
    let (due_now, mut due) = mpsc::channel(DUE_MAX);
    // A thread of its own: the runtime's timers are a millisecond coarse.
    let pacer = thread::Builder::new().name("pacer".to_owned()).spawn(move || {
        for time in arrivals.times() {
            wait_until(began + time);
            if due_now.blocking_send(began + time).is_err() {
                return;
            }
        }
    })?;
    let (mut visits, mut number) = (JoinSet::new(), 0);
    while let Some(due) = due.recv().await {
        number += 1;
        match Arc::clone(&inside).try_acquire_owned() {
            Ok(place) => {
                world.measure.arrived(due.elapsed());
                let (stage, shopper) = (Arc::clone(&stage), Shopper::new(world, due));
                visits.spawn(async move {
                    stage.visit(number, shopper).await;
                    drop(place);
                });
            }
            Err(_) => world.measure.dropped(),
        }
        while visits.try_join_next().is_some() {}
    }
    while visits.join_next().await.is_some() {}
    pacer.join().map_err(|_| io::Error::other("the pacer failed"))
}

fn wait_until(due: Instant) {
    loop {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        } else if left > WAKE_UP {
            thread::park_timeout(left - WAKE_UP);
        } else {
            std::hint::spin_loop();
        }
    }
}
