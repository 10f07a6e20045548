//! What may be typed while the demo runs.

/// Every command: its name, what follows it, and what it does.
pub(super) const COMMANDS: [(&str, &str, &str); 13] = [
    ("kill", "NODE", "end it at once, as a crash does (SIGKILL)"),
    ("pause", "NODE", "freeze it (SIGSTOP)"),
    ("resume", "NODE", "let it go on (SIGCONT)"),
    ("restart", "NODE", "stop it in order, then start it again"),
    ("drain", "NODE", "make it leave in order, and wait until it has"),
    ("start", "NODE", "start it again"),
    ("add", "", "one more node"),
    ("slow", "MS", "delay every access to the store; 0 = off"),
    ("load", "on|off [RATE]", "shoppers that add to carts, RATE times a second in all"),
    ("ledger", "", "what the shoppers were told, and what became of it"),
    ("status", "", "every node, and where its log is"),
    ("help", "", "these commands"),
    ("quit", "", "stop everything"),
];
/// Adds a second when nothing is said: visible, and easy for a laptop.
pub(super) const RATE_DEFAULT: u32 = 200;
/// More than the closed loop of so few shoppers reaches.
const RATE_MAX: u32 = 100_000;
/// A store that is slower than every patience is away, not slow.
const SLOW_MS_MAX: u64 = 60_000;

/// A command, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Kill(String),
    Pause(String),
    Resume(String),
    Restart(String),
    Drain(String),
    Start(String),
    Add,
    Slow(u64),
    /// At this rate, or off.
    Load(Option<u32>),
    Ledger,
    Status,
    Help,
    Quit,
}

/// Understands a line.
///
/// # Errors
/// What would be right.
pub(super) fn parse(line: &str) -> Result<Command, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [name, given @ ..] = words.as_slice() else { return Err("no command; `help` lists them".to_owned()) };
    let Some((name, usage, _)) = COMMANDS.iter().find(|(known, _, _)| known == name) else {
        let distance = |(known, _, _): &&(&str, &str, &str)| strsim::damerau_levenshtein(known, name);
        let nearest = COMMANDS.iter().min_by_key(distance).map_or("help", |(known, _, _)| known);
        return Err(format!("there is no command {name:?}; the nearest is {nearest:?}"));
    };
    let usage = format!("write: {name} {usage}").trim_end().to_owned();
    let command = match (*name, given) {
        ("kill", [node]) => Command::Kill((*node).to_owned()),
        ("pause", [node]) => Command::Pause((*node).to_owned()),
        ("resume", [node]) => Command::Resume((*node).to_owned()),
        ("restart", [node]) => Command::Restart((*node).to_owned()),
        ("drain", [node]) => Command::Drain((*node).to_owned()),
        ("start", [node]) => Command::Start((*node).to_owned()),
        ("add", []) => Command::Add,
        ("slow", [ms]) => match ms.strip_suffix("ms").unwrap_or(ms).parse() {
            Ok(ms) if ms <= SLOW_MS_MAX => Command::Slow(ms),
            _ => return Err(format!("{usage}, from 0 to {SLOW_MS_MAX}")),
        },
        ("load", ["off"]) => Command::Load(None),
        ("load", ["on"]) => Command::Load(Some(RATE_DEFAULT)),
        ("load", ["on", rate]) => match rate.parse() {
            Ok(rate) if (1..=RATE_MAX).contains(&rate) => Command::Load(Some(rate)),
            _ => return Err(format!("{usage}, RATE from 1 to {RATE_MAX}")),
        },
        ("ledger", []) => Command::Ledger,
        ("status", []) => Command::Status,
        ("help", []) => Command::Help,
        ("quit", []) => Command::Quit,
        _ => return Err(usage),
    };
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_understood() {
        let node = || "n2".to_owned();
        let table = [
            ("kill n2", Command::Kill(node())),
            (" pause  n2 ", Command::Pause(node())),
            ("resume n2", Command::Resume(node())),
            ("restart n2", Command::Restart(node())),
            ("drain n2", Command::Drain(node())),
            ("start n2", Command::Start(node())),
            ("add", Command::Add),
            ("slow 50", Command::Slow(50)),
            ("slow 50ms", Command::Slow(50)),
            ("load on", Command::Load(Some(RATE_DEFAULT))),
            ("load on 9", Command::Load(Some(9))),
            ("load off", Command::Load(None)),
            ("ledger", Command::Ledger),
            ("status", Command::Status),
            ("help", Command::Help),
            ("quit", Command::Quit),
        ];
        for (name, _, _) in COMMANDS {
            assert!(table.iter().any(|(line, _)| line.trim_start().starts_with(name)), "{name}");
        }
        for (line, command) in table {
            assert_eq!(parse(line), Ok(command), "{line}");
        }
    }

    #[test]
    fn what_is_not_understood_says_what_would_be_right() {
        let table = [
            ("kil n2", "the nearest is \"kill\""),
            ("sttaus", "the nearest is \"status\""),
            ("kill", "write: kill NODE"),
            ("kill n1 n2", "write: kill NODE"),
            ("add n4", "write: add"),
            ("slow down", "from 0 to 60000"),
            ("slow 60001", "from 0 to 60000"),
            ("load on 0", "RATE from 1 to"),
            ("load", "write: load on|off [RATE]"),
            ("  ", "`help` lists them"),
        ];
        for (line, expected) in table {
            let why = parse(line).unwrap_err();
            assert!(why.contains(expected), "{line}: {why}");
        }
    }
}
