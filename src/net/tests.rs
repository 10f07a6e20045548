//! The client against sockets that behave badly.

use std::time::Duration;

use bytes::Bytes;
use hyper::{HeaderMap, Method, StatusCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{Answer, Client, Endpoint, Limits, NoAnswer};

const LIMITS: Limits =
    Limits { connect_timeout: Duration::from_secs(60), request_timeout: Duration::from_secs(60), body_bytes_max: 10 };

async fn listen() -> (TcpListener, Client) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    (listener, Client::new(endpoint, None, LIMITS))
}

async fn ask(client: &Client) -> Result<Answer, NoAnswer> {
    client.ask(Method::POST, "/deed?n=1", HeaderMap::new(), Bytes::from_static(b"body")).await
}

/// Reads one request to its end.
async fn read(stream: &mut TcpStream) -> String {
    let (mut text, mut chunk) = (String::new(), [0; 1024]);
    while !text.ends_with("body") {
        let n = stream.read(&mut chunk).await.unwrap();
        assert!(n > 0, "the client closed after {text:?}");
        text.push_str(std::str::from_utf8(&chunk[..n]).unwrap());
    }
    text
}

async fn answer(stream: &mut TcpStream, body: &str) {
    let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(text.as_bytes()).await.unwrap();
}

#[tokio::test]
async fn a_connection_is_kept_and_replaced_once_the_server_has_closed_it() {
    let (listener, client) = listen().await;
    let serve = async {
        let (mut first, _) = listener.accept().await.unwrap();
        assert!(read(&mut first).await.starts_with("POST /deed?n=1 HTTP/1.1\r\nhost: 127.0.0.1:"));
        answer(&mut first, "one").await;
        read(&mut first).await;
        answer(&mut first, "two").await;
        first
    };
    let asked = async { (ask(&client).await.unwrap().body.unwrap(), ask(&client).await.unwrap().body.unwrap()) };
    let (mut stream, bodies) = tokio::join!(serve, asked);
    assert_eq!(bodies, (Bytes::from_static(b"one"), Bytes::from_static(b"two")));
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "the client closes too");
    let serve = async {
        let (mut second, _) = listener.accept().await.unwrap();
        read(&mut second).await;
        answer(&mut second, "three").await;
    };
    let (asked, ()) = tokio::join!(ask(&client), serve);
    assert_eq!(asked.unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn what_the_server_has_read_is_not_sent_again() {
    let (listener, client) = listen().await;
    // Once on a new connection, once on a kept one.
    for is_kept in [false, true] {
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            if is_kept {
                read(&mut stream).await;
                answer(&mut stream, "kept").await;
            }
            read(&mut stream).await;
        };
        let asked = async {
            if is_kept {
                ask(&client).await.unwrap();
            }
            ask(&client).await
        };
        let (asked, ()) = tokio::join!(asked, serve);
        assert!(matches!(asked, Err(NoAnswer::Lost(_))), "{is_kept} {asked:?}");
    }
    // Nobody else has come meanwhile: the next one to connect is this one.
    let knock = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    assert_eq!(listener.accept().await.unwrap().1, knock.local_addr().unwrap());
}

#[tokio::test]
async fn a_server_that_is_not_there_was_certainly_not_asked() {
    let (listener, client) = listen().await;
    drop(listener);
    assert!(matches!(ask(&client).await, Err(NoAnswer::NotSent(_))));
}

#[tokio::test]
async fn time_and_answers_are_bounded() {
    let (listener, client) = listen().await;
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read(&mut stream).await;
        answer(&mut stream, "eleven byte").await;
        stream
    };
    let (asked, _stream) = tokio::join!(ask(&client), serve);
    assert!(asked.unwrap().body.is_err());

    // Accepts by its backlog, and never answers.
    let hasty = Limits { request_timeout: Duration::from_millis(1), ..LIMITS };
    let client = Client::new(client.endpoint().clone(), None, hasty);
    assert!(matches!(ask(&client).await, Err(NoAnswer::Lost(_))));
}
