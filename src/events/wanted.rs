//! What the options say about sinks, checked, and the sinks made of it.

use std::{path::PathBuf, sync::Arc};

use super::{
    envelope::Source,
    signature::Signer,
    sink::{Log, Sink},
    webhook::{Settings, Webhook, WrongEndpoint, endpoint},
};

/// Webhooks of one node: each has its own lane.
const WEBHOOKS_MAX: usize = 16;

/// The sinks that a node shall have.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Whether events go to the log.
    pub log: bool,
    /// Whether events go to webhooks.
    pub webhook: bool,
    /// Which shop tells.
    pub source: Source,
    /// Where events are posted.
    pub webhook_urls: Urls,
    /// Proves who posts; there where webhooks are wanted.
    pub webhook_signer: Option<Signer>,
    /// PEM file of the authorities that sign the webhooks' certificates; `None` = the system's.
    pub webhook_ca: Option<PathBuf>,
}

/// URLs whose paths may hold secrets.
#[derive(Clone, Default)]
pub struct Urls(pub Vec<String>);

impl std::fmt::Debug for Urls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} URLs", self.0.len())
    }
}

impl Wanted {
    /// Reads which sinks are wanted.
    ///
    /// # Errors
    /// What would fit.
    pub fn sinks(text: &str) -> Result<Self, String> {
        let mut wanted = Self::default();
        for sink in text.split(',').map(str::trim) {
            match sink {
                "none" | "" => {}
                "log" => wanted.log = true,
                "webhook" => wanted.webhook = true,
                _ => return Err("must be none, or of log and webhook, separated by commas".to_owned()),
            }
        }
        Ok(wanted)
    }

    /// Reads the URLs of webhooks.
    ///
    /// # Errors
    /// What would fit.
    pub fn urls(&self, text: &str) -> Result<Urls, String> {
        let urls: Vec<String> =
            text.split(',').map(|url| url.trim().to_owned()).filter(|url| !url.is_empty()).collect();
        if self.webhook && urls.is_empty() {
            return Err("must name at least one URL where events.sinks has webhook".to_owned());
        }
        if urls.len() > WEBHOOKS_MAX {
            return Err(format!("must name at most {WEBHOOKS_MAX} URLs"));
        }
        for (n, url) in urls.iter().enumerate() {
            endpoint(n, url).map_err(|error| error.to_string())?;
        }
        Ok(Urls(urls))
    }

    /// Reads the secret.
    ///
    /// # Errors
    /// What would fit.
    pub fn signer(&self, text: &str) -> Result<Option<Signer>, String> {
        if text.is_empty() && !self.webhook {
            return Ok(None);
        }
        Signer::new(text).map(Some).map_err(|error| error.to_string())
    }

    /// The sinks.
    ///
    /// # Errors
    /// [`WrongEndpoint`] when certificates cannot be read.
    pub fn open(&self) -> Result<Vec<Arc<dyn Sink>>, WrongEndpoint> {
        let mut sinks: Vec<Arc<dyn Sink>> = Vec::new();
        if self.log {
            sinks.push(Arc::new(Log));
        }
        if let (true, Some(signer)) = (self.webhook, &self.webhook_signer) {
            let settings = Settings {
                source: self.source.clone(),
                tls_ca: self.webhook_ca.clone(),
                ..Settings::new(signer.clone())
            };
            let webhooks = Webhook::all(&self.webhook_urls.0, &settings)?;
            sinks.extend(webhooks.into_iter().map(|webhook| Arc::new(webhook) as Arc<dyn Sink>));
        }
        Ok(sinks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn webhooks_need_urls_and_a_secret() {
        let mut wanted = Wanted::sinks("log, webhook").unwrap();
        assert!(wanted.urls("").is_err() && wanted.signer("").is_err());
        wanted.webhook_urls = wanted.urls("http://127.0.0.1:9/a, http://127.0.0.1:9/b").unwrap();
        wanted.webhook_signer = wanted.signer("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let sinks = wanted.open().unwrap();
        let names: std::collections::HashSet<&str> = sinks.iter().map(|sink| sink.name()).collect();
        assert_eq!((names.len(), names.contains("log")), (3, true));
    }

    #[test]
    fn without_sinks_nothing_else_is_needed() {
        let wanted = Wanted::sinks("none").unwrap();
        assert!(wanted.urls("").is_ok() && wanted.signer("").is_ok_and(|signer| signer.is_none()));
        assert!(wanted.open().unwrap().is_empty());
    }
}
