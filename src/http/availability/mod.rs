//! Whether products can be had, as their stock says, without asking it for each reader: this node keeps what it heard
//! last, and has a stock asked in the background when somebody reads its product and the word is due for another.
//!
//! A reader is answered from memory. Who reads one product that nobody has read for a while waits a moment for its stock,
//! so that also a seldom read page is right; lists never wait. Where nothing is known, or not for a minute, products are
//! what the catalogue says.

mod known;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::StreamExt;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;

use self::known::{Known, Look, Word};
use super::SHOP_FORMAT;
use crate::{
    actors::{Failure, Handle, stock::stock_id},
    cluster::Freshness,
    domain::{
        StockId,
        product::{Availability, Product},
        stock::Refusal,
    },
    telemetry::{clock, metrics::metrics},
};

/// Questions that wait: ten of the longest pages. A reader who finds no place leaves the question to the next one.
const WAITING_MAX: usize = 1024;
/// Stocks asked at once: some thousands a second where they answer at all, and a small part of what this node may ask of
/// another at once, so that readers of lists are in no shopper's way.
const ASKING_MAX: usize = 16;
/// How long a stock may take. What does not answer by then is moving or away.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long the reader of one product waits for a word: nobody notices, and a stock answers within a few milliseconds.
const FIRST_WORD_PATIENCE: Duration = Duration::from_millis(50);

/// Whether products can be had, as far as this node knows; cheap to clone.
#[derive(Clone, Debug)]
pub struct Availabilities {
    known: Arc<Mutex<Known>>,
    questions: mpsc::Sender<Question>,
}

/// A stock to be asked, and who waits for the answer, if anybody does.
#[derive(Debug)]
struct Question {
    stock: StockId,
    reply: Option<oneshot::Sender<Word>>,
}

impl Availabilities {
    /// Begins to ask on behalf of readers, until the last clone has gone.
    #[must_use]
    pub fn start(handle: Handle) -> Self {
        let (questions, asked) = mpsc::channel(WAITING_MAX);
        let known = Arc::<Mutex<Known>>::default();
        let answers = Arc::clone(&known);
        tokio::spawn(
            ReceiverStream::new(asked).for_each_concurrent(ASKING_MAX, move |question| {
                answer(handle.clone(), Arc::clone(&answers), question)
            }),
        );
        Self { known, questions }
    }

    /// Whether a product can be had. Waits only where nothing recent is known, and only a moment.
    pub(super) async fn of(&self, product: &Product) -> Availability {
        let stock = stock_id(&product.sku);
        let now_ms = clock::mono_ms();
        let look = lock(&self.known).look(stock.0.0, now_ms);
        let mut word = look.word;
        if look.must_ask {
            let (reply, answer) = oneshot::channel();
            self.ask(Question { stock, reply: Some(reply) }, now_ms);
            // Without a place for the question, `reply` is dropped, and the wait ends at once.
            if !look.is_recent
                && let Ok(Ok(newer)) = tokio::time::timeout(FIRST_WORD_PATIENCE, answer).await
            {
                word = Some(newer);
            }
        }
        word.map_or(product.availability, |word| word.of(product))
    }

    /// Whether these products can be had, in their order, at once.
    pub(super) fn of_all(&self, products: &[Arc<Product>]) -> Vec<Availability> {
        let now_ms = clock::mono_ms();
        let mut due = Vec::new();
        let mut known = lock(&self.known);
        let one = |product: &Arc<Product>| {
            let stock = stock_id(&product.sku);
            let Look { word, must_ask, .. } = known.look(stock.0.0, now_ms);
            if must_ask {
                due.push(stock);
            }
            word.map_or(product.availability, |word| word.of(product))
        };
        let availabilities = products.iter().map(one).collect();
        drop(known);
        for stock in due {
            self.ask(Question { stock, reply: None }, now_ms);
        }
        availabilities
    }

    /// Has the stock asked, if there is a place for the question.
    fn ask(&self, question: Question, now_ms: u64) {
        let id = question.stock.0.0;
        if self.questions.try_send(question).is_err() {
            count("unasked");
            lock(&self.known).unasked(id, now_ms);
        }
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    // Every change is one insert or one assignment: a panic cannot leave it half done.
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

fn count(outcome: &str) {
    metrics().catalog_availability_refreshes_total.with_label_values(&[outcome]).inc();
}

/// Asks a stock and keeps what it says.
async fn answer(handle: Handle, known: Arc<Mutex<Known>>, Question { stock, reply }: Question) {
    let word = ask(&handle, stock).await;
    count(match word {
        Some(Word::Level(_)) => "told",
        Some(Word::Unopened) => "unopened",
        None => "failed",
    });
    lock(&known).answered(stock.0.0, word, clock::mono_ms());
    if let (Some(reply), Some(word)) = (reply, word) {
        let _ = reply.send(word); // who asked may have gone
    }
}

async fn ask(handle: &Handle, stock: StockId) -> Option<Word> {
    // Nodes of an older release know no stock.
    if handle.format() < SHOP_FORMAT {
        return None;
    }
    match handle.stock(stock, PATIENCE).await {
        Ok(told) => {
            let freshness = told.by.as_ref().map_or_else(|| handle.freshness(), |(_, freshness)| *freshness);
            (freshness == Freshness::Fresh).then(|| Word::Level(told.level()))
        }
        Err(Failure::Refused(Refusal::NotFound)) => Some(Word::Unopened),
        Err(_) => None,
    }
}
