//! A checkout's bytes are frozen, read back, and refused where they are not what a checkout wrote.

use proptest::prelude::*;
use thin_vec::thin_vec;

use super::{frozen::CheckoutV1, *};
use crate::{
    codec::{
        envelope::HEADER_BYTES,
        record::{Armed, Receipt},
    },
    domain::{
        CartId, CheckoutId, Currency, GuestId, Id, UnixMillis,
        address::{Address, Country},
        cart::{CHECKOUT_BYTES_MAX, LINES_MAX, Line, LineId, Owner},
        checkout::{
            ATTEMPTS_MAX, Attempt, AttemptState, CheckoutLine, Command, Create, Done, Email, End, Hold, HoldState,
            Lack, Missing, Patch, Phase, Refusal, Status, Step, Undo, Undone, What,
        },
        discount::{Rule, Worth},
        payment::{Abandoned, Authorised, Token},
        pricing::{Discounted, Offer, Priced, Quote},
    },
};

const GOLDEN: &[u8] = include_bytes!("../golden/checkout_v1.bin");

fn line(n: u32) -> CheckoutLine {
    CheckoutLine {
        line: Line {
            id: LineId(n),
            sku: format!("sku-{n}").into(),
            title: "Mug, blue".into(),
            quantity: 2,
            quantity_max: 999,
            unit_price: 1299,
            options: vec![("size".into(), "M".into())].into(),
            metadata: vec![("gift".into(), "true".into())].into(),
        },
        categories: vec!["kitchen".into()],
        weight_g: 300,
        stock_initial: 1_000,
    }
}

fn rule(code: &str, worth: Worth) -> Rule {
    Rule {
        code: code.into(),
        worth,
        currency: Currency::EUR,
        per_line: true,
        categories: vec!["kitchen".into()],
        minimum: 500,
        valid_from: Some(UnixMillis(1_795_000_000_000)),
        valid_until: None,
        uses_max: Some(100),
        uses_per_shopper_max: Some(1),
    }
}

fn quote(lines: &[CheckoutLine]) -> Quote {
    let priced = |bought: &CheckoutLine| Priced { line: bought.line.id, subtotal: 2598, discount: -260, tax: 373 };
    Quote {
        currency: Currency::EUR,
        lines: lines.iter().map(priced).collect(),
        discounts: vec![Discounted { code: "TEN".into(), amount: -520 }],
        offers: vec![Offer { id: "standard".into(), title: "Standard".into(), price: 490 }],
        option: Some("standard".into()),
        subtotal: 5196,
        discount: -520,
        shipping: 490,
        tax: 824,
        tax_included: true,
        total: 5166,
    }
}

fn address() -> Address {
    Address {
        name: "Ada".into(),
        line1: "12 Rose Street".into(),
        line2: Some("back door".into()),
        city: "Bristol".into(),
        region: None,
        postal_code: "BS1 1AA".into(),
        country: Country::parse("GB").unwrap(),
    }
}

fn attempt(token: Option<&str>, state: AttemptState, undo: Undo) -> Attempt {
    Attempt {
        gateway: "sandbox".into(),
        token: token.map(|token| Token(token.into())),
        amount: 5166,
        started_at: UnixMillis(1_795_000_000_100),
        hold_until: UnixMillis(1_795_000_960_000),
        round: 1,
        reference: Some("pay_1".into()),
        state,
        undo,
    }
}

fn hold(what: What, state: HoldState, lack: Option<Lack>) -> Hold {
    let once = lack.is_none();
    Hold { what, state, lack, once }
}

