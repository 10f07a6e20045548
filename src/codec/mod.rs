//! Bytes: the only room that knows bincode.
//!
//! Every record is sealed in an [`envelope`]; its body is a frozen struct per version (`CartV1` …), with golden bytes in
//! `golden/`. A frozen struct never changes: a new need is a new version with `From` of the one before. A release reads
//! version n+1 before any release writes it: [`FORMATS`] counts what may be in a cluster, and the cluster raises it.

mod bank;
mod cart;
mod cart_v2;
mod cart_wire;
mod catalog;
mod checkout;
mod cluster;
mod discount;
pub mod envelope;
mod holds;
mod order;
pub mod record;
mod record_v1;
mod rule_v1;
mod stock;
pub mod view;
pub mod wire;
#[cfg(test)]
pub(crate) mod tests;

pub use bank::{
    BANK_DEEDS_MAX, BANK_SCHEMA_V, BankDeed, BankDeedKind, BankPayment, BankState, decode_bank, encode_bank,
};
pub use cart::{CART_SCHEMA_V, decode_cart, encode_cart};
pub use cart_wire::{decode_cart_command, decode_cart_refusal, encode_cart_command, encode_cart_refusal};
pub use catalog::{CATALOG_SCHEMA_V, CatalogHead, decode_chunk, decode_head, encode_chunk, encode_head};
pub use checkout::{
    CHECKOUT_SCHEMA_V, decode_checkout, decode_checkout_command, decode_checkout_refusal, encode_checkout,
    encode_checkout_command, encode_checkout_refusal,
};
pub use cluster::{
    ClusterKeys, FORMATS, KEYS_SCHEMA_V, MAP_SCHEMA_V, MEMBER_SCHEMA_V, Member, MemberState, ShardEntry, ShardMap,
    decode_keys, decode_map, decode_member, encode_keys, encode_map, encode_member,
};
pub use discount::{
    DISCOUNT_SCHEMA_V, decode_discount, decode_discount_command, decode_discount_refusal, encode_discount,
    encode_discount_command, encode_discount_refusal,
};
pub use envelope::{DecodeError, EncodeError, RecordKind};
pub use order::{
    ORDER_SCHEMA_V, decode_order, decode_order_command, decode_order_refusal, encode_order, encode_order_command,
    encode_order_refusal,
};
pub use stock::{
    STOCK_SCHEMA_V, decode_stock, decode_stock_command, decode_stock_refusal, encode_stock, encode_stock_command,
    encode_stock_refusal,
};
