//! Round trips, golden bytes, a second reader, damage.

use proptest::prelude::*;

use super::{
    cart::CartV1,
    catalog::ChunkV1,
    envelope::HEADER_BYTES,
    record::{Armed, Effect, Receipt, Record, Unsent},
    *,
};
use crate::domain::{
    CartId, Currency, GuestId, Id, Money, UnixMillis,
    cart::{Cart, Line, LineId, Owner, Status},
    product::{Availability, Product},
};

/// Reads what bincode's `standard` writes: little-endian varints, tags as u32.
fn wincode_config() -> impl wincode::config::Config {
    wincode::config::Configuration::default().with_varint_encoding()
}

fn line(n: u32) -> Line {
    Line {
        id: LineId(n),
        sku: format!("sku-{n}").into(),
        title: "Mug, blue".into(),
        quantity: 2,
        quantity_max: 999,
        unit_price: 1299,
        options: vec![("size".into(), "M".into())].into(),
        metadata: vec![("gift".into(), "true".into())].into(),
    }
}

fn cart() -> Record<Cart> {
    Record {
        epoch: 7,
        op_id: 0x1122_3344_5566_7788_99aa_bbcc_ddee_ff00,
        state: Cart {
            id: CartId(Id(1 << 114)),
            revision: 3,
            owner: Owner::Guest(GuestId(Id(42))),
            generation: 0,
            status: Status::Open,
            currency: Currency::EUR,
            lines: vec![line(1), line(3)],
            saved: vec![line(2)],
            line_next: 4,
            note: Some("ring twice".into()),
            email: None,
            created_at: UnixMillis(1_795_000_000_000),
            updated_at: UnixMillis(1_795_000_000_001),
            expires_at: UnixMillis(1_802_776_000_001),
        },
        receipts: vec![Receipt { key: u128::MAX, request: 5, at: UnixMillis(9), outcome: 1 }],
        unsent: [Unsent { sequence: 1, kind: 2, at: UnixMillis(3), body: Box::from([4, 5].as_slice()) }].into(),
        effects: [Effect { key: 6, kind: 7, due: UnixMillis(8), attempts: 9, body: Box::from([10].as_slice()) }].into(),
        armed: Some(Armed { due: UnixMillis(1_802_776_000_001), version: 1 }),
    }
}

fn product() -> Product {
    Product {
        sku: "tee-blue".into(),
        title: "T-shirt, blue".into(),
        description: "Organic cotton.".into(),
        price: Money { amount: 2490, currency: Currency::EUR },
        options: vec![("size".into(), vec!["S".into(), "M".into()])],
        image_url: Some("/images/tee-blue.jpg".into()),
        categories: vec!["clothing".into()],
        availability: Availability::Low,
        quantity_max: 5,
    }
}

fn member() -> Member {
    Member {
        name: "n1".into(),
        incarnation: 2,
        http: "127.0.0.1:8080".into(),
        admin: "127.0.0.1:9090".into(),
        cluster: String::new(),
        release: "0.1.0".into(),
        schema_min: 1,
        schema_max: 1,
        lease: 300,
        state: MemberState::Leaving,
    }
}

fn map() -> ShardMap {
    ShardMap { version: 9, shards: vec![ShardEntry { node: "n1".into(), incarnation: 2, epoch: 300, fence: 299 }] }
}

fn keys() -> ClusterKeys {
    ClusterKeys { guest_mac: vec![(2, [7; 32]), (1, [9; 32])] }
}

fn head() -> CatalogHead {
    CatalogHead { generation: 4, source: 1 << 100, chunks: vec![1, u128::MAX], products: 65 }
}

/// Every record of every version, with its golden file.
fn golden() -> Vec<(&'static str, Vec<u8>, &'static [u8])> {
    vec![
        ("cart_v1", encode_cart(&cart()).unwrap().to_vec(), include_bytes!("golden/cart_v1.bin")),
        ("member_v1", encode_member(&member()).unwrap(), include_bytes!("golden/member_v1.bin")),
        ("map_v1", encode_map(&map()).unwrap(), include_bytes!("golden/map_v1.bin")),
        ("keys_v1", encode_keys(&keys()).unwrap(), include_bytes!("golden/keys_v1.bin")),
        ("catalog_head_v1", encode_head(&head()).unwrap(), include_bytes!("golden/catalog_head_v1.bin")),
        ("catalog_chunk_v1", encode_chunk([&product()]).unwrap(), include_bytes!("golden/catalog_chunk_v1.bin")),
    ]
}

