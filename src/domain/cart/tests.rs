//! What holds for every cart, whatever is asked of it in whatever order.

use proptest::prelude::*;

use super::*;
use crate::domain::{
    CartId, CheckoutId, Context, Currency, GuestId, Slot, UnixMillis,
    discount::{Rule, Worth},
    pricing::Reason,
};

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

fn checkout(n: u128) -> CheckoutId {
    CheckoutId::new(Slot::from_bits(3), UnixMillis(1), n)
}

fn begin(n: u128) -> Command {
    Command::Begin { checkout: checkout(n), prices: vec![] }
}

fn code(n: usize) -> Rule {
    let percent = Worth::Percent { basis_points: 1_000 };
    Rule {
        code: format!("CODE{n}").into(),
        worth: if n.is_multiple_of(2) { percent } else { Worth::Fixed { amount: 150 } },
        currency: Currency::EUR,
        per_line: n.is_multiple_of(3),
        categories: if n == 4 { vec!["mugs".into()] } else { vec![] },
        minimum: 0,
        valid_from: None,
        valid_until: (n == 5).then_some(UnixMillis(30)),
        uses_max: None,
        uses_per_shopper_max: None,
    }
}

/// Products of even number are mugs.
fn filed(sku: &str) -> Vec<Box<str>> {
    if sku.ends_with(['0', '2', '4']) { vec!["mugs".into()] } else { vec![] }
}

fn summary(cart: &Cart) -> Summary<'_> {
    cart.summary(&filed).unwrap()
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
        1 => Just(Command::Close),
        3 => (0..7usize).prop_map(|n| Command::ApplyCode(code(n))),
        1 => (0..7usize).prop_map(|n| Command::RemoveCode(code(n).code)),
        2 => (0..3u128, prop::collection::vec((line(), 0..900i64), 0..3))
            .prop_map(|(n, prices)| Command::Begin { checkout: checkout(n), prices }),
        2 => (0..3u128).prop_map(|n| Command::Opened { checkout: checkout(n) }),
        1 => (0..3u128, prop::collection::vec((line(), 0..40u16), 0..4))
            .prop_map(|(n, bought)| Command::Settle { checkout: checkout(n), bought }),
        1 => (0..3u128).prop_map(|n| Command::LetGo { checkout: checkout(n) }),
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
    let Summary { totals, codes } = summary(cart);
    assert_eq!(totals.subtotal.amount, sum);
    assert_eq!(totals.discount.amount, codes.iter().map(|code| code.amount).sum::<i64>());
    assert_eq!(totals.total.amount, sum + totals.discount.amount);
    assert!(totals.total.amount >= 0 && codes.iter().all(|code| code.amount <= 0));
    assert_eq!(codes.len(), cart.codes.len());
    assert!(cart.codes.len() <= CODES_MAX);
    assert_eq!(cart.status == Status::CheckingOut, cart.checkout.is_some());
    if let Some(InCheckout { opened, lines, .. }) = cart.checkout.as_deref() {
        assert_eq!(*opened, lines.is_empty(), "what is bought is kept until the checkout has it");
    }
    let waits = cart.checkout.as_ref().is_some_and(|checkout| !checkout.opened);
    assert_eq!(pending(cart).len(), usize::from(waits));
    assert!(cart.status != Status::Ordered || cart.line_count() == 0);
}

