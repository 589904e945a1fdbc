use crate::config::ConfigError;
use crate::store::redis::config::TlsConfig;
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

/// Speaks TLS 1.2 or 1.3 to servers whose certificate is in order.
#[derive(Clone)]
pub(super) struct Tls(TlsConnector);

impl Tls {
    /// Reads the files now, so that a wrong one shows at the start and not in an outage.
    pub(super) fn new(config: &TlsConfig) -> Result<Self, ConfigError> {
        let provider = Arc::new(crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| ConfigError::Tls(error.to_string()))?
            .with_root_certificates(roots(config.ca_file.as_deref())?);
        let client = match (&config.certificate_file, &config.key_file) {
            (None, None) => builder.with_no_client_auth(),
            (Some(certificate), Some(key)) => {
                let own = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error))?;
                builder
                    .with_client_auth_cert(certificates(certificate)?, own)
                    .map_err(|error| unreadable(certificate, &error))?
            }
            _ => return Err(ConfigError::Tls("a client certificate needs its key, and a key its certificate".into())),
        };
        Ok(Self(TlsConnector::from(Arc::new(client))))
    }

    pub(super) async fn over(&self, host: &str, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        self.0.connect(name, tcp).await
    }
}

fn roots(file: Option<&Path>) -> Result<RootCertStore, ConfigError> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = file {
        for certificate in certificates(file)? {
            roots.add(certificate).map_err(|error| unreadable(file, &error))?;
        }
        return Ok(roots);
    }
    // Single certificates of a system may be odd; that none is left is an error.
    let system = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(system.certs);
    if roots.is_empty() {
        return Err(ConfigError::Tls("this system trusts no authority: name a CA file".into()));
    }
    Ok(roots)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let all = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match all {
        Ok(all) if all.is_empty() => Err(unreadable(file, &"there is no certificate in it")),
        Ok(all) => Ok(all),
        Err(error) => Err(unreadable(file, &error)),
    }
}

fn unreadable(file: &Path, why: &dyn std::fmt::Display) -> ConfigError {
    ConfigError::Tls(format!("{}: {why}", file.display()))
}
