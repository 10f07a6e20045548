//! The bytes of the embedded store, persistent: keys and values of its two keyspaces, `rows` and `index`.
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | `rows` | kind (1), id (16) | format (1) = 1, version (8), epoch (8), op_id (16), schema_v (2), updated_at_ms (8), has ttl (1), ttl_s (4), body |
//! | `index` | length of partition (1), partition, key | value |
//!
//! Numbers are big-endian, so that byte order is number order and a range of keys is a page. One keyspace for all
//! kinds of row rather than one each: a keyspace costs a write buffer and files of its own, and a kind is a range.

use std::ops::Range;

use bytes::Bytes;

use crate::store::{INDEX_KEY_BYTES_MAX, Kind, Row};

/// First byte of a row's value.
const FORMAT: u8 = 1;
/// Bytes before the body.
pub(super) const HEADER_BYTES: usize = 48;
/// Bytes of a row's key.
pub(super) const ROW_KEY_BYTES: usize = 17;

/// A stored value that this release cannot read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a stored row is not of a format that this release reads: check that no newer release wrote this directory")]
pub(super) struct Unreadable;

/// Key of a row.
pub(super) fn row_key(kind: Kind, id: u128) -> [u8; ROW_KEY_BYTES] {
    let mut key = [0; ROW_KEY_BYTES];
    key[0] = kind as u8;
    key[1..].copy_from_slice(&id.to_be_bytes());
    key
}

/// The id in a row's key.
pub(super) fn row_id(key: &[u8]) -> Result<u128, Unreadable> {
    let id = key.get(1..).and_then(|id| id.try_into().ok()).ok_or(Unreadable)?;
    Ok(u128::from_be_bytes(id))
}

/// Value of a row.
pub(super) fn encode_row(row: &Row) -> Vec<u8> {
    let mut value = Vec::with_capacity(HEADER_BYTES + row.body.len());
    value.push(FORMAT);
    value.extend_from_slice(&row.version.to_be_bytes());
    value.extend_from_slice(&row.epoch.to_be_bytes());
    value.extend_from_slice(&row.op_id.to_be_bytes());
    value.extend_from_slice(&row.schema_v.to_be_bytes());
    value.extend_from_slice(&row.updated_at_ms.to_be_bytes());
    value.push(u8::from(row.ttl_s.is_some()));
    value.extend_from_slice(&row.ttl_s.unwrap_or(0).to_be_bytes());
    value.extend_from_slice(&row.body);
    value
}

/// The row in a value, its body left out: what the writer compares.
pub(super) fn decode_header(value: &[u8]) -> Result<Row, Unreadable> {
    let mut rest = value;
    let [format] = take(&mut rest)?;
    let version = u64::from_be_bytes(take(&mut rest)?);
    let epoch = u64::from_be_bytes(take(&mut rest)?);
    let op_id = u128::from_be_bytes(take(&mut rest)?);
    let schema_v = u16::from_be_bytes(take(&mut rest)?);
    let updated_at_ms = u64::from_be_bytes(take(&mut rest)?);
    let [has_ttl] = take(&mut rest)?;
    let ttl_s = u32::from_be_bytes(take(&mut rest)?);
    let ttl_s = match (format, has_ttl) {
        (FORMAT, 0) => None,
        (FORMAT, 1) => Some(ttl_s),
        _ => return Err(Unreadable),
    };
    Ok(Row { version, epoch, op_id, schema_v, updated_at_ms, ttl_s, body: Bytes::new() })
}

/// The row in a value.
pub(super) fn decode_row(value: &[u8]) -> Result<Row, Unreadable> {
    let header = decode_header(value)?;
    Ok(Row { body: Bytes::copy_from_slice(&value[HEADER_BYTES..]), ..header })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Unreadable> {
    let (head, tail) = rest.split_first_chunk().ok_or(Unreadable)?;
    *rest = tail;
    Ok(*head)
}

/// Key of an index entry. The length comes first, so that no partition is a prefix of another.
pub(super) fn index_key(partition: &[u8], key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + partition.len() + key.len());
    // Callers have checked the bound, which is below 256.
    bytes.push(u8::try_from(partition.len()).unwrap_or(u8::MAX));
    bytes.extend_from_slice(partition);
    bytes.extend_from_slice(key);
    bytes
}

/// Keys of the entries of `partition` with `from <= key < until`.
pub(super) fn index_range(partition: &[u8], from: &[u8], until: Option<&[u8]>) -> Range<Vec<u8>> {
    // No key is as long as this one, so every key of the partition lies below it.
    const PAST_EVERY_KEY: [u8; INDEX_KEY_BYTES_MAX + 1] = [u8::MAX; INDEX_KEY_BYTES_MAX + 1];
    index_key(partition, from)..index_key(partition, until.unwrap_or(&PAST_EVERY_KEY))
}

/// The entry's own key within the stored key.
pub(super) fn entry_key(partition: &[u8], key: &[u8]) -> Box<[u8]> {
    key.get(1 + partition.len()..).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row() -> Row {
        Row {
            version: 2,
            epoch: 3,
            op_id: 4,
            schema_v: 5,
            updated_at_ms: 6,
            ttl_s: Some(7),
            body: Bytes::from_static(b"body"),
        }
    }

    /// Golden: these bytes are on users' disks.
    #[test]
    fn the_bytes_of_a_row_do_not_change() {
        let mut golden = vec![1];
        golden.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3]);
        golden.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4]);
        golden.extend_from_slice(&[0, 5, 0, 0, 0, 0, 0, 0, 0, 6, 1, 0, 0, 0, 7]);
        golden.extend_from_slice(b"body");
        assert_eq!(encode_row(&row()), golden);
        assert_eq!(row_key(Kind::Member, 258), [2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(index_key(b"ab", b"cd"), [2, b'a', b'b', b'c', b'd']);
    }

    #[test]
    fn a_short_value_and_an_unknown_format_are_errors() {
        let value = encode_row(&row());
        for cut in 0..HEADER_BYTES {
            assert_eq!(decode_row(&value[..cut]), Err(Unreadable));
        }
        let mut newer = value;
        newer[0] = 2;
        assert_eq!(decode_row(&newer), Err(Unreadable));
    }

    #[test]
    fn a_partition_does_not_reach_into_one_that_it_begins() {
        let range = index_range(b"a", b"", None);
        assert!(range.contains(&index_key(b"a", &[u8::MAX; INDEX_KEY_BYTES_MAX])));
        assert!(range.contains(&index_key(b"a", b"")));
        assert!(!range.contains(&index_key(b"aa", b"")));
        assert!(!range.contains(&index_key(b"b", b"")));
        assert!(!range.contains(&index_key(b"", b"a")));
    }

    proptest! {
        #[test]
        fn rows_come_back_as_they_were(
            version: u64, epoch: u64, op_id: u128, schema_v: u16, updated_at_ms: u64, ttl_s: Option<u32>, body: Vec<u8>,
            id: u128,
        ) {
            let row = Row { version, epoch, op_id, schema_v, updated_at_ms, ttl_s, body: body.into() };
            prop_assert_eq!(decode_row(&encode_row(&row)), Ok(row));
            prop_assert_eq!(row_id(&row_key(Kind::Cart, id)), Ok(id));
        }

        #[test]
        fn keys_sort_as_ids_do(one: u128, other: u128) {
            prop_assert_eq!(row_key(Kind::Cart, one).cmp(&row_key(Kind::Cart, other)), one.cmp(&other));
            prop_assert!(row_key(Kind::Cart, one) < row_key(Kind::Member, other));
        }
    }
}
