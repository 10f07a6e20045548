//! An event stream, read as a browser does.

use loadtest::shop::Cart;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpStream, tcp::OwnedReadHalf},
    time::timeout,
};

use crate::support::wait::PATIENCE;

/// An open stream.
pub(super) struct Stream {
    lines: tokio::io::Lines<BufReader<OwnedReadHalf>>,
    _write: tokio::net::tcp::OwnedWriteHalf,
}

impl Stream {
    pub(super) async fn open(http: &str, cart: &Cart, seen: Option<u64>) -> Self {
        let mut request = cart.request("GET", "/events", None, None);
        if let Some(seen) = seen {
            request.truncate(request.len() - 2);
            request.extend_from_slice(format!("last-event-id: {seen}\r\n\r\n").as_bytes());
        }
        Self::asked(http, &request).await
    }

    /// The stream that this request opens.
    pub(super) async fn asked(http: &str, request: &[u8]) -> Self {
        let (read, mut write) = TcpStream::connect(http).await.unwrap().into_split();
        write.write_all(request).await.unwrap();
        Self { lines: BufReader::new(read).lines(), _write: write }
    }

    /// The next event's id; `None` = the stream has ended, cleanly.
    pub(super) async fn next(&mut self) -> Option<u64> {
        let next = async {
            loop {
                let line = self.lines.next_line().await.unwrap()?;
                if line == "0" {
                    return None; // the last chunk
                }
                if let Some(id) = line.strip_prefix("id: ").or_else(|| line.strip_prefix("id:")) {
                    return Some(id.trim().parse().unwrap());
                }
            }
        };
        timeout(PATIENCE, next).await.expect("the stream tells something")
    }
}
