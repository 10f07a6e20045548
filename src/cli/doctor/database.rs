//! What may be wrong with the database.

use super::{Finding, fine, wrong};
use crate::{
    app,
    cli::config::Config,
    store::cql::{
        Dialect, Options, connect,
        examine::{Facts, NodeAnswer, NodeFacts, Replication, examine},
        migrate,
    },
};

/// Clocks further apart make times on carts wrong by as much; saves do not depend on them.
const CLOCK_SKEW_MAX_MS: i64 = 500;
/// Copies that let one node fail.
const COPIES_MIN: usize = 3;
/// The major release of Apache Cassandra that every test runs on.
const CASSANDRA_MIN: u64 = 5;
/// The first release of ScyllaDB whose tablets take conditional updates.
const SCYLLADB_MIN: (u64, u64) = (2025, 4);

/// Everything that can be seen from here.
pub(super) async fn check(config: &Config) -> Vec<Finding> {
    let options = app::cql_options(config);
    let session = match connect(&options).await {
        Ok(session) => session,
        Err(error) => {
            return vec![wrong(
                "database",
                error.to_string(),
                "start it, open its port to this machine, or mend the option that the message names",
            )];
        }
    };
    let dialect = match migrate::dialect(&session).await {
        Ok(dialect) => dialect,
        Err(error) => return vec![wrong("database", error.to_string(), "let store.user read system_schema")],
    };
    let facts = examine(&session, &options.keyspace, dialect).await;
    let mut findings =
        vec![reach(&facts), release(&facts), replication(&options, &facts), consistency(&facts), clocks(&facts)];
    findings.push(match migrate::status(&session, &options.keyspace).await {
        Ok(status) if status.is_usable() => fine("schema", status.to_string()),
        Ok(status) => wrong("schema", status.to_string(), status.fix()),
        Err(error) => wrong("schema", error.to_string(), "let store.user read the keyspace, or run trolley migrate"),
    });
    findings
}

fn name(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::ScyllaDb => "ScyllaDB",
        Dialect::Cassandra => "Apache Cassandra",
    }
}

fn answers(facts: &Facts) -> impl Iterator<Item = (&NodeFacts, &NodeAnswer)> {
    facts.nodes.iter().filter_map(|node| Some((node, node.answer.as_ref().ok()?)))
}

fn reach(facts: &Facts) -> Finding {
    let silent: Vec<String> = facts
        .nodes
        .iter()
        .filter_map(|node| node.answer.as_ref().err().map(|why| format!("{}: {why}", node.address)))
        .collect();
    if silent.is_empty() {
        return fine("database", format!("{}, {} nodes answer", name(facts.dialect), facts.nodes.len()));
    }
    wrong("database", silent.join("; "), "start these nodes, and open their CQL port to this machine")
}

fn release(facts: &Facts) -> Finding {
    let numbers = |release: &str| {
        let mut numbers = release.split(['.', '-', '~']).map(|part| part.parse::<u64>().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    };
    let is_old = |release: &str| match facts.dialect {
        Dialect::ScyllaDb => numbers(release) < SCYLLADB_MIN,
        Dialect::Cassandra => numbers(release).0 < CASSANDRA_MIN,
    };
    let mut releases: Vec<&str> = answers(facts).map(|(_, answer)| answer.release.as_str()).collect();
    releases.sort_unstable();
    releases.dedup();
    let shown = format!("{} {}", name(facts.dialect), releases.join(", "));
    match facts.dialect {
        _ if releases.iter().any(|release| is_old(release)) => {
            wrong("release", shown, "upgrade to Apache Cassandra 5 or ScyllaDB 2025.4, or later")
        }
        Dialect::Cassandra => fine("release", format!("{shown}; the tests run on 5.0.9")),
        Dialect::ScyllaDb => fine("release", format!("{shown}; the tests run on Apache Cassandra, not on ScyllaDB")),
    }
}

fn replication(options: &Options, facts: &Facts) -> Finding {
    let alter = |data_centre: &str| {
        format!(
            "ALTER KEYSPACE {} WITH replication = {{'class': 'NetworkTopologyStrategy', '{data_centre}': {COPIES_MIN}}}, then repair; development on one node may stay as it is",
            options.keyspace
        )
    };
    let here = options.local_dc.clone().or_else(|| facts.nodes.first().map(|node| node.data_centre.clone()));
    let here = here.unwrap_or_default();
    match &facts.replication {
        None => wrong("replication", format!("there is no keyspace {}", options.keyspace), "run trolley migrate"),
        Some(Replication::Other(strategy)) => wrong("replication", strategy.clone(), alter(&here)),
        Some(Replication::PerDataCentre(copies)) => match copies.get(&here).copied().unwrap_or(0) {
            0 => wrong("replication", format!("no copy in this node's data centre {here}"), alter(&here)),
            few @ 1..COPIES_MIN => wrong(
                "replication",
                format!("{few} copies in {here}: one node that fails stops every save"),
                alter(&here),
            ),
            copies => fine("replication", format!("{copies} copies in {here}")),
        },
    }
}

fn consistency(facts: &Facts) -> Finding {
    let used = "saves at LOCAL_SERIAL and LOCAL_QUORUM, reads at LOCAL_SERIAL or LOCAL_QUORUM";
    let setting = |name: &str| facts.settings.get(name).map(String::as_str);
    if setting("commitlog_sync") == Some("periodic") {
        return wrong(
            "consistency",
            format!(
                "{used}; but commitlog_sync is periodic: what was acknowledged can be lost when all copies lose power"
            ),
            "set commitlog_sync: group (or batch) in cassandra.yaml of every node",
        );
    }
    if setting("paxos_variant").is_some_and(|variant| variant != "v2") {
        return wrong(
            "consistency",
            format!("{used}; but paxos_variant is not v2"),
            "set paxos_variant: v2 on every node",
        );
    }
    fine("consistency", used)
}

fn clocks(facts: &Facts) -> Finding {
    let furthest = answers(facts).max_by_key(|(_, answer)| answer.clock_ahead_ms.abs());
    match furthest {
        Some((node, answer)) if answer.clock_ahead_ms.abs() > CLOCK_SKEW_MAX_MS => wrong(
            "database clock",
            format!("{} is {} ms ahead of this machine", node.address, answer.clock_ahead_ms),
            "synchronise the clocks of all machines (NTP)",
        ),
        Some((_, answer)) => {
            fine("database clock", format!("within {} ms of this machine's", answer.clock_ahead_ms.abs()))
        }
        None => wrong("database clock", "no node answers", "see the line about the database"),
    }
}
