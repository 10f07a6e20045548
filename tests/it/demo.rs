//! `trolley demo` as its users run it: every command answered, and nothing left behind, however it ends.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use loadtest::client::{Connection, request};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;

use crate::support::{TempDir, trolley, wait::until};

/// A launcher, driven by lines.
struct Demo {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    ready: Value,
    /// Where its temporary directory is.
    temporary: TempDir,
    /// What it tells without being asked.
    told: std::path::PathBuf,
    _told_in: TempDir,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let (temporary, told_in) = (TempDir::new("tmp"), TempDir::new("told"));
        let told = told_in.0.join("stderr");
        let mut child = trolley()
            .args(["demo", "--json", "--port", "0", "--set", "actors.shards=16"])
            .args(arguments)
            .env("TMPDIR", &temporary.0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&told).unwrap())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next().unwrap().unwrap();
        let ready = serde_json::from_str(&line).unwrap();
        Self { stdin: child.stdin.take(), child, lines, ready, temporary, told, _told_in: told_in }
    }

    /// Types a line; its one answer.
    fn say(&mut self, line: &str) -> Value {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
        serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap()
    }

    fn done(&mut self, line: &str) -> Value {
        let answer = self.say(line);
        assert_eq!(answer["ok"], true, "{line}: {answer}");
        answer
    }

    fn not_done(&mut self, line: &str) -> String {
        let answer = self.say(line);
        assert_eq!(answer["ok"], false, "{line}: {answer}");
        answer["error"].as_str().unwrap().to_owned()
    }

    fn node(&mut self, name: &str) -> Value {
        let status = self.done("status");
        status["nodes"].as_array().unwrap().iter().find(|node| node["name"] == name).unwrap().clone()
    }

    fn pids(&mut self) -> Vec<i64> {
        self.done("status")["nodes"].as_array().unwrap().iter().filter_map(|node| node["pid"].as_i64()).collect()
    }

    /// Waits until it ends by itself, in order.
    async fn ended(mut self, pids: &[i64]) {
        let child = &mut self.child;
        let status = until("the launcher ends", || {
            let status = child.try_wait().unwrap();
            async move { status }
        })
        .await;
        assert!(status.success(), "{status}");
        assert!(pids.iter().all(|pid| !is_there(*pid)), "a node outlived its launcher");
        let left: Vec<_> = std::fs::read_dir(&self.temporary.0).unwrap().collect();
        assert!(left.is_empty(), "left behind: {left:?}");
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill(); // gone already
        let _ = self.child.wait();
    }
}

fn is_there(pid: i64) -> bool {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    if test_kill_process(pid).is_err() {
        return false;
    }
    // In a container nobody may reap the children of the dead: a zombie runs no more.
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    !stat.is_ok_and(|stat| stat.contains(") Z "))
}

async fn all_gone(pids: &[i64]) {
    until("every node is gone", || {
        let gone = pids.iter().all(|pid| !is_there(*pid)).then_some(());
        async move { gone }
    })
    .await;
}

