//! The command line as its users type it.

use std::process::Output;

use loadtest::client::{Connection, request};
use serde_json::Value;

use crate::support::{Server, TempDir, trolley, wait::until};

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = trolley().args(arguments).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn versions_and_completions() {
    assert_eq!(run(&["version"]), (Some(0), format!("trolley {}\n", env!("CARGO_PKG_VERSION")), String::new()));
    let (_, json, _) = run(&["version", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["name"], "trolley");
    for shell in ["bash", "zsh", "fish", "elvish"] {
        let (code, script, _) = run(&["completions", shell]);
        assert!(code == Some(0) && script.contains("catalog"), "{shell}");
    }
}

#[test]
fn wrong_usage_and_wrong_options_exit_with_2_and_say_what_would_be_right() {
    assert_eq!(run(&["serv"]).0, Some(2));
    let (code, _, said) = run(&["config", "check", "--set", "http.listn=x"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("the nearest is \"http.listen\""), "{said}");
    let (code, _, said) = run(&["serve", "--set", "actors.shards=3"]);
    assert!(code == Some(2) && said.contains("power of two"), "{said}");
    let (code, _, said) = run(&["--set", "http.listen=127.0.0.1:1", "config", "check", "--set", "log.level=warn"]);
    assert!(
        code == Some(2) && said.contains("give every --set behind the command"),
        "one of them would be dropped: {said}"
    );
    assert_eq!(run(&["--set", "http.listen=127.0.0.1:1", "config", "check"]).0, Some(0));
    assert_eq!(run(&["config", "check"]), (Some(0), "every option fits\n".to_owned(), String::new()));
}

#[test]
fn options_tell_their_origin_and_no_secret() {
    let output = trolley()
        .args(["config", "show", "--origin", "--set", "http.listen=127.0.0.1:1"])
        .env("TROLLEY_ADMIN_TOKEN", "correct-horse-battery")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("http.listen = \"127.0.0.1:1\"    (flag --set)"), "{text}");
    assert!(text.contains("admin.token = \"(secret)\"    (environment TROLLEY_ADMIN_TOKEN)"), "{text}");
    assert!(text.contains("admin.listen = \"127.0.0.1:9090\"    (default)"), "{text}");
    assert!(!text.contains("horse"));
}

#[test]
fn a_catalogue_is_checked_by_lines_and_imported_once() {
    let dir = TempDir::new("catalog");
    let (good, bad) = (dir.0.join("good.jsonl"), dir.0.join("bad.jsonl"));
    let line = r#"{"sku":"lamp","title":"Lamp","price":{"amount":900,"currency":"EUR"}}"#;
    std::fs::write(&good, line).unwrap();
    std::fs::write(&bad, format!("{line}\n\n{line}\n{{}}\n")).unwrap();
    let (good, bad) = (good.to_str().unwrap(), bad.to_str().unwrap());
    let (code, _, said) = run(&["catalog", "check", bad]);
    assert_eq!(code, Some(1));
    assert!(said.contains("bad.jsonl: line 3: /sku") && said.contains("bad.jsonl: line 4:"), "{said}");
    assert_eq!(run(&["catalog", "check", good]).0, Some(0));

    let data = format!("store.data_dir={}", dir.0.join("data").display());
    let import = ["catalog", "import", good, "--set", &data];
    assert_eq!(run(&import), (Some(0), "1 products imported as generation 1\n".to_owned(), String::new()));
    assert!(run(&import).1.starts_with("nothing to do"));
    let server = Server::start(&dir.0.join("data"));
    let (code, _, said) = run(&import);
    assert_eq!(code, Some(1));
    assert!(said.contains("open: stop it") && said.contains("PUT /admin/products"), "{said}");
    drop(server);
}

#[test]
fn an_actor_is_inspected_through_its_node_and_without_one_and_the_doctor_looks() {
    let dir = TempDir::new("inspect");
    let data = format!("store.data_dir={}", dir.0.join("data").display());
    let server = Server::start(&dir.0.join("data"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let cart = runtime.block_on(async {
        let mut connection = loadtest::client::Connection::open(&server.http).await.unwrap();
        loadtest::shop::Cart::make(&mut connection).await.unwrap()
    });
    let admin = format!("admin.listen={}", server.admin);
    let inspect = ["actor", "inspect", &cart.id, "--json", "--set", &admin, "--set", &data];
    let (code, json, said) = run(&inspect);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["machine"]["phase"], "ready");
    let absent = ["actor", "inspect", "cart_00000000000000000000000000", "--set", &admin];
    assert_eq!(run(&absent).0, Some(1));
    assert_eq!(run(&["actor", "inspect", "cart_1"]).0, Some(2));
    let http = format!("http.listen={}", server.http);
    server.stop();
    let (code, json, said) = run(&inspect);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["row"]["version"], 1);

    let (code, json, _) = run(&["doctor", "--json", "--set", &admin, "--set", &http, "--set", &data]);
    let told: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, told["ok"].clone()), (Some(0), true.into()), "{json}");
    let open = ["doctor", "--set", "admin.listen=0.0.0.0:0", "--set", &http, "--set", &data];
    let (code, text, _) = run(&open);
    assert!(
        code == Some(1) && text.contains("WRONG operators") && text.contains("fix: set TROLLEY_ADMIN_TOKEN"),
        "{text}"
    );
}

