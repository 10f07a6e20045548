//! Single steps of a node's machine; whole clusters are simulated in `actors/sim/cluster`.

use super::*;
use crate::{
    domain::UnixMillis,
    store::{Head, Row},
};

/// A machine, what it was told and what it wants.
struct Bench {
    machine: Machine,
    now_ms: u64,
    op_next: u128,
}

fn seat(name: &str) -> Seat {
    let member = Member {
        name: name.to_owned(),
        incarnation: 1,
        http: String::new(),
        admin: String::new(),
        cluster: "127.0.0.1:1".to_owned(),
        release: "0.1.0".to_owned(),
        schema_min: 1,
        schema_max: 1,
        lease: 0,
        state: MemberState::Up,
    };
    Seat::new(1, member, true)
}

impl Bench {
    fn new(alone: bool) -> Self {
        let machine = Machine::new(Rules { shards: 4, alone, connected: false }, seat("n1"));
        Self { machine, now_ms: 1_000, op_next: 0 }
    }

    fn step(&mut self, input: Input) -> Vec<Output> {
        let around = Surroundings { now_ms: self.now_ms, wall: UnixMillis(1), quiet: false };
        let mut out = Vec::new();
        let next = &mut self.op_next;
        let mut op_id = || {
            *next += 1;
            *next
        };
        self.machine.step(input, &around, &mut op_id, &mut out);
        out
    }

    /// Answers every save and look of these outputs as an empty store would, until there is nothing more to answer.
    fn settle(&mut self, mut outputs: Vec<Output>) -> Vec<Output> {
        let mut all = Vec::new();
        while !outputs.is_empty() {
            let mut next = Vec::new();
            for output in outputs {
                match &output {
                    Output::Look(asked_ms) => {
                        next.extend(self.step(Input::Looked(*asked_ms, Ok(Look::default()))));
                    }
                    Output::Save(_, _, _, row) => next.extend(self.step(Input::Saved(row.op_id, Saved::Applied))),
                    _ => {}
                }
                all.push(output);
            }
            outputs = next;
        }
        all
    }
}

fn renewal(outputs: &[Output]) -> Option<&Row> {
    outputs.iter().find_map(|output| match output {
        Output::Save(Kind::Member, _, _, row) => Some(row),
        _ => None,
    })
}

#[test]
fn a_node_alone_takes_every_shard_and_says_at_once_that_it_has_nobody_to_give_them_to() {
    let mut bench = Bench::new(true);
    let outputs = bench.step(Input::Tick);
    assert!(renewal(&outputs).is_none(), "nobody can replace it, so it renews nothing");
    let outputs = bench.settle(outputs);
    let adopted = outputs.iter().filter(|output| matches!(output, Output::Adopt(_))).count();
    assert_eq!((adopted, bench.machine.owned().len()), (4, 4));
    let outputs = bench.step(Input::Drain);
    assert!(outputs.iter().any(|output| matches!(output, Output::Drained)));
}

#[test]
fn a_renewal_is_the_same_row_until_it_is_known_how_it_ended_and_counts_from_the_first() {
    let mut bench = Bench::new(false);
    let first = bench.step(Input::Tick);
    let row = renewal(&first).expect("it renews").clone();
    bench.now_ms += 100;
    let lost = Saved::Unknown(crate::store::Reason::new("late"));
    assert!(renewal(&bench.step(Input::Saved(row.op_id, lost))).is_none());
    bench.now_ms += ATTEMPT_MS;
    let again = bench.step(Input::Tick);
    assert_eq!(renewal(&again), Some(&row));
    let outputs = bench.step(Input::Saved(row.op_id, Saved::Lost(Some(row.head()))));
    assert!(outputs.iter().any(|output| matches!(output, Output::Renewed(1_000))), "{outputs:?}");
}

#[test]
fn a_renewal_that_lost_its_row_drops_every_shard_at_once() {
    let mut bench = Bench::new(false);
    let outputs = bench.step(Input::Tick);
    bench.settle(outputs);
    assert_eq!(bench.machine.owned().len(), 4);
    bench.now_ms += RENEW_EVERY_MS;
    let outputs = bench.step(Input::Tick);
    let op_id = renewal(&outputs).expect("it renews").op_id;
    let head = Head { version: 9, epoch: 0, op_id: 77 };
    let outputs = bench.step(Input::Saved(op_id, Saved::Lost(Some(head))));
    assert!(matches!(outputs[0], Output::Replaced));
    assert_eq!(outputs.iter().filter(|output| matches!(output, Output::Depose(_))).count(), 4);
    assert!(bench.step(Input::Tick).is_empty(), "it does nothing any more");
}
