//! Whatever happens around a checkout, in whatever order, goods and money end where they belong.

use proptest::prelude::*;

use super::{
    super::{End, Phase, Undone},
    world::{Dice, World},
};

/// Choices that proptest makes, and can take away again.
struct Choices(std::vec::IntoIter<u16>);

impl Dice for Choices {
    fn roll(&mut self, sides: usize) -> Option<usize> {
        self.0.next().map(|choice| usize::from(choice) % sides)
    }
}

/// A fixed row of choices: xorshift64.
struct Seeded {
    state: u64,
    left: usize,
}

impl Dice for Seeded {
    fn roll(&mut self, sides: usize) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        Some((self.state >> 20) as usize % sides)
    }
}

/// What must be true once nothing moves any more.
fn p5_and_p6_hold(world: &World) {
    let Phase::Ended(end) = world.state().phase else { panic!("it has ended") };
    let bought = end == End::Completed;
    assert_eq!(world.orders.len(), usize::from(bought), "an order exactly if it was completed");
    assert_eq!(world.state().order_id().is_some(), bought);
    assert_eq!((world.settled, world.let_go), (usize::from(bought), usize::from(!bought)), "the cart was told once");
    let reserved = world.gateway.0.values().filter(|payment| payment.reserved && !payment.voided).count();
    assert_eq!(reserved, usize::from(bought), "money is reserved for an order, once, and for nothing else");
    for (shelf, units) in world.shelves().into_iter().zip([2, 2, 1]) {
        assert_eq!(shelf.held(), 0, "nothing is held any more: {:?}", shelf.entries);
        assert_eq!(shelf.sold, if bought { units } else { 0 });
        assert_eq!(shelf.available + shelf.sold, shelf.on_hand);
    }
    if end == End::Undone(Undone::Refused) {
        let refused = (world.state().refused_lines().count(), world.state().refused_codes().count());
        assert_ne!(refused, (0, 0), "a refusal names what is not there");
    }
}

/// Where goods are short in one world of eight.
fn world(shape: usize) -> World {
    let [mugs, tees, uses] = if shape.is_multiple_of(8) { [2, 1, 1] } else { [5, 5, 1] };
    World::new(mugs, tees, uses)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]
    #[test]
    fn p5_p6_hold_whatever_happens(
        shape in 0..16_usize,
        choices in prop::collection::vec(any::<u16>(), 0..2_500),
    ) {
        let mut world = world(shape);
        world.run(&mut Choices(choices.into_iter()));
        world.settle();
        p5_and_p6_hold(&world);
    }
}

/// The worlds are wild enough: each way to end is taken, and what must be seldom does happen.
#[test]
fn worlds_differ() {
    let mut ends = std::collections::BTreeMap::new();
    let (mut overtaken, mut voids, mut tried_again) = (0, 0, 0);
    for seed in 1..=3_000_u64 {
        let mut world = world(seed as usize);
        world.run(&mut Seeded {
            state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            left: 300 + (seed as usize % 2_700),
        });
        world.settle();
        p5_and_p6_hold(&world);
        let Phase::Ended(end) = world.state().phase else { panic!() };
        *ends.entry(format!("{end:?}")).or_insert(0) += 1;
        overtaken += world.seen.overtaken;
        voids += usize::from(world.seen.voids > 0);
        tried_again += usize::from(world.seen.attempts > 1 && end == End::Completed);
    }
    assert_eq!(ends.len(), 4, "{ends:?}");
    assert!(ends.values().all(|times| *times > 50), "{ends:?}");
    assert!(overtaken > 1_000 && voids > 20 && tried_again > 20, "{overtaken} {voids} {tried_again}");
}
