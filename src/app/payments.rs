//! Which gateways this shop has, by its options.

use std::sync::Arc;

use super::Error;
use crate::{
    cli::config::Config,
    payments::{Gateway, Gateways, Limits, Sandbox, Stripe, sandbox, stripe},
    store::Store,
};

/// The gateways, and the sandbox among them: its shoppers confirm payments here.
///
/// # Errors
/// [`Error::Stripe`] when the options about Stripe cannot work.
pub(super) fn gateways(config: &Config, store: &Arc<dyn Store>) -> Result<(Arc<Gateways>, Option<Sandbox>), Error> {
    let mut by_name: Vec<(Box<str>, Arc<dyn Gateway>)> = Vec::new();
    let options = || sandbox::Options { action_url: "/v1/sandbox/actions/".into(), ..sandbox::Options::default() };
    let sandbox = config.payments_sandbox.then(|| Sandbox::new(Arc::clone(store), options()));
    if let Some(sandbox) = &sandbox {
        by_name.push(("sandbox".into(), Arc::new(sandbox.clone())));
    }
    if let Some(secret_key) = &config.payments_stripe_secret_key {
        let stripe = Stripe::new(stripe::Options {
            base_url: config.payments_stripe_url.as_str().into(),
            secret_key: secret_key.clone(),
            webhook_secret: config.payments_stripe_webhook_secret.clone(),
            return_url: config.payments_return_url.as_str().into(),
        })?;
        by_name.push(("stripe".into(), Arc::new(stripe)));
    }
    Ok((Arc::new(Gateways::new(by_name, Limits::default())), sandbox))
}
