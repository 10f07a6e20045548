//! What surrounds every record: enough to tell damage, mix-ups and the future apart before a byte is decoded.
//!
//! ```text
//! offset 0      2     3      4         6           8     12      16
//!        magic  kind  codec  schema_v  min_reader  len   crc32c  body …
//!        u16    u8    u8     u16       u16         u32   u32         all big-endian
//! ```
//!
//! `crc32c` covers the header before it and the body. `min_reader` is the oldest schema version that a reader must know
//! to make sense of the body.

use bincode::{
    config::{Configuration, Limit},
    de::{BorrowDecode, Decode},
    enc::Encode,
};

/// First two bytes of every record: "Tr".
const MAGIC: u16 = 0x5472;
/// Body codec 1: bincode 2 `standard` (little-endian varints).
const CODEC_BINCODE: u8 = 1;
/// Bytes before the body.
pub const HEADER_BYTES: usize = 16;
/// Oldest schema version that this release reads, of every kind: none has been retired yet.
const OLDEST: u16 = 1;
/// Most bytes of a record that becomes a row: `store::ROW_BYTES_MAX`, which this room may not name.
pub(super) const ROW_BYTES_MAX: usize = 256 * 1024;
/// Most bytes of any record. The largest is a chunk of 64 products, each of at most some 40 KB and seldom of more than 2.
pub const RECORD_BYTES_MAX: usize = 1024 * 1024;
/// Most bytes that decoding may claim, so that a hostile length allocates no more. bincode counts what values take when
/// they are decoded (a length 8 bytes, an empty string 24), hence four times a record: with less, a record could be
/// written that nobody can read.
const CLAIM_BYTES_MAX: usize = 4 * RECORD_BYTES_MAX;

type Config = Configuration<bincode::config::LittleEndian, bincode::config::Varint, Limit<CLAIM_BYTES_MAX>>;
const CONFIG: Config = bincode::config::standard().with_limit::<CLAIM_BYTES_MAX>();

/// What a record is of. The numbers are persistent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordKind {
    /// A cart.
    Cart = 1,
    /// A member of the cluster.
    Member = 2,
    /// The shard map.
    Map = 3,
    /// Keys that every node shares.
    Keys = 4,
    /// The head of the catalogue.
    CatalogHead = 5,
    /// Some products.
    CatalogChunk = 6,
    /// What a node asks another; never stored.
    Request = 7,
    /// What it is told; never stored.
    Reply = 8,
    /// The stock of one product.
    Stock = 9,
    /// A discount code.
    Discount = 10,
    /// A checkout.
    Checkout = 11,
    /// An order.
    Order = 12,
    /// A payment in the sandbox bank's book.
    Bank = 13,
    /// A cart as it is shown; never stored.
    View = 16,
    /// What one actor asks of another; never stored.
    Command = 14,
    /// Why it says no; never stored.
    Refusal = 15,
}

/// Why bytes are no record that this release can read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// They end before the record does.
    #[error("the record is cut off")]
    Truncated,
    /// They go on after the record.
    #[error("bytes follow the record")]
    Longer,
    /// They do not start like a record.
    #[error("this is no record")]
    Magic,
    /// The record is of another kind.
    #[error("the record is of kind {found}, not {wanted:?}")]
    Kind {
        /// What was asked for.
        wanted: RecordKind,
        /// What is there.
        found: u8,
    },
    /// The body is encoded in a way that this release does not know.
    #[error("the record's codec {0} is not known to this release")]
    Codec(u8),
    /// A bit has flipped.
    #[error("the record is damaged")]
    Checksum,
    /// A newer release wrote it.
    #[error("the record has schema {schema_v}, this release reads up to {reads}: run a newer release")]
    Newer {
        /// The version of its bytes.
        schema_v: u16,
        /// The oldest version that a reader must know.
        min_reader: u16,
        /// What this release knows.
        reads: u16,
    },
    /// An older release wrote it that this one reads no more.
    #[error("the record's schema {schema_v} is not read any more")]
    Older {
        /// The version of its bytes.
        schema_v: u16,
    },
    /// It is larger than any record, or says that it is.
    #[error("the record is larger than {max} bytes")]
    TooLarge {
        /// How large it may be.
        max: usize,
    },
    /// The body does not say what a record of its kind says.
    #[error("the record's body is malformed: {0}")]
    Malformed(String),
}

/// Why a record cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// It would be larger than a row may be.
    #[error("the record would have {bytes} bytes, {max} are allowed")]
    TooLarge {
        /// How large.
        bytes: usize,
        /// How large it may be.
        max: usize,
    },
    /// bincode refuses.
    #[error("the record cannot be encoded: {0}")]
    Body(String),
}

/// Seals a body into a record of at most `bytes_max` bytes.
pub(super) fn seal(
    kind: RecordKind,
    schema_v: u16,
    min_reader: u16,
    body: &impl Encode,
    bytes_max: usize,
) -> Result<Vec<u8>, EncodeError> {
    seal_in(Vec::with_capacity(512), kind, (schema_v, min_reader), body, bytes_max)
}

