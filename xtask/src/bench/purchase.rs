//! `cargo xtask bench --purchase`: whole purchases on one node with the embedded store, the server on one core, the
//! generator on the other. How long each request takes at a steady rate, against the saves of the same run; and how many
//! purchases a second there are where all want one product, against those that are spread over a thousand.

use std::{
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
/// Rounds, interleaved.
const ROUNDS: usize = 3;
const PRODUCTS: usize = 1_000;
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
    let serve =
        |name: &str| serve_with(&scratch.join(name), Some("0"), &[format!("catalog.path={}", catalog.display())]);
    latencies(&serve("steady")?, scratch)?;
    let (mut many, mut hot) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        println!("round {round}");
        many.push(rate("  over 1,000 products", &serve(&format!("many-{round}"))?, scratch, &[])?);
        hot.push(rate("  one of one product in each", &serve(&format!("hot-{round}"))?, scratch, &["--hot"])?);
    }
    let ratio = median(hot.iter().zip(&many).map(|(hot, many)| hot / many).collect());
    bar("one hot product against 1,000", format!("{ratio:.2}"), "at least 0.50", ratio >= 0.5);
    Ok(())
}

/// Every request at a steady rate, against the saves of the run.
fn latencies(server: &Server, scratch: &Path) -> Result<(), String> {
    let page = || output(Command::new("curl").args(["-sS", &format!("http://{}/metrics", server.admin)]));
    let saves = |page: &str| Buckets::read(page, SAVES, "outcome=\"applied\"");
    let before = page()?;
    let told = purchases(prompt_generator(), server, scratch, &["--rate", RATE, "--seconds", SECONDS])?;
    let mut taken = saves(&page()?);
    taken.add(&saves(&before), -1.0);
    let (save_p50, save_p99) = (taken.quantile_s(0.5) * 1e3, taken.quantile_s(0.99) * 1e3);
    let bought = told["purchases"]["orders"].as_f64().unwrap_or(0.0);
    println!("{RATE} purchases/s for {SECONDS} s: {bought} orders, {:.0} saves each", taken.count() / bought);
    let row = |name: &str, p50: f64, p99: f64| println!("{name:<44} p50 {p50:>7.2} ms   p99 {p99:>7.2} ms");
    let lag_ms = |quantile: &str| told["generator"]["lag_ms"][quantile].as_f64().unwrap_or(f64::INFINITY);
    row("  the generator late by", lag_ms("p50"), lag_ms("p99"));
    row("  a save", save_p50, save_p99);
    for (operation, measured) in told["operations"].as_object().into_iter().flatten() {
        let ms = |quantile: &str| measured["latency_ms"][quantile].as_f64().unwrap_or(f64::INFINITY);
        let saves = ms("p99") / save_p99;
        let most = if operation == "complete" { 10.0 } else { 3.0 };
        let figure = format!("p50 {:.2}, p99 {:.2} ms: {saves:.1}", ms("p50"), ms("p99"));
        bar(&format!("  {operation}, p99 in a save's p99"), figure, &format!("at most {most:.0}"), saves <= most);
    }
    Ok(())
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
