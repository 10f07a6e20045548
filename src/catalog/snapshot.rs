//! The catalogue at one generation, in memory.

use std::sync::Arc;

use crate::domain::{Currency, product::Product};

/// The catalogue at one generation: products sorted by SKU.
#[derive(Debug, Default)]
pub struct Snapshot {
    generation: u64,
    products: Vec<Arc<Product>>,
}

/// Some products in SKU order.
#[derive(Debug)]
pub struct Page<'a> {
    /// The products.
    pub products: &'a [Arc<Product>],
    /// Whether more follow.
    pub has_more: bool,
}

impl Snapshot {
    pub(super) fn new(generation: u64, products: Vec<Product>) -> Self {
        let mut products: Vec<_> = products.into_iter().map(Arc::new).collect();
        products.sort_by(|a, b| a.sku.cmp(&b.sku));
        Self { generation, products }
    }

    /// Rises with every change of the catalogue.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// How many products there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.products.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.products.is_empty()
    }

    /// The one currency of every price; `None` without products.
    #[must_use]
    pub fn currency(&self) -> Option<Currency> {
        self.products.first().map(|product| product.price.currency)
    }

    /// The product with this SKU.
    #[must_use]
    pub fn get(&self, sku: &str) -> Option<&Arc<Product>> {
        let at = self.products.binary_search_by(|product| (*product.sku).cmp(sku)).ok()?;
        self.products.get(at)
    }

    /// At most `limit` products whose SKU comes after `after` (`None` = from the first).
    #[must_use]
    pub fn page(&self, after: Option<&str>, limit: usize) -> Page<'_> {
        let start = after.map_or(0, |after| self.products.partition_point(|product| *product.sku <= *after));
        let end = start.saturating_add(limit).min(self.products.len());
        Page { products: &self.products[start..end], has_more: end < self.products.len() }
    }

    pub(super) fn products(&self) -> &[Arc<Product>] {
        &self.products
    }
}
