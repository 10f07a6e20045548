//! What a node may rely on when it asks another.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::node::{Authority, Node};

/// A lost peer is known within this; it is what takeovers wait for.
const LOSS_MAX: Duration = Duration::from_secs(1);

#[tokio::test]
async fn nodes_ask_each_other_and_every_ask_has_an_end() {
    let authority = Authority::new();
    let (mut a, mut b) = Node::pair(&authority).await;
    assert_eq!(a.run("ask b requests 900 who").await, "a requests 900");
    assert_eq!(b.run("ask a commands 1234 who").await, "b commands 1234");
    assert_eq!(a.run("ask b requests 9000 bytes:524288").await, "524288 bytes");
    assert_eq!(a.run("ask b requests 9000 bytes:524289").await, "not sent: too large");
    assert_eq!(a.run("ask c requests 9000 hello").await, "not sent: no session");
    assert_eq!(a.run("ask b requests 9000 drop").await, "lost");
    assert_eq!(a.run("ask b requests 9000 panic").await, "lost");
    assert_eq!(a.run("ask b requests 50 hold").await, "timed out");
    b.run("release").await;
    assert_eq!(a.run("ask b requests 9000 hello").await, "hello");
    // Both are on one machine.
    let offset_ms = a.run("offset").await;
    assert!(["Some(-2)", "Some(-1)", "Some(0)", "Some(1)", "Some(2)"].contains(&&*offset_ms), "{offset_ms}");
}

#[tokio::test]
async fn an_exhausted_window_refuses_at_once_and_only_its_own_lane() {
    let authority = Authority::new();
    let (mut a, mut b) = Node::pair(&authority).await;
    // Those that timed out still count: the other node still has them in hand.
    assert_eq!(a.run("fill b").await, "1024 timed out, 76 no credit");
    assert_eq!(b.run("held").await, "1024");
    assert_eq!(a.run("ask b requests 9000 hello").await, "not sent: no credit");
    assert_eq!(a.run("ask b commands 9000 hello").await, "hello");
    assert_eq!(b.run("ask a requests 9000 hello").await, "hello");
    b.run("release").await;
    a.until("ask b requests 9000 hello", |answer| answer == "hello").await;
}

#[tokio::test]
async fn asks_of_a_killed_node_are_lost_within_a_second_and_its_next_start_is_found() {
    let authority = Authority::new();
    let (mut a, b) = Node::pair(&authority).await;
    let asks: Vec<u64> = (0..100).map(|_| a.ask("ask b requests 60000 hold")).collect();
    let mut b = b;
    b.until("held", |held| held == "100").await;
    let address = b.address.clone();
    let killed = Instant::now();
    b.kill();
    for asked in asks {
        assert_eq!(a.answer(asked).await, "lost");
    }
    assert!(killed.elapsed() < LOSS_MAX, "{:?}", killed.elapsed());
    a.until("events", |events| events.contains(r#"Lost { name: "b", incarnation: 1, how: Reset }"#)).await;
    assert_eq!(a.run("ask b requests 9000 hello").await, "not sent: no session");
    assert_eq!(a.run(&format!("dial {address}")).await, "true");
    let mut b = Node::start(&authority, "b", 2).await;
    assert_eq!(a.run(&format!("dial {}", b.address)).await, "false");
    a.follow(&[&b]).await;
    a.until_up("b", 2).await;
    assert_eq!(a.run("ask b requests 9000 hello").await, "hello");
    b.until_up("a", 1).await;
    assert_eq!(a.run("up b 1").await, "false");
}

#[tokio::test]
async fn a_silent_node_is_given_up_and_found_again() {
    let authority = Authority::new();
    let (mut a, b) = Node::pair(&authority).await;
    b.signal(Signal::STOP);
    let stopped = Instant::now();
    assert_eq!(a.run("ask b requests 60000 hello").await, "lost");
    assert!(stopped.elapsed() < LOSS_MAX, "{:?}", stopped.elapsed());
    a.until("events", |events| events.contains("how: Silent")).await;
    b.signal(Signal::CONT);
    a.until_up("b", 1).await;
    assert_eq!(a.run("ask b requests 9000 hello").await, "hello");
}

#[tokio::test]
async fn three_nodes_hear_of_a_new_map_and_of_one_that_leaves() {
    let authority = Authority::new();
    let (mut a, mut b) = Node::pair(&authority).await;
    let mut c = Node::start(&authority, "c", 1).await;
    c.follow(&[&a, &b]).await;
    a.follow(&[&b, &c]).await;
    b.follow(&[&a, &c]).await;
    c.until_up("a", 1).await;
    c.until_up("b", 1).await;
    // Only who had the session hears that it is lost.
    a.until_up("c", 1).await;
    b.until_up("c", 1).await;
    assert_eq!(b.run("ask c requests 9000 who").await, "b requests 9000");
    c.run("tell 42").await;
    for node in [&mut a, &mut b] {
        node.until("told", |told| told == "c:42").await;
    }
    c.run("stop").await;
    for node in [&mut a, &mut b] {
        node.until("events", |events| events.contains(r#"Lost { name: "c", incarnation: 1, how: Closed }"#)).await;
    }
    assert_eq!(a.run("ask b requests 9000 hello").await, "hello");
}

#[tokio::test]
async fn a_node_that_is_no_longer_wanted_is_let_go() {
    let authority = Authority::new();
    let (mut a, mut b) = Node::pair(&authority).await;
    b.follow(&[]).await;
    a.follow(&[]).await;
    for (node, other) in [(&mut a, "b"), (&mut b, "a")] {
        node.until("events", |events| {
            events.contains(&format!(r#"Lost {{ name: "{other}", incarnation: 1, how: Closed }}"#))
        })
        .await;
    }
}

#[tokio::test]
async fn without_tls_the_cookie_still_counts() {
    let mut a = Node::start_with("a", 1, 7, "-").await;
    let mut b = Node::start_with("b", 1, 7, "-").await;
    let mut stranger = Node::start_with("c", 1, 8, "-").await;
    a.follow(&[&b, &stranger]).await;
    stranger.follow(&[&a, &b]).await;
    a.until_up("b", 1).await;
    b.until_up("a", 1).await;
    stranger.until("refused session", |count| count != "0").await;
    assert_eq!(a.run("up c 1").await, "false");
    assert_eq!(stranger.run("up a 1").await, "false");
    assert_eq!(b.run("ask a requests 9000 who").await, "b requests 9000");
}
