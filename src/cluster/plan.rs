//! Which shard should move where: rendezvous hashing with bounded load. Pure: every node that sees the same members and
//! the same map makes the same plan.
//!
//! A shard stays where it is unless its owner may keep it no longer or has more than its share; so a join moves what the
//! newcomer gets, a leave what the leaver had, and nothing else (Thaler and Ravishankar 1998, highest random weight; the
//! bound after Mirrokni, Thorup and Zadimoghaddam 2018, with a slack of one shard).

use std::{cmp::Ordering, sync::Arc};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::machine::planted;

/// A node that may own shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub name: Arc<str>,
    /// Release of its binary.
    pub release: Arc<str>,
    /// Whether it may be given shards: it stays, shows signs of life, and reads what the cluster has written.
    pub takes: bool,
    /// Whether it may keep what it has.
    pub keeps: bool,
}

/// One shard's move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// Which.
    pub shard: u16,
    /// Whose it is, as an index of the candidates; `None` = nobody's who could hand it over.
    pub from: Option<usize>,
    /// Whose it should be, as an index of the candidates.
    pub to: usize,
}

/// What should move, in the order of shards. `owners` has one entry per shard: an index of `nodes`, or `None` for an
/// owner that is no more. Without a node that takes, nothing can.
#[must_use]
pub fn plan(nodes: &[Candidate], owners: &[Option<usize>]) -> Vec<Move> {
    let takers: Vec<usize> = (0..nodes.len()).filter(|at| nodes[*at].takes).collect();
    if takers.is_empty() {
        return Vec::new();
    }
    let mut load = vec![0_usize; nodes.len()];
    for owner in owners.iter().flatten() {
        load[*owner] += 1;
    }
    let mut moves: Vec<Move> = Vec::new();
    for (shard, owner) in owners.iter().enumerate() {
        if owner.is_none_or(|owner| !nodes[owner].keeps) {
            let to = best(nodes, &takers, &load, owners.len(), shard);
            load[to] += 1;
            moves.push(Move { shard: number(shard), from: *owner, to });
        }
    }
    // Who has too much gives, unless two releases run: then every move would be made twice.
    if is_one_release(nodes) || planted!(LevelsAmidRollout) {
        moves.extend(levelled(nodes, owners, &takers, &mut load));
    }
    moves.sort_by_key(|a| a.shard);
    moves
}

/// From whoever has most to whoever has least, until nobody has two more than another; of what the giver has, what suits
/// the receiver best.
fn levelled(nodes: &[Candidate], owners: &[Option<usize>], takers: &[usize], load: &mut [usize]) -> Vec<Move> {
    let mut moves = Vec::new();
    let mut left: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (shard, owner) in owners.iter().enumerate() {
        if let Some(owner) = owner.filter(|owner| nodes[*owner].takes) {
            left[owner].push(shard);
        }
    }
    loop {
        let most = takers.iter().copied().filter(|at| !left[*at].is_empty()).max_by_key(|at| (load[*at], *at));
        let least = takers.iter().copied().min_by_key(|at| (load[*at], *at));
        let (Some(from), Some(to)) = (most, least) else { return moves };
        if load[from] < load[to] + 2 {
            return moves;
        }
        let suits = |at: &usize| weight(&nodes[to].name, left[from][*at]);
        let Some(at) = (0..left[from].len()).max_by_key(suits) else { return moves };
        let shard = left[from].swap_remove(at);
        load[from] -= 1;
        load[to] += 1;
        moves.push(Move { shard: number(shard), from: Some(from), to });
    }
}

/// The node that suits a shard best: below its share, of the newest release, of the highest weight.
fn best(nodes: &[Candidate], takers: &[usize], load: &[usize], shards: usize, shard: usize) -> usize {
    let (even, most) = (shards / takers.len(), shards.div_ceil(takers.len()));
    let rank = |at: usize| {
        let newest = takers.iter().all(|other| by_release(&nodes[*other].release, &nodes[at].release).is_le());
        (load[at] < most, newest, load[at] < even, weight(&nodes[at].name, shard))
    };
    takers.iter().copied().max_by_key(|at| rank(*at)).unwrap_or(takers[0])
}

fn is_one_release(nodes: &[Candidate]) -> bool {
    nodes.windows(2).all(|pair| pair[0].release == pair[1].release)
}

/// Releases in order: by their numbers, as far as they have numbers.
#[must_use]
pub fn by_release(a: &str, b: &str) -> Ordering {
    let numbers = |text: &str| text.split(['.', '-', '+']).map(|part| part.parse::<u64>().ok()).collect::<Vec<_>>();
    numbers(a).cmp(&numbers(b)).then_with(|| a.cmp(b))
}

