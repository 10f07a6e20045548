//! The simulation of whole purchases: the real machines of carts, checkouts, stocks, codes and orders, and the sandbox
//! bank's own decisions, in a world of nodes that crash and are replaced without knowing it, a store that misbehaves, and
//! messages that are lost, come twice, or come when nobody thinks of them any more.
//!
//! ```text
//! world ── what happens when ──► node ── Durable per actor ──► store: rows, agenda
//!   │                             │ deeds
//!   ├── shoppers: what is asked   └──► deliver ── errands ──► other actors, bank
//!   └── check, settled: the promises
//! ```
//!
//! What one actor's need is as another's command, and what the answer means to it, is the product's own (`errand`,
//! `done` of each kind). One thread, no clock, no dice but the seed's. After every commit `check` holds the row against
//! the others; once all has come to rest, `settled` holds money, goods, codes, carts and orders against each other. In
//! three seeds of four somebody wants to be told what happens: `sink` holds what arrives against what was committed.
//!
//! Replay one seed with its whole trace: `cargo xtask sim --purchase --seed N`.

mod bank;
mod check;
mod deliver;
mod kinds;
mod node;
mod planted;
mod settled;
mod shoppers;
mod sink;
mod store;
mod world;

use std::{collections::BTreeMap, thread};

use self::world::{Report, run};
use super::{number, world::Violation};
use crate::actors::durable::{Bug, plant};

/// Seeds per run of the tests, unless `TROLLEY_SIM_SEEDS` says otherwise.
const SEEDS: u64 = 2_000;
/// Seeds on a busy shelf.
const BUSY_SEEDS: u64 = 1_000;
/// Lines of a trace that a failure shows.
const TAIL: usize = 80;

/// Panics with what a person needs to go on.
fn explain(seed: u64, violation: &Violation) -> ! {
    let trace = run(seed, true).err().map(|violation| violation.trace).unwrap_or_default();
    let tail = trace.lines().rev().take(TAIL).collect::<Vec<_>>();
    let tail: Vec<_> = tail.into_iter().rev().collect();
    panic!("{violation}\n{}\nreplay: cargo xtask sim --purchase --seed {seed}", tail.join("\n"));
}

/// The promises hold after every step, whatever the store, the gateway, the ways and the nodes do.
#[test]
fn two_thousand_seeds_of_purchases_hold_p1_to_p7_and_p10() {
    let (first, seeds) = (number("TROLLEY_SIM_FIRST").unwrap_or(0), number("TROLLEY_SIM_SEEDS").unwrap_or(SEEDS));
    let workers = thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let goes_on = number("TROLLEY_SIM_ALL").is_some();
    let mut total = Report::default();
    thread::scope(|scope| {
        let work = |worker: u64| {
            let (mut events, mut counts) = (0, BTreeMap::<_, usize>::new());
            for seed in (first + worker..first + seeds).step_by(workers as usize) {
                match run(seed, false) {
                    Ok(report) => {
                        events += report.events;
                        report.counts.into_iter().for_each(|(what, n)| *counts.entry(what).or_default() += n);
                    }
                    Err(violation) if goes_on => println!("seed {seed}: {violation}"),
                    Err(violation) => explain(seed, &violation),
                }
            }
            (events, counts)
        };
        let running: Vec<_> = (0..workers).map(|worker| scope.spawn(move || work(worker))).collect();
        for worker in running {
            let (events, counts) = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            total.events += events;
            counts.into_iter().for_each(|(what, n)| *total.counts.entry(what).or_default() += n);
        }
    });
    println!("simulated {seeds} seeds of purchases, {} events: {:?}", total.events, total.counts);
    // Seeds that buy nothing prove nothing.
    assert!(
        total.counts.get("completed").is_some_and(|completed| *completed as u64 >= seeds / 4),
        "{:?}",
        total.counts
    );
}

/// A stock remembers the newest forgotten holds only: on a busy shelf that is none, and what is late is refused without.
#[test]
fn a_product_that_everybody_buys_holds_the_same_promises() {
    plant(Some(Bug::BusyShelf));
    for seed in 0..BUSY_SEEDS {
        if let Err(violation) = run(seed, false) {
            explain(seed, &violation);
        }
    }
    plant(None);
}

#[test]
fn the_same_seed_gives_the_same_purchases_and_another_seed_others() {
    let trace = |seed| run(seed, true).unwrap_or_else(|violation| explain(seed, &violation));
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
        Ok(report) => println!("{}seed {seed}: no violation, {:?}", report.trace, report.counts),
        Err(violation) => {
            println!("{}", violation.trace);
            explain(seed, &violation);
        }
    }
}
