//! Orders come out as they went in, and nothing that is no order comes out.

use proptest::prelude::*;
use thin_vec::thin_vec;

use super::{resealed, samples::cart, wincode_config};
use crate::{
    codec::{
        DecodeError, EncodeError, decode_cart, decode_order, decode_order_command, decode_order_refusal, encode_order,
        encode_order_command, encode_order_refusal,
        envelope::{self, HEADER_BYTES, RECORD_BYTES_MAX, ROW_BYTES_MAX, RecordKind},
        order::OrderV1,
        record::{Receipt, Record},
        record_v1::RecordV1,
    },
    domain::{
        CartId, Context, Currency, GuestId, Id, OrderId, UnixMillis,
        address::{Address, Country},
        cart::{LINES_MAX, LineId, Owner},
        order::{
            Action, Bought, Capture, Cause, Command, DEEDS_MAX, Deed, DeedState, Done, Entry, HISTORY_MAX, Kind,
            LABEL_BYTES_MAX, Line, NOTE_BYTES_MAX, Order, Origin, Payment, Refusal, SHIPMENTS_MAX, Shipment, Status,
            Step, Totals, Work, decide, evolve, on_done, on_wake, pending,
            tests::{fulfil, made, placement, take_back},
        },
        pricing::{Discounted, Offer},
    },
};

const GOLDEN: &[u8] = include_bytes!("../golden/order_v1.bin");

fn line(n: u32, quantity: u16, fulfilled: u16, returned: u16) -> Line {
    let bought = Bought {
        line: LineId(n),
        sku: format!("sku-{n}").into(),
        title: "Mug, blue".into(),
        options: [("size".into(), "M".into())].into(),
        metadata: [("gift".into(), "true".into())].into(),
        quantity,
        unit_price: 1000,
        subtotal: 1000 * i64::from(quantity),
        discount: -100,
        tax: 190,
    };
    Line { bought, fulfilled, returned }
}

fn address() -> Address {
    Address {
        name: "Ada Lovelace".into(),
        line1: "12 St James's Square".into(),
        line2: Some("rear".into()),
        city: "London".into(),
        region: None,
        postal_code: "SW1Y 4JH".into(),
        country: Country::parse("GB").unwrap(),
    }
}

/// One fixed order with something in every field, which golden bytes hold for ever.
fn order() -> Record<Order> {
    let deed = |n: u32, work, state| Deed { n: 65_536 + n, work, state };
    let entry = |kind| Entry { at: UnixMillis(9), kind, amount: Some(-1), units: Some(2), shipment: None, note: None };
    let parcel = |n, line, left_at| Shipment {
        n,
        lines: vec![(LineId(line), 2)],
        carrier: Some("DHL".into()),
        label: None,
        asked_at: UnixMillis(10),
        left_at,
    };
    let state = Order {
        id: OrderId(Id(1 << 114)),
        revision: 9,
        cart: CartId(Id(77)),
        owner: Owner::Guest(GuestId(Id(42))),
        currency: Currency::EUR,
        email: "ada@example.org".into(),
        address: Some(address()),
        lines: vec![line(1, 2, 2, 1), line(3, 3, 0, 0)],
        totals: Totals {
            subtotal: 5000,
            discount: -200,
            discounts: vec![Discounted { code: "WELCOME10".into(), amount: -200 }],
            shipping: 490,
            offer: Some(Offer { id: "standard".into(), title: "Parcel".into(), price: 490 }),
            tax: 380,
            tax_included: false,
            total: 5670,
        },
        payment: Payment {
            gateway: "sandbox".into(),
            reference: "pay_1".into(),
            authorised: 20_000,
            captured: 5670,
            refunded: 70,
            voided: true,
        },
        capture: Capture::AtFulfilment,
        deeds: vec![
            deed(1, Work::Ship { goods: LineId(1), quantity: 2 }, DeedState::Forgetting),
            deed(2, Work::Restock { goods: LineId(1), quantity: 1, from: Origin::Returned }, DeedState::Wanted),
            deed(
                3,
                Work::Restock { goods: LineId(1), quantity: 1, from: Origin::Sold },
                DeedState::Remembered { since: UnixMillis(8) },
            ),
            deed(4, Work::Refund { amount: 600 }, DeedState::Wanted),
            deed(5, Work::Capture { amount: 5670 }, DeedState::Wanted),
            deed(6, Work::Void, DeedState::Wanted),
        ],
        deed_next: 65_543,
        shipments: vec![parcel(1, 1, Some(UnixMillis(11))), parcel(2, 3, None)],
        history: Kind::ALL.map(entry).into(),
        history_dropped: 3,
        cancelled: None,
        placed_at: UnixMillis(1_795_000_000_000),
        updated_at: UnixMillis(1_795_000_000_001),
    };
    around(state)
}

