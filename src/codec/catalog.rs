//! The catalogue's records: the head that names the chunks, and a chunk of products.

use bincode::{Decode, Encode};

use super::envelope::{self, DecodeError, EncodeError, RECORD_BYTES_MAX, ROW_BYTES_MAX, RecordKind};
use crate::domain::{
    Currency, Money,
    product::{Availability, Product},
};

/// Version of the head's bytes.
pub const CATALOG_SCHEMA_V: u16 = 1;
/// Newest version of a chunk's bytes, which is read like the one before it; written where some product needs it.
const CHUNK_SCHEMA_V: u16 = 2;

/// What the catalogue consists of. Version 1 itself, frozen: the order of the fields is the format.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub struct CatalogHead {
    /// Rises with every change.
    pub generation: u64,
    /// Hash of the file that was imported last; 0 when products were put since.
    pub source: u128,
    /// Names of the chunks.
    pub chunks: Vec<u128>,
    /// Products in all of them.
    pub products: u32,
}

#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) struct ChunkV1 {
    products: Vec<ProductV1>,
}

#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
struct ProductV1 {
    sku: String,
    title: String,
    description: String,
    amount: i64,
    currency: [u8; 3],
    options: Vec<(String, Vec<String>)>,
    image_url: Option<String>,
    categories: Vec<String>,
    availability: AvailabilityV1,
    quantity_max: u16,
}

/// Version 2, frozen: version 1 and what goods need that are shipped and counted.
#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
pub(super) struct ChunkV2 {
    products: Vec<ProductV2>,
}

#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
struct ProductV2 {
    product: ProductV1,
    weight_g: u32,
    stock: u32,
}

impl From<ProductV1> for ProductV2 {
    fn from(product: ProductV1) -> Self {
        Self { product, weight_g: 0, stock: 0 }
    }
}

impl From<ChunkV1> for ChunkV2 {
    fn from(v1: ChunkV1) -> Self {
        Self { products: v1.products.into_iter().map(ProductV2::from).collect() }
    }
}

#[derive(Debug, PartialEq, Encode, Decode)]
#[cfg_attr(test, derive(wincode::SchemaWrite, wincode::SchemaRead))]
enum AvailabilityV1 {
    InStock,
    Low,
    OutOfStock,
}

/// The head's bytes.
///
/// # Errors
/// [`EncodeError::TooLarge`] past a row's bound.
pub fn encode_head(head: &CatalogHead) -> Result<Vec<u8>, EncodeError> {
    envelope::seal(RecordKind::CatalogHead, CATALOG_SCHEMA_V, 1, head, ROW_BYTES_MAX)
}

/// The head back.
///
/// # Errors
/// [`DecodeError`] on anything that this release did not write, whatever it is.
pub fn decode_head(bytes: &[u8]) -> Result<CatalogHead, DecodeError> {
    envelope::open(bytes, RecordKind::CatalogHead, CATALOG_SCHEMA_V)
}

/// A chunk's bytes: version 1 as long as that says all of its products, so that older releases go on to read it.
///
/// # Errors
/// [`EncodeError::TooLarge`] past a record's bound.
pub fn encode_chunk<'a>(products: impl IntoIterator<Item = &'a Product>) -> Result<Vec<u8>, EncodeError> {
    let products: Vec<&Product> = products.into_iter().collect();
    if products.iter().all(|product| product.weight_g == 0 && product.stock == 0) {
        let chunk = ChunkV1 { products: products.into_iter().map(ProductV1::from).collect() };
        return envelope::seal(RecordKind::CatalogChunk, 1, 1, &chunk, RECORD_BYTES_MAX);
    }
    let chunk = ChunkV2 { products: products.into_iter().map(ProductV2::from).collect() };
    envelope::seal(RecordKind::CatalogChunk, CHUNK_SCHEMA_V, 2, &chunk, RECORD_BYTES_MAX)
}

/// The products back.
///
/// # Errors
/// [`DecodeError`] on anything that this release did not write, whatever it is.
pub fn decode_chunk(bytes: &[u8]) -> Result<Vec<Product>, DecodeError> {
    let chunk = match envelope::schema_v(bytes) {
        Some(2) => envelope::open::<ChunkV2>(bytes, RecordKind::CatalogChunk, CHUNK_SCHEMA_V)?,
        // Every other version, and what is no record at all, is told apart there.
        _ => envelope::open::<ChunkV1>(bytes, RecordKind::CatalogChunk, CHUNK_SCHEMA_V)?.into(),
    };
    chunk.products.into_iter().map(Product::try_from).collect()
}

fn texts(texts: &[Box<str>]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

fn boxed(texts: Vec<String>) -> Vec<Box<str>> {
    texts.into_iter().map(String::into_boxed_str).collect()
}

impl From<&Product> for ProductV1 {
    fn from(product: &Product) -> Self {
        Self {
            sku: product.sku.to_string(),
            title: product.title.to_string(),
            description: product.description.to_string(),
            amount: product.price.amount,
            currency: product.price.currency.bytes(),
            options: product.options.iter().map(|(name, values)| (name.to_string(), texts(values))).collect(),
            image_url: product.image_url.as_ref().map(ToString::to_string),
            categories: texts(&product.categories),
            availability: match product.availability {
                Availability::InStock => AvailabilityV1::InStock,
                Availability::Low => AvailabilityV1::Low,
                Availability::OutOfStock => AvailabilityV1::OutOfStock,
            },
            quantity_max: product.quantity_max,
        }
    }
}

impl From<&Product> for ProductV2 {
    fn from(product: &Product) -> Self {
        Self { product: product.into(), weight_g: product.weight_g, stock: product.stock }
    }
}

impl TryFrom<ProductV2> for Product {
    type Error = DecodeError;

    fn try_from(ProductV2 { product: v1, weight_g, stock }: ProductV2) -> Result<Self, DecodeError> {
        let currency = std::str::from_utf8(&v1.currency)
            .ok()
            .and_then(|text| Currency::parse(text).ok())
            .ok_or_else(|| DecodeError::Malformed("the currency is no ISO 4217 code".into()))?;
        if v1.amount < 0 || v1.quantity_max == 0 {
            return Err(DecodeError::Malformed("a product of negative price, or that no cart may hold".into()));
        }
        Ok(Self {
            sku: v1.sku.into(),
            title: v1.title.into(),
            description: v1.description.into(),
            price: Money { amount: v1.amount, currency },
            options: v1.options.into_iter().map(|(name, values)| (name.into(), boxed(values))).collect(),
            image_url: v1.image_url.map(String::into_boxed_str),
            categories: boxed(v1.categories),
            availability: match v1.availability {
                AvailabilityV1::InStock => Availability::InStock,
                AvailabilityV1::Low => Availability::Low,
                AvailabilityV1::OutOfStock => Availability::OutOfStock,
            },
            quantity_max: v1.quantity_max,
            weight_g,
            stock,
        })
    }
}
