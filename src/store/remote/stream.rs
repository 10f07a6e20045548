//! A connection's two directions: frames out of what is read, and all that waits in one write.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
    sync::Notify,
};

use super::wire::{self, LENGTH_BYTES, Malformed};

/// Bytes that one read takes at most, but for a long frame: some hundred saves.
const READ_BYTES: usize = 64 * 1024;
/// Largest buffer that is kept for the next write: one page of rows must not cost its memory for good.
const KEPT_BYTES_MAX: usize = 1024 * 1024;

/// Frames as they are read.
pub(super) struct Frames {
    half: OwnedReadHalf,
    buffer: BytesMut,
    frame_bytes_max: usize,
}

impl Frames {
    pub(super) fn new(half: OwnedReadHalf, frame_bytes_max: usize) -> Self {
        Self { half, buffer: BytesMut::new(), frame_bytes_max }
    }

    /// The bytes that a connection begins with.
    pub(super) async fn greeting<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut greeting = [0; N];
        self.half.read_exact(&mut greeting).await?;
        Ok(greeting)
    }

    /// The next frame that has been read whole, without its length.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, Malformed> {
        let Some(length) = self.announced()? else { return Ok(None) };
        if self.buffer.len() < LENGTH_BYTES + length {
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(LENGTH_BYTES + length);
        let _ = frame.split_to(LENGTH_BYTES); // known by now
        Ok(Some(frame.freeze()))
    }

    fn announced(&self) -> Result<Option<usize>, Malformed> {
        match self.buffer.first_chunk() {
            Some(length) => wire::length(*length, self.frame_bytes_max).map(Some),
            None => Ok(None),
        }
    }

    /// Reads more. `false` = the other side has closed. May be dropped and called again.
    pub(super) async fn read(&mut self) -> io::Result<bool> {
        let missing = self.announced()?.map_or(0, |length| (LENGTH_BYTES + length).saturating_sub(self.buffer.len()));
        self.buffer.reserve(missing.max(READ_BYTES));
        Ok(self.half.read_buf(&mut self.buffer).await? > 0)
    }
}

/// Writes what waits, all of it at once, until the connection breaks. `take` exchanges what waits for an empty buffer;
/// `ready` is told whenever something waits where nothing did; `written` is called after each write.
pub(super) async fn write_all(
    mut half: OwnedWriteHalf,
    ready: &Notify,
    take: impl Fn(&mut Vec<u8>),
    written: impl Fn(),
) -> io::Error {
    let mut batch = Vec::new();
    loop {
        take(&mut batch);
        if batch.is_empty() {
            ready.notified().await;
            continue;
        }
        if let Err(error) = half.write_all(&batch).await {
            return error;
        }
        if batch.capacity() > KEPT_BYTES_MAX {
            batch = Vec::new();
        }
        batch.clear();
        written();
    }
}
