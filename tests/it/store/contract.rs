//! The contract: what every store does. Each test is run against every implementation.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use futures_util::future::join_all;
use trolley::{
    domain::UnixMillis,
    store::{
        Cql, Embedded, Expect, INDEX_KEY_BYTES_MAX, INDEX_VALUE_BYTES_MAX, IndexEntry, Kind, Memory, ROW_BYTES_MAX,
        Row, SCAN_BYTES_MAX, SCAN_MAX, Saved, Store, embedded, faulty::Faulty,
    },
    telemetry::clock,
};
use uuid::Uuid;

use super::remote::Served;
use crate::support::{
    TempDir,
    cql::{Cluster, Keyspace},
    wait::until,
};

/// A store and what it stands on, kept until the test ends.
pub(super) struct Fixture {
    store: Arc<dyn Store>,
    /// Where a store that outlives its process keeps its data.
    at: Place,
}

/// What a store stands on.
enum Place {
    Nowhere,
    Directory(TempDir),
    Database(Keyspace),
    Served(Served),
}

impl Fixture {
    fn memory() -> Self {
        Self { store: Arc::new(Memory::default()), at: Place::Nowhere }
    }

    fn embedded() -> Self {
        let dir = TempDir::new("store");
        Self { store: Arc::new(open(&dir)), at: Place::Directory(dir) }
    }

    async fn cql() -> Self {
        let keyspace = Keyspace::migrated(Cluster::single()).await;
        Self { store: Arc::new(Cql::open(&keyspace.options()).await.unwrap()), at: Place::Database(keyspace) }
    }

    async fn remote_memory() -> Self {
        let served = Served::start(Arc::new(Memory::default()));
        Self { store: Arc::new(served.open().await), at: Place::Served(served) }
    }

    async fn remote_embedded() -> Self {
        let dir = TempDir::new("store");
        let served = Served::start_in(Arc::new(open(&dir)), dir);
        Self { store: Arc::new(served.open().await), at: Place::Served(served) }
    }

    fn faulty() -> Self {
        Self { store: Arc::new(Faulty::new(Memory::default())), at: Place::Nowhere }
    }

    /// The same store after a restart of whatever can be restarted.
    async fn reopen(self) -> Self {
        match self.at {
            Place::Nowhere => self,
            Place::Directory(dir) => {
                drop(self.store);
                Self { store: Arc::new(open(&dir)), at: Place::Directory(dir) }
            }
            Place::Served(mut served) => {
                drop(self.store);
                served.restart().await;
                Self { store: Arc::new(served.open().await), at: Place::Served(served) }
            }
            Place::Database(keyspace) => {
                drop(self.store);
                let store = Arc::new(Cql::open(&keyspace.options()).await.unwrap());
                Self { store, at: Place::Database(keyspace) }
            }
        }
    }

    /// How many saves at once are many: more than any queue holds, and few enough for a database to do in a moment.
    fn many(&self) -> u128 {
        if let Place::Database(_) = self.at { 1000 } else { 5000 }
    }

    /// Whether a save in a crowd may end unknown or refused, to be sent again: over a network, and nowhere else.
    fn may_not_know(&self) -> bool {
        matches!(self.at, Place::Database(_))
    }

    /// Waits until a store that forgets by itself has forgotten this row: a moment after its time.
    async fn forgets(&self, id: u128) {
        let Place::Database(keyspace) = &self.at else { return };
        let session = keyspace.session().await;
        let look = format!("SELECT id FROM {}.carts WHERE id = ?", keyspace.name);
        until("the row is gone", || async {
            let found = session.query_unpaged(look.as_str(), (Uuid::from_u128(id),)).await.unwrap();
            (found.into_rows_result().unwrap().rows_num() == 0).then_some(())
        })
        .await;
    }
}

pub(super) fn open(dir: &TempDir) -> Embedded {
    Embedded::open(options(dir)).unwrap()
}

pub(super) fn options(dir: &TempDir) -> embedded::Options {
    options_in(&dir.0.join("data"))
}

pub(super) fn options_in(dir: &Path) -> embedded::Options {
    // Tests run where disks are small.
    embedded::Options { free_bytes_min: 1024 * 1024, ..embedded::Options::new(dir) }
}

