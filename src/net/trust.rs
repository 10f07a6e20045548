//! Whom to trust: the authorities that sign certificates of servers.

use std::{fmt, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio_rustls::TlsConnector;

/// No authorities to check certificates with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no authority's certificate can be read from {from}: {why}")]
pub struct NoAuthorities {
    /// Where they were looked for.
    pub from: Box<str>,
    /// What went wrong.
    pub why: Box<str>,
}

/// The authorities that are trusted.
#[derive(Clone)]
pub struct Trust(TlsConnector);

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").finish_non_exhaustive()
    }
}

impl Trust {
    /// A PEM file's authorities, or the system's: those that its operators keep up to date, their own ones included.
    ///
    /// # Errors
    /// [`NoAuthorities`] if there is none that is usable.
    pub fn of(file: Option<&Path>) -> Result<Self, NoAuthorities> {
        let from: Box<str> = file.map_or_else(|| "the system's store".into(), |file| file.display().to_string().into());
        let wrong = |why: String| NoAuthorities { from: from.clone(), why: why.into() };
        let certificates: Vec<CertificateDer<'static>> = match file {
            Some(file) => {
                let file = CertificateDer::pem_file_iter(file).map_err(|error| wrong(error.to_string()))?;
                file.collect::<Result<_, _>>().map_err(|error| wrong(error.to_string()))?
            }
            None => rustls_native_certs::load_native_certs().certs,
        };
        let mut roots = RootCertStore::empty();
        // Systems carry some that are malformed; one that is usable is enough to begin with.
        if roots.add_parsable_certificates(certificates).0 == 0 {
            let why = match file {
                Some(_) => "it holds none",
                None => "it holds none; install ca-certificates, or name a PEM file in SSL_CERT_FILE",
            };
            return Err(wrong(why.to_owned()));
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    pub(super) const fn connector(&self) -> &TlsConnector {
        &self.0
    }
}