#[test]
fn the_bytes_of_every_version_are_frozen() {
    let changed: Vec<_> = golden().into_iter().filter(|(_, bytes, golden)| bytes != golden).collect();
    for (name, bytes, _) in &changed {
        std::fs::write(std::env::temp_dir().join(format!("{name}.bin")), bytes).unwrap();
    }
    let names: Vec<_> = changed.iter().map(|(name, ..)| name).collect();
    assert!(
        names.is_empty(),
        "{names:?} are written differently now; the new bytes are in the system's temporary directory"
    );
}

#[test]
fn golden_bytes_read_back_as_what_they_were_made_of() {
    let golden = |name: &str| golden().into_iter().find(|(known, ..)| *known == name).unwrap().2;
    assert_eq!(decode_cart(golden("cart_v1")).unwrap(), cart());
    assert_eq!(decode_member(golden("member_v1")).unwrap(), member());
    assert_eq!(decode_map(golden("map_v1")).unwrap(), map());
    assert_eq!(decode_keys(golden("keys_v1")).unwrap(), keys());
    assert_eq!(decode_head(golden("catalog_head_v1")).unwrap(), head());
    assert_eq!(decode_chunk(golden("catalog_chunk_v1")).unwrap(), [product()]);
}

/// bincode is unmaintained: the way out stays proven.
#[test]
fn wincode_reads_and_writes_the_same_bytes() {
    macro_rules! both {
        ($name:literal, $type:ty) => {
            let bytes = &golden().into_iter().find(|(known, ..)| *known == $name).unwrap().2[HEADER_BYTES..];
            let read: $type = wincode::config::deserialize(bytes, wincode_config()).unwrap();
            assert_eq!(wincode::config::serialize(&read, wincode_config()).unwrap(), bytes, $name);
        };
    }
    both!("cart_v1", CartV1);
    both!("member_v1", Member);
    both!("map_v1", ShardMap);
    both!("keys_v1", ClusterKeys);
    both!("catalog_head_v1", CatalogHead);
    both!("catalog_chunk_v1", ChunkV1);
}

/// A cart is written straight from the state; the frozen struct is the truth.
#[test]
fn what_is_written_without_the_frozen_struct_is_what_it_would_write() {
    let bytes = encode_cart(&cart()).unwrap();
    let (frozen, _): (CartV1, usize) =
        bincode::decode_from_slice(&bytes[HEADER_BYTES..], bincode::config::standard()).unwrap();
    assert_eq!(bincode::encode_to_vec(&frozen, bincode::config::standard()).unwrap(), &bytes[HEADER_BYTES..]);
}

#[test]
fn damage_mix_ups_and_the_future_are_told_apart() {
    let good = encode_cart(&cart()).unwrap().to_vec();
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[HEADER_BYTES..]);
        bytes[12..16].copy_from_slice(&crc.to_be_bytes());
        decode_cart(&bytes).unwrap_err()
    };
    assert_eq!(decode_cart(&good[..good.len() - 1]).unwrap_err(), DecodeError::Truncated);
    assert_eq!(decode_cart(&[&good[..], &[0]].concat()).unwrap_err(), DecodeError::Longer);
    assert_eq!(with(0, 0), DecodeError::Magic);
    assert_eq!(with(2, 99), DecodeError::Kind { wanted: RecordKind::Cart, found: 99 });
    assert_eq!(with(3, 9), DecodeError::Codec(9));
    assert_eq!(with(5, 2), DecodeError::Newer { schema_v: 2, min_reader: 1, reads: 1 });
    assert_eq!(with(7, 2), DecodeError::Newer { schema_v: 1, min_reader: 2, reads: 1 });
    assert_eq!(with(5, 0), DecodeError::Older { schema_v: 0 });
    assert!(matches!(decode_member(&good).unwrap_err(), DecodeError::Kind { found: 1, .. }));
    let mut flipped = good;
    flipped[40] ^= 1;
    assert_eq!(decode_cart(&flipped).unwrap_err(), DecodeError::Checksum);
}

#[test]
fn a_record_larger_than_a_row_is_refused() {
    let mut record = cart();
    record.state.note = Some("x".repeat(300 * 1024).into());
    assert!(matches!(encode_cart(&record), Err(EncodeError::TooLarge { .. })));
}

#[test]
fn keys_do_not_show_in_debug() {
    assert_eq!(format!("{:?}", keys()), "ClusterKeys(2 guest keys)");
}