/// The same in an empty buffer, whose room the caller knows better.
pub(super) fn seal_in(
    mut bytes: Vec<u8>,
    kind: RecordKind,
    (schema_v, min_reader): (u16, u16),
    body: &impl Encode,
    bytes_max: usize,
) -> Result<Vec<u8>, EncodeError> {
    bytes.extend_from_slice(&MAGIC.to_be_bytes());
    bytes.extend_from_slice(&[kind as u8, CODEC_BINCODE]);
    bytes.extend_from_slice(&schema_v.to_be_bytes());
    bytes.extend_from_slice(&min_reader.to_be_bytes());
    bytes.extend_from_slice(&[0; 8]);
    bincode::encode_into_writer(body, Appender(&mut bytes), CONFIG)
        .map_err(|error| EncodeError::Body(error.to_string()))?;
    if bytes.len() > bytes_max {
        return Err(EncodeError::TooLarge { bytes: bytes.len(), max: bytes_max });
    }
    let len = u32::try_from(bytes.len() - HEADER_BYTES).map_err(|error| EncodeError::Body(error.to_string()))?;
    bytes[8..12].copy_from_slice(&len.to_be_bytes());
    let crc = checksum(&bytes);
    bytes[12..HEADER_BYTES].copy_from_slice(&crc.to_be_bytes());
    Ok(bytes)
}

/// The schema version that a record says it has, before anything of it is checked: which of its kind's frozen structs
/// `open` must be asked for.
pub fn schema_v(bytes: &[u8]) -> Option<u16> {
    let (header, _) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    Some(u16::from_be_bytes([header[4], header[5]]))
}

struct Appender<'a>(&'a mut Vec<u8>);

impl bincode::enc::write::Writer for Appender<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// Opens a record of `kind` whose schema version is at most `reads`: checks all that surrounds the body, then decodes the
/// whole body into the frozen struct of its version.
pub(super) fn open<T: Decode<()>>(bytes: &[u8], kind: RecordKind, reads: u16) -> Result<T, DecodeError> {
    let body = body(bytes, kind, reads)?;
    whole(bincode::decode_from_slice(body, CONFIG), body)
}

/// The same for a struct that points into the bytes.
pub(super) fn open_borrowed<'a, T: BorrowDecode<'a, ()>>(
    bytes: &'a [u8],
    kind: RecordKind,
    reads: u16,
) -> Result<T, DecodeError> {
    let body = body(bytes, kind, reads)?;
    whole(bincode::borrow_decode_from_slice(body, CONFIG), body)
}

/// Checks all that surrounds the body.
fn body(bytes: &[u8], kind: RecordKind, reads: u16) -> Result<&[u8], DecodeError> {
    if bytes.len() > RECORD_BYTES_MAX {
        return Err(DecodeError::TooLarge { max: RECORD_BYTES_MAX });
    }
    let (header, body) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(DecodeError::Truncated)?;
    let [m0, m1, found, codec, s0, s1, r0, r1, l0, l1, l2, l3, c0, c1, c2, c3] = *header;
    if u16::from_be_bytes([m0, m1]) != MAGIC {
        return Err(DecodeError::Magic);
    }
    let len = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
    match body.len() {
        have if have < len => return Err(DecodeError::Truncated),
        have if have > len => return Err(DecodeError::Longer),
        _ => {}
    }
    if checksum(bytes) != u32::from_be_bytes([c0, c1, c2, c3]) {
        return Err(DecodeError::Checksum);
    }
    if found != kind as u8 {
        return Err(DecodeError::Kind { wanted: kind, found });
    }
    let (schema_v, min_reader) = (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([r0, r1]));
    if min_reader > reads || schema_v > reads {
        return Err(DecodeError::Newer { schema_v, min_reader, reads });
    }
    if schema_v < OLDEST {
        return Err(DecodeError::Older { schema_v });
    }
    if codec != CODEC_BINCODE {
        return Err(DecodeError::Codec(codec));
    }
    Ok(body)
}

/// What was decoded, if that was the whole body.
fn whole<T>(decoded: Result<(T, usize), bincode::error::DecodeError>, body: &[u8]) -> Result<T, DecodeError> {
    let (value, read) = decoded.map_err(|error| match error {
        bincode::error::DecodeError::LimitExceeded => DecodeError::TooLarge { max: RECORD_BYTES_MAX },
        error => DecodeError::Malformed(error.to_string()),
    })?;
    if read == body.len() { Ok(value) } else { Err(DecodeError::Longer) }
}

fn checksum(bytes: &[u8]) -> u32 {
    let header = crc32c::crc32c(&bytes[..12]);
    crc32c::crc32c_append(header, &bytes[HEADER_BYTES..])
}
