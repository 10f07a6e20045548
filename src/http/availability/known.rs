//! What this node knows of products' stock, and when it must ask again: pure decisions, time comes as a value.

use hashlink::LruCache;

use crate::domain::{
    product::{Availability, Product},
    stock::Stock,
};

/// Most products that something is known of: what a shop's readers look at within seconds, search engines included, at
/// about 100 bytes each. The longest unread go first.
const KNOWN_MAX: usize = 8 * 1024;
/// A stock is asked at most this often, however many read its product: nobody shops faster.
const ASK_AFTER_MS: u64 = 1_000;
/// One that nobody has opened yet is asked less often: absence is never kept in memory, so each question costs a read of
/// the store, and its first sale seldom changes the word.
const ASK_UNOPENED_AFTER_MS: u64 = 2_000;
/// When a question is given up that nobody has answered: later than its asker gives it up.
const GIVEN_UP_AFTER_MS: u64 = 2_000;
/// How long a word stands when no newer one can be had: as long as a read may be old at all (P8).
const STANDS_MS: u64 = 60_000;

/// What a stock said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// Whether it can be had.
    Level(Availability),
    /// Nobody has opened it: it is what the catalogue lets it begin with.
    Unopened,
}

impl Word {
    /// What it means for its product.
    pub(super) const fn of(self, product: &Product) -> Availability {
        match self {
            Self::Level(level) => level,
            Self::Unopened => Stock::level_of(product.stock),
        }
    }

    const fn ask_after_ms(self) -> u64 {
        match self {
            Self::Level(_) => ASK_AFTER_MS,
            Self::Unopened => ASK_UNOPENED_AFTER_MS,
        }
    }
}

/// What a reader finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// The newest word, if it stands.
    pub(super) word: Option<Word>,
    /// Whether the word is as new as one that is asked for all the time.
    pub(super) is_recent: bool,
    /// Whether this reader has the stock asked: nobody else does until it is answered, or given up.
    pub(super) must_ask: bool,
}

#[derive(Debug)]
struct Entry {
    /// The newest word, and when it was said.
    said: Option<(Word, u64)>,
    ask_at_ms: u64,
}

/// The newest words, by the stock's id.
#[derive(Debug)]
pub(super) struct Known(LruCache<u128, Entry>);

impl Default for Known {
    fn default() -> Self {
        Self(LruCache::new(KNOWN_MAX))
    }
}

impl Known {
    /// Looks for a reader.
    pub(super) fn look(&mut self, id: u128, now_ms: u64) -> Look {
        let Some(entry) = self.0.get_mut(&id) else {
            self.0.insert(id, Entry { said: None, ask_at_ms: now_ms + GIVEN_UP_AFTER_MS });
            return Look { word: None, is_recent: false, must_ask: true };
        };
        let must_ask = now_ms >= entry.ask_at_ms;
        if must_ask {
            entry.ask_at_ms = now_ms + GIVEN_UP_AFTER_MS;
        }
        let age_ms = |at_ms: u64| now_ms.saturating_sub(at_ms);
        let said = entry.said.filter(|(_, at_ms)| age_ms(*at_ms) < STANDS_MS);
        Look {
            word: said.map(|(word, _)| word),
            // Where readers come all the time, a word is asked for when it is due, and here soon after.
            is_recent: said.is_some_and(|(word, at_ms)| age_ms(at_ms) < 2 * word.ask_after_ms()),
            must_ask,
        }
    }

    /// The question could not even be asked: the next reader may.
    pub(super) fn unasked(&mut self, id: u128, now_ms: u64) {
        if let Some(entry) = self.0.peek_mut(&id) {
            entry.ask_at_ms = now_ms;
        }
    }

    /// The stock answered, or did not: then the word before stands, for a while.
    pub(super) fn answered(&mut self, id: u128, word: Option<Word>, now_ms: u64) {
        // One that left since is read by nobody.
        let Some(entry) = self.0.peek_mut(&id) else { return };
        entry.ask_at_ms = now_ms + word.map_or(ASK_AFTER_MS, Word::ask_after_ms);
        if let Some(word) = word {
            entry.said = Some((word, now_ms));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOW: Word = Word::Level(Availability::Low);
    const OUT: Word = Word::Level(Availability::OutOfStock);

    fn look(word: Option<Word>, is_recent: bool, must_ask: bool) -> Look {
        Look { word, is_recent, must_ask }
    }

    #[test]
    fn a_stock_is_asked_by_one_reader_and_once_a_second() {
        let mut known = Known::default();
        assert_eq!(known.look(1, 0), look(None, false, true));
        assert_eq!(known.look(1, 10), look(None, false, false), "it has been asked");
        known.answered(1, Some(LOW), 20);
        for now_ms in [20, 500, 1_019] {
            assert_eq!(known.look(1, now_ms), look(Some(LOW), true, false), "{now_ms}");
        }
        assert_eq!(known.look(1, 1_020), look(Some(LOW), true, true));
        assert_eq!(known.look(1, 1_020), look(Some(LOW), true, false), "others answer at once meanwhile");
        known.answered(1, Some(OUT), 1_025);
        assert_eq!(known.look(1, 1_030), look(Some(OUT), true, false));
    }

    #[test]
    fn an_unopened_stock_is_asked_less_often_and_is_what_the_catalogue_lets_it_begin_with() {
        let mut known = Known::default();
        known.look(1, 0);
        known.answered(1, Some(Word::Unopened), 0);
        assert_eq!(known.look(1, 1_999), look(Some(Word::Unopened), true, false));
        assert_eq!(known.look(1, 2_000), look(Some(Word::Unopened), true, true));
    }

    #[test]
    fn a_question_without_an_answer_is_asked_again_and_the_word_stands_for_a_minute() {
        let mut known = Known::default();
        known.look(1, 0);
        known.answered(1, Some(LOW), 0);
        assert!(known.look(1, 1_000).must_ask);
        known.answered(1, None, 1_900);
        assert_eq!(known.look(1, 2_899), look(Some(LOW), false, false), "the next try has its time too");
        assert_eq!(known.look(1, 2_900), look(Some(LOW), false, true));
        assert_eq!(known.look(1, 4_899), look(Some(LOW), false, false));
        assert_eq!(known.look(1, 4_900), look(Some(LOW), false, true), "nobody ever answered");
        known.unasked(1, 4_900);
        assert_eq!(known.look(1, 4_900), look(Some(LOW), false, true), "the question was not asked");
        assert_eq!(known.look(1, 59_999).word, Some(LOW));
        assert_eq!(known.look(1, 60_000).word, None);
        known.answered(1, Some(OUT), 60_001);
        assert_eq!(known.look(1, 60_001), look(Some(OUT), true, false));
    }

    #[test]
    fn p9_the_longest_unread_are_forgotten() {
        let mut known = Known::default();
        for id in 0..KNOWN_MAX as u128 {
            known.look(id, 0);
            known.answered(id, Some(LOW), 0);
        }
        assert_eq!(known.look(0, 1).word, Some(LOW), "it is read");
        known.look(u128::MAX, 1);
        assert_eq!(known.0.len(), KNOWN_MAX);
        assert_eq!(known.look(0, 2).word, Some(LOW));
        assert_eq!(known.look(1, 2), look(None, false, true), "it was the longest unread");
        known.answered(2, Some(OUT), 2);
        assert_eq!((known.0.len(), known.0.contains_key(&2)), (KNOWN_MAX, false), "an answer brings nothing back");
    }
}
