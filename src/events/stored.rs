//! Events as values of index entries: small, and read back only whole and within their bounds.
//!
//! The layouts are persistent; their first byte counts them.

use bytes::Bytes;

use super::outgoing::{Malformed, Outgoing};
use crate::domain::UnixMillis;

/// The layout that this release writes.
const LAYOUT: u8 = 1;

/// Writes fields one after another.
#[derive(Debug)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn new() -> Self {
        Self(vec![LAYOUT])
    }

    pub(super) fn number(mut self, number: u64) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    /// A text of at most 255 bytes; a longer one is cut at a character.
    pub(super) fn text(mut self, text: &str) -> Self {
        let mut len = text.len().min(usize::from(u8::MAX));
        while !text.is_char_boundary(len) {
            len -= 1;
        }
        self.0.push(u8::try_from(len).unwrap_or(u8::MAX));
        self.0.extend_from_slice(&text.as_bytes()[..len]);
        self
    }

    /// What an event is besides its actor; comes last.
    pub(super) fn event(self, event: &Outgoing) -> Box<[u8]> {
        let mut to = self.number(event.kind() as u64).number(event.at().0).number(event.sequence());
        to.0.extend_from_slice(event.body());
        to.0.into()
    }
}

/// Reads fields one after another.
#[derive(Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

/// Why bytes are no stored event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    /// Another layout.
    #[error("it is of a layout that this release does not know")]
    Layout,
    /// It ends too early, or a text is none.
    #[error("it is broken")]
    Broken,
    /// Not within an event's bounds.
    #[error("{0}")]
    Event(#[from] Malformed),
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, Unreadable> {
        match bytes.split_first() {
            Some((&LAYOUT, rest)) => Ok(Self(rest)),
            _ => Err(Unreadable::Layout),
        }
    }

    pub(super) fn number(&mut self) -> Result<u64, Unreadable> {
        let (number, rest) = self.0.split_first_chunk().ok_or(Unreadable::Broken)?;
        self.0 = rest;
        Ok(u64::from_be_bytes(*number))
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Unreadable> {
        let (&len, rest) = self.0.split_first().ok_or(Unreadable::Broken)?;
        let (text, rest) = rest.split_at_checked(len.into()).ok_or(Unreadable::Broken)?;
        self.0 = rest;
        std::str::from_utf8(text).map_err(|_| Unreadable::Broken)
    }

    pub(super) fn event(mut self, actor: &str) -> Result<Outgoing, Unreadable> {
        let kind = u16::try_from(self.number()?).map_err(|_| Unreadable::Broken)?;
        let (at, sequence) = (UnixMillis(self.number()?), self.number()?);
        Ok(Outgoing::from_parts(actor, sequence, kind, at, Bytes::copy_from_slice(self.0))?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(body: Vec<u8>) -> Outgoing {
        Outgoing::from_parts("cart_1", 7, 2, UnixMillis(9), body.into()).unwrap()
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(number: u64, text in ".{0,60}", body in prop::collection::vec(any::<u8>(), 0..640)) {
            let bytes = Writer::new().number(number).text(&text).event(&event(body.clone()));
            let mut reader = Reader::new(&bytes).unwrap();
            prop_assert_eq!(reader.number(), Ok(number));
            prop_assert_eq!(reader.text(), Ok(&*text));
            prop_assert_eq!(reader.event("cart_1"), Ok(event(body)));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(mut reader) = Reader::new(&bytes) {
                let _ = reader.number();
                let _ = reader.text();
                let _ = reader.event("cart_1");
            }
        }
    }

    #[test]
    fn a_text_too_long_is_cut_at_a_character() {
        let bytes = Writer::new().text(&"é".repeat(200)).event(&event(Vec::new()));
        assert_eq!(Reader::new(&bytes).unwrap().text(), Ok(&*"é".repeat(127)));
    }
}
