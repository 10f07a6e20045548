//! The embedded store without anything around it, for `cargo xtask bench`:
//! `store_alone DIR rate SECONDS IN_FLIGHT ROWS BODY_BYTES` saves as fast as it can and prints one line of JSON;
//! `store_alone DIR fill ROWS` stores carts of three lines; `store_alone DIR serve SOCKET` lets another one have
//! `unix:SOCKET` for its directory.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use trolley::{
    codec::{self, record::Record},
    domain::{
        CartId, Currency, GuestId, Slot, UnixMillis,
        cart::{Cart, Line, LineId, Owner, Status},
    },
    store::{Embedded, Expect, Kind, Remote, Row, Saved, Store, embedded::Options, remote},
    telemetry::clock,
};

/// The allocator of the server that it is compared with.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Saves in flight while carts are stored.
const FILL_IN_FLIGHT: u64 = 1024;

#[tokio::main]
async fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| {
        let text = arguments.get(at).ok_or_else(|| io::Error::other("arguments are missing"))?;
        text.parse::<u64>().map_err(io::Error::other)
    };
    let dir = arguments.first().ok_or_else(|| io::Error::other("store_alone DIR rate|fill|serve …"))?;
    let store: Arc<dyn Store> = match dir.strip_prefix("unix:") {
        Some(socket) => Arc::new(Remote::open(socket, remote::Options::default()).await.map_err(io::Error::other)?),
        None => Arc::new(Embedded::open(Options::new(dir)).map_err(io::Error::other)?),
    };
    match arguments.get(1).map(String::as_str) {
        Some("rate") => {
            let body = bytes::Bytes::from(vec![0x5a; number(5)? as usize]);
            rate(store, Duration::from_secs(number(2)?), number(3)?, number(4)?, body).await
        }
        Some("fill") => fill(store, number(2)?).await,
        Some("serve") => {
            let socket = arguments.get(2).ok_or_else(|| io::Error::other("where?"))?;
            remote::serve(remote::bind(socket.as_ref())?, store, Arc::default()).await;
            Ok(())
        }
        _ => Err(io::Error::other("rate, fill or serve")),
    }
}

fn row(expect: Expect, body: bytes::Bytes) -> Row {
    let (op_id, updated_at_ms) = (clock::random(), clock::now().0);
    Row { version: expect.next(), epoch: 1, op_id, schema_v: 1, updated_at_ms, ttl_s: None, body }
}

async fn rate(store: Arc<dyn Store>, time: Duration, in_flight: u64, rows: u64, body: bytes::Bytes) -> io::Result<()> {
    let end = Instant::now() + time;
    let writers: Vec<_> = (0..in_flight)
        .map(|writer| {
            let (store, body) = (Arc::clone(&store), body.clone());
            tokio::spawn(async move {
                let mine: Vec<u64> = (writer..rows).step_by(in_flight as usize).collect();
                let (mut saved, mut version) = (0u64, 0);
                while Instant::now() < end {
                    for id in &mine {
                        let expect = if version == 0 { Expect::Absent } else { Expect::Version(version) };
                        let done =
                            store.save(Kind::Cart, u128::from(*id), expect, row(expect, body.clone()), vec![]).await;
                        if done != Saved::Applied {
                            return Err(io::Error::other(format!("{done:?}")));
                        }
                        saved += 1;
                        if Instant::now() >= end {
                            break;
                        }
                    }
                    version += 1;
                }
                Ok(saved)
            })
        })
        .collect();
    let mut saved = 0;
    for writer in writers {
        saved += writer.await.map_err(io::Error::other)??;
    }
    println!("{}", serde_json::json!({ "rate": saved as f64 / time.as_secs_f64() }));
    Ok(())
}

async fn fill(store: Arc<dyn Store>, carts: u64) -> io::Result<()> {
    let writers: Vec<_> = (0..FILL_IN_FLIGHT)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for _ in (writer..carts).step_by(FILL_IN_FLIGHT as usize) {
                    let cart = cart();
                    let id = cart.id.0.0;
                    let (receipts, unsent) = (Default::default(), Box::default());
                    let record = Record { epoch: 1, op_id: 1, state: cart, receipts, unsent, armed: None };
                    let body = codec::encode_cart(&record).map_err(io::Error::other)?;
                    let done = store.save(Kind::Cart, id, Expect::Absent, row(Expect::Absent, body), vec![]).await;
                    if done != Saved::Applied {
                        return Err(io::Error::other(format!("{done:?}")));
                    }
                }
                Ok(())
            })
        })
        .collect();
    for writer in writers {
        writer.await.map_err(io::Error::other)??;
    }
    println!("{}", serde_json::json!({ "carts": carts }));
    Ok(())
}

fn cart() -> Cart {
    let now = clock::now();
    let slot = Slot::from_bits(clock::random() as u16);
    let line = |n: u32| Line {
        id: LineId(n),
        sku: format!("product-{n}").into(),
        title: format!("Product {n}").into(),
        quantity: 1,
        quantity_max: 999,
        unit_price: 1299,
        options: Box::default(),
        metadata: Box::default(),
    };
    Cart {
        id: CartId::new(slot, now, clock::random()),
        revision: 4,
        owner: Owner::Guest(GuestId::new(slot, now, clock::random())),
        generation: 0,
        status: Status::Open,
        currency: Currency::EUR,
        lines: (1..=3).map(line).collect(),
        saved: Default::default(),
        codes: Default::default(),
        checkout: None,
        line_next: 4,
        note: None,
        email: None,
        created_at: now,
        updated_at: now,
        expires_at: UnixMillis(now.0 + 90 * 24 * 60 * 60 * 1000),
    }
}
