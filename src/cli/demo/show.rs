//! What the demo says: for people, on a terminal with a line that lives above the prompt, and for scripts.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal, Write},
    net::SocketAddr,
    path::Path,
};

use serde_json::{Value, json};

use super::{commands::COMMANDS, ledger::Totals, nodes::Shown};
use crate::telemetry::logs;

/// What is typed after.
const PROMPT: &str = "> ";

/// An answer to a command.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    /// For people.
    pub(super) text: String,
    /// For scripts: what `ok` is told with.
    pub(super) fields: serde_json::Map<String, Value>,
}

impl Said {
    pub(super) fn new(text: impl Into<String>, fields: Value) -> Self {
        let fields = if let Value::Object(fields) = fields { fields } else { serde_json::Map::new() };
        Self { text: text.into(), fields }
    }
}

/// Standard output.
#[derive(Debug)]
pub(super) struct Screen {
    is_json: bool,
    /// Whether lines may be rewritten.
    is_live: bool,
    has_colour: bool,
    /// Whether a ledger line stands above the prompt.
    has_line: bool,
}

impl Screen {
    pub(super) fn new(is_json: bool) -> Self {
        let is_live = !is_json && io::stdout().is_terminal() && io::stdin().is_terminal();
        Self { is_json, is_live, has_colour: is_live && logs::colour(), has_line: false }
    }

    pub(super) const fn is_live(&self) -> bool {
        self.is_live
    }

    pub(super) const fn is_json(&self) -> bool {
        self.is_json
    }

    pub(super) const fn prompt_no_more(&mut self) {
        self.is_live = false;
    }

    /// The first thing that is said.
    pub(super) fn ready(&self, nodes: &[Shown], ready_ms: u64, taken: &[u16]) -> io::Result<()> {
        if self.is_json {
            return line(&ready_json(nodes, ready_ms).to_string());
        }
        line(&ready_text(nodes, ready_ms, taken))?;
        self.prompt(None)
    }

    /// A command's answer.
    pub(super) fn answer(&mut self, answer: &Result<Said, String>, totals: Option<(&Totals, u64)>) -> io::Result<()> {
        if self.is_json {
            return line(&answer_json(answer).to_string());
        }
        match answer {
            Ok(said) => line(&said.text)?,
            Err(why) => line(&self.red(&format!("not done: {why}")))?,
        }
        self.has_line = totals.is_some();
        self.prompt(totals)
    }

    /// Something that nobody asked for.
    pub(super) fn news(&mut self, what: &str, totals: Option<(&Totals, u64)>) -> io::Result<()> {
        if !self.is_live {
            // Standard output of a script holds answers and nothing else.
            let _ = writeln!(io::stderr(), "{what}"); // nowhere left to say it
            return Ok(());
        }
        write!(io::stdout(), "{}\r\x1b[J", if self.has_line { "\x1b[1A" } else { "" })?;
        line(&self.red(what))?;
        self.has_line = totals.is_some();
        self.prompt(totals)
    }

    /// Rewrites the ledger's line, and leaves what is being typed alone.
    pub(super) fn refresh(&self, totals: &Totals, rate: u64) -> io::Result<()> {
        if !self.is_live || !self.has_line {
            return Ok(());
        }
        let mut out = io::stdout();
        write!(out, "\x1b7\x1b[1A\r\x1b[2K{}\x1b8", self.ledger(totals, rate))?;
        out.flush()
    }

    /// The last thing that is said, on a line of its own.
    pub(super) fn leave(&self) -> io::Result<()> {
        if self.is_live { line("") } else { Ok(()) }
    }

    fn prompt(&self, totals: Option<(&Totals, u64)>) -> io::Result<()> {
        if !self.is_live {
            return Ok(());
        }
        if let Some((totals, rate)) = totals {
            line(&self.ledger(totals, rate))?;
        }
        let mut out = io::stdout();
        out.write_all(PROMPT.as_bytes())?;
        out.flush()
    }

    fn ledger(&self, totals: &Totals, rate: u64) -> String {
        let text = format!("{} · {}/s", ledger_line(totals), thousands(rate));
        if totals.is_wrong() { self.red(&text) } else { text }
    }

