//! The simulation of durable actors: the real machine in a world of clocks, crashes, owners and a store that misbehaves.
//!
//! One thread, no clock, no dice but the seed's. Every source of nondeterminism is here: which event happens next, how
//! far the clocks go, whether a save is delayed, refused, lost, applied without an answer or applied much later, when a
//! node crashes, when a shard changes hands, what clients ask and whether they ask again. The same seed gives the same
//! trace, byte for byte. After every step `check` holds the promises against a record of what the store committed.
//!
//! Replay one seed with its whole trace: `cargo xtask sim --seed N`.

mod check;
mod cluster;
mod deliver;
pub(in crate::actors) mod entity;
mod message;
mod planted;
mod purchase;
mod rng;
mod sink;
mod store;
mod world;

use std::thread;

#[cfg(test)]
pub(in crate::actors) use self::world::quiet_planned_panics;
use self::world::{Violation, run};

/// Seeds per run of the tests, unless `TROLLEY_SIM_SEEDS` says otherwise.
const SEEDS: u64 = 10_000;
/// Lines of a trace that a failure shows.
const TAIL: usize = 40;

#[expect(
    clippy::disallowed_methods,
    reason = "which seeds to run is the developer's choice, not an option of the product"
)]
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Panics with what a person needs to go on.
fn explain(seed: u64, violation: &Violation) -> ! {
    let tail = violation.trace.lines().rev().take(TAIL).collect::<Vec<_>>();
    let tail: Vec<_> = tail.into_iter().rev().collect();
    panic!("{violation}\n{}\nreplay: cargo xtask sim --seed {seed}", tail.join("\n"));
}

/// P1, P2, P3, P7, P9 and P10 hold after every step, whatever the store, the clocks and the owners do.
#[test]
fn ten_thousand_seeds_hold_p1_p2_p3_p7_p9_p10() {
    let (first, seeds) = (number("TROLLEY_SIM_FIRST").unwrap_or(0), number("TROLLEY_SIM_SEEDS").unwrap_or(SEEDS));
    let workers = thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let mut steps = 0;
    thread::scope(|scope| {
        let work = |worker: u64| {
            let mut steps = 0;
            for seed in (first + worker..first + seeds).step_by(workers as usize) {
                match run(seed) {
                    Ok(trace) => steps += trace.lines().count(),
                    Err(violation) => explain(seed, &violation),
                }
            }
            steps
        };
        let running: Vec<_> = (0..workers).map(|worker| scope.spawn(move || work(worker))).collect();
        for worker in running {
            steps += worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
    println!("simulated {seeds} seeds, {steps} events, 0 violations");
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
    let trace = |seed| run(seed).unwrap_or_else(|violation| explain(seed, &violation));
    for seed in 0..20 {
        assert_eq!(trace(seed), trace(seed), "seed {seed}");
    }
    assert_ne!(trace(1), trace(2));
}

/// Replays `TROLLEY_SIM_SEED` and prints its trace.
#[test]
fn replay() {
    let Some(seed) = number("TROLLEY_SIM_SEED") else { return };
    match run(seed) {
        Ok(trace) => println!("{trace}seed {seed}: no violation"),
        Err(violation) => {
            println!("{}", violation.trace);
            explain(seed, &violation);
        }
    }
}
