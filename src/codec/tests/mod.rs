//! Round trips, golden bytes, a second reader, damage.

mod holds;
mod order;
pub(crate) mod samples;
mod wire;

use std::fmt::Debug;

use proptest::prelude::*;
use thin_vec::{ThinVec, thin_vec};

use self::samples::{any_cart, cart, cart_v2, head, keys, line, map, member, payment, product, product_v2, rule};
use super::{
    cart::{CartV1, EffectV1},
    cart_v2::CartV2,
    catalog::{ChunkV1, ChunkV2},
    discount::DiscountV1,
    envelope::{HEADER_BYTES, RECORD_BYTES_MAX, ROW_BYTES_MAX},
    record::{Receipt, Record, Unsent},
    record_v1::RecordV1,
    stock::StockV1,
    *,
};
use crate::domain::{
    CheckoutId, Id, Money, UnixMillis,
    cart::{CHECKOUT_BYTES_MAX, CODES_MAX, Cart, InCheckout, LINES_MAX, Line, LineId, Status},
    discount::Worth,
    product::Product,
};

/// Reads what bincode's `standard` writes: little-endian varints, tags as u32.
fn wincode_config() -> impl wincode::config::Config {
    wincode::config::Configuration::default().with_varint_encoding()
}

/// Every record of every version, with its golden file.
fn golden() -> Vec<(&'static str, Vec<u8>, &'static [u8])> {
    vec![
        ("cart_v1", encode_cart(&cart()).unwrap().to_vec(), include_bytes!("../golden/cart_v1.bin")),
        ("member_v1", encode_member(&member()).unwrap(), include_bytes!("../golden/member_v1.bin")),
        ("map_v1", encode_map(&map()).unwrap(), include_bytes!("../golden/map_v1.bin")),
        ("keys_v1", encode_keys(&keys()).unwrap(), include_bytes!("../golden/keys_v1.bin")),
        ("catalog_head_v1", encode_head(&head()).unwrap(), include_bytes!("../golden/catalog_head_v1.bin")),
        ("catalog_chunk_v1", encode_chunk([&product()]).unwrap(), include_bytes!("../golden/catalog_chunk_v1.bin")),
        ("cart_v2", encode_cart(&cart_v2()).unwrap().to_vec(), include_bytes!("../golden/cart_v2.bin")),
        (
            "catalog_chunk_v2",
            encode_chunk([&product(), &product_v2()]).unwrap(),
            include_bytes!("../golden/catalog_chunk_v2.bin"),
        ),
        ("stock_v1", encode_stock(&holds::stock()).unwrap().to_vec(), include_bytes!("../golden/stock_v1.bin")),
        (
            "discount_v1",
            encode_discount(&holds::discount()).unwrap().to_vec(),
            include_bytes!("../golden/discount_v1.bin"),
        ),
        ("bank_v1", encode_bank(&payment()).unwrap(), include_bytes!("../golden/bank_v1.bin")),
    ]
}

fn golden_bytes(name: &str) -> &'static [u8] {
    golden().into_iter().find(|(known, ..)| *known == name).unwrap().2
}

/// What every decoder says of `bytes`, in the order of [`DECODERS`].
fn decode_all(bytes: &[u8]) -> [Result<(), DecodeError>; 9] {
    [
        decode_cart(bytes).map(drop),
        decode_member(bytes).map(drop),
        decode_map(bytes).map(drop),
        decode_keys(bytes).map(drop),
        decode_head(bytes).map(drop),
        decode_chunk(bytes).map(drop),
        decode_stock(bytes).map(drop),
        decode_discount(bytes).map(drop),
        decode_bank(bytes).map(drop),
    ]
}

/// What each decoder reads, and up to which version.
const DECODERS: [(&str, u16); 9] = [
    ("cart", 2),
    ("member", 1),
    ("map", 1),
    ("keys", 1),
    ("catalog_head", 1),
    ("catalog_chunk", 2),
    ("stock", 1),
    ("discount", 1),
    ("bank", 1),
];

