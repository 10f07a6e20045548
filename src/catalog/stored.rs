//! The catalogue in the store.
//!
//! A chunk is about [`CHUNK_PRODUCTS`] products, its bytes cut into index entries. Half of its name is its content's hash,
//! by which the next head finds it unchanged; the other half is random: a name that was once deleted never comes back,
//! for its deletion may still be on its way. The head names the chunks; once it has moved, those that it names no more
//! are deleted.

use std::{collections::BTreeSet, sync::Arc};

use super::Snapshot;
use crate::{
    codec::{self, CatalogHead, DecodeError, EncodeError},
    domain::product::Product,
    store::{Expect, INDEX_VALUE_BYTES_MAX, IndexEntry, Kind, Reason, Row, SCAN_MAX, Settled, Store, settle},
    telemetry::clock,
};

/// Id of the only row of its kind.
const ROW: u128 = 0;
/// Products per chunk: an edit rewrites one chunk, a start reads them all.
const CHUNK_PRODUCTS: usize = 64;
/// Attempts to move the head when others move it at the same time.
const ATTEMPTS_MAX: usize = 10;

/// Why the catalogue could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store does not answer.
    #[error("the store is unavailable: {0}")]
    Store(#[from] Reason),
    /// The store holds what this release cannot read.
    #[error("the stored catalogue cannot be read: {0}; import it again")]
    Decode(#[from] DecodeError),
    /// A chunk is too large.
    #[error("the catalogue cannot be written: {0}; shorten descriptions")]
    Encode(#[from] EncodeError),
    /// A chunk that the head names is not there.
    #[error("a part of the stored catalogue is missing; import it again")]
    Missing,
    /// Others kept changing the catalogue.
    #[error("the catalogue kept changing meanwhile; try again")]
    Contended,
    /// The product is priced in another currency than the rest.
    #[error("the catalogue is priced in {0}; one catalogue has one currency")]
    Currency(crate::domain::Currency),
    /// The built-in sample is wrong, which a test rules out.
    #[error("the built-in sample has {0} errors")]
    Sample(usize),
}

/// What names a file in the head.
pub(super) fn source(file: &[u8]) -> u128 {
    xxhash_rust::xxh3::xxh3_128(file)
}

async fn head(store: &Arc<dyn Store>) -> Result<Option<(u64, CatalogHead)>, Error> {
    let row = store.load(Kind::Catalog, ROW, true).await?;
    Ok(row.map(|row| codec::decode_head(&row.body).map(|head| (row.version, head))).transpose()?)
}

pub(super) async fn generation(store: &Arc<dyn Store>) -> Result<Option<u64>, Error> {
    Ok(head(store).await?.map(|(_, head)| head.generation))
}

pub(super) async fn is_current(store: &Arc<dyn Store>, source: u128) -> Result<bool, Error> {
    Ok(head(store).await?.is_some_and(|(_, head)| head.source == source))
}

pub(super) async fn load(store: &Arc<dyn Store>) -> Result<Option<Snapshot>, Error> {
    // The head may move while its chunks are read, and they are deleted then: read again what is named now.
    for _ in 0..ATTEMPTS_MAX {
        let Some((_, head)) = head(store).await? else { return Ok(None) };
        match chunks(store, &head).await {
            Ok(products) => return Ok(Some(Snapshot::new(head.generation, products))),
            // Of a chunk that is being deleted a part may have been read.
            Err(Error::Missing | Error::Decode(_)) if generation(store).await? != Some(head.generation) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::Contended)
}

async fn chunks(store: &Arc<dyn Store>, head: &CatalogHead) -> Result<Vec<Product>, Error> {
    let mut products = Vec::with_capacity(head.products as usize);
    for name in &head.chunks {
        let mut bytes = Vec::new();
        let mut from: Box<[u8]> = Box::default();
        loop {
            let page = store.index_scan(partition(*name), from, None, SCAN_MAX).await?;
            let (count, last) = (page.len(), page.last().map(|entry| entry.key.clone()));
            page.into_iter().for_each(|entry| bytes.extend_from_slice(&entry.value));
            match last {
                Some(last) if count == SCAN_MAX => from = [&*last, &[0]].concat().into(),
                _ => break,
            }
        }
        if bytes.is_empty() {
            return Err(Error::Missing);
        }
        products.extend(codec::decode_chunk(&bytes)?);
    }
    Ok(products)
}

/// Replaces everything; returns the new generation.
pub(super) async fn replace(
    store: &Arc<dyn Store>,
    products: &[Product],
    source: u128,
    progress: &mut (dyn FnMut(usize) + Send),
) -> Result<u64, Error> {
    let mut sorted: Vec<&Product> = products.iter().collect();
    sorted.sort_by(|a, b| a.sku.cmp(&b.sku));
    for _ in 0..ATTEMPTS_MAX {
        let present = head(store).await?;
        let mut names = Vec::new();
        let mut done = 0;
        for chunk in sorted.chunks(CHUNK_PRODUCTS) {
            names.push(write_chunk(store, chunk, present.as_ref()).await?);
            done += chunk.len();
            progress(done);
        }
        match move_head(store, present, names, sorted.len(), source).await {
            Err(Error::Contended) => {} // what it found unchanged may be deleted
            moved => return moved,
        }
    }
    Err(Error::Contended)
}

/// Adds or replaces one product; returns the new catalogue.
pub(super) async fn put(store: &Arc<dyn Store>, product: Product) -> Result<Snapshot, Error> {
    for _ in 0..ATTEMPTS_MAX {
        let snapshot = load(store).await?.unwrap_or_default();
        if let Some(currency) = snapshot.currency().filter(|currency| *currency != product.price.currency) {
            return Err(Error::Currency(currency));
        }
        let present = head(store).await?;
        if present.as_ref().map_or(0, |(_, head)| head.generation) != snapshot.generation() {
            continue;
        }
        let others = snapshot.products().iter().filter(|other| other.sku != product.sku);
        let mut products: Vec<Product> = others.map(|other| (**other).clone()).collect();
        let at = products.partition_point(|other| other.sku < product.sku);
        products.insert(at, product.clone());
        let mut names = Vec::new();
        for chunk in products.chunks(CHUNK_PRODUCTS) {
            names.push(write_chunk(store, &chunk.iter().collect::<Vec<_>>(), present.as_ref()).await?);
        }
        match move_head(store, present, names, products.len(), 0).await {
            Ok(generation) => return Ok(Snapshot::new(generation, products)),
            Err(Error::Contended) => {} // upon what somebody else put
            Err(error) => return Err(error),
        }
    }
    Err(Error::Contended)
}

/// Moves the head on from `present`, then deletes the chunks that it names no more.
async fn move_head(
    store: &Arc<dyn Store>,
    present: Option<(u64, CatalogHead)>,
    chunks: Vec<u128>,
    products: usize,
    source: u128,
) -> Result<u64, Error> {
    let generation = present.as_ref().map_or(0, |(_, head)| head.generation) + 1;
    let products = u32::try_from(products).unwrap_or(u32::MAX);
    let head = CatalogHead { generation, source, chunks, products };
    let expect = present.as_ref().map_or(Expect::Absent, |(version, _)| Expect::Version(*version));
    let row = Row {
        version: expect.next(),
        epoch: 0,
        op_id: clock::random(),
        schema_v: codec::CATALOG_SCHEMA_V,
        updated_at_ms: clock::now().0,
        ttl_s: None,
        body: codec::encode_head(&head)?.into(),
    };
    if settle(store, Kind::Catalog, ROW, expect, row).await? != Settled::Applied {
        return Err(Error::Contended);
    }
    let kept: BTreeSet<_> = head.chunks.into_iter().collect();
    for gone in present.iter().flat_map(|(_, old)| &old.chunks).filter(|name| !kept.contains(name)) {
        // Left behind, it only takes room.
        let _ = delete_chunk(store, *gone).await;
    }
    Ok(generation)
}

/// Writes a chunk, or finds it among those of the present head; returns its name.
async fn write_chunk(
    store: &Arc<dyn Store>,
    products: &[&Product],
    present: Option<&(u64, CatalogHead)>,
) -> Result<u128, Error> {
    let bytes = codec::encode_chunk(products.iter().copied())?;
    let hash = u128::from(xxhash_rust::xxh3::xxh3_64(&bytes)) << 64;
    let unchanged = present.iter().flat_map(|(_, head)| &head.chunks).find(|name| **name >> 64 << 64 == hash);
    if let Some(name) = unchanged {
        return Ok(*name);
    }
    let name = hash | (clock::random() & u128::from(u64::MAX));
    let entry = |(n, value): (usize, &[u8])| IndexEntry {
        partition: partition(name),
        key: Box::from((n as u32).to_be_bytes().as_slice()),
        value: value.into(),
    };
    store.index_put(bytes.chunks(INDEX_VALUE_BYTES_MAX).enumerate().map(entry).collect()).await?;
    Ok(name)
}

async fn delete_chunk(store: &Arc<dyn Store>, name: u128) -> Result<(), Reason> {
    let entries = store.index_scan(partition(name), Box::default(), None, SCAN_MAX).await?;
    store.index_delete(partition(name), entries.into_iter().map(|entry| entry.key).collect()).await
}

fn partition(name: u128) -> Box<[u8]> {
    [b"catalog/".as_slice(), &name.to_be_bytes()].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog::{Catalog, import, parse},
        store::Memory,
    };

    fn lines(skus: &[&str]) -> String {
        let line =
            |sku: &&str| format!(r#"{{"sku":"{sku}","title":"T","price":{{"amount":1,"currency":"EUR"}}}}"#) + "\n";
        skus.iter().map(line).collect()
    }

    async fn index_entries(store: &Arc<dyn Store>, head: &CatalogHead) -> usize {
        let mut count = 0;
        for name in &head.chunks {
            count += store.index_scan(partition(*name), Box::default(), None, SCAN_MAX).await.unwrap().len();
        }
        count
    }

    #[tokio::test]
    async fn an_empty_store_gets_the_sample_and_keeps_it() {
        let store: Arc<dyn Store> = Arc::new(Memory::default());
        let first = Catalog::open(Arc::clone(&store)).await.unwrap().snapshot();
        assert!(first.len() >= 200, "{} products", first.len());
        assert_eq!(first.get("mug-blue").unwrap().price.amount, 1299);
        let again = Catalog::open(store).await.unwrap().snapshot();
        assert_eq!((again.generation(), again.len()), (first.generation(), first.len()));
    }

    #[tokio::test]
    async fn what_is_unchanged_keeps_its_name_and_a_name_that_was_deleted_never_comes_back() {
        let store: Arc<dyn Store> = Arc::new(Memory::default());
        let import = async |skus: &[&str]| {
            let file = lines(skus);
            import(&store, file.as_bytes(), &parse(file.as_bytes()).unwrap(), &mut |_| {}).await.unwrap();
            head(&store).await.unwrap().unwrap().1.chunks
        };
        let many: Vec<String> = (0..2 * CHUNK_PRODUCTS).map(|n| format!("p-{n:03}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let first = import(&many).await;
        let shorter = import(&many[..2 * CHUNK_PRODUCTS - 1]).await;
        assert_eq!(shorter[0], first[0], "an edit leaves other chunks alone");
        assert_ne!(shorter[1], first[1]);
        let again = import(&many).await;
        assert_ne!(again[1], first[1], "its deletion may still be on its way");
    }

    #[tokio::test]
    async fn an_import_replaces_everything_and_leaves_no_chunk_behind() {
        let store: Arc<dyn Store> = Arc::new(Memory::default());
        Catalog::open(Arc::clone(&store)).await.unwrap();
        let old = head(&store).await.unwrap().unwrap().1;
        let file = lines(&["a", "b"]);
        let products = parse(file.as_bytes()).unwrap();
        assert!(import(&store, file.as_bytes(), &products, &mut |_| {}).await.unwrap().is_some());
        assert_eq!(load(&store).await.unwrap().unwrap().len(), 2);
        assert_eq!(index_entries(&store, &old).await, 0, "chunks of the old catalogue");
        assert_eq!(import(&store, file.as_bytes(), &products, &mut |_| {}).await.unwrap(), None, "the same file again");
    }

    #[tokio::test]
    async fn products_put_at_the_same_time_are_all_there() {
        let store: Arc<dyn Store> = Arc::new(Memory::default());
        let catalog = Catalog::open(Arc::clone(&store)).await.unwrap();
        let before = catalog.snapshot().len();
        let products = parse(lines(&["new-1", "new-2", "new-3"]).as_bytes()).unwrap();
        let puts = products.into_iter().map(|product| catalog.put(product));
        for put in futures_util::future::join_all(puts).await {
            put.unwrap();
        }
        assert_eq!(load(&store).await.unwrap().unwrap().len(), before + 3);
    }

    #[tokio::test]
    async fn who_was_overtaken_does_not_take_a_product_away_again() {
        let store: Arc<dyn Store> = Arc::new(Memory::default());
        let catalog = Catalog::open(Arc::clone(&store)).await.unwrap();
        let products = parse(lines(&["first", "second"]).as_bytes()).unwrap();
        let [first, second] = <[_; 2]>::try_from(products).unwrap();
        let overtaken = put(&store, first).await.unwrap();
        catalog.put(second).await.unwrap();
        catalog.show(overtaken);
        assert!(catalog.snapshot().get("first").is_some() && catalog.snapshot().get("second").is_some());
    }
}
