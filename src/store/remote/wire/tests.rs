//! Every frame comes back as it was, and hostile bytes are turned away.

use std::sync::Arc;

use proptest::{collection::vec, option, prelude::*};

use super::*;

fn boxed() -> impl Strategy<Value = Box<[u8]>> {
    vec(any::<u8>(), 0..40).prop_map(Into::into)
}

fn entry() -> impl Strategy<Value = IndexEntry> {
    (boxed(), boxed(), boxed()).prop_map(|(partition, key, value)| IndexEntry { partition, key, value })
}

fn kind() -> impl Strategy<Value = Kind> {
    (0..Kind::ALL.len()).prop_map(|at| Kind::ALL[at])
}

fn head() -> impl Strategy<Value = Head> {
    any::<(u64, u64, u128)>().prop_map(|(version, epoch, op_id)| Head { version, epoch, op_id })
}

fn row() -> impl Strategy<Value = Row> {
    (head(), any::<(u16, u64, Option<u32>)>(), vec(any::<u8>(), 0..200)).prop_map(|(head, rest, body)| {
        let (Head { version, epoch, op_id }, (schema_v, updated_at_ms, ttl_s)) = (head, rest);
        Row { version, epoch, op_id, schema_v, updated_at_ms, ttl_s, body: body.into() }
    })
}

fn reason() -> impl Strategy<Value = Reason> {
    ".{0,40}".prop_map(Reason::new)
}

fn a_request() -> impl Strategy<Value = Request> {
    let limit = 0..=SCAN_BYTES_MAX;
    let expect = prop_oneof![Just(Expect::Absent), (0..u64::MAX).prop_map(Expect::Version)];
    prop_oneof![
        Just(Request::Ping),
        (kind(), any::<(u128, bool)>()).prop_map(|(kind, (id, serial))| Request::Load { kind, id, serial }),
        (kind(), any::<u128>(), expect, row(), vec(entry(), 0..4), any::<bool>()).prop_map(
            |(kind, id, expect, row, marks, is_urgent)| {
                let haste = if is_urgent { Haste::Urgent } else { Haste::Patient };
                Request::Save(Save { kind, id, expect, row, marks, haste })
            }
        ),
        vec(entry(), 0..4).prop_map(|entries| Request::IndexPut { entries }),
        (boxed(), vec(boxed(), 0..4)).prop_map(|(partition, keys)| Request::IndexDelete { partition, keys }),
        (boxed(), boxed(), option::of(boxed()), limit.clone())
            .prop_map(|(partition, from, until, limit)| Request::IndexScan { partition, from, until, limit }),
        (kind(), any::<Option<u128>>(), limit).prop_map(|(kind, cursor, limit)| Request::ScanRows {
            kind,
            cursor,
            limit
        }),
    ]
}

fn an_answer() -> impl Strategy<Value = Answer> {
    let health = (option::of(reason()), option::of(reason()), any::<Option<u64>>())
        .prop_map(|(writes_refused, wrong_schema, disk_bytes)| Health { writes_refused, wrong_schema, disk_bytes });
    let saved = prop_oneof![
        Just(Saved::Applied),
        option::of(head()).prop_map(Saved::Lost),
        reason().prop_map(Saved::Unknown),
        reason().prop_map(Saved::Refused),
    ];
    prop_oneof![
        health.prop_map(Answer::Health),
        option::of(row()).prop_map(Answer::Row),
        saved.prop_map(Answer::Saved),
        Just(Answer::Done),
        vec(entry(), 0..4).prop_map(Answer::Entries),
        (vec((any::<u128>(), row()), 0..4), any::<Option<u128>>())
            .prop_map(|(rows, next)| Answer::Page(RowPage { rows, next })),
        reason().prop_map(Answer::Failed),
    ]
}

