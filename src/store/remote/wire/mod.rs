//! The bytes between a remote store and whoever serves it: requests, answers, and how hostile ones are turned away.
//!
//! A client first sends [`GREETING`]. Then both sides send frames: length of what follows (4), correlation id (8), what
//! it is (1), its fields. Numbers are big-endian. Both sides are of one release, so nothing here is persistent. Written by
//! hand and not by the codec: a row's body is a slice of what was read, and a save is encoded straight into what is sent.

use bytes::{Buf, Bytes};

use crate::store::{
    Expect, Haste, Head, Health, IndexEntry, Kind, ROW_BYTES_MAX, Reason, Row, RowPage, SCAN_BYTES_MAX, Save, Saved,
};

/// First bytes of a connection; the last one rises when the frames change.
pub(super) const GREETING: [u8; 8] = *b"TrStore\x02";
/// Longest request: a row of the largest size with its marks, or a thousand entries of the largest size.
pub(super) const REQUEST_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Longest answer: a page of rows ends with the row that passes its bound; the rest is what surrounds a thousand rows.
pub(super) const ANSWER_BYTES_MAX: usize = SCAN_BYTES_MAX + 2 * ROW_BYTES_MAX;
/// Bytes of the length before each frame.
pub(super) const LENGTH_BYTES: usize = 4;
/// Bytes of a correlation id and of what the frame is.
const HEAD_BYTES: usize = 9;
/// Longest reason that is sent: it is for a log line.
const REASON_BYTES_MAX: usize = 1024;
/// Entries and rows for which room is made before the first has been seen: a hostile count makes no more.
const CLAIM_MAX: usize = 1000;

/// Why bytes are no frame of this release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    /// The frame ends before its fields do.
    #[error("a frame is cut off")]
    Truncated,
    /// The frame goes on after its fields.
    #[error("a frame is longer than its fields")]
    Longer,
    /// The length is none that a frame can have.
    #[error("a frame of {0} bytes")]
    Length(usize),
    /// A number that stands for nothing.
    #[error("a frame with a field of unknown meaning")]
    Meaning,
}

impl From<Malformed> for std::io::Error {
    fn from(malformed: Malformed) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, malformed)
    }
}

impl From<bytes::TryGetError> for Malformed {
    fn from(_: bytes::TryGetError) -> Self {
        Self::Truncated
    }
}

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// What the store says of itself.
    Ping,
    Load {
        kind: Kind,
        id: u128,
        serial: bool,
    },
    Save(Save),
    IndexPut {
        entries: Vec<IndexEntry>,
    },
    IndexDelete {
        partition: Box<[u8]>,
        keys: Vec<Box<[u8]>>,
    },
    IndexScan {
        partition: Box<[u8]>,
        from: Box<[u8]>,
        until: Option<Box<[u8]>>,
        limit: usize,
    },
    ScanRows {
        kind: Kind,
        cursor: Option<u128>,
        limit: usize,
    },
}

/// What it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Health(Health),
    Row(Option<Row>),
    Saved(Saved),
    Done,
    Entries(Vec<IndexEntry>),
    Page(RowPage),
    Failed(Reason),
}

