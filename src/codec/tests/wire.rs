//! What nodes ask each other comes out as it went in, and nothing else does.

use bytes::Bytes;
use proptest::prelude::*;

use super::samples::rule;

use crate::{
    codec::{
        DecodeError, decode_cart_command, decode_cart_refusal, encode_cart_command, encode_cart_refusal,
        view::{View, decode_view, encode_view},
        wire::{Failed, Question, Reply, Request, decode_reply, decode_request, encode_reply, encode_request},
    },
    domain::{
        CartId, CheckoutId, Currency, GuestId, Id,
        cart::{Addition, CODES_MAX, Command, LINES_MAX, LineId, Owner, Refusal, SetQuantity, Status},
        pricing::Reason,
    },
};

fn owner() -> Owner {
    Owner::Guest(GuestId(Id(7)))
}

fn commands() -> Vec<Command> {
    let line = LineId(3);
    vec![
        Command::Create { id: CartId(Id(9)), owner: owner(), currency: Currency::EUR },
        Command::Add(Addition {
            sku: "mug".into(),
            title: "Mug".into(),
            unit_price: 1_250,
            currency: Currency::EUR,
            quantity: 2,
            quantity_max: 99,
            options: [("size".into(), "M".into())].into(),
            metadata: [("gift".into(), "true".into())].into(),
        }),
        Command::SetQuantity(SetQuantity { line, quantity: 0 }),
        Command::Remove(line),
        Command::Clear,
        Command::Save(line),
        Command::Restore(line),
        Command::Patch { note: Some(Some("ring twice".into())), email: Some(None) },
        Command::Close,
        Command::Expire,
        Command::ApplyCode(rule(1)),
        Command::RemoveCode("CODE-1".into()),
        Command::Begin { checkout: CheckoutId(Id(5)), prices: vec![(line, 1_250)] },
        Command::Opened { checkout: CheckoutId(Id(5)) },
        Command::Settle { checkout: CheckoutId(Id(5)), bought: vec![(line, 2)] },
        Command::LetGo { checkout: CheckoutId(Id(u128::MAX)) },
    ]
}

fn requests() -> Vec<Request> {
    let asks = commands().into_iter().map(|command| Question::Ask {
        command: encode_cart_command(&command).unwrap(),
        by: Some(owner()),
        if_revision: Some(4),
        key: Some((1, u128::MAX)),
        deed: None,
    });
    let others = [Question::Read, Question::Watch { seen: 5 }, Question::Show];
    let of = |question| Request { hops: 1, map_version: 12, kind: 1, id: Id(u128::MAX), question };
    others.into_iter().chain(asks).map(of).collect()
}

fn refusals() -> Vec<Refusal> {
    vec![
        Refusal::NotFound,
        Refusal::NotOpen(Status::Expired),
        Refusal::LineNotFound(LineId(3)),
        Refusal::TooManyLines { max: LINES_MAX },
        Refusal::QuantityOutOfRange { requested: 70_000, max: 9 },
        Refusal::CurrencyMismatch { cart: Currency::EUR, product: Currency::EUR },
        Refusal::RevisionMismatch { present: 8 },
        Refusal::TotalTooLarge,
        Refusal::LinesTooLarge,
        Refusal::NotOpen(Status::CheckingOut),
        Refusal::NotOpen(Status::Ordered),
        Refusal::CodeNotApplicable(Reason::Currency(Currency::EUR)),
        Refusal::CodeNotApplicable(Reason::NotYet),
        Refusal::CodeNotApplicable(Reason::Over),
        Refusal::CodeNotApplicable(Reason::NoLine),
        Refusal::CodeNotApplicable(Reason::Minimum { minimum: 500, reached: 499 }),
        Refusal::CodeNotApplicable(Reason::NothingLeft),
        Refusal::TooManyCodes { max: CODES_MAX },
        Refusal::CodeNotFound,
        Refusal::Empty,
    ]
}

