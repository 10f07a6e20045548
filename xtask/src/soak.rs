//! `cargo xtask soak`: three nodes under load for half an hour, a fault every twenty seconds, and the ledger at the end.

use std::process::Command;

use crate::run::{cargo, target, wait};

const MINUTES: &str = "30";
/// Faults in turn, in seconds of their cycle. A node that was frozen past its lease ends when it wakes.
const CYCLE: [(u64, &str); 14] = [
    (20, "kill n2"),
    (26, "start n2"),
    (40, "pause n3"),
    (46, "resume n3"),
    (50, "start n3"),
    (60, "drain n1"),
    (66, "start n1"),
    (80, "restart n2"),
    (100, "kill n1"),
    (106, "start n1"),
    (120, "slow 30"),
    (126, "slow 0"),
    (140, "kill n3"),
    (146, "start n3"),
];
const CYCLE_S: u64 = 160;
/// Visits a second: far below what the nodes can do, so that what fails fails by a fault.
const RATE: &str = "60";

pub(crate) fn run(options: &[String]) -> Result<(), String> {
    let minutes = match options {
        [] => MINUTES,
        [name, minutes] if name == "--minutes" => minutes,
        _ => return Err("soak [--minutes N]".to_owned()),
    };
    let seconds = minutes.parse::<u64>().map_err(|error| format!("--minutes {minutes}: {error}"))? * 60;
    wait(&mut cargo(&["build", "--release", "--quiet", "--workspace", "--bins"]))?;
    let at = |cycle: u64, (second, fault): &(u64, &str)| (cycle * CYCLE_S + second, (*fault).to_owned());
    let cycles = 0..=seconds / CYCLE_S;
    let plan: Vec<String> = cycles
        .flat_map(|cycle| CYCLE.iter().map(move |fault| at(cycle, fault)))
        // The last faults are over before the audit.
        .filter(|(second, _)| second + 30 < seconds)
        .map(|(second, fault)| format!("{second}s {fault}"))
        .collect();
    let launcher = format!("{} demo --json --port 0", target().join("release/trolley").display());
    let mut command = Command::new(target().join("release/loadtest"));
    command
        .args(["browse-and-cart", "--launcher", &launcher, "--rate", RATE, "--seconds", &seconds.to_string()])
        .args(["--fault", &plan.join("; ")])
        .args(["--objective", "good>=99.99%", "--objective", "lost==0", "--objective", "doubled==0"])
        .args(["--html", &target().join("soak.html").display().to_string()]);
    wait(&mut command)
}
