//! Whoever knocks at the cluster's port and is no node: it gets nowhere, and nobody else notices.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::node::{Authority, Node};

/// Sockets that say nothing.
const SILENT: usize = 2_000;
/// What such a flood may cost, in all.
const GROWTH_KIB_MAX: u64 = 32 * 1024;

/// Connects with the given authority's certificate of a node, or without one.
async fn dial(
    address: &str,
    trusts: &Authority,
    certificate: Option<(&Path, &str)>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(trusts.dir.0.join("ca.pem")).unwrap()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots);
    let config = match certificate {
        None => config.with_no_client_auth(),
        Some((dir, name)) => {
            let certificate = CertificateDer::from_pem_file(dir.join(format!("{name}.pem"))).unwrap();
            let key = PrivateKeyDer::from_pem_file(dir.join(format!("{name}.key"))).unwrap();
            config.with_client_auth_cert(vec![certificate], key).unwrap()
        }
    };
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("a").unwrap(), stream).await
}

fn hello(name: &str) -> Vec<u8> {
    let length = u8::try_from(name.len()).unwrap();
    [&b"TROLLEY1"[..], &1_u64.to_be_bytes(), &[length], name.as_bytes()].concat()
}

/// Sends, and waits until the other side has ended the connection.
async fn send_until_closed(mut stream: TlsStream<TcpStream>, bytes: &[u8]) {
    let _ = stream.write_all(bytes).await; // ended before
    let _ = stream.flush().await;
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await; // it ends, with an alert or without
}

#[tokio::test]
async fn only_a_certificate_that_names_the_node_lets_it_in() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (mut a, mut b) = Node::pair(&authority).await;
    let address = a.address.clone();
    let dir = authority.dir.0.as_path();
    // TLS 1.3 tells a client that it was turned away only with its first read.
    for certificate in [None, Some((other.dir.0.as_path(), "c"))] {
        if let Ok(stream) = dial(&address, &authority, certificate).await {
            send_until_closed(stream, &hello("c")).await;
        }
    }
    a.until("refused tls", |count| count == "2").await;
    for name in ["b", "a", "C0", "-"] {
        send_until_closed(dial(&address, &authority, Some((dir, "c"))).await.unwrap(), &hello(name)).await;
    }
    a.until("refused name", |count| count == "3").await;
    a.until("refused hello", |count| count == "1").await;
    assert_eq!(a.run("ask b requests 9000 hello").await, "hello");
    assert_eq!(b.run("ask a requests 9000 hello").await, "hello");
    assert_eq!(a.run("events").await, r#"Up { name: "b", incarnation: 1 }"#);
}

#[tokio::test]
async fn garbage_and_huge_frames_end_the_connection_alone() {
    let authority = Authority::new();
    let (mut a, _b) = Node::pair(&authority).await;
    let address = a.address.clone();
    let mut garbage = TcpStream::connect(&address).await.unwrap();
    garbage.write_all(&[0x5a; 4096]).await.unwrap();
    let mut rest = Vec::new();
    let _ = garbage.read_to_end(&mut rest).await; // it ends
    a.until("refused tls", |count| count == "1").await;
    let with_frame = |length: u64, body: &[u8]| [&hello("c")[..], &length.to_be_bytes(), body].concat();
    let c = || dial(&address, &authority, Some((authority.dir.0.as_path(), "c")));
    send_until_closed(c().await.unwrap(), &with_frame(u64::MAX, b"")).await;
    send_until_closed(c().await.unwrap(), &with_frame(1024 * 1024 + 1, b"")).await;
    send_until_closed(c().await.unwrap(), &with_frame(4, &[0xff; 4])).await;
    // A frame that never comes to its end: the session does not come about in time.
    send_until_closed(c().await.unwrap(), &with_frame(1024 * 1024, b"x")).await;
    a.until("refused session", |count| count == "4").await;
    assert_eq!(a.run("ask b requests 9000 hello").await, "hello");
    assert_eq!(a.run("events").await, r#"Up { name: "b", incarnation: 1 }"#);
}

#[tokio::test]
async fn thousands_of_silent_sockets_keep_nobody_out_and_take_no_memory() {
    let authority = Authority::new();
    let (a, mut b) = Node::pair(&authority).await;
    let before_kib = b.resident_kib();
    let mut sockets = Vec::new();
    for _ in 0..SILENT {
        sockets.push(TcpStream::connect(&b.address).await.unwrap());
    }
    // They stand there still when a node starts again, which has to be let in: of two, the first by name dials.
    a.kill();
    let mut a = Node::start(&authority, "a", 2).await;
    a.follow(&[&b]).await;
    b.follow(&[&a]).await;
    a.until_up("b", 1).await;
    b.until_up("a", 2).await;
    let growth_kib = b.resident_kib().saturating_sub(before_kib);
    assert!(growth_kib < GROWTH_KIB_MAX, "{growth_kib} KiB");
    assert_eq!(a.run("ask b requests 9000 hello").await, "hello");
    b.until("refused evicted", |count| count.parse::<usize>().unwrap() > SILENT / 2).await;
    drop(sockets);
}