/// Appends a frame. One that would be longer than `bytes_max` leaves nothing behind, and its length is told.
fn frame(
    out: &mut Vec<u8>,
    bytes_max: usize,
    id: u64,
    what: u8,
    fields: impl FnOnce(&mut Vec<u8>),
) -> Result<(), usize> {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    out.extend_from_slice(&id.to_be_bytes());
    out.push(what);
    fields(out);
    let bytes = out.len() - start - LENGTH_BYTES;
    match u32::try_from(bytes) {
        Ok(length) if bytes <= bytes_max => {
            out[start..start + LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
            Ok(())
        }
        _ => {
            out.truncate(start);
            Err(bytes)
        }
    }
}

fn put_slice(out: &mut Vec<u8>, slice: &[u8]) {
    // A slice too long for its length makes the frame too long for its own.
    out.extend_from_slice(&u32::try_from(slice.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(slice);
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes());
}

fn put_entries(out: &mut Vec<u8>, entries: &[IndexEntry]) {
    put_count(out, entries.len());
    for entry in entries {
        put_slice(out, &entry.partition);
        put_slice(out, &entry.key);
        put_slice(out, &entry.value);
    }
}

fn put_row(out: &mut Vec<u8>, row: &Row) {
    out.extend_from_slice(&row.version.to_be_bytes());
    out.extend_from_slice(&row.epoch.to_be_bytes());
    out.extend_from_slice(&row.op_id.to_be_bytes());
    out.extend_from_slice(&row.schema_v.to_be_bytes());
    out.extend_from_slice(&row.updated_at_ms.to_be_bytes());
    out.push(u8::from(row.ttl_s.is_some()));
    out.extend_from_slice(&row.ttl_s.unwrap_or(0).to_be_bytes());
    put_slice(out, &row.body);
}

fn put_head(out: &mut Vec<u8>, head: Head) {
    out.extend_from_slice(&head.version.to_be_bytes());
    out.extend_from_slice(&head.epoch.to_be_bytes());
    out.extend_from_slice(&head.op_id.to_be_bytes());
}

/// Something that may be absent.
fn put_option<T>(out: &mut Vec<u8>, option: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    out.push(u8::from(option.is_some()));
    if let Some(value) = option {
        put(out, value);
    }
}

fn put_reason(out: &mut Vec<u8>, reason: &Reason) {
    put_slice(out, &reason.0.as_bytes()[..reason.0.floor_char_boundary(REASON_BYTES_MAX)]);
}

/// Appends a save: the frame of every day, encoded from where its parts lie.
pub(super) fn put_save(out: &mut Vec<u8>, id: u64, save: &Save) -> Result<(), usize> {
    frame(out, REQUEST_BYTES_MAX, id, 2, |out| {
        out.push(save.kind as u8);
        out.extend_from_slice(&save.id.to_be_bytes());
        let version = if let Expect::Version(version) = save.expect { Some(version) } else { None };
        put_option(out, version, |out, version| out.extend_from_slice(&version.to_be_bytes()));
        put_row(out, &save.row);
        put_entries(out, &save.marks);
        out.push(u8::from(save.haste == Haste::Patient));
    })
}

/// Appends a request. `Err` = its length, which is more than is allowed.
pub(super) fn put_request(out: &mut Vec<u8>, id: u64, request: &Request) -> Result<(), usize> {
    let mut frame = |what, fields: &dyn Fn(&mut Vec<u8>)| frame(out, REQUEST_BYTES_MAX, id, what, fields);
    match request {
        Request::Ping => frame(0, &|_| {}),
        Request::Load { kind, id, serial } => frame(1, &|out| {
            out.push(*kind as u8);
            out.extend_from_slice(&id.to_be_bytes());
            out.push(u8::from(*serial));
        }),
        Request::Save(save) => put_save(out, id, save),
        Request::IndexPut { entries } => frame(3, &|out| put_entries(out, entries)),
        Request::IndexDelete { partition, keys } => frame(4, &|out| {
            put_slice(out, partition);
            put_count(out, keys.len());
            keys.iter().for_each(|key| put_slice(out, key));
        }),
        Request::IndexScan { partition, from, until, limit } => frame(5, &|out| {
            put_slice(out, partition);
            put_slice(out, from);
            put_option(out, until.as_ref(), |out, until| put_slice(out, until));
            put_count(out, *limit);
        }),
        Request::ScanRows { kind, cursor, limit } => frame(6, &|out| {
            out.push(*kind as u8);
            put_option(out, *cursor, |out, cursor| out.extend_from_slice(&cursor.to_be_bytes()));
            put_count(out, *limit);
        }),
    }
}

/// Appends an answer; in place of one that is too long, that it is.
pub(super) fn put_answer(out: &mut Vec<u8>, id: u64, answer: &Answer) {
    let what = match answer {
        Answer::Health(_) => 0,
        Answer::Row(_) => 1,
        Answer::Saved(_) => 2,
        Answer::Done => 3,
        Answer::Entries(_) => 4,
        Answer::Page(_) => 5,
        Answer::Failed(_) => 6,
    };
    let put = frame(out, ANSWER_BYTES_MAX, id, what, |out| match answer {
        Answer::Health(health) => {
            put_option(out, health.writes_refused.as_ref(), put_reason);
            put_option(out, health.wrong_schema.as_ref(), put_reason);
            put_option(out, health.disk_bytes, |out, bytes| out.extend_from_slice(&bytes.to_be_bytes()));
        }
        Answer::Row(row) => put_option(out, row.as_ref(), put_row),
        Answer::Saved(Saved::Applied) => out.push(0),
        Answer::Saved(Saved::Lost(head)) => {
            out.push(1);
            put_option(out, *head, put_head);
        }
        Answer::Saved(Saved::Unknown(reason)) => {
            out.push(2);
            put_reason(out, reason);
        }
        Answer::Saved(Saved::Refused(reason)) => {
            out.push(3);
            put_reason(out, reason);
        }
        Answer::Done => {}
        Answer::Entries(entries) => put_entries(out, entries),
        Answer::Page(page) => {
            put_count(out, page.rows.len());
            for (id, row) in &page.rows {
                out.extend_from_slice(&id.to_be_bytes());
                put_row(out, row);
            }
            put_option(out, page.next, |out, next| out.extend_from_slice(&next.to_be_bytes()));
        }
        Answer::Failed(reason) => put_reason(out, reason),
    });
    if let Err(bytes) = put {
        let reason = Reason::new(format!("the store's answer has {bytes} bytes, {ANSWER_BYTES_MAX} are allowed"));
        // A reason is short by its own bound.
        let _ = frame(out, ANSWER_BYTES_MAX, id, 6, |out| put_reason(out, &reason));
    }
}

/// The length that a frame announces, if it is one that a frame can have.
pub(super) fn length(bytes: [u8; LENGTH_BYTES], bytes_max: usize) -> Result<usize, Malformed> {
    let length = u32::from_be_bytes(bytes) as usize;
    if (HEAD_BYTES..=bytes_max).contains(&length) { Ok(length) } else { Err(Malformed::Length(length)) }
}

/// A frame's fields, taken from its front.
struct Fields(Bytes);

impl Fields {
    /// As many bytes as the length before them says.
    fn slice(&mut self) -> Result<Bytes, Malformed> {
        let length = self.0.try_get_u32()? as usize;
        if length > self.0.len() { Err(Malformed::Truncated) } else { Ok(self.0.split_to(length)) }
    }

    fn boxed(&mut self) -> Result<Box<[u8]>, Malformed> {
        Ok(self.slice()?.as_ref().into())
    }

    fn flag(&mut self) -> Result<bool, Malformed> {
        match self.0.try_get_u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::Meaning),
        }
    }

    fn option<T>(&mut self, take: impl FnOnce(&mut Self) -> Result<T, Malformed>) -> Result<Option<T>, Malformed> {
        if self.flag()? { take(self).map(Some) } else { Ok(None) }
    }

    fn many<T>(&mut self, mut take: impl FnMut(&mut Self) -> Result<T, Malformed>) -> Result<Vec<T>, Malformed> {
        let count = self.0.try_get_u32()? as usize;
        let mut all = Vec::with_capacity(count.min(CLAIM_MAX));
        for _ in 0..count {
            all.push(take(self)?);
        }
        Ok(all)
    }

    fn kind(&mut self) -> Result<Kind, Malformed> {
        let number = self.0.try_get_u8()?;
        Kind::ALL.into_iter().find(|kind| *kind as u8 == number).ok_or(Malformed::Meaning)
    }

    fn id(&mut self) -> Result<u128, Malformed> {
        Ok(self.0.try_get_u128()?)
    }

    fn limit(&mut self) -> Result<usize, Malformed> {
        Ok(self.0.try_get_u32()? as usize)
    }

    fn entry(&mut self) -> Result<IndexEntry, Malformed> {
        Ok(IndexEntry { partition: self.boxed()?, key: self.boxed()?, value: self.boxed()? })
    }

    fn head(&mut self) -> Result<Head, Malformed> {
        Ok(Head { version: self.0.try_get_u64()?, epoch: self.0.try_get_u64()?, op_id: self.0.try_get_u128()? })
    }

    fn row(&mut self) -> Result<Row, Malformed> {
        let Head { version, epoch, op_id } = self.head()?;
        let schema_v = self.0.try_get_u16()?;
        let updated_at_ms = self.0.try_get_u64()?;
        let (has_ttl, ttl_s) = (self.flag()?, self.0.try_get_u32()?);
        let ttl_s = has_ttl.then_some(ttl_s);
        Ok(Row { version, epoch, op_id, schema_v, updated_at_ms, ttl_s, body: self.slice()? })
    }

    fn reason(&mut self) -> Result<Reason, Malformed> {
        let text = self.slice()?;
        std::str::from_utf8(&text).map(Reason::new).map_err(|_| Malformed::Meaning)
    }

    fn saved(&mut self) -> Result<Saved, Malformed> {
        Ok(match self.0.try_get_u8()? {
            0 => Saved::Applied,
            1 => Saved::Lost(self.option(Self::head)?),
            2 => Saved::Unknown(self.reason()?),
            3 => Saved::Refused(self.reason()?),
            _ => return Err(Malformed::Meaning),
        })
    }

    fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed::Longer) }
    }
}

