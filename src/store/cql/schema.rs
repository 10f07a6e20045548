//! The schema as numbered migrations (`schema/`), one change each, and what the recorded ones mean for this release. Pure.

use std::fmt;

use sha2::{Digest, Sha256};

/// Which of the two databases it is: they speak the same CQL but for options of tables and keyspaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// ScyllaDB.
    ScyllaDb,
    /// Apache Cassandra 5.
    Cassandra,
}

/// What a statement is made for.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Which of the two databases.
    pub dialect: Dialect,
    /// Keyspace of every table.
    pub keyspace: &'a str,
    /// Copies of each row in a data centre.
    pub copies: u32,
}

impl Target<'_> {
    /// Options of a new keyspace. Conditional updates on tablets need ScyllaDB 2025.4.
    const fn tablets(self) -> &'static str {
        match self.dialect {
            Dialect::ScyllaDb => " AND tablets = {'enabled': true}",
            Dialect::Cassandra => "",
        }
    }

    /// Options of a table whose rows are overwritten again and again.
    const fn overwrite(self) -> &'static str {
        match self.dialect {
            // Tombstones wait for a repair; ScyllaDB refuses that where there is nothing to repair from.
            Dialect::ScyllaDb if self.copies > 1 => {
                " WITH compaction = {'class': 'IncrementalCompactionStrategy'} AND tombstone_gc = {'mode': 'repair'}"
            }
            Dialect::ScyllaDb => " WITH compaction = {'class': 'IncrementalCompactionStrategy'}",
            Dialect::Cassandra => {
                " WITH compaction = {'class': 'UnifiedCompactionStrategy', 'scaling_parameters': 'T4'}"
            }
        }
    }

    /// Options of a table whose rows are written, read and deleted: few levels keep reads from passing over many
    /// tombstones.
    const fn queue(self) -> &'static str {
        match self.dialect {
            Dialect::ScyllaDb => self.overwrite(),
            Dialect::Cassandra => {
                " WITH compaction = {'class': 'UnifiedCompactionStrategy', 'scaling_parameters': 'L10'}"
            }
        }
    }
}

/// A change of the schema.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Its number, from 1 on without gaps.
    pub id: u32,
    /// The file's name without its ending.
    pub name: &'static str,
    text: &'static str,
}

macro_rules! migrations {
    ($($id:literal $name:literal)+) => {
        &[$(Migration { id: $id, name: $name, text: include_str!(concat!("../../../schema/", $name, ".cql")) }),+]
    };
}

/// Every migration of this release, in order.
pub const MIGRATIONS: &[Migration] = migrations! {
    1 "0001_carts"
    2 "0002_members"
    3 "0003_shard_map"
    4 "0004_catalog_head"
    5 "0005_cluster_keys"
    6 "0006_index_entries"
    7 "0007_bank_payments"
    8 "0008_checkouts"
    9 "0009_orders"
    10 "0010_stocks"
    11 "0011_discount_codes"
};
const KEYSPACE: &str = include_str!("../../../schema/keyspace.cql");
const BOOKKEEPING: &str = include_str!("../../../schema/bookkeeping.cql");
/// What all migrations make.
const FULL: &str = include_str!("../../../schema/full.cql");

impl Migration {
    /// The statement.
    #[must_use]
    pub fn statement(&self, target: Target<'_>) -> String {
        rendered(self.text, target)
    }