/// With something of every sort in it.
fn checkout() -> Record<Checkout> {
    let stock = |n: u32| What::Stock { sku: format!("sku-{n}").into(), initial: 1_000, quantity: 2 };
    let code = || What::Code { code: "TEN".into() };
    let lines = vec![line(1), line(3)];
    Record {
        epoch: 7,
        op_id: 0x1122_3344_5566_7788_99aa_bbcc_ddee_ff00,
        state: Checkout {
            id: CheckoutId(Id(1 << 114)),
            revision: 4,
            cart: CartId(Id((1 << 114) + 1)),
            owner: Owner::Guest(GuestId(Id(42))),
            currency: Currency::EUR,
            quote: quote(&lines),
            lines,
            codes: vec![
                rule("TEN", Worth::Percent { basis_points: 1_000 }),
                rule("FIVE", Worth::Fixed { amount: 500 }),
                rule("SHIP", Worth::FreeShipping),
            ],
            email: Some(Email("ada@example.org".into())),
            address: Some(address()),
            option: Some("standard".into()),
            holds: vec![
                hold(stock(1), HoldState::Pinned { attempt: 2 }, None),
                hold(stock(3), HoldState::Held { until: UnixMillis(1_795_000_960_000) }, None),
                hold(stock(4), HoldState::Refused, Some(Lack::Stock { available: 1 })),
                hold(code(), HoldState::Wanted, Some(Lack::Code { reason: "used up".into() })),
                hold(code(), HoldState::Committed, None),
                hold(code(), HoldState::Released, None),
                hold(code(), HoldState::Forgotten, None),
            ],
            phase: Phase::Authorising { until: UnixMillis(1_795_000_060_000) },
            attempts: vec![
                attempt(None, AttemptState::Declined { reason: "no money".into() }, Undo::Nothing),
                attempt(None, AttemptState::Unavailable, Undo::Abandon),
                attempt(None, AttemptState::Abandoned, Undo::Void),
                attempt(None, AttemptState::Approved, Undo::Voided),
                attempt(None, AttemptState::ActionRequired { url: "https://bank.example".into() }, Undo::VoidRefused),
                attempt(Some("tok_approve"), AttemptState::Pending, Undo::Nothing),
            ],
            ttl_ms: 900_000,
            created_at: UnixMillis(1_795_000_000_000),
            updated_at: UnixMillis(1_795_000_000_001),
            expires_at: UnixMillis(1_795_000_900_000),
            expires_at_max: UnixMillis(1_795_003_600_000),
        },
        receipts: thin_vec![Receipt { key: u128::MAX, request: 5, at: UnixMillis(9), outcome: 6 }],
        unsent: Box::default(),
        armed: Some(Armed { due: UnixMillis(1_795_000_060_000), version: 3 }),
    }
}

fn phases() -> Vec<Phase> {
    let undone = [Undone::Cancelled, Undone::Expired, Undone::Refused];
    let ends: Vec<_> = undone.into_iter().map(End::Undone).chain([End::Completed]).collect();
    let backwards = undone.into_iter().flat_map(|end| [Phase::Releasing(end), Phase::LettingGo(end)]);
    let over = ends.into_iter().flat_map(|end| [Phase::Remembering(end), Phase::Forgetting(end), Phase::Ended(end)]);
    [Phase::Holding, Phase::Open, Phase::Pinning, Phase::RequiresAction, Phase::Abandoning]
        .into_iter()
        .chain(backwards)
        .chain(over)
        .collect()
}

fn resealed(header: &[u8], body: &[u8]) -> Vec<u8> {
    let mut bytes = header[..8].to_vec();
    bytes.extend((body.len() as u32).to_be_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes), body);
    bytes.extend(crc.to_be_bytes());
    bytes.extend(body);
    bytes
}

#[test]
fn the_bytes_are_frozen_and_read_back() {
    let bytes = encode_checkout(&checkout()).unwrap();
    if bytes != GOLDEN {
        std::fs::write(std::env::temp_dir().join("checkout_v1.bin"), &bytes).unwrap();
    }
    assert!(bytes == GOLDEN, "written differently now; the new bytes are in the system's temporary directory");
    assert_eq!(decode_checkout(GOLDEN).unwrap(), checkout());
}

/// bincode is unmaintained: the way out stays proven.
#[test]
fn wincode_reads_and_writes_the_same_bytes() {
    let config = wincode::config::Configuration::default().with_varint_encoding();
    let body = &GOLDEN[HEADER_BYTES..];
    let read: RecordV1<CheckoutV1> = wincode::config::deserialize(body, config).unwrap();
    assert_eq!(wincode::config::serialize(&read, config).unwrap(), body);
}

#[test]
fn every_phase_reads_back() {
    for phase in phases() {
        let mut record = checkout();
        record.state.phase = phase;
        assert_eq!(decode_checkout(&encode_checkout(&record).unwrap()), Ok(record));
    }
    for phase in [Phase::Committing, Phase::Placing, Phase::Settling] {
        let mut record = checkout();
        record.state.phase = phase;
        record.state.attempts.push(attempt(None, AttemptState::Approved, Undo::Nothing));
        assert_eq!(decode_checkout(&encode_checkout(&record).unwrap()), Ok(record));
    }
}

