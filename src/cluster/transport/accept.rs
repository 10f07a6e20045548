//! Takes connections from other nodes: whoever does not prove itself soon is gone, and takes up next to nothing.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

use super::{
    Refusal,
    frame::{self, HELLO_HEAD_BYTES},
    shared::Shared,
    socket::{Halves, Hand},
    tls,
};
use crate::telemetry::metrics::metrics;

/// How long a connection may take to prove itself, from accept to hello.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);
/// Connections that have not proven themselves yet.
const UNPROVEN_MAX: usize = 64;
/// Of those, from one address.
const UNPROVEN_OF_ADDRESS_MAX: usize = 16;
/// Pause after an accept that failed, such as for lack of file handles.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Those at the door. When it is full, the one that has stood there longest goes: a peer of ours needs milliseconds, so
/// that it gets in however many others stand there and say nothing.
#[derive(Default)]
struct Door(Mutex<Standing>);

#[derive(Default)]
struct Standing {
    next: u64,
    queue: VecDeque<(u64, IpAddr, oneshot::Sender<()>)>,
}

impl Door {
    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, and what is closed when it has to be given up.
    fn enter(&self, address: IpAddr) -> (u64, oneshot::Receiver<()>) {
        let mut standing = self.standing();
        let of_address = standing.queue.iter().filter(|(_, other, _)| *other == address).count();
        if of_address >= UNPROVEN_OF_ADDRESS_MAX {
            if let Some(at) = standing.queue.iter().position(|(_, other, _)| *other == address) {
                standing.queue.remove(at);
            }
        } else if standing.queue.len() >= UNPROVEN_MAX {
            standing.queue.pop_front();
        }
        let (sender, evicted) = oneshot::channel();
        standing.next += 1;
        let number = standing.next;
        standing.queue.push_back((number, address, sender));
        (number, evicted)
    }

    fn leave(&self, number: u64) {
        self.standing().queue.retain(|(other, ..)| *other != number);
    }
}

/// Takes connections for ever.
pub(super) async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    let door = Arc::new(Door::default());
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                let (number, evicted) = door.enter(address.ip());
                tokio::spawn(welcome(shared.clone(), door.clone(), stream, address, number, evicted));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot take a connection from another node");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn welcome(
    shared: Arc<Shared>,
    door: Arc<Door>,
    stream: TcpStream,
    address: SocketAddr,
    number: u64,
    evicted: oneshot::Receiver<()>,
) {
    let proven = tokio::select! {
        biased;
        proven = tokio::time::timeout(HANDSHAKE_TIMEOUT, prove(&shared, stream)) => proven.unwrap_or(Err(Refusal::Timeout)),
        _ = evicted => Err(Refusal::Evicted),
    };
    door.leave(number);
    let outcome = match proven {
        Ok(proven) => {
            shared.establish(proven.peer, (false, address.to_string()), proven.hand, proven.halves).await.map(drop)
        }
        Err(refusal) => Err(refusal),
    };
    if let Err(refusal) = outcome {
        metrics().cluster_handshakes_refused_total.with_label_values(&[refusal.name()]).inc();
        tracing::debug!(%address, reason = refusal.name(), "a connection was refused");
    }
}

/// A connection whose other end is known.
pub(super) struct Proven {
    pub(super) peer: (Arc<str>, u64),
    pub(super) hand: Hand,
    pub(super) halves: Halves,
}

async fn prove(shared: &Shared, stream: TcpStream) -> Result<Proven, Refusal> {
    let hand = Hand::take(&stream).map_err(|_| Refusal::Hello)?;
    match &shared.tls {
        Some(tls) => {
            let mut stream = tls.accept(stream).await.map_err(|_| Refusal::Tls)?;
            let (name, incarnation) = read_hello(&mut stream).await?;
            if !tls::shows(&stream, &name) {
                return Err(Refusal::Name);
            }
            answer(shared, &mut stream, &name, incarnation).await?;
            Ok(Proven { peer: (name.into(), incarnation), hand, halves: Halves::of(stream) })
        }
        None => {
            let mut stream = stream;
            let (name, incarnation) = read_hello(&mut stream).await?;
            answer(shared, &mut stream, &name, incarnation).await?;
            Ok(Proven { peer: (name.into(), incarnation), hand, halves: Halves::of(stream) })
        }
    }
}

async fn answer(
    shared: &Shared,
    stream: &mut (impl AsyncWrite + Unpin),
    name: &str,
    incarnation: u64,
) -> Result<(), Refusal> {
    if name == &*shared.me {
        return Err(Refusal::Name);
    }
    if shared.is_outdated(name, incarnation) {
        return Err(Refusal::Incarnation);
    }
    say_hello(shared, stream).await.map_err(|_| Refusal::Hello)
}

/// Says who this node is.
pub(super) async fn say_hello(shared: &Shared, stream: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    stream.write_all(&frame::hello(&shared.me, shared.incarnation)).await?;
    stream.flush().await
}

/// Reads who the other is: a name that a node can have, and an incarnation.
pub(super) async fn read_hello(stream: &mut (impl AsyncRead + Unpin)) -> Result<(String, u64), Refusal> {
    let mut head = [0; HELLO_HEAD_BYTES];
    stream.read_exact(&mut head).await.map_err(|_| Refusal::Hello)?;
    let (incarnation, length) = frame::read_hello_head(head).map_err(|_| Refusal::Hello)?;
    let mut name = vec![0; length];
    stream.read_exact(&mut name).await.map_err(|_| Refusal::Hello)?;
    let name = String::from_utf8(name).ok().filter(|name| frame::is_name(name)).ok_or(Refusal::Hello)?;
    Ok((name, incarnation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_door_sends_away_who_stood_longest_and_first_of_the_same_address() {
        let door = Door::default();
        let address = |last: u8| IpAddr::from([10, 0, 0, last]);
        let (_, mut other) = door.enter(address(0));
        let (_, mut first) = door.enter(address(1));
        let crowd: Vec<_> = (1..UNPROVEN_OF_ADDRESS_MAX).map(|_| door.enter(address(1))).collect();
        assert!(first.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
        let _next = door.enter(address(1));
        assert_eq!(first.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        assert_eq!(other.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        let many: Vec<_> = (2..=64).map(|last| door.enter(address(last))).collect();
        assert_eq!(other.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        assert_eq!(door.standing().queue.len(), UNPROVEN_MAX);
        for (number, _) in crowd.into_iter().chain(many) {
            door.leave(number);
        }
        assert_eq!(door.standing().queue.len(), 1);
    }
}
