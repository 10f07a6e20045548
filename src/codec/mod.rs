//! Bytes: the only room that knows bincode.
//!
//! Every record is sealed in an [`envelope`]; its body is a frozen struct per version (`CartV1` …), with golden bytes in
//! `golden/`. A frozen struct never changes: a new need is a new version with `From` of the one before. A release reads
//! version n+1 before any release writes it, so every release can be rolled back by one.

mod cart;
mod cart_v2;
mod cart_wire;
mod catalog;
mod cluster;
pub mod envelope;
pub mod record;
mod rule_v1;
pub mod wire;
#[cfg(test)]
pub(crate) mod tests;

pub use cart::{CART_SCHEMA_V, decode_cart, encode_cart};
pub use cart_wire::{decode_cart_command, decode_cart_refusal, encode_cart_command, encode_cart_refusal};
pub use catalog::{CATALOG_SCHEMA_V, CatalogHead, decode_chunk, decode_head, encode_chunk, encode_head};
pub use cluster::{
    ClusterKeys, KEYS_SCHEMA_V, MAP_SCHEMA_V, MEMBER_SCHEMA_V, Member, MemberState, ShardEntry, ShardMap, decode_keys,
    decode_map, decode_member, encode_keys, encode_map, encode_member,
};
pub use envelope::{DecodeError, EncodeError, RecordKind};
