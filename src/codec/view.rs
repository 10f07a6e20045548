//! A cart as its owner rendered it for a client, on its way to the node that was asked: version 1, frozen like every
//! record.
//!
//! What the node that was asked has to know of the cart stands beside the bytes that it passes on, so that the cart is
//! rendered once, and neither encoded nor decoded.

use bincode::{BorrowDecode, Encode};
use bytes::Bytes;

use super::envelope::{self, DecodeError, EncodeError, HEADER_BYTES, ROW_BYTES_MAX, RecordKind};
use crate::domain::{GuestId, Id, cart::Owner};

/// Version of the bytes.
const VIEW_V: u16 = 1;
/// Most bytes of a view: it travels in one envelope. A cart that is larger when it is rendered travels as its record.
const VIEW_BYTES_MAX: usize = ROW_BYTES_MAX;
/// Bytes of a view before what was rendered, at most.
const FIELDS_BYTES_MAX: usize = 64;

/// A cart as its owner rendered it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Whose cart it is: somebody else's is not to be passed on.
    pub owner: Owner,
    /// What clients see as its revision.
    pub revision: u64,
    /// So many milliseconds ago it was the newest for certain; `None` = it is.
    pub stale_ms: Option<u64>,
    /// What clients read.
    pub body: Bytes,
}

#[derive(Debug, PartialEq, Encode, BorrowDecode)]
struct ViewV1<'a> {
    owner: u128,
    revision: u64,
    stale_ms: Option<u64>,
    body: &'a [u8],
}

/// The view's bytes.
///
/// # Errors
/// [`EncodeError::TooLarge`] past what one envelope carries.
pub fn encode_view(owner: Owner, revision: u64, stale_ms: Option<u64>, body: &[u8]) -> Result<Vec<u8>, EncodeError> {
    let Owner::Guest(GuestId(Id(owner))) = owner;
    let v1 = ViewV1 { owner, revision, stale_ms, body };
    let room = HEADER_BYTES + FIELDS_BYTES_MAX + body.len();
    envelope::seal_in(Vec::with_capacity(room), RecordKind::View, (VIEW_V, 1), &v1, VIEW_BYTES_MAX)
}

/// The view back, its body a part of the same bytes.
///
/// # Errors
/// [`DecodeError`] on anything that no release wrote, whatever it is; [`DecodeError::Kind`] when it is another record.
pub fn decode_view(bytes: &Bytes) -> Result<View, DecodeError> {
    let ViewV1 { owner, revision, stale_ms, body } = envelope::open_borrowed(bytes, RecordKind::View, VIEW_V)?;
    Ok(View { owner: Owner::Guest(GuestId(Id(owner))), revision, stale_ms, body: bytes.slice_ref(body) })
}