/// The frame without its length, which is checked.
fn framed(put: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = b"before".to_vec();
    put(&mut out);
    let frame = out.split_off(b"before".len() + LENGTH_BYTES);
    let announced = length(out[b"before".len()..].try_into().unwrap(), ANSWER_BYTES_MAX);
    assert_eq!(announced, Ok(frame.len()));
    frame
}

proptest! {
    #[test]
    fn requests_come_back_and_torn_ones_are_turned_away(id: u64, asked in a_request(), cut: prop::sample::Index, flipped: u8) {
        let mut frame = framed(|out| put_request(out, id, &asked).unwrap());
        prop_assert_eq!(request(frame.clone().into()), Ok((id, asked)));
        let at = cut.index(frame.len());
        prop_assert!(request(Bytes::copy_from_slice(&frame[..at])).is_err());
        prop_assert!(request([&frame[..], &[0]].concat().into()).is_err());
        frame[at] ^= flipped;
        let _ = request(frame.into()); // another request or none, but no panic
    }

    #[test]
    fn answers_come_back_and_torn_ones_are_turned_away(id: u64, told in an_answer(), cut: prop::sample::Index, flipped: u8) {
        let mut frame = framed(|out| put_answer(out, id, &told));
        prop_assert_eq!(answer(frame.clone().into()), Ok((id, told)));
        let at = cut.index(frame.len());
        prop_assert!(answer(Bytes::copy_from_slice(&frame[..at])).is_err());
        prop_assert!(answer([&frame[..], &[0]].concat().into()).is_err());
        frame[at] ^= flipped;
        let _ = answer(frame.into()); // another answer or none, but no panic
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in vec(any::<u8>(), 0..300), what in 0..8_u8) {
        let mut bytes = bytes;
        if let Some(byte) = bytes.get_mut(HEAD_BYTES - 1) {
            *byte = what;
        }
        let _ = request(bytes.clone().into()); // mostly none
        let _ = answer(bytes.into());
    }
}

#[test]
fn a_count_that_is_not_there_claims_no_memory() {
    let mut frame = framed(|out| put_request(out, 1, &Request::IndexPut { entries: vec![] }).unwrap());
    let at = frame.len() - 4;
    frame[at..].fill(u8::MAX);
    assert_eq!(request(frame.into()), Err(Malformed::Truncated));
}

#[test]
fn lengths_that_no_frame_has_are_turned_away() {
    let told = |bytes: usize| length(u32::try_from(bytes).unwrap().to_be_bytes(), REQUEST_BYTES_MAX);
    assert_eq!(told(HEAD_BYTES - 1), Err(Malformed::Length(HEAD_BYTES - 1)));
    assert_eq!(told(HEAD_BYTES), Ok(HEAD_BYTES));
    assert_eq!(told(REQUEST_BYTES_MAX), Ok(REQUEST_BYTES_MAX));
    assert_eq!(told(REQUEST_BYTES_MAX + 1), Err(Malformed::Length(REQUEST_BYTES_MAX + 1)));
}

#[test]
fn what_is_too_long_leaves_nothing_behind_or_says_so() {
    let large: Box<[u8]> = vec![0; REQUEST_BYTES_MAX].into();
    let mut out = b"before".to_vec();
    assert!(put_request(&mut out, 1, &Request::IndexDelete { partition: large.clone(), keys: vec![] }).is_err());
    assert_eq!(out, b"before");
    let entry = IndexEntry { partition: large.clone(), key: large.clone(), value: large };
    let frame = framed(|out| put_answer(out, 1, &Answer::Entries(vec![entry])));
    assert!(matches!(answer(frame.into()), Ok((1, Answer::Failed(_)))));
    let long: Arc<str> = "ä".repeat(REASON_BYTES_MAX).into();
    let frame = framed(|out| put_answer(out, 1, &Answer::Failed(Reason(long))));
    let Ok((1, Answer::Failed(reason))) = answer(frame.into()) else { panic!("a long reason did not come") };
    assert_eq!(reason.0.len(), REASON_BYTES_MAX);
}
