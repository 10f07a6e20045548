//! `loadtest SCENARIO --address HOST:PORT [--connections N] [--seconds N] [--rate N] [--carts N]`
//!
//! Scenarios: `get` (read carts of three lines), `add` (add to many carts), `hot` (+1 and −1 in pairs on one cart of
//! three lines), `fill` (make carts of three lines and stop), `same` (GET /), `sample` (print one GET's head and body).
//! Prints one line of JSON.

use std::{collections::HashMap, io, process::ExitCode, time::Duration};

use loadtest::{client::Connection, client::request, run::run, shop::Cart};
use serde_json::json;

/// Three products of the built-in catalogue that are in stock.
const SKUS: [&str; 3] = ["mug-blue", "mug-white", "mug-black"];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let scenario = arguments.next().unwrap_or_default();
    let options: HashMap<String, String> =
        std::iter::from_fn(|| Some((arguments.next()?.trim_start_matches("--").to_owned(), arguments.next()?)))
            .collect();
    match measure(&scenario, &options) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("loadtest: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(scenario: &str, options: &HashMap<String, String>) -> io::Result<serde_json::Value> {
    let text = |name: &str| options.get(name).map(String::as_str);
    let number = |name: &str, default: f64| text(name).map_or(Ok(default), str::parse).map_err(io::Error::other);
    let address = text("address").ok_or_else(|| io::Error::other("--address HOST:PORT is missing"))?;
    let connections = number("connections", 64.0)? as usize;
    let carts = number("carts", 100.0)? as usize;
    let duration = Duration::from_secs_f64(number("seconds", 5.0)?);
    let rate = text("rate").map(str::parse).transpose().map_err(io::Error::other)?;
    let read = |cart: &Cart| cart.request("GET", "", None, None);
    let requests = match scenario {
        "get" => make(address, carts, 3)?.iter().map(read).collect(),
        "add" => make(address, carts, 0)?.iter().map(|cart| cart.add(SKUS[0], 1, None)).collect(),
        "hot" => {
            let cart = make(address, 1, 3)?.remove(0);
            let plus = cart.add(SKUS[0], 1, None);
            let set = |n: u32| cart.request("PATCH", "/items/l1", None, Some(&format!(r#"{{"quantity":{n}}}"#)));
            vec![plus, set(1)]
        }
        "fill" => {
            let made = make(address, carts, 3)?;
            return Ok(json!({ "carts": made.len() }));
        }
        "same" => vec![request("GET", "/", &[], None)],
        "sample" => return sample(address),
        other => return Err(io::Error::other(format!("there is no scenario {other:?}"))),
    };
    Ok(run(address, requests, connections, duration, rate)?.json())
}

/// Makes carts over a few connections at once.
fn make(address: &str, carts: usize, lines: usize) -> io::Result<Vec<Cart>> {
    const MAKERS: usize = 64;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let makers: Vec<_> = (0..MAKERS)
            .map(|n| {
                let address = address.to_owned();
                let share = carts / MAKERS + usize::from(n < carts % MAKERS);
                tokio::spawn(async move {
                    let mut connection = Connection::open(&address).await?;
                    let mut made = Vec::with_capacity(share);
                    for _ in 0..share {
                        let cart = Cart::make(&mut connection).await?;
                        for sku in &SKUS[..lines] {
                            match connection.exchange(&cart.add(sku, 1, None)).await? {
                                200 => {}
                                status => return Err(io::Error::other(format!("an add was answered {status}"))),
                            }
                        }
                        made.push(cart);
                    }
                    Ok(made)
                })
            })
            .collect();
        let mut all = Vec::with_capacity(carts);
        for maker in makers {
            all.extend(maker.await.map_err(io::Error::other)??);
        }
        Ok(all)
    })
}

/// One answer, for a server that returns the same bytes and does nothing else.
fn sample(address: &str) -> io::Result<serde_json::Value> {
    let cart = make(address, 1, 3)?.remove(0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(async { cart.read(&mut Connection::open(address).await?).await })?;
    let (head, body) = (String::from_utf8_lossy(&answer.head), String::from_utf8_lossy(&answer.body));
    Ok(json!({ "head": head, "body": body }))
}
