//! What keyed commands did, and how long that is remembered.
//!
//! At least [`REMEMBER_MIN_MS`], at most [`REMEMBER_MAX_MS`]; beyond the minimum only the newest [`OLD_MAX`] stay. A young one
//! is never evicted: who would need its place is refused before being decided.

use thin_vec::ThinVec;

use super::planted::planted;
use crate::{actors::ask::Key, codec::record::Receipt, domain::UnixMillis};

/// A retry within this time finds its outcome: what the public contract promises.
pub(super) const REMEMBER_MIN_MS: u64 = 10 * 60 * 1000;
/// Nothing is remembered longer: a day covers every sensible client's retries.
pub(super) const REMEMBER_MAX_MS: u64 = 24 * 60 * 60 * 1000;
/// Most receipts beyond the minimum: about 12 KiB of a row.
pub(super) const OLD_MAX: usize = 256;
/// Most receipts within the minimum: about 48 KiB of a row of 256 KiB.
pub(super) const YOUNG_MAX: usize = 1024;

/// What the receipts say of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// It did this.
    Done(u32),
    /// It was used for another request.
    Reused,
    /// Nothing: the command is new, and there is room for its receipt.
    New,
    /// There is no room for its receipt before this many milliseconds have passed.
    Full(u64),
}

/// Looks the key up. `receipts` are oldest first.
pub(super) fn look_up(receipts: &[Receipt], key: Key, now: UnixMillis) -> Known {
    let is_young = |receipt: &&Receipt| now.since_ms(receipt.at) < REMEMBER_MIN_MS;
    match receipts.iter().rev().find(|receipt| receipt.key == key.key) {
        Some(found) if found.request == key.request => Known::Done(found.outcome),
        Some(_) => Known::Reused,
        None => {
            let young = receipts.iter().rev().take_while(is_young).count();
            match receipts.iter().rev().nth(YOUNG_MAX - 1) {
                Some(oldest) if young >= YOUNG_MAX => Known::Full(REMEMBER_MIN_MS - now.since_ms(oldest.at)),
                _ => Known::New,
            }
        }
    }
}

/// Drops what need not be remembered.
pub(super) fn prune(receipts: &mut ThinVec<Receipt>, now: UnixMillis) {
    let count = receipts.len();
    let mut place = 0;
    receipts.retain(|receipt| {
        place += 1;
        let age_ms = now.since_ms(receipt.at);
        let among_newest = count - place < OLD_MAX;
        if planted!(ReceiptEvictedYoung) {
            return count - place < 1;
        }
        age_ms < REMEMBER_MIN_MS || (age_ms < REMEMBER_MAX_MS && among_newest)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(key: u128, at_ms: u64) -> Receipt {
        Receipt { key, request: key, at: UnixMillis(at_ms), outcome: 7 }
    }

    fn key(key: u128) -> Key {
        Key { key, request: key }
    }

    #[test]
    fn a_known_key_tells_its_outcome_and_another_request_under_it_is_told_apart() {
        let receipts = [receipt(1, 0), receipt(2, 5)];
        assert_eq!(look_up(&receipts, key(2), UnixMillis(6)), Known::Done(7));
        assert_eq!(look_up(&receipts, Key { key: 2, request: 9 }, UnixMillis(6)), Known::Reused);
        assert_eq!(look_up(&receipts, key(3), UnixMillis(6)), Known::New);
    }

    #[test]
    fn a_young_receipt_is_never_evicted_and_its_place_is_refused_instead() {
        let mut receipts: ThinVec<_> = (0..YOUNG_MAX as u128).map(|n| receipt(n, 1000 + n as u64)).collect();
        let now = UnixMillis(1000 + REMEMBER_MIN_MS - 1);
        prune(&mut receipts, now);
        assert_eq!(receipts.len(), YOUNG_MAX);
        assert_eq!(look_up(&receipts, key(9999), now), Known::Full(1));
        assert_eq!(look_up(&receipts, key(9999), now.plus_ms(1)), Known::New);
    }

    #[test]
    fn beyond_ten_minutes_the_newest_256_stay_and_none_beyond_a_day() {
        let mut receipts: ThinVec<_> = (0..300).map(|n| receipt(n, 0)).collect();
        prune(&mut receipts, UnixMillis(REMEMBER_MIN_MS));
        assert_eq!(receipts.len(), OLD_MAX);
        assert_eq!(receipts[0].key, 44);
        prune(&mut receipts, UnixMillis(REMEMBER_MAX_MS));
        assert!(receipts.is_empty());
    }
}
