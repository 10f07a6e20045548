//! The way back to whoever asked.

use std::{fmt, sync::Arc};

use super::{Lane, frame::Tag, lane::BODY_BYTES_MAX, session::Session};

/// Answers one ask. Dropped without an answer, the asker is told so: the outcome is unknown.
pub struct Reply {
    pub(super) session: Arc<Session>,
    pub(super) lane: Lane,
    pub(super) at: usize,
    pub(super) id: u64,
    pub(super) is_sent: bool,
}

impl Reply {
    /// Sends the answer; at most 512 KiB, more counts as dropped.
    pub fn send(mut self, body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        if body.len() > BODY_BYTES_MAX {
            return tracing::error!(bytes = body.len(), "an answer to a peer is too large to be sent");
        }
        self.is_sent = true;
        self.session.lane_at(self.lane, self.at).0.tell(Tag::Reply, self.id, body);
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.is_sent {
            self.session.lane_at(self.lane, self.at).0.tell(Tag::Dropped, self.id, &[]);
        }
        self.session.settled(self.lane);
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("lane", &self.lane).field("id", &self.id).finish_non_exhaustive()
    }
}
