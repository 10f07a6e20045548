//! What the shop sells: products in chunks in the store's index, named by a head row that changes by compare-and-set.
//! Every node keeps the whole catalogue in memory and follows the head.

mod jsonl;
mod snapshot;
mod stored;
mod tables;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;

pub use self::{
    jsonl::{Fault, PRODUCTS_MAX, parse, parse_product},
    snapshot::{Page, Snapshot},
    stored::Error,
    tables::{TABLES_BYTES_MAX, built_in_tables, parse_tables},
};
use crate::{domain::product::Product, store::Store, telemetry::metrics::metrics};

/// How often the head is looked at: an import is seen on every node within this time.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);
/// The products of a shop that has not imported its own yet.
const SAMPLE: &str = include_str!("sample.jsonl");

/// The catalogue; cheap to clone.
#[derive(Clone, Debug)]
pub struct Catalog {
    store: Arc<dyn Store>,
    current: Arc<ArcSwap<Snapshot>>,
}

impl Catalog {
    /// Loads the catalogue; a store that has none gets the built-in sample.
    ///
    /// # Errors
    /// [`Error`] when the store does not answer or holds what this release cannot read.
    pub async fn open(store: Arc<dyn Store>) -> Result<Self, Error> {
        let snapshot = match stored::load(&store).await? {
            Some(snapshot) => snapshot,
            None => {
                let sample = parse(SAMPLE.as_bytes()).map_err(|faults| Error::Sample(faults.len()))?;
                // Another node may have been faster: whichever won is loaded.
                stored::replace(&store, &sample, stored::source(SAMPLE.as_bytes()), &mut |_| {}).await?;
                stored::load(&store).await?.ok_or(Error::Contended)?
            }
        };
        let catalog = Self { store, current: Arc::new(ArcSwap::from_pointee(Snapshot::default())) };
        catalog.show(snapshot);
        Ok(catalog)
    }

    /// The catalogue as it is now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Where the product of this SKU is filed; nowhere, if there is none.
    #[must_use]
    pub fn categories(&self, sku: &str) -> Vec<Box<str>> {
        self.current.load().get(sku).map(|product| product.categories.clone()).unwrap_or_default()
    }

    /// Follows the head until the future is dropped.
    pub async fn follow(self) {
        let mut beat = tokio::time::interval(FOLLOW_EVERY);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            let generation = self.current.load().generation();
            match stored::generation(&self.store).await {
                Ok(Some(stored)) if stored > generation => match stored::load(&self.store).await {
                    Ok(Some(snapshot)) => self.show(snapshot),
                    Ok(None) => {}
                    Err(error) => tracing::warn!(%error, "the catalogue's new generation cannot be loaded yet"),
                },
                // The catalogue in memory goes on serving while the store is away.
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// Adds or replaces one product.
    ///
    /// # Errors
    /// [`Error`]; on [`Error::Currency`] the product is priced in another currency than the rest.
    pub async fn put(&self, product: Product) -> Result<u64, Error> {
        let snapshot = stored::put(&self.store, product).await?;
        let generation = snapshot.generation();
        self.show(snapshot);
        Ok(generation)
    }

    /// Shows a catalogue from now on, unless a newer one is shown: whoever loads or changes it may be overtaken.
    fn show(&self, snapshot: Snapshot) {
        let snapshot = Arc::new(snapshot);
        self.current.rcu(|present| {
            let is_newer = snapshot.generation() > present.generation();
            Arc::clone(if is_newer { &snapshot } else { present })
        });
        let shown = self.current.load();
        metrics().catalog_products.set(i64::try_from(shown.len()).unwrap_or(i64::MAX));
        metrics().catalog_generation.set(i64::try_from(shown.generation()).unwrap_or(i64::MAX));
    }
}

/// Replaces the whole catalogue by a file's products; `progress` is told how many are stored. Returns the new
/// generation, or `None` when this very file is what the store holds.
///
/// # Errors
/// [`Error`]; the old catalogue stays.
pub async fn import(
    store: &Arc<dyn Store>,
    file: &[u8],
    products: &[Product],
    progress: &mut (dyn FnMut(usize) + Send),
) -> Result<Option<u64>, Error> {
    let source = stored::source(file);
    if stored::is_current(store, source).await? {
        return Ok(None);
    }
    stored::replace(store, products, source, progress).await.map(Some)
}