    /// What is recorded of it: another text under the same number is another migration.
    #[must_use]
    pub fn sha256(&self) -> String {
        Sha256::digest(self.text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Releases whose newest migration is at least this one can work with the schema after it.
    #[must_use]
    pub fn readable_from(&self) -> u32 {
        let stated = self.text.lines().find_map(|line| line.strip_prefix("-- readable-from: ")?.trim().parse().ok());
        stated.unwrap_or(self.id)
    }
}

/// The newest migration that this release knows.
#[must_use]
pub fn latest() -> u32 {
    MIGRATIONS.last().map_or(0, |migration| migration.id)
}

/// The statement that makes the keyspace, with its copies in this data centre.
#[must_use]
pub fn keyspace_statement(target: Target<'_>, data_centre: &str) -> String {
    // A quote in a data centre's name would end the text: CQL doubles it.
    let data_centre = data_centre.replace('\'', "''");
    let replication = format!("{{'class': 'NetworkTopologyStrategy', '{data_centre}': {}}}", target.copies);
    rendered(KEYSPACE, target).replace("${REPLICATION}", &replication)
}

/// The statement that makes the table of what was applied.
#[must_use]
pub fn bookkeeping_statement(target: Target<'_>) -> String {
    rendered(BOOKKEEPING, target)
}

/// The statements of the complete schema.
#[must_use]
pub fn full_statements(target: Target<'_>) -> Vec<String> {
    let text = rendered(FULL, target);
    text.split(';').map(|statement| statement.trim().to_owned()).filter(|statement| !statement.is_empty()).collect()
}

/// One statement, or several, without comments and with every variable but `${REPLICATION}` filled in.
fn rendered(text: &str, target: Target<'_>) -> String {
    let code: Vec<&str> = text.lines().filter(|line| !line.starts_with("--")).collect();
    code.join("\n")
        .trim()
        .trim_end_matches(';')
        .replace("${KEYSPACE}", target.keyspace)
        .replace("${TABLETS}", target.tablets())
        .replace("${OVERWRITE}", target.overwrite())
        .replace("${QUEUE}", target.queue())
}

/// A migration as the database records it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Hash of its text.
    pub sha256: String,
    /// The oldest release that can work with the schema after it, by that release's newest migration.
    pub readable_from: u32,
    /// Whether it is complete, and not merely begun.
    pub applied: bool,
}

/// What the recorded migrations mean for this release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// No keyspace, or nothing in it that we made.
    Missing,
    /// These are not applied yet.
    Behind(Vec<u32>),
    /// All are applied, and no other.
    Current,
    /// A newer release has applied more, and this one can work with it.
    Ahead(u32),
    /// A newer release has applied more, and this one cannot work with it.
    TooNew(u32),
    /// A recorded migration is not the one that this release knows by its number.
    Edited(u32),
}

impl Status {
    /// Compares; `recorded` in any order.
    #[must_use]
    pub fn of(recorded: &[Recorded]) -> Self {
        let known = |id| MIGRATIONS.iter().find(|migration| migration.id == id);
        for there in recorded {
            match known(there.id) {
                Some(ours) if ours.sha256() != there.sha256 || ours.name != there.name => {
                    return Self::Edited(there.id);
                }
                None if there.id <= latest() => return Self::Edited(there.id),
                None if there.readable_from > latest() => return Self::TooNew(there.id),
                _ => {}
            }
        }
        let applied = |id| recorded.iter().any(|there| there.id == id && there.applied);
        let pending: Vec<u32> = MIGRATIONS.iter().map(|migration| migration.id).filter(|id| !applied(*id)).collect();
        let newest = recorded.iter().filter(|there| there.applied).map(|there| there.id).max().unwrap_or(0);
        match () {
            () if recorded.is_empty() => Self::Missing,
            () if !pending.is_empty() => Self::Behind(pending),
            () if newest > latest() => Self::Ahead(newest),
            () => Self::Current,
        }
    }

    /// Whether this release can work with it.
    #[must_use]
    pub const fn is_usable(&self) -> bool {
        matches!(self, Self::Current | Self::Ahead(_))
    }