fn replies() -> Vec<Reply> {
    let failures = [
        Failed::KeyReused,
        Failed::TooManyKeys(5),
        Failed::Overloaded(1_000),
        Failed::StoreUnavailable(true),
        Failed::TimedOut(false),
        Failed::Quarantined(30_000),
        Failed::Draining,
        Failed::Internal(true),
    ];
    let state = Reply::State {
        record: vec![1, 2, 3],
        outcome: 0,
        replayed: true,
        stale_ms: Some(9),
        owner: Some("n2".to_owned()),
    };
    let refused = refusals().into_iter().map(|refusal| Failed::Refused(encode_cart_refusal(&refusal).unwrap()));
    let failed = refused.chain(failures).map(Reply::Failed);
    [state, Reply::Unchanged, Reply::NotOwner { map_version: 3 }].into_iter().chain(failed).collect()
}

#[test]
fn every_question_and_every_reply_comes_out_as_it_went_in() {
    for request in requests() {
        assert_eq!(decode_request(&encode_request(request.clone()).unwrap()), Ok(request));
    }
    for reply in replies() {
        assert_eq!(decode_reply(&encode_reply(reply.clone()).unwrap()), Ok(reply));
    }
    for command in commands() {
        assert_eq!(decode_cart_command(&encode_cart_command(&command).unwrap()), Ok(command));
    }
    for refusal in refusals() {
        assert_eq!(decode_cart_refusal(&encode_cart_refusal(&refusal).unwrap()), Ok(refusal));
    }
}

#[test]
fn a_command_about_more_lines_than_a_cart_has_is_malformed() {
    let prices = (1..=LINES_MAX as u32 + 1).map(|line| (LineId(line), 1)).collect();
    let begin = Command::Begin { checkout: CheckoutId(Id(5)), prices };
    let read = decode_cart_command(&encode_cart_command(&begin).unwrap());
    assert!(matches!(read, Err(DecodeError::Malformed(_))), "{read:?}");
}

fn view() -> (View, Bytes) {
    let view =
        View { owner: owner(), revision: 300, stale_ms: Some(9), body: Bytes::from_static(br#"{"id":"cart_9"}"#) };
    let bytes = encode_view(view.owner, view.revision, view.stale_ms, &view.body).unwrap();
    (view, bytes.into())
}

#[test]
fn a_view_comes_out_as_it_went_in_and_is_told_from_a_reply() {
    let (view, bytes) = view();
    assert_eq!(decode_view(&bytes), Ok(view));
    assert!(decode_reply(&bytes).is_err());
    let reply = Bytes::from(encode_reply(Reply::Unchanged).unwrap());
    assert!(matches!(decode_view(&reply), Err(DecodeError::Kind { .. })));
    let fits = |bytes: usize| encode_view(owner(), 1, None, &vec![b' '; bytes]).is_ok();
    assert!(fits(255 * 1024) && !fits(256 * 1024), "it travels in one envelope");
}

proptest! {
    #[test]
    fn a_damaged_view_is_refused(at in 0..80_usize, bit in 0..8_u32, cut in 0..80_usize) {
        let (_, bytes) = view();
        prop_assert!(decode_view(&bytes.slice(..cut.min(bytes.len() - 1))).is_err());
        let mut damaged = bytes.to_vec();
        let at = at % damaged.len();
        damaged[at] ^= 1 << bit;
        prop_assert!(decode_view(&damaged.into()).is_err());
    }

    #[test]
    fn what_no_node_sent_is_refused(at in 0..400_usize, bit in 0..8_u32, cut in 0..400_usize) {
        for request in requests() {
            let mut bytes = encode_request(request).unwrap();
            prop_assert!(decode_request(&bytes[..cut.min(bytes.len() - 1)]).is_err());
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            prop_assert!(decode_request(&bytes).is_err() && decode_reply(&bytes).is_err());
        }
    }
}
