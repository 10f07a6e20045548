//! `trolley migrate` on a real database: what it makes, what it refuses, two at once, killed at every step.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use scylla::{client::session::Session, value::Row as Columns};
use trolley::store::{
    Cql,
    cql::{
        Dialect, OpenError, Status,
        migrate::{self, migrate},
        schema::{self, Target},
    },
};

use crate::support::{
    cql::{Cluster, Keyspace},
    trolley,
};

fn command(keyspace: &Keyspace, arguments: &[&str]) -> Command {
    let mut command = trolley();
    command.arg("migrate").args(arguments).stdin(Stdio::null());
    keyspace.configure(&mut command);
    command
}

/// What a keyspace holds: every table's columns and options, in words.
async fn described(session: &Session, keyspace: &str) -> BTreeSet<String> {
    let columns = "SELECT table_name, column_name, clustering_order, kind, position, type FROM system_schema.columns";
    let tables = "SELECT table_name, bloom_filter_fp_chance, caching, compaction, compression, default_time_to_live, gc_grace_seconds FROM system_schema.tables";
    let mut described = BTreeSet::new();
    for query in [columns, tables] {
        let text = format!("{query} WHERE keyspace_name = '{keyspace}'");
        let rows = session.query_unpaged(text, ()).await.unwrap().into_rows_result().unwrap();
        for row in rows.rows::<Columns>().unwrap() {
            described.insert(format!("{:?}", row.unwrap()));
        }
    }
    described
}

async fn without_bookkeeping(session: &Session, keyspace: &str) -> BTreeSet<String> {
    let all = described(session, keyspace).await;
    all.into_iter().filter(|line| !line.contains("\"schema_migrations\"")).collect()
}

#[tokio::test]
async fn the_complete_schema_is_the_sum_of_the_migrations() {
    let migrated = Keyspace::migrated(Cluster::single()).await;
    let whole = Keyspace::unused(Cluster::single());
    let session = migrated.session().await;
    let target = Target { dialect: Dialect::Cassandra, keyspace: &whole.name, copies: 1 };
    let mut statements = vec![schema::keyspace_statement(target, "datacenter1")];
    statements.extend(schema::full_statements(target));
    for statement in statements {
        session.query_unpaged(statement, ()).await.unwrap();
    }
    let sum = without_bookkeeping(&session, &migrated.name).await;
    assert!(sum.len() > 40, "{sum:?}");
    assert_eq!(sum, without_bookkeeping(&session, &whole.name).await);
}

#[tokio::test]
async fn migrating_again_does_nothing_and_a_check_tells() {
    let keyspace = Keyspace::unused(Cluster::single());
    let check = || command(&keyspace, &["--check"]).output().unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let missing = check();
    assert_eq!(missing.status.code(), Some(1));
    assert!(said(&missing.stderr).contains("run `trolley migrate`"), "{missing:?}");
    let shown = command(&keyspace, &["--dry-run"]).output().unwrap();
    assert!(said(&shown.stdout).contains(&format!("CREATE TABLE IF NOT EXISTS {}.carts", keyspace.name)), "{shown:?}");
    assert_eq!(check().status.code(), Some(1), "a dry run changes nothing");
    let first = command(&keyspace, &[]).output().unwrap();
    assert!(first.status.success() && said(&first.stdout).contains("11 migrations applied"), "{first:?}");
    let second = command(&keyspace, &[]).output().unwrap();
    assert!(second.status.success() && said(&second.stdout).contains("nothing to do"), "{second:?}");
    assert_eq!(check().status.code(), Some(0));
    assert!(command(&keyspace, &["--dry-run"]).output().unwrap().stdout.is_empty());
}

#[test]
fn statements_for_either_database_are_shown_without_one() {
    let mut show = trolley();
    show.args(["migrate", "--dry-run", "--dialect", "scylladb", "--set", "store.kind=scylla"]);
    let shown = show.args(["--set", "store.contact_points=127.0.0.1:1"]).output().unwrap();
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.status.success() && text.contains("tablets = {'enabled': true}"), "{shown:?}");
    let other = trolley().arg("migrate").output().unwrap();
    assert_eq!(other.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&other.stderr).contains("store.kind is not scylla"), "{other:?}");
}

