//! Events to a real receiver over HTTP: one that fails, hangs, closes, refuses and recovers.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::{mpsc, oneshot, watch},
    task::AbortHandle,
};
use tokio_rustls::TlsAcceptor;
use trolley::{
    events::{
        Data, Done, Offer, Options, Outgoing, Patience, Relay, ReplayError, Settings, Signer, Sink, Webhook, Word,
    },
    store::{Memory, Store},
};

use crate::support::{TempDir, wait::until};

mod shop;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What the receiver does with a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mood {
    Answers(u16),
    /// Takes the request and never answers.
    Hangs,
    /// Takes the request and closes the connection.
    Closes,
}

/// What the receiver got.
struct Got {
    id: String,
    timestamp: String,
    signature: String,
    content_type: String,
    body: Bytes,
}

impl Got {
    fn sequence(&self) -> u64 {
        self.id.rsplit_once('-').unwrap().1.parse().unwrap()
    }
}

struct Receiver {
    url: String,
    address: SocketAddr,
    mood: watch::Sender<Mood>,
    got: mpsc::Receiver<Got>,
    task: AbortHandle,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    async fn start(mood: Mood) -> Self {
        Self::start_with(mood, None).await
    }

    async fn start_with(mood: Mood, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let url = format!("{}://localhost:{}/hooks?k=1", if tls.is_some() { "https" } else { "http" }, address.port());
        let ((mood, moods), (sender, got)) = (watch::channel(mood), mpsc::channel(10_000));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (moods, sender, tls) = (moods.clone(), sender.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, moods, sender).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, moods, sender).await;
                            }
                        }
                    }
                });
            }
        });
        Self { url, address, mood, got, task: task.abort_handle() }
    }

    async fn next(&mut self) -> Got {
        self.got.recv().await.unwrap()
    }
}

async fn serve<S>(stream: S, moods: watch::Receiver<Mood>, sender: mpsc::Sender<Got>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request: Request<Incoming>| {
        let (moods, sender) = (moods.clone(), sender.clone());
        async move {
            assert_eq!((request.method().as_str(), request.uri().to_string().as_str()), ("POST", "/hooks?k=1"));
            let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
            let [id, timestamp, signature, content_type] =
                ["webhook-id", "webhook-timestamp", "webhook-signature", "content-type"].map(header);
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let mood = *moods.borrow();
            sender.try_send(Got { id, timestamp, signature, content_type, body }).unwrap();
            match mood {
                Mood::Hangs => std::future::pending().await,
                Mood::Closes => Err("closed"),
                Mood::Answers(status) => {
                    let response = Response::builder().status(status).header("location", "/elsewhere");
                    Ok(response.body(Full::new(Bytes::from_static(b"thanks"))).unwrap())
                }
            }
        }
    });
    // It may be closed at any time.
    let _: Result<(), _> = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

fn settings() -> Settings {
    // A receiver that hangs is given up soon.
    Settings { request_timeout: Duration::from_millis(300), ..Settings::new(Signer::new(SECRET).unwrap()) }
}

/// Everything happens soon.
fn hasty() -> Options {
    let ms = Duration::from_millis;
    let patience = Patience {
        rejections_max: 3,
        age_max: Duration::from_secs(3_600),
        backoff: ms(2),
        backoff_max: ms(20),
        failures_max: 5,
        pause: ms(10),
        pause_max: ms(40),
    };
    Options { patience, ..Options::default() }
}

fn sinks(urls: &[&str]) -> Vec<Arc<dyn Sink>> {
    let urls: Vec<String> = urls.iter().map(|url| (*url).to_owned()).collect();
    let webhooks = Webhook::all(&urls, &settings()).unwrap();
    webhooks.into_iter().map(|webhook| Arc::new(webhook) as Arc<dyn Sink>).collect()
}

fn relay(urls: &[&str]) -> Relay {
    Relay::start(sinks(urls), Arc::new(Memory::default()), hasty())
}

fn events(actor: &str, sequences: impl IntoIterator<Item = u64>) -> Vec<Outgoing> {
    let data = Data::CartCodeApplied { code: Word::new("TEA10") };
    let at = trolley::telemetry::clock::now();
    sequences.into_iter().map(|sequence| Outgoing::new(actor, sequence, at, &data).unwrap()).collect()
}

