//! What holds for every cart, whatever is asked of it in whatever order.

use proptest::prelude::*;

use super::*;
use crate::domain::{CartId, Context, Currency, GuestId, Slot, UnixMillis};

const MAX_AMOUNT: i64 = crate::domain::product::UNIT_PRICE_MAX;

fn owner() -> Owner {
    Owner::Guest(GuestId::new(Slot::from_bits(3), UnixMillis(1), 1))
}

fn context(now: u64) -> Context {
    Context { now: UnixMillis(now), by: Some(owner()), if_revision: None, expire_after_ms: 1_000_000 }
}

fn create() -> Command {
    Command::Create { id: CartId::new(Slot::from_bits(3), UnixMillis(1), 2), owner: owner(), currency: Currency::EUR }
}

fn apply(cart: &mut Option<Cart>, command: &Command, now: u64) -> Result<usize, Refusal> {
    let events = decide(cart.as_ref(), command, &context(now))?;
    events.iter().for_each(|event| evolve(cart, event));
    Ok(events.len())
}

fn made() -> Option<Cart> {
    let mut cart = None;
    apply(&mut cart, &create(), 1).unwrap();
    cart
}

fn addition(product: u8, option: u8, quantity: u16) -> Addition {
    Addition {
        sku: format!("p{product}").into(),
        title: format!("Product {product}").into(),
        unit_price: i64::from(product) * 100,
        currency: Currency::EUR,
        quantity,
        quantity_max: 50,
        options: vec![("size".into(), option.to_string().into())].into(),
        metadata: Box::default(),
    }
}

fn any_command() -> impl Strategy<Value = Command> {
    let line = || (0..12u32).prop_map(LineId);
    prop_oneof![
        6 => (0..6u8, 0..2u8, 1..40u16).prop_map(|(p, o, q)| Command::Add(addition(p, o, q))),
        1 => (0..120u8).prop_map(|p| Command::Add(Addition { unit_price: MAX_AMOUNT, quantity_max: 999, ..addition(p, 0, 900) })),
        3 => (line(), 0..60u16).prop_map(|(line, quantity)| Command::SetQuantity(SetQuantity { line, quantity })),
        2 => line().prop_map(Command::Remove),
        3 => line().prop_map(Command::Save),
        3 => line().prop_map(Command::Restore),
        1 => Just(Command::Clear),
        1 => prop::option::of(prop::option::of("[a-z]{0,5}".prop_map(Box::from)))
            .prop_map(|note| Command::Patch { note, email: None }),
        1 => Just(create()),
        1 => Just(Command::Expire),
    ]
}

fn invariants(cart: &Cart) {
    assert!(cart.line_count() <= LINES_MAX);
    let mut ids: Vec<_> = cart.lines.iter().chain(&cart.saved).map(|line| line.id).collect();
    assert!(ids.iter().all(|id| id.0 < cart.line_next));
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), cart.line_count(), "a line's name twice");
    assert!(cart.lines.iter().chain(&cart.saved).all(|line| (1..=QUANTITY_MAX).contains(&line.quantity)));
    let sum: i64 = cart.lines.iter().map(|line| line.unit_price * i64::from(line.quantity)).sum();
    assert_eq!(cart.totals().unwrap().total.amount, sum);
}

proptest! {
    #[test]
    fn any_sequence_keeps_the_invariants_and_refusals_change_nothing(
        commands in prop::collection::vec(any_command(), 0..60)
    ) {
        let mut cart = made();
        for (n, command) in commands.iter().enumerate() {
            let before = cart.clone();
            let events = apply(&mut cart, command, 10 + n as u64);
            let (before, after) = (before.unwrap(), cart.as_ref().unwrap());
            match events {
                Ok(events) => prop_assert_eq!(after.revision, before.revision + events as u64),
                Err(_) => prop_assert_eq!(after, &before),
            }
            prop_assert!(after.line_next >= before.line_next);
            invariants(after);
        }
    }

    #[test]
    fn adds_commute(adds in prop::collection::vec((0..4u8, 0..2u8, 1..4u16), 0..12), swap: prop::sample::Index) {
        let total = |order: &[(u8, u8, u16)]| {
            let mut cart = made();
            for (product, option, quantity) in order {
                apply(&mut cart, &Command::Add(addition(*product, *option, *quantity)), 5).unwrap();
            }
            let cart = cart.unwrap();
            let mut lines: Vec<_> = cart.lines.iter().map(|l| (l.sku.clone(), l.options.clone(), l.quantity)).collect();
            lines.sort();
            (lines, cart.totals().unwrap())
        };
        let mut other = adds.clone();
        if !other.is_empty() {
            let at = swap.index(other.len());
            other.rotate_left(at);
            other.reverse();
        }
        prop_assert_eq!(total(&adds), total(&other));
    }

    #[test]
    fn save_and_restore_are_inverses(adds in prop::collection::vec((0..6u8, 0..2u8, 1..9u16), 1..8), pick: prop::sample::Index) {
        let mut cart = made();
        for (product, option, quantity) in adds {
            apply(&mut cart, &Command::Add(addition(product, option, quantity)), 5).unwrap();
        }
        let before = cart.clone().unwrap();
        let line = before.lines[pick.index(before.lines.len())].id;
        apply(&mut cart, &Command::Save(line), 6).unwrap();
        apply(&mut cart, &Command::Restore(line), 7).unwrap();
        let after = cart.unwrap();
        let sorted = |lines: &[Line]| {
            let mut lines = lines.to_vec();
            lines.sort_by_key(|line| line.id);
            lines
        };
        prop_assert_eq!(sorted(&after.lines), sorted(&before.lines));
        prop_assert_eq!(after.saved, before.saved);
    }
}

