//! What an order tells of its life.

use crate::domain::UnixMillis;

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The order was made.
    Placed,
    /// The money was asked for.
    CaptureAsked,
    /// The money was taken.
    Captured,
    /// It will never be.
    CaptureRefused,
    /// A parcel was asked for and waits for the money.
    FulfilmentAsked,
    /// A parcel left.
    Fulfilled,
    /// The order was cancelled.
    Cancelled,
    /// Reserved money was let go of.
    Voided,
    /// It could not be: it lapses by itself.
    VoidRefused,
    /// Goods came back.
    Returned,
    /// Money shall go back.
    RefundAsked,
    /// Money went back.
    Refunded,
    /// It did not, and will not by itself.
    RefundRefused,
    /// A stock would not move goods: its books and the order's differ.
    StockRefused,
}

impl Kind {
    /// Every kind, in the order of the persistent numbers.
    pub const ALL: [Self; 14] = [
        Self::Placed,
        Self::CaptureAsked,
        Self::Captured,
        Self::CaptureRefused,
        Self::FulfilmentAsked,
        Self::Fulfilled,
        Self::Cancelled,
        Self::Voided,
        Self::VoidRefused,
        Self::Returned,
        Self::RefundAsked,
        Self::Refunded,
        Self::RefundRefused,
        Self::StockRefused,
    ];

    /// As clients read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::CaptureAsked => "capture_asked",
            Self::Captured => "captured",
            Self::CaptureRefused => "capture_refused",
            Self::FulfilmentAsked => "fulfilment_asked",
            Self::Fulfilled => "fulfilled",
            Self::Cancelled => "cancelled",
            Self::Voided => "voided",
            Self::VoidRefused => "void_refused",
            Self::Returned => "returned",
            Self::RefundAsked => "refund_asked",
            Self::Refunded => "refunded",
            Self::RefundRefused => "refund_refused",
            Self::StockRefused => "stock_refused",
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub at: UnixMillis,
    /// What.
    pub kind: Kind,
    /// How much money it is about, if any.
    pub amount: Option<i64>,
    /// How many units it is about, if any.
    pub units: Option<u32>,
    /// Which shipment it is about, if any.
    pub shipment: Option<u32>,
    /// Why, for people, if somebody said; at most [`NOTE_BYTES_MAX`](super::NOTE_BYTES_MAX) bytes.
    pub note: Option<Box<str>>,
}
