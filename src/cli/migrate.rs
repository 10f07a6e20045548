//! `trolley migrate`.

use std::{io::Write, process::ExitCode};

use clap::ValueEnum;

use super::{
    Failure,
    config::{Config, StoreKind},
    say,
};
use crate::{
    app,
    store::cql::{
        connect,
        migrate::{self, Plan, Step},
        schema::{self, Dialect, Status, Target},
    },
};

/// What Apache Cassandra calls a data centre that nobody named; shown where there is no database to ask.
const DATA_CENTRE_ASSUMED: &str = "datacenter1";

/// What the command line calls the databases.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum DialectName {
    Scylladb,
    Cassandra,
}

impl DialectName {
    const fn dialect(self) -> Dialect {
        match self {
            Self::Scylladb => Dialect::ScyllaDb,
            Self::Cassandra => Dialect::Cassandra,
        }
    }
}

/// Which of its ways it is run.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    pub(super) check: bool,
    pub(super) dry_run: bool,
    pub(super) dialect: Option<DialectName>,
}

pub(super) async fn run(config: &Config, how: How) -> Result<ExitCode, Failure> {
    if config.store_kind != StoreKind::Scylla {
        return Err(Failure::usage("store.kind is not scylla: no other store has a schema to migrate"));
    }
    let options = app::cql_options(config);
    let plan = Plan {
        keyspace: options.keyspace.clone(),
        local_dc: options.local_dc.clone(),
        replication_factor: config.store_replication_factor,
        dialect: how.dialect.map(DialectName::dialect),
    };
    let session = match (connect(&options).await, plan.dialect) {
        (Ok(session), _) => session,
        // For whoever reviews statements where there is no database.
        (Err(error), Some(dialect)) if how.dry_run => {
            note(&format!("{error}\neverything is shown, as for an empty database"));
            let data_centre = plan.local_dc.as_deref().unwrap_or(DATA_CENTRE_ASSUMED);
            let target = plan.target(dialect);
            let first = [schema::keyspace_statement(target, data_centre), schema::bookkeeping_statement(target)];
            return dry_run(&first, target, &Status::Missing);
        }
        (Err(error), _) => return Err(Failure::failed(error)),
    };
    let status = || migrate::status(&session, &plan.keyspace);
    if how.check {
        let status = status().await.map_err(Failure::failed)?;
        say(status.to_string())?;
        if status.is_usable() {
            return Ok(ExitCode::SUCCESS);
        }
        return Err(Failure::failed(format!("{}: {}", plan.keyspace, status.fix())));
    }
    if how.dry_run {
        let dialect = match plan.dialect {
            Some(dialect) => dialect,
            None => migrate::dialect(&session).await.map_err(Failure::failed)?,
        };
        let first = migrate::foundation(&session, &plan, dialect).await.map_err(Failure::failed)?;
        return dry_run(&first, plan.target(dialect), &status().await.map_err(Failure::failed)?);
    }
    match migrate::migrate(&session, &plan, &mut tell).await.map_err(Failure::failed)? {
        0 => say("nothing to do: the schema is this release's"),
        applied => say(format!("{applied} migrations applied to {}", plan.keyspace)),
    }
}

/// Prints what would run.
fn dry_run(first: &[String], target: Target<'_>, status: &Status) -> Result<ExitCode, Failure> {
    let pending = match status {
        Status::Current | Status::Ahead(_) => vec![],
        Status::Missing => schema::MIGRATIONS.iter().map(|migration| migration.id).collect(),
        Status::Behind(pending) => pending.clone(),
        Status::TooNew(_) | Status::Edited(_) => return Err(Failure::failed(format!("{status}: {}", status.fix()))),
    };
    for statement in first {
        say(format!("{statement};\n"))?;
    }
    for migration in schema::MIGRATIONS.iter().filter(|migration| pending.contains(&migration.id)) {
        say(format!("-- {}\n{};\n", migration.name, migration.statement(target)))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// One line for each step, on standard error.
fn tell(step: Step<'_>) {
    let line = match step {
        Step::Found(Dialect::ScyllaDb) => "the database is ScyllaDB".to_owned(),
        Step::Found(Dialect::Cassandra) => "the database is Apache Cassandra".to_owned(),
        Step::Keyspace(keyspace) => format!("keyspace {keyspace}: made"),
        Step::Bookkeeping => "table of migrations: made".to_owned(),
        Step::Waiting(holder) => format!("another migration is at work ({holder}): waiting for it"),
        Step::Locked => "lock: taken".to_owned(),
        Step::Began(migration) => format!("{}: begun", migration.name),
        Step::Changed(migration) => format!("{}: every node knows", migration.name),
        Step::Applied(migration) => format!("{}: applied", migration.name),
        Step::Unlocked => "lock: given back".to_owned(),
    };
    note(&line);
}

fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}"); // nobody may be looking
}