    /// What to do about it.
    #[must_use]
    pub const fn fix(&self) -> &'static str {
        match self {
            Self::Missing | Self::Behind(_) => "run `trolley migrate` with the same options",
            Self::Current | Self::Ahead(_) => "nothing is to be done",
            Self::TooNew(_) => "use a release that is at least as new as the one that migrated it",
            Self::Edited(_) => "use the release that migrated it: a migration never changes once it is released",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is no schema"),
            Self::Behind(pending) => {
                let ids: Vec<String> = pending.iter().map(|id| format!("{id:04}")).collect();
                write!(f, "migrations are missing: {}", ids.join(", "))
            }
            Self::Current => write!(f, "migration {:04} is the newest, as this release needs", latest()),
            Self::Ahead(newest) => {
                write!(f, "migration {newest:04} of a newer release is applied, and leaves room for this one")
            }
            Self::TooNew(newest) => {
                write!(f, "migration {newest:04} of a newer release is applied, and this release cannot work with it")
            }
            Self::Edited(id) => write!(f, "migration {id:04} as applied is not the one that this release knows"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(applied: impl IntoIterator<Item = u32>) -> Vec<Recorded> {
        let of = |id: u32| {
            let ours = MIGRATIONS.iter().find(|migration| migration.id == id);
            Recorded {
                id,
                name: ours.map_or("later", |ours| ours.name).to_owned(),
                sha256: ours.map(Migration::sha256).unwrap_or_default(),
                readable_from: ours.map_or(1, Migration::readable_from),
                applied: true,
            }
        };
        applied.into_iter().map(of).collect()
    }

    #[test]
    fn what_is_recorded_decides_what_a_release_may_do() {
        let all = || recorded(1..=latest());
        assert_eq!(Status::of(&[]), Status::Missing);
        assert_eq!(Status::of(&all()), Status::Current);
        assert_eq!(Status::of(&recorded(1..latest())), Status::Behind(vec![latest()]));
        let mut begun = all();
        begun[2].applied = false;
        assert_eq!(Status::of(&begun), Status::Behind(vec![3]));
        let mut edited = all();
        edited[1].sha256 = "other".to_owned();
        assert_eq!(Status::of(&edited), Status::Edited(2));
        let next = latest() + 1;
        let newer = |readable_from| {
            let mut newer = recorded(1..=next);
            newer[latest() as usize].readable_from = readable_from;
            newer
        };
        assert_eq!(Status::of(&newer(latest())), Status::Ahead(next));
        assert_eq!(Status::of(&newer(next)), Status::TooNew(next));
        let mut begun = newer(next);
        begun[latest() as usize].applied = false;
        assert_eq!(Status::of(&begun), Status::TooNew(next), "its change may be there already");
        for (status, usable) in
            [(Status::Current, true), (Status::Ahead(9), true), (Status::TooNew(9), false), (Status::Missing, false)]
        {
            assert_eq!(status.is_usable(), usable, "{status}: {}", status.fix());
        }
    }

    #[test]
    fn the_directory_holds_what_this_release_knows_and_each_is_one_statement_that_may_be_run_twice() {
        let mut there: Vec<String> = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/schema"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with(|c: char| c.is_ascii_digit()))
            .collect();
        there.sort();
        let known: Vec<String> = MIGRATIONS.iter().map(|migration| format!("{}.cql", migration.name)).collect();
        assert_eq!(there, known);
        for (n, migration) in (1..).zip(MIGRATIONS) {
            assert_eq!(migration.id, n, "without gaps");
            assert!(migration.name.starts_with(&format!("{n:04}_")));
            assert!(migration.text.contains("-- readable-from: "), "{migration:?}");
            assert!(migration.readable_from() <= migration.id);
            for dialect in [Dialect::ScyllaDb, Dialect::Cassandra] {
                let statement = migration.statement(Target { dialect, keyspace: "shop", copies: 3 });
                assert!(statement.starts_with("CREATE TABLE IF NOT EXISTS shop."), "{statement}");
                assert!(!statement.contains([';', '$']), "{statement}");
            }
        }
    }

    /// What each database is told, to the letter: on ScyllaDB no test can run it here.
    #[test]
    fn the_statements_for_each_database_are_the_golden_ones() {
        for (dialect, copies, golden) in [
            (Dialect::ScyllaDb, 3, include_str!("golden/scylladb.cql")),
            (Dialect::ScyllaDb, 1, include_str!("golden/scylladb_one_copy.cql")),
            (Dialect::Cassandra, 3, include_str!("golden/cassandra.cql")),
        ] {
            let target = Target { dialect, keyspace: "shop", copies };
            let mut statements = vec![keyspace_statement(target, "dc1"), bookkeeping_statement(target)];
            statements.extend(MIGRATIONS.iter().map(|migration| migration.statement(target)));
            let text: String = statements.iter().map(|statement| format!("{statement};\n")).collect();
            assert_eq!(text, golden, "{dialect:?}");
        }
    }
}
