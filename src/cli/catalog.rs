//! `trolley catalog check | import`.

use std::{io::IsTerminal, path::Path, process::ExitCode};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{
    Failure,
    config::{Config, StoreKind},
    say,
};
use crate::{app, catalog, domain::product::Product};

/// A file's bytes and products, or every fault in it.
pub(super) fn read(path: &Path) -> Result<(Vec<u8>, Vec<Product>), Failure> {
    let file = std::fs::read(path).map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
    let products = catalog::parse(&file).map_err(|faults| {
        let lines: Vec<_> = faults.iter().map(|fault| format!("\n  {}: {fault}", path.display())).collect();
        Failure::failed(format!("{} faults{}", faults.len(), lines.concat()))
    })?;
    Ok((file, products))
}

pub(super) async fn import(config: &Config, path: &Path) -> Result<ExitCode, Failure> {
    let (file, products) = read(path)?;
    let store = app::open_store(config).await.map_err(|error| {
        let hint = if config.store_kind == StoreKind::Embedded {
            "\n  a running node takes single products: PUT /admin/products/<sku>; or name the file as catalog.path and restart it"
        } else {
            ""
        };
        Failure::failed(format!("{error}{hint}"))
    })?;
    let bar = ProgressBar::new(products.len() as u64);
    let style = ProgressStyle::with_template("importing {wide_bar} {pos}/{len} products {eta}");
    bar.set_style(style.map_err(Failure::failed)?);
    if !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let imported = catalog::import(&store, &file, &products, &mut |done| bar.set_position(done as u64)).await;
    bar.finish_and_clear();
    match imported.map_err(Failure::failed)? {
        Some(generation) => say(format!("{} products imported as generation {generation}", products.len())),
        None => say(format!("nothing to do: these {} products are what the store holds", products.len())),
    }
}
