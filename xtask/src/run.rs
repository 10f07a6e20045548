//! Starts other programs, and sees to it that none outlives this one's stage.

use std::{
    env,
    io::Read,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

/// The workspace.
pub(crate) fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or(here.clone(), PathBuf::from)
}

/// Where built things and tools are.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(arguments);
    command
}

/// Runs to the end; anything but success is an error.
pub(crate) fn wait(command: &mut Command) -> Result<(), String> {
    let shown = format!("{command:?}");
    let mut running = Guarded::spawn(command)?;
    let status = running.child.wait().map_err(|error| format!("{shown}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{shown}: {status}")) }
}

/// What a command prints on standard output.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let shown = format!("{command:?}");
    let mut running = Guarded::spawn(command.stdout(Stdio::piped()))?;
    let mut text = String::new();
    if let Some(mut stdout) = running.child.stdout.take() {
        stdout.read_to_string(&mut text).map_err(|error| format!("{shown}: {error}"))?;
    }
    let status = running.child.wait().map_err(|error| format!("{shown}: {error}"))?;
    if status.success() { Ok(text) } else { Err(format!("{shown}: {status}")) }
}

/// A process that ends with its guard, and everything that it started with it, also when this process is killed: a shell
/// waits at the other end of a pipe and kills the whole group when the pipe closes.
pub(crate) struct Guarded {
    pub(crate) child: Child,
    watch: Child,
}

impl Guarded {
    /// Starts it in a process group of its own.
    pub(crate) fn spawn(command: &mut Command) -> Result<Self, String> {
        let shown = format!("{command:?}");
        let failed = |error| format!("{shown}: {error}");
        let mut child = command.process_group(0).spawn().map_err(failed)?;
        let kill_group = format!("read -r _; kill -s KILL -- -{}", child.id());
        let watch = Command::new("sh")
            .args(["-c", &kill_group])
            .process_group(0)
            .stdin(Stdio::piped())
            .stderr(Stdio::null()) // mostly it finds nothing left to kill
            .spawn();
        match watch {
            Ok(watch) => Ok(Self { child, watch }),
            Err(error) => {
                drop(child.kill()); // unwatched, it must not run
                drop(child.wait());
                Err(failed(error))
            }
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        drop(self.watch.stdin.take());
        drop(self.watch.wait());
        drop(self.child.wait());
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::*;

    #[test]
    fn what_a_program_started_ends_with_its_guard() {
        let mut shell = Command::new("sh");
        let script = "sleep 1000 & echo $!; wait";
        let mut guarded = Guarded::spawn(shell.args(["-c", script]).stdout(Stdio::piped())).unwrap();
        let mut stdout = BufReader::new(guarded.child.stdout.take().unwrap());
        let mut pid = String::new();
        stdout.read_line(&mut pid).unwrap();
        assert!(std::path::Path::new(&format!("/proc/{}", pid.trim())).exists());
        drop(guarded);
        // What it had started held the other end of this pipe.
        assert_eq!(stdout.read_line(&mut pid).unwrap(), 0);
    }
}