#[tokio::test]
async fn two_at_once_both_succeed_and_make_one_schema() {
    let expected = Keyspace::migrated(Cluster::single()).await;
    let session = expected.session().await;
    let expected = described(&session, &expected.name).await;
    for _ in 0..5 {
        let keyspace = Keyspace::unused(Cluster::single());
        let start = || command(&keyspace, &[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        for process in [start(), start()] {
            let output = process.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        assert_eq!(migrate::status(&session, &keyspace.name).await.unwrap(), Status::Current);
        assert_eq!(described(&session, &keyspace.name).await, expected);
    }
}

#[tokio::test]
async fn killed_at_any_step_and_run_again_it_ends_in_the_same_schema() {
    let expected = Keyspace::migrated(Cluster::single()).await;
    let session = expected.session().await;
    let expected = described(&session, &expected.name).await;
    for steps in 1.. {
        let keyspace = Keyspace::unused(Cluster::single());
        let mut process = command(&keyspace, &[]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let told = BufReader::new(process.stderr.take().unwrap()).lines().take(steps).count();
        process.kill().unwrap();
        process.wait().unwrap();
        let again = command(&keyspace, &[]).output().unwrap();
        assert!(again.status.success(), "after step {steps}: {}", String::from_utf8_lossy(&again.stderr));
        assert_eq!(migrate::status(&session, &keyspace.name).await.unwrap(), Status::Current);
        assert_eq!(described(&session, &keyspace.name).await, expected, "after step {steps}");
        session.query_unpaged(format!("DROP KEYSPACE {}", keyspace.name), ()).await.unwrap();
        if told < steps {
            assert!(steps > 20, "it told of {told} steps only");
            return;
        }
    }
}

#[tokio::test]
async fn an_edited_and_a_newer_migration_are_refused_and_a_newer_one_that_leaves_room_is_not() {
    let keyspace = Keyspace::migrated(Cluster::single()).await;
    let session = keyspace.session().await;
    let table = format!("{}.schema_migrations", keyspace.name);
    let run = async |text: String| drop(session.query_unpaged(text, ()).await.unwrap());
    let migrated = async || migrate(&session, &keyspace.plan(), &mut |_| {}).await;
    let opened = async || match Cql::open(&keyspace.options()).await {
        Ok(_) => None,
        Err(OpenError::Schema { status, .. }) => Some(status),
        Err(other) => panic!("{other}"),
    };
    let next = schema::latest() + 1;
    let newer = |readable_from: u32| {
        format!(
            "UPDATE {table} SET name = 'later', sha256 = '0', state = 'applied', readable_from = {readable_from} \
             WHERE id = {next} IF name IN (null, 'later')"
        )
    };
    run(newer(1)).await;
    assert_eq!(migrate::status(&session, &keyspace.name).await.unwrap(), Status::Ahead(next));
    assert_eq!(opened().await, None);
    assert_eq!(migrated().await.unwrap(), 0);
    run(newer(next)).await;
    assert_eq!(opened().await, Some(Status::TooNew(next)));
    assert!(matches!(migrated().await, Err(migrate::Error::Status(Status::TooNew(_)))));
    run(format!("DELETE FROM {table} WHERE id = {next} IF EXISTS")).await;
    run(format!("UPDATE {table} SET sha256 = 'other' WHERE id = 2 IF EXISTS")).await;
    assert_eq!(opened().await, Some(Status::Edited(2)));
    assert!(matches!(migrated().await, Err(migrate::Error::Status(Status::Edited(2)))));
    let refused = command(&keyspace, &[]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    run(format!("DELETE FROM {table} WHERE id = 2 IF EXISTS")).await;
    assert_eq!(opened().await, Some(Status::Behind(vec![2])));
    assert_eq!(migrated().await.unwrap(), 1, "recorded anew: its statement may be run twice");
    assert_eq!(opened().await, None);
}

#[tokio::test]
async fn a_node_refuses_a_keyspace_without_a_schema_and_says_what_to_run() {
    let keyspace = Keyspace::unused(Cluster::single());
    let mut serve = trolley();
    serve.args(["serve", "--set", "http.listen=127.0.0.1:0", "--set", "admin.listen=127.0.0.1:0"]);
    keyspace.configure(&mut serve);
    let refused = serve.stdin(Stdio::null()).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("there is no schema; run `trolley migrate` with the same options"), "{said}");
}