/// Which decoder reads a golden record.
fn decoder_of(name: &str) -> usize {
    DECODERS.iter().position(|(kind, _)| name[..name.len() - "_v1".len()] == **kind).unwrap()
}

/// A record whose length and checksum hold, whatever its body: what the checks behind them must withstand.
fn resealed(header: &[u8], body: &[u8]) -> Vec<u8> {
    let mut bytes = header[..8].to_vec();
    bytes.extend((body.len() as u32).to_be_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes), body);
    bytes.extend(crc.to_be_bytes());
    bytes.extend(body);
    bytes
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
    assert_eq!(decode_cart(golden_bytes("cart_v1")).unwrap(), cart());
    assert_eq!(decode_member(golden_bytes("member_v1")).unwrap(), member());
    assert_eq!(decode_map(golden_bytes("map_v1")).unwrap(), map());
    assert_eq!(decode_keys(golden_bytes("keys_v1")).unwrap(), keys());
    assert_eq!(decode_head(golden_bytes("catalog_head_v1")).unwrap(), head());
    assert_eq!(decode_chunk(golden_bytes("catalog_chunk_v1")).unwrap(), [product()]);
    assert_eq!(decode_stock(golden_bytes("stock_v1")).unwrap(), holds::stock());
    assert_eq!(decode_discount(golden_bytes("discount_v1")).unwrap(), holds::discount());
    assert_eq!(decode_bank(golden_bytes("bank_v1")).unwrap(), payment());
    assert_eq!(decode_cart(golden_bytes("cart_v2")).unwrap(), cart_v2());
    assert_eq!(decode_chunk(golden_bytes("catalog_chunk_v2")).unwrap(), [product(), product_v2()]);
}

