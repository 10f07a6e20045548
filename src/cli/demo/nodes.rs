//! The nodes: child processes of this executable, each with a keeper that alone signals and reaps it, so that no signal
//! goes to a process that took over its number.

use std::{
    fs, io,
    io::{Read as _, Seek as _},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::join_all;
use hyper::Method;
use rustix::process::{Pid, Signal};
use tokio::{
    process::{Child, ChildStdin, Command},
    sync::{mpsc, oneshot, watch},
};

use super::{
    certificates::Authority,
    door::{Door, Question},
    locked,
    ports::{Picker, Ports},
    wiring::{self, Said, Shared},
};

/// As many as there are short names and ports side by side.
pub(super) const NODES_MAX: u16 = 9;
/// Pause between two looks at a node that starts: it is there within a second.
const LOOK_EVERY: Duration = Duration::from_millis(3);
/// How long one look may take.
const LOOK_PATIENCE: Duration = Duration::from_secs(1);
/// How long a node may take to get ready: a database may be slow at first.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How long a process may take to go once it was killed.
const KILL_PATIENCE: Duration = Duration::from_secs(5);
/// How long nodes may take to stop when the demo ends: somebody waits for the prompt.
const STOP_PATIENCE: Duration = Duration::from_secs(3);
/// How long one node may take to leave in order, above its own patience.
const LEAVE_GRACE: Duration = Duration::from_secs(10);
/// Signals that wait for their keeper: one command runs at a time, and the end of the demo.
const SIGNALS_MAX: usize = 4;
/// How much of a log's end is looked at for the reason of a failed start.
const TAIL_BYTES: u64 = 2048;

/// How nodes are started.
#[derive(Debug)]
pub(super) struct Launch {
    pub(super) executable: PathBuf,
    /// Of the launcher's own command line, for every node.
    pub(super) arguments: Vec<String>,
    pub(super) dir: PathBuf,
    pub(super) port: Option<u16>,
    /// What a node may take to leave in order.
    pub(super) leave_patience: Duration,
}

/// All nodes that there are, running or not.
pub(super) struct Fleet {
    launch: Launch,
    authority: Authority,
    pub(super) shared: Shared,
    nodes: Mutex<Vec<Node>>,
    /// Where shoppers go.
    pub(super) doors: watch::Sender<Arc<[SocketAddr]>>,
    died: mpsc::Sender<String>,
}

struct Node {
    name: String,
    ports: Ports,
    log: PathBuf,
    options: Vec<Said>,
    process: Option<Process>,
}

#[derive(Clone)]
struct Process {
    pid: u32,
    signals: mpsc::Sender<(Signal, oneshot::Sender<()>)>,
    ended: watch::Receiver<Option<ExitStatus>>,
    /// Whether its end would be news.
    is_news: Arc<Mutex<bool>>,
    is_paused: bool,
}

/// A node as it is told.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) name: String,
    /// While it runs.
    pub(super) pid: Option<u32>,
    pub(super) state: String,
    pub(super) http: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) log: PathBuf,
    pub(super) answers: bool,
}

impl Process {
    fn has_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    async fn signal(&self, signal: Signal) {
        let (done, is_done) = oneshot::channel();
        if self.signals.send((signal, done)).await.is_ok() {
            let _ = is_done.await; // it has just ended: there is nobody to signal
        }
    }

    /// Its end is asked for: no news.
    fn expect_end(&self) {
        *locked(&self.is_news) = false;
    }

    async fn ended(&self, patience: Duration) -> Option<ExitStatus> {
        let mut ended = self.ended.clone();
        tokio::time::timeout(patience, ended.wait_for(Option::is_some)).await.ok()?.ok().and_then(|status| *status)
    }

    /// SIGTERM; a frozen process is woken to hear it.
    async fn terminate(&self) {
        self.expect_end();
        self.signal(Signal::TERM).await;
        self.signal(Signal::CONT).await;
    }

