//! Stock and discount codes: round trips, what cannot be, the largest rows, what travels between nodes.

use proptest::prelude::*;
use thin_vec::{ThinVec, thin_vec};

use super::{resealed, samples::cart, wincode_config};
use crate::{
    codec::{
        discount::DiscountV1,
        envelope::{DecodeError, HEADER_BYTES, ROW_BYTES_MAX},
        record::{Receipt, Record},
        record_v1::RecordV1,
        stock::StockV1,
        *,
    },
    domain::{
        Currency, Id, Reference, UnixMillis,
        discount::{self, Discount, Rule, Worth},
        holds::{Act, Hold, Holds, State},
        stock::{self, Move, Moved, Source, Stock},
    },
};

const STATES: [State; 5] = [State::Held, State::Pinned, State::Committed, State::Released, State::Forgotten];
const MOVED: [Moved; 3] = [Moved::Shipped, Moved::Restocked(Source::Sold), Moved::Restocked(Source::Returned)];

/// All that surrounds a state, around another.
fn around<S>(state: S) -> Record<S> {
    let Record { epoch, op_id, receipts, unsent, armed, .. } = cart();
    Record { epoch, op_id, state, receipts, unsent, armed }
}

fn hold<W>(n: usize, what: W) -> Hold<W> {
    let by = Reference { by: Id((1 << 114) + n as u128), n: 0 };
    Hold { by, what, state: STATES[n % 5], attempt: n as u32 % 3, expires_at: UnixMillis(1_795_000_900_000) }
}

fn one_move(n: usize) -> Move {
    let by = Reference { by: Id(1 << 114), n: n as u32 };
    let forgotten_at = n.is_multiple_of(2).then_some(UnixMillis(1_795_000_000_007));
    Move { by, quantity: 1, moved: MOVED[n % 3], forgotten_at }
}

pub(super) fn stock() -> Record<Stock> {
    around(Stock {
        sku: "mug-blue".into(),
        revision: 12,
        available: 300,
        sold: 4,
        holds: Holds::from_sorted((0..5).map(|n| hold(n, 2)).collect()).unwrap(),
        moves: (1..4).map(one_move).collect(),
        created_at: UnixMillis(1_795_000_000_000),
        updated_at: UnixMillis(1_795_000_000_001),
    })
}

fn rule() -> Rule {
    Rule {
        code: "WELCOME10".into(),
        worth: Worth::Percent { basis_points: 1_000 },
        currency: Currency::EUR,
        per_line: false,
        categories: vec!["mugs".into()],
        minimum: 2_000,
        valid_from: Some(UnixMillis(1_795_000_000_000)),
        valid_until: None,
        uses_max: Some(500),
        uses_per_shopper_max: Some(1),
    }
}

pub(super) fn discount() -> Record<Discount> {
    around(Discount {
        rule: rule(),
        revision: 9,
        used: 3,
        shoppers: vec![(5, 1), (1 << 114, 2)],
        holds: Holds::from_sorted((0..5).map(|n| hold(n, 1 << 114)).collect()).unwrap(),
        created_at: UnixMillis(1_795_000_000_000),
        updated_at: UnixMillis(1_795_000_000_001),
    })
}

fn receipts() -> ThinVec<Receipt> {
    thin_vec![Receipt { key: u128::MAX, request: u128::MAX, at: UnixMillis(u64::MAX), outcome: u32::MAX }; 1024]
}

/// Whatever their numbers: a full row is still a row, or a busy product would stop selling.
#[test]
fn p9_the_largest_stock_and_the_largest_code_fit_in_their_rows_and_read_back() {
    let held = |n: usize, what: u128| {
        let by = Reference { by: Id(u128::MAX - 1_000_000 + n as u128), n: u32::MAX };
        Hold { by, what, state: State::Pinned, attempt: u32::MAX, expires_at: UnixMillis(u64::MAX) }
    };
    let held_units = |n| {
        let Hold { by, state, attempt, expires_at, .. } = held(n, 0);
        Hold { by, what: 100_000, state, attempt, expires_at }
    };
    let by = |n| Reference { by: Id(u128::MAX), n: u32::MAX - 1_000_000 + n as u32 };
    let forgotten_at = Some(UnixMillis(u64::MAX));
    let mut record = stock();
    record.state.holds = Holds::from_sorted((0..stock::HOLDS_MAX).map(held_units).collect()).unwrap();
    let moves =
        (0..stock::MOVES_MAX).map(|n| Move { by: by(n), quantity: u32::MAX, moved: Moved::Shipped, forgotten_at });
    record.state.moves = moves.collect();
    record.receipts = receipts();
    let bytes = encode_stock(&record).unwrap();
    assert!(bytes.len() > ROW_BYTES_MAX * 9 / 10, "only {} bytes: this proves little", bytes.len());
    assert_eq!(decode_stock(&bytes), Ok(record));

    let mut record = discount();
    let holds = (0..discount::HOLDS_MAX).map(|n| held(n, u128::MAX)).collect();
    record.state.holds = Holds::from_sorted(holds).unwrap();
    let shoppers = (0..discount::SHOPPERS_MAX).map(|n| (u128::MAX - 1_000_000 + n as u128, u32::MAX));
    record.state.shoppers = shoppers.collect();
    record.receipts = receipts();
    let bytes = encode_discount(&record).unwrap();
    assert!(bytes.len() > ROW_BYTES_MAX * 9 / 10, "only {} bytes: this proves little", bytes.len());
    assert_eq!(decode_discount(&bytes), Ok(record));
}

