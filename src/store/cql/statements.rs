//! Every statement of the store, prepared at the start, and what rows and answers look like.
//!
//! Tables of rows are changed by conditional updates alone: one plain write would void what Paxos promises of them. An
//! update and not an insert also for the first version: it leaves no marker of the row behind, so that a row whose cells
//! have all expired is gone.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use scylla::{
    client::session::Session,
    errors::PrepareError,
    policies::retry::DefaultRetryPolicy,
    response::query_result::QueryResult,
    statement::{Consistency, prepared::PreparedStatement},
    value::{CqlTimestamp, CqlValue, Row as Columns},
};
use uuid::Uuid;

use crate::store::{Head, Kind, Reason, Row};

/// Rows that travel in one frame of a scan: 8 MiB, should all be of the largest size.
const SCAN_FRAME_ROWS: i32 = 32;
/// How long the database may think about a probe: what works at all answers within some tens of milliseconds.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// A version that no row ever has.
const VERSION_NEVER: i64 = -1;

/// The table of a kind.
const fn table(kind: Kind) -> &'static str {
    match kind {
        Kind::Cart => "carts",
        Kind::Member => "members",
        Kind::Map => "shard_map",
        Kind::Catalog => "catalog_head",
        Kind::Keys => "cluster_keys",
        Kind::Checkout => "checkouts",
        Kind::Order => "orders",
        Kind::Stock => "stocks",
        Kind::Discount => "discount_codes",
        Kind::Bank => "bank_payments",
    }
}

/// Where the statements of a kind are: in the order of [`Kind::ALL`], whose numbers may have gaps.
const fn place(kind: Kind) -> usize {
    let mut at = 0;
    while at < Kind::ALL.len() && Kind::ALL[at] as u8 != kind as u8 {
        at += 1;
    }
    at
}

/// Statements about the rows of one kind.
#[derive(Debug)]
pub(super) struct OfKind {
    pub(super) save: PreparedStatement,
    /// Saves in the place of a row whose time is over: that very row and no other of its version.
    pub(super) replace: PreparedStatement,
    pub(super) load: PreparedStatement,
    pub(super) load_serial: PreparedStatement,
    /// From the start, and from a row on.
    pub(super) scan: PreparedStatement,
    pub(super) scan_from: PreparedStatement,
    /// A conditional update that never applies: asks a majority whether it would.
    pub(super) probe: PreparedStatement,
}

/// Every statement.
#[derive(Debug)]
pub(super) struct Statements {
    kinds: Vec<OfKind>,
    pub(super) index_put: PreparedStatement,
    pub(super) index_delete: PreparedStatement,
    pub(super) index_scan: PreparedStatement,
    pub(super) index_scan_until: PreparedStatement,
}

impl Statements {
    pub(super) async fn prepare(session: &Session, keyspace: &str) -> Result<Self, PrepareError> {
        let mut kinds = Vec::with_capacity(Kind::ALL.len());
        for kind in Kind::ALL {
            kinds.push(OfKind::prepare(session, &format!("{keyspace}.{}", table(kind))).await?);
        }
        let index = format!("{keyspace}.index_entries");
        let scan = format!("SELECT key, value FROM {index} WHERE part = ? AND key >= ?");
        Ok(Self {
            kinds,
            index_put: repeatable(session, format!("INSERT INTO {index} (part, key, value) VALUES (?, ?, ?)")).await?,
            index_delete: repeatable(session, format!("DELETE FROM {index} WHERE part = ? AND key IN ?")).await?,
            index_scan: repeatable(session, format!("{scan} LIMIT ?")).await?,
            index_scan_until: repeatable(session, format!("{scan} AND key < ? LIMIT ?")).await?,
        })
    }

    pub(super) fn of(&self, kind: Kind) -> &OfKind {
        &self.kinds[place(kind)]
    }
}

impl OfKind {
    async fn prepare(session: &Session, table: &str) -> Result<Self, PrepareError> {
        let columns = "version, epoch, op_id, schema_v, updated_at, ttl_s, body";
        let save = format!(
            "UPDATE {table} USING TTL ? SET version = ?, epoch = ?, op_id = ?, schema_v = ?, updated_at = ?, ttl_s = ?, body = ? \
             WHERE id = ? IF version = ?"
        );
        let load = format!("SELECT {columns} FROM {table} WHERE id = ?");
        let scan = format!("SELECT id, {columns} FROM {table}");
        let mut load_serial = repeatable(session, load.clone()).await?;
        load_serial.set_consistency(Consistency::LocalSerial);
        let mut scan_from = repeatable(session, format!("{scan} WHERE token(id) >= token(?)")).await?;
        let mut scan = repeatable(session, scan).await?;
        scan_from.set_page_size(SCAN_FRAME_ROWS);
        scan.set_page_size(SCAN_FRAME_ROWS);
        let mut probe = session
            .prepare(format!("UPDATE {table} SET version = {VERSION_NEVER} WHERE id = ? IF version = {VERSION_NEVER}"))
            .await?;
        probe.set_request_timeout(Some(PROBE_TIMEOUT));
        Ok(Self {
            replace: session.prepare(format!("{save} AND op_id = ?")).await?,
            save: session.prepare(save).await?,
            load: repeatable(session, load).await?,
            load_serial,
            scan,
            scan_from,
            probe,
        })
    }
}

