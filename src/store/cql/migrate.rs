//! Brings a database's schema to this release's, one recorded step at a time. Two may run at once: one waits. Killed at
//! any moment and run again, it ends in the same schema.

use std::{fs, time::Duration};

use scylla::{
    client::session::Session,
    errors::{DbError, ExecutionError, RequestAttemptError},
    serialize::row::SerializeRow,
    statement::{Consistency, unprepared::Statement},
    value::CqlTimestamp,
};

use super::schema::{self, Dialect, Migration, Recorded, Status, Target};
use crate::{
    store::{Reason, cql::statements},
    telemetry::clock,
};

/// How long one change of the schema may take, agreement of all nodes included.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(60);
/// Attempts at anything that may be repeated, and the pause between them.
const ATTEMPTS_MAX: u32 = 10;
const ATTEMPT_PAUSE: Duration = Duration::from_millis(500);
/// How long whoever made the keyspace has for its first table, before somebody else makes that.
const FIRST_TABLE_WAIT_MAX: Duration = Duration::from_secs(10);
/// The lock is forgotten this many seconds after its holder was last seen.
const LOCK_TTL_S: i32 = 30;
/// How often a holder shows itself.
const LOCK_RENEW_EVERY: Duration = Duration::from_secs(10);
/// How long showing itself may take: the lock must not be forgotten meanwhile.
const LOCK_RENEW_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait for another migration: longer than any is expected to take.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(600);

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Keyspace of every table; made if it is not there.
    pub keyspace: String,
    /// Data centre of a keyspace that is made; `None` = the only one.
    pub local_dc: Option<String>,
    /// Copies in it, for a keyspace that is made.
    pub replication_factor: u32,
    /// Which of the databases it is; `None` = found out.
    pub dialect: Option<Dialect>,
}

impl Plan {
    /// What statements are made for.
    #[must_use]
    pub fn target(&self, dialect: Dialect) -> Target<'_> {
        Target { dialect, keyspace: &self.keyspace, copies: self.replication_factor }
    }
}

