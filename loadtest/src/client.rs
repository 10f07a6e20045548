//! One HTTP/1.1 connection: prepared requests out, answers in. Cheaper per request than any server it measures.

use std::{io, str};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Most bytes of an answer: a cart of a hundred lines is far smaller.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A kept connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// What was answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The head as sent.
    pub head: Vec<u8>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header's value, by its name in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        str::from_utf8(&self.head).ok()?.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The body as JSON; `null` when it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// A request's bytes, to be sent any number of times.
#[must_use]
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: shop\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(body) = body {
        text.push_str(&format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    text.push_str(body.unwrap_or_default());
    text.into_bytes()
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn open(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(8 * 1024) })
    }

    /// Whether another request can be sent: nothing lies unread, and the other side has not closed it.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(self.stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends a request and waits for the whole answer; returns its status.
    ///
    /// # Errors
    /// When the connection breaks: whether the request was done is not known then.
    pub async fn exchange(&mut self, request: &[u8]) -> io::Result<u16> {
        self.receive(request).await.map(|(status, _)| status)
    }

    /// The same, with the answer.
    ///
    /// # Errors
    /// As [`Connection::exchange`].
    pub async fn ask(&mut self, request: &[u8]) -> io::Result<Answer> {
        let (status, head) = self.receive(request).await?;
        Ok(Answer { status, head: self.buffer[..head].to_vec(), body: self.buffer[head..].to_vec() })
    }

    /// Returns the status and where the body starts.
    async fn receive(&mut self, request: &[u8]) -> io::Result<(u16, usize)> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let broken = |what: &'static str| io::Error::new(io::ErrorKind::InvalidData, what);
        let (status, head, length) = loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(head) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let text = str::from_utf8(&self.buffer[..head]).map_err(|_| broken("the head is no text"))?;
                let status =
                    text.get(9..12).and_then(|status| status.parse().ok()).ok_or_else(|| broken("no status"))?;
                break (status, head + 4, content_length(text).unwrap_or(0));
            }
        };
        if length > ANSWER_BYTES_MAX {
            return Err(broken("the answer is too long"));
        }
        while self.buffer.len() < head + length {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok((status, head))
    }
}

fn content_length(head: &str) -> Option<usize> {
    let is_it = |line: &&str| line.get(..15).is_some_and(|name| name.eq_ignore_ascii_case("content-length:"));
    head.split("\r\n").find(is_it)?.get(15..)?.trim().parse().ok()
}
