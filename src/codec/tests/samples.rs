//! What the tests are made of: one fixed sample per record, which golden bytes hold for ever, and arbitrary carts.

use proptest::prelude::*;
use thin_vec::thin_vec;

use crate::{
    codec::{
        BankDeed, BankDeedKind, BankPayment, BankState, CatalogHead, ClusterKeys, Member, MemberState, ShardEntry,
        ShardMap,
        record::{Armed, Receipt, Record, Unsent},
    },
    domain::{
        CartId, CheckoutId, Currency, GuestId, Id, Money, UnixMillis,
        cart::{CODES_MAX, Cart, InCheckout, Line, LineId, Owner, Status},
        discount::{Rule, Worth},
        product::{Availability, Product},
    },
};

pub(super) fn payment() -> BankPayment {
    BankPayment {
        by: 1 << 114,
        n: 2,
        state: BankState::Authorised,
        amount: 2598,
        currency: *b"EUR",
        captured: 1299,
        refunded: 299,
        refuses_capture: false,
        created_at_ms: 1_764_000_000_000,
        deeds: vec![
            BankDeed { by: 1 << 114, n: 0, kind: BankDeedKind::Capture, amount: 9999, is_refused: true },
            BankDeed { by: 1 << 114, n: 1, kind: BankDeedKind::Capture, amount: 1299, is_refused: false },
            BankDeed { by: 1 << 114, n: 2, kind: BankDeedKind::Refund, amount: 299, is_refused: false },
        ],
    }
}

pub(super) fn line(n: u32) -> Line {
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

pub(super) fn cart() -> Record<Cart> {
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
            lines: thin_vec![line(1), line(3)],
            saved: thin_vec![line(2)],
            codes: thin_vec![],
            checkout: None,
            line_next: 4,
            note: Some("ring twice".into()),
            email: None,
            created_at: UnixMillis(1_795_000_000_000),
            updated_at: UnixMillis(1_795_000_000_001),
            expires_at: UnixMillis(1_802_776_000_001),
        },
        receipts: thin_vec![Receipt { key: u128::MAX, request: 5, at: UnixMillis(9), outcome: 1 }],
        unsent: [Unsent { sequence: 1, kind: 2, at: UnixMillis(3), body: Box::from([4, 5].as_slice()) }].into(),
        armed: Some(Armed { due: UnixMillis(1_802_776_000_001), version: 1 }),
    }
}

pub(super) fn rule(n: u32) -> Rule {
    Rule {
        code: format!("CODE-{n}").into(),
        worth: Worth::Percent { basis_points: 1_000 },
        currency: Currency::EUR,
        per_line: true,
        categories: vec!["mugs".into()],
        minimum: 500,
        valid_from: Some(UnixMillis(1)),
        valid_until: Some(UnixMillis(u64::MAX)),
        uses_max: Some(100),
        uses_per_shopper_max: None,
    }
}

/// What version 1 cannot say.
pub(crate) fn cart_v2() -> Record<Cart> {
    let mut record = cart();
    let fixed = Rule { worth: Worth::Fixed { amount: 250 }, valid_until: None, ..rule(2) };
    let free = Rule { worth: Worth::FreeShipping, per_line: false, categories: vec![], ..rule(3) };
    record.state.status = Status::CheckingOut;
    record.state.codes = thin_vec![rule(1), fixed, free];
    let (lines, codes) = (thin_vec![line(1)], thin_vec![rule(1)]);
    record.state.checkout = Some(Box::new(InCheckout { id: CheckoutId(Id(1 << 115)), opened: false, lines, codes }));
    record
}

pub(super) fn product() -> Product {
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
        weight_g: 0,
        stock: 0,
    }
}

/// What version 1 cannot say.
pub(super) fn product_v2() -> Product {
    Product { weight_g: 250, stock: 1000, ..product() }
}

pub(super) fn member() -> Member {
    Member {
        name: "n1".into(),
        incarnation: 2,
        http: "127.0.0.1:8080".into(),
        admin: "127.0.0.1:9090".into(),
        cluster: String::new(),
        release: "0.1.0".into(),
        format_min: 1,
        format_max: 2,
        lease: 300,
        state: MemberState::Leaving,
    }
}

pub(super) fn map() -> ShardMap {
    let entry =
        ShardEntry { node: "n1".into(), incarnation: 2, epoch: 300, fence: 299, closed_at_ms: 1_700_000_000_000 };
    ShardMap { version: 9, format: 2, shards: vec![entry] }
}

pub(super) fn keys() -> ClusterKeys {
    ClusterKeys { guest_mac: vec![(2, [7; 32]), (1, [9; 32])] }
}

pub(super) fn head() -> CatalogHead {
    CatalogHead { generation: 4, source: 1 << 100, chunks: vec![1, u128::MAX], products: 65 }
}