#[test]
fn a_stock_or_a_code_that_none_can_be_is_malformed() {
    let broken_stock = |name: &str, change: fn(&mut Stock)| {
        let mut record = stock();
        change(&mut record.state);
        let read = decode_stock(&encode_stock(&record).unwrap());
        assert!(matches!(read, Err(DecodeError::Malformed(_))), "{name}");
    };
    broken_stock("more than is counted", |stock| stock.sold = stock::UNITS_MAX);
    broken_stock("past all counting", |stock| (stock.sold, stock.available) = (u32::MAX, u32::MAX));
    broken_stock("a move twice", |stock| stock.moves.push(stock.moves[2]));
    broken_stock("too many moves", |stock| stock.moves = (0..stock::MOVES_MAX + 1).map(one_move).collect());
    broken_stock("too many holds", |stock| {
        stock.holds = Holds::from_sorted((0..stock::HOLDS_MAX + 1).map(|n| hold(n, 1)).collect()).unwrap();
    });
    let broken_code = |name: &str, change: fn(&mut Discount)| {
        let mut record = discount();
        change(&mut record.state);
        let read = decode_discount(&encode_discount(&record).unwrap());
        assert!(matches!(read, Err(DecodeError::Malformed(_))), "{name}");
    };
    broken_code("a shopper twice", |code| code.shoppers[0].0 = code.shoppers[1].0);
    broken_code("no letters", |code| code.rule.code = "".into());
    broken_code("more than all", |code| code.rule.worth = Worth::Percent { basis_points: 10_001 });
    broken_code("too many shoppers", |code| {
        code.shoppers = (0..discount::SHOPPERS_MAX as u128 + 1).map(|n| (n, 1)).collect();
    });
    // Holds out of order cannot be made here: two names change places in the bytes.
    for good in [encode_stock(&stock()).unwrap(), encode_discount(&discount()).unwrap()] {
        let names: Vec<Vec<u8>> = [0u128, 1].map(|n| ((1u128 << 114) + n).to_le_bytes().to_vec()).into();
        let mut body = good[HEADER_BYTES..].to_vec();
        let find = |body: &[u8], name: &[u8]| (0..body.len() - 16).rfind(|at| body[*at..].starts_with(name)).unwrap();
        let second = find(&body, &names[1]);
        body[second..second + 16].copy_from_slice(&names[0]);
        let bytes = resealed(&good, &body);
        let reads = [decode_stock(&bytes).map(drop), decode_discount(&bytes).map(drop)];
        assert!(reads.iter().any(|read| matches!(read, Err(DecodeError::Malformed(_)))), "{reads:?}");
    }
}

fn acts() -> [Act; 6] {
    let expires_at = UnixMillis(7);
    [
        Act::Extend { expires_at },
        Act::Pin { attempt: 2 },
        Act::Unpin { attempt: 3, expires_at },
        Act::Commit,
        Act::Release,
        Act::Forget,
    ]
}

fn stock_commands() -> Vec<stock::Command> {
    use stock::Command;
    let by = Reference { by: Id(1 << 114), n: 3 };
    let (sku, reason): (Box<str>, Box<str>) = ("mug".into(), "counted".into());
    acts()
        .map(|act| Command::Act { by, act })
        .into_iter()
        .chain([
            Command::Hold { sku: sku.clone(), initial: 5, by, quantity: 2, expires_at: UnixMillis(9) },
            Command::Release { sku: sku.clone(), initial: 5, by },
            Command::Ship { by, quantity: 2 },
            Command::Restock { by, quantity: 2, from: Source::Sold },
            Command::Restock { by, quantity: 2, from: Source::Returned },
            Command::Adjust { sku, initial: 5, change: -2, reason },
            Command::Expire,
        ])
        .collect()
}

fn discount_commands() -> Vec<discount::Command> {
    use discount::Command;
    let by = Reference { by: Id(1 << 114), n: 3 };
    let hold = Command::Hold { by, shopper: 8, expires_at: UnixMillis(9) };
    let other = [Command::Define(rule()), hold, Command::Expire];
    acts().map(|act| Command::Act { by, act }).into_iter().chain(other).collect()
}