/// bincode is unmaintained: the way out stays proven.
#[test]
fn wincode_reads_and_writes_the_same_bytes() {
    macro_rules! both {
        ($name:literal, $type:ty) => {
            let bytes = &golden_bytes($name)[HEADER_BYTES..];
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
    both!("stock_v1", RecordV1<StockV1>);
    both!("discount_v1", RecordV1<DiscountV1>);
    both!("bank_v1", BankPayment);
    both!("cart_v2", CartV2);
    both!("catalog_chunk_v2", ChunkV2);
}

#[test]
fn damage_mix_ups_and_the_future_are_told_apart_by_every_decoder() {
    for (name, _, good) in golden() {
        let at = decoder_of(name);
        let (reads, version) = (DECODERS[at].1, good[5]);
        let newer = reads as u8 + 1;
        let decode = |bytes: &[u8]| decode_all(bytes)[at].clone().unwrap_err();
        let with = |offset: usize, byte: u8| {
            let mut header = good[..HEADER_BYTES].to_vec();
            header[offset] = byte;
            decode(&resealed(&header, &good[HEADER_BYTES..]))
        };
        assert_eq!(decode_all(good).iter().filter(|read| read.is_ok()).count(), 1, "{name} is read as one kind only");
        assert_eq!(with(0, 0), DecodeError::Magic, "{name}");
        assert!(matches!(with(2, 99), DecodeError::Kind { found: 99, .. }), "{name}");
        assert_eq!(with(3, 9), DecodeError::Codec(9), "{name}");
        let schema_v = DecodeError::Newer { schema_v: reads + 1, min_reader: version.into(), reads };
        assert_eq!(with(5, newer), schema_v, "{name}");
        let min_reader = DecodeError::Newer { schema_v: version.into(), min_reader: reads + 1, reads };
        assert_eq!(with(7, newer), min_reader, "{name}");
        assert_eq!(with(5, 0), DecodeError::Older { schema_v: 0 }, "{name}");
        assert_eq!(decode(&[good, &[0]].concat()), DecodeError::Longer, "{name}");
        let padded = resealed(good, &[&good[HEADER_BYTES..], &[0]].concat());
        assert_eq!(decode(&padded), DecodeError::Longer, "{name}: a body longer than what it says");
        for cut in 0..good.len() {
            assert_eq!(decode(&good[..cut]), DecodeError::Truncated, "{name} cut at {cut}");
        }
        for cut in HEADER_BYTES..good.len() {
            let cut_off = decode(&resealed(good, &good[HEADER_BYTES..cut]));
            assert!(matches!(cut_off, DecodeError::Malformed(_) | DecodeError::TooLarge { .. }), "{name}: {cut_off:?}");
        }
    }
}

#[test]
fn every_flipped_bit_is_an_error_for_every_decoder() {
    for (name, _, good) in golden() {
        for bit in 0..good.len() * 8 {
            let mut bytes = good.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_all(&bytes).iter().all(Result::is_err), "{name}, bit {bit}");
        }
    }
}

/// Behind a checksum that holds: no byte of any body, whatever it becomes, makes its decoder panic.
#[test]
fn any_byte_of_any_body_may_be_any_other() {
    for (.., good) in golden() {
        for offset in HEADER_BYTES..good.len() {
            for byte in 0..=u8::MAX {
                let mut body = good[HEADER_BYTES..].to_vec();
                body[offset - HEADER_BYTES] = byte;
                drop(decode_all(&resealed(good, &body)));
            }
        }
    }
}

/// Where a record's currency is in its golden body.
fn currency_offset(name: &str) -> usize {
    golden_bytes(name)[HEADER_BYTES..].windows(3).position(|three| three == b"EUR").unwrap()
}

/// A length that no body can have is refused before anything is allocated for it.
#[test]
fn hostile_lengths_claim_no_memory() {
    let hostile = [&[253][..], &u64::MAX.to_le_bytes()].concat();
    let behind_currency = HEADER_BYTES + 3 + currency_offset("cart_v1");
    // Behind the currency: two sums of three bytes, a flag, a moment of nine.
    let deeds = HEADER_BYTES + 3 + currency_offset("bank_v1") + 16;
    // Behind an epoch of one byte and an op_id.
    let state = HEADER_BYTES + 18;
    // Where each record's first length is: of lines, a name, shards, keys, chunks, products, a SKU, a code, deeds.
    let chunk = HEADER_BYTES;
    let lengths = [
        behind_currency,
        HEADER_BYTES,
        HEADER_BYTES + 2,
        HEADER_BYTES,
        HEADER_BYTES + 18,
        chunk,
        behind_currency,
        chunk,
        state,
        state,
        deeds,
    ];
    for ((name, _, good), offset) in golden().into_iter().zip(lengths) {
        let at = decoder_of(name);
        let mut body = good[HEADER_BYTES..].to_vec();
        let offset = offset - HEADER_BYTES;
        body.splice(offset..=offset, hostile.iter().copied());
        let error = decode_all(&resealed(good, &body))[at].clone().unwrap_err();
        assert_eq!(error, DecodeError::TooLarge { max: RECORD_BYTES_MAX }, "{name}");
    }
    let huge = vec![0; RECORD_BYTES_MAX + 1];
    assert!(decode_all(&huge).into_iter().all(|read| read == Err(DecodeError::TooLarge { max: RECORD_BYTES_MAX })));
}

#[test]
fn a_cart_that_no_cart_can_be_is_malformed() {
    let broken = |name: &str, change: fn(&mut Record<Cart>)| {
        let mut record = cart();
        change(&mut record);
        let bytes = encode_cart(&record).unwrap();
        assert!(matches!(decode_cart(&bytes), Err(DecodeError::Malformed(_))), "{name}");
    };
    broken("no units", |record| record.state.lines[0].quantity = 0);
    broken("no units, saved", |record| record.state.saved[0].quantity = 0);
    broken("one line more than fits", |record| {
        record.state.lines = (1..=LINES_MAX as u32).map(line).collect();
        record.state.saved = thin_vec![line(LINES_MAX as u32 + 1)];
        record.state.line_next = LINES_MAX as u32 + 2;
    });
    broken("two lines of one name", |record| record.state.lines[1].id = record.state.saved[0].id);
    broken("a line without a name", |record| record.state.lines[0].id = LineId(0));
    broken("a line of the next one's name", |record| record.state.line_next = 3);
    broken("a total that overflows", |record| record.state.lines[0].unit_price = i64::MAX);
    let lower = {
        let good = golden_bytes("cart_v1");
        let mut body = good[HEADER_BYTES..].to_vec();
        let at = currency_offset("cart_v1");
        body[at..at + 3].copy_from_slice(b"eur");
        resealed(good, &body)
    };
    assert!(matches!(decode_cart(&lower), Err(DecodeError::Malformed(_))), "a currency in lower case");
}

#[test]
fn what_version_1_can_say_is_written_as_version_1() {
    let version = |bytes: &[u8]| envelope::schema_v(bytes);
    let written = |change: fn(&mut Cart)| {
        let mut record = cart();
        change(&mut record.state);
        let bytes = encode_cart(&record).unwrap();
        assert_eq!(decode_cart(&bytes).unwrap(), record);
        version(&bytes)
    };
    assert_eq!(written(|_| {}), Some(1));
    assert_eq!(written(|cart| cart.status = Status::Closed), Some(1));
    assert_eq!(written(|cart| cart.status = Status::Expired), Some(1));
    assert_eq!(written(|cart| cart.status = Status::Ordered), Some(2));
    assert_eq!(written(|cart| cart.codes = thin_vec![rule(1)]), Some(2));
    assert_eq!(version(&encode_cart(&cart_v2()).unwrap()), Some(2));
    let chunk = |product: &Product| version(&encode_chunk([product]).unwrap());
    assert_eq!([chunk(&product()), chunk(&product_v2())], [Some(1), Some(2)]);
    let (light, uncounted) = (Product { weight_g: 0, ..product_v2() }, Product { stock: 0, ..product_v2() });
    assert_eq!([chunk(&light), chunk(&uncounted)], [Some(2), Some(2)]);
}

#[test]
fn a_checkout_that_no_cart_can_be_in_is_malformed() {
    let broken = |name: &str, change: fn(&mut Cart)| {
        let mut record = cart_v2();
        change(&mut record.state);
        let bytes = encode_cart(&record).unwrap();
        assert!(matches!(decode_cart(&bytes), Err(DecodeError::Malformed(_))), "{name}");
    };
    broken("no checkout", |cart| cart.checkout = None);
    broken("an open cart", |cart| cart.status = Status::Open);
    broken("opened, with its lines", |cart| cart.checkout.as_mut().unwrap().opened = true);
    broken("nothing to buy", |cart| cart.checkout.as_mut().unwrap().lines.clear());
    broken("a code twice", |cart| cart.codes = thin_vec![rule(1), rule(1)]);
    broken("one code too many", |cart| cart.codes = (0..=CODES_MAX as u32).map(rule).collect());
    broken("a code without letters", |cart| cart.codes[0].code = Box::default());
    broken("a code of more than everything", |cart| cart.codes[0].worth = Worth::Percent { basis_points: 10_001 });
    broken("a code that makes it dearer", |cart| cart.codes[0].worth = Worth::Fixed { amount: -1 });
}

#[test]
fn a_payment_that_no_bank_can_have_is_malformed() {
    let broken = |name: &str, change: fn(&mut BankPayment)| {
        let mut payment = payment();
        change(&mut payment);
        let bytes = encode_bank(&payment).unwrap();
        assert!(matches!(decode_bank(&bytes), Err(DecodeError::Malformed(_))), "{name}");
    };
    broken("a currency in lower case", |payment| payment.currency = *b"eur");
    broken("more captured than authorised", |payment| payment.amount = payment.captured - 1);
    broken("more refunded than captured", |payment| {
        payment.refunded = payment.captured + 1;
        payment.deeds[2].amount = payment.refunded;
    });
    broken("captured and void", |payment| payment.state = BankState::Voided);
    broken("a capture that nothing did", |payment| payment.deeds.truncate(0));
    broken("a refused capture that moved money", |payment| payment.deeds[1].is_refused = true);
    broken("a refund that moved nothing", |payment| payment.refunded = 0);
    broken("a deed of a negative amount", |payment| {
        payment.deeds.push(BankDeed { amount: -1, ..payment.deeds[1] });
        payment.captured -= 1;
    });
    broken("more deeds than fit", |payment| {
        payment.deeds.resize(BANK_DEEDS_MAX + 1, BankDeed { amount: 0, ..payment.deeds[0] });
    });
}

#[test]
fn a_product_that_no_shop_can_sell_is_malformed() {
    let free = Product { price: Money { amount: 0, ..product().price }, ..product() };
    assert_eq!(decode_chunk(&encode_chunk([&free]).unwrap()).unwrap(), [free]);
    let paid_for = Product { price: Money { amount: -1, ..product().price }, ..product() };
    let none = Product { quantity_max: 0, ..product() };
    for broken in [paid_for, none] {
        let bytes = encode_chunk([&product(), &broken]).unwrap();
        assert!(matches!(decode_chunk(&bytes), Err(DecodeError::Malformed(_))));
    }
}

#[test]
fn what_no_row_holds_is_not_written() {
    let mut record = cart();
    record.state.note = Some("x".repeat(ROW_BYTES_MAX).into());
    assert!(matches!(encode_cart(&record), Err(EncodeError::TooLarge { max: ROW_BYTES_MAX, .. })));
    let shards = vec![map().shards.remove(0); ROW_BYTES_MAX / 8];
    assert!(matches!(encode_map(&ShardMap { version: 1, format: 1, shards }), Err(EncodeError::TooLarge { .. })));
    let long = Product { description: "x".repeat(RECORD_BYTES_MAX).into(), ..product() };
    assert!(matches!(encode_chunk([&long]), Err(EncodeError::TooLarge { max: RECORD_BYTES_MAX, .. })));
}

/// Decoding claims more than the bytes weigh: what was written must be read all the same.
#[test]
fn the_largest_records_read_back() {
    fn reads_back<T: PartialEq + Debug>(bytes: &[u8], at_least: usize, read: Result<T, DecodeError>, made: &T) {
        assert!(bytes.len() >= at_least, "only {} bytes: this proves little", bytes.len());
        assert_eq!(read.as_ref(), Ok(made));
    }
    let mut largest = cart();
    let metadata: Box<[_]> = (0..20).map(|n| (format!("key-{n:02}").into(), "v".repeat(45).into())).collect();
    let full = |n| Line { title: "t".repeat(200).into(), metadata: metadata.clone(), ..line(n) };
    largest.state.lines = (1..=LINES_MAX as u32).map(full).collect();
    largest.state.saved.clear();
    largest.state.line_next = LINES_MAX as u32 + 1;
    largest.receipts =
        thin_vec![Receipt { key: u128::MAX, request: u128::MAX, at: UnixMillis(u64::MAX), outcome: 7 }; 1024];
    let event = Unsent { sequence: u64::MAX, kind: 1, at: UnixMillis(1), body: vec![7; 512].into() };
    largest.unsent = vec![event; 64].into();
    let bytes = encode_cart(&largest).unwrap();
    reads_back(&bytes, 200_000, decode_cart(&bytes), &largest);

    let entry = ShardEntry { node: "n".into(), incarnation: 1, epoch: 1, fence: 1, closed_at_ms: 1 };
    let many = ShardMap { version: 1, format: 1, shards: vec![entry; ROW_BYTES_MAX / 6 - 8] };
    let bytes = encode_map(&many).unwrap();
    reads_back(&bytes, ROW_BYTES_MAX - 64, decode_map(&bytes), &many);

    let values: Vec<Box<str>> = (0..50).map(|n| format!("value-{n:023}").into()).collect();
    let options = (0..10).map(|n| (format!("option{n}").into(), values.clone())).collect();
    let wide = vec![Product { options, ..product() }; 64];
    let bytes = encode_chunk(&wide).unwrap();
    reads_back(&bytes, RECORD_BYTES_MAX * 9 / 10, decode_chunk(&bytes), &wide);
}

#[test]
fn keys_do_not_show_in_debug() {
    assert_eq!(format!("{:?}", keys()), "ClusterKeys(2 guest keys)");
}

proptest! {
    /// A cart is written straight from the state. The frozen structs are the truth: read into its version's, by either
    /// library, and written again, the bytes are the same.
    #[test]
    fn any_cart_reads_back_and_is_written_as_the_frozen_struct_would_be(record in any_cart()) {
        let bytes = encode_cart(&record).unwrap();
        prop_assert_eq!(decode_cart(&bytes).unwrap(), record);
        let body = &bytes[HEADER_BYTES..];
        let config = bincode::config::standard();
        macro_rules! frozen {
            ($type:ty) => {
                let (frozen, read): ($type, usize) = bincode::decode_from_slice(body, config).unwrap();
                prop_assert_eq!(read, body.len());
                prop_assert_eq!(bincode::encode_to_vec(&frozen, config).unwrap(), body);
                let other: $type = wincode::config::deserialize(body, wincode_config()).unwrap();
                prop_assert_eq!(&other, &frozen);
                prop_assert_eq!(wincode::config::serialize(&other, wincode_config()).unwrap(), body);
            };
        }
        match envelope::schema_v(&bytes) {
            Some(1) => { frozen!(CartV1); }
            _ => { frozen!(CartV2); }
        }
    }

    #[test]
    fn random_bytes_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(decode_all(&bytes).iter().all(Result::is_err));
    }

    /// The checksum holds, the body is anybody's.
    #[test]
    fn random_bodies_never_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
        for (.., good) in golden() {
            drop(decode_all(&resealed(good, &body)));
        }
    }

    #[test]
    fn mutated_carts_never_panic(record in any_cart(), at: prop::sample::Index, byte: u8) {
        let bytes = encode_cart(&record).unwrap();
        let mut body = bytes[HEADER_BYTES..].to_vec();
        let at = at.index(body.len());
        body[at] = byte;
        drop(decode_all(&resealed(&bytes, &body)));
    }
}

