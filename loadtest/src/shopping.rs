//! Shoppers under way while a test does things to the service: each adds, keyed and unkeyed in turn, to carts of its
//! own, until they are stopped and the ledger is held against what is found.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::{
    catalogue::Variant,
    ledger::Audit,
    measure::Measured,
    nodes::Nodes,
    shopper::{Add, Shopper, World},
};

/// Turns in one cart, each one unkeyed and one keyed add: below the limit of a line, and of keys in one cart.
const TURNS_PER_CART: u32 = 400;
/// How often it is looked whether enough has passed.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// Pause of a shopper who could not even get a cart.
const PAUSE: Duration = Duration::from_millis(20);

/// Several shoppers, each one thing at a time.
#[derive(Debug)]
pub struct Shopping {
    world: Arc<World>,
    ending: Arc<AtomicBool>,
    shoppers: JoinSet<()>,
    watch: JoinSet<()>,
}

impl Shopping {
    /// Sends so many shoppers to these nodes. The list may change while they are under way: see [`Nodes::replace`].
    ///
    /// # Errors
    /// When nothing can be measured.
    pub fn start(count: usize, nodes: Nodes, skus: [&str; 2]) -> io::Result<Self> {
        let variants = skus.map(Variant::plain);
        let world = Arc::new(World::new(nodes.clone(), Instant::now())?);
        let ending = Arc::new(AtomicBool::new(false));
        let (mut shoppers, mut watch) = (JoinSet::new(), JoinSet::new());
        for _ in 0..count {
            shoppers.spawn(shop(Arc::clone(&world), Arc::clone(&ending), variants.clone()));
        }
        watch.spawn(async move { nodes.watch().await });
        Ok(Self { world, ending, shoppers, watch })
    }

    /// Where they go.
    #[must_use]
    pub fn nodes(&self) -> &Nodes {
        &self.world.service.nodes
    }

    /// Waits until so many more adds are acknowledged: not a time but an amount of work, however fast the machine is.
    ///
    /// # Errors
    /// When that takes longer than `within`.
    pub async fn pass(&self, acknowledgements: u64, within: Duration) -> io::Result<()> {
        let acknowledged = || self.world.acknowledged.load(Ordering::Relaxed);
        let goal = acknowledged() + acknowledgements;
        let passing = async {
            let mut looks = tokio::time::interval(LOOK_EVERY);
            while acknowledged() < goal {
                looks.tick().await;
            }
        };
        let late = || format!("{} adds are missing of {acknowledgements}", goal - acknowledged());
        tokio::time::timeout(within, passing).await.map_err(|_| io::Error::other(late()))
    }

    /// Stops them all, each after what it is doing, and audits every cart.
    pub async fn finish(mut self) -> (Audit, Measured) {
        self.ending.store(true, Ordering::Relaxed);
        while self.shoppers.join_next().await.is_some() {}
        let audit = self.world.ledger.audit(&self.world.service).await;
        self.watch.abort_all();
        (audit, self.world.measure.read())
    }
}

async fn shop(world: Arc<World>, ending: Arc<AtomicBool>, [unkeyed, keyed]: [Variant; 2]) {
    let is_ending = || ending.load(Ordering::Relaxed);
    while !is_ending() {
        let mut shopper = Shopper::new(&world, Instant::now());
        let Some(account) = shopper.make().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        for _ in 0..TURNS_PER_CART {
            if is_ending() {
                break;
            }
            shopper.add(&account, Add::unkeyed(&unkeyed)).await;
            shopper.add(&account, Add::keyed(&keyed)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fake::{Faults, Shop},
        nodes::Node,
    };

    async fn shopped(faults: Faults) -> (Audit, Measured) {
        let shop = Shop::open(faults).await;
        let nodes = Node::list(&format!("{0},{0},{0}", shop.http), None).unwrap();
        let shopping = Shopping::start(4, Nodes::new(nodes), ["mug", "pot"]).unwrap();
        shopping.pass(100, Duration::from_secs(30)).await.unwrap();
        shopping.finish().await
    }

    #[tokio::test]
    async fn a_right_shop_loses_and_doubles_nothing() {
        let (audit, measured) = shopped(Faults::default()).await;
        assert!(audit.is_clean() && audit.maybe == 0, "{audit}");
        assert!(audit.acknowledged >= 100, "{audit}");
        assert_eq!(measured.good, measured.requests);
    }

    #[tokio::test]
    async fn lost_answers_are_resolved_with_keys_and_possible_without() {
        let (audit, measured) = shopped(Faults { loses_answers: true, ..Faults::default() }).await;
        assert!(audit.is_clean(), "{audit}");
        assert!(audit.maybe > 0 && measured.unknown == audit.maybe, "{audit}, {measured:?}");
        assert!(measured.first_try_good < measured.good, "keyed adds were repeated");
    }

    #[tokio::test]
    async fn certain_refusals_are_repeated_without_a_key_too() {
        let (audit, measured) = shopped(Faults { is_busy: true, ..Faults::default() }).await;
        assert!(audit.is_clean() && audit.maybe == 0, "{audit}");
        assert_eq!(measured.good, measured.requests);
        assert_eq!(measured.first_try.keys().collect::<Vec<_>>(), ["503 overloaded (none)"]);
    }

    #[tokio::test]
    async fn an_acknowledged_add_that_is_forgotten_is_lost() {
        let (audit, _) = shopped(Faults { forgets: true, ..Faults::default() }).await;
        assert!(audit.lost > 0 && audit.doubled == 0, "{audit}");
    }

    #[tokio::test]
    async fn a_key_that_is_not_known_again_doubles() {
        let (audit, _) = shopped(Faults { loses_answers: true, ignores_keys: true, ..Faults::default() }).await;
        assert!(audit.doubled > 0 && audit.lost == 0, "{audit}");
    }

    #[tokio::test]
    async fn shoppers_follow_the_list_of_nodes() {
        let (gone, shop) = (Shop::open(Faults::default()).await, Shop::open(Faults::default()).await);
        let nowhere = gone.http.clone();
        drop(gone);
        let shopping = Shopping::start(2, Nodes::new(Node::list(&nowhere, None).unwrap()), ["mug", "pot"]).unwrap();
        shopping.nodes().replace(Node::list(&shop.http, None).unwrap());
        shopping.pass(10, Duration::from_secs(30)).await.unwrap();
        assert!(shopping.finish().await.0.is_clean());
    }
}