fn around(state: Order) -> Record<Order> {
    let Record { epoch, op_id, receipts, unsent, armed, .. } = cart();
    Record { epoch, op_id, state, receipts, unsent, armed }
}

fn reseal(body: &[u8]) -> Vec<u8> {
    resealed(GOLDEN, body)
}

#[test]
fn the_bytes_of_an_order_are_frozen_and_read_back() {
    let bytes = encode_order(&order()).unwrap();
    if bytes != GOLDEN {
        std::fs::write(std::env::temp_dir().join("order_v1.bin"), &bytes).unwrap();
    }
    assert!(bytes == GOLDEN, "written differently now; the new bytes are in the system's temporary directory");
    assert_eq!(decode_order(GOLDEN).unwrap(), order());
}

/// bincode is unmaintained: the way out stays proven.
#[test]
fn wincode_reads_and_writes_the_same_order() {
    let body = &GOLDEN[HEADER_BYTES..];
    let read: RecordV1<OrderV1> = wincode::config::deserialize(body, wincode_config()).unwrap();
    assert_eq!(wincode::config::serialize(&read, wincode_config()).unwrap(), body);
}

#[test]
fn damage_and_mix_ups_are_no_order() {
    for bit in 0..GOLDEN.len() * 8 {
        let mut bytes = GOLDEN.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(decode_order(&bytes).is_err(), "bit {bit}");
    }
    for cut in 0..GOLDEN.len() {
        assert_eq!(decode_order(&GOLDEN[..cut]), Err(DecodeError::Truncated), "cut at {cut}");
    }
    for cut in HEADER_BYTES..GOLDEN.len() {
        let read = decode_order(&reseal(&GOLDEN[HEADER_BYTES..cut]));
        assert!(matches!(read, Err(DecodeError::Malformed(_) | DecodeError::TooLarge { .. })), "{read:?}");
    }
    assert!(matches!(decode_cart(GOLDEN), Err(DecodeError::Kind { found: 12, .. })));
    let command = encode_order_command(&Command::Wake).unwrap();
    assert!(decode_order(&command).is_err() && decode_order_refusal(&command).is_err());
}

/// Behind a checksum that holds: no byte, whatever it becomes, makes the decoder panic, nor what is asked of an order then.
#[test]
fn any_byte_of_an_order_may_be_any_other() {
    for at in HEADER_BYTES..GOLDEN.len() {
        for byte in 0..=u8::MAX {
            let mut body = GOLDEN[HEADER_BYTES..].to_vec();
            body[at - HEADER_BYTES] = byte;
            if let Ok(record) = decode_order(&reseal(&body)) {
                drop(pending(&record.state));
                let _ = record.state.status();
                drop(encode_order(&record).unwrap());
            }
        }
    }
}

/// A length that no order can have is refused before anything is allocated for it.
#[test]
fn hostile_lengths_claim_no_memory() {
    let mut body = GOLDEN[HEADER_BYTES..].to_vec();
    let email = body.windows(3).position(|three| three == b"EUR").unwrap() + 3;
    body.splice(email..=email, [&[253][..], &u64::MAX.to_le_bytes()].concat());
    assert_eq!(decode_order(&reseal(&body)), Err(DecodeError::TooLarge { max: RECORD_BYTES_MAX }));
}

