//! What a shopper does: each scenario is what is there before, and one visit.

mod abandoned_checkouts;
mod browse_and_cart;
mod decline_storm;
mod flash_crowd;
mod flash_sale;
mod hot_cart;
mod hundred_line;
mod purchase;
mod read_product;
mod two_device_cart;

use std::{
    collections::BTreeSet,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::task::JoinSet;

pub use self::decline_storm::Storm;
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
    /// Cards are declined in droves, and others buy meanwhile.
    DeclineStorm,
    /// Half of the shoppers walk away from their checkouts, and the rest wait for what they held.
    AbandonedCheckouts,
}

/// What can be chosen about a scenario.
#[derive(Clone, Copy, Debug)]
pub struct Choices {
    /// Carts that are there before.
    pub carts: usize,
    /// Units of the product that all want.
    pub units: u64,
    /// Whether every purchase has the first product in it.
    pub hot: bool,
    /// For what is random.
    pub seed: u64,
    /// How payments go in a storm.
    pub storm: Storm,
    /// Longest life of a checkout that is left to expire.
    pub life_max: Duration,
}

impl Default for Choices {
    fn default() -> Self {
        let storm = Storm { refused_percent: 80, tries: 5 };
        Self { carts: 100, units: 100, hot: false, seed: 1, storm, life_max: Duration::from_secs(60) }
    }
}

/// What is there when shoppers come.
#[derive(Clone, Debug)]
pub struct Stage {
    kind: Kind,
    variants: Vec<Variant>,
    carts: Vec<Account>,
    seed: u64,
    /// Units of the product that all want.
    units: u64,
    /// Whether every purchase has the first product in it.
    hot: bool,
    storm: Storm,
}

impl Stage {
    /// Makes it ready.
    ///
    /// # Errors
    /// When the catalogue cannot be read or the carts cannot be made.
    pub async fn set(kind: Kind, choices: &Choices, world: &Arc<World>) -> io::Result<Self> {
        let Choices { carts, units, hot, seed, storm, life_max } = *choices;
        let mut variants = catalogue::read(world).await?;
        let carts = match kind {
            Kind::HotCart => fill(world, 1, hot_cart::lines(&variants)).await?,
            Kind::HundredLine => fill(world, carts, hundred_line::lines(&variants)).await?,
            Kind::BrowseAndCart | Kind::TwoDeviceCart | Kind::FlashCrowd | Kind::ReadProduct => Vec::new(),
            Kind::Purchase | Kind::DeclineStorm => {
                for sku in variants.iter().map(|variant| &variant.sku).collect::<BTreeSet<_>>() {
                    world.purchases.sells(&world.service, sku).await?;
                }
                Vec::new()
            }
            Kind::FlashSale => {
                sell_only(&mut variants, units, world).await?;
                Vec::new()
            }
            Kind::AbandonedCheckouts => {
                sell_only(&mut variants, units, world).await?;
                for variant in &variants {
                    abandoned_checkouts::prepare(variant, life_max, world).await?;
                }
                Vec::new()
            }
        };
        if kind == Kind::HotCart {
            hot_cart::prepare(&carts, &variants);
        }
        Ok(Self { kind, variants, carts, seed, units, hot, storm })
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
            Kind::DeclineStorm => decline_storm::visit(&mut visit, number, &mut shopper).await,
            Kind::AbandonedCheckouts => abandoned_checkouts::visit(&mut visit, number, &mut shopper).await,
        };
    }
}

/// Everybody wants the first product: so many units of it, and no more.
async fn sell_only(variants: &mut Vec<Variant>, units: u64, world: &Arc<World>) -> io::Result<()> {
    variants.truncate(1);
    for Variant { sku, .. } in variants {
        purchases::set_available(&world.service, sku, units).await?;
        world.purchases.sells(&world.service, sku).await?;
    }
    Ok(())
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
