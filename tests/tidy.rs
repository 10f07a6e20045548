//! The walls between the rooms, and other habits that a machine can hold.

#![expect(clippy::unwrap_used, reason = "a tree that cannot be read has failed")]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A room imports only rooms to its left.
const ROOMS: [&str; 11] =
    ["domain", "codec", "store", "catalog", "net", "payments", "events", "cluster", "actors", "http", "app"];
/// Longest file that a person reads in one sitting.
const LINES_MAX: usize = 600;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `dir` with this ending, with its text.
fn files(dir: &str, ending: &str) -> Vec<(String, String)> {
    fn walk(dir: &Path, ending: &str, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && name != ".git" {
                walk(&path, ending, found);
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(dir), ending, &mut found);
    let name = |path: &Path| path.strip_prefix(root()).unwrap().display().to_string();
    let text = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
    found.iter().map(|path| (name(path), text(path))).collect()
}

fn holds(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// The rooms that a file's code names after `crate::`, one by one or in braces.
fn imports(text: &str) -> Vec<String> {
    let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut rooms = Vec::new();
    for part in code.split("crate::").skip(1) {
        if let Some(group) = part.strip_prefix('{') {
            let (mut depth, mut name) = (0, String::new());
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => rooms.push(std::mem::take(&mut name)),
                    _ if depth == 0 => name.push(c),
                    _ => {}
                }
            }
            rooms.push(name);
        } else {
            rooms.push(part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    rooms.iter().map(|path| path.trim().split("::").next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_room_imports_only_rooms_to_its_left() {
    let mut faults = Vec::new();
    for (at, room) in ROOMS.iter().enumerate() {
        let in_room = |name: &str| name.starts_with(&format!("src/{room}/")) || name == format!("src/{room}.rs");
        for (name, text) in files("src", ".rs").into_iter().filter(|(name, _)| in_room(name)) {
            for import in imports(&text) {
                let is_right = ROOMS.iter().position(|known| *known == import).is_some_and(|position| position > at);
                // The composition root alone turns options into rooms.
                let is_cli = import == "cli" && *room != "app";
                if is_right || is_cli || (*room == "domain" && import == "telemetry") {
                    faults.push(format!("{name} imports {import}"));
                }
            }
        }
    }
    holds(faults);
}

#[test]
fn a_library_is_known_where_it_belongs() {
    // Library, and where it may be named.
    let homes: [(&str, &[&str]); 11] = [
        ("bincode", &["src/codec/"]),
        ("fjall", &["src/store/embedded/"]),
        ("ractor", &["src/actors/", "src/cluster/transport/"]),
        ("ractor_cluster", &["src/cluster/transport/"]),
        ("scylla", &["src/store/cql/"]),
        ("rustls", &["src/store/cql/connect.rs", "src/net/", "src/cluster/transport/"]),
        ("rcgen", &["src/cli/demo/certificates.rs"]),
        ("axum", &["src/http/", "src/app/"]),
        (
            "serde",
            &[
                "src/cluster/status.rs",
                "src/actors/",
                "src/catalog/",
                "src/payments/stripe/",
                "src/events/",
                "src/http/",
                "src/cli/",
                "src/codec/",
            ],
        ),
        (
            "tokio",
            &[
                "src/store/",
                "src/catalog/",
                "src/net/",
                "src/payments/",
                "src/events/",
                "src/cluster/",
                "src/actors/",
                "src/http/",
                "src/app/",
                "src/cli/",
            ],
        ),
        ("prometheus", &["src/telemetry/metrics.rs"]),
    ];
    let mut faults = Vec::new();
    for (name, text) in files("src", ".rs") {
        for (library, allowed) in homes {
            let names_it = |line: &str| {
                let code = line.trim_start();
                !code.starts_with("//")
                    && !code.starts_with("use crate")
                    && (code.contains(&format!("{library}::")) || code.starts_with(&format!("use {library}")))
            };
            if text.lines().any(names_it) && !allowed.iter().any(|home| name.starts_with(home)) {
                faults.push(format!("{name} names {library}"));
            }
        }
    }
    holds(faults);
}

#[test]
fn every_file_says_what_it_owns_and_can_be_read_in_one_sitting() {
    let mut faults = Vec::new();
    for (name, text) in
        ["src", "tests", "xtask/src", "loadtest/src", "examples"].into_iter().flat_map(|dir| files(dir, ".rs"))
    {
        if !text.starts_with("//!") {
            faults.push(format!("{name} does not say what it owns"));
        }
        if text.lines().count() > LINES_MAX {
            faults.push(format!("{name} has {} lines", text.lines().count()));
        }
    }
    holds(faults);
}

#[test]
fn tests_neither_sleep_nor_are_ignored() {
    let banned = [["#[ign", "ore"].concat(), ["thread::sl", "eep"].concat(), ["time::sl", "eep("].concat()];
    let mut faults = Vec::new();
    for (name, text) in files("tests", ".rs") {
        faults.extend(banned.iter().filter(|word| text.contains(*word)).map(|word| format!("{name} has {word}")));
    }
    holds(faults);
}

#[test]
fn every_promise_of_this_release_has_a_test_that_names_it() {
    let tests: String = files("src", ".rs").into_iter().chain(files("tests", ".rs")).map(|(_, text)| text).collect();
    let named =
        |id: &str| tests.lines().any(|line| line.trim_start().contains("fn ") && line.contains(&format!("{id}_")));
    holds(
        ["p1", "p2", "p3", "p7", "p8", "p9", "p10"]
            .into_iter()
            .filter(|id| !named(id))
            .map(|id| format!("no test names {id}"))
            .collect(),
    );
}

#[test]
fn every_problem_and_every_option_is_documented() {
    let errors = fs::read_to_string(root().join("docs/errors.md")).unwrap();
    let codes = trolley::http::Code::ALL.iter().map(|code| code.name());
    let undocumented =
        codes.filter(|code| !errors.contains(&format!("`{code}`"))).map(|code| format!("docs/errors.md lacks {code}"));
    let mut faults: Vec<String> = undocumented.collect();
    for key in trolley::cli::config::KEYS {
        if key.doc.len() < 15 {
            faults.push(format!("{} says too little", key.name));
        }
    }
    holds(faults);
}

#[test]
fn nothing_names_a_registry_or_a_path_of_somebodys_machine() {
    let banned =
        [["crates", ".io"].concat(), ["py", "pi.org"].concat(), ["/ro", "ot/"].concat(), ["/ho", "me/"].concat()];
    let mut faults = Vec::new();
    for ending in [".rs", ".md", ".toml", ".yaml", ".sh", "run"] {
        for (name, text) in files("", ending) {
            let is_ours = !name.starts_with("target") && name != "Cargo.lock";
            faults.extend(
                banned.iter().filter(|word| is_ours && text.contains(*word)).map(|word| format!("{name} names {word}")),
            );
        }
    }
    holds(faults);
}
