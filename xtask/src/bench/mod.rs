//! `cargo xtask bench`: everything in one run, the server on one core, the generator on the other; ratios, not boasts.

mod cluster;
mod dark;
mod database;
mod purchase;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use serde_json::Value;

use crate::run::{Guarded, cargo, output, target, wait};

const CONNECTIONS: &str = "256";
const SECONDS: &str = "6";
/// Rounds, interleaved, so that a machine that slows down slows all alike.
const ROUNDS: usize = 3;
const CARTS: &str = "10000";
const MIB: f64 = 1024.0 * 1024.0;

struct Server {
    process: Guarded,
    http: String,
    admin: String,
    ready_s: f64,
}

struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0)); // left behind, it is in the build's own place
    }
}

pub(crate) fn run(options: &[String]) -> Result<(), String> {
    wait(&mut cargo(&["build", "--release", "--quiet", "--workspace", "--examples", "--bins"]))?;
    let scratch = Scratch(target().join("bench"));
    drop(fs::remove_dir_all(&scratch.0)); // of a run that was killed
    fs::create_dir_all(&scratch.0).map_err(text)?;
    // What the build has written, and what was removed, would go to the disk while saves are measured.
    wait(&mut Command::new("sync"))?;
    let has = |wanted: &str| options.iter().any(|option| option == wanted);
    if has("--purchase") {
        return purchase::run(&scratch.0);
    }
    match (has("--cluster"), has("--database")) {
        (true, true) => return database::cluster(&scratch.0),
        (true, false) => return cluster::run(),
        (false, true) => return database::run(&scratch.0),
        (false, false) => {}
    }
    rates(&scratch.0)?;
    memory(&scratch.0)?;
    let size = fs::metadata(release("trolley")).map_err(text)?.len() as f64 / MIB;
    bar("stripped binary", format!("{size:.1} MiB"), "at most 20 MB", size * MIB <= 20e6);
    ready(&scratch.0, has("--full"))
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn release(name: &str) -> PathBuf {
    target().join("release").join(name)
}

fn bar(what: &str, figure: String, wanted: &str, holds: bool) {
    println!("{:<44} {figure:<26} {wanted:<22} {}", what, if holds { "holds" } else { "MISSED" });
}

fn pinned(core: &str, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", core]).arg(program);
    command
}

fn serve(dir: &Path, core: Option<&str>) -> Result<Server, String> {
    serve_with(dir, core, &[])
}

fn serve_with(dir: &Path, core: Option<&str>, options: &[String]) -> Result<Server, String> {
    let began = Instant::now();
    let program = release("trolley");
    let mut command = core.map_or_else(|| Command::new(&program), |core| pinned(core, &program));
    command
        .args(["serve", "--set", "http.listen=127.0.0.1:0", "--set", "admin.listen=127.0.0.1:0"])
        .args(["--set", "log.format=json", "--set", &format!("store.data_dir={}", dir.display())])
        .args(options.iter().flat_map(|option| ["--set", option]))
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    let mut process = Guarded::spawn(&mut command)?;
    let mut lines = BufReader::new(process.child.stderr.take().ok_or("no standard error")?).lines();
    let line = lines.by_ref().map_while(Result::ok).find(|line| line.contains("\"ready\""));
    let ready_s = began.elapsed().as_secs_f64();
    let line: Value = serde_json::from_str(&line.ok_or("the server did not get ready")?).map_err(text)?;
    std::thread::spawn(move || lines.for_each(drop));
    let address = |name: &str| line[name].as_str().map(str::to_owned).ok_or("no address");
    Ok(Server { process, http: address("http")?, admin: address("admin")?, ready_s })
}

fn load(scenario: &str, address: &str, more: &[&str]) -> Result<Value, String> {
    measured(pinned("1", &release("loadtest")), scenario, address, CONNECTIONS, more)
}

/// Without a core of its own: three programs share two cores.
fn load_with(scenario: &str, address: &str, connections: &str, more: &[&str]) -> Result<Value, String> {
    measured(Command::new(release("loadtest")), scenario, address, connections, more)
}

fn measured(
    mut command: Command,
    scenario: &str,
    address: &str,
    connections: &str,
    more: &[&str],
) -> Result<Value, String> {
    command.args([scenario, "--address", address, "--connections", connections, "--seconds", SECONDS]).args(more);
    serde_json::from_str(&output(&mut command)?).map_err(text)
}

fn rate(report: &Value) -> f64 {
    report["rate"].as_f64().unwrap_or(0.0)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn shown(name: &str, report: &Value) {
    let ms = |field: &str| report[field].as_f64().unwrap_or(0.0);
    println!(
        "{name:<44} {:>9.0}/s   p50 {:>7.2} ms   p99 {:>7.2} ms   p99.9 {:>7.2} ms   failed {}",
        rate(report),
        ms("p50_ms"),
        ms("p99_ms"),
        ms("p999_ms"),
        report["failed"]
    );
}

/// (a) to (e) of the objectives, interleaved.
fn rates(scratch: &Path) -> Result<(), String> {
    let server = serve(&scratch.join("rates"), Some("0"))?;
    let sample = output(pinned("1", &release("loadtest")).args(["sample", "--address", &server.http]))?;
    let sample_path = scratch.join("sample.json");
    fs::write(&sample_path, sample).map_err(text)?;
    let mut ceiling = pinned("0", &release("examples/ceiling"));
    let mut ceiling = Guarded::spawn(ceiling.arg(&sample_path).stdout(Stdio::piped()))?;
    let mut at = String::new();
    let stdout = ceiling.child.stdout.take().ok_or("no standard output")?;
    BufReader::new(stdout).read_line(&mut at).map_err(text)?;
    let at = at.trim();

    let (mut read, mut hot, mut add) = (Vec::new(), Vec::new(), Vec::new());
    let mut peak = f64::MAX;
    for round in 1..=ROUNDS {
        println!("round {round}");
        let a = load("same", at, &[])?;
        shown("  (a) bare axum, the same bytes", &a);
        let b = load("get", &server.http, &[])?;
        shown("  (b) GET cart of three lines", &b);
        let before = saved(&server)?;
        let c = load("add", &server.http, &["--carts", CARTS])?;
        let after = saved(&server)?;
        shown("  (c) POST item over 10,000 carts", &c);
        let d = load("hot", &server.http, &[])?;
        shown("  (d) +1 and -1 on one hot cart", &d);
        let body_bytes = ((after.0 - before.0) / (after.1 - before.1)).round();
        let mut alone = pinned("0", &release("examples/store_alone"));
        alone.arg(scratch.join(format!("alone-{round}")));
        alone.args(["rate", SECONDS, CONNECTIONS, CARTS, &format!("{body_bytes}")]);
        let e: Value = serde_json::from_str(&output(&mut alone)?).map_err(text)?;
        println!("  (e) the store alone, rows of {body_bytes} bytes {:>15.0}/s", rate(&e));
        read.push(rate(&b) / rate(&a));
        add.push(rate(&c) / rate(&e));
        hot.push(rate(&d) / rate(&c));
        peak = peak.min(rate(&b));
    }
    let half = load("get", &server.http, &["--rate", &format!("{}", peak / 2.0)])?;
    shown("GET at half of its peak rate", &half);
    println!();
    let ratio = |name: &str, values: Vec<f64>, least: f64| {
        let ratio = median(values);
        bar(name, format!("{ratio:.2}"), &format!("at least {least:.2}"), ratio >= least);
    };
    ratio("(b)/(a) reading against bare axum", read, 0.70);
    ratio("(c)/(e) adding against the store alone", add, 0.50);
    ratio("(d)/(c) one hot cart against many", hot, 1.00);
    let p99 = half["p99_ms"].as_f64().unwrap_or(f64::MAX);
    bar("GET p99 at half of its peak", format!("{p99:.2} ms"), "at most 5 ms", p99 <= 5.0);
    Ok(())
}

/// Bytes and number of saves so far.
fn saved(server: &Server) -> Result<(f64, f64), String> {
    let metrics = output(Command::new("curl").args(["-sS", &format!("http://{}/metrics", server.admin)]))?;
    let of = |name: &str| {
        let value = metrics.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit(' ').next());
        value.filter_map(|value| value.parse::<f64>().ok()).sum::<f64>()
    };
    Ok((of("trolley_store_saved_bytes_total"), of("trolley_store_save_duration_seconds_count")))
}

fn memory(scratch: &Path) -> Result<(), String> {
    let server = serve(&scratch.join("memory"), None)?;
    let rss = || -> Result<f64, String> {
        let status = fs::read_to_string(format!("/proc/{}/status", server.process.child.id())).map_err(text)?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse().map_err(text)?;
        Ok(kib * 1024.0)
    };
    let fill = |carts: &str| {
        output(Command::new(release("loadtest")).args(["fill", "--address", &server.http, "--carts", carts]))
    };
    println!("{:<44} {:.1} MiB", "RSS with no cart", rss()? / MIB);
    fill("100000")?;
    let one = rss()?;
    fill("100000")?;
    let two = rss()?;
    bar(
        "RSS with 100,000 carts of three lines",
        format!("{:.1} MiB", one / MIB),
        "at most 128 MiB",
        one <= 128.0 * MIB,
    );
    let slope = (two - one) / 100_000.0;
    let figure = format!("{slope:.0} bytes ({:.1} MiB in all)", two / MIB);
    bar("each further cart, to 200,000", figure, "at most 1000 bytes", slope <= 1000.0);
    Ok(())
}

fn ready(scratch: &Path, full: bool) -> Result<(), String> {
    let mut times = Vec::new();
    for n in 0..5 {
        times.push(serve(&scratch.join(format!("ready-{n}")), None)?.ready_s);
    }
    let time = median(times);
    bar("ready on an empty directory", format!("{:.0} ms", time * 1e3), "at most 100 ms", time <= 0.1);
    if !full {
        println!("ready on 1,000,000 stored carts: not measured; --full does");
        return Ok(());
    }
    let dir = scratch.join("million");
    wait(Command::new(release("examples/store_alone")).arg(&dir).args(["fill", "1000000"]).stdout(Stdio::null()))?;
    let time = serve(&dir, None)?.ready_s;
    bar("ready on 1,000,000 stored carts", format!("{:.0} ms", time * 1e3), "at most 1000 ms", time <= 1.0);
    Ok(())
}
