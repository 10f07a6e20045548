//! Rows that change only by compare-and-set, and a plain index beside them.
//!
//! One contract, one test suite (`tests/it/store`), every implementation. There is no transaction over rows anywhere.

use std::{fmt, sync::Arc};

use futures_util::future::BoxFuture;

use crate::domain::UnixMillis;

pub use self::{
    cql::Cql,
    done::Done,
    embedded::Embedded,
    memory::Memory,
    remote::Remote,
    settle::{Settled, read, settle},
};

mod done;
pub mod cql;
pub mod embedded;
pub mod faulty;
pub mod memory;
pub mod remote;
mod settle;

/// Longest value of an index entry: such an entry points at something, it does not hold it.
pub const INDEX_VALUE_BYTES_MAX: usize = 1024;
/// Longest partition name and longest key of an index entry.
pub const INDEX_KEY_BYTES_MAX: usize = 128;
/// Longest body of a row: what one actor may weigh; a save of this size still fits well below CQL's 1 MiB batch and
/// cell warnings.
pub const ROW_BYTES_MAX: usize = 256 * 1024;
/// Most entries or rows that one scan returns: bounds the memory of an answer.
pub const SCAN_MAX: usize = 1000;
/// Bytes of rows at which a page of rows ends: a thousand rows of the largest size would be 250 MiB.
pub const SCAN_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Which table a row is in. The numbers are persistent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Carts, by cart id.
    Cart = 1,
    /// Members of the cluster, by the hash of the node's name.
    Member = 2,
    /// The shard map: one row, id 0.
    Map = 3,
    /// The head of the catalogue: one row, id 0.
    Catalog = 4,
    /// Keys that every node shares: one row, id 0.
    Keys = 5,
    /// Checkouts, by checkout id.
    Checkout = 6,
    /// Orders, by order id.
    Order = 7,
    /// Stocks, by the hash of the SKU.
    Stock = 8,
    /// Discount codes, by the hash of the code.
    Discount = 9,
    /// The sandbox gateway's book, by the hash of the payment's key.
    Bank = 10,
}

impl Kind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::Cart,
        Self::Member,
        Self::Map,
        Self::Catalog,
        Self::Keys,
        Self::Checkout,
        Self::Order,
        Self::Stock,
        Self::Discount,
        Self::Bank,
    ];
}

/// A row as saved.
#[derive(Clone, PartialEq, Eq)]
pub struct Row {
    /// The fence: rises by one with every save; the first save makes 1.
    pub version: u64,
    /// The ownership under which it was saved.
    pub epoch: u64,
    /// Which save this was.
    pub op_id: u128,
    /// Version of the body's record, for tools; the body's own envelope is what decoders go by.
    pub schema_v: u16,
    /// Unix milliseconds of the save.
    pub updated_at_ms: u64,
    /// Seconds until the store may forget the row, counted from `updated_at_ms`; `None` = never.
    pub ttl_s: Option<u32>,
    /// The record's bytes.
    pub body: bytes::Bytes,
}

impl fmt::Debug for Row {
    /// Everything but the body: bodies hold people's data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Row")
            .field("version", &self.version)
            .field("epoch", &self.epoch)
            .field("op_id", &self.op_id)
            .field("schema_v", &self.schema_v)
            .field("updated_at_ms", &self.updated_at_ms)
            .field("ttl_s", &self.ttl_s)
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

impl Row {
    /// Whether the store may forget the row at `now`; it then counts as absent.
    #[must_use]
    pub fn is_expired(&self, now: UnixMillis) -> bool {
        self.ttl_s.is_some_and(|ttl_s| now.since_ms(UnixMillis(self.updated_at_ms)) > u64::from(ttl_s) * 1000)
    }

    /// What a lost save is told of the row.
    #[must_use]
    pub const fn head(&self) -> Head {
        Head { version: self.version, epoch: self.epoch, op_id: self.op_id }
    }
}

/// A row without its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its version.
    pub version: u64,
    /// The ownership under which it was saved.
    pub epoch: u64,
    /// Which save it was.
    pub op_id: u128,
}

/// What a save expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// No row.
    Absent,
    /// A row of exactly this version.
    Version(u64),
}

impl Expect {
    /// Whether a row with this head is what the save expects.
    #[must_use]
    pub fn holds(self, head: Option<Head>) -> bool {
        match self {
            Self::Absent => head.is_none(),
            Self::Version(version) => head.is_some_and(|head| head.version == version),
        }
    }

    /// The version that the save makes: 1, or one more than expected.
    #[must_use]
    pub const fn next(self) -> u64 {
        match self {
            Self::Absent => 1,
            Self::Version(version) => version + 1,
        }
    }
}

/// Whether anybody waits for a save.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haste {
    /// Somebody does.
    Urgent,
    /// Nobody does: a store whose syncs are shared may keep it for some milliseconds, until somebody else's save needs one.
    Patient,
}

impl Haste {
    /// Its name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Urgent => "urgent",
            Self::Patient => "patient",
        }
    }
}

/// A save, complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Save {
    /// Which table.
    pub kind: Kind,
    /// Which row.
    pub id: u128,
    /// What it expects to find.
    pub expect: Expect,
    /// What it writes; its version must be `expect.next()`.
    pub row: Row,
    /// What is in the index no later than the row.
    pub marks: Vec<IndexEntry>,
    /// Whether anybody waits for it.
    pub haste: Haste,
}