/// Offers once: whether it was taken, and what becomes of it.
fn offer(relay: &Relay, actor: &str, events: Vec<Outgoing>, spilled: bool) -> (bool, oneshot::Receiver<bool>) {
    let (told, published) = oneshot::channel();
    let done = Done::new(move |published| told.send(published).unwrap());
    (relay.offer(Offer { actor: actor.into(), events, spilled, done }), published)
}

/// Offers as an actor does: again and again until every sink has them.
async fn publish(relay: &Relay, actor: &str, events: Vec<Outgoing>) -> usize {
    let mut offers = 0;
    until("every sink has the events", async || {
        offers += 1;
        let (taken, published) = offer(relay, actor, events.clone(), false);
        (taken && published.await.unwrap()).then_some(())
    })
    .await;
    offers
}

#[tokio::test]
async fn an_event_arrives_signed_as_a_cloud_event() {
    let mut receiver = Receiver::start(Mood::Answers(204)).await;
    let relay = relay(&[&receiver.url]);
    publish(&relay, "cart_1", events("cart_1", [7])).await;
    let got = receiver.next().await;
    let signed = Signer::new(SECRET).unwrap().sign(&got.id, got.timestamp.parse().unwrap(), &got.body);
    assert_eq!((&*got.id, &*got.content_type, got.signature), ("cart_1-7", "application/cloudevents+json", signed));
    let document: Value = serde_json::from_slice(&got.body).unwrap();
    assert_eq!(document["type"], "trolley.cart.code_applied.v1");
    assert_eq!(document["data"]["code"], "TEA10");
}

