//! `cargo xtask test`: everything that must hold before a change lands. `.ci/run` calls the same.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::Instant,
};

use crate::run::{Guarded, cargo, output, root, target, wait};

/// Pinned: another version may ask for another configuration.
const CARGO_DENY: &str = "0.20.2";
const SCHEMATHESIS: &str = "4.32.5";
/// Generated requests per operation: all of it in about a minute.
const EXAMPLES_MAX: &str = "40";

type Stage = (&'static str, fn() -> Result<(), String>);

const STAGES: [Stage; 6] = [
    ("fmt", || wait(&mut cargo(&["fmt", "--all", "--check"]))),
    ("clippy", || wait(&mut cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]))),
    ("doc", || {
        let arguments = ["doc", "--workspace", "--no-deps", "--document-private-items", "--quiet"];
        wait(cargo(&arguments).env("RUSTDOCFLAGS", "-D warnings"))
    }),
    ("deny", deny),
    ("tests", tests),
    ("schemathesis", schemathesis),
];

pub(crate) fn run(wanted: &[String]) -> Result<(), String> {
    if let Some(unknown) = wanted.iter().find(|name| !STAGES.iter().any(|(known, _)| known == name)) {
        return Err(format!("there is no stage {unknown:?}"));
    }
    let began = Instant::now();
    for (name, stage) in STAGES {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            eprintln!("== {name} ({} s so far)", began.elapsed().as_secs());
            stage().map_err(|why| format!("{name}: {why}"))?;
        }
    }
    eprintln!("== done in {} s", began.elapsed().as_secs());
    Ok(())
}

/// Licences, bans and sources. Advisories need a database that CI cannot fetch: `cargo deny check` does them elsewhere.
fn deny() -> Result<(), String> {
    let tools = target().join("tools");
    let deny = tools.join("bin/cargo-deny");
    let version = deny.exists().then(|| output(Command::new(&deny).arg("--version"))).transpose()?;
    if !version.is_some_and(|version| version.contains(CARGO_DENY)) {
        let mut install = cargo(&["install", "--quiet", "--locked", "cargo-deny", "--version", CARGO_DENY, "--root"]);
        wait(install.arg(&tools).arg("--target-dir").arg(tools.join("build")))?;
    }
    let mut check = Command::new(deny);
    wait(check.current_dir(root()).args(["--log-level", "error", "check", "licenses", "bans", "sources"]))
}

fn tests() -> Result<(), String> {
    wait(&mut cargo(&["test", "--workspace", "--quiet"]))
}

/// Requests made from the API's own description, against a real server.
fn schemathesis() -> Result<(), String> {
    let python = target().join("tools/python");
    let program = python.join("bin/schemathesis");
    if !program.exists() {
        wait(Command::new("python3").args(["-m", "venv"]).arg(&python))?;
        let package = format!("schemathesis=={SCHEMATHESIS}");
        wait(Command::new(python.join("bin/pip")).args([
            "install",
            "--quiet",
            "--disable-pip-version-check",
            &package,
        ]))?;
    }
    wait(&mut cargo(&["build", "--quiet", "--bin", "trolley"]))?;
    let mut serve = Command::new(target().join("debug/trolley"));
    serve
        .args(["serve", "--set", "http.listen=127.0.0.1:0", "--set", "admin.listen=127.0.0.1:0"])
        .args(["--set", "store.kind=memory", "--set", "log.format=json"])
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    let mut server = Guarded::spawn(&mut serve)?;
    let stderr = server.child.stderr.take().ok_or("no standard error")?;
    let mut lines = BufReader::new(stderr).lines();
    let ready = lines.by_ref().map_while(Result::ok).find_map(|line| {
        let line: serde_json::Value = serde_json::from_str(&line).ok()?;
        (line["message"] == "ready").then(|| line["http"].as_str().map(str::to_owned)).flatten()
    });
    let address = ready.ok_or("the server did not get ready")?;
    // Whatever else it logs must not fill the pipe.
    std::thread::spawn(move || lines.for_each(drop));
    let made = output(Command::new("curl").args(["-sS", "-X", "POST", &format!("http://{address}/v1/carts")]))?;
    let made: serde_json::Value = serde_json::from_str(&made).map_err(|error| error.to_string())?;
    let token = made["guest_token"].as_str().ok_or("the new cart told no token")?;
    let cart = made["id"].as_str().ok_or("the new cart told no id")?;
    // A real cart and a line that it soon has: made-up ids would only ever be refused.
    let config = target().join("tools/schemathesis.toml");
    let parameters =
        format!("[parameters]\n\"path.id\" = \"{cart}\"\n\"path.line\" = \"l1\"\n\"path.sku\" = \"mug-blue\"\n");
    std::fs::write(&config, parameters).map_err(|error| error.to_string())?;
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
        response_schema_conformance,negative_data_rejection,unsupported_method";
    wait(
        Command::new(program)
            .current_dir(target())
            .arg("--config-file")
            .arg(config)
            .args(["run", &format!("http://{address}/openapi.json"), "--checks", checks])
            .args(["--header", &format!("Authorization: Bearer {token}"), "--max-examples", EXAMPLES_MAX])
            // Streams of events never end by themselves.
            .args(["--exclude-path", "/v1/carts/{id}/events", "--exclude-path", "/v1/checkouts/{id}/events"])
            .args(["--seed", "1", "--generation-database", "none"])
            // The stateful phase guesses links between operations, and wrongly.
            .args(["--phases", "examples,coverage,fuzzing", "--request-timeout", "10", "--no-color"]),
    )
}