#[test]
fn an_order_that_no_order_can_be_is_malformed() {
    let broken = |name: &str, change: fn(&mut Order)| {
        let mut record = order();
        change(&mut record.state);
        let bytes = encode_order(&record).unwrap();
        assert!(matches!(decode_order(&bytes), Err(DecodeError::Malformed(_))), "{name}");
    };
    broken("no lines", |order| order.lines.clear());
    broken("two lines of one name", |order| order.lines[1].bought.line = LineId(1));
    broken("no units", |order| order.lines[1].bought.quantity = 0);
    broken("a subtotal of other lines", |order| order.totals.subtotal += 1);
    broken("more refunded than captured", |order| order.payment.refunded = 5671);
    broken("more captured than authorised", |order| order.payment.captured = 20_001);
    broken("more to refund than was captured", |order| order.payment.refunded = 5071);
    broken("more to capture than is authorised", |order| order.payment.authorised = 11_339);
    broken("a deed's number again", |order| order.deeds[1].n = order.deeds[0].n);
    broken("a deed of the next one's number", |order| order.deed_next -= 1);
    broken("a deed of a checkout's number", |order| order.deeds[0].n = 1);
    broken("a refund that a stock remembers", |order| order.deeds[3].state = DeedState::Forgetting);
    broken("goods of no line", |order| order.deeds[0].work = Work::Ship { goods: LineId(9), quantity: 1 });
    broken("a parcel of no line", |order| order.shipments[0].lines[0].0 = LineId(9));
    broken("a parcel's number again", |order| order.shipments[1].n = 1);
    broken("one parcel more than fits", |order| {
        order.shipments = vec![order.shipments[1].clone(); SHIPMENTS_MAX + 1];
    });
    broken("more fulfilled than left", |order| order.lines[1].fulfilled = 1);
    broken("more returned than fulfilled", |order| order.lines[0].returned = 3);
    broken("more in parcels than was bought", |order| order.shipments[1].lines[0].1 = 4);
    broken("cancelled and fulfilled", |order| order.cancelled = Some(Cause::Shop));
    broken("a long history", |order| order.history = vec![order.history[0].clone(); HISTORY_MAX + 1]);
    broken("a long note", |order| order.history[0].note = Some("x".repeat(NOTE_BYTES_MAX + 1).into()));
}

/// Every bound at once, with all receipts of ten busy minutes: it fits in a row and reads back.
#[test]
fn the_largest_order_fits_in_a_row() {
    let mut record = order();
    let order = &mut record.state;
    let metadata: Box<[_]> = (0..20).map(|n| (format!("key-{n:02}").into(), "v".repeat(45).into())).collect();
    order.lines = (1..=LINES_MAX as u32).map(|n| line(n, 50, 50, 50)).collect();
    for line in &mut order.lines {
        (line.bought.metadata, line.bought.title) = (metadata.clone(), "t".repeat(200).into());
        line.bought.sku = format!("{}{}", "s".repeat(61), line.bought.line.0).into();
    }
    order.totals.subtotal = 50_000 * LINES_MAX as i64;
    (order.totals.total, order.payment.authorised) = (order.totals.subtotal + 9_000, order.totals.subtotal * 2);
    (order.payment.captured, order.payment.refunded) = (order.totals.total, 0);
    let all: Vec<_> = order.lines.iter().map(|line| (line.bought.line, 1)).collect();
    let parcel = |n| Shipment {
        n,
        lines: all.clone(),
        carrier: Some("c".repeat(40).into()),
        label: Some("l".repeat(LABEL_BYTES_MAX).into()),
        asked_at: UnixMillis(u64::MAX),
        left_at: Some(UnixMillis(u64::MAX)),
    };
    order.shipments = (1..=SHIPMENTS_MAX as u32).map(parcel).collect();
    let work = Work::Restock { goods: LineId(100), quantity: 99_900, from: Origin::Returned };
    let deed = |n| Deed { n, work, state: DeedState::Remembered { since: UnixMillis(u64::MAX) } };
    order.deeds = (65_536..65_536 + DEEDS_MAX as u32 + 202).map(deed).collect();
    order.deed_next = 70_000;
    let note = Some("n".repeat(NOTE_BYTES_MAX).into());
    let entry = Entry { at: UnixMillis(u64::MAX), note, ..order.history[0].clone() };
    order.history = vec![entry; HISTORY_MAX];
    record.receipts = thin_vec![Receipt { key: u128::MAX, request: 5, at: UnixMillis(u64::MAX), outcome: 7 }; 1024];
    let bytes = encode_order(&record).unwrap();
    assert!(bytes.len() > 200_000, "only {} bytes: this proves little", bytes.len());
    assert_eq!(decode_order(&bytes).unwrap(), record);
    record.state.email = "x".repeat(ROW_BYTES_MAX).into();
    assert!(matches!(encode_order(&record), Err(EncodeError::TooLarge { max: ROW_BYTES_MAX, .. })));
}

