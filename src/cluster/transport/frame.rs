//! How envelopes lie in a batch, and how two nodes introduce themselves. Pure: bytes in, values out.
//!
//! A batch tells its sender, then holds envelopes one after the other, all numbers big-endian:
//! `version u8, name length u8, name, incarnation u64`, and each `tag u8, id u64, deadline u32 (ms), length u32, body`.

use bytes::{Buf, Bytes};

/// First byte of every batch; another layout gets another number.
const VERSION: u8 = 1;
/// Bytes of an envelope before its body.
pub(super) const ENVELOPE_HEAD_BYTES: usize = 17;
/// What a node says first on a connection.
const MAGIC: [u8; 8] = *b"TROLLEY1";
/// Bytes of a hello before the name.
pub(super) const HELLO_HEAD_BYTES: usize = 17;
/// The longest name, as DNS has it for one label: names stand in certificates.
pub(super) const NAME_BYTES_MAX: usize = 63;

/// What an envelope is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Tag {
    /// Asks; the id is the asker's.
    Ask = 0,
    /// Answers the ask of that id.
    Reply = 1,
    /// Whoever was asked ended without an answer.
    Dropped = 2,
    /// Never given to anybody: more was asked than the window allows.
    Refused = 3,
    /// Are you there? The id is the asker's monotonic clock.
    Probe = 16,
    /// Answers a probe; the body is the wall clock.
    Echo = 17,
    /// The shard map may have this version, the id.
    Map = 18,
    /// This node ends the session.
    Goodbye = 19,
}

impl Tag {
    const ALL: [Self; 8] =
        [Self::Ask, Self::Reply, Self::Dropped, Self::Refused, Self::Probe, Self::Echo, Self::Map, Self::Goodbye];

    fn of(byte: u8) -> Result<Self, Malformed> {
        Self::ALL.into_iter().find(|tag| *tag as u8 == byte).ok_or(Malformed)
    }
}

/// Bytes that are no batch or no hello of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed")]
pub(super) struct Malformed;

impl From<bytes::TryGetError> for Malformed {
    fn from(_: bytes::TryGetError) -> Self {
        Self
    }
}

/// One envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Envelope {
    pub(super) tag: Tag,
    pub(super) id: u64,
    pub(super) deadline_ms: u32,
    pub(super) body: Bytes,
}

/// What a batch begins with.
pub(super) fn head(name: &str, incarnation: u64) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    put_name(&mut bytes, name);
    bytes.extend_from_slice(&incarnation.to_be_bytes());
    bytes
}

fn put_name(bytes: &mut Vec<u8>, name: &str) {
    bytes.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    bytes.extend_from_slice(name.as_bytes());
}

/// Appends an envelope.
pub(super) fn put(batch: &mut Vec<u8>, tag: Tag, id: u64, deadline_ms: u32, body: &[u8]) {
    let mut head = [0; ENVELOPE_HEAD_BYTES];
    head[0] = tag as u8;
    head[1..9].copy_from_slice(&id.to_be_bytes());
    head[9..13].copy_from_slice(&deadline_ms.to_be_bytes());
    head[13..].copy_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
    batch.extend_from_slice(&head);
    batch.extend_from_slice(body);
}

/// A batch whose envelopes have not been read yet; iterates them.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) incarnation: u64,
    name: Bytes,
    rest: Bytes,
}

impl Batch {
    /// Reads who sent it.
    pub(super) fn open(mut bytes: Bytes) -> Result<Self, Malformed> {
        if bytes.try_get_u8()? != VERSION {
            return Err(Malformed);
        }
        let length = usize::from(bytes.try_get_u8()?);
        let name = take(&mut bytes, length)?;
        std::str::from_utf8(&name).map_err(|_| Malformed)?;
        let incarnation = bytes.try_get_u64()?;
        Ok(Self { incarnation, name, rest: bytes })
    }

    /// Who sent it.
    pub(super) fn name(&self) -> &str {
        std::str::from_utf8(&self.name).unwrap_or_default()
    }

    fn read(&mut self) -> Result<Envelope, Malformed> {
        let tag = Tag::of(self.rest.try_get_u8()?)?;
        let id = self.rest.try_get_u64()?;
        let deadline_ms = self.rest.try_get_u32()?;
        let length = usize::try_from(self.rest.try_get_u32()?).map_err(|_| Malformed)?;
        Ok(Envelope { tag, id, deadline_ms, body: take(&mut self.rest, length)? })
    }
}

impl Iterator for Batch {
    type Item = Result<Envelope, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let read = self.read();
        if read.is_err() {
            self.rest.clear();
        }
        Some(read)
    }
}

fn take(bytes: &mut Bytes, length: usize) -> Result<Bytes, Malformed> {
    if bytes.len() < length { Err(Malformed) } else { Ok(bytes.split_to(length)) }
}

/// What a node says first.
pub(super) fn hello(name: &str, incarnation: u64) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&incarnation.to_be_bytes());
    put_name(&mut bytes, name);
    bytes
}

/// The incarnation and the length of the name that follows.
pub(super) fn read_hello_head(head: [u8; HELLO_HEAD_BYTES]) -> Result<(u64, usize), Malformed> {
    let mut bytes = &head[..];
    let mut magic = [0; 8];
    bytes.try_copy_to_slice(&mut magic)?;
    let incarnation = bytes.try_get_u64()?;
    let length = usize::from(bytes.try_get_u8()?);
    if magic == MAGIC && (1..=NAME_BYTES_MAX).contains(&length) { Ok((incarnation, length)) } else { Err(Malformed) }
}

/// Whether a node can have this name: one DNS label, so that a certificate can carry it.
pub(super) fn is_name(name: &str) -> bool {
    let is_inner = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(is_inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_all(bytes: Vec<u8>) -> Result<(String, u64, Vec<Envelope>), Malformed> {
        let batch = Batch::open(bytes.into())?;
        let (name, incarnation) = (batch.name().to_owned(), batch.incarnation);
        Ok((name, incarnation, batch.collect::<Result<_, _>>()?))
    }

    #[test]
    fn a_batch_reads_back_as_it_was_written_and_any_cut_of_it_is_malformed_or_shorter() {
        let mut bytes = head("node-a", 7);
        put(&mut bytes, Tag::Ask, 1, 250, b"hello");
        put(&mut bytes, Tag::Dropped, u64::MAX, 0, b"");
        let (name, incarnation, envelopes) = read_all(bytes.clone()).unwrap();
        assert_eq!((name.as_str(), incarnation), ("node-a", 7));
        let ask = Envelope { tag: Tag::Ask, id: 1, deadline_ms: 250, body: Bytes::from_static(b"hello") };
        let dropped = Envelope { tag: Tag::Dropped, id: u64::MAX, deadline_ms: 0, body: Bytes::new() };
        assert_eq!(envelopes, [ask, dropped]);
        for cut in 0..bytes.len() {
            assert!(
                read_all(bytes[..cut].to_vec()).is_err_and(|error| error == Malformed)
                    || cut >= head("node-a", 7).len()
            );
        }
    }

    #[test]
    fn names_are_what_a_certificate_can_carry() {
        for name in ["a", "node-1", "A9"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "-a", "a-", "a.b", "a#1", "a/b", "é", &"a".repeat(64)] {
            assert!(!is_name(name), "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_at_all_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), valid_head: bool) {
            let mut all = if valid_head { head("a", 1) } else { vec![] };
            all.extend_from_slice(&bytes);
            let _ = read_all(all);
            if let Some(head) = bytes.first_chunk() {
                let _ = read_hello_head(*head);
            }
        }
    }
}