/// Something that was done, to be shown.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// Which database it is.
    Found(Dialect),
    /// The keyspace was made.
    Keyspace(&'a str),
    /// The table of what was applied was made.
    Bookkeeping,
    /// Another migration is at work; this is what it says of itself.
    Waiting(&'a str),
    /// Nobody else migrates now.
    Locked,
    /// A migration is recorded as begun.
    Began(&'a Migration),
    /// Its statement ran, and every node knows of it.
    Changed(&'a Migration),
    /// It is recorded as applied.
    Applied(&'a Migration),
    /// The lock was given back.
    Unlocked,
}

/// Why the schema was not brought up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database failed or refused.
    #[error("{what}: {why}")]
    Database {
        /// What was being done.
        what: &'static str,
        /// What the database said.
        why: Reason,
    },
    /// More copies than nodes.
    #[error(
        "{copies} copies in data centre {data_centre:?} need as many nodes, and there are {nodes}: set store.replication_factor"
    )]
    Copies {
        /// As asked for.
        copies: u32,
        /// Where.
        data_centre: String,
        /// As many as there are.
        nodes: usize,
    },
    /// What is recorded does not go with this release.
    #[error("{0}: {fix}", fix = .0.fix())]
    Status(Status),
    /// Another migration holds the lock.
    #[error("another migration is still at work after ten minutes ({0}); look at it, and run this again")]
    Busy(String),
    /// The lock went to somebody else.
    #[error("this migration was so slow that another took over; run it again to see how that ended")]
    LockLost,
}

fn failed(what: &'static str) -> impl Fn(ExecutionError) -> Error {
    move |error| Error::Database { what, why: Reason::of(error) }
}

fn unreadable(what: &'static str, why: impl std::fmt::Display) -> Error {
    Error::Database { what, why: Reason::of(why) }
}

/// Which of the two databases it is.
///
/// # Errors
/// [`Error::Database`].
pub async fn dialect(session: &Session) -> Result<Dialect, Error> {
    Ok(if has_table(session, "system", "scylla_local").await? { Dialect::ScyllaDb } else { Dialect::Cassandra })
}

/// How the schema goes with this release.
///
/// # Errors
/// [`Error::Database`].
pub async fn status(session: &Session, keyspace: &str) -> Result<Status, Error> {
    if !has_table(session, keyspace, "schema_migrations").await? {
        return Ok(Status::Missing);
    }
    Ok(Status::of(&recorded(session, keyspace).await?))
}

/// Brings the schema to this release's, and tells of each step. Returns how many migrations were applied.
///
/// # Errors
/// [`Error`]; run again, it goes on where it stopped.
pub async fn migrate(session: &Session, plan: &Plan, told: &mut dyn FnMut(Step<'_>)) -> Result<usize, Error> {
    let dialect = match plan.dialect {
        Some(dialect) => dialect,
        None => dialect(session).await?,
    };
    told(Step::Found(dialect));
    make_keyspace(session, plan, dialect, told).await?;
    let target = plan.target(dialect);
    let lock = Lock { session, keyspace: &plan.keyspace, holder: holder() };
    lock.take(told).await?;
    told(Step::Locked);
    let applied = tokio::select! {
        applied = apply(session, target, told) => applied?,
        lost = lock.keep() => return Err(lost),
    };
    lock.give_back().await?;
    told(Step::Unlocked);
    Ok(applied)
}

/// What [`migrate`] would run before the first migration.
///
/// # Errors
/// [`Error`].
pub async fn foundation(session: &Session, plan: &Plan, dialect: Dialect) -> Result<Vec<String>, Error> {
    let mut statements = Vec::new();
    if !has_keyspace(session, &plan.keyspace).await? {
        let (data_centre, _) = data_centre(session, plan);
        statements.push(schema::keyspace_statement(plan.target(dialect), &data_centre));
    }
    if !has_table(session, &plan.keyspace, "schema_migrations").await? {
        statements.push(schema::bookkeeping_statement(plan.target(dialect)));
    }
    Ok(statements)
}

/// The keyspace, and in it the table of what was applied. Two who make a table at the same moment on two nodes of Apache
/// Cassandra could make two of it: whoever made the keyspace makes the table, others wait for it.
async fn make_keyspace(
    session: &Session,
    plan: &Plan,
    dialect: Dialect,
    told: &mut dyn FnMut(Step<'_>),
) -> Result<(), Error> {
    let mut is_ours = false;
    if !has_keyspace(session, &plan.keyspace).await? {
        let (data_centre, nodes) = data_centre(session, plan);
        if usize::try_from(plan.replication_factor).is_ok_and(|copies| copies > nodes) {
            return Err(Error::Copies { copies: plan.replication_factor, data_centre, nodes });
        }
        let statement = schema::keyspace_statement(plan.target(dialect), &data_centre);
        is_ours = change(session, "the keyspace could not be made", &statement).await?;
        told(Step::Keyspace(&plan.keyspace));
    }
    let waiting = tokio::time::Instant::now();
    while !has_table(session, &plan.keyspace, "schema_migrations").await? {
        if is_ours || waiting.elapsed() >= FIRST_TABLE_WAIT_MAX {
            let statement = schema::bookkeeping_statement(plan.target(dialect));
            change(session, "the table of migrations could not be made", &statement).await?;
            told(Step::Bookkeeping);
            break;
        }
        tokio::time::sleep(ATTEMPT_PAUSE).await;
    }
    // Told by the schema's own tables a moment before the node knows it.
    for _ in 1..ATTEMPTS_MAX {
        if recorded(session, &plan.keyspace).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(ATTEMPT_PAUSE).await;
    }
    recorded(session, &plan.keyspace).await.map(drop)
}

/// Where copies go, and how many nodes are there.
fn data_centre(session: &Session, plan: &Plan) -> (String, usize) {
    let state = session.get_cluster_state();
    let all = || state.get_nodes_info().iter().filter_map(|node| node.datacenter.as_deref());
    let data_centre = plan.local_dc.as_deref().or_else(|| all().next()).unwrap_or_default();
    (data_centre.to_owned(), all().filter(|there| *there == data_centre).count())
}

/// Applies what is missing.
async fn apply(session: &Session, target: Target<'_>, told: &mut dyn FnMut(Step<'_>)) -> Result<usize, Error> {
    let keyspace = target.keyspace;
    let recorded = recorded(session, keyspace).await?;
    let pending = match Status::of(&recorded) {
        Status::Current | Status::Ahead(_) => return Ok(0),
        Status::Missing => schema::MIGRATIONS.iter().map(|migration| migration.id).collect(),
        // Below what a newer release has done there is nothing for this one to do.
        Status::Behind(pending) if recorded.iter().all(|there| there.id <= schema::latest()) => pending,
        status => return Err(Error::Status(status)),
    };
    for migration in schema::MIGRATIONS.iter().filter(|migration| pending.contains(&migration.id)) {
        begin(session, keyspace, migration).await?;
        told(Step::Began(migration));
        change(session, "a migration failed", &migration.statement(target)).await?;
        told(Step::Changed(migration));
        finish(session, keyspace, migration).await?;
        told(Step::Applied(migration));
    }
    match status(session, keyspace).await? {
        Status::Current => Ok(pending.len()),
        status => Err(Error::Status(status)),
    }
}

async fn begin(session: &Session, keyspace: &str, migration: &Migration) -> Result<(), Error> {
    let text = format!(
        "INSERT INTO {keyspace}.schema_migrations (id, name, sha256, readable_from, state, at) \
         VALUES (?, ?, ?, ?, 'begun', ?) IF NOT EXISTS"
    );
    let (id, readable_from) = (id_of(migration.id), id_of(migration.readable_from()));
    let values = (id, migration.name, migration.sha256(), readable_from, now());
    // Refused, it is there already, and was compared.
    conditionally(session, "a migration could not be recorded", &text, &values).await.map(drop)
}

async fn finish(session: &Session, keyspace: &str, migration: &Migration) -> Result<(), Error> {
    let text =
        format!("UPDATE {keyspace}.schema_migrations SET state = 'applied', at = ? WHERE id = ? IF state = 'begun'");
    // Refused, an earlier attempt was applied: the status at the end tells.
    let values = (now(), id_of(migration.id));
    conditionally(session, "a migration could not be recorded", &text, &values).await.map(drop)
}

fn id_of(id: u32) -> i32 {
    i32::try_from(id).unwrap_or(i32::MAX)
}

fn now() -> CqlTimestamp {
    CqlTimestamp(clock::now().0.cast_signed())
}

async fn has_keyspace(session: &Session, keyspace: &str) -> Result<bool, Error> {
    let text = "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?";
    let what = "keyspaces cannot be read";
    let result = session.query_unpaged(text, (keyspace,)).await.map_err(failed(what))?;
    Ok(result.into_rows_result().map_err(|error| unreadable(what, error))?.rows_num() > 0)
}

async fn has_table(session: &Session, keyspace: &str, table: &str) -> Result<bool, Error> {
    let text = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ? AND table_name = ?";
    let what = "tables cannot be read";
    let result = session.query_unpaged(text, (keyspace, table)).await.map_err(failed(what))?;
    Ok(result.into_rows_result().map_err(|error| unreadable(what, error))?.rows_num() > 0)
}

/// Every migration that is recorded.
async fn recorded(session: &Session, keyspace: &str) -> Result<Vec<Recorded>, Error> {
    type Found = (i32, Option<String>, Option<String>, Option<i32>, Option<String>);
    let what = "the table of migrations cannot be read";
    let text = format!("SELECT id, name, sha256, readable_from, state FROM {keyspace}.schema_migrations");
    let rows = session.query_unpaged(text, ()).await.map_err(failed(what))?;
    let rows = rows.into_rows_result().map_err(|error| unreadable(what, error))?;
    let mut recorded = Vec::new();
    for row in rows.rows::<Found>().map_err(|error| unreadable(what, error))? {
        let (id, name, sha256, readable_from, state) = row.map_err(|error| unreadable(what, error))?;
        let Some(id) = u32::try_from(id).ok().filter(|id| *id > 0) else { continue }; // the lock
        recorded.push(Recorded {
            id,
            name: name.unwrap_or_default(),
            sha256: sha256.unwrap_or_default(),
            readable_from: readable_from.and_then(|id| u32::try_from(id).ok()).unwrap_or(id),
            applied: state.as_deref() == Some("applied"),
        });
    }
    Ok(recorded)
}

/// Changes the schema and waits until every node knows. Returns whether it was this call that did it.
async fn change(session: &Session, what: &'static str, text: &str) -> Result<bool, Error> {
    let mut statement = Statement::new(text);
    statement.set_request_timeout(Some(CHANGE_TIMEOUT));
    for attempt in 1.. {
        match session.query_unpaged(statement.clone(), ()).await {
            Ok(_) => break,
            Err(error) if exists_already(&error) => {
                session.await_schema_agreement().await.map_err(|error| unreadable(what, error))?;
                return Ok(false);
            }
            Err(error) if super::outcome::verdict(&error).outage && attempt < ATTEMPTS_MAX => {
                tokio::time::sleep(ATTEMPT_PAUSE).await;
            }
            Err(error) => return Err(failed(what)(error)),
        }
    }
    session.await_schema_agreement().await.map_err(|error| unreadable(what, error))?;
    Ok(true)
}

const fn exists_already(error: &ExecutionError) -> bool {
    matches!(error, ExecutionError::LastAttemptError(RequestAttemptError::DbError(DbError::AlreadyExists { .. }, _)))
}

/// A conditional update, repeated while its outcome is unknown: `false` then also means that an earlier attempt did it.
async fn conditionally(
    session: &Session,
    what: &'static str,
    text: &str,
    values: &impl SerializeRow,
) -> Result<bool, Error> {
    for attempt in 1.. {
        match session.query_unpaged(text, values).await {
            Ok(result) => {
                let answer = statements::answered(result).map_err(|why| Error::Database { what, why })?;
                return Ok(answer == statements::Answer::Applied);
            }
            // Before it is sent it is prepared, which a broken connection ends as well.
            Err(error)
                if attempt < ATTEMPTS_MAX
                    && (super::outcome::verdict(&error).outage || matches!(error, ExecutionError::PrepareError(_))) =>
            {
                tokio::time::sleep(ATTEMPT_PAUSE).await;
            }
            Err(error) => return Err(failed(what)(error)),
        }
    }
    Ok(false)
}

/// The row of id 0: whoever is in it migrates.
struct Lock<'a> {
    session: &'a Session,
    keyspace: &'a str,
    holder: String,
}

const LOCK: &str = "the lock of migrations";

impl Lock<'_> {
    async fn take(&self, told: &mut dyn FnMut(Step<'_>)) -> Result<(), Error> {
        let table = format!("{}.schema_migrations", self.keyspace);
        let insert =
            format!("INSERT INTO {table} (id, holder, at) VALUES (0, ?, ?) IF NOT EXISTS USING TTL {LOCK_TTL_S}");
        let began = tokio::time::Instant::now();
        let mut waited_for = String::new();
        loop {
            if conditionally(self.session, LOCK, &insert, &(&self.holder, now())).await? {
                return Ok(());
            }
            match self.holder_there().await? {
                Some(there) if there == self.holder => return Ok(()),
                Some(dead) if is_dead(&dead) && self.renew(&dead).await? => return Ok(()),
                Some(other) => {
                    if waited_for != other {
                        told(Step::Waiting(&other));
                    }
                    if began.elapsed() >= LOCK_WAIT_MAX {
                        return Err(Error::Busy(other));
                    }
                    waited_for = other;
                    tokio::time::sleep(ATTEMPT_PAUSE).await;
                }
                None => {}
            }
        }
    }

    async fn holder_there(&self) -> Result<Option<String>, Error> {
        let mut read = Statement::new(format!("SELECT holder FROM {}.schema_migrations WHERE id = 0", self.keyspace));
        read.set_consistency(Consistency::LocalSerial);
        let result = self.session.query_unpaged(read, ()).await.map_err(failed(LOCK))?;
        let rows = result.into_rows_result().map_err(|error| unreadable(LOCK, error))?;
        let row = rows.maybe_first_row::<(Option<String>,)>().map_err(|error| unreadable(LOCK, error))?;
        Ok(row.and_then(|(holder,)| holder))
    }

    /// Takes the lock over from `from`, who may be this very one.
    async fn renew(&self, from: &str) -> Result<bool, Error> {
        let text = format!(
            "UPDATE {}.schema_migrations USING TTL {LOCK_TTL_S} SET holder = ?, at = ? WHERE id = 0 IF holder = ?",
            self.keyspace
        );
        conditionally(self.session, LOCK, &text, &(&self.holder, now(), from)).await
    }

    /// Shows itself until the lock is somebody else's, or may be soon.
    async fn keep(&self) -> Error {
        loop {
            tokio::time::sleep(LOCK_RENEW_EVERY).await;
            match tokio::time::timeout(LOCK_RENEW_TIMEOUT, self.renew(&self.holder)).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) | Err(_) => return Error::LockLost,
                Ok(Err(error)) => return error,
            }
        }
    }

    async fn give_back(&self) -> Result<(), Error> {
        let text = format!("DELETE FROM {}.schema_migrations WHERE id = 0 IF holder = ?", self.keyspace);
        conditionally(self.session, LOCK, &text, &(&self.holder,)).await.map(drop)
    }
}