#[test]
fn what_no_checkout_can_be_is_malformed() {
    let broken = |name: &str, change: fn(&mut Checkout)| {
        let mut record = checkout();
        change(&mut record.state);
        let bytes = encode_checkout(&record).unwrap();
        assert!(matches!(decode_checkout(&bytes), Err(DecodeError::Malformed(_))), "{name}");
    };
    broken("nothing to buy", |state| (state.lines, state.quote.lines) = (vec![], vec![]));
    broken("more lines than a cart holds", |state| {
        state.lines = (1..=LINES_MAX as u32 + 1).map(line).collect();
        state.quote = quote(&state.lines);
    });
    broken("no units", |state| state.lines[0].line.quantity = 0);
    broken("a quote of fewer lines", |state| state.quote.lines.truncate(1));
    broken("too many codes", |state| state.codes = vec![state.codes[0].clone(); 6]);
    broken("too many attempts", |state| state.attempts = vec![state.attempts[5].clone(); ATTEMPTS_MAX + 1]);
    broken("pinned for no attempt", |state| state.holds[0].state = HoldState::Pinned { attempt: 7 });
    broken("nothing to pay with", |state| state.attempts[5].token = None);
    broken("nobody to write to", |state| state.email = None);
    broken("nowhere to send it", |state| state.address = None);
    broken("approved by nobody", |state| state.phase = Phase::Placing);
    broken("money without a name", |state| state.attempts[2].reference = None);
    broken("a token too long", |state| state.attempts[5].token = Some(Token("t".repeat(256).into())));
    let mut body = GOLDEN[HEADER_BYTES..].to_vec();
    let at = body.windows(2).rposition(|two| two == b"GB").unwrap();
    body[at] = b'g';
    assert!(matches!(decode_checkout(&resealed(GOLDEN, &body)), Err(DecodeError::Malformed(_))), "a country of none");
}

#[test]
fn damage_is_an_error_and_no_byte_of_a_body_makes_reading_panic() {
    for cut in 0..GOLDEN.len() {
        assert_eq!(decode_checkout(&GOLDEN[..cut]).unwrap_err(), DecodeError::Truncated);
        if cut >= HEADER_BYTES {
            assert!(decode_checkout(&resealed(GOLDEN, &GOLDEN[HEADER_BYTES..cut])).is_err());
        }
    }
    for bit in 0..GOLDEN.len() * 8 {
        let mut bytes = GOLDEN.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(decode_checkout(&bytes).is_err(), "bit {bit}");
    }
    for offset in HEADER_BYTES..GOLDEN.len() {
        for byte in 0..=u8::MAX {
            let mut body = GOLDEN[HEADER_BYTES..].to_vec();
            body[offset - HEADER_BYTES] = byte;
            drop(decode_checkout(&resealed(GOLDEN, &body)));
        }
    }
}

#[test]
fn the_largest_checkout_fits_in_a_row() {
    let mut largest = checkout();
    let metadata: Box<[_]> = (0..20).map(|n| (format!("key-{n:02}").into(), "v".repeat(45).into())).collect();
    let full = |n| {
        let mut full = line(n);
        (full.line.title, full.line.metadata) = ("t".repeat(200).into(), metadata.clone());
        full
    };
    largest.state.lines = (1..=LINES_MAX as u32).map(full).collect();
    largest.state.quote = quote(&largest.state.lines);
    let stock = |n: usize| What::Stock { sku: format!("{n:064}").into(), initial: u32::MAX, quantity: 999 };
    largest.state.holds =
        (0..LINES_MAX).map(|n| hold(stock(n), HoldState::Held { until: UnixMillis(u64::MAX) }, None)).collect();
    let declined = attempt(None, AttemptState::Declined { reason: "r".repeat(300).into() }, Undo::Nothing);
    largest.state.attempts = vec![declined; ATTEMPTS_MAX - 1];
    largest.state.attempts.push(attempt(Some(&"t".repeat(255)), AttemptState::Pending, Undo::Nothing));
    largest.receipts =
        thin_vec![Receipt { key: u128::MAX, request: u128::MAX, at: UnixMillis(u64::MAX), outcome: 20 }; 1024];
    let bytes = encode_checkout(&largest).unwrap();
    assert!(bytes.len() > 190_000, "only {} bytes: this proves little", bytes.len());
    assert_eq!(decode_checkout(&bytes), Ok(largest));
}

