//! What a shopper does: each scenario is what is there before, and one visit.

mod browse_and_cart;
mod flash_crowd;
mod flash_sale;
mod hot_cart;
mod hundred_line;
mod purchase;
mod read_product;
mod two_device_cart;

use std::{collections::BTreeSet, io, sync::Arc, time::Instant};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::task::JoinSet;

use crate::{
    catalogue::{self, Variant},
    ledger::Account,
    purchases,
    shopper::{Add, Shopper, World},
};

/// Carts that are filled at once before a run.
const FILLERS: usize = 32;

/// A scenario, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Look around, and put one thing into a new cart.
    BrowseAndCart,
    /// Everybody changes the same cart.
    HotCart,
    /// Two devices add to the same cart at the same time.
    TwoDeviceCart,
    /// Carts as long as they may be.
    HundredLine,
    /// New shoppers, all at once, for the same few products.
    FlashCrowd,
    /// Open one product, and nothing else.
    ReadProduct,
    /// Put three things into a new cart and buy them.
    Purchase,
    /// Many shoppers, few units, one product.
    FlashSale,
}

/// What is there when shoppers come.
#[derive(Clone, Debug)]
pub struct Stage {
    kind: Kind,
    variants: Vec<Variant>,
    carts: Vec<Account>,
    seed: u64,
    /// Units of the product of a flash sale.
    units: u64,
}

impl Stage {
    /// Makes it ready.
    ///
    /// # Errors
    /// When the catalogue cannot be read or the carts cannot be made.
    pub async fn set(kind: Kind, carts: usize, units: u64, seed: u64, world: &Arc<World>) -> io::Result<Self> {
        let variants = catalogue::read(world).await?;
        let carts = match kind {
            Kind::HotCart => fill(world, 1, hot_cart::lines(&variants)).await?,
            Kind::HundredLine => fill(world, carts, hundred_line::lines(&variants)).await?,
            Kind::BrowseAndCart | Kind::TwoDeviceCart | Kind::FlashCrowd | Kind::ReadProduct => Vec::new(),
            Kind::Purchase => {
                for sku in variants.iter().map(|variant| &variant.sku).collect::<BTreeSet<_>>() {
                    world.purchases.sells(&world.service, sku).await?;
                }
                Vec::new()
            }
            Kind::FlashSale => return Self::sale(variants, units, seed, world).await,
        };
        if kind == Kind::HotCart {
            hot_cart::prepare(&carts, &variants);
        }
        Ok(Self { kind, variants, carts, seed, units })
    }

    /// A sale of the first product: so many units of it, and no more.
    async fn sale(mut variants: Vec<Variant>, units: u64, seed: u64, world: &Arc<World>) -> io::Result<Self> {
        variants.truncate(1);
        for Variant { sku, .. } in &variants {
            purchases::set_available(&world.service, sku, units).await?;
            world.purchases.sells(&world.service, sku).await?;
        }
        Ok(Self { kind: Kind::FlashSale, variants, carts: Vec::new(), seed, units })
    }

    /// The visit of the shopper with this number.
    pub async fn visit(&self, number: u64, mut shopper: Shopper) {
        let mut visit = Visit { stage: self, random: StdRng::seed_from_u64(self.seed ^ number) };
        // A shopper who is refused in the end leaves: the refusal is measured.
        let _left_early = match self.kind {
            Kind::BrowseAndCart => browse_and_cart::visit(&mut visit, &mut shopper).await,
            Kind::HotCart => hot_cart::visit(&visit, &mut shopper).await,
            Kind::TwoDeviceCart => two_device_cart::visit(&mut visit, &mut shopper).await,
            Kind::HundredLine => hundred_line::visit(&mut visit, &mut shopper).await,
            Kind::FlashCrowd => flash_crowd::visit(&mut visit, &mut shopper).await,
            Kind::ReadProduct => read_product::visit(&mut visit, &mut shopper).await,
            Kind::Purchase => purchase::visit(&mut visit, &mut shopper).await,
            Kind::FlashSale => flash_sale::visit(&mut visit, number, &mut shopper).await,
        };
    }
}

/// One visit's view of the stage, and its own luck.
#[derive(Debug)]
struct Visit<'a> {
    stage: &'a Stage,
    random: StdRng,
}

impl<'a> Visit<'a> {
    fn one_of<T>(&mut self, things: &'a [T]) -> Option<&'a T> {
        if things.is_empty() { None } else { things.get(self.random.random_range(..things.len())) }
    }
}

/// Makes carts of these lines: variant, and which copy of its line.
async fn fill(world: &Arc<World>, carts: usize, lines: Vec<(Variant, usize)>) -> io::Result<Vec<Account>> {
    let (lines, mut filling, mut filled) = (Arc::new(lines), JoinSet::new(), Vec::with_capacity(carts));
    let mut left = carts;
    loop {
        while left > 0 && filling.len() < FILLERS {
            left -= 1;
            let (world, lines) = (Arc::clone(world), Arc::clone(&lines));
            filling.spawn(async move {
                let mut shopper = Shopper::new(&world, Instant::now());
                let account = shopper.make().await?;
                for (variant, copy) in lines.iter() {
                    shopper.add(&account, Add { copy: *copy, ..Add::keyed(variant) }).await?;
                }
                Some(account)
            });
        }
        match filling.join_next().await {
            Some(Ok(Some(account))) => filled.push(account),
            Some(_) => return Err(io::Error::other("a cart could not be filled")),
            None => return Ok(filled),
        }
    }
}
