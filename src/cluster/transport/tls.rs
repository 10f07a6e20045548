//! TLS between nodes: version 1.3, both sides show a certificate of the cluster's authority that names the node.

use std::{fmt, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::verify_server_name,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::{ParsedCertificate, WebPkiClientVerifier},
    version::TLS13,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::Error;

/// This node's certificate, and the authority that signs those of all nodes.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    /// This node's own certificate.
    own: CertificateDer<'static>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads PEM files: the authorities, this node's certificate with what leads to them, and its key. A certificate
    /// with extended key usages needs both, of servers and of clients.
    ///
    /// # Errors
    /// [`Error::File`] when one cannot be used.
    pub fn load(ca: &Path, cert: &Path, key: &Path) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(ca)? {
            roots.add(certificate).map_err(|error| wrong(ca, error))?;
        }
        let roots = Arc::new(roots);
        let chain = certificates(cert)?;
        let own = chain.first().cloned().ok_or_else(|| wrong(cert, "it holds no certificate"))?;
        let key_der = || PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, error));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|error| wrong(ca, error))?;
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| wrong(cert, error))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key_der()?)
            .map_err(|error| wrong(cert, error))?;
        // Sessions are few and long: nothing is resumed, so nothing is kept for it.
        server.send_tls13_tickets = 0;
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| wrong(cert, error))?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key_der()?)
            .map_err(|error| wrong(cert, error))?;
        client.resumption = rustls::client::Resumption::disabled();
        let (acceptor, connector) = (TlsAcceptor::from(Arc::new(server)), TlsConnector::from(Arc::new(client)));
        Ok(Self { acceptor, connector, own })
    }

    /// Whether this node's own certificate names it: no peer would take it otherwise.
    pub(super) fn names(&self, name: &str) -> bool {
        is_named(&self.own, name)
    }

    pub(super) async fn accept(&self, stream: TcpStream) -> std::io::Result<server::TlsStream<TcpStream>> {
        self.acceptor.accept(stream).await
    }

    /// The peer's certificate must name the node that was dialled.
    pub(super) async fn connect(&self, stream: TcpStream, name: &str) -> std::io::Result<client::TlsStream<TcpStream>> {
        let name = ServerName::try_from(name.to_owned()).map_err(std::io::Error::other)?;
        self.connector.connect(name, stream).await
    }
}

/// Whether the certificate that a peer showed names this node.
pub(super) fn shows(stream: &server::TlsStream<TcpStream>, name: &str) -> bool {
    let (_, connection) = stream.get_ref();
    connection.peer_certificates().and_then(|chain| chain.first()).is_some_and(|shown| is_named(shown, name))
}

fn is_named(certificate: &CertificateDer<'_>, name: &str) -> bool {
    let (Ok(parsed), Ok(name)) = (ParsedCertificate::try_from(certificate), ServerName::try_from(name)) else {
        return false;
    };
    verify_server_name(&parsed, &name).is_ok()
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| wrong(path, error))?;
    let all = read.collect::<Result<Vec<_>, _>>().map_err(|error| wrong(path, error))?;
    if all.is_empty() { Err(wrong(path, "it holds no certificate")) } else { Ok(all) }
}

fn wrong(path: &Path, why: impl fmt::Display) -> Error {
    Error::File { path: path.to_path_buf(), why: why.to_string() }
}