    async fn kill(&self) -> Result<(), String> {
        self.expect_end();
        self.signal(Signal::KILL).await;
        self.ended(KILL_PATIENCE).await.map(|_| ()).ok_or_else(|| format!("process {} does not go", self.pid))
    }
}

/// Owns the child: waits for it, signals it, and holds the pipe whose end tells it that the launcher is gone.
async fn keep(
    name: String,
    mut child: Child,
    stdin: Option<ChildStdin>,
    mut signals: mpsc::Receiver<(Signal, oneshot::Sender<()>)>,
    ended: watch::Sender<Option<ExitStatus>>,
    (is_news, died): (Arc<Mutex<bool>>, mpsc::Sender<String>),
) {
    let status = loop {
        tokio::select! {
            status = child.wait() => break status.unwrap_or_default(),
            Some((signal, done)) = signals.recv() => {
                let pid = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
                if let Some(pid) = pid {
                    let _ = rustix::process::kill_process(pid, signal); // a zombie until it is waited for: harmless
                }
                let _ = done.send(()); // whoever asked may have given up
            }
        }
    };
    drop(stdin);
    ended.send_replace(Some(status));
    if *locked(&is_news) {
        let _ = died.send(format!("{name} died: {status}; `start {name}` starts it again")).await; // the demo ends
    }
}

impl Fleet {
    pub(super) fn new(launch: Launch, authority: Authority, shared: Shared, died: mpsc::Sender<String>) -> Self {
        let doors = watch::Sender::new(Arc::from([]));
        Self { launch, authority, shared, nodes: Mutex::default(), doors, died }
    }

    /// Makes so many nodes more, and tells the usual ports that were taken.
    pub(super) fn make(&self, count: u16) -> Result<Vec<u16>, String> {
        let mut nodes = locked(&self.nodes);
        let ports = |node: &Node| [node.ports.http.port(), node.ports.admin.port(), node.ports.cluster.port()];
        let mut picker = Picker::new(nodes.iter().flat_map(ports).collect());
        for _ in 0..count {
            let number = u16::try_from(nodes.len()).unwrap_or(u16::MAX).saturating_add(1);
            if number > NODES_MAX {
                return Err(format!("there are {NODES_MAX} nodes, which is all that a demo takes"));
            }
            let (name, ports) = (format!("n{number}"), picker.pick(number, self.launch.port)?);
            let certified =
                self.authority.certify(&name).map_err(|error| format!("a certificate for {name}: {error}"))?;
            let mut options = vec![
                ("http.listen", ports.http.to_string()),
                ("admin.listen", ports.admin.to_string()),
                ("admin.token", String::new()),
                ("cluster.node_name", name.clone()),
                ("log.format", "text".to_owned()),
            ];
            options.extend(self.shared.options.iter().cloned());
            options.extend(wiring::cluster(&ports, &certified));
            let log = self.launch.dir.join(format!("{name}.log"));
            nodes.push(Node { name, ports, log, options, process: None });
        }
        let doors: Arc<[SocketAddr]> = nodes.iter().map(|node| node.ports.http).collect();
        self.doors.send_replace(doors);
        Ok(picker.taken)
    }

    /// Starts every node that does not run, all at once, and waits until they are ready.
    pub(super) async fn start_all(&self) -> Result<(), String> {
        let names: Vec<String> = locked(&self.nodes).iter().map(|node| node.name.clone()).collect();
        // One after the other only up to here: a process is made within a millisecond.
        for name in &names {
            self.spawn(name)?;
        }
        join_all(names.iter().map(|name| self.ready(name))).await.into_iter().collect()
    }

