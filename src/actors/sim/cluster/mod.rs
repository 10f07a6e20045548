//! The simulation of whole clusters: the real machines of nodes, leases, routes and durable actors in a world of clocks
//! that drift, processes that pause and die, ways that are cut in one direction or both, and a store that misbehaves.
//!
//! ```text
//! world ── what happens when ──► node ── cluster::Machine, Grounds ──► host ── Durable per actor
//!   │                             ▲ ▲                                   ▲
//!   ├── faults                    │ └── net: sessions, probes, dials    │
//!   └── clients ─► trips (journey)┘                                     └── disk: rows, and how saves may go
//! ```
//!
//! One thread, no clock, no dice but the seed's: as in the simulation of single actors beside it, whose actor, store and
//! ledger it shares. P8 is judged in true time: a read that is told as the newest, on any node, has in it whatever
//! anybody was told before it was asked.
//!
//! Replay one seed with its whole trace: `cargo xtask sim --cluster --seed N`.

mod disk;
mod faults;
mod host;
mod net;
mod node;
mod planted;
mod releases;
mod settled;
mod trips;
mod world;

use std::thread;

use self::world::run;
use super::{number, world::Violation};

/// Seeds per run of the tests, unless `TROLLEY_SIM_SEEDS` says otherwise.
const SEEDS: u64 = 2_000;
/// Lines of a trace that a failure shows.
const TAIL: usize = 60;

/// Panics with what a person needs to go on.
fn explain(seed: u64, violation: &Violation) -> ! {
    let trace = run(seed, true).err().map(|violation| violation.trace).unwrap_or_default();
    let tail = trace.lines().rev().take(TAIL).collect::<Vec<_>>();
    let tail: Vec<_> = tail.into_iter().rev().collect();
    panic!("{violation}\n{}\nreplay: cargo xtask sim --cluster --seed {seed}", tail.join("\n"));
}

/// The promises hold after every step, whatever the store, the clocks, the ways and the nodes do.
#[test]
fn two_thousand_clusters_hold_p1_p2_p3_p8_p9_p10() {
    let (first, seeds) = (number("TROLLEY_SIM_FIRST").unwrap_or(0), number("TROLLEY_SIM_SEEDS").unwrap_or(SEEDS));
    let workers = thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let goes_on = number("TROLLEY_SIM_ALL").is_some();
    let mut events = 0;
    thread::scope(|scope| {
        let work = |worker: u64| {
            let mut events = 0;
            for seed in (first + worker..first + seeds).step_by(workers as usize) {
                match run(seed, false) {
                    Ok((_, count)) => events += count,
                    Err(violation) if goes_on => println!("seed {seed}: {violation}"),
                    Err(violation) => explain(seed, &violation),
                }
            }
            events
        };
        let running: Vec<_> = (0..workers).map(|worker| scope.spawn(move || work(worker))).collect();
        for worker in running {
            events += worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
    println!("simulated {seeds} clusters, {events} events");
}

#[test]
fn the_same_seed_gives_the_same_cluster_and_another_seed_another() {
    let trace = |seed| run(seed, true).unwrap_or_else(|violation| explain(seed, &violation)).0;
    for seed in 0..5 {
        assert_eq!(trace(seed), trace(seed), "seed {seed}");
    }
    assert_ne!(trace(1), trace(2));
}

/// Replays `TROLLEY_SIM_SEED` and prints its trace.
#[test]
fn replay() {
    let Some(seed) = number("TROLLEY_SIM_SEED") else { return };
    match run(seed, true) {
        Ok((trace, _)) => println!("{trace}seed {seed}: no violation"),
        Err(violation) => {
            println!("{}", violation.trace);
            explain(seed, &violation);
        }
    }
}