/// What names this process for ever: where its number counts, its number, and the moment of its birth.
fn holder() -> String {
    let pid = std::process::id();
    format!("{} {pid} {}", machine(), birth(pid).unwrap_or_default())
}

/// The machine, its boot, and the namespace of its processes: containers of one machine may share all but the last.
fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default().trim().replace(' ', "-");
    let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default().display().to_string();
    format!("{} {} {namespace}", read("/proc/sys/kernel/hostname"), read("/proc/sys/kernel/random/boot_id"))
}

/// Clock ticks from the machine's boot to the process's start; `None` = there is no such process.
fn birth(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the name, which may hold anything.
    stat.rsplit_once(") ")?.1.split(' ').nth(19).map(str::to_owned)
}

/// Whether a holder was a process of this machine and is no more. Another machine's cannot be judged: its lock expires.
fn is_dead(holder: &str) -> bool {
    let Some(process) = holder.strip_prefix(&machine()) else { return false };
    let mut parts = process.split_whitespace();
    let (Some(pid), Some(born)) = (parts.next().and_then(|pid| pid.parse().ok()), parts.next()) else { return false };
    birth(pid).as_deref() != Some(born)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_of_this_machine_is_ever_held_for_dead() {
        assert!(!is_dead(&holder()), "{}", holder());
        assert!(is_dead(&format!("{} {} 1", machine(), std::process::id())), "its number was given to another");
        assert!(is_dead(&format!("{} 4194304 1", machine())), "no process has so high a number");
        assert!(!is_dead("elsewhere 0-0 1 1"));
        assert!(!is_dead(""));
    }
}