    fn spawn(&self, name: &str) -> Result<(), String> {
        let mut nodes = locked(&self.nodes);
        let node = find(&mut nodes, name)?;
        if node.process.as_ref().is_some_and(|process| !process.has_ended()) {
            return Err(format!("{name} runs already"));
        }
        let wrong = |error: io::Error| format!("{name} cannot be started: {error}");
        let log = fs::OpenOptions::new().create(true).append(true).mode(0o600).open(&node.log).map_err(wrong)?;
        let mut command = Command::new(&self.launch.executable);
        command.args(["serve", "--stop-with-stdin"]).args(&self.launch.arguments);
        command.envs(node.options.iter().map(|(key, value)| (variable(key), value)));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        // The terminal's Ctrl-C is for the launcher, which stops the nodes in order.
        command.process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(wrong)?;
        let stdin = child.stdin.take();
        let pid = child.id().unwrap_or_default();
        let (signals, asked) = mpsc::channel(SIGNALS_MAX);
        let (end, ended) = watch::channel(None);
        let is_news = Arc::new(Mutex::new(false));
        let news = (Arc::clone(&is_news), self.died.clone());
        tokio::spawn(keep(name.to_owned(), child, stdin, asked, end, news));
        node.process = Some(Process { pid, signals, ended, is_news, is_paused: false });
        Ok(())
    }

    async fn ready(&self, name: &str) -> Result<(), String> {
        let (process, admin, log) = {
            let mut nodes = locked(&self.nodes);
            let node = find(&mut nodes, name)?;
            (running(node)?, node.ports.admin, node.log.clone())
        };
        let question = Question::new(Method::GET, "/health/ready");
        let looking = async {
            let (mut door, mut looks) = (Door::new(admin), tokio::time::interval(LOOK_EVERY));
            loop {
                looks.tick().await;
                if door.ask(&question, LOOK_PATIENCE).await.is_some_and(|answer| answer.status.is_success()) {
                    return;
                }
            }
        };
        tokio::select! {
            () = looking => {
                *locked(&process.is_news) = true;
                Ok(())
            }
            status = process.ended(START_PATIENCE) => {
                let what = status.map_or_else(|| "did not get ready".to_owned(), |status| format!("ended: {status}"));
                Err(format!("{name} {what}: {}; its log: {}", last_line(&log), log.display()))
            }
        }
    }

    fn process(&self, name: &str) -> Result<Process, String> {
        running(find(&mut locked(&self.nodes), name)?)
    }

    fn set_paused(&self, name: &str, is_paused: bool) {
        if let Ok(Node { process: Some(process), .. }) = find(&mut locked(&self.nodes), name) {
            process.is_paused = is_paused;
        }
    }

    /// SIGKILL, and waits until it is gone.
    pub(super) async fn kill(&self, name: &str) -> Result<(), String> {
        self.process(name)?.kill().await
    }

    pub(super) async fn pause(&self, name: &str) -> Result<(), String> {
        let process = self.process(name)?;
        process.signal(Signal::STOP).await;
        self.set_paused(name, true);
        Ok(())
    }

    pub(super) async fn resume(&self, name: &str) -> Result<(), String> {
        let process = self.process(name)?;
        process.signal(Signal::CONT).await;
        self.set_paused(name, false);
        Ok(())
    }

    pub(super) async fn start(&self, name: &str) -> Result<(), String> {
        self.spawn(name)?;
        self.ready(name).await
    }

    pub(super) async fn restart(&self, name: &str) -> Result<(), String> {
        let process = self.process(name)?;
        process.terminate().await;
        self.left(name, &process).await?;
        self.start(name).await
    }

    /// Makes it leave by way of its operators' listener.
    pub(super) async fn drain(&self, name: &str) -> Result<(), String> {
        let process = self.process(name)?;
        if process.is_paused {
            return Err(format!("{name} is paused: `resume {name}` first"));
        }
        let admin = find(&mut locked(&self.nodes), name)?.ports.admin;
        process.expect_end();
        let answer = Door::new(admin).ask(&Question::new(Method::POST, "/admin/drain"), LOOK_PATIENCE).await;
        if !answer.is_some_and(|answer| answer.status.is_success()) {
            return Err(format!("{name} does not answer on {admin}"));
        }
        self.left(name, &process).await
    }

