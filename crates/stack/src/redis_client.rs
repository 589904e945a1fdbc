//! cacheproof's own connections to Redis, with TLS where the URL begins with `rediss://`.

use std::sync::{Arc, OnceLock};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ConnectionAddr, ErrorKind, RedisError, RedisResult};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::{WebPkiServerVerifier, verify_server_name};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme, crypto,
};

/// Connects to the server at a URL.
///
/// # Errors
/// The URL is wrong, or the server does not answer, or its certificate is not trusted.
pub async fn connect_redis(url: &str, config: &AsyncConnectionConfig) -> RedisResult<MultiplexedConnection> {
    let client = redis::Client::open(url)?;
    let info = client.get_connection_info();
    let ConnectionAddr::TcpTls { host, port, .. } = info.addr() else {
        return client.get_multiplexed_async_connection_with_config(config).await;
    };
    let failed = |why: String| RedisError::from((ErrorKind::Io, "no connection with TLS", why));
    let host = host.trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(host.clone()).map_err(|error| failed(error.to_string()))?;
    let tcp = TcpStream::connect((host, *port)).await?;
    let stream = connector().map_err(failed)?.connect(name, tcp).await.map_err(|error| failed(error.to_string()))?;
    let (connection, driver) =
        MultiplexedConnection::new_with_config(info.redis_settings(), stream, config.clone()).await?;
    tokio::spawn(driver);
    Ok(connection)
}

/// Trusts the system's authorities, or those in the file that SSL_CERT_FILE names.
fn connector() -> Result<TlsConnector, String> {
    static CONNECTOR: OnceLock<Result<TlsConnector, String>> = OnceLock::new();
    CONNECTOR.get_or_init(make_connector).clone()
}

fn make_connector() -> Result<TlsConnector, String> {
    let trusted = rustls_native_certs::load_native_certs().certs;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(trusted.iter().cloned());
    if roots.is_empty() {
        return Err("this system trusts no authority: set SSL_CERT_FILE to a file with certificates".to_owned());
    }
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|error| error.to_string())?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier { usual, trusted }))
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// As usual, but a trusted certificate may be the server's own as well, also if it says that it is an authority:
/// `openssl req -x509` makes such ones, and OpenSSL accepts them.
#[derive(Debug)]
struct Verifier {
    usual: Arc<WebPkiServerVerifier>,
    trusted: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.usual.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match &verified {
            // Its time was checked before this.
            Err(Error::InvalidCertificate(CertificateError::Other(why)))
                if why.0.to_string() == "CaUsedAsEndEntity"
                    && self.trusted.iter().any(|trusted| trusted.as_ref() == end_entity.as_ref()) =>
            {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            _ => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}
