//! How many asks a second one node can put to another, both on this machine: `peers_alone [callers] [bytes] [seconds]`.
//! Mutual TLS as in production; the other node is a process of its own and answers with the body that it got.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot set itself up has failed")]

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::net::TcpListener;
use trolley::cluster::transport::{Cookie, Lane, Options, Peer, PeerEvent, Peers, Reply, Serve, Tls};

struct Echo;

impl Serve for Echo {
    fn serve(&self, _: &Arc<str>, _: Lane, body: Bytes, _: Duration, reply: Reply) {
        reply.send(body);
    }

    fn told(&self, _: &Arc<str>, _: u64) {}
}

/// An authority, and a certificate of each node that it signed.
fn write_certificates(dir: &Path) {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    std::fs::write(dir.join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(params, key);
    for name in ["a", "b"] {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        std::fs::write(dir.join(format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

async fn start(name: &str, dir: &Path) -> (Peers, String) {
    let file = |ending: &str| dir.join(format!("{name}.{ending}"));
    let tls = Some(Tls::load(&dir.join("ca.pem"), &file("pem"), &file("key")).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let options = Options { node: name.into(), incarnation: 1, cookie: Cookie([7; 32]), tls };
    (Peers::start(listener, options, Arc::new(Echo)).await.unwrap(), address)
}

#[tokio::main]
async fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "serve") {
        let (_peers, address) = start("b", Path::new(&words[1])).await;
        println!("{address}");
        return std::future::pending().await;
    }
    let number = |at: usize, otherwise: usize| words.get(at).map_or(otherwise, |word| word.parse().unwrap());
    let (callers, bytes, seconds) = (number(0, 64), number(1, 200), number(2, 5));
    let dir = std::env::temp_dir().join(format!("trolley-peers-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    write_certificates(&dir);
    let mut child =
        Command::new(std::env::current_exe().unwrap()).arg("serve").arg(&dir).stdout(Stdio::piped()).spawn().unwrap();
    let mut address = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
    let (peers, _) = start("a", &dir).await;
    let mut events = peers.events();
    peers.follow(vec![Peer { name: "b".into(), incarnation: 1, address: address.trim().to_owned() }]);
    while !matches!(events.recv().await, Some(PeerEvent::Up { .. })) {}
    let began = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let peers = peers.clone();
            tokio::spawn(async move {
                let (body, mut times_us) = (vec![0; bytes], Vec::new());
                while began.elapsed() < Duration::from_secs(seconds as u64) {
                    let asked = Instant::now();
                    peers.ask("b", Lane::Requests, &body, Duration::from_secs(2)).await.unwrap();
                    times_us.push(asked.elapsed().as_micros());
                }
                times_us
            })
        })
        .collect();
    let mut times_us = Vec::new();
    for task in tasks {
        times_us.extend(task.await.unwrap());
    }
    let took = began.elapsed();
    times_us.sort_unstable();
    let at = |part: f64| times_us[(times_us.len() as f64 * part) as usize];
    println!(
        "{callers} callers, {bytes} bytes: {:.0} asks/s, p50 {} us, p99 {} us",
        times_us.len() as f64 / took.as_secs_f64(),
        at(0.5),
        at(0.99)
    );
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
}