#[test]
fn the_cluster_is_shown_through_its_node_and_without_one() {
    let dir = TempDir::new("cluster");
    let data = format!("store.data_dir={}", dir.0.join("data").display());
    let server = Server::start(&dir.0.join("data"));
    let admin = format!("admin.listen={}", server.admin);
    let json = ["cluster", "status", "--json", "--set", &admin, "--set", &data];
    let through_node = run(&json);
    assert_eq!(through_node.0, Some(0), "{}", through_node.2);
    let (_, table, _) = run(&["cluster", "status", "--set", &admin, "--set", &data]);
    assert!(table.starts_with("MEMBER") && table.contains("\nn1 ") && table.contains(&server.http), "{table}");
    assert!(table.contains("record format 2 is written"), "{table}");
    server.stop();
    for (code, text, said) in [through_node, run(&json)] {
        let told: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{said}"));
        let member = &told["members"][0];
        assert_eq!((code, &member["name"], &member["shards"]), (Some(0), &"n1".into(), &256.into()), "{text}");
        assert_eq!((&member["state"], &member["epochs"]), (&"up".into(), &serde_json::json!([1, 1])));
        assert_eq!((&told["format"], &member["formats"]), (&2.into(), &serde_json::json!([1, 2])));
        assert_eq!(told["moves"], serde_json::json!([]));
    }
}

#[test]
fn a_drained_node_is_unready_serves_on_and_leaves() {
    let dir = TempDir::new("drain");
    let server = Server::start_with(&dir.0, |command| {
        command.args(["--set", "shutdown.endpoint_lag=2s"]);
    });
    let admin = format!("admin.listen={}", server.admin);
    let lag = "shutdown.endpoint_lag=2s";
    let mut drain = trolley();
    drain.args(["cluster", "drain", "--set", &admin, "--set", lag]).stdout(std::process::Stdio::piped());
    let drain = drain.spawn().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let ready = request("GET", "/health/ready?verbose", &[], None);
        let told = until("the node is unready", || async {
            let answer = Connection::open(&server.admin).await.ok()?.ask(&ready).await.ok()?;
            (answer.status == 503).then(|| answer.json())
        })
        .await;
        assert!(told.to_string().contains("send it nothing more"), "{told}");
        let mut connection = Connection::open(&server.http).await.unwrap();
        loadtest::shop::Cart::make(&mut connection).await.expect("it serves on");
        let (status, log) = server.ended().await;
        assert!(status.success(), "{log}");
    });
    let left = drain.wait_with_output().unwrap();
    assert!(left.status.success() && left.stdout.starts_with(b"the node has left"), "{left:?}");
    let (code, _, said) = run(&["cluster", "drain", "--set", &admin]);
    assert!(code == Some(1) && said.contains("no node listens"), "{said}");
}

#[test]
fn two_nodes_cannot_have_one_directory() {
    let dir = TempDir::new("locked");
    let _server = Server::start(&dir.0);
    let data = format!("store.data_dir={}", dir.0.display());
    let free = ["--set", "http.listen=127.0.0.1:0", "--set", "admin.listen=127.0.0.1:0"];
    let output = trolley().args(["serve", "--set", &data]).args(free).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("open: stop it, or give this one a directory"), "{said}");
}

/// The README's tour is run as it is written.
#[test]
fn the_tour_of_the_readme_works() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let tour = readme.split("```sh tour\n").nth(1).unwrap().split("```").next().unwrap();
    let dir = TempDir::new("tour");
    let server = Server::start(&dir.0);
    let tour = tour.replace("http://127.0.0.1:8080", &format!("http://{}", server.http));
    let output = std::process::Command::new("bash").args(["-euo", "pipefail", "-c", &tour]).output().unwrap();
    let (told, said) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{told}\n{said}");
    for expected in [
        "mug-blue",
        "\"quantity\":3",
        "dempotent-replayed: true",
        "saved_for_later\":[{\"id\":\"l1\"",
        "event: cart",
        "HTTP/1.1 204",
    ] {
        assert!(told.contains(expected), "{expected:?} is missing:\n{told}\n{said}");
    }
}
