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
    de::Decode,
    enc::Encode,
};

/// First two bytes of every record: "Tr".
const MAGIC: u16 = 0x5472;
/// Body codec 1: bincode 2 `standard` (little-endian varints).
const CODEC_BINCODE: u8 = 1;
/// Bytes before the body.
pub const HEADER_BYTES: usize = 16;
/// Most bytes of a record, and most that decoding may allocate: a row's bound of 256 KiB, four times over, since
/// decoded structs are larger than their bytes.
const DECODE_BYTES_MAX: usize = 1024 * 1024;
/// Most bytes of a record: a shopper's row is at most 256 KiB, the map of 16,384 shards about 700 KiB.
pub const RECORD_BYTES_MAX: usize = DECODE_BYTES_MAX;

type Config = Configuration<bincode::config::LittleEndian, bincode::config::Varint, Limit<DECODE_BYTES_MAX>>;
const CONFIG: Config = bincode::config::standard().with_limit::<DECODE_BYTES_MAX>();

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
    #[error("the record needs a release that reads schema {min_reader}; this one reads up to {reads}")]
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
    let mut bytes = Vec::with_capacity(512);
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

struct Appender<'a>(&'a mut Vec<u8>);

impl bincode::enc::write::Writer for Appender<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// A record's version and body, everything around it checked.
#[derive(Debug)]
pub(super) struct Opened<'a> {
    pub(super) schema_v: u16,
    body: &'a [u8],
}

/// Opens a record of `kind`, written for readers of at most `reads`.
pub(super) fn open(bytes: &[u8], kind: RecordKind, reads: u16) -> Result<Opened<'_>, DecodeError> {
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
    if codec != CODEC_BINCODE {
        return Err(DecodeError::Codec(codec));
    }
    Ok(Opened { schema_v, body })
}

impl Opened<'_> {
    /// Decodes the body, all of it, into the frozen struct of its version.
    pub(super) fn decode<T: Decode<()>>(&self) -> Result<T, DecodeError> {
        let (value, read) =
            bincode::decode_from_slice(self.body, CONFIG).map_err(|error| DecodeError::Malformed(error.to_string()))?;
        if read == self.body.len() { Ok(value) } else { Err(DecodeError::Longer) }
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    let header = crc32c::crc32c(&bytes[..12]);
    crc32c::crc32c_append(header, &bytes[HEADER_BYTES..])
}