/// The request in a frame, without the length before it, and its correlation id.
pub(super) fn request(frame: Bytes) -> Result<(u64, Request), Malformed> {
    let mut fields = Fields(frame);
    let id = fields.0.try_get_u64()?;
    let request = match fields.0.try_get_u8()? {
        0 => Request::Ping,
        1 => Request::Load { kind: fields.kind()?, id: fields.id()?, serial: fields.flag()? },
        2 => {
            let (kind, id) = (fields.kind()?, fields.id()?);
            let version = fields.option(|fields| Ok(fields.0.try_get_u64()?))?;
            // A version that nothing can follow is none that a store has given.
            let expect = match version {
                None => Expect::Absent,
                Some(u64::MAX) => return Err(Malformed::Meaning),
                Some(version) => Expect::Version(version),
            };
            let (row, marks) = (fields.row()?, fields.many(Fields::entry)?);
            let haste = if fields.flag()? { Haste::Patient } else { Haste::Urgent };
            Request::Save(Save { kind, id, expect, row, marks, haste })
        }
        3 => Request::IndexPut { entries: fields.many(Fields::entry)? },
        4 => Request::IndexDelete { partition: fields.boxed()?, keys: fields.many(Fields::boxed)? },
        5 => Request::IndexScan {
            partition: fields.boxed()?,
            from: fields.boxed()?,
            until: fields.option(Fields::boxed)?,
            limit: fields.limit()?,
        },
        6 => Request::ScanRows { kind: fields.kind()?, cursor: fields.option(Fields::id)?, limit: fields.limit()? },
        _ => return Err(Malformed::Meaning),
    };
    fields.end()?;
    Ok((id, request))
}

/// The answer in a frame, without the length before it, and its correlation id.
pub(super) fn answer(frame: Bytes) -> Result<(u64, Answer), Malformed> {
    let mut fields = Fields(frame);
    let id = fields.0.try_get_u64()?;
    let answer = match fields.0.try_get_u8()? {
        0 => Answer::Health(Health {
            writes_refused: fields.option(Fields::reason)?,
            wrong_schema: fields.option(Fields::reason)?,
            disk_bytes: fields.option(|fields| Ok(fields.0.try_get_u64()?))?,
        }),
        1 => Answer::Row(fields.option(Fields::row)?),
        2 => Answer::Saved(fields.saved()?),
        3 => Answer::Done,
        4 => Answer::Entries(fields.many(Fields::entry)?),
        5 => Answer::Page(RowPage {
            rows: fields.many(|fields| Ok((fields.id()?, fields.row()?)))?,
            next: fields.option(Fields::id)?,
        }),
        6 => Answer::Failed(fields.reason()?),
        _ => return Err(Malformed::Meaning),
    };
    fields.end()?;
    Ok((id, answer))
}

#[cfg(test)]
mod tests;
