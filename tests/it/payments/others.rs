//! Servers that others wrote and that speak Stripe's language: processes of their own, installed once, on the loopback
//! interface, ended with this process. `tests/stripe-servers` does the work; unit tests start them by this file too.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

/// A running server.
#[derive(Debug)]
pub(super) struct Other {
    child: Child,
    pub(super) url: String,
}

impl Other {
    /// Starts `localstripe` or `stateful`. The very first start installs both.
    pub(super) fn start(which: &str) -> Self {
        let own = std::env::current_exe().unwrap();
        let profile = own.ancestors().find(|dir| dir.ends_with("debug") || dir.ends_with("release")).unwrap();
        let mut child = Command::new("python3")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stripe-servers/serve.py"))
            .arg(which)
            .arg(profile.with_file_name("tools"))
            .stdin(Stdio::piped()) // the server ends when it is closed
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port: u16 = line.trim().parse().unwrap_or_else(|_| panic!("{which} did not start: {line:?}"));
        Self { child, url: format!("http://127.0.0.1:{port}") }
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended by itself
        let _ = self.child.wait();
    }
}