/// A statement that may be sent twice: another node is asked when one does not answer (but for serial reads, which the
/// driver leaves to whoever asked).
async fn repeatable(session: &Session, text: String) -> Result<PreparedStatement, PrepareError> {
    let mut statement = session.prepare(text).await?;
    statement.set_is_idempotent(true);
    statement.set_retry_policy(Some(Arc::new(DefaultRetryPolicy::new())));
    Ok(statement)
}

/// The columns of a row, in the order of the statements.
type RowColumns = (i64, i64, Uuid, i32, CqlTimestamp, i32, Bytes);

/// The bound values of a save upon `expected` (`None` = no row).
pub(super) fn save_values(
    id: u128,
    expected: Option<u64>,
    row: &Row,
    ttl_s: i32,
) -> (i32, i64, i64, Uuid, i32, CqlTimestamp, i32, &Bytes, Uuid, Option<i64>) {
    (
        ttl_s,
        row.version.cast_signed(),
        row.epoch.cast_signed(),
        Uuid::from_u128(row.op_id),
        i32::from(row.schema_v),
        CqlTimestamp(row.updated_at_ms.cast_signed()),
        // A time to live beyond 68 years is none.
        row.ttl_s.map_or(0, |ttl_s| i32::try_from(ttl_s).unwrap_or(0)),
        &row.body,
        Uuid::from_u128(id),
        expected.map(u64::cast_signed),
    )
}

/// The bound values of a save in the place of `old`.
#[expect(clippy::type_complexity, reason = "the bound values, in order")]
pub(super) fn replace_values<'a>(
    id: u128,
    old: &Row,
    row: &'a Row,
    ttl_s: i32,
) -> (i32, i64, i64, Uuid, i32, CqlTimestamp, i32, &'a Bytes, Uuid, Option<i64>, Uuid) {
    let (ttl_s, version, epoch, op_id, schema_v, updated_at, row_ttl_s, body, id, expected) =
        save_values(id, Some(old.version), row, ttl_s);
    let old_op_id = Uuid::from_u128(old.op_id);
    (ttl_s, version, epoch, op_id, schema_v, updated_at, row_ttl_s, body, id, expected, old_op_id)
}

fn row((version, epoch, op_id, schema_v, updated_at, ttl_s, body): RowColumns) -> Result<Row, Reason> {
    Ok(Row {
        version: version.cast_unsigned(),
        epoch: epoch.cast_unsigned(),
        op_id: op_id.as_u128(),
        schema_v: u16::try_from(schema_v).map_err(Reason::of)?,
        updated_at_ms: updated_at.0.cast_unsigned(),
        ttl_s: u32::try_from(ttl_s).ok().filter(|ttl_s| *ttl_s > 0),
        body,
    })
}

/// The row that a load found.
pub(super) fn loaded(result: QueryResult) -> Result<Option<Row>, Reason> {
    let rows = result.into_rows_result().map_err(Reason::of)?;
    rows.maybe_first_row::<RowColumns>().map_err(Reason::of)?.map(row).transpose()
}

/// The rows of one frame of a scan, with their ids.
pub(super) fn scanned(result: QueryResult) -> Result<Vec<(u128, Row)>, Reason> {
    type Found = (Uuid, i64, i64, Uuid, i32, CqlTimestamp, i32, Bytes);
    let rows = result.into_rows_result().map_err(Reason::of)?;
    let split = |(id, version, epoch, op_id, schema_v, updated_at, ttl_s, body): Found| {
        Ok((id.as_u128(), row((version, epoch, op_id, schema_v, updated_at, ttl_s, body))?))
    };
    rows.rows::<Found>().map_err(Reason::of)?.map(|found| split(found.map_err(Reason::of)?)).collect()
}

/// How a conditional update was answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Applied,
    /// Not applied; the head where the answer tells it.
    Lost(Option<Head>),
}

/// Reads the answer by its columns: the databases tell different ones in each case.
pub(super) fn answered(result: QueryResult) -> Result<Answer, Reason> {
    let rows = result.into_rows_result().map_err(Reason::of)?;
    let names: Vec<&str> = rows.column_specs().iter().map(|spec| spec.name()).collect();
    let columns = rows.first_row::<Columns>().map_err(Reason::of)?.columns;
    let value = |name: &str| names.iter().zip(&columns).find(|(there, _)| **there == name)?.1.as_ref();
    match value("[applied]") {
        Some(CqlValue::Boolean(true)) => Ok(Answer::Applied),
        Some(CqlValue::Boolean(false)) => Ok(Answer::Lost(head(value("version"), value("epoch"), value("op_id")))),
        _ => Err(Reason::new("the answer does not say whether the update was applied")),
    }
}

fn head(version: Option<&CqlValue>, epoch: Option<&CqlValue>, op_id: Option<&CqlValue>) -> Option<Head> {
    Some(Head {
        version: version?.as_bigint()?.cast_unsigned(),
        epoch: epoch?.as_bigint()?.cast_unsigned(),
        op_id: op_id?.as_uuid()?.as_u128(),
    })
}