    fn red(&self, text: &str) -> String {
        if self.has_colour { format!("\x1b[31m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{text}")?;
    out.flush()
}

fn ready_json(nodes: &[Shown], ready_ms: u64) -> Value {
    let node = |node: &Shown| json!({ "name": node.name, "pid": node.pid, "http": node.http.to_string(), "admin": node.admin.to_string() });
    json!({ "ready_ms": ready_ms, "nodes": nodes.iter().map(node).collect::<Vec<_>>() })
}

fn answer_json(answer: &Result<Said, String>) -> Value {
    match answer {
        Ok(said) => {
            let mut fields = said.fields.clone();
            fields.insert("ok".to_owned(), true.into());
            Value::Object(fields)
        }
        Err(why) => json!({ "ok": false, "error": why }),
    }
}

/// Twelve lines at most, whatever the number of nodes.
fn ready_text(nodes: &[Shown], ready_ms: u64, taken: &[u16]) -> String {
    let plural = if nodes.len() == 1 { "node is" } else { "nodes are" };
    let mut text = format!("{} {plural} ready after {ready_ms} ms", nodes.len());
    if !taken.is_empty() {
        let taken: Vec<String> = taken.iter().map(u16::to_string).collect();
        let _ = write!(text, "; other ports in place of {} (taken)", taken.join(", ")); // a string takes all
    }
    for node in nodes {
        let _ = write!(text, "\n  {:<4}http://{}   operators http://{}", node.name, node.http, node.admin);
    }
    if let Some(node) = nodes.first() {
        let _ = write!(text, "\nMake a cart:  {}", curl(node.http));
    }
    text.push_str("\nThen type:    load on · kill n1 · start n1 · status · help · quit");
    text
}

fn curl(http: SocketAddr) -> String {
    format!("curl -s -X POST http://{http}/v1/carts")
}

pub(super) fn help() -> String {
    let row = |(name, usage, what): &(&str, &str, &str)| format!("  {:<22}{what}", format!("{name} {usage}"));
    COMMANDS.iter().map(row).collect::<Vec<_>>().join("\n")
}

/// A table of the nodes, with what each says of its shards, and where the logs are.
pub(super) fn status(nodes: &[(Shown, Option<usize>)], dir: &Path) -> Said {
    let mut rows = vec![["NODE", "PID", "STATE", "SHARDS", "HTTP", "OPERATORS"].map(str::to_owned)];
    let number = |n: Option<usize>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
    rows.extend(nodes.iter().map(|(node, shards)| {
        let pid = node.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        let (http, admin) = (node.http.to_string(), node.admin.to_string());
        [node.name.clone(), pid, node.state.clone(), number(*shards), http, admin]
    }));
    let width = |at: usize| rows.iter().map(|row| row[at].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..6).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    let _ = write!(text, "logs: {}", dir.join("*.log").display()); // a string takes all
    let node = |(node, shards): &(Shown, Option<usize>)| {
        json!({
            "name": node.name, "pid": node.pid, "state": node.state, "shards": shards,
            "http": node.http.to_string(), "admin": node.admin.to_string(), "log": node.log,
        })
    };
    Said::new(text, json!({ "nodes": nodes.iter().map(node).collect::<Vec<_>>(), "dir": dir }))
}

/// The ledger in one line.
pub(super) fn ledger_line(totals: &Totals) -> String {
    let mut text = format!(
        "acknowledged {} · lost {} · doubled {} · refused first {}",
        thousands(totals.acknowledged),
        thousands(totals.lost),
        thousands(totals.doubled),
        thousands(totals.refused_first)
    );
    if totals.orders > 0 {
        let (orders, whole, cents) = (thousands(totals.orders), totals.money.unsigned_abs() / 100, totals.money % 100);
        let (money, oversold, double) = (thousands(whole), totals.oversold, totals.double_charged);
        // A string takes all.
        let _ =
            write!(text, " · orders {orders} for {money}.{cents:02} · oversold {oversold} · double charged {double}");
    }
    for (what, count) in [
        ("orders lost", totals.orders_lost),
        ("paid for nothing", totals.paid_for_nothing),
        ("unknown", totals.unknown),
        ("not read", totals.unread),
    ] {
        if count > 0 {
            let _ = write!(text, " · {what} {}", thousands(count)); // a string takes all
        }
    }
    text
}

fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u16) -> Shown {
        Shown {
            name: format!("n{number}"),
            pid: Some(100),
            state: "running".to_owned(),
            http: SocketAddr::from(([127, 0, 0, 1], 8079 + number)),
            admin: SocketAddr::from(([127, 0, 0, 1], 9089 + number)),
            log: format!("/demo/n{number}.log").into(),
            answers: true,
        }
    }

    #[test]
    fn the_ledger_fits_a_line_and_names_what_is_not_known_only_then() {
        let totals = Totals { acknowledged: 48_210, refused_first: 3, ..Totals::default() };
        assert_eq!(ledger_line(&totals), "acknowledged 48,210 · lost 0 · doubled 0 · refused first 3");
        assert!(ledger_line(&Totals { unknown: 1, ..totals }).ends_with(" · unknown 1"));
        let bought = ledger_line(&Totals { orders: 1_204, money: 2_150_005, ..totals });
        assert!(bought.ends_with(" · orders 1,204 for 21,500.05 · oversold 0 · double charged 0"), "{bought}");
        assert_eq!([0, 999, 1_000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn twelve_lines_are_enough_for_the_most_nodes() {
        let nodes: Vec<Shown> = (1..=super::super::nodes::NODES_MAX).map(node).collect();
        let text = ready_text(&nodes, 400, &[8080, 9090]);
        assert!(text.lines().count() <= 12, "{text}");
        assert!(text.contains("curl -s -X POST http://127.0.0.1:8080/v1/carts"), "{text}");
        assert!(
            text.starts_with("9 nodes are ready after 400 ms; other ports in place of 8080, 9090 (taken)"),
            "{text}"
        );
    }

    #[test]
    fn scripts_read_one_object_a_line() {
        let refused = answer_json(&Err("no".to_owned())).to_string();
        assert_eq!(refused, r#"{"error":"no","ok":false}"#);
        let said = status(&[(node(1), Some(256)), (node(2), None)], Path::new("/demo"));
        assert!(said.text.contains("n1    100  running  256     127.0.0.1:8080"), "{}", said.text);
        let told = answer_json(&Ok(said)).to_string();
        assert!(!told.contains('\n') && told.contains(r#""ok":true"#) && told.contains(r#""shards":256"#), "{told}");
        assert!(!ready_json(&[node(1)], 1).to_string().contains('\n'));
    }

    #[test]
    fn help_has_every_command() {
        assert_eq!(help().lines().count(), COMMANDS.len());
    }
}
