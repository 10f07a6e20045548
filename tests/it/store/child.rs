//! An embedded store in a process of its own, that can be killed and whose disk can be troubled.
//!
//! The process is this test binary once more, told to run [`child_entry`] alone: no second binary to build, and the
//! child is compiled exactly as the tests are. It takes commands on its input, one a line, runs them all at once and
//! prints each answer when it has it.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::Arc,
};

use tokio::sync::mpsc;
use trolley::store::{Embedded, Expect, Kind, Saved, Store};

use super::contract;
use crate::support::{shim::Shim, wait::PATIENCE};

/// Set in the child alone: the store's directory.
const DIR_VARIABLE: &str = "STORE_CHILD_DIR";
/// Marks the child's answers among what the test harness prints.
const ANSWER: &str = "@answer ";

/// The child's end. In the parent, where the variable is not set, it is a test that does nothing.
#[test]
fn child_entry() {
    let Some(dir) = std::env::var_os(DIR_VARIABLE) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let _within = runtime.enter();
    let store: Arc<dyn Store> = Arc::new(Embedded::open(contract::options_in(Path::new(&dir))).unwrap());
    println!("\n{ANSWER}0 open");
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let store = store.clone();
        runtime.spawn(async move {
            let words: Vec<&str> = line.split(' ').collect();
            let answer = run(&store, &words[1..]).await;
            println!("\n{ANSWER}{} {answer}", words[0]);
        });
    }
}

async fn run(store: &Arc<dyn Store>, words: &[&str]) -> String {
    match words {
        ["save", id, expected, op_id] => {
            let expect = match expected.parse().unwrap() {
                0 => Expect::Absent,
                version => Expect::Version(version),
            };
            let row = contract::row(expect.next(), op_id.parse().unwrap());
            match store.save(Kind::Cart, id.parse().unwrap(), expect, row, vec![]).await {
                Saved::Applied => "applied".to_owned(),
                Saved::Lost(None) => "lost".to_owned(),
                Saved::Lost(Some(head)) => format!("lost to {}", head.op_id),
                Saved::Unknown(reason) => format!("unknown: {reason}"),
                Saved::Refused(reason) => format!("refused: {reason}"),
            }
        }
        ["put", key] => match store.index_put(vec![contract::entry(b"p", key.as_bytes(), b"")]).await {
            Ok(()) => "put".to_owned(),
            Err(reason) => format!("failed: {reason}"),
        },
        ["load", id] => match store.load(Kind::Cart, id.parse().unwrap(), true).await.unwrap() {
            Some(row) => format!("saved by {}", row.op_id),
            None => "absent".to_owned(),
        },
        ["health"] => match store.health().writes_refused {
            Some(reason) => format!("refuses: {reason}"),
            None => "well".to_owned(),
        },
        other => panic!("unknown command {other:?}"),
    }
}

/// The parent's end.
pub(super) struct StoreChild {
    process: Child,
    input: ChildStdin,
    lines: mpsc::Receiver<String>,
    answers: HashMap<u64, String>,
    asked: u64,
}

impl StoreChild {
    /// Starts it on a directory, its disk in the hands of the shim if there is one, and waits until the store is open.
    pub(super) async fn start(dir: &Path, shim: Option<&Shim>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "store::child::child_entry", "--nocapture", "--test-threads=1"])
            .env(DIR_VARIABLE, dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if let Some(shim) = shim {
            shim.preload(&mut command);
        }
        let mut process = command.spawn().unwrap();
        let input = process.stdin.take().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel(1024);
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Some(answer) = line.strip_prefix(ANSWER)
                    && sender.blocking_send(answer.to_owned()).is_err()
                {
                    break;
                }
            }
        });
        let mut child = Self { process, input, lines, answers: HashMap::new(), asked: 0 };
        assert_eq!(child.answer(0).await, "open");
        child
    }

    /// Sends a command; its answer comes when it comes.
    pub(super) fn ask(&mut self, command: &str) -> u64 {
        self.asked += 1;
        writeln!(self.input, "{} {command}", self.asked).unwrap();
        self.asked
    }

    /// Waits for the answer to a command.
    pub(super) async fn answer(&mut self, asked: u64) -> String {
        loop {
            if let Some(answer) = self.answers.remove(&asked) {
                return answer;
            }
            let line = tokio::time::timeout(PATIENCE, self.lines.recv()).await.expect("the child answers");
            let line = line.expect("the child lives");
            let (asked, answer) = line.split_once(' ').unwrap();
            self.answers.insert(asked.parse().unwrap(), answer.to_owned());
        }
    }

    /// Sends a command and waits for its answer.
    pub(super) async fn run(&mut self, command: &str) -> String {
        let asked = self.ask(command);
        self.answer(asked).await
    }

    /// Whether the answer to a command has come in, as far as has been read.
    pub(super) fn has_answered(&mut self, asked: u64) -> bool {
        self.answers.contains_key(&asked)
    }

    /// Kills it with no chance to do anything more.
    pub(super) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for StoreChild {
    fn drop(&mut self) {
        let _ = self.process.kill(); // gone already
        let _ = self.process.wait();
    }
}
