//! What is on its way between clients, nodes and the store.

use super::sink::Offer;
use crate::{
    actors::durable::SaveOrder,
    codec::record::Armed,
    store::{Reason, Row, Saved},
};

/// On its way; picked in any order.
#[derive(Clone, Debug)]
pub(super) enum Message {
    /// A load that reaches the store when it is delivered.
    Load {
        node: usize,
        life: u32,
        id: u128,
        number: u128,
    },
    /// What a load found.
    Loaded {
        node: usize,
        life: u32,
        id: u128,
        number: u128,
        row: Result<Option<Row>, Reason>,
    },
    /// A save that reaches the store when it is delivered; `answers` tells whether anybody is told.
    Save {
        node: usize,
        life: u32,
        id: u128,
        order: SaveOrder,
        answers: bool,
    },
    Saved {
        node: usize,
        life: u32,
        id: u128,
        op_id: u128,
        saved: Saved,
    },
    Unmark {
        id: u128,
        armed: Armed,
    },
    /// A client that does not know, and asks again under the same key.
    Again {
        op: u32,
    },
    /// What one actor does to another, on its way there.
    Deed(Deed),
    /// What came of it, on its way back; `None` = it must be tried again.
    Performed(Deed, Option<()>),
    /// Events on their way to the sink.
    Offer(Offer),
    /// What became of an offer, on its way back.
    Told {
        node: usize,
        life: u32,
        id: u128,
        up_to: u64,
        published: bool,
    },
}

/// What one actor does to another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deed {
    pub(super) node: usize,
    pub(super) life: u32,
    pub(super) id: u128,
    pub(super) number: u128,
    pub(super) op: u32,
    pub(super) to: u128,
}