fn names(demo: &Demo) -> Vec<&str> {
    demo.ready["nodes"].as_array().unwrap().iter().map(|node| node["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn every_command_is_answered_and_nothing_is_left_after_quit() {
    let mut demo = Demo::start(&["--nodes", "2"]);
    assert!(demo.ready["ready_ms"].as_u64().is_some());
    assert_eq!(names(&demo), ["n1", "n2"]);
    let first = demo.ready["nodes"][0].clone();
    let mut shop = Connection::open(first["http"].as_str().unwrap()).await.unwrap();
    assert_eq!(shop.exchange(&request("POST", "/v1/carts", &[], Some("{}"))).await.unwrap(), 201);

    let before = until("each has its share of the shards", || {
        let node = demo.node("n2");
        async move { (node["shards"] == 8).then_some(node) }
    })
    .await;
    assert_eq!(before["state"], "running");
    demo.done("kill n2");
    let killed = demo.node("n2");
    assert!(killed["state"].as_str().unwrap().contains("SIGKILL") && killed["pid"].is_null(), "{killed}");
    assert!(!is_there(before["pid"].as_i64().unwrap()));
    assert!(demo.not_done("kill n2").contains("`start n2` starts it"));
    assert_eq!(demo.done("start n2")["http"], before["http"], "the same ports again");
    assert!(demo.not_done("start n2").contains("runs already"));

    demo.done("pause n2");
    assert_eq!(demo.node("n2")["state"], "paused");
    demo.done("resume n2");
    assert_eq!(demo.node("n2")["state"], "running");
    let started = demo.node("n2")["pid"].clone();
    let restarted = demo.done("restart n2");
    assert!(restarted["pid"] != started && restarted["http"] == before["http"], "{restarted}");
    demo.done("drain n2");
    assert_eq!(demo.node("n2")["state"], "down (exit status: 0)");
    assert_eq!(demo.done("add")["name"], "n3");

    assert!(demo.not_done("kil n1").contains("the nearest is \"kill\""));
    assert!(demo.not_done("kill n7").contains("only n1, n2, n3"));
    assert!(demo.not_done(&"x".repeat(5000)).contains("there is no command"), "one answer for one line");
    assert!(demo.not_done("").contains("help"));
    demo.done("help");
    let log = std::fs::read_to_string(demo.node("n1")["log"].as_str().unwrap()).unwrap();
    assert!(log.contains("ready"), "{log}");
    // One that is frozen ends with the others.
    demo.done("pause n3");
    let pids = demo.pids();
    assert_eq!(pids.len(), 2);
    assert_eq!(std::fs::read_to_string(&demo.told).unwrap(), "", "what was asked for is no news");
    demo.done("quit");
    demo.ended(&pids).await;
}

#[tokio::test]
async fn shoppers_are_told_the_truth_over_a_death() {
    let mut demo = Demo::start(&["--nodes", "1"]);
    demo.done("load on 2000");
    assert!(demo.not_done("load on").contains("on already"));
    let ledger = |demo: &mut Demo| demo.done("ledger")["ledger"].clone();
    let acknowledged = |ledger: &Value| ledger["acknowledged"].as_u64().unwrap();
    until("shoppers are served and their carts compared", || {
        let ledger = ledger(&mut demo);
        let is_compared = ledger["compared"].as_u64() > Some(16) && ledger["orders"].as_u64() > Some(0);
        let seen = (acknowledged(&ledger) > 500 && is_compared).then_some(());
        async move { seen }
    })
    .await;
    // No answer while it is frozen: each add waits for its outcome, and nothing is counted twice.
    demo.done("pause n1");
    demo.done("resume n1");
    let told = demo.done("load off")["ledger"].clone();
    assert_eq!((told["lost"].as_u64(), told["doubled"].as_u64()), (Some(0), Some(0)), "{told}");
    assert_eq!((told["unknown"].as_u64(), told["unread"].as_u64()), (Some(0), Some(0)), "{told}");
    assert_eq!((told["oversold"].as_u64(), told["double_charged"].as_u64()), (Some(0), Some(0)), "{told}");
    assert!(demo.not_done("load off").contains("off already"));

    // What was acknowledged before a node died is there after.
    demo.done("load on 2000");
    until("something is acknowledged", || {
        let seen = (acknowledged(&ledger(&mut demo)) > 100).then_some(());
        async move { seen }
    })
    .await;
    demo.done("kill n1");
    demo.done("start n1");
    let pids = demo.pids();
    let told = demo.done("quit")["ledger"].clone();
    assert_eq!((told["lost"].as_u64(), told["doubled"].as_u64()), (Some(0), Some(0)), "{told}");
    assert!(told["refused_first"].as_u64().is_some(), "{told}");
    demo.ended(&pids).await;
}

#[tokio::test]
async fn nothing_outlives_a_launcher_that_is_killed_and_the_next_one_tidies_up() {
    let mut demo = Demo::start(&["--nodes", "3"]);
    // A frozen node reads no end of its standard input.
    demo.done("pause n3");
    let pids = demo.pids();
    assert_eq!(pids.len(), 3);
    demo.child.kill().unwrap();
    demo.child.wait().unwrap();
    all_gone(&pids).await;
    let mut next = trolley()
        .args(["demo", "--json", "--port", "0", "--nodes", "1"])
        .env("TMPDIR", &demo.temporary.0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(next.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("ready_ms"));
    until("only the next one's directory is there", || {
        let one = (std::fs::read_dir(&demo.temporary.0).unwrap().count() == 1).then_some(());
        async move { one }
    })
    .await;
    // The end of standard input ends it.
    drop(next.stdin.take());
    assert!(next.wait().unwrap().success());
    assert_eq!(std::fs::read_dir(&demo.temporary.0).unwrap().count(), 0);
}

#[tokio::test]
async fn a_node_ends_with_its_standard_input() {
    let dir = TempDir::new("stdin");
    let mut node = trolley()
        .args(["serve", "--stop-with-stdin", "--set", "http.listen=127.0.0.1:0", "--set", "admin.listen=127.0.0.1:0"])
        .args(["--set", "store.kind=memory", "--set", "log.format=json"])
        .current_dir(&dir.0)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(node.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("\"ready\"")));
    drop(node.stdin.take());
    let status = until("it ends", || {
        let status = node.try_wait().unwrap();
        async move { status }
    });
    assert_eq!(status.await.code(), Some(1));
    assert_eq!(lines.next(), None, "it leaves at once, without finishing anything");
}

#[tokio::test]
async fn a_node_that_dies_by_itself_is_told_and_a_signal_ends_it_all() {
    let kept = TempDir::new("kept");
    let data = kept.0.join("shop");
    let mut demo = Demo::start(&["--nodes", "1", "--data-dir", data.to_str().unwrap()]);
    let pid = demo.ready["nodes"][0]["pid"].as_i64().unwrap();
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
    let told = until("its death is told", || {
        let told = std::fs::read_to_string(&demo.told).unwrap();
        async move { told.ends_with('\n').then_some(told) }
    })
    .await;
    assert_eq!(told, "n1 died: signal: 9 (SIGKILL); `start n1` starts it again\n");
    assert_eq!(demo.node("n1")["state"], "down (signal: 9 (SIGKILL))");
    demo.done("start n1");
    let pids = demo.pids();
    kill_process(Pid::from_child(&demo.child), Signal::TERM).unwrap();
    demo.ended(&pids).await;
    let mut left: Vec<_> = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert!(left.contains(&"n1.log".into()), "kept: {left:?}");
    assert!(!left.iter().any(|name| name == "certificates" || name == "lock"), "of no use any more: {left:?}");
}

#[test]
fn what_people_read_is_short_and_its_curl_line_works() {
    let mut demo = trolley()
        .args(["demo", "--port", "0"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = demo.stdin.take().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut said = Vec::new();
    for line in lines.by_ref() {
        said.push(line);
        if said.last().unwrap().starts_with("Then type:") {
            break;
        }
    }
    assert!(said.len() <= 12 && said[0].starts_with("3 nodes are ready"), "{said:?}");
    let curl = said.iter().find_map(|line| line.strip_prefix("Make a cart:  ")).unwrap();
    let mut words = curl.split(' ');
    let output = std::process::Command::new(words.next().unwrap()).args(words).output().unwrap();
    let cart: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(cart["id"].as_str().unwrap().starts_with("cart_"), "{cart}");
    writeln!(stdin, "status").unwrap();
    drop(stdin);
    let rest: Vec<String> = lines.collect();
    assert!(rest.iter().any(|line| line.starts_with("n3  ")), "{rest:?}");
    let status = demo.wait().unwrap();
    assert!(status.success() && !rest.join("").contains('\x1b'), "no terminal, no colours: {rest:?}");
}

#[test]
fn wrong_usage_says_what_would_be_right() {
    for (arguments, expected) in [
        (vec!["--nodes", "0"], "1..=9"),
        (vec!["--store", "scylla"], "--contact-points"),
        (vec!["--set", "http.listen=127.0.0.1:1"], "the demo sets http.listen itself"),
    ] {
        let output = trolley().arg("demo").args(&arguments).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && said.contains(expected), "{arguments:?}: {said}");
    }
    // A port that was asked for is had, or it is told, and nothing is left.
    let temporary = TempDir::new("tmp");
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port().to_string();
    let output = trolley()
        .args(["demo", "--nodes", "1", "--port", &port])
        .env("TMPDIR", &temporary.0)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("is taken"), "{said}");
    assert_eq!(std::fs::read_dir(&temporary.0).unwrap().count(), 0);
}
