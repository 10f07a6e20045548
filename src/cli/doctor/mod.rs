//! `trolley doctor`: what may keep a node from running well, each with what to do about it.

mod database;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde::Serialize;

use super::{
    Failure, client,
    config::{Config, StoreKind},
    say,
};
use crate::{
    app, catalog,
    store::{Kind, Store},
    telemetry::clock,
};

/// File descriptors that a node with its default bounds needs: connections, tables, journals, and room.
const OPEN_FILES_MIN: u64 = 4096;
/// A clock before the year 2026 or so far ahead of the newest row is wrong.
const CLOCK_MIN_MS: u64 = 1_767_225_600_000;

#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    ok: bool,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

fn fine(check: &'static str, found: impl Into<String>) -> Finding {
    Finding { check, ok: true, found: found.into(), fix: None }
}

fn wrong(check: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding { check, ok: false, found: found.into(), fix: Some(fix.into()) }
}

pub(super) async fn run(config: &Config, as_json: bool) -> Result<ExitCode, Failure> {
    let running = client::get(config, "/health/ready?verbose").await;
    let is_running = matches!(running, Ok(Some(_)));
    let mut findings = vec![fine("options", "every option fits"), clock_is_sane(), open_files(), admin(config)];
    findings.push(match &running {
        Ok(Some((status, _))) if status.is_success() => fine("node", "a node runs and is ready"),
        Ok(Some((status, body))) => {
            let told = String::from_utf8_lossy(body).trim().to_owned();
            wrong("node", format!("a node runs but answers {status}: {told}"), "look at its log")
        }
        Ok(None) => fine("node", "none runs"),
        Err(error) => wrong("node", error, "give admin.listen another address, or stop what listens there"),
    });
    if !is_running {
        findings.push(address_is_free("http.listen", config.http_listen));
        findings.push(address_is_free("admin.listen", config.admin_listen));
    }
    match config.store_kind {
        StoreKind::Memory => {
            findings.push(wrong("store", "nothing is kept", "set store.kind to embedded, except in tests"));
        }
        StoreKind::Scylla => {
            let found = database::check(config).await;
            let is_fine = found.iter().all(|finding| finding.ok || finding.check == "replication");
            findings.extend(found);
            if is_fine {
                match app::open_store(config).await {
                    Ok(store) => findings.extend(stored(store).await),
                    Err(error) => findings.push(wrong("store", error.to_string(), "mend what the message names")),
                }
            }
        }
        StoreKind::Remote => match app::open_store(config).await {
            Ok(store) => findings.extend(stored(store).await),
            Err(error) => findings.push(wrong(
                "store",
                error.to_string(),
                "start the process that serves the store, or set store.socket",
            )),
        },
        StoreKind::Embedded => {
            findings.push(directory(&config.store_data_dir));
            findings.push(disk_space(config));
            if !is_running && config.store_data_dir.is_dir() {
                match app::open_store(config).await {
                    Ok(store) => findings.extend(stored(store).await),
                    Err(error) => findings.push(wrong(
                        "store",
                        error.to_string(),
                        "stop the other process, or set store.data_dir",
                    )),
                }
            }
        }
    }
    if let Some(path) = &config.catalog_path {
        findings.push(catalogue_file(path));
    }
    if config.pricing_path.is_some() {
        findings.push(match app::tables(config) {
            Ok(tables) => fine(
                "pricing file",
                format!("{} ways of shipping, {} taxes", tables.shipping.len(), tables.taxes.len()),
            ),
            Err(error) => wrong("pricing file", error.to_string(), "mend the line, or set pricing.path"),
        });
    }
    report(&findings, as_json)
}