fn commands() -> Vec<Command> {
    let refused = Done::Refused { reason: "the bank said no".into() };
    vec![
        Command::Place(Box::new(placement(Capture::AtOrder))),
        Command::Place(Box::new(placement(Capture::AtFulfilment))),
        Command::Capture,
        fulfil(&[(1, 2), (4, u16::MAX)]),
        Command::Fulfil { lines: Vec::new(), carrier: None, label: None },
        Command::Cancel { reason: Some("changed my mind".into()) },
        Command::Cancel { reason: None },
        take_back(&[(2, 1)]),
        Command::Refund { amount: -5 },
        Command::LearnRefunded { captured: 7, refunded: i64::MAX },
        on_done(Step::Deed(65_536), Done::Yes, true),
        on_done(Step::Deed(65_537), refused.clone(), false),
        on_done(Step::Forget(u32::MAX), refused, false),
        on_wake(),
    ]
}

fn refusals() -> Vec<Refusal> {
    let line = LineId(3);
    let actions = [Action::Capture, Action::Fulfil, Action::Cancel, Action::Return, Action::Refund];
    let illegal =
        Status::ALL.into_iter().flat_map(|status| actions.map(|action| Refusal::IllegalTransition { status, action }));
    let others = [
        Refusal::NotFound,
        Refusal::ShopOnly,
        Refusal::RevisionMismatch { present: 8 },
        Refusal::NoLines,
        Refusal::LineNotFound(line),
        Refusal::QuantityOutOfRange { line, requested: 70_000, max: 9 },
        Refusal::RefundOutOfRange { requested: -1, max: i64::MAX },
        Refusal::TooManyShipments { max: SHIPMENTS_MAX },
        Refusal::Busy,
        Refusal::Inconsistent,
    ];
    illegal.chain(others).collect()
}

#[test]
fn every_command_and_every_refusal_comes_out_as_it_went_in() {
    for command in commands() {
        assert_eq!(decode_order_command(&encode_order_command(&command).unwrap()), Ok(command));
    }
    for refusal in refusals() {
        assert_eq!(decode_order_refusal(&encode_order_refusal(&refusal).unwrap()), Ok(refusal));
    }
    let long = Command::Fulfil { lines: Vec::new(), carrier: None, label: Some("l".repeat(101).into()) };
    assert!(decode_order_command(&encode_order_command(&long).unwrap()).is_err());
}

/// Commands to every kind of actor are one kind of record: one that is for a cart is never an order's.
#[test]
fn a_command_for_another_kind_of_actor_is_refused() {
    let other = envelope::seal(RecordKind::Command, 1, 1, &(RecordKind::Stock as u8, 7u8), RECORD_BYTES_MAX).unwrap();
    assert!(matches!(decode_order_command(&other), Err(DecodeError::Malformed(_))));
}

proptest! {
    /// Whatever was asked of it: an order's row reads back.
    #[test]
    fn any_order_reads_back(asked in prop::collection::vec((0..commands().len(), any::<bool>()), 0..30), at_order: bool) {
        let mut order = made(if at_order { Capture::AtOrder } else { Capture::AtFulfilment });
        let context = Context { now: UnixMillis(9), by: None, if_revision: None, expire_after_ms: 0 };
        for (command, answered) in asked {
            let answers = pending(order.as_ref().unwrap()).into_iter().map(|(step, _)| on_done(step, Done::Yes, false));
            let answers = answers.filter(|_| answered).collect::<Vec<_>>();
            for command in [commands()[command].clone(), fulfil(&[(1, 1)])].into_iter().chain(answers) {
                for event in decide(order.as_ref(), &command, &context).unwrap_or_default() {
                    evolve(&mut order, &event);
                }
            }
        }
        let record = around(order.unwrap());
        prop_assert_eq!(decode_order(&encode_order(&record).unwrap()).unwrap(), record);
    }

    #[test]
    fn random_bodies_never_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let command = encode_order_command(&Command::Wake).unwrap();
        let refusal = encode_order_refusal(&Refusal::Busy).unwrap();
        drop(decode_order(&reseal(&body)));
        drop(decode_order_command(&resealed(&command, &body)));
        drop(decode_order_refusal(&resealed(&refusal, &body)));
    }

    #[test]
    fn what_no_node_sent_is_refused(at: prop::sample::Index, bit in 0..8u32) {
        for command in commands() {
            let mut bytes = encode_order_command(&command).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(decode_order_command(&bytes).is_err());
        }
    }
}
