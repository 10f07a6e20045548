//! The database's driver without anything around it, for `cargo xtask bench --database`:
//! `driver_alone CONTACT_POINT KEYSPACE many SECONDS IN_FLIGHT ROWS BODY_BYTES` updates rows conditionally, each by one
//! writer, as fast as it can; `hot` in place of `many` lets all writers update one row, each upon what it saw last.
//! Prints one line of JSON.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use scylla::{
    client::{execution_profile::ExecutionProfile, session::Session, session_builder::SessionBuilder},
    policies::retry::FallthroughRetryPolicy,
    statement::{Consistency, SerialConsistency, prepared::PreparedStatement},
    value::{CqlTimestamp, Row},
};
use trolley::telemetry::clock;
use uuid::Uuid;

/// The allocator of the server that it is compared with.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[derive(Clone)]
struct Rows {
    session: Arc<Session>,
    update: PreparedStatement,
    load: PreparedStatement,
    body: Arc<Vec<u8>>,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [point, keyspace, how, numbers @ ..] = arguments.as_slice() else {
        return Err(io::Error::other("driver_alone CONTACT_POINT KEYSPACE many|hot SECONDS IN_FLIGHT ROWS BODY_BYTES"));
    };
    let numbers: Vec<u64> = numbers.iter().map(|n| n.parse()).collect::<Result<_, _>>().map_err(io::Error::other)?;
    let [seconds, in_flight, rows, body_bytes] = numbers[..] else { return Err(io::Error::other("four numbers")) };
    let table = Rows::open(point, keyspace, body_bytes as usize).await?;
    let end = Instant::now() + Duration::from_secs(seconds);
    let first_id = clock::random();
    let writers: Vec<_> = (0..in_flight)
        .map(|writer| {
            let table = table.clone();
            let ids: Vec<u128> =
                (writer..rows).step_by(in_flight as usize).map(|n| first_id.wrapping_add(u128::from(n))).collect();
            match how.as_str() {
                "many" => tokio::spawn(async move { table.many(ids, end).await }),
                _ => tokio::spawn(async move { table.hot(first_id, end).await }),
            }
        })
        .collect();
    let mut applied = 0;
    for writer in writers {
        applied += writer.await.map_err(io::Error::other)??;
    }
    println!("{}", serde_json::json!({ "rate": applied as f64 / seconds as f64 }));
    Ok(())
}

impl Rows {
    async fn open(point: &str, keyspace: &str, body_bytes: usize) -> io::Result<Self> {
        let profile = ExecutionProfile::builder()
            .consistency(Consistency::LocalQuorum)
            .serial_consistency(Some(SerialConsistency::LocalSerial))
            .retry_policy(Arc::new(FallthroughRetryPolicy::new()))
            .build();
        let builder = SessionBuilder::new().known_node(point).default_execution_profile_handle(profile.into_handle());
        let session = Arc::new(builder.build().await.map_err(io::Error::other)?);
        let update = session
            .prepare(format!(
                "UPDATE {keyspace}.carts SET version = ?, epoch = ?, op_id = ?, schema_v = ?, updated_at = ?, ttl_s = ?, body = ? \
                 WHERE id = ? IF version = ?"
            ))
            .await
            .map_err(io::Error::other)?;
        let load = format!("SELECT version FROM {keyspace}.carts WHERE id = ?");
        let mut load = session.prepare(load).await.map_err(io::Error::other)?;
        load.set_consistency(Consistency::LocalSerial);
        Ok(Self { session, update, load, body: Arc::new(vec![0x5a; body_bytes]) })
    }

    /// `None` = an error of the database, which contention makes.
    async fn update(&self, id: u128, seen: i64) -> Option<bool> {
        let expected = (seen > 0).then_some(seen);
        let (op_id, now) = (Uuid::from_u128(clock::random()), CqlTimestamp(clock::now().0 as i64));
        let values = (seen + 1, 1_i64, op_id, 1_i32, now, 0_i32, &*self.body, Uuid::from_u128(id), expected);
        let answer = self.session.execute_unpaged(&self.update, values).await.ok()?.into_rows_result().ok()?;
        answer.first_row::<Row>().ok()?.columns.first()?.as_ref()?.as_boolean()
    }

    async fn many(self, ids: Vec<u128>, end: Instant) -> io::Result<u64> {
        let mut applied = 0;
        for seen in 0.. {
            for id in &ids {
                if Instant::now() >= end {
                    return Ok(applied);
                }
                match self.update(*id, seen).await {
                    Some(true) => applied += 1,
                    other => return Err(io::Error::other(format!("an update nobody contends for: {other:?}"))),
                }
            }
        }
        Ok(applied)
    }

    async fn hot(self, id: u128, end: Instant) -> io::Result<u64> {
        let (mut applied, mut seen) = (0, 0);
        while Instant::now() < end {
            if self.update(id, seen).await == Some(true) {
                (applied, seen) = (applied + 1, seen + 1);
                continue;
            }
            let found = self.session.execute_unpaged(&self.load, (Uuid::from_u128(id),)).await.ok();
            let row = found.and_then(|found| found.into_rows_result().ok()?.maybe_first_row::<(i64,)>().ok()?);
            seen = row.map_or(seen, |(version,)| version);
        }
        Ok(applied)
    }
}
