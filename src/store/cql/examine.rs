//! What an operator should know of the database before a node relies on it.

use std::{collections::BTreeMap, time::Duration};

use scylla::{
    client::session::Session,
    cluster::metadata::Strategy,
    policies::load_balancing::{NodeIdentifier, SingleTargetLoadBalancingPolicy},
    statement::{Consistency, unprepared::Statement},
    value::CqlTimestamp,
};

use super::schema::Dialect;
use crate::{store::Reason, telemetry::clock};

/// How long one node may take to answer a question about itself.
const NODE_TIMEOUT: Duration = Duration::from_secs(3);
/// How often a node is asked for its clock.
const CLOCK_LOOKS: usize = 3;
/// Settings of Apache Cassandra that promises rest on.
const SETTINGS: [&str; 2] = ["commitlog_sync", "paxos_variant"];

/// What was found.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Which of the two databases it is.
    pub dialect: Dialect,
    /// Every node that the driver knows.
    pub nodes: Vec<NodeFacts>,
    /// How the keyspace is replicated; `None` = there is no such keyspace.
    pub replication: Option<Replication>,
    /// Apache Cassandra's settings by name, as far as they may be read; ScyllaDB has none of them.
    pub settings: BTreeMap<String, String>,
}

/// One node.
#[derive(Clone, Debug)]
pub struct NodeFacts {
    /// Where the driver reaches it.
    pub address: String,
    /// Its data centre.
    pub data_centre: String,
    /// What it says of itself.
    pub answer: Result<NodeAnswer, Reason>,
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAnswer {
    /// Its release.
    pub release: String,
    /// Milliseconds by which its clock is ahead of this machine's; as exact as half of the way there and back.
    pub clock_ahead_ms: i64,
}

/// How a keyspace is replicated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replication {
    /// Copies in each data centre.
    PerDataCentre(BTreeMap<String, usize>),
    /// A strategy that is not for production.
    Other(String),
}

/// Asks every node, and looks at the keyspace.
pub async fn examine(session: &Session, keyspace: &str, dialect: Dialect) -> Facts {
    let state = session.get_cluster_state();
    let mut nodes = Vec::new();
    for node in state.get_nodes_info() {
        let target = SingleTargetLoadBalancingPolicy::new(NodeIdentifier::HostId(node.host_id), None);
        let ask = |text: &str| {
            let mut question = Statement::new(text);
            question.set_consistency(Consistency::One);
            question.set_request_timeout(Some(NODE_TIMEOUT));
            question.set_load_balancing_policy(Some(target.clone()));
            question
        };
        nodes.push(NodeFacts {
            address: node.address.to_string(),
            data_centre: node.datacenter.clone().unwrap_or_default(),
            answer: answer(session, dialect, ask).await,
        });
    }
    let replication = state.get_keyspace(keyspace).map(|found| match &found.strategy {
        Strategy::NetworkTopologyStrategy { datacenter_repfactors } => {
            Replication::PerDataCentre(datacenter_repfactors.iter().map(|(dc, copies)| (dc.clone(), *copies)).collect())
        }
        other => Replication::Other(format!("{other:?}")),
    });
    let settings = match dialect {
        Dialect::Cassandra => settings(session).await,
        Dialect::ScyllaDb => BTreeMap::new(),
    };
    Facts { dialect, nodes, replication, settings }
}

async fn answer(session: &Session, dialect: Dialect, ask: impl Fn(&str) -> Statement) -> Result<NodeAnswer, Reason> {
    // The quickest of a few answers tells the clock best: one pause of the node is not the clock's.
    let mut best: Option<(u64, String, i64)> = None;
    for _ in 0..CLOCK_LOOKS {
        let asked = clock::now();
        let about = ask("SELECT release_version, toTimestamp(now()) FROM system.local");
        let rows =
            session.query_unpaged(about, ()).await.map_err(Reason::of)?.into_rows_result().map_err(Reason::of)?;
        let took_ms = clock::now().since_ms(asked);
        let (release, there) = rows.single_row::<(String, CqlTimestamp)>().map_err(Reason::of)?;
        let half_way_ms = asked.0.saturating_add(took_ms / 2).cast_signed();
        if best.as_ref().is_none_or(|(best_ms, ..)| took_ms < *best_ms) {
            best = Some((took_ms, release, there.0.saturating_sub(half_way_ms)));
        }
    }
    let Some((_, mut release, clock_ahead_ms)) = best else { return Err(Reason::new("it was not asked")) };
    if dialect == Dialect::ScyllaDb {
        // What ScyllaDB calls its release there is the one of Apache Cassandra that it is compatible with.
        let own = ask("SELECT version FROM system.versions WHERE key = 'local'");
        let found = session.query_unpaged(own, ()).await.map_err(Reason::of)?.into_rows_result().map_err(Reason::of)?;
        (release,) = found.single_row::<(String,)>().map_err(Reason::of)?;
    }
    Ok(NodeAnswer { release, clock_ahead_ms })
}

/// Those that the user may read.
async fn settings(session: &Session) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::new();
    for name in SETTINGS {
        let asking = session.query_unpaged("SELECT value FROM system_views.settings WHERE name = ?", (name,)).await;
        let value = asking.ok().and_then(|result| result.into_rows_result().ok()).and_then(|rows| {
            let row = rows.maybe_first_row::<(Option<String>,)>().ok()??;
            row.0
        });
        settings.extend(value.map(|value| (name.to_owned(), value)));
    }
    settings
}
