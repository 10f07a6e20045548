//! The ceiling of `cargo xtask bench`: bare axum that returns one recorded answer's bytes and headers and does nothing
//! else. `ceiling SAMPLE.json`; prints its address.

use std::{fs, io};

use axum::{
    Router,
    http::{HeaderMap, HeaderName, HeaderValue},
    routing::get,
};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> io::Result<()> {
    let path = std::env::args().nth(1).ok_or_else(|| io::Error::other("ceiling SAMPLE.json"))?;
    let sample: serde_json::Value = serde_json::from_slice(&fs::read(path)?)?;
    let text = |name: &str| sample[name].as_str().unwrap_or_default().to_owned();
    let body = bytes::Bytes::from(text("body"));
    let mut headers = HeaderMap::new();
    for line in text("head").lines().skip(1) {
        // Length and date are the server's own.
        if let Some((name, value)) = line.split_once(": ")
            && !matches!(name, "content-length" | "date")
        {
            let name: HeaderName = name.parse().map_err(io::Error::other)?;
            headers.insert(name, HeaderValue::from_str(value).map_err(io::Error::other)?);
        }
    }
    let answer = move || {
        let (headers, body) = (headers.clone(), body.clone());
        async move { (headers, body) }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    axum::serve(listener, Router::new().route("/", get(answer))).await
}
