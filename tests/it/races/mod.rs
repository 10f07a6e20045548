//! What users of other shops complain about, each as a race that is forced here: by a store that holds an actor's saves
//! until every request of the race has come to it, by a bank that holds its answer, by a payment that waits for its
//! shopper; where none of them can, by requests that are all sent before any answer is read. After each, goods, orders
//! and the bank's book are reckoned up.
//!
//! | complaint | shown in |
//! |---|---|
//! | lost cart updates; two first adds, two carts; slow carts | `carts` |
//! | duplicate orders | `orders` |
//! | overselling | `stock` |
//! | double charge, double capture | `money` |
//! | confirmations that come early, late, twice, or after a cancel | `confirmations` |
//! | lines and carts that are joined | `joined` |
//! | prices that drift | `prices` |

mod carts;
mod confirmations;
mod joined;
mod money;
mod orders;
mod prices;
mod stock;

/// How often requests race each other: each round is a new chance for another order of events.
const ROUNDS: usize = 6;
