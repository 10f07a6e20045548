//! Payment gateways against servers that speak their language.

mod others;
mod purchase;
mod strict;
mod stripe;

use trolley::{
    domain::{
        Currency, Id, Money, Reference,
        payment::{Authorise, Deed, Token},
    },
    payments::{Abandon, Find, Stripe, stripe::Options},
};

fn client(base_url: &str) -> Stripe {
    let options = Options {
        base_url: base_url.into(),
        secret_key: "sk_test_1".to_owned().into(),
        webhook_secret: Some("whsec_1".to_owned().into()),
        return_url: "https://shop.example/back".into(),
    };
    Stripe::new(options).unwrap()
}

fn key(n: u32) -> Reference {
    Reference { by: Id(9 << 80), n }
}

fn eur(amount: i64) -> Money {
    Money { amount, currency: Currency::EUR }
}

fn ask(n: u32, token: &str) -> Authorise {
    Authorise { key: key(n), gateway: "stripe".into(), token: Token(token.into()), amount: eur(1000) }
}

fn deed(reference: &str, n: u32, amount: i64) -> Deed {
    Deed { key: key(n), gateway: "stripe".into(), reference: reference.into(), amount: eur(amount) }
}

fn find(n: u32, reference: Option<&str>) -> Find {
    Find { key: key(n), gateway: "stripe".into(), reference: reference.map(Into::into) }
}

fn abandon(n: u32, reference: Option<&str>) -> Abandon {
    Abandon { key: key(n), gateway: "stripe".into(), reference: reference.map(Into::into), amount: eur(1000) }
}