/// How a save ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saved {
    /// Committed and synced.
    Applied,
    /// Not applied by this attempt: the row is at this head (`None` = there is none). When the head carries the save's
    /// own `op_id`, an earlier attempt of the same save had been applied.
    Lost(Option<Head>),
    /// It may have been applied, or may still be.
    Unknown(Reason),
    /// Certainly not applied by this attempt, now or later: the store does not take writes at present, or the save
    /// breaks a bound. It settles nothing about an earlier attempt that ended [`Unknown`](Self::Unknown).
    Refused(Reason),
}

/// Why the store failed, for logs and health pages; never holds a row's body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Reason(pub Arc<str>);

impl Reason {
    /// A reason in words.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// What an error says.
    fn of(error: impl fmt::Display) -> Self {
        Self::new(error.to_string())
    }
}

/// An entry of the index: superfluous ones are harmless, readers filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// Entries of one partition lie together, ordered by key.
    pub partition: Box<[u8]>,
    /// Unique within the partition.
    pub key: Box<[u8]>,
    /// At most [`INDEX_VALUE_BYTES_MAX`]: larger things go into several entries.
    pub value: Box<[u8]>,
}

/// A page of a row scan, in no particular order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowPage {
    /// Ids and rows.
    pub rows: Vec<(u128, Row)>,
    /// Where the next page starts; `None` = this was the last. A page may hold fewer rows than asked for, even none,
    /// and not be the last.
    pub next: Option<u128>,
}

/// What the store says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// `None` = takes writes; else why not.
    pub writes_refused: Option<Reason>,
    /// `None` = this release can work with what is there; else why not.
    pub wrong_schema: Option<Reason>,
    /// Bytes on disk, where the store knows.
    pub disk_bytes: Option<u64>,
}

/// Rows that change only by compare-and-set, and a plain index beside them.
///
/// Every method is safe to call again. A future that is dropped leaves its call running: a dropped save may be applied.
pub trait Store: Send + Sync + fmt::Debug + 'static {
    /// The row, or `None`. `serial` asks for a read that is ordered with every save (and settles those that are
    /// half done); without it the read may be one replica quorum's.
    fn load(&self, kind: Kind, id: u128, serial: bool) -> BoxFuture<'static, Result<Option<Row>, Reason>>;

    /// Saves `row` if `expect` holds; `row.version` must be `expect.next()`. `marks` are in the index no later than
    /// the row. Applied = synced to durable storage.
    fn save(&self, kind: Kind, id: u128, expect: Expect, row: Row, marks: Vec<IndexEntry>)
    -> BoxFuture<'static, Saved>;

    /// The same save, for whoever has nothing to wait with: `done` is told once how it ended. A store with threads of its
    /// own tells from there and spares a task for each save.
    fn save_then(&self, save: Save, done: Done) {
        let Save { kind, id, expect, row, marks, haste: _ } = save;
        let saving = self.save(kind, id, expect, row, marks);
        tokio::spawn(async move { done.tell(saving.await) });
    }

    /// Puts entries, synced; the same entry again is harmless.
    fn index_put(&self, entries: Vec<IndexEntry>) -> BoxFuture<'static, Result<(), Reason>>;

    /// Deletes exact keys of a partition; absent ones are no error. Like a patient save it may
    /// take some milliseconds longer.
    fn index_delete(&self, partition: Box<[u8]>, keys: Vec<Box<[u8]>>) -> BoxFuture<'static, Result<(), Reason>>;

    /// Entries of `partition` with `from <= key` (and `key < until` where given), in key order, at most `limit`
    /// (itself at most [`SCAN_MAX`]).
    fn index_scan(
        &self,
        partition: Box<[u8]>,
        from: Box<[u8]>,
        until: Option<Box<[u8]>>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<IndexEntry>, Reason>>;

    /// A page of all rows of a kind from `cursor` on (`None` = the start), at most `limit` (itself at most
    /// [`SCAN_MAX`]); for sweeps, copies and erasure only. A store that does not itself forget expired rows deletes
    /// those that the scan passes, so the daily sweep is its purge too.
    fn scan_rows(&self, kind: Kind, cursor: Option<u128>, limit: usize) -> BoxFuture<'static, Result<RowPage, Reason>>;

    /// Whether no other process can have this store open: then nobody else can take over while this one lives.
    fn is_exclusive(&self) -> bool {
        false
    }

    /// What the store says of itself; cheap, for probes and metrics.
    fn health(&self) -> Health;
}

/// Whether a row may be saved upon `expect`: a refusal that every implementation gives alike.
fn check_row(expect: Expect, row: &Row) -> Result<(), Reason> {
    if row.body.len() > ROW_BYTES_MAX {
        return Err(Reason::new(format!("the row has {} bytes, {ROW_BYTES_MAX} are allowed", row.body.len())));
    }
    if row.version != expect.next() {
        return Err(Reason::new(format!("version {} does not follow {expect:?}", row.version)));
    }
    Ok(())
}

/// Whether entries may be put: a refusal that every implementation gives alike.
fn check_entries(entries: &[IndexEntry]) -> Result<(), Reason> {
    let too_long = |entry: &&IndexEntry| {
        entry.partition.len() > INDEX_KEY_BYTES_MAX
            || entry.key.len() > INDEX_KEY_BYTES_MAX
            || entry.value.len() > INDEX_VALUE_BYTES_MAX
    };
    match entries.iter().find(too_long) {
        None => Ok(()),
        Some(entry) => Err(Reason::new(format!(
            "an index entry of {} + {} + {} bytes; {INDEX_KEY_BYTES_MAX} + {INDEX_KEY_BYTES_MAX} + {INDEX_VALUE_BYTES_MAX} are allowed",
            entry.partition.len(),
            entry.key.len(),
            entry.value.len()
        ))),
    }
}
