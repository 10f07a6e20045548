//! Bytes: the only room that knows bincode.

pub mod record;