fn report(findings: &[Finding], as_json: bool) -> Result<ExitCode, Failure> {
    let ok = findings.iter().all(|finding| finding.ok);
    if as_json {
        let all = serde_json::json!({ "ok": ok, "checks": findings });
        say(serde_json::to_string_pretty(&all).map_err(Failure::failed)?)?;
    } else {
        for finding in findings {
            say(format!("{} {:<14} {}", if finding.ok { "ok   " } else { "WRONG" }, finding.check, finding.found))?;
            if let Some(fix) = &finding.fix {
                say(format!("      {:<14} fix: {fix}", ""))?;
            }
        }
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn clock_is_sane() -> Finding {
    let now = clock::now();
    if now.0 > CLOCK_MIN_MS {
        return fine("clock", format!("{} ms since 1970", now.0));
    }
    wrong("clock", format!("{} ms since 1970 is in the past", now.0), "set the machine's clock")
}

fn open_files() -> Finding {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    match limit {
        Some(limit) if limit < OPEN_FILES_MIN => {
            let fix = format!("raise it to at least {OPEN_FILES_MIN}: ulimit -n, or LimitNOFILE of the service");
            wrong("open files", format!("at most {limit}"), fix)
        }
        Some(limit) => fine("open files", format!("at most {limit}")),
        None => fine("open files", "no limit"),
    }
}

fn admin(config: &Config) -> Finding {
    match (&config.admin_token, config.admin_listen.ip().is_loopback()) {
        (Some(_), _) => fine("operators", "a token is configured"),
        (None, true) => fine("operators", "no token, but the listener is on a loopback address"),
        (None, false) => wrong(
            "operators",
            "admin.listen is not a loopback address and there is no token: everybody there reads metrics and actors",
            "set TROLLEY_ADMIN_TOKEN, or listen on 127.0.0.1",
        ),
    }
}

fn address_is_free(check: &'static str, address: SocketAddr) -> Finding {
    match std::net::TcpListener::bind(address) {
        Ok(_) => fine(check, format!("{address} is free")),
        Err(error) => wrong(check, format!("{address}: {error}"), format!("set {check}, or stop what listens there")),
    }
}

fn directory(dir: &Path) -> Finding {
    let shown = dir.display();
    if !dir.exists() {
        return fine("data directory", format!("{shown} will be made"));
    }
    let probe = dir.join("doctor");
    match std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe)) {
        Ok(()) => fine("data directory", format!("{shown} can be written")),
        Err(error) => wrong("data directory", format!("{shown}: {error}"), "give it to the user that runs the node"),
    }
}

fn disk_space(config: &Config) -> Finding {
    let mut dir: PathBuf = config.store_data_dir.clone();
    while !dir.is_dir() {
        if !dir.pop() || dir.as_os_str().is_empty() {
            dir = PathBuf::from(".");
        }
    }
    match rustix::fs::statvfs(&dir) {
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            if free < config.store_free_bytes_min.saturating_mul(4) {
                let fix = "make room, or move store.data_dir; writes stop at store.free_bytes_min";
                return wrong("disk space", format!("{} MiB free", free >> 20), fix);
            }
            fine("disk space", format!("{} MiB free", free >> 20))
        }
        Err(error) => wrong("disk space", error.to_string(), "check the file system of store.data_dir"),
    }
}

/// What only shows once the store is open, which a running node prevents where the store is one process's.
async fn stored(store: std::sync::Arc<dyn Store>) -> Vec<Finding> {
    let (opens, restore) = if store.is_exclusive() {
        ("opens; no other process has it", "restore the data directory from a copy")
    } else {
        ("opens, and takes conditional updates", "restore the keyspace from a snapshot")
    };
    let mut findings = vec![fine("store", opens)];
    for (check, kind) in [("shard map", Kind::Map), ("guest keys", Kind::Keys), ("catalogue", Kind::Catalog)] {
        findings.push(match store.load(kind, 0, true).await {
            Ok(Some(row)) if row.updated_at_ms > clock::now().0.saturating_add(60_000) => wrong(
                check,
                "saved in this machine's future",
                "the clock was set back: set it right before the node starts",
            ),
            Ok(Some(row)) => fine(check, format!("version {}", row.version)),
            Ok(None) => fine(check, "will be made at the first start"),
            Err(error) => wrong(check, error.to_string(), restore),
        });
    }
    findings
}

fn catalogue_file(path: &Path) -> Finding {
    match std::fs::read(path) {
        Err(error) => wrong("catalogue file", format!("{}: {error}", path.display()), "set catalog.path"),
        Ok(file) => match catalog::parse(&file) {
            Ok(products) => fine("catalogue file", format!("{} products", products.len())),
            Err(faults) => {
                wrong("catalogue file", format!("{} faults", faults.len()), "trolley catalog check lists them")
            }
        },
    }
}