#[tokio::test]
async fn p7_events_arrive_in_order_at_a_receiver_that_fails_hangs_closes_and_recovers() {
    let mut receiver = Receiver::start(Mood::Answers(503)).await;
    let relay = relay(&[&receiver.url]);
    let mut sequences = Vec::new();
    let moody = async {
        for mood in [Mood::Closes, Mood::Answers(502), Mood::Hangs, Mood::Answers(200)] {
            sequences.push(receiver.next().await.sequence());
            receiver.mood.send_replace(mood);
        }
    };
    tokio::join!(publish(&relay, "cart_1", events("cart_1", 1..=20)), moody);
    while let Ok(got) = receiver.got.try_recv() {
        sequences.push(got.sequence());
    }
    assert!(sequences.len() > 20, "failures were followed by repeats: {sequences:?}");
    sequences.dedup();
    let mut seen = std::collections::BTreeSet::new();
    sequences.retain(|sequence| seen.insert(*sequence));
    assert_eq!(sequences, (1..=20).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_receiver_that_is_down_neither_delays_nor_repeats_what_another_gets() {
    let mut healthy = Receiver::start(Mood::Answers(200)).await;
    // Its port is closed: connections are refused.
    let down = Receiver::start(Mood::Answers(200)).await;
    let (down_url, down_address) = (down.url.clone(), down.address);
    drop(down);
    until("the port is closed", async || tokio::net::TcpStream::connect(down_address).await.err()).await;
    let relay = relay(&[&healthy.url, &down_url]);
    for n in 0..50 {
        let actor = format!("cart_{n}");
        // Once with a young relay, and again when the receiver is known to be down.
        for _ in 0..3 {
            let (taken, published) = offer(&relay, &actor, events(&actor, [1, 2]), false);
            assert!(taken && !published.await.unwrap());
        }
    }
    let mut got = Vec::new();
    while let Ok(next) = healthy.got.try_recv() {
        got.push(next.id);
    }
    let expected: Vec<String> = (0..50).flat_map(|n| [format!("cart_{n}-1"), format!("cart_{n}-2")]).collect();
    assert_eq!(got, expected);
}

#[tokio::test]
async fn what_a_receiver_rejects_becomes_a_dead_letter_that_an_operator_replays() {
    // A redirect is not followed: nobody lets a receiver send the shop's events elsewhere.
    let mut receiver = Receiver::start(Mood::Answers(307)).await;
    let relay = relay(&[&receiver.url]);
    publish(&relay, "ord_1", events("ord_1", [1])).await;
    let page = relay.dead(None).await.unwrap();
    let [letter] = &page.letters[..] else { panic!("{page:?}") };
    assert_eq!((letter.event.id().as_str(), letter.attempts, &page.next), ("ord_1-1", 3, &None));
    assert!(letter.why.contains("307"), "{letter:?}");
    for _ in 0..3 {
        assert_eq!(receiver.next().await.id, "ord_1-1");
    }
    // It still refuses: the letter stays.
    assert!(matches!(relay.replay(&letter.id).await, Err(ReplayError::Sink(_))));
    assert_eq!(receiver.next().await.id, "ord_1-1");
    receiver.mood.send_replace(Mood::Answers(200));
    relay.replay(&letter.id).await.unwrap();
    assert_eq!(receiver.next().await.id, "ord_1-1");
    assert_eq!(relay.replay(&letter.id).await, Err(ReplayError::NotFound));
    assert!(relay.dead(None).await.unwrap().letters.is_empty());
}

#[tokio::test]
async fn spilled_events_are_delivered_before_newer_ones_and_forgotten() {
    let mut receiver = Receiver::start(Mood::Answers(200)).await;
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    // The relay of the node that spilled is not the one that drains.
    let before = Relay::start(Vec::new(), store.clone(), hasty());
    before.spill("cart_1", &events("cart_1", 1..=150)).await.unwrap();
    let relay = Relay::start(sinks(&[&receiver.url]), store.clone(), hasty());
    let (taken, published) = offer(&relay, "cart_1", events("cart_1", 151..=160), true);
    assert!(taken && published.await.unwrap());
    for sequence in 1..=160 {
        assert_eq!(receiver.next().await.sequence(), sequence);
    }
    let partition = || b"events-spill/cart_1".as_slice().into();
    assert!(store.index_scan(partition(), Box::default(), None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn p9_a_relay_that_is_full_or_stops_sends_actors_away() {
    let mut receiver = Receiver::start(Mood::Hangs).await;
    let relay =
        Relay::start(sinks(&[&receiver.url]), Arc::new(Memory::default()), Options { offers_max: 2, ..hasty() });
    let (first_taken, first) = offer(&relay, "cart_1", events("cart_1", [1]), false);
    // One offer of an actor at a time.
    assert!(!offer(&relay, "cart_1", events("cart_1", [2]), false).0);
    let (second_taken, second) = offer(&relay, "cart_2", events("cart_2", [1]), false);
    assert!(!offer(&relay, "cart_3", events("cart_3", [1]), false).0);
    assert!(first_taken && second_taken);
    receiver.next().await;
    // It does not wait for a receiver that hangs longer than it is told to.
    relay.stop(Duration::from_millis(1)).await;
    assert!(!first.await.unwrap() && !second.await.unwrap());
    assert!(!offer(&relay, "cart_4", events("cart_4", [1]), false).0);
}

#[tokio::test]
async fn a_relay_without_sinks_needs_no_events() {
    let relay = relay(&[]);
    let (taken, published) = offer(&relay, "cart_1", events("cart_1", [1]), false);
    assert!(relay.is_idle() && taken && published.await.unwrap());
}

/// An authority and a server's certificate of it; the authority as a PEM file.
fn certified(ca_file: &Path) -> TlsAcceptor {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(ca_file, ca.pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

#[tokio::test]
async fn over_tls_only_a_receiver_whose_certificate_is_trusted_gets_events() {
    let dir = TempDir::new("events");
    let (ours, others) = (dir.0.join("ours.pem"), dir.0.join("others.pem"));
    let mut receiver = Receiver::start_with(Mood::Answers(200), Some(certified(&ours))).await;
    drop(certified(&others));
    let url = receiver.url.clone();
    let post = async |ca: &Path| {
        let settings = Settings { tls_ca: Some(ca.to_path_buf()), ..settings() };
        let webhook = Webhook::all(std::slice::from_ref(&url), &settings).unwrap().remove(0);
        webhook.deliver(&events("cart_1", [1, 2])).await
    };
    let error = post(&others).await.unwrap_err();
    assert!(error.to_string().contains("TLS"), "{error}");
    assert!(receiver.got.try_recv().is_err(), "an untrusted receiver was sent an event");
    post(&ours).await.unwrap();
    assert_eq!((receiver.next().await.sequence(), receiver.next().await.sequence()), (1, 2));
}