fn commands() -> Vec<Command> {
    let state = checkout().state;
    let create = Create {
        id: state.id,
        cart: state.cart,
        owner: state.owner,
        currency: state.currency,
        lines: state.lines.clone(),
        codes: state.codes.clone(),
        quote: state.quote.clone(),
        email: state.email.clone(),
        ttl_ms: 900_000,
        asked_at: UnixMillis(1_795_000_000_000),
        ttl_max_ms: 3_600_000,
    };
    let patch = |email, address, option| Command::Patch(Box::new(Patch { email, address, option, quote: quote(&[]) }));
    let steps = [
        Step::Hold(1),
        Step::Extend { hold: 2, until: UnixMillis(u64::MAX) },
        Step::Pin { hold: 3, attempt: 4 },
        Step::Unpin { hold: 5, attempt: 6 },
        Step::Commit(7),
        Step::Release(8),
        Step::Forget(9),
        Step::Authorise { attempt: 10, round: 11 },
        Step::Abandon(12),
        Step::Void(13),
        Step::Place,
        Step::Settle,
        Step::LetGo,
    ];
    let answers = [
        Done::Ok,
        Done::Insufficient { available: 3 },
        Done::Lost,
        Done::CodeRefused { reason: "used up".into() },
        Done::Authorised(Authorised::Yes { reference: "pay_1".into() }),
        Done::Authorised(Authorised::Declined { reason: "no".into() }),
        Done::Authorised(Authorised::ActionRequired { reference: "pay_1".into(), url: "u".into() }),
        Done::Authorised(Authorised::Unavailable),
        Done::Abandoned(Abandoned::Nothing),
        Done::Abandoned(Abandoned::Authorised { reference: "pay_1".into() }),
    ];
    let mut all = vec![
        Command::Create(Box::new(create)),
        patch(Some(Some(Email("a@b".into()))), Some(Some(address())), Some(Some("standard".into()))),
        patch(Some(None), Some(None), Some(None)),
        patch(None, None, None),
        Command::Complete { gateway: "sandbox".into(), token: Token("tok".into()) },
        Command::Confirm,
        Command::Cancel,
        Command::Expire,
    ];
    all.extend(steps.map(|step| Command::Done { step, done: Done::Ok, once: true }));
    all.extend(answers.map(|done| Command::Done { step: Step::Place, done, once: false }));
    all
}

fn refusals() -> Vec<Refusal> {
    use Status::{Cancelled, Completed, Completing, Expired, Open, RequiresAction};
    let not_open = [Open, Completing, RequiresAction, Completed, Cancelled, Expired].map(Refusal::NotOpen);
    let missing = [Missing::Email, Missing::Address, Missing::Option].map(Refusal::Missing);
    let others = [
        Refusal::NotFound,
        Refusal::RevisionMismatch { present: u64::MAX },
        Refusal::StillHolding,
        Refusal::TooManyAttempts,
        Refusal::TooLate,
        Refusal::QuoteMismatch,
    ];
    not_open.into_iter().chain(missing).chain(others).collect()
}

#[test]
fn every_command_and_every_refusal_comes_out_as_it_went_in() {
    for command in commands() {
        assert_eq!(decode_checkout_command(&encode_checkout_command(&command).unwrap()), Ok(command));
    }
    for refusal in refusals() {
        assert_eq!(decode_checkout_refusal(&encode_checkout_refusal(&refusal).unwrap()), Ok(refusal));
    }
    let long = Command::Complete { gateway: "g".repeat(33).into(), token: Token("t".into()) };
    assert!(decode_checkout_command(&encode_checkout_command(&long).unwrap()).is_err());
}

proptest! {
    #[test]
    fn what_no_node_sent_is_refused(at in 0..4_000_usize, byte: u8, cut in 0..4_000_usize) {
        for command in commands() {
            let bytes = encode_checkout_command(&command).unwrap();
            prop_assert!(decode_checkout_command(&bytes[..cut % bytes.len()]).is_err());
            let mut flipped = bytes.clone();
            flipped[at % bytes.len()] ^= byte | 1;
            prop_assert!(decode_checkout_command(&flipped).is_err());
            prop_assert!(decode_checkout_refusal(&bytes).is_err());
            let mut body = bytes[HEADER_BYTES..].to_vec();
            let at = at % body.len();
            body[at] = byte;
            drop(decode_checkout_command(&resealed(&bytes, &body)));
        }
    }
}

/// A checkout that a cart may begin can be written down to its last attempt.
#[test]
fn a_checkout_of_the_largest_lines_fits_a_row() {
    let mut record = checkout();
    let heavy = |n| {
        let mut bought = line(n);
        bought.line.metadata = [("engraving".into(), "x".repeat(1_000).into())].into();
        bought.categories = (0..8).map(|n| format!("{n:064}").into()).collect();
        bought
    };
    let count = CHECKOUT_BYTES_MAX / 2 / heavy(1).line.weight_bytes();
    record.state.lines = (1..=count as u32).map(heavy).collect();
    record.state.quote = quote(&record.state.lines);
    let declined = || attempt(None, AttemptState::Declined { reason: "x".repeat(300).into() }, Undo::Nothing);
    record.state.attempts = (0..ATTEMPTS_MAX).map(|_| declined()).collect();
    let sku = |n| What::Stock { sku: format!("{n:064}").into(), initial: 1_000, quantity: 2 };
    record.state.holds = (0..count).map(|n| hold(sku(n), HoldState::Released, None)).collect();
    let bytes = encode_checkout(&record).unwrap().len();
    assert!(bytes < ROW_BYTES_MAX - 64 * 1024, "{bytes} bytes leave no room for events");
}
