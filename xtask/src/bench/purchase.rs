//! `cargo xtask bench --purchase`: whole purchases on one node with the embedded store. How long each request takes at a
//! steady rate, against the saves of the same run, on all cores; and how many purchases a second there are where all want
//! one product, against those that are spread over a thousand, the server on one core, the generator on the other.

use std::{
    collections::HashMap,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use super::{Server, bar, dark::Buckets, median, pinned, release, serve_with, text};
use crate::run::{output, wait};

/// Purchases a second whose latency is measured, and for how long.
const RATE: &str = "100";
const SECONDS: &str = "20";
/// Shoppers that come so fast that the node, not the schedule, says how many are done.
const FLOOD_PER_S: &str = "3000";
const FLOOD_INSIDE: &str = "64";
/// Long enough that what a stock must remember has built up.
const FLOOD_S: &str = "15";
/// Rounds, of which the medians count. A shopper who comes while the disk stands still, as rented ones do now and then for
/// a tenth of a second, waits as long; a few in a round make its p99.
const STEADY_ROUNDS: usize = 5;
/// Rounds of each of two kinds, interleaved.
const ROUNDS: usize = 3;
const PRODUCTS: usize = 1_000;
/// The requests of a purchase, and what the p99 of each may be in the p99 of a save.
const BARS: [(&str, f64); 6] = [
    ("make cart", 3.0),
    ("add, keyed", 3.0),
    ("begin checkout", 3.0),
    ("change checkout", 3.0),
    ("complete", 10.0),
    ("read order", 3.0),
];
const SAVES: &str = "trolley_store_save_duration_seconds";

pub(super) fn run(scratch: &Path) -> Result<(), String> {
    let catalog = scratch.join("products.jsonl");
    let product = |n: usize| {
        let price = json!({"amount": 1299, "currency": "EUR"});
        let product = json!({
            "sku": format!("thing-{n:04}"), "title": format!("Thing {n}"), "description": "A thing.", "price": price,
            "image_url": "/images/thing.jpg", "categories": ["things"], "availability": "in_stock", "weight_g": 350,
            "stock": 100_000_000,
        });
        product.to_string() + "\n"
    };
    fs::write(&catalog, (0..PRODUCTS).map(product).collect::<String>()).map_err(text)?;
    let serve = |name: &str, core: Option<&str>| {
        serve_with(&scratch.join(name), core, &[format!("catalog.path={}", catalog.display())])
    };
    // One core that a thread of the kernel or a flush holds for a tick, 4 ms, keeps every save that long; with a second
    // one, as a node has, they go on there. Rates are compared on one, so that the generator has the other to itself.
    let (on_all, on_one) = (None, Some("0"));
    let mut rounds = Vec::new();
    for round in 1..=STEADY_ROUNDS {
        rounds.push(latencies(&serve(&format!("steady-{round}"), on_all)?, scratch)?);
    }
    for (operation, most) in BARS {
        let of = |figure: fn(&Latency) -> f64| median(rounds.iter().map(|round| figure(&round[operation])).collect());
        let figure =
            format!("p50 {:.2}, p99 {:.2} ms: {:.1}", of(|l| l.p50_ms), of(|l| l.p99_ms), of(|l| l.p99_in_saves));
        let holds = of(|latency| latency.p99_in_saves) <= most;
        bar(&format!("{operation}, p99 in a save's p99"), figure, &format!("at most {most:.0}"), holds);
    }
    let (mut many, mut hot) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        println!("round {round}");
        many.push(rate("  over 1,000 products", &serve(&format!("many-{round}"), on_one)?, scratch, &[])?);
        hot.push(rate("  one of one product in each", &serve(&format!("hot-{round}"), on_one)?, scratch, &["--hot"])?);
    }
    let ratio = median(hot.iter().zip(&many).map(|(hot, many)| hot / many).collect());
    bar("one hot product against 1,000", format!("{ratio:.2}"), "at least 0.50", ratio >= 0.5);
    Ok(())
}

/// How long one kind of request took.
struct Latency {
    p50_ms: f64,
    p99_ms: f64,
    /// In the p99 of the saves of the same run.
    p99_in_saves: f64,
}

