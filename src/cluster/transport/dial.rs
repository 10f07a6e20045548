//! Dials the peers that this node has to dial, again and again while they are wanted.

use std::{io, sync::Arc, time::Duration};

use tokio::net::{TcpSocket, TcpStream, lookup_host};

use super::{
    Peer, Refusal,
    accept::{HANDSHAKE_TIMEOUT, Proven, read_hello, say_hello},
    session::Session,
    shared::Shared,
    socket::{Halves, Hand},
};
use crate::telemetry::{clock, metrics::metrics};

/// Pause after the first attempt that failed; each further one doubles it.
const PAUSE_MS_MIN: u64 = 50;
/// Longest pause: a node that is back is noticed within this.
const PAUSE_MS_MAX: u64 = 3_000;
/// How long [`is_refused`] waits: whoever is there answers far sooner.
const REFUSED_TIMEOUT: Duration = Duration::from_millis(250);

/// Holds a session with a peer for ever.
pub(super) async fn keep(shared: Arc<Shared>, peer: Peer) {
    let mut failures = 0;
    loop {
        match shared.session(&peer.name).filter(|session| session.connection.incarnation >= peer.incarnation) {
            Some(session) => {
                session.until_ended().await;
                if session.is_up() {
                    failures = 0;
                }
            }
            None => match dial(&shared, &peer).await {
                Ok(_) => {
                    metrics().cluster_dials_total.with_label_values(&["up"]).inc();
                    continue;
                }
                Err(error) => {
                    metrics().cluster_dials_total.with_label_values(&["failed"]).inc();
                    if failures == 0 {
                        tracing::warn!(
                            peer = &*peer.name,
                            address = peer.address,
                            error,
                            "cannot reach a peer; trying on"
                        );
                    }
                }
            },
        }
        failures += 1;
        tokio::time::sleep(pause(failures, clock::random())).await;
    }
}

/// Half of it at random: peers that lost each other at once do not all come back at once.
fn pause(failures: u32, random: u128) -> Duration {
    let whole_ms = PAUSE_MS_MIN.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(PAUSE_MS_MAX);
    let half_ms = whole_ms / 2;
    let random = u64::try_from(random & u128::from(u64::MAX)).unwrap_or_default();
    Duration::from_millis(half_ms + random % (half_ms + 1))
}

async fn dial(shared: &Shared, peer: &Peer) -> Result<Arc<Session>, String> {
    let proven = tokio::time::timeout(HANDSHAKE_TIMEOUT, prove(shared, peer)).await;
    let proven = proven.map_err(|_| "it does not answer in time".to_owned())?.map_err(|error| error.to_string())?;
    let session = shared.establish(proven.peer, (true, peer.address.clone()), proven.hand, proven.halves).await;
    session.map_err(|refusal| match refusal {
        Refusal::Full => "too many connections".to_owned(),
        _ => "no session came about: do both nodes have the same cookie?".to_owned(),
    })
}

async fn prove(shared: &Shared, peer: &Peer) -> io::Result<Proven> {
    let mut stream = connect(shared, &peer.address).await?;
    let hand = Hand::take(&stream)?;
    let (incarnation, halves) = match &shared.tls {
        Some(tls) => {
            let mut stream = tls.connect(stream, &peer.name).await?;
            say_hello(shared, &mut stream).await?;
            (check(peer, read_hello(&mut stream).await)?, Halves::of(stream))
        }
        None => {
            say_hello(shared, &mut stream).await?;
            (check(peer, read_hello(&mut stream).await)?, Halves::of(stream))
        }
    };
    Ok(Proven { peer: (peer.name.clone(), incarnation), hand, halves })
}

/// Connects from this node's own address, where the other's is of the same kind.
async fn connect(shared: &Shared, address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "the name has no address");
    for to in lookup_host(address).await? {
        let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(from) = shared.from.filter(|from| from.is_ipv4() == to.is_ipv4()) {
            socket.bind((from, 0).into())?;
        }
        match socket.connect(to).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn check(peer: &Peer, hello: Result<(String, u64), Refusal>) -> io::Result<u64> {
    match hello {
        Ok((name, incarnation)) if name == *peer.name && incarnation >= peer.incarnation => Ok(incarnation),
        Ok((name, incarnation)) => Err(io::Error::other(format!("{name}#{incarnation} answers there"))),
        Err(_) => Err(io::Error::other("it closed the connection: does it know this node's authority and name?")),
    }
}

/// Whether nobody listens at an address.
pub(super) async fn is_refused(address: &str) -> bool {
    let look = async {
        let Ok(addresses) = lookup_host(address).await else { return false };
        let mut is_refused = false;
        for address in addresses {
            match TcpStream::connect(address).await {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => is_refused = true,
                _ => return false,
            }
        }
        is_refused
    };
    tokio::time::timeout(REFUSED_TIMEOUT, look).await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_differ() {
        let ms = |failures, random| u64::try_from(pause(failures, random).as_millis()).unwrap();
        assert_eq!((ms(1, 0), ms(1, 25)), (25, 50));
        assert_eq!((ms(4, 0), ms(4, 200)), (200, 400));
        assert_eq!((ms(u32::MAX, 0), ms(u32::MAX, 1_500)), (1_500, 3_000));
    }

    #[tokio::test]
    async fn an_address_is_refused_only_when_nobody_listens() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        assert!(!is_refused(&address).await);
        drop(listener);
        assert!(is_refused(&address).await);
        assert!(!is_refused("no such place").await);
    }
}