/// What must be done follows from the state: a list of it beside the state, which nobody would look at, must not be lost.
#[test]
fn effects_are_refused() {
    let version = 1;
    let mut v1 = envelope::open::<CartV1>(golden_bytes("cart_v1"), RecordKind::Cart, version).unwrap();
    let sealed = |v1: &CartV1| envelope::seal(RecordKind::Cart, version, version, v1, ROW_BYTES_MAX).unwrap();
    assert!(decode_cart(&sealed(&v1)).is_ok());
    v1.effects.push(EffectV1 { key: 6, kind: 7, due: 8, attempts: 9, body: vec![10] });
    assert!(matches!(decode_cart(&sealed(&v1)), Err(DecodeError::Malformed(_))));
}

/// A cart that may begin a checkout can write down that it did, whatever else it keeps.
#[test]
fn a_cart_with_as_many_lines_as_a_checkout_takes_fits_a_row() {
    let mut record = cart();
    let heavy = |n| Line { metadata: [("engraving".into(), "x".repeat(1_000).into())].into(), ..line(n) };
    let count = CHECKOUT_BYTES_MAX / 2 / heavy(1).weight_bytes();
    let lines: ThinVec<_> = (1..=count as u32).map(heavy).collect();
    record.state.saved = ThinVec::new();
    record.state.codes = (0..CODES_MAX as u32).map(rule).collect();
    let codes = record.state.codes.clone();
    record.state.checkout =
        Some(Box::new(InCheckout { id: CheckoutId(Id(1 << 115)), opened: false, lines: lines.clone(), codes }));
    record.state.lines = lines;
    record.state.status = Status::CheckingOut;
    let bytes = encode_cart(&record).unwrap().len();
    assert!((CHECKOUT_BYTES_MAX * 9 / 10..CHECKOUT_BYTES_MAX + 8 * 1024).contains(&bytes), "{bytes} bytes");
}
