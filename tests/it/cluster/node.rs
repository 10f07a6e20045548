//! A node's transport in a process of its own: a process is one node, and can be killed and stopped.
//!
//! The process is this test binary once more, as in the store's tests: commands on its input, one a line, each answered
//! when its answer is there.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::sync::mpsc;
use trolley::cluster::transport::{AskError, Cookie, Lane, Options, Peer, Peers, Reply, Serve, Tls};

use crate::support::{
    TempDir,
    wait::{PATIENCE, until},
};

/// Set in the child alone: name, incarnation, first byte of the cookie, directory of certificates or `-`.
const VARIABLE: &str = "NODE_CHILD";
const ANSWER: &str = "@answer ";
/// More than a node may owe another.
const MANY: usize = 1_100;

/// An authority, and certificates that it signed.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    ca: String,
    pub(super) dir: TempDir,
}

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&key).unwrap().pem();
        let authority = Self { issuer: Issuer::new(params, key), ca, dir: TempDir::new("nodes") };
        std::fs::write(authority.dir.0.join("ca.pem"), &authority.ca).unwrap();
        for name in ["a", "b", "c"] {
            authority.sign(name);
        }
        authority
    }

    /// Writes a certificate for a node, with its key.
    fn sign(&self, name: &str) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.dir.0.join(format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.dir.0.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

/// Does what bodies say.
#[derive(Default)]
struct Obedient {
    held: Mutex<Vec<Reply>>,
    told: Mutex<Vec<String>>,
}

impl Serve for Obedient {
    fn serve(&self, from: &Arc<str>, lane: Lane, body: Bytes, deadline: Duration, reply: Reply) {
        match &*body {
            b"hold" => self.held.lock().unwrap().push(reply),
            b"drop" => drop(reply),
            b"panic" => std::panic::resume_unwind(Box::new("as told")),
            b"who" => reply.send(format!("{from} {} {}", lane.name(), deadline.as_millis())),
            _ => reply.send(body),
        }
    }

    fn told(&self, from: &Arc<str>, map_version: u64) {
        self.told.lock().unwrap().push(format!("{from}:{map_version}"));
    }
}

/// The child's end. In the parent, where the variable is not set, it is a test that does nothing.
#[test]
fn child_entry() {
    let Some(setting) = std::env::var_os(VARIABLE) else { return };
    let setting = setting.into_string().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (peers, serve, address) = runtime.block_on(start(&setting));
    let events = Arc::new(Mutex::new(Vec::new()));
    let (mut receiver, seen) = (peers.events(), events.clone());
    runtime.spawn(async move {
        while let Some(event) = receiver.recv().await {
            seen.lock().unwrap().push(format!("{event:?}"));
        }
    });
    println!("\n{ANSWER}0 {address}");
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let (peers, serve, events) = (peers.clone(), serve.clone(), events.clone());
        runtime.spawn(async move {
            let words: Vec<&str> = line.split(' ').collect();
            let answer = run(&peers, &serve, &events, &words[1..]).await;
            println!("\n{ANSWER}{} {answer}", words[0]);
        });
    }
}