#[test]
fn every_refusal() {
    let mut full = made();
    for n in 0..100 {
        apply(&mut full, &Command::Add(addition(n, 0, 1)), 2).unwrap();
    }
    let mut dear = made();
    let most = Addition { unit_price: MAX_AMOUNT, quantity_max: 999, ..addition(1, 0, 999) };
    apply(&mut dear, &Command::Add(most), 2).unwrap();
    let mut closed = made();
    apply(&mut closed, &Command::Close, 2).unwrap();
    let dollars = Addition { currency: Currency::parse("USD").unwrap(), ..addition(1, 0, 1) };
    let table = [
        (None, Command::Clear, Refusal::NotFound),
        (full.clone(), Command::Add(addition(100, 0, 1)), Refusal::TooManyLines { max: 100 }),
        (full.clone(), Command::Add(addition(1, 0, 50)), Refusal::QuantityOutOfRange { requested: 51, max: 50 }),
        (full.clone(), Command::Save(LineId(101)), Refusal::LineNotFound(LineId(101))),
        (full.clone(), Command::Restore(LineId(1)), Refusal::LineNotFound(LineId(1))),
        (
            made(),
            Command::Add(dollars),
            Refusal::CurrencyMismatch { cart: Currency::EUR, product: Currency::parse("USD").unwrap() },
        ),
        (closed, Command::Clear, Refusal::NotOpen(Status::Closed)),
    ];
    for (mut cart, command, refusal) in table {
        assert_eq!(apply(&mut cart, &command, 3), Err(refusal), "{command:?}");
    }
    let stranger = Context { by: Some(Owner::Guest(GuestId::new(Slot::from_bits(3), UnixMillis(1), 9))), ..context(3) };
    assert_eq!(decide(full.as_ref(), &Command::Clear, &stranger), Err(Refusal::NotFound));
    let stale = Context { if_revision: Some(1), ..context(3) };
    assert_eq!(decide(full.as_ref(), &Command::Clear, &stale), Err(Refusal::RevisionMismatch { present: 101 }));
}

#[test]
fn a_cart_expires_when_its_time_has_come_and_not_before() {
    let mut cart = made();
    assert_eq!(apply(&mut cart, &Command::Expire, 1_000_000), Ok(0));
    assert_eq!(apply(&mut cart, &Command::Expire, 1_000_001), Ok(1));
    assert_eq!(cart.as_ref().unwrap().status, Status::Expired);
    assert_eq!(apply(&mut cart, &Command::Expire, 2_000_000), Ok(0));
}

#[test]
fn ids_read_back_sort_by_time_and_refuse_what_is_none() {
    use crate::domain::IdError;
    let early = CartId::new(Slot::from_bits(9), UnixMillis(5), u128::MAX);
    let late = CartId::new(Slot::from_bits(9), UnixMillis(6), 0);
    assert!(early < late && early.to_string() < late.to_string());
    assert_eq!(early.to_string().parse(), Ok(early));
    assert_eq!(early.to_string().to_uppercase().replace("CART_", "cart_").parse(), Ok(early));
    assert_eq!(early.slot().get(), 9);
    for (text, error) in [
        ("gue_00000000000000000000000000", IdError::Prefix),
        ("cart_0", IdError::Length),
        ("cart_0000000000000000000000000u", IdError::Character),
        ("cart_80000000000000000000000000", IdError::Overflow),
    ] {
        assert_eq!(text.parse::<CartId>(), Err(error), "{text}");
    }
    let shards: std::collections::BTreeMap<u16, usize> =
        (0..16_384).map(|slot| Slot::from_bits(slot).shard(256).0).fold(Default::default(), |mut counts, shard| {
            *counts.entry(shard).or_default() += 1;
            counts
        });
    assert!(shards.len() == 256 && shards.values().all(|slots| *slots == 64));
}
