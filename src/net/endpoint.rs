//! A URL to call, taken apart.

use std::{fmt, net::IpAddr};

use hyper::{Uri, header::HeaderValue};

/// Why a URL cannot be called. It is not repeated: its path may hold a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WrongUrl(&'static str);

/// A URL, taken apart.
#[derive(Clone)]
pub struct Endpoint {
    is_tls: bool,
    host: Box<str>,
    port: u16,
    authority: HeaderValue,
    path: Box<str>,
}

impl fmt::Debug for Endpoint {
    /// The host alone: paths of webhooks often hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Endpoint {
    /// Takes a URL apart.
    ///
    /// # Errors
    /// [`WrongUrl`] says what is wrong with it.
    pub fn parse(url: &str) -> Result<Self, WrongUrl> {
        let uri: Uri = url.parse().map_err(|_| WrongUrl("is not a URL"))?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(WrongUrl("must begin with https:// (or http:// within a network that you trust)")),
        };
        let authority = uri.authority().ok_or(WrongUrl("names no host"))?;
        if authority.as_str().contains('@') {
            return Err(WrongUrl("holds a user's name: Trolley signs what it sends, it does not log in"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        Ok(Self {
            is_tls,
            host: host.into(),
            port: authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            authority: HeaderValue::from_str(authority.as_str()).map_err(|_| WrongUrl("names no host"))?,
            path: uri.path_and_query().map_or("/", |path| path.as_str()).into(),
        })
    }

    /// Whether what is sent there is encrypted.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Whether it is on this very machine, whatever names resolve to.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        &*self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// Path and query.
    #[must_use]
    pub const fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn server(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    pub(super) const fn authority(&self) -> &HeaderValue {
        &self.authority
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_and_its_path_is_not_shown() {
        let endpoint = Endpoint::parse("https://hooks.example/in/s3cret?k=1").unwrap();
        assert_eq!((endpoint.is_tls(), endpoint.server()), (true, ("hooks.example", 443)));
        assert_eq!((endpoint.path(), endpoint.is_loopback()), ("/in/s3cret?k=1", false));
        assert_eq!(format!("{endpoint:?}"), "hooks.example:443");
        let endpoint = Endpoint::parse("http://[::1]:8099").unwrap();
        assert_eq!((endpoint.is_tls(), endpoint.server()), (false, ("::1", 8099)));
        assert_eq!((endpoint.authority().to_str().unwrap(), endpoint.path()), ("[::1]:8099", "/"));
        assert!(endpoint.is_loopback() && Endpoint::parse("http://127.0.0.2/").unwrap().is_loopback());
        assert!(!Endpoint::parse("http://127.evil.example").unwrap().is_loopback());
    }

    #[test]
    fn a_wrong_url_is_refused_without_being_repeated() {
        for url in ["", "hooks.example", "ftp://hooks.example/s3cret", "https://me:s3cret@hooks.example/", "/s3cret"] {
            let error = Endpoint::parse(url).unwrap_err().to_string();
            assert!(!error.is_empty() && !error.contains("s3cret"), "{error}");
        }
    }
}