async fn start(setting: &str) -> (Peers, Arc<Obedient>, String) {
    let [name, incarnation, cookie, dir] = setting.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let tls = (dir != "-").then(|| {
        let file = |name: String| Path::new(dir).join(name);
        Tls::load(&file("ca.pem".into()), &file(format!("{name}.pem")), &file(format!("{name}.key"))).unwrap()
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (incarnation, cookie) = (incarnation.parse().unwrap(), Cookie([cookie.parse().unwrap(); 32]));
    let serve = Arc::new(Obedient::default());
    let options = Options { node: name.into(), incarnation, cookie, tls };
    (Peers::start(listener, options, serve.clone()).await.unwrap(), serve, address)
}

fn short(answer: Result<Bytes, AskError>) -> String {
    match answer {
        Ok(body) if body.len() > 100 => format!("{} bytes", body.len()),
        Ok(body) => String::from_utf8_lossy(&body).into_owned(),
        Err(error) => error.to_string(),
    }
}

async fn run(peers: &Peers, serve: &Obedient, events: &Mutex<Vec<String>>, words: &[&str]) -> String {
    match words {
        ["follow", peers_told @ ..] => {
            let peer = |told: &&str| {
                let [name, incarnation, address] = told.split(',').collect::<Vec<_>>().try_into().unwrap();
                Peer { name: name.into(), incarnation: incarnation.parse().unwrap(), address: address.to_owned() }
            };
            peers.follow(peers_told.iter().map(peer).collect());
            "followed".to_owned()
        }
        ["ask", node, lane, timeout_ms, body] => {
            let lane = if *lane == "commands" { Lane::Commands } else { Lane::Requests };
            let body = match body.strip_prefix("bytes:") {
                Some(count) => vec![b'x'; count.parse().unwrap()],
                None => body.as_bytes().to_vec(),
            };
            short(peers.ask(node, lane, body, Duration::from_millis(timeout_ms.parse().unwrap())).await)
        }
        // How many of many asks that get no answer end within their time as not sent.
        ["fill", node] => {
            let asks = (0..MANY).map(|_| peers.ask(node, Lane::Requests, b"hold", Duration::from_millis(300)));
            let ends = futures_util::future::join_all(asks).await;
            let count = |text: &str| ends.iter().filter(|end| end.unwrap_err_text() == text).count();
            format!("{} timed out, {} no credit", count("timed out"), count("not sent: no credit"))
        }
        ["release"] => {
            let held = std::mem::take(&mut *serve.held.lock().unwrap());
            held.into_iter().for_each(|reply| reply.send("released"));
            "released".to_owned()
        }
        ["held"] => serve.held.lock().unwrap().len().to_string(),
        ["tell", version] => {
            peers.tell_map(version.parse().unwrap());
            "told".to_owned()
        }
        ["told"] => serve.told.lock().unwrap().join(" "),
        ["up", name, incarnation] => peers.is_up(name, incarnation.parse().unwrap()).to_string(),
        ["events"] => events.lock().unwrap().join(" "),
        ["sessions"] => format!("{:?}", peers.sessions()),
        ["offset"] => format!("{:?}", peers.clock_offset_ms()),
        ["refused", reason] => {
            let refused = &trolley::telemetry::metrics::metrics().cluster_handshakes_refused_total;
            refused.with_label_values(&[reason]).get().to_string()
        }
        ["dial", address] => peers.dial_refused(address).await.to_string(),
        ["stop"] => {
            peers.stop().await;
            "stopped".to_owned()
        }
        other => panic!("unknown command {other:?}"),
    }
}

trait End {
    fn unwrap_err_text(&self) -> String;
}

impl End for Result<Bytes, AskError> {
    fn unwrap_err_text(&self) -> String {
        self.as_ref().map_or_else(ToString::to_string, |_| "answered".to_owned())
    }
}

/// The parent's end.
pub(super) struct Node {
    process: Child,
    input: ChildStdin,
    lines: mpsc::Receiver<String>,
    answers: HashMap<u64, String>,
    asked: u64,
    pub(super) address: String,
    told: String,
}

impl Node {
    /// Starts one with a certificate.
    pub(super) async fn start(authority: &Authority, name: &str, incarnation: u64) -> Self {
        Self::start_with(name, incarnation, 7, &authority.dir.0.display().to_string()).await
    }

    pub(super) async fn start_with(name: &str, incarnation: u64, cookie: u8, dir: &str) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "cluster::node::child_entry", "--nocapture", "--test-threads=1"])
            .env(VARIABLE, format!("{name} {incarnation} {cookie} {dir}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
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
        let answers = HashMap::new();
        let mut node = Self { process, input, lines, answers, asked: 0, address: String::new(), told: String::new() };
        node.address = node.answer(0).await;
        node.told = format!("{name},{incarnation},{}", node.address);
        node
    }

    /// Two nodes that follow each other, both up.
    pub(super) async fn pair(authority: &Authority) -> (Self, Self) {
        let (mut a, mut b) = (Self::start(authority, "a", 1).await, Self::start(authority, "b", 1).await);
        a.follow(&[&b]).await;
        b.follow(&[&a]).await;
        a.until_up("b", 1).await;
        b.until_up("a", 1).await;
        (a, b)
    }

    pub(super) async fn follow(&mut self, others: &[&Self]) {
        let told: Vec<&str> = others.iter().map(|other| &*other.told).collect();
        self.run(format!("follow {}", told.join(" ")).trim_end()).await;
    }

    pub(super) async fn until_up(&mut self, name: &str, incarnation: u64) {
        self.until(&format!("up {name} {incarnation}"), |answer| answer == "true").await;
    }

    /// Repeats a command until its answer is as wanted.
    pub(super) async fn until(&mut self, command: &str, is_it: impl Fn(&str) -> bool) -> String {
        let this = tokio::sync::Mutex::new(self);
        until(command, || async {
            let answer = this.lock().await.run(command).await;
            is_it(&answer).then_some(answer)
        })
        .await
    }

    /// Sends a command; its answer comes when it comes.
    pub(super) fn ask(&mut self, command: &str) -> u64 {
        self.asked += 1;
        writeln!(self.input, "{} {command}", self.asked).unwrap();
        self.asked
    }

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

    pub(super) async fn run(&mut self, command: &str) -> String {
        let asked = self.ask(command);
        self.answer(asked).await
    }

    pub(super) fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.process), signal).unwrap();
    }

    pub(super) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Memory that the process holds.
    pub(super) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill(); // gone already
        let _ = self.process.wait();
    }
}
