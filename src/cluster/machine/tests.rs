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
        format_min: 1,
        format_max: 2,
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
    fn settle(&mut self, outputs: Vec<Output>) -> Vec<Output> {
        self.settle_with(outputs, &Look::default())
    }

    /// The same of a store in which there is this.
    fn settle_with(&mut self, mut outputs: Vec<Output>, found: &Look) -> Vec<Output> {
        let mut all = Vec::new();
        while !outputs.is_empty() {
            let mut next = Vec::new();
            for output in outputs {
                match &output {
                    Output::Look(asked_ms) => {
                        next.extend(self.step(Input::Looked(*asked_ms, Ok(found.clone()))));
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

/// What the map would be, of the first save of it in these outputs.
fn map_saved(outputs: &[Output]) -> Option<ShardMap> {
    outputs.iter().find_map(|output| match output {
        Output::Save(Kind::Map, _, _, row) => crate::codec::decode_map(&row.body).ok(),
        _ => None,
    })
}

fn other(name: &str, format_max: u16, state: MemberState) -> Member {
    Member { name: name.to_owned(), format_max, state, ..seat("x").member }
}

fn map_of(format: u16, owners: [(&str, u64); 4]) -> ShardMap {
    let entry = |(node, incarnation): (&str, u64)| crate::codec::ShardEntry {
        node: node.to_owned(),
        incarnation,
        epoch: 1,
        fence: 1,
        closed_at_ms: 0,
    };
    ShardMap { version: 1, format, shards: owners.map(entry).to_vec() }
}

/// What a node does that finds these members and this map.
fn meets(members: Vec<Member>, map: ShardMap) -> (Bench, Vec<Output>) {
    let mut bench = Bench::new(false);
    let found = Look { members: members.into_iter().map(|member| (1, member)).collect(), map: Some((1, map)) };
    let outputs = bench.step(Input::Tick);
    let outputs = bench.settle_with(outputs, &found);
    (bench, outputs)
}

const EVEN: [(&str, u64); 4] = [("n1", 1), ("n1", 1), ("n2", 1), ("n2", 1)];

#[test]
fn a_new_cluster_begins_with_the_format_that_all_who_are_there_read() {
    let mut bench = Bench::new(false);
    let outputs = bench.step(Input::Tick);
    let outputs = bench.settle(outputs);
    assert_eq!(map_saved(&outputs).expect("it makes the map").format, 2);
    let mut bench = Bench::new(false);
    let found = Look { members: vec![(1, other("n2", 1, MemberState::Up))], map: None };
    let outputs = bench.step(Input::Tick);
    let outputs = bench.settle_with(outputs, &found);
    assert_eq!(map_saved(&outputs).expect("it makes the map").format, 1);
}

#[test]
fn the_format_is_raised_once_every_member_and_every_owner_reads_it() {
    let (bench, outputs) = meets(vec![other("n2", 2, MemberState::Up)], map_of(1, EVEN));
    let raised = map_saved(&outputs).expect("it raises the format");
    let same: Vec<_> = raised.shards.iter().map(|entry| (entry.node.as_str(), entry.epoch)).collect();
    assert_eq!((raised.format, raised.version), (2, 2));
    assert_eq!(same, [("n1", 1), ("n1", 1), ("n2", 1), ("n2", 1)], "nothing else changes");
    let told = outputs.iter().rev().find_map(|output| match output {
        Output::Routes(routes) => Some(routes.format),
        _ => None,
    });
    assert_eq!((told, bench.machine.owned().len()), (Some(2), 2), "whoever routes is told");

    let waits = |members, owners| assert_eq!(map_saved(&meets(members, map_of(1, owners)).1), None);
    waits(vec![other("n2", 1, MemberState::Up)], EVEN);
    waits(vec![other("n2", 2, MemberState::Up), other("n3", 1, MemberState::Leaving)], EVEN);
    // One that is no more reads nothing; but as long as the map gives it shards, it may not know that.
    let evicted = vec![other("n2", 2, MemberState::Up), other("n3", 1, MemberState::Evicted)];
    assert_eq!(map_saved(&meets(evicted.clone(), map_of(1, EVEN)).1).expect("n3 is no more").format, 2);
    let owns = [("n1", 1), ("n1", 1), ("n2", 1), ("n3", 1)];
    assert_eq!(map_saved(&meets(evicted, map_of(1, owns)).1).map_or(1, |map| map.format), 1);
}

#[test]
fn a_format_that_was_written_is_written_on_and_who_does_not_read_it_is_given_nothing() {
    let all_mine = [("n1", 1); 4];
    let (_, outputs) = meets(vec![other("n2", 1, MemberState::Up)], map_of(2, all_mine));
    assert_eq!(map_saved(&outputs), None);
    assert!(!outputs.iter().any(|output| matches!(output, Output::Release(_))), "n2 gets nothing: {outputs:?}");
    let (_, outputs) = meets(vec![other("n2", 2, MemberState::Up)], map_of(2, all_mine));
    assert!(outputs.iter().any(|output| matches!(output, Output::Release(_))), "n2 gets its share");
}

#[test]
fn a_node_that_does_not_read_what_was_written_serves_nothing_and_gives_its_seat_back() {
    let (bench, outputs) = meets(vec![other("n2", 9, MemberState::Up)], map_of(3, [("n1", 1); 4]));
    assert!(!outputs.iter().any(|output| matches!(output, Output::Adopt(_))), "{outputs:?}");
    assert!(outputs.iter().any(|output| matches!(output, Output::Note(Note::Unreadable(3)))));
    assert!(matches!(outputs.last(), Some(Output::Outdated(3))), "{outputs:?}");
    assert!(!bench.machine.is_settled());
}

#[test]
fn a_handover_says_when_the_shard_was_closed_and_a_takeover_says_nothing() {
    let (mut bench, outputs) = meets(vec![other("n2", 2, MemberState::Up)], map_of(2, [("n1", 1); 4]));
    let released: Vec<u16> = outputs
        .iter()
        .filter_map(|output| if let Output::Release(shard) = output { Some(*shard) } else { None })
        .collect();
    assert_eq!(released.len(), 2);
    let mut all = Vec::new();
    for shard in &released {
        all.extend(bench.step(Input::Released(*shard, true)));
    }
    let handed = map_saved(&all).expect("it names the new owner");
    for (shard, entry) in handed.shards.iter().enumerate() {
        let expected = if released.contains(&(shard as u16)) { ("n2", 1) } else { ("n1", 0) };
        assert_eq!((entry.node.as_str(), entry.closed_at_ms), expected);
    }
}
