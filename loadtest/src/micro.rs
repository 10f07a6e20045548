//! Prepared requests over kept connections, for the benchmarks: `get` (read carts of three lines), `add` (add to many
//! carts), `hot` (+1 and −1 in pairs on one cart of three lines), `fill` (make carts of three lines and stop), `same`
//! (GET /), `sample` (one GET's head and body).

use std::{io, time::Duration};

use serde_json::{Value, json};

use crate::{client::Connection, client::request, run::run, shop::Cart};

/// Three products of the built-in catalogue that are in stock.
const SKUS: [&str; 3] = ["mug-blue", "mug-white", "mug-black"];

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Micro {
    /// Reads of carts of three lines.
    Get,
    /// Adds to many carts.
    Add,
    /// +1 and −1 in pairs on one cart of three lines.
    Hot,
    /// Nothing but carts of three lines.
    Fill,
    /// GET /, or the path.
    Same,
    /// One read, told in full.
    Sample,
}

/// How it is sent.
#[derive(Clone, Debug)]
pub struct How {
    /// Where to.
    pub address: String,
    /// Over how many connections.
    pub connections: usize,
    /// Over how many carts.
    pub carts: usize,
    /// For how long.
    pub duration: Duration,
    /// How many a second; `None` = as fast as they are answered.
    pub rate: Option<f64>,
    /// What `same` reads.
    pub path: String,
    /// Only carts that this node owns; `None` = whoever owns them.
    pub owner: Option<String>,
}

/// Runs it. One JSON object for scripts.
///
/// # Errors
/// When carts cannot be made or a connection breaks.
pub fn measure(micro: Micro, how: &How) -> io::Result<Value> {
    let make = |carts, lines| make(&how.address, carts, lines, how.owner.as_deref());
    let requests = match micro {
        Micro::Get => make(how.carts, 3)?.iter().map(|cart| cart.request("GET", "", None, None)).collect(),
        Micro::Add => make(how.carts, 0)?.iter().map(|cart| cart.add(SKUS[0], 1, None)).collect(),
        Micro::Hot => {
            let cart = make(1, 3)?.remove(0);
            let plus = cart.add(SKUS[0], 1, None);
            let set = |n: u32| cart.request("PATCH", "/items/l1", None, Some(&format!(r#"{{"quantity":{n}}}"#)));
            vec![plus, set(1)]
        }
        Micro::Fill => return Ok(json!({ "carts": make(how.carts, 3)?.len() })),
        Micro::Same => vec![request("GET", &how.path, &[], None)],
        Micro::Sample => return sample(&how.address),
    };
    Ok(run(&how.address, requests, how.connections, how.duration, how.rate)?.json())
}

/// Makes carts over a few connections at once.
fn make(address: &str, carts: usize, lines: usize, owner: Option<&str>) -> io::Result<Vec<Cart>> {
    const MAKERS: usize = 64;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let makers: Vec<_> = (0..MAKERS)
            .map(|n| {
                let (address, owner) = (address.to_owned(), owner.map(str::to_owned));
                let share = carts / MAKERS + usize::from(n < carts % MAKERS);
                tokio::spawn(async move {
                    let mut connection = Connection::open(&address).await?;
                    let mut made = Vec::with_capacity(share);
                    for _ in 0..share {
                        let cart = loop {
                            let cart = Cart::make(&mut connection).await?;
                            let Some(owner) = &owner else { break cart };
                            if cart.read(&mut connection).await?.header("trolley-owner") == Some(owner) {
                                break cart;
                            }
                        };
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
fn sample(address: &str) -> io::Result<Value> {
    let cart = make(address, 1, 3, None)?.remove(0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(async { cart.read(&mut Connection::open(address).await?).await })?;
    let (head, body) = (String::from_utf8_lossy(&answer.head), String::from_utf8_lossy(&answer.body));
    Ok(json!({ "head": head, "body": body }))
}
