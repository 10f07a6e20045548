//! How rows and entries lie in fjall. Persistent: a change is a migration.
//!
//! ```text
//! rows   key    kind u8 · id u128
//!        value  version u64 · epoch u64 · op_id u128 · schema_v u16 · updated_at_ms u64 · ttl_s u32 (0 = none) · body
//! index  key    length of partition u8 · partition · key
//!        value  as given
//! ```
//! Numbers are big-endian, so that keys sort as their numbers do.

use bytes::Bytes;

use crate::store::{Kind, Row};

/// Bytes before a row's body.
const ROW_HEADER: usize = 8 + 8 + 16 + 2 + 8 + 4;

pub(super) fn row_key(kind: Kind, id: u128) -> [u8; 17] {
    let mut key = [0; 17];
    key[0] = kind as u8;
    key[1..].copy_from_slice(&id.to_be_bytes());
    key
}

pub(super) fn read_row_key(key: &[u8]) -> Option<u128> {
    let (_kind, id) = key.split_first()?;
    Some(u128::from_be_bytes(id.try_into().ok()?))
}

pub(super) fn write_row(row: &Row) -> Vec<u8> {
    let mut value = Vec::with_capacity(ROW_HEADER + row.body.len());
    value.extend_from_slice(&row.version.to_be_bytes());
    value.extend_from_slice(&row.epoch.to_be_bytes());
    value.extend_from_slice(&row.op_id.to_be_bytes());
    value.extend_from_slice(&row.schema_v.to_be_bytes());
    value.extend_from_slice(&row.updated_at_ms.to_be_bytes());
    value.extend_from_slice(&row.ttl_s.unwrap_or(0).to_be_bytes());
    value.extend_from_slice(&row.body);
    value
}

pub(super) fn read_row(value: &[u8]) -> Option<Row> {
    let (version, rest) = value.split_first_chunk()?;
    let (epoch, rest) = rest.split_first_chunk()?;
    let (op_id, rest) = rest.split_first_chunk()?;
    let (schema_v, rest) = rest.split_first_chunk()?;
    let (updated_at_ms, rest) = rest.split_first_chunk()?;
    let (ttl_s, body) = rest.split_first_chunk()?;
    Some(Row {
        version: u64::from_be_bytes(*version),
        epoch: u64::from_be_bytes(*epoch),
        op_id: u128::from_be_bytes(*op_id),
        schema_v: u16::from_be_bytes(*schema_v),
        updated_at_ms: u64::from_be_bytes(*updated_at_ms),
        ttl_s: Some(u32::from_be_bytes(*ttl_s)).filter(|ttl_s| *ttl_s > 0),
        body: Bytes::copy_from_slice(body),
    })
}

/// Partitions are at most 128 bytes long, so their length fits.
pub(super) fn index_key(partition: &[u8], key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + partition.len() + key.len());
    bytes.push(partition.len() as u8);
    bytes.extend_from_slice(partition);
    bytes.extend_from_slice(key);
    bytes
}

/// The first key after every key of a partition: keys are at most 128 bytes long, and none is 129 times 255.
pub(super) fn partition_end(partition: &[u8]) -> Vec<u8> {
    index_key(partition, &[0xff; 129])
}

pub(super) fn read_index_key(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_keys_read_back() {
        for ttl_s in [None, Some(9)] {
            let body = Bytes::from_static(b"body");
            let row = Row { version: 1, epoch: 2, op_id: 3, schema_v: 4, updated_at_ms: 5, ttl_s, body };
            assert_eq!(read_row(&write_row(&row)), Some(row));
        }
        assert_eq!(read_row(&[0; ROW_HEADER - 1]), None);
        assert_eq!(read_row_key(&row_key(Kind::Cart, 7)), Some(7));
        assert_eq!(read_index_key(&index_key(b"p", b"key")), Some((&b"p"[..], &b"key"[..])));
        assert_eq!(read_index_key(&[5, 1]), None);
    }

    #[test]
    fn keys_sort_as_their_numbers_do_and_partitions_do_not_run_into_each_other() {
        assert!(row_key(Kind::Cart, u128::MAX) < row_key(Kind::Member, 0));
        assert!(row_key(Kind::Cart, 255) < row_key(Kind::Cart, 256));
        assert!(index_key(b"p", &[0xff; 128]) < partition_end(b"p"));
        assert!(!(index_key(b"p", b"")..partition_end(b"p")).contains(&index_key(b"pp", b"")));
    }
}