/// Every request at a steady rate, by operation.
fn latencies(server: &Server, scratch: &Path) -> Result<HashMap<String, Latency>, String> {
    let page = || output(Command::new("curl").args(["-sS", &format!("http://{}/metrics", server.admin)]));
    let saves = |page: &str| Buckets::read(page, SAVES, "haste=\"urgent\",outcome=\"applied\"");
    let before = page()?;
    let told = purchases(prompt_generator(), server, scratch, &["--rate", RATE, "--seconds", SECONDS])?;
    let mut taken = saves(&page()?);
    taken.add(&saves(&before), -1.0);
    let bought = told["purchases"]["orders"].as_f64().unwrap_or(0.0);
    println!(
        "{RATE} purchases/s for {SECONDS} s: {bought} orders, {:.0} saves each that somebody waits for",
        taken.count() / bought
    );
    let row = |name: &str, p50_ms: f64, p99_ms: f64, more: &str| {
        println!("{:<44} p50 {p50_ms:>7.2} ms   p99 {p99_ms:>7.2} ms{more}", format!("  {name}"));
    };
    let ms = |of: &Value, quantile: &str| of["latency_ms"][quantile].as_f64().unwrap_or(f64::INFINITY);
    let lag_ms = |quantile: &str| told["generator"]["lag_ms"][quantile].as_f64().unwrap_or(f64::INFINITY);
    row("the generator late by", lag_ms("p50"), lag_ms("p99"), "");
    let save_p99_ms = taken.quantile_s(0.99) * 1e3;
    row("a save", taken.quantile_s(0.5) * 1e3, save_p99_ms, &format!("   p99.9 {:.2}", taken.quantile_s(0.999) * 1e3));
    let is_judged = |operation: &&String| BARS.iter().any(|(judged, _)| judged == operation);
    let mut operations = told["operations"].as_object().into_iter().flatten().map(|(operation, _)| operation);
    if let Some(operation) = operations.find(|operation| !is_judged(operation)) {
        return Err(format!("{operation} has no bar: give it one"));
    }
    let mut latencies = HashMap::new();
    for (operation, _) in BARS {
        let measured = &told["operations"][operation];
        let (p50_ms, p99_ms) = (ms(measured, "p50"), ms(measured, "p99"));
        let p99_in_saves = p99_ms / save_p99_ms;
        row(operation, p50_ms, p99_ms, &format!("   {p99_in_saves:>5.1} saves'"));
        latencies.insert(operation.to_owned(), Latency { p50_ms, p99_ms, p99_in_saves });
    }
    Ok(latencies)
}

/// Purchases a second that the node takes.
fn rate(name: &str, server: &Server, scratch: &Path, more: &[&str]) -> Result<f64, String> {
    let flood = ["--rate", FLOOD_PER_S, "--in-flight", FLOOD_INSIDE, "--seconds", FLOOD_S];
    let told = purchases(generator(), server, scratch, &[&flood[..], more].concat())?;
    let rate = told["purchases"]["orders"].as_f64().unwrap_or(0.0) / told["took_s"].as_f64().unwrap_or(1.0);
    println!("{name:<44} {rate:>9.0} purchases/s   good {:.3} %", told["good_percent"].as_f64().unwrap_or(0.0));
    Ok(rate)
}

fn generator() -> Command {
    pinned("1", &release("loadtest"))
}

/// The generator, let through at once whenever it has something to do, where this user may ask for that. It stands for
/// shoppers with machines of their own; here threads of the kernel share its core and hold it for up to 4 ms, and what it
/// sends late or hears late counts as the server's time.
fn prompt_generator() -> Command {
    let real_time = || {
        let mut command = Command::new("chrt");
        command.args(["--fifo", "1"]);
        command
    };
    let is_allowed = real_time().arg("true").stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    let plain = generator();
    if !is_allowed {
        println!("no real-time priority for the generator (chrt): its own waits count as the server's");
        return plain;
    }
    let mut prompt = real_time();
    prompt.arg(plain.get_program()).args(plain.get_args());
    prompt
}

/// Runs the load, which must leave goods, money and orders in agreement.
fn purchases(mut generator: Command, server: &Server, scratch: &Path, more: &[&str]) -> Result<Value, String> {
    let report = scratch.join("purchases.json");
    let load = generator.args(["purchase", "--address", &server.http, "--admin", &server.admin]).args(more);
    load.stdout(Stdio::null());
    wait(load.arg("--json").arg(&report))?;
    serde_json::from_str(&fs::read_to_string(&report).map_err(text)?).map_err(text)
}
