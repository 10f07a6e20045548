//! `cargo xtask bench --cluster`: three nodes, the generator and the store on the same machine; ratios in one run.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{MIB, ROUNDS, bar, dark, load_with, median, rate, release, text};
use crate::run::{Guarded, output};

/// How long nodes are watched that have nothing to do.
const IDLE: Duration = Duration::from_secs(10);
/// Ticks of the processor's accounting in a second, everywhere that this runs.
const TICKS_PER_S: f64 = 100.0;
/// Seconds of load while every node is restarted in turn.
const ROLLOUT_S: &str = "40";
const ROLLOUT: &str = "5s restart n1; 15s restart n2; 25s restart n3; 33s drain n2; 36s start n2";

struct Demo {
    _process: Guarded,
    stdin: ChildStdin,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    nodes: Vec<Value>,
    ready: Duration,
}

impl Demo {
    fn start() -> Result<Self, String> {
        let began = Instant::now();
        let mut command = Command::new(release("trolley"));
        command
            .args(["demo", "--json", "--port", "0", "--set", "shutdown.endpoint_lag=2s"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = Guarded::spawn(&mut command)?;
        let stdin = process.child.stdin.take().ok_or("no standard input")?;
        let mut lines = BufReader::new(process.child.stdout.take().ok_or("no standard output")?).lines();
        let line = lines.next().ok_or("the demo did not get ready")?.map_err(text)?;
        let ready = began.elapsed();
        let told: Value = serde_json::from_str(&line).map_err(text)?;
        let nodes = told["nodes"].as_array().cloned().ok_or("the demo names no nodes")?;
        Ok(Self { _process: process, stdin, lines, nodes, ready })
    }

    fn http(&self, node: usize) -> String {
        self.nodes[node]["http"].as_str().unwrap_or_default().to_owned()
    }

    fn pids(&self) -> Vec<u64> {
        self.nodes.iter().filter_map(|node| node["pid"].as_u64()).collect()
    }

    fn say(&mut self, command: &str) -> Result<(), String> {
        writeln!(self.stdin, "{command}").map_err(text)?;
        let line = self.lines.next().ok_or("the demo did not answer")?.map_err(text)?;
        let told: Value = serde_json::from_str(&line).map_err(text)?;
        if told["ok"] == false { Err(format!("{command}: {line}")) } else { Ok(()) }
    }

    fn quit(mut self) -> Result<(), String> {
        self.say("quit")
    }
}

pub(super) fn run() -> Result<(), String> {
    let demo = Demo::start()?;
    let ready_s = demo.ready.as_secs_f64();
    bar("three nodes ready", format!("{ready_s:.2} s"), "at most 1 s", ready_s <= 1.0);
    watch_for(Duration::from_secs(3)); // shards have moved to where they belong
    idle(&demo)?;
    forwarded(&demo)?;
    let mut demo = demo;
    let measured = dark::measure(&mut demo)?;
    let (p50, p99) = (measured.dark.at_most_s(0.5), measured.dark.at_most_s(0.99));
    println!("{:<44} {} of {:.0} shards", "a shard is dark, p50", dark::at_most(p50), measured.dark.count());
    bar("a shard is dark, p99", dark::at_most(p99), "at most 50 ms", p99 <= 0.05);
    demo.quit()?;
    rollout()
}

impl dark::Nodes for Demo {
    fn listeners(&self, at: usize) -> (String, String) {
        (self.http(at), self.nodes[at]["admin"].as_str().unwrap_or_default().to_owned())
    }

    fn drain(&mut self, at: usize) -> Result<(), String> {
        self.say(&format!("drain n{}", at + 1))
    }

    fn start(&mut self, at: usize) -> Result<(), String> {
        self.say(&format!("start n{}", at + 1))
    }
}

#[expect(clippy::disallowed_methods, reason = "what is measured is what happens while nothing does")]
pub(super) fn watch_for(time: Duration) {
    std::thread::sleep(time);
}

fn idle(demo: &Demo) -> Result<(), String> {
    let pids = demo.pids();
    let used_s = |pid: &u64| -> Result<f64, String> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(text)?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
        Ok((ticks(11) + ticks(12)) / TICKS_PER_S)
    };
    let before: Vec<f64> = pids.iter().map(used_s).collect::<Result<_, _>>()?;
    watch_for(IDLE);
    let mut most = 0.0_f64;
    for (pid, before) in pids.iter().zip(before) {
        most = most.max((used_s(pid)? - before) / IDLE.as_secs_f64() * 100.0);
    }
    bar("an idle node's share of a core", format!("{most:.1} %"), "at most 2 %", most <= 2.0);
    let mut bytes = 0.0_f64;
    for pid in pids {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(text)?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        let kib: f64 = line.trim().trim_end_matches(" kB").parse().map_err(text)?;
        bytes = bytes.max(kib * 1024.0);
    }
    bar("memory of an idle node", format!("{:.1} MiB", bytes / MIB), "at most 40 MB", bytes <= 40e6);
    Ok(())
}

fn forwarded(demo: &Demo) -> Result<(), String> {
    let (mut local, mut there) = (Vec::new(), Vec::new());
    let of_n1 = ["--owner", "n1", "--carts", "300"];
    for _ in 0..ROUNDS {
        local.push(rate(&load_with("get", &demo.http(0), "64", &of_n1)?));
        there.push(rate(&load_with("get", &demo.http(1), "64", &of_n1)?));
    }
    let (local, there) = (median(local), median(there));
    let figure = format!("{:.2} ({there:.0}/s, {local:.0}/s)", there / local);
    bar("forwarded GET / local GET", figure, "at least 0.60", there / local >= 0.60);
    Ok(())
}

/// Every node is restarted in turn while shoppers come at a quarter of what the nodes can take.
fn rollout() -> Result<(), String> {
    let launcher = format!("{} demo --json --port 0 --set shutdown.endpoint_lag=2s", release("trolley").display());
    let report = release("rollout.json");
    let mut command = Command::new(release("loadtest"));
    command
        .args(["browse-and-cart", "--launcher", &launcher, "--rate", "300", "--seconds", ROLLOUT_S])
        .args(["--fault", ROLLOUT, "--json"])
        .arg(&report);
    print!("{}", output(&mut command)?);
    Ok(())
}
