//! `trolley cluster status | drain`.

use std::{process::ExitCode, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Failure, client, config::Config, say};
use crate::{
    app,
    cluster::{self, MemberStatus, Moves, Overview, Why},
    telemetry::clock,
};

/// What is shown: the running node's answer, as far as it is needed here, or what the store holds.
#[derive(Debug, Serialize, Deserialize)]
struct Status {
    #[serde(flatten)]
    cluster: Overview,
    /// Shards that the node asked takes no requests for just now, because they move.
    #[serde(default)]
    moving: Vec<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    members_unknown: Option<String>,
}

/// From the running node, or from the store when none runs.
pub(super) async fn status(config: &Config, as_json: bool) -> Result<ExitCode, Failure> {
    let status = match client::get(config, "/admin/cluster").await.map_err(Failure::failed)? {
        Some((status, body)) if status.is_success() => serde_json::from_slice(&body).map_err(Failure::failed)?,
        Some((status, body)) => {
            let told = String::from_utf8_lossy(&body).trim().to_owned();
            return Err(Failure::failed(format!("the node at {} answers {status}: {told}", config.admin_listen)));
        }
        None => {
            let store = app::open_store(config).await.map_err(Failure::failed)?;
            let cluster = cluster::overview(&store, clock::now()).await.map_err(Failure::failed)?;
            Status { cluster, moving: Vec::new(), members_unknown: None }
        }
    };
    if let Some(why) = &status.members_unknown {
        return Err(Failure::failed(format!("the node cannot tell the members: {why}")));
    }
    if as_json {
        return say(serde_json::to_string_pretty(&status).map_err(Failure::failed)?);
    }
    if status.cluster.members.is_empty() {
        return say("no node has ever started on this store");
    }
    let mut told = table(&status.cluster.members);
    told.push_str(&format!("\nrecord format {} is written", status.cluster.format));
    for moves in &status.cluster.moves {
        told.push('\n');
        told.push_str(&line_of(moves));
    }
    if !status.moving.is_empty() {
        told.push_str(&format!(
            "\nthe node at {1} takes no requests for {0} of its shards just now",
            status.moving.len(),
            config.admin_listen
        ));
    }
    say(told)
}

/// Shards that one line names; of more it tells how many there are.
const SHARDS_NAMED_MAX: usize = 12;

/// What is on its way from one member to another.
fn line_of(moves: &Moves) -> String {
    let why = match moves.why {
        Why::Gone => "which is gone",
        Why::Leaving => "which leaves",
        Why::Share => "which has more than its share",
    };
    let to = moves.to.as_deref().map_or_else(|| "to nobody yet".to_owned(), |to| format!("to {to}"));
    let named: Vec<String> = moves.shards.iter().take(SHARDS_NAMED_MAX).map(u16::to_string).collect();
    let more = if moves.shards.len() > named.len() { ", …" } else { "" };
    format!("{} from {}, {why}, {to}: {}{more}", moves.shards.len(), moves.from, named.join(", "))
}

/// Pause between two looks at a node that leaves.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How much longer than its own times a node may take to leave.
const LEAVE_GRACE: Duration = Duration::from_secs(10);

/// Tells the running node to leave, and waits until it has.
pub(super) async fn drain(config: &Config) -> Result<ExitCode, Failure> {
    let none = || Failure::failed(format!("no node listens on {} (admin.listen)", config.admin_listen));
    let (status, body) = client::post(config, "/admin/drain").await.map_err(Failure::failed)?.ok_or_else(none)?;
    if !status.is_success() {
        let told = String::from_utf8_lossy(&body).trim().to_owned();
        return Err(Failure::failed(format!("the node at {} answers {status}: {told}", config.admin_listen)));
    }
    // Handing over, finishing requests and settling saves each have their time.
    let patience = config.shutdown_endpoint_lag + config.shutdown_patience * 3 + LEAVE_GRACE;
    let leaving = async {
        // A node that ends amid an answer is as gone as one that does not listen.
        while let Ok(Some(_)) = client::get(config, "/health/live").await {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    match tokio::time::timeout(patience, leaving).await {
        Ok(()) => say("the node has left"),
        Err(_) => Err(Failure::failed(format!("the node has not left after {patience:?}: look at its log"))),
    }
}

fn table(members: &[MemberStatus]) -> String {
    let header = ["MEMBER", "STATE", "STARTS", "SHARDS", "EPOCHS", "RENEWED", "FORMATS", "RELEASE", "HTTP"];
    let mut rows = vec![header.map(str::to_owned)];
    rows.extend(members.iter().map(|member| {
        [
            member.name.clone(),
            member.state.clone(),
            member.incarnation.to_string(),
            member.shards.to_string(),
            member.epochs.map_or_else(|| "-".to_owned(), |(low, high)| range(low, high)),
            // Without a lease the row is as old as the node's start.
            if member.lease == 0 { "-".to_owned() } else { format!("{} ms ago", member.age_ms) },
            range(member.formats.0, member.formats.1),
            member.release.clone(),
            member.http.clone(),
        ]
    }));
    let widths: Vec<usize> =
        (0..header.len()).map(|at| rows.iter().map(|row| row[at].len()).max().unwrap_or(0)).collect();
    let line = |row: &[String; 9]| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn range<T: std::fmt::Display + PartialEq>(low: T, high: T) -> String {
    if low == high { low.to_string() } else { format!("{low}-{high}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_moves_from_whom_to_whom_and_why() {
        let moves = |to: Option<&str>, why, shards| {
            line_of(&Moves { from: "n1".to_owned(), why, to: to.map(str::to_owned), shards })
        };
        assert_eq!(moves(Some("n2"), Why::Leaving, vec![3, 5]), "2 from n1, which leaves, to n2: 3, 5");
        let many = moves(None, Why::Gone, (0..20).collect());
        assert_eq!(many, "20 from n1, which is gone, to nobody yet: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, …");
    }
}
