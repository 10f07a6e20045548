//! What is done to the service while it is under load: a plan of commands at given times, for the program that
//! launched its nodes.

use std::{
    io,
    process::Stdio,
    str::FromStr,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use crate::nodes::{Node, Nodes};

/// Most commands of a plan.
const COMMANDS_MAX: usize = 1_000;
/// How long the nodes may take until all are ready.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// How long the launcher may take to end its nodes and itself before it is killed.
const QUIT_WITHIN: Duration = Duration::from_secs(10);
/// How long answers are waited for when the run is over: draining takes its time.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);

/// Commands that name a node.
const OF_A_NODE: [&str; 6] = ["kill", "start", "restart", "pause", "resume", "drain"];

/// A command and when it is given, from the beginning of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// When.
    pub at: Duration,
    /// As the launcher reads it.
    pub command: String,
}

/// Faults in the order of their times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan(pub Vec<Fault>);

impl FromStr for Plan {
    type Err = String;

    /// Reads `5s kill n2; 12.5s start n2; 20s add`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut faults = Vec::new();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let words: Vec<_> = part.split_whitespace().collect();
            let (at, command) = words.split_first().ok_or("an empty fault")?;
            match command {
                ["add"] => {}
                ["slow", ms] if ms.parse::<u64>().is_ok() => {}
                [verb, _node] if OF_A_NODE.contains(verb) => {}
                _ => {
                    return Err(format!(
                        "{part:?}: a command is add, slow and milliseconds, or {} and a node",
                        OF_A_NODE.join(", ")
                    ));
                }
            }
            let at =
                at.strip_suffix('s').and_then(|at| at.parse().ok()).and_then(|at| Duration::try_from_secs_f64(at).ok());
            let at = at.ok_or_else(|| format!("{part:?} begins with no time such as 5s"))?;
            faults.push(Fault { at, command: command.join(" ") });
        }
        if faults.len() > COMMANDS_MAX {
            return Err(format!("more than {COMMANDS_MAX} faults"));
        }
        faults.sort_by_key(|fault| fault.at);
        Ok(Self(faults))
    }
}

/// A fault that was brought about.
#[derive(Clone, Debug)]
pub struct Mark {
    /// When the command was given, from the beginning of the run.
    pub at: Duration,
    /// The command.
    pub command: String,
    /// When it was answered; `None` when it was not.
    pub answered: Option<Duration>,
    /// What the launcher said.
    pub answer: Value,
}

