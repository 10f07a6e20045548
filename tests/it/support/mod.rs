//! What several tests need. A real server, started as its users do, ended with its guard.

pub(crate) mod cql;
pub(crate) mod gate;
pub(crate) mod ledger;
pub(crate) mod shim;
pub(crate) mod shopping;
pub(crate) mod wait;

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread::JoinHandle,
};

use serde_json::Value;

/// A directory that goes with its guard.
#[derive(Debug)]
pub(crate) struct TempDir(pub(crate) PathBuf);

impl TempDir {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("trolley-{name}-{:x}", trolley::telemetry::clock::random()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0); // left behind, it is in the system's place for such things
    }
}

/// A running `trolley serve`.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Kills it when these tests are killed: it reads the other end of a pipe that only they hold.
    watch: Child,
    pub(crate) http: String,
    pub(crate) admin: String,
    log: Option<JoinHandle<String>>,
}

#[expect(clippy::disallowed_methods, reason = "the tests must not inherit the developer's options")]
pub(crate) fn trolley() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trolley"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TROLLEY_") {
            command.env_remove(name);
        }
    }
    command
}

impl Server {
    pub(crate) fn start(dir: &Path) -> Self {
        Self::start_with(dir, |_| {})
    }

    /// Starts on free ports and waits until it says that it is ready.
    pub(crate) fn start_with(dir: &Path, adjust: impl FnOnce(&mut Command)) -> Self {
        let mut command = trolley();
        command
            .args(["serve", "--set", "http.listen=127.0.0.1:0", "--set", "admin.listen=127.0.0.1:0"])
            .args(["--set", "log.format=json", "--set", &format!("store.data_dir={}", dir.display())])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        adjust(&mut command);
        let mut child = command.spawn().unwrap();
        let watch = watch(&child);
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut log = String::new();
        let ready = loop {
            let Some(Ok(line)) = lines.next() else {
                let _ = child.kill(); // it has ended already
                let _ = child.wait();
                panic!("the server did not get ready:\n{log}");
            };
            log.push_str(&line);
            log.push('\n');
            let line: Value = serde_json::from_str(&line).unwrap_or_default();
            if line["message"] == "ready" {
                break line;
            }
        };
        let address = |name: &str| ready[name].as_str().unwrap().to_owned();
        let (http, admin) = (address("http"), address("admin"));
        let log = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                log.push_str(&line);
                log.push('\n');
            }
            log
        });
        Self { child, watch, http, admin, log: Some(log) }
    }

    /// kill -9.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and everything it logged.
    pub(crate) fn stop(mut self) -> String {
        self.signal(rustix::process::Signal::TERM);
        assert!(self.child.wait().unwrap().success());
        self.log.take().unwrap().join().unwrap()
    }
}

impl Server {
    /// SIGSTOP.
    pub(crate) fn pause(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// SIGCONT.
    pub(crate) fn resume(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until it ends by itself; its status and everything it logged.
    pub(crate) async fn ended(mut self) -> (ExitStatus, String) {
        let status = wait::until("the server ends", || {
            let ended = self.child.try_wait().unwrap();
            async move { ended }
        })
        .await;
        (status, self.log.take().unwrap().join().unwrap())
    }
}

/// Not by the death of whoever started it: that may be one test's thread, and the next test goes on with the server.
fn watch(child: &Child) -> Child {
    let kill = format!("read -r _; kill -s KILL {}", child.id());
    Command::new("sh").args(["-c", &kill]).stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.watch.kill(); // before the child's number may be another's
        let _ = self.watch.wait();
        let _ = self.child.kill(); // gone already
        let _ = self.child.wait();
    }
}