macro_rules! contract {
    ($($name:ident)+) => {
        mod on_memory { $(#[tokio::test] async fn $name() { super::$name(super::Fixture::memory()).await })+ }
        mod on_embedded { $(#[tokio::test] async fn $name() { super::$name(super::Fixture::embedded()).await })+ }
        mod on_cql { $(#[tokio::test] async fn $name() { super::$name(super::Fixture::cql().await).await })+ }
        mod on_remote_memory {
            $(#[tokio::test] async fn $name() { super::$name(super::Fixture::remote_memory().await).await })+
        }
        mod on_remote_embedded {
            $(#[tokio::test] async fn $name() { super::$name(super::Fixture::remote_embedded().await).await })+
        }
        mod on_faulty { $(#[tokio::test] async fn $name() { super::$name(super::Fixture::faulty()).await })+ }
    };
}

/// What stores with transactions promise beyond the contract.
macro_rules! in_one_transaction {
    ($($name:ident)+) => {
        mod in_memory { $(#[tokio::test] async fn $name() { super::$name(super::Fixture::memory()).await })+ }
        mod in_embedded { $(#[tokio::test] async fn $name() { super::$name(super::Fixture::embedded()).await })+ }
    };
}

in_one_transaction! { marks_of_a_lost_save_are_not_saved }

contract! {
    a_first_save_needs_an_absent_row
    a_later_save_needs_the_version_it_expects
    the_same_save_again_finds_its_own_op_id
    a_version_that_does_not_follow_is_refused
    rows_of_different_kinds_do_not_meet
    everything_of_a_row_comes_back
    marks_are_saved_no_later_than_the_row
    concurrent_saves_of_one_version_have_one_winner
    concurrent_saves_of_many_rows_are_all_applied
    what_exceeds_a_bound_is_refused
    entries_are_ordered_and_kept_to_their_partition
    an_index_scan_ends_at_its_limit
    entries_are_replaced_and_deleted
    pages_hold_every_row_once
    a_page_ends_before_it_is_too_large
    an_expired_row_is_absent
    a_row_past_its_time_makes_room_for_another
    what_was_saved_is_there_after_a_restart
}

pub(super) fn row(version: u64, op_id: u128) -> Row {
    Row {
        version,
        epoch: 1,
        op_id,
        schema_v: 1,
        updated_at_ms: clock::now().0,
        ttl_s: None,
        body: Bytes::from(format!("version {version} by {op_id}")),
    }
}

pub(super) fn entry(partition: &[u8], key: &[u8], value: &[u8]) -> IndexEntry {
    IndexEntry { partition: partition.into(), key: key.into(), value: value.into() }
}

async fn save(store: &Arc<dyn Store>, id: u128, expect: Expect, row: &Row) -> Saved {
    store.save(Kind::Cart, id, expect, row.clone(), vec![]).await
}

async fn load(store: &Arc<dyn Store>, id: u128) -> Option<Row> {
    let row = store.load(Kind::Cart, id, true).await.unwrap();
    assert_eq!(store.load(Kind::Cart, id, false).await.unwrap(), row);
    row
}

async fn keys(store: &Arc<dyn Store>, partition: &[u8], from: &[u8], until: Option<&[u8]>) -> Vec<Vec<u8>> {
    let entries = store.index_scan(partition.into(), from.into(), until.map(Into::into), SCAN_MAX).await.unwrap();
    assert!(entries.iter().all(|entry| &*entry.partition == partition));
    entries.into_iter().map(|entry| entry.key.into_vec()).collect()
}

/// Every row by pages of `limit`, and how many pages.
async fn pages(store: &Arc<dyn Store>, kind: Kind, limit: usize) -> (Vec<(u128, Row)>, usize) {
    let (mut rows, mut cursor, mut count) = (Vec::new(), None, 0);
    loop {
        let page = store.scan_rows(kind, cursor, limit).await.unwrap();
        assert!(page.rows.len() <= limit);
        rows.extend(page.rows);
        count += 1;
        cursor = page.next;
        if cursor.is_none() {
            return (rows, count);
        }
    }
}

/// P2.
async fn a_first_save_needs_an_absent_row(Fixture { store, at: _at }: Fixture) {
    let first = row(1, 10);
    assert_eq!(load(&store, 1).await, None);
    assert_eq!(save(&store, 1, Expect::Absent, &first).await, Saved::Applied);
    assert_eq!(load(&store, 1).await, Some(first.clone()));
    assert_eq!(save(&store, 1, Expect::Absent, &row(1, 11)).await, Saved::Lost(Some(first.head())));
    assert_eq!(load(&store, 1).await, Some(first));
}

/// P2.
async fn a_later_save_needs_the_version_it_expects(Fixture { store, at: _at }: Fixture) {
    assert_eq!(save(&store, 1, Expect::Version(1), &row(2, 10)).await, Saved::Lost(None));
    assert_eq!(save(&store, 1, Expect::Absent, &row(1, 11)).await, Saved::Applied);
    let second = row(2, 12);
    assert_eq!(save(&store, 1, Expect::Version(1), &second).await, Saved::Applied);
    assert_eq!(save(&store, 1, Expect::Version(1), &row(2, 13)).await, Saved::Lost(Some(second.head())));
    assert_eq!(save(&store, 1, Expect::Version(2), &row(3, 14)).await, Saved::Applied);
    assert_eq!(save(&store, 1, Expect::Version(4), &row(5, 15)).await, Saved::Lost(Some(row(3, 14).head())));
}

/// How a save whose answer was lost is settled.
async fn the_same_save_again_finds_its_own_op_id(Fixture { store, at: _at }: Fixture) {
    let first = row(1, 10);
    assert_eq!(save(&store, 1, Expect::Absent, &first).await, Saved::Applied);
    assert_eq!(save(&store, 1, Expect::Absent, &first).await, Saved::Lost(Some(first.head())));
    let second = row(2, 11);
    let (one, other) =
        tokio::join!(save(&store, 1, Expect::Version(1), &second), save(&store, 1, Expect::Version(1), &second));
    let mut answers = [one, other];
    answers.sort_by_key(|answer| *answer != Saved::Applied);
    assert_eq!(answers, [Saved::Applied, Saved::Lost(Some(second.head()))]);
}

async fn a_version_that_does_not_follow_is_refused(Fixture { store, at: _at }: Fixture) {
    assert!(matches!(save(&store, 1, Expect::Absent, &row(2, 10)).await, Saved::Refused(_)));
    assert_eq!(save(&store, 1, Expect::Absent, &row(1, 10)).await, Saved::Applied);
    assert!(matches!(save(&store, 1, Expect::Version(1), &row(3, 10)).await, Saved::Refused(_)));
    assert_eq!(load(&store, 1).await.map(|row| row.version), Some(1));
}

async fn rows_of_different_kinds_do_not_meet(Fixture { store, at: _at }: Fixture) {
    for (op_id, kind) in (1..).zip(Kind::ALL) {
        assert_eq!(store.save(kind, 7, Expect::Absent, row(1, op_id), vec![]).await, Saved::Applied);
    }
    for (op_id, kind) in (1..).zip(Kind::ALL) {
        assert_eq!(store.load(kind, 7, true).await.unwrap().map(|row| row.op_id), Some(op_id));
        let (rows, _) = pages(&store, kind, 10).await;
        assert_eq!(rows.iter().map(|(id, row)| (*id, row.op_id)).collect::<Vec<_>>(), [(7, op_id)]);
    }
}

async fn everything_of_a_row_comes_back(Fixture { store, at: _at }: Fixture) {
    let row = Row {
        version: 1,
        epoch: u64::MAX,
        op_id: u128::MAX - 1,
        schema_v: 65_000,
        updated_at_ms: clock::now().0,
        ttl_s: Some(86_400),
        body: Bytes::from_iter((0..ROW_BYTES_MAX).map(|at| u8::try_from(at % 251).unwrap())),
    };
    for id in [0, u128::MAX] {
        assert_eq!(save(&store, id, Expect::Absent, &row).await, Saved::Applied);
        assert_eq!(load(&store, id).await, Some(row.clone()));
    }
}

async fn marks_of_a_lost_save_are_not_saved(Fixture { store, at: _at }: Fixture) {
    let marks = |key: &[u8]| vec![entry(b"due", key, b"cart")];
    assert_eq!(store.save(Kind::Cart, 1, Expect::Absent, row(1, 10), marks(b"1")).await, Saved::Applied);
    let lost = store.save(Kind::Cart, 1, Expect::Absent, row(1, 11), marks(b"2")).await;
    assert!(matches!(lost, Saved::Lost(_)));
    assert_eq!(keys(&store, b"due", b"", None).await, [b"1"]);
}

/// P10: a marker that came later than its row could be lost.
async fn marks_are_saved_no_later_than_the_row(Fixture { store, at: _at }: Fixture) {
    let marks = vec![entry(b"due", b"1", b"cart")];
    assert_eq!(store.save(Kind::Cart, 1, Expect::Absent, row(1, 10), marks).await, Saved::Applied);
    assert_eq!(keys(&store, b"due", b"", None).await, [b"1"]);

    // Whoever sees a row sees its mark.
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            for version in 2..=100_u64 {
                let mark = vec![entry(b"seen", &version.to_be_bytes(), b"")];
                let saved = store.save(Kind::Cart, 1, Expect::Version(version - 1), row(version, 1), mark).await;
                assert_eq!(saved, Saved::Applied);
            }
        }
    });
    loop {
        let seen = store.load(Kind::Cart, 1, true).await.unwrap().unwrap().version;
        if seen > 1 {
            assert_eq!(keys(&store, b"seen", &seen.to_be_bytes(), None).await[0], seen.to_be_bytes());
        }
        if seen == 100 {
            break;
        }
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
}

/// P2.
async fn concurrent_saves_of_one_version_have_one_winner(fixture: Fixture) {
    let (may_not_know, Fixture { store, at: _at }) = (fixture.may_not_know(), fixture);
    for version in 1..=20_u64 {
        let expect = if version == 1 { Expect::Absent } else { Expect::Version(version - 1) };
        let answers = join_all((0..16_u128).map(|op_id| {
            let (store, row) = (store.clone(), row(version, op_id));
            tokio::spawn(async move {
                // A database under contention may not know; the very same save again finds out.
                loop {
                    match save(&store, 1, expect, &row).await {
                        Saved::Unknown(_) | Saved::Refused(_) if may_not_know => tokio::task::yield_now().await,
                        Saved::Lost(Some(head)) if may_not_know && head.op_id == op_id => {
                            return (op_id, Saved::Applied);
                        }
                        saved => return (op_id, saved),
                    }
                }
            })
        }))
        .await;
        let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
        let winners: Vec<_> =
            answers.iter().filter(|(_, saved)| *saved == Saved::Applied).map(|(op_id, _)| *op_id).collect();
        let head = load(&store, 1).await.unwrap().head();
        assert_eq!(winners, [head.op_id]);
        assert_eq!(head.version, version);
        for (op_id, saved) in answers {
            assert!(op_id == head.op_id || saved == Saved::Lost(Some(head)), "{saved:?}");
        }
    }
}

async fn concurrent_saves_of_many_rows_are_all_applied(fixture: Fixture) {
    let (many, may_not_know, Fixture { store, at: _at }) = (fixture.many(), fixture.may_not_know(), fixture);
    let answers = join_all((0..many).map(|id| {
        let store = store.clone();
        async move {
            loop {
                match save(&store, id, Expect::Absent, &row(1, id)).await {
                    // A database that is hurried may not know; the very same save again finds out.
                    Saved::Unknown(_) if may_not_know => tokio::task::yield_now().await,
                    Saved::Lost(Some(head)) if may_not_know && head.op_id == id => return Saved::Applied,
                    saved => return saved,
                }
            }
        }
    }))
    .await;
    assert!(answers.iter().all(|saved| *saved == Saved::Applied));
    let (mut rows, _) = pages(&store, Kind::Cart, SCAN_MAX).await;
    rows.sort_by_key(|(id, _)| *id);
    assert_eq!(rows.iter().map(|(_, row)| row.op_id).collect::<Vec<_>>(), (0..many).collect::<Vec<_>>());
}

/// P9.
async fn what_exceeds_a_bound_is_refused(Fixture { store, at: _at }: Fixture) {
    let too_large = Row { body: Bytes::from(vec![0; ROW_BYTES_MAX + 1]), ..row(1, 1) };
    assert!(matches!(save(&store, 1, Expect::Absent, &too_large).await, Saved::Refused(_)));
    let key = vec![0; INDEX_KEY_BYTES_MAX + 1];
    let value = vec![0; INDEX_VALUE_BYTES_MAX + 1];
    for bad in [entry(&key, b"k", b"v"), entry(b"p", &key, b"v"), entry(b"p", b"k", &value)] {
        assert!(store.index_put(vec![bad.clone()]).await.is_err());
        let saved = store.save(Kind::Cart, 1, Expect::Absent, row(1, 1), vec![bad]).await;
        assert!(matches!(saved, Saved::Refused(_)));
    }
    assert_eq!(load(&store, 1).await, None);
    assert!(keys(&store, b"p", b"", None).await.is_empty());
    let largest = entry(&key[1..], &key[1..], &value[1..]);
    assert_eq!(store.index_put(vec![largest.clone()]).await, Ok(()));
    assert_eq!(store.index_scan(largest.partition.clone(), [].into(), None, 2).await, Ok(vec![largest]));
}

async fn entries_are_ordered_and_kept_to_their_partition(Fixture { store, at: _at }: Fixture) {
    let named: [&[u8]; 6] = [b"", b"a", b"a\0", b"a\xff", b"b", &[0xff; INDEX_KEY_BYTES_MAX]];
    for partition in [&b"p"[..], b"", b"pp", b"q"] {
        store.index_put(named.iter().rev().map(|key| entry(partition, key, key)).collect()).await.unwrap();
    }
    for partition in [&b"p"[..], b"", b"pp", b"q"] {
        assert_eq!(keys(&store, partition, b"", None).await, named);
    }
    assert_eq!(keys(&store, b"p", b"a\0", None).await, named[2..]);
    assert_eq!(keys(&store, b"p", b"a", Some(b"b")).await, named[1..4]);
    assert_eq!(keys(&store, b"p", b"aa", Some(b"ab")).await, [b""; 0]);
    assert_eq!(keys(&store, b"p", b"b", Some(b"a")).await, [b""; 0]);
    assert_eq!(keys(&store, b"nobody's", b"", None).await, [b""; 0]);
}

async fn an_index_scan_ends_at_its_limit(Fixture { store, at: _at }: Fixture) {
    for page in 0..3_u16 {
        let entries = (0..500_u16).map(|at| entry(b"p", &(page * 500 + at).to_be_bytes(), b"")).collect();
        store.index_put(entries).await.unwrap();
    }
    let scan = |limit| store.index_scan((*b"p").into(), [].into(), None, limit);
    assert_eq!(scan(2).await.unwrap(), [entry(b"p", &[0, 0], b""), entry(b"p", &[0, 1], b"")]);
    assert_eq!(scan(usize::MAX).await.unwrap().len(), SCAN_MAX);
}

async fn entries_are_replaced_and_deleted(Fixture { store, at: _at }: Fixture) {
    let all = || store.index_scan((*b"p").into(), [].into(), None, 10);
    store.index_put(vec![entry(b"p", b"1", b"old"), entry(b"p", b"2", b""), entry(b"q", b"1", b"")]).await.unwrap();
    store.index_put(vec![entry(b"p", b"1", b"new")]).await.unwrap();
    assert_eq!(all().await.unwrap(), [entry(b"p", b"1", b"new"), entry(b"p", b"2", b"")]);
    store.index_delete((*b"p").into(), vec![(*b"1").into(), (*b"absent").into()]).await.unwrap();
    assert_eq!(all().await.unwrap(), [entry(b"p", b"2", b"")]);
    store.index_put(vec![entry(b"p", b"1", b"again")]).await.unwrap();
    assert_eq!(all().await.unwrap(), [entry(b"p", b"1", b"again"), entry(b"p", b"2", b"")]);
    assert_eq!(keys(&store, b"q", b"", None).await, [b"1"]);
    // More than a database takes in one list.
    let many: Vec<Box<[u8]>> = (0..250_u16).map(|key| key.to_be_bytes().into()).collect();
    store.index_put(many.iter().map(|key| entry(b"many", key, b"")).collect()).await.unwrap();
    store.index_delete((*b"many").into(), many).await.unwrap();
    assert_eq!(keys(&store, b"many", b"", None).await, [b""; 0]);
}

async fn pages_hold_every_row_once(Fixture { store, at: _at }: Fixture) {
    let ids: Vec<u128> = (0..50).map(|at| at * (u128::MAX / 49)).collect();
    for id in &ids {
        assert_eq!(save(&store, *id, Expect::Absent, &row(1, *id)).await, Saved::Applied);
    }
    for limit in [1, 7, 25, 50, 51] {
        let (mut rows, _) = pages(&store, Kind::Cart, limit).await;
        rows.sort_by_key(|(id, _)| *id);
        assert_eq!(
            rows.iter().map(|(id, row)| (*id, row.op_id)).collect::<Vec<_>>(),
            ids.iter().map(|id| (*id, *id)).collect::<Vec<_>>()
        );
    }
    assert_eq!(pages(&store, Kind::Member, 10).await, (vec![], 1));
}

/// P9.
async fn a_page_ends_before_it_is_too_large(Fixture { store, at: _at }: Fixture) {
    let count = 2 * SCAN_BYTES_MAX / ROW_BYTES_MAX;
    let body = Bytes::from(vec![7; ROW_BYTES_MAX]);
    for id in 0..count as u128 {
        let row = Row { body: body.clone(), ..row(1, id) };
        assert_eq!(save(&store, id, Expect::Absent, &row).await, Saved::Applied);
    }
    let (rows, pages) = pages(&store, Kind::Cart, SCAN_MAX).await;
    assert_eq!(rows.len(), count);
    assert!(pages >= 2, "{count} rows of the largest size came in {pages} page");
}

/// Also in the moment after its time, while a store that forgets by itself still has it.
async fn a_row_past_its_time_makes_room_for_another(Fixture { store, at: _at }: Fixture) {
    let expired = Row { updated_at_ms: clock::now().0 - 60_000, ttl_s: Some(1), ..row(1, 10) };
    assert_eq!(save(&store, 1, Expect::Absent, &expired).await, Saved::Applied);
    let anew = row(1, 11);
    assert_eq!(save(&store, 1, Expect::Absent, &anew).await, Saved::Applied);
    assert_eq!(load(&store, 1).await, Some(anew));
}

async fn an_expired_row_is_absent(fixture: Fixture) {
    let store = fixture.store.clone();
    let hour_ms = 3_600_000;
    let saved_before = |ttl_s| Row { updated_at_ms: clock::now().0 - hour_ms, ttl_s, ..row(1, 10) };
    let (expired, alive) = (saved_before(Some(1800)), saved_before(Some(7200)));
    assert!(expired.is_expired(clock::now()) && !expired.is_expired(UnixMillis(expired.updated_at_ms)));
    for id in 0..3 {
        assert_eq!(save(&store, id, Expect::Absent, &expired).await, Saved::Applied);
    }
    assert_eq!(save(&store, 3, Expect::Absent, &alive).await, Saved::Applied);
    assert_eq!(load(&store, 1).await, None);
    fixture.forgets(1).await;
    assert_eq!(save(&store, 1, Expect::Version(1), &row(2, 11)).await, Saved::Lost(None));
    for limit in [1, 10] {
        assert_eq!(pages(&store, Kind::Cart, limit).await.0, [(3, alive.clone())]);
    }
    let anew = row(1, 12);
    assert_eq!(save(&store, 1, Expect::Absent, &anew).await, Saved::Applied);
    assert_eq!(load(&store, 1).await, Some(anew));
}

/// P1, as far as a restart shows it.
async fn what_was_saved_is_there_after_a_restart(fixture: Fixture) {
    let store = fixture.store.clone();
    let (first, second) = (row(1, 10), row(2, 11));
    let mark = vec![entry(b"due", b"1", b"cart")];
    assert_eq!(store.save(Kind::Cart, 1, Expect::Absent, first, mark).await, Saved::Applied);
    assert_eq!(save(&store, 1, Expect::Version(1), &second).await, Saved::Applied);
    store.index_put(vec![entry(b"p", b"kept", b""), entry(b"p", b"gone", b"")]).await.unwrap();
    store.index_delete((*b"p").into(), vec![(*b"gone").into()]).await.unwrap();
    drop(store);
    let fixture = fixture.reopen().await;
    assert_eq!(load(&fixture.store, 1).await, Some(second.clone()));
    assert_eq!(keys(&fixture.store, b"due", b"", None).await, [b"1"]);
    assert_eq!(keys(&fixture.store, b"p", b"", None).await, [&b"kept"[..]]);
    assert_eq!(save(&fixture.store, 1, Expect::Version(1), &row(2, 12)).await, Saved::Lost(Some(second.head())));
    assert_eq!(save(&fixture.store, 1, Expect::Version(2), &row(3, 13)).await, Saved::Applied);
}
