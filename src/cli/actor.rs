//! `trolley actor inspect`.

use std::process::ExitCode;

use serde::Serialize;
use serde_json::{Value, json};

use super::{Failure, client, config::Config, say};
use crate::{
    actors::inspect::{Stored, Subject},
    app,
};

/// From the running node, or from the store when none runs.
pub(super) async fn inspect(config: &Config, id: &str, as_json: bool) -> Result<ExitCode, Failure> {
    let subject: Subject = id.parse().map_err(|error| Failure::usage(format!("{id}: {error}")))?;
    let facts = match client::get(config, &format!("/admin/actors/{subject}")).await.map_err(Failure::failed)? {
        Some((status, body)) if status.is_success() => serde_json::from_slice(&body).map_err(Failure::failed)?,
        Some((status, _)) if status == 404 => return Err(Failure::failed(format!("there is no {id}"))),
        Some((status, body)) => {
            let detail = serde_json::from_slice::<Value>(&body).ok();
            let detail = detail.as_ref().and_then(|problem| problem["detail"].as_str()).unwrap_or_default();
            return Err(Failure::failed(format!("the node at {} answers {status}: {detail}", config.admin_listen)));
        }
        None => stored(config, subject, id).await?,
    };
    if as_json {
        return say(serde_json::to_string_pretty(&facts).map_err(Failure::failed)?);
    }
    let mut lines = Vec::new();
    flatten("", &facts, &mut lines);
    say(lines.join("\n"))
}

/// What is told of an actor that no node serves.
#[derive(Serialize)]
struct Found {
    id: String,
    shard: u16,
    row: Value,
    #[serde(flatten)]
    stored: Stored,
}

/// The row, without anything that its shopper wrote.
async fn stored(config: &Config, subject: Subject, said: &str) -> Result<Value, Failure> {
    let store = app::open_store(config).await.map_err(Failure::failed)?;
    let (kind, id) = subject.row();
    let row = store.load(kind, id.0, true).await.map_err(Failure::failed)?;
    let row = row.ok_or_else(|| Failure::failed(format!("there is no {said}")))?;
    let found = Found {
        id: subject.to_string(),
        shard: id.slot().shard(config.actors_shards).0,
        row: json!({
            "version": row.version, "epoch": row.epoch, "op_id": format!("{:032x}", row.op_id),
            "schema_v": row.schema_v, "bytes": row.body.len(), "updated_at_ms": row.updated_at_ms, "ttl_s": row.ttl_s,
        }),
        stored: subject.stored(&row).map_err(Failure::failed)?,
    };
    serde_json::to_value(found).map_err(Failure::failed)
}

fn flatten(prefix: &str, value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let dot = if prefix.is_empty() { "" } else { "." };
                flatten(&format!("{prefix}{dot}{name}"), value, lines);
            }
        }
        Value::Array(items) => {
            for (n, value) in items.iter().enumerate() {
                flatten(&format!("{prefix}.{n}"), value, lines);
            }
        }
        Value::String(text) => lines.push(format!("{prefix:<24} {text}")),
        other => lines.push(format!("{prefix:<24} {other}")),
    }
}