/// Every decoder, on whatever bytes: an error, never a panic.
fn decode_all(bytes: &[u8]) -> [bool; 6] {
    [
        decode_cart(bytes).is_ok(),
        decode_member(bytes).is_ok(),
        decode_map(bytes).is_ok(),
        decode_keys(bytes).is_ok(),
        decode_head(bytes).is_ok(),
        decode_chunk(bytes).is_ok(),
    ]
}

/// The record around a body, with a checksum that holds: what the body's decoder alone must withstand.
fn sealed(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x54, 0x72, kind, 1, 0, 1, 0, 1];
    bytes.extend((body.len() as u32).to_be_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes), body);
    bytes.extend(crc.to_be_bytes());
    bytes.extend(body);
    bytes
}

fn text() -> impl Strategy<Value = Box<str>> {
    "\\PC{0,20}".prop_map(Box::from)
}

fn pairs() -> impl Strategy<Value = Box<[(Box<str>, Box<str>)]>> {
    prop::collection::vec((text(), text()), 0..4).prop_map(Vec::into)
}

prop_compose! {
    fn any_line()(id: u32, sku in text(), title in text(), quantity in 1u16.., quantity_max: u16,
        unit_price in 0i64..1_000_000_000_000, options in pairs(), metadata in pairs()) -> Line {
        Line { id: LineId(id), sku, title, quantity, quantity_max, unit_price, options, metadata }
    }
}

prop_compose! {
    fn any_cart()(id: u128, guest: u128, numbers: [u64; 6], generation: u32, line_next: u32, status in 0..3,
        lines in prop::collection::vec(any_line(), 0..6), saved in prop::collection::vec(any_line(), 0..4),
        note in prop::option::of(text()), email in prop::option::of(text()), op_id: u128,
        receipts in prop::collection::vec((any::<[u128; 2]>(), any::<u64>(), any::<u32>()), 0..4),
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..3),
        armed in prop::option::of(any::<[u64; 2]>())) -> Record<Cart> {
        let [revision, created_at, updated_at, expires_at, epoch, other] = numbers;
        let receipt = |([key, request], at, outcome): ([u128; 2], u64, u32)| Receipt { key, request, at: UnixMillis(at), outcome };
        let unsent = |body: &Vec<u8>| Unsent { sequence: other, kind: 1, at: UnixMillis(other), body: body.clone().into() };
        let effect = |body: &Vec<u8>| {
            Effect { key: op_id, kind: 1, due: UnixMillis(other), attempts: line_next, body: body.clone().into() }
        };
        Record {
            epoch, op_id,
            state: Cart {
                id: CartId(Id(id)), revision, owner: Owner::Guest(GuestId(Id(guest))), generation,
                status: [Status::Open, Status::Closed, Status::Expired][status as usize],
                currency: Currency::EUR, lines, saved, line_next, note, email,
                created_at: UnixMillis(created_at), updated_at: UnixMillis(updated_at), expires_at: UnixMillis(expires_at),
            },
            receipts: receipts.into_iter().map(receipt).collect(),
            unsent: bodies.iter().map(unsent).collect(),
            effects: bodies.iter().map(effect).collect(),
            armed: armed.map(|[due, version]| Armed { due: UnixMillis(due), version }),
        }
    }
}

proptest! {
    #[test]
    fn any_cart_reads_back(record in any_cart()) {
        prop_assert_eq!(decode_cart(&encode_cart(&record).unwrap()).unwrap(), record);
    }

    #[test]
    fn any_damage_is_an_error(record in any_cart(), at: prop::sample::Index, bit in 0..8u8, cut: prop::sample::Index) {
        let bytes = encode_cart(&record).unwrap().to_vec();
        let mut flipped = bytes.clone();
        let at = at.index(bytes.len());
        flipped[at] ^= 1 << bit;
        prop_assert_eq!(decode_all(&flipped), [false; 6]);
        prop_assert_eq!(decode_all(&bytes[..cut.index(bytes.len())]), [false; 6]);
    }

    #[test]
    fn random_bytes_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(decode_all(&bytes), [false; 6]);
    }

    /// The checksum holds, the body is anybody's: no panic, and no allocation beyond the limit.
    #[test]
    fn hostile_bodies_never_panic(kind in 1..7u8, body in prop::collection::vec(any::<u8>(), 0..300)) {
        decode_all(&sealed(kind, &body));
    }

    #[test]
    fn mutated_bodies_never_panic(record in any_cart(), at: prop::sample::Index, byte: u8) {
        let mut body = encode_cart(&record).unwrap()[HEADER_BYTES..].to_vec();
        let at = at.index(body.len());
        body[at] = byte;
        decode_all(&sealed(1, &body));
    }
}