    async fn left(&self, name: &str, process: &Process) -> Result<(), String> {
        match process.ended(self.launch.leave_patience + LEAVE_GRACE).await {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(format!("{name} left in disorder: {status}")),
            None => Err(format!("{name} does not leave; `kill {name}` ends it")),
        }
    }

    /// Starts one node more; tells its name.
    pub(super) async fn add(&self) -> Result<String, String> {
        self.make(1)?;
        let name = locked(&self.nodes).last().map(|node| node.name.clone()).unwrap_or_default();
        self.start(&name).await?;
        Ok(name)
    }

    /// Stops every node in order, and kills those that do not stop in time.
    pub(super) async fn stop_all(&self) {
        let processes = self.processes();
        join_all(processes.iter().map(Process::terminate)).await;
        join_all(processes.iter().map(|process| process.ended(STOP_PATIENCE))).await;
        self.kill_all().await;
    }

    pub(super) async fn kill_all(&self) {
        // One that cannot even be killed is the system's.
        let _ = join_all(self.processes().iter().map(Process::kill)).await;
    }

    fn processes(&self) -> Vec<Process> {
        locked(&self.nodes).iter().filter_map(|node| running(node).ok()).collect()
    }

    pub(super) fn shown(&self) -> Vec<Shown> {
        let show = |node: &Node| {
            let process = running(node).ok();
            let state = match (&process, node.process.as_ref().and_then(|process| *process.ended.borrow())) {
                (Some(process), _) if process.is_paused => "paused".to_owned(),
                (Some(_), _) => "running".to_owned(),
                (None, Some(status)) => format!("down ({status})"),
                (None, None) => "down".to_owned(),
            };
            Shown {
                name: node.name.clone(),
                pid: process.as_ref().map(|process| process.pid),
                answers: process.is_some_and(|process| !process.is_paused),
                state,
                http: node.ports.http,
                admin: node.ports.admin,
                log: node.log.clone(),
            }
        };
        locked(&self.nodes).iter().map(show).collect()
    }
}

fn find<'a>(nodes: &'a mut [Node], name: &str) -> Result<&'a mut Node, String> {
    let names = nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>().join(", ");
    nodes.iter_mut().find(|node| node.name == name).ok_or_else(|| format!("there is no node {name:?}, only {names}"))
}

fn running(node: &Node) -> Result<Process, String> {
    let process = node.process.as_ref().filter(|process| !process.has_ended());
    process.cloned().ok_or_else(|| format!("{0} does not run; `start {0}` starts it", node.name))
}

/// The variable of an option, as `cli::config` reads it.
pub(super) fn variable(key: &str) -> String {
    format!("TROLLEY_{}", key.replacen('.', "_", 1).to_ascii_uppercase())
}

/// Why a node did not start, in its own words.
fn last_line(log: &Path) -> String {
    let tail = || {
        let mut file = fs::File::open(log)?;
        let at = file.metadata()?.len().saturating_sub(TAIL_BYTES);
        file.seek(io::SeekFrom::Start(at))?;
        let mut tail = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut tail)?;
        Ok::<_, io::Error>(String::from_utf8_lossy(&tail).trim_end().lines().last().unwrap_or_default().to_owned())
    };
    tail().unwrap_or_else(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_those_that_options_are_read_from() {
        assert_eq!(variable("store.contact_points"), "TROLLEY_STORE_CONTACT_POINTS");
        let read = |name: &str| name.strip_prefix("TROLLEY_").unwrap().to_ascii_lowercase().replacen('_', ".", 1);
        for key in crate::cli::config::KEYS {
            assert_eq!(read(&variable(key.name)), key.name);
        }
    }

    #[test]
    fn the_reason_of_a_failed_start_is_its_logs_last_line() {
        let log = std::env::temp_dir().join(format!("trolley-log-{:x}", crate::telemetry::clock::random()));
        fs::write(&log, format!("{}\ntrolley: it is broken\n", "x".repeat(5000))).unwrap();
        assert_eq!(last_line(&log), "trolley: it is broken");
        fs::remove_file(&log).unwrap();
    }
}