/// The program that launched the nodes. It ends them and itself when its standard input ends, so nothing outlives a
/// load test that is killed.
#[derive(Debug)]
pub struct Launcher {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Launcher {
    /// Starts the program, words by spaces, and waits for the line that names the nodes.
    ///
    /// # Errors
    /// When it does not start, or says in time no such line.
    pub async fn start(command: &str) -> io::Result<(Self, Vec<Node>)> {
        let mut words = command.split_whitespace();
        let program = words.next().ok_or_else(|| io::Error::other("--launcher names no program"))?;
        let mut command = Command::new(program);
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| io::Error::other(format!("{program}: {error}")))?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("the launcher has no pipes"));
        };
        let mut launcher = Self { child, stdin, lines: BufReader::new(stdout).lines() };
        let nodes = tokio::time::timeout(READY_WITHIN, launcher.ready()).await;
        let nodes = nodes.map_err(|_| io::Error::other("the launcher's nodes do not get ready"))??;
        Ok((launcher, nodes))
    }

    async fn ready(&mut self) -> io::Result<Vec<Node>> {
        while let Some(line) = self.lines.next_line().await? {
            let nodes = nodes(&serde_json::from_str(&line).unwrap_or_default());
            if !nodes.is_empty() {
                return Ok(nodes);
            }
        }
        Err(io::Error::other("the launcher ended before its nodes were ready"))
    }

    /// Gives the plan's commands, each at its time whether or not the one before is answered; answers come in order.
    /// Nodes that answers name are taken into the list. Ends when all are answered or `until` has passed.
    pub async fn follow(&mut self, plan: &Plan, began: Instant, nodes: &Nodes, until: Duration) -> Vec<Mark> {
        let mut marks: Vec<Mark> = Vec::new();
        let (mut given, mut answered) = (plan.0.iter().peekable(), 0);
        let last = began + until + ANSWERS_WITHIN;
        while given.peek().is_some() || answered < marks.len() {
            let next = given.peek().map_or(last, |fault| began + fault.at);
            tokio::select! {
                () = tokio::time::sleep_until(next.into()) => {
                    let Some(fault) = given.next() else { break };
                    let at = began.elapsed();
                    if self.give(&fault.command).await.is_err() {
                        break;
                    }
                    marks.push(Mark { at, command: fault.command.clone(), answered: None, answer: Value::Null });
                }
                line = self.lines.next_line() => {
                    let Ok(Some(line)) = line else { break };
                    let answer: Value = serde_json::from_str(&line).unwrap_or_else(|_| json!(line));
                    for node in self::nodes(&answer) {
                        nodes.insert(node);
                    }
                    if let Some(mark) = marks.get_mut(answered) {
                        (mark.answered, mark.answer) = (Some(began.elapsed()), answer);
                        answered += 1;
                    }
                }
            }
        }
        marks
    }

    async fn give(&mut self, command: &str) -> io::Result<()> {
        self.stdin.write_all(format!("{command}\n").as_bytes()).await?;
        self.stdin.flush().await
    }

    /// Ends it, with its nodes. One that does not end is killed.
    pub async fn quit(mut self) {
        let _may_be_gone = self.give("quit").await;
        drop(self.stdin);
        let reading = async { while let Ok(Some(_)) = self.lines.next_line().await {} };
        let ended = async { tokio::join!(reading, self.child.wait()) };
        if tokio::time::timeout(QUIT_WITHIN, ended).await.is_err() {
            let _may_be_gone = self.child.kill().await;
        }
    }
}

/// The nodes that a line names: a list of them, or one.
fn nodes(line: &Value) -> Vec<Node> {
    let one = std::slice::from_ref(line);
    let list = line["nodes"].as_array().map_or(one, Vec::as_slice);
    let text = |node: &Value, field: &str| node[field].as_str().map(str::to_owned);
    list.iter()
        .filter_map(|node| {
            Some(Node { name: text(node, "name")?, http: text(node, "http")?, admin: text(node, "admin") })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_in_the_order_of_its_times() {
        let plan: Plan = "12.5s restart n2; 5s kill n2 ;20s add; 30s slow 50;".parse().unwrap();
        let told: Vec<_> = plan.0.iter().map(|fault| (fault.at.as_millis(), fault.command.as_str())).collect();
        assert_eq!(told, [(5_000, "kill n2"), (12_500, "restart n2"), (20_000, "add"), (30_000, "slow 50")]);
    }

    #[test]
    fn what_is_no_command_at_a_time_is_refused() {
        for wrong in [
            "5s",
            "5s kill",
            "kill n2",
            "5 kill n2",
            "-5s kill n2",
            "5s quit",
            "5s kill n2 n3",
            "5s slow n2",
            "1e99s add",
        ] {
            assert!(wrong.parse::<Plan>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn nodes_are_read_from_the_ready_line_and_from_answers() {
        let ready = json!({ "ready_ms": 5, "nodes": [{ "name": "n1", "pid": 1, "http": "a:1", "admin": "a:2" }] });
        assert_eq!(nodes(&ready)[0].admin.as_deref(), Some("a:2"));
        assert_eq!(nodes(&json!({ "ok": true, "name": "n4", "http": "a:7" }))[0].http, "a:7");
        assert!(nodes(&json!({ "ok": true, "name": "n4" })).is_empty());
    }
}