/// Units of each product, wherever they are.
fn units(lines: &[&[Line]]) -> std::collections::BTreeMap<LineId, u32> {
    lines.iter().flat_map(|lines| lines.iter()).map(|line| (line.id, u32::from(line.quantity))).collect()
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
                // That its checkout exists is nothing that a client sees.
                Ok(1) if matches!(command, Command::Opened { .. }) => {
                    let visible = |cart: &Cart| Cart { checkout: None, ..cart.clone() };
                    prop_assert_eq!(visible(after), visible(&before));
                }
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
            (lines, summary(&cart).totals)
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

    /// Whatever the shopper does while a checkout buys what was there at its beginning: it buys exactly that, and what they
    /// put in meanwhile stays.
    #[test]
    fn a_checkout_buys_what_was_there_and_takes_exactly_that_out(
        before in prop::collection::vec(any_command(), 1..20), meanwhile in prop::collection::vec(any_command(), 0..20), opened: bool,
    ) {
        let mine = |command: &&Command| !matches!(
            command, Command::Begin { .. } | Command::Opened { .. } | Command::Settle { .. } | Command::LetGo { .. } | Command::Close
        );
        let mut cart = made();
        for command in before.iter().filter(mine) {
            let _ = apply(&mut cart, command, 5);
        }
        let frozen = cart.clone().unwrap();
        let begun = apply(&mut cart, &begin(9), 6);
        prop_assert_eq!(begun.is_ok(), !frozen.lines.is_empty());
        if begun.is_err() {
            return Ok(());
        }
        let (step, call) = pending(cart.as_ref().unwrap()).remove(0);
        let Call::Open { lines, codes, .. } = call;
        prop_assert_eq!((&*lines, &*codes), (&*frozen.lines, &*frozen.codes));
        for (n, command) in meanwhile.iter().filter(mine).enumerate() {
            if opened && n == 3 {
                apply(&mut cart, &on_done(step, Done::Opened), 7).unwrap();
            }
            let _ = apply(&mut cart, command, 7);
            if let Some((_, Call::Open { lines, .. })) = pending(cart.as_ref().unwrap()).pop() {
                prop_assert_eq!(&*lines, &*frozen.lines, "frozen");
            }
        }
        let present = cart.clone().unwrap();
        let bought: Vec<_> = lines.iter().map(|line| (line.id, line.quantity)).collect();
        let settle = Command::Settle { checkout: checkout(9), bought: bought.clone() };
        prop_assert_eq!(apply(&mut cart, &settle, 8), Ok(1));
        let after = cart.clone().unwrap();
        let mut expected = units(&[&present.lines, &present.saved]);
        for (line, quantity) in bought {
            expected.entry(line).and_modify(|units| *units = units.saturating_sub(quantity.into()));
        }
        expected.retain(|_, units| *units > 0);
        prop_assert_eq!(units(&[&after.lines, &after.saved]), expected);
        prop_assert!(after.codes.iter().all(|rule| !frozen.codes.iter().any(|used| used.code == rule.code)), "used up");
        invariants(&after);
        // Told twice, or told late: nothing.
        let late = [on_done(step, Done::Opened), on_done(step, Done::Over)];
        for late in [settle, Command::LetGo { checkout: checkout(9) }].into_iter().chain(late) {
            prop_assert_eq!(apply(&mut cart, &late, 9), Ok(0));
        }
        prop_assert_eq!(cart.unwrap(), after);
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
    let mut in_checkout = full.clone();
    apply(&mut in_checkout, &begin(1), 2).unwrap();
    let mut coded = made();
    for n in 0..CODES_MAX {
        apply(&mut coded, &Command::ApplyCode(code(n)), 2).unwrap();
    }
    let late = Rule { valid_until: Some(UnixMillis(3)), ..code(0) };
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
        (closed.clone(), Command::Clear, Refusal::NotOpen(Status::Closed)),
        (closed, begin(1), Refusal::NotOpen(Status::Closed)),
        (made(), begin(1), Refusal::Empty),
        (full.clone(), Command::Begin { checkout: checkout(1), prices: vec![(LineId(1), -1)] }, Refusal::TotalTooLarge),
        (in_checkout, Command::Close, Refusal::NotOpen(Status::CheckingOut)),
        (made(), Command::RemoveCode("NONE".into()), Refusal::CodeNotFound),
        (coded, Command::ApplyCode(code(6)), Refusal::TooManyCodes { max: CODES_MAX }),
        (made(), Command::ApplyCode(late), Refusal::CodeNotApplicable(Reason::Over)),
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

fn with(products: &[(u8, u16)]) -> Option<Cart> {
    let mut cart = made();
    for (product, quantity) in products {
        apply(&mut cart, &Command::Add(addition(*product, 0, *quantity)), 2).unwrap();
    }
    cart
}

/// Begun anew under a key that it had forgotten, its checkout may be one that has ended.
#[test]
fn a_checkout_that_is_over_already_lets_the_cart_go() {
    let mut cart = with(&[(1, 2)]);
    apply(&mut cart, &begin(1), 3).unwrap();
    assert_eq!(apply(&mut cart, &on_done(Step::Open(checkout(1)), Done::Over), 4), Ok(1));
    let cart = cart.unwrap();
    assert!(cart.status == Status::Open && cart.checkout.is_none() && cart.lines.len() == 1);
}

#[test]
fn a_cart_in_checkout_names_one_checkout_until_it_ends_and_does_not_expire_meanwhile() {
    let mut cart = with(&[(1, 2)]);
    assert_eq!(apply(&mut cart, &begin(1), 3), Ok(1));
    assert_eq!(apply(&mut cart, &begin(2), 4), Ok(0), "from another device");
    assert_eq!(cart.as_ref().unwrap().checkout.as_ref().unwrap().id, checkout(1));
    assert_eq!(apply(&mut cart, &Command::Expire, 9_000_000), Ok(0));
    let of_another = checkout(2);
    for other in [
        Command::Opened { checkout: of_another },
        Command::LetGo { checkout: of_another },
        Command::Settle { checkout: of_another, bought: vec![] },
    ] {
        assert_eq!(apply(&mut cart, &other, 5), Ok(0), "of another checkout");
    }
    assert_eq!(apply(&mut cart, &Command::LetGo { checkout: checkout(1) }, 6), Ok(1));
    assert_eq!(cart.as_ref().unwrap().status, Status::Open);
    assert_eq!(cart.as_ref().unwrap().expires_at, UnixMillis(1_000_006));
    assert_eq!(apply(&mut cart, &begin(2), 7), Ok(1));
}

#[test]
fn prices_accepted_are_what_is_bought() {
    let mut cart = with(&[(1, 2), (2, 1)]);
    let prices = vec![(LineId(1), 90), (LineId(2), 200), (LineId(77), 5)];
    assert_eq!(apply(&mut cart, &Command::Begin { checkout: checkout(1), prices }, 3), Ok(1));
    let cart = cart.unwrap();
    let (_, Call::Open { lines, .. }) = pending(&cart).remove(0);
    assert_eq!(lines.iter().map(|line| line.unit_price).collect::<Vec<_>>(), [90, 200]);
    assert_eq!(*lines, *cart.lines);
}

#[test]
fn a_cart_is_ordered_when_nothing_is_left_and_open_when_something_is() {
    for (saved, status) in [(false, Status::Ordered), (true, Status::Open)] {
        let mut cart = with(&[(1, 2), (2, 1)]);
        if saved {
            apply(&mut cart, &Command::Save(LineId(2)), 2).unwrap();
        }
        apply(&mut cart, &begin(1), 3).unwrap();
        let bought = vec![(LineId(1), 2), (LineId(2), u16::from(!saved))];
        apply(&mut cart, &Command::Settle { checkout: checkout(1), bought }, 4).unwrap();
        assert_eq!(cart.as_ref().unwrap().status, status);
    }
}

/// Saved, added again and restored, the line would be poured into another: then nobody could tell its units from new ones.
#[test]
fn a_line_that_is_being_bought_keeps_its_name() {
    let mut cart = with(&[(1, 2)]);
    apply(&mut cart, &begin(1), 3).unwrap();
    for command in [Command::Save(LineId(1)), Command::Add(addition(1, 0, 5)), Command::Restore(LineId(1))] {
        apply(&mut cart, &command, 4).unwrap();
    }
    let settle = Command::Settle { checkout: checkout(1), bought: vec![(LineId(1), 2)] };
    apply(&mut cart, &settle, 5).unwrap();
    assert_eq!(units(&[&cart.unwrap().lines]), [(LineId(2), 5)].into());
}

#[test]
fn codes_show_what_they_take_off_or_why_nothing() {
    let mut cart = with(&[(1, 2), (2, 1)]); // 2 × 1.00, 1 × 2.00, the latter a mug
    for n in [4, 5] {
        apply(&mut cart, &Command::ApplyCode(code(n)), 10).unwrap();
    }
    let present = cart.clone().unwrap();
    let Summary { totals, codes } = summary(&present);
    assert_eq!(codes.iter().map(|code| code.amount).collect::<Vec<_>>(), [-20, -150]);
    assert_eq!((totals.discount.amount, totals.total.amount), (-170, 230));
    apply(&mut cart, &Command::Remove(LineId(2)), 30).unwrap();
    let present = cart.clone().unwrap();
    let reasons: Vec<_> = summary(&present).codes.iter().map(|code| code.not_applied).collect();
    assert_eq!(reasons, [Some(Reason::NoLine), Some(Reason::Over)]);
    assert_eq!(apply(&mut cart, &Command::ApplyCode(code(4)), 31), Ok(0), "the same again");
    let better = Rule { worth: Worth::Percent { basis_points: 5_000 }, categories: vec![], ..code(4) };
    assert_eq!(apply(&mut cart, &Command::ApplyCode(better), 31), Ok(1), "defined anew");
    assert_eq!(summary(&cart.unwrap()).codes[0].amount, -100);
}

#[test]
fn what_must_be_done_shows_nothing_that_a_person_wrote() {
    let mut cart = with(&[(1, 2)]);
    let email = Some(Some("ann@example.org".into()));
    apply(&mut cart, &Command::Patch { note: None, email }, 2).unwrap();
    apply(&mut cart, &begin(1), 3).unwrap();
    let shown = format!("{:?}", pending(&cart.unwrap()));
    assert!(shown.contains("chk_") && !shown.contains("ann@"), "{shown}");
}

/// As a checkout's row could not keep them: told before anything is begun, and with what to do about it.
#[test]
fn lines_that_are_too_large_together_are_not_bought_together() {
    let mut cart = made();
    let heavy = |n: usize| {
        let metadata: Metadata = [("engraving".into(), "x".repeat(METADATA_BYTES_MAX - 9).into())].into();
        Addition { sku: format!("p{n}").into(), metadata, ..addition(1, 1, 1) }
    };
    for n in 0..LINES_MAX {
        apply(&mut cart, &Command::Add(heavy(n)), 2).unwrap();
    }
    assert_eq!(apply(&mut cart, &begin(1), 3), Err(Refusal::LinesTooLarge));
    let weigh = |cart: &Cart| cart.lines.iter().map(Line::weight_bytes).sum::<usize>();
    while 2 * weigh(cart.as_ref().unwrap()) > CHECKOUT_BYTES_MAX {
        let last = cart.as_ref().unwrap().lines.last().unwrap().id;
        apply(&mut cart, &Command::Remove(last), 4).unwrap();
    }
    assert!(cart.as_ref().unwrap().lines.len() > 80, "no more than what is too much has to go");
    assert_eq!(apply(&mut cart, &begin(1), 5), Ok(1));
}

/// The limit is a cart's, in however many lines, told apart by options or metadata, its units stand.
#[test]
fn a_products_limit_counts_over_all_its_lines() {
    let mut cart = made();
    let add = |option, quantity| Command::Add(addition(1, option, quantity));
    apply(&mut cart, &add(0, 30), 2).unwrap();
    apply(&mut cart, &add(1, 20), 2).unwrap();
    let over = Err(Refusal::QuantityOutOfRange { requested: 51, max: 50 });
    assert_eq!(apply(&mut cart, &add(2, 1), 3), over);
    let set = |line, quantity| Command::SetQuantity(SetQuantity { line: LineId(line), quantity });
    assert_eq!(apply(&mut cart, &set(1, 31), 3), over);
    apply(&mut cart, &Command::Save(LineId(1)), 4).unwrap();
    apply(&mut cart, &add(1, 1), 5).unwrap();
    assert_eq!(apply(&mut cart, &Command::Restore(LineId(1)), 6), over, "taken back beside another choice");
    apply(&mut cart, &set(2, 20), 7).unwrap();
    apply(&mut cart, &Command::Restore(LineId(1)), 8).unwrap();
    assert_eq!(apply(&mut cart, &set(1, 29), 9), Ok(1));
    apply(&mut cart, &Command::Add(addition(2, 0, 50)), 10).unwrap();
}
