//! A connection's socket: its options, its two halves for the session, and a hand on it to cut it at once.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use ractor_cluster::{BoxRead, BoxWrite, ClusterBidiStream};
use rustix::net::{Shutdown, sockopt};
use tokio::{
    io::{AsyncRead, AsyncWrite, BufReader},
    net::TcpStream,
};

/// How long sent bytes may stay unconfirmed before the kernel gives the connection up: it ends sockets that nobody
/// watches any more. Sessions are watched far more closely.
const UNCONFIRMED_MS_MAX: u32 = 3_000;
/// A silent connection is asked by the kernel after so long whether it lives.
const KEEPALIVE: Duration = Duration::from_secs(2);
/// The session reads a frame in pieces; this many bytes come with one call to the kernel.
const READ_BUFFER_BYTES: usize = 32 * 1024;

/// A hand on a socket that somebody else reads and writes.
#[derive(Debug)]
pub(super) struct Hand(OwnedFd);

impl Hand {
    /// Sets the socket's options.
    pub(super) fn take(stream: &TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        sockopt::set_tcp_user_timeout(stream, UNCONFIRMED_MS_MAX)?;
        sockopt::set_socket_keepalive(stream, true)?;
        sockopt::set_tcp_keepidle(stream, KEEPALIVE)?;
        Ok(Self(stream.as_fd().try_clone_to_owned()?))
    }

    /// Ends reading and writing, whatever the reader and the writer are at.
    pub(super) fn cut(&self) {
        let _ = rustix::net::shutdown(&self.0, Shutdown::Both); // it has ended already
    }
}

/// A connection as a node session wants it.
pub(super) struct Halves {
    label: String,
    read: BoxRead,
    write: BoxWrite,
}

impl Halves {
    pub(super) fn of(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        let (read, write) = tokio::io::split(stream);
        let read = Box::new(BufReader::with_capacity(READ_BUFFER_BYTES, read));
        Self { label: String::new(), read, write: Box::new(write) }
    }

    /// By this text events tell which connection they are about.
    pub(super) fn labelled(self, label: String) -> Self {
        Self { label, ..self }
    }
}

impl ClusterBidiStream for Halves {
    fn split(self: Box<Self>) -> (BoxRead, BoxWrite) {
        (self.read, self.write)
    }

    fn peer_label(&self) -> Option<String> {
        Some(self.label.clone())
    }
}
