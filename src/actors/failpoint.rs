//! Ends the process on purpose at a named deed, so that tests crash a purchase at each of its steps. Builds without debug
//! assertions have none of it.

use std::fmt::Debug;

use crate::store::Kind;

/// The environment's variable that says where: `before checkout.pin` = once the state that needs the deed is saved and
/// before anything is done; `after checkout.pin` = once it is done elsewhere and before the actor is told.
#[cfg(debug_assertions)]
pub const VARIABLE: &str = "TROLLEY_FAILPOINT";

/// A deed that is about to be done.
#[derive(Debug)]
pub(super) struct Deed {
    /// Its name, where a point is set at all.
    #[cfg(debug_assertions)]
    name: Option<String>,
}

impl Deed {
    #[cfg(debug_assertions)]
    pub(super) fn of(kind: Kind, call: &impl Debug) -> Self {
        Self { name: armed().map(|_| name(kind, call)) }
    }

    #[cfg(not(debug_assertions))]
    pub(super) const fn of(_: Kind, _: &impl Debug) -> Self {
        Self {}
    }

    /// It is about to be done.
    #[cfg(debug_assertions)]
    pub(super) fn begins(&self) {
        self.reaches("before");
    }

    #[cfg(not(debug_assertions))]
    pub(super) const fn begins(&self) {}

    /// It is done, and nobody has been told.
    #[cfg(debug_assertions)]
    pub(super) fn is_done(&self) {
        self.reaches("after");
    }

    #[cfg(not(debug_assertions))]
    pub(super) const fn is_done(&self) {}

    #[cfg(debug_assertions)]
    fn reaches(&self, when: &str) {
        let (Some(armed), Some(name)) = (armed(), &self.name) else { return };
        if armed.split_once(' ') == Some((when, name)) {
            tracing::error!(point = armed, "the process ends here, as {VARIABLE} says");
            std::process::abort();
        }
    }
}

/// The actor's kind and the call's own name, in lower case; nothing of what the call holds.
#[cfg(debug_assertions)]
fn name(kind: Kind, call: &impl Debug) -> String {
    let call = format!("{call:?}");
    let end = call.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(call.len());
    format!("{kind:?}.{}", &call[..end]).to_ascii_lowercase()
}

#[cfg(debug_assertions)]
fn armed() -> Option<&'static str> {
    #[expect(clippy::disallowed_methods, reason = "no option of the product: a switch of its tests")]
    fn read() -> Option<String> {
        std::env::var(VARIABLE).ok()
    }
    static ARMED: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    ARMED.get_or_init(read).as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Id, Reference, order};

    #[test]
    fn a_deed_is_called_by_its_kind_and_its_own_name_alone() {
        let ship = order::Call::Forget { sku: "secret-sku".into(), by: Reference { by: Id(7), n: 1 } };
        assert_eq!(name(Kind::Order, &ship), "order.forget");
    }
}