fn weight(name: &str, shard: usize) -> u64 {
    xxh3_64_with_seed(name.as_bytes(), shard as u64)
}

fn number(shard: usize) -> u16 {
    // A map has at most as many shards as there are slots.
    u16::try_from(shard).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn node(name: usize, release: &str) -> Candidate {
        Candidate { name: format!("n{name}").into(), release: release.into(), takes: true, keeps: true }
    }

    fn nodes(count: usize) -> Vec<Candidate> {
        (0..count).map(|at| node(at, "0.1.0")).collect()
    }

    fn carried_out(owners: &[Option<usize>], moves: &[Move]) -> Vec<Option<usize>> {
        let mut owners = owners.to_vec();
        for each in moves {
            assert_eq!(owners[usize::from(each.shard)], each.from);
            owners[usize::from(each.shard)] = Some(each.to);
        }
        owners
    }

    fn loads(owners: &[Option<usize>], count: usize) -> Vec<usize> {
        (0..count).map(|node| owners.iter().filter(|owner| **owner == Some(node)).count()).collect()
    }

    /// The most that one node's coming or going may move: its share, and a tenth of it or the rest of a division.
    fn fair(shards: usize, nodes: usize) -> usize {
        shards.div_ceil(nodes).max((shards as f64 / nodes as f64 * 1.1) as usize)
    }

    proptest! {
        #[test]
        fn every_shard_gets_an_owner_and_nobody_more_than_its_share(shards in 1..600_usize, count in 1..12_usize) {
            let nodes = nodes(count);
            let owners = carried_out(&vec![None; shards], &plan(&nodes, &vec![None; shards]));
            prop_assert!(owners.iter().all(Option::is_some));
            prop_assert!(loads(&owners, count).into_iter().all(|load| load <= shards.div_ceil(count)));
            prop_assert_eq!(plan(&nodes, &owners), vec![], "a map that is as planned stays");
        }

        #[test]
        fn a_join_moves_at_most_the_newcomers_share_and_only_to_it(shards in 1..600_usize, count in 1..12_usize) {
            let owners = carried_out(&vec![None; shards], &plan(&nodes(count), &vec![None; shards]));
            let moves = plan(&nodes(count + 1), &owners);
            prop_assert!(moves.len() <= fair(shards, count + 1), "{} moves", moves.len());
            prop_assert!(moves.iter().all(|each| each.to == count));
            let after = carried_out(&owners, &moves);
            prop_assert!(loads(&after, count + 1).into_iter().all(|load| load <= shards.div_ceil(count + 1)));
        }

        #[test]
        fn a_leave_moves_what_the_leaver_had_and_nothing_else(
            shards in 1..600_usize, count in 2..12_usize, leaver in 0..12_usize
        ) {
            let leaver = leaver % count;
            let mut members = nodes(count);
            let owners = carried_out(&vec![None; shards], &plan(&members, &vec![None; shards]));
            (members[leaver].takes, members[leaver].keeps) = (false, false);
            let moves = plan(&members, &owners);
            prop_assert!(moves.iter().all(|each| each.from == Some(leaver) && each.to != leaver));
            prop_assert!(moves.len() <= fair(shards, count));
            let after = carried_out(&owners, &moves);
            prop_assert_eq!(loads(&after, count)[leaver], 0);
            prop_assert!(loads(&after, count).into_iter().all(|load| load <= shards.div_ceil(count - 1)));
        }
    }

    #[test]
    fn while_two_releases_run_only_leavers_shards_move_and_the_newest_gets_them() {
        let mut members = vec![node(0, "0.9.0"), node(1, "0.9.0"), node(2, "0.10.0")];
        let owners: Vec<_> = (0..30).map(|shard| Some(shard % 2)).collect();
        assert_eq!(plan(&members, &owners), vec![], "no rebalance amid a rollout");
        (members[0].takes, members[0].keeps) = (false, false);
        let moves = plan(&members, &owners);
        assert!(moves.len() == 15 && moves.iter().all(|each| each.from == Some(0) && each.to == 2));
    }

    #[test]
    fn releases_are_ordered_by_their_numbers() {
        assert_eq!(by_release("0.10.0", "0.9.1"), Ordering::Greater);
        assert_eq!(by_release("0.9.1", "0.9.1"), Ordering::Equal);
        assert_eq!(by_release("1.0.0", "0.9"), Ordering::Greater);
    }

    #[test]
    fn without_anybody_who_takes_nothing_moves() {
        let mut members = nodes(2);
        members.iter_mut().for_each(|member| (member.takes, member.keeps) = (false, false));
        assert_eq!(plan(&members, &[Some(0), Some(1), None]), vec![]);
    }
}