fn text() -> impl Strategy<Value = Box<str>> {
    "\\PC{0,20}".prop_map(Box::from)
}

fn pairs() -> impl Strategy<Value = Box<[(Box<str>, Box<str>)]>> {
    prop::collection::vec((text(), text()), 0..4).prop_map(Vec::into)
}

prop_compose! {
    fn any_line()(sku in text(), title in text(), quantity in 1u16.., quantity_max: u16,
        unit_price in 0i64..1_000_000_000_000, options in pairs(), metadata in pairs()) -> Line {
        Line { id: LineId(0), sku, title, quantity, quantity_max, unit_price, options, metadata }
    }
}

prop_compose! {
    fn any_rule()(kind in 0..3u8, basis_points in 1u16..=10_000, amount in 0i64..1_000_000, currency in prop::sample::select(vec!["EUR", "USD"]),
        per_line: bool, categories in prop::collection::vec("[a-c]".prop_map(Box::from), 0..3), minimum in 0i64..1_000_000,
        times: [Option<u64>; 2], uses: [Option<u32>; 2]) -> Rule {
        Rule {
            code: Box::default(),
            worth: match kind {
                0 => Worth::Percent { basis_points },
                1 => Worth::Fixed { amount },
                _ => Worth::FreeShipping,
            },
            currency: Currency::parse(currency).unwrap(), per_line, categories, minimum,
            valid_from: times[0].map(UnixMillis), valid_until: times[1].map(UnixMillis),
            uses_max: uses[0], uses_per_shopper_max: uses[1],
        }
    }
}

/// Codes as a cart has them: none twice.
fn any_codes() -> impl Strategy<Value = Vec<Rule>> {
    let apart = |mut rules: Vec<Rule>| {
        rules.iter_mut().enumerate().for_each(|(n, rule)| rule.code = format!("CODE-{n}").into());
        rules
    };
    let some = prop::collection::vec(any_rule(), 0..=CODES_MAX).prop_map(apart);
    prop_oneof![2 => Just(vec![]), 1 => some]
}

prop_compose! {
    fn any_checkout()(id: u128, opened: bool, mut lines in prop::collection::vec(any_line(), 1..4), codes in any_codes()) -> InCheckout {
        if opened {
            lines.clear();
        }
        InCheckout { id: CheckoutId(Id(id)), opened, lines: lines.into(), codes: codes.into() }
    }
}

prop_compose! {
    pub(crate) fn any_cart()(id: u128, guest: u128, numbers: [u64; 6], generation: u32, line_first in 1..u32::MAX - 100,
        currency in prop_oneof!["[A-Z]{3}", Just("EUR".to_owned())], status in 0..4usize, codes in any_codes(),
        checkout in prop::option::weighted(0.3, any_checkout()), mut lines in prop::collection::vec(any_line(), 0..6), mut saved in prop::collection::vec(any_line(), 0..4),
        note in prop::option::of(text()), email in prop::option::of(text()), op_id: u128,
        receipts in prop::collection::vec((any::<[u128; 2]>(), any::<u64>(), any::<u32>()), 0..4),
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..3),
        armed in prop::option::of(any::<[u64; 2]>())) -> Record<Cart> {
        let ids = (line_first..).map(LineId);
        lines.iter_mut().chain(&mut saved).zip(ids).for_each(|(line, id)| line.id = id);
        let line_next = line_first + (lines.len() + saved.len()) as u32;
        let [revision, created_at, updated_at, expires_at, epoch, other] = numbers;
        let receipt = |([key, request], at, outcome): ([u128; 2], u64, u32)| Receipt { key, request, at: UnixMillis(at), outcome };
        let unsent = |body: &Vec<u8>| Unsent { sequence: other, kind: 1, at: UnixMillis(other), body: body.clone().into() };
        Record {
            epoch, op_id,
            state: Cart {
                id: CartId(Id(id)), revision, owner: Owner::Guest(GuestId(Id(guest))), generation,
                status: match &checkout {
                    Some(_) => Status::CheckingOut,
                    None => [Status::Open, Status::Closed, Status::Expired, Status::Ordered][status],
                },
                currency: Currency::parse(&currency).unwrap(), lines: lines.into(), saved: saved.into(), codes: codes.into(), checkout: checkout.map(Box::new), line_next, note, email,
                created_at: UnixMillis(created_at), updated_at: UnixMillis(updated_at), expires_at: UnixMillis(expires_at),
            },
            receipts: receipts.into_iter().map(receipt).collect(),
            unsent: bodies.iter().map(unsent).collect(),
            armed: armed.map(|[due, version]| Armed { due: UnixMillis(due), version }),
        }
    }
}
