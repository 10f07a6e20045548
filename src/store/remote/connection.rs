//! The client's connection: found, written to, read from, lost, and found again.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::AsyncWriteExt,
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};

use super::{
    Shared, TICK,
    requests::Waiting,
    stream::{self, Frames},
    wire::{self, ANSWER_BYTES_MAX, Answer, GREETING, Request},
};
use crate::store::Reason;

/// Pause between attempts to connect, at first and at most: whoever serves is a process that starts in a moment.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// Ticks between two questions after the store's health: a second, as old as a probe may find it.
const PING_EVERY_TICKS: u64 = 10;

/// Keeps a connection for as long as the store is open.
pub(super) async fn keep(shared: Arc<Shared>) {
    let mut pause = PAUSE_MIN;
    loop {
        match connect(&shared).await {
            Err(error) => {
                let reason = Reason::new(format!("no store answers at {}: {error}", shared.path.display()));
                shared.requests().set_away(Some(reason));
            }
            Ok(halves) => {
                tracing::debug!(path = %shared.path.display(), "connected to the store");
                let began = Instant::now();
                hold(&shared, halves).await;
                if began.elapsed() > PAUSE_MAX {
                    pause = PAUSE_MIN; // it worked, and was not shut at once
                }
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn connect(shared: &Shared) -> io::Result<(OwnedReadHalf, OwnedWriteHalf)> {
    let mut stream = UnixStream::connect(&shared.path).await?;
    // Fits into any socket's buffer, so it does not wait.
    stream.write_all(&GREETING).await?;
    Ok(stream.into_split())
}

/// Uses a connection until it breaks.
async fn hold(shared: &Arc<Shared>, (reading, writing): (OwnedReadHalf, OwnedWriteHalf)) {
    shared.requests().set_away(None);
    let mut tasks = JoinSet::new();
    tasks.spawn({
        let shared = shared.clone();
        async move {
            let take = |empty: &mut Vec<u8>| shared.requests().take_outgoing(empty);
            stream::write_all(writing, &shared.ready, take, || {}).await
        }
    });
    tasks.spawn(read(shared.clone(), reading));
    let error = tick_until(shared, &mut tasks).await;
    // Before anyone is told what was sent, nothing more may be.
    tasks.shutdown().await;
    let reason = Reason::new(format!("the connection to the store was lost: {error}"));
    tracing::warn!(%reason, "the store is away; it is sought again");
    let ended = shared.requests().lose(reason.clone());
    ended.sent.into_iter().for_each(|waiting| waiting.give_up(&reason));
    ended.unsent.into_iter().for_each(|waiting| waiting.refuse(&reason));
}

/// Ends requests whose time is over, and asks after the store's health, until a task ends.
async fn tick_until(shared: &Shared, tasks: &mut JoinSet<io::Error>) -> io::Error {
    let reason = Reason::new("the store did not answer in time");
    let mut ticks = tokio::time::interval(TICK);
    // After a pause of the whole process its requests get their time anew: their answers may lie in the socket.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for tick in 0_u64.. {
        tokio::select! {
            biased;
            Some(ended) = tasks.join_next() => return ended.unwrap_or_else(io::Error::other),
            _ = ticks.tick() => {}
        }
        let late = shared.requests().tick();
        for waiting in late {
            if matches!(waiting, Waiting::Ping) {
                shared.health.send_modify(|health| {
                    if let Some(health) = health {
                        health.writes_refused = Some(reason.clone());
                    }
                });
            }
            waiting.give_up(&reason);
        }
        if tick % PING_EVERY_TICKS == 0 {
            shared.send(Waiting::Ping, |out, id| wire::put_request(out, id, &Request::Ping));
        }
    }
    io::Error::other("time has ended") // not before the 64 bits do
}

/// Reads answers and tells whoever waits for them.
async fn read(shared: Arc<Shared>, half: OwnedReadHalf) -> io::Error {
    let mut frames = Frames::new(half, ANSWER_BYTES_MAX);
    let (mut answers, mut told) = (Vec::new(), Vec::new());
    loop {
        match frames.read().await {
            Ok(true) => {}
            Ok(false) => return io::Error::from(io::ErrorKind::UnexpectedEof),
            Err(error) => return error,
        }
        let malformed = loop {
            match frames.next().and_then(|frame| frame.map(wire::answer).transpose()) {
                Ok(Some(answer)) => answers.push(answer),
                Ok(None) => break None,
                Err(malformed) => break Some(malformed),
            }
        };
        {
            let mut requests = shared.requests();
            let waiting = |(id, answer)| requests.answered(id).map(|waiting| (waiting, answer));
            told.extend(answers.drain(..).filter_map(waiting));
        }
        for (waiting, answer) in told.drain(..) {
            match (waiting, answer) {
                (Waiting::Ping, Answer::Health(health)) => {
                    shared.health.send_replace(Some(health));
                }
                (waiting, answer) => waiting.answer(answer),
            }
        }
        if let Some(malformed) = malformed {
            return malformed.into();
        }
    }
}