#[test]
fn every_command_and_every_refusal_arrives_as_it_was_sent() {
    for command in stock_commands() {
        assert_eq!(decode_stock_command(&encode_stock_command(&command).unwrap()), Ok(command));
    }
    for command in discount_commands() {
        assert_eq!(decode_discount_command(&encode_discount_command(&command).unwrap()), Ok(command));
    }
    use stock::Refusal as No;
    for refusal in [
        No::NotFound,
        No::Insufficient { available: 3 },
        No::TooManyHolds,
        No::Ended,
        No::NotHeld,
        No::NotSold { sold: 4 },
        No::TooManyUnits,
        No::RevisionMismatch { present: 5 },
    ] {
        assert_eq!(decode_stock_refusal(&encode_stock_refusal(&refusal).unwrap()), Ok(refusal));
    }
    use discount::Refusal as Never;
    for refusal in [
        Never::NotFound,
        Never::NotValidNow,
        Never::UsedUp,
        Never::UsedUpByShopper,
        Never::NotHeld,
        Never::Ended,
        Never::TooMany,
        Never::RevisionMismatch { present: 5 },
    ] {
        assert_eq!(decode_discount_refusal(&encode_discount_refusal(&refusal).unwrap()), Ok(refusal));
    }
    let by = Reference { by: Id(1), n: 1 };
    let none = encode_stock_command(&stock::Command::Ship { by, quantity: 0 }).unwrap();
    assert!(matches!(decode_stock_command(&none), Err(DecodeError::Malformed(_))), "a command about no units");
}

/// Behind a checksum that holds: no byte of any command, whatever it becomes, makes its decoder panic.
#[test]
fn any_byte_of_any_command_may_be_any_other() {
    let stock = stock_commands().into_iter().map(|command| encode_stock_command(&command).unwrap());
    let discount = discount_commands().into_iter().map(|command| encode_discount_command(&command).unwrap());
    for good in stock.chain(discount) {
        for offset in HEADER_BYTES..good.len() {
            for byte in 0..=u8::MAX {
                let mut body = good[HEADER_BYTES..].to_vec();
                body[offset - HEADER_BYTES] = byte;
                let bytes = resealed(&good, &body);
                drop((decode_stock_command(&bytes), decode_discount_command(&bytes)));
                drop((decode_stock_refusal(&bytes), decode_discount_refusal(&bytes)));
            }
        }
    }
}

fn any_holds<W: std::fmt::Debug + Copy>(what: impl Strategy<Value = W>) -> impl Strategy<Value = Holds<W>> {
    let names = prop::collection::btree_map((any::<u128>(), any::<u32>()), what, 0..8);
    (names, 0..5usize, any::<u32>(), any::<u64>()).prop_map(|(names, state, attempt, expires_at)| {
        let hold = |((by, n), what)| Hold {
            by: Reference { by: Id(by), n },
            what,
            state: STATES[(state + n as usize) % 5],
            attempt,
            expires_at: UnixMillis(expires_at),
        };
        Holds::from_sorted(names.into_iter().map(hold).collect()).unwrap()
    })
}

prop_compose! {
    fn any_stock()(sku in "\\PC{0,20}", [revision, created_at, updated_at] in any::<[u64; 3]>(), available in 0..1_000_000u32,
        sold in 0..1_000_000u32, holds in any_holds(0..1_000_000u32), moves in 0..9usize) -> Record<Stock> {
        around(Stock {
            sku: sku.into(), revision, available, sold, holds, moves: (0..moves).map(one_move).collect(),
            created_at: UnixMillis(created_at), updated_at: UnixMillis(updated_at),
        })
    }
}

prop_compose! {
    fn any_discount()([revision, created_at, updated_at] in any::<[u64; 3]>(), used: u32, holds in any_holds(any::<u128>()),
        shoppers in prop::collection::btree_map(any::<u128>(), any::<u32>(), 0..8), amount in 0i64..) -> Record<Discount> {
        let rule = Rule { worth: Worth::Fixed { amount }, ..rule() };
        around(Discount {
            rule, revision, used, shoppers: shoppers.into_iter().collect(), holds,
            created_at: UnixMillis(created_at), updated_at: UnixMillis(updated_at),
        })
    }
}

proptest! {
    #[test]
    fn any_stock_and_any_code_read_back_by_either_library(stock in any_stock(), code in any_discount()) {
        let bytes = encode_stock(&stock).unwrap();
        prop_assert_eq!(decode_stock(&bytes).unwrap(), stock);
        let body = &bytes[HEADER_BYTES..];
        let other: RecordV1<StockV1> = wincode::config::deserialize(body, wincode_config()).unwrap();
        prop_assert_eq!(wincode::config::serialize(&other, wincode_config()).unwrap(), body);

        let bytes = encode_discount(&code).unwrap();
        prop_assert_eq!(decode_discount(&bytes).unwrap(), code);
        let body = &bytes[HEADER_BYTES..];
        let other: RecordV1<DiscountV1> = wincode::config::deserialize(body, wincode_config()).unwrap();
        prop_assert_eq!(wincode::config::serialize(&other, wincode_config()).unwrap(), body);
    }
}
