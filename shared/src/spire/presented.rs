//! What a bundle endpoint, or another server, presents in its TLS handshake, whoever it is.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};

use crate::fleet::{Connection, RequestError, ask};
use crate::report::one_line;
use crate::trust::svid::{self, Chain};
use crate::trust::{Authority, SpiffeId, TrustBundle, hex};

/// How long a handshake may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// The most certificates that are kept of a chain.
const MOST_CERTIFICATES: usize = 16;

/// What an endpoint presented. Nothing of it has been verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presented {
    /// The certificates in DER, the endpoint's own first.
    chain: Vec<Vec<u8>>,
    /// The SPIFFE ID of its certificate; `None` where it has none, or no valid one.
    pub id: Option<SpiffeId>,
    /// Subject and issuer of its certificate, as one line, escaped.
    pub names: String,
}

/// Why it is not known what an endpoint presents.
#[derive(Debug, thiserror::Error)]
pub enum PresentedError {
    /// There is no way to the pod.
    #[error("cannot forward a port")]
    Request(#[from] RequestError),
    /// There was no handshake.
    #[error("no TLS handshake: {0}")]
    Handshake(String),
    /// There is no way to the server.
    #[error("cannot connect: {0}")]
    Unreachable(String),
    /// It gave no page.
    #[error("it gave no page: {0}")]
    Page(String),
    /// The certificate does not parse.
    #[error("it presented no valid certificate: {0}")]
    Certificate(String),
}

impl Presented {
    /// Reads a chain of certificates in DER, the endpoint's own first.
    ///
    /// # Errors
    /// [`PresentedError::Certificate`] when there is none, or the first is no certificate.
    pub fn of(chain: Vec<Vec<u8>>) -> Result<Self, PresentedError> {
        let leaf =
            chain.first().ok_or_else(|| PresentedError::Certificate("it presented none".to_owned()))?;
        let (_, leaf) = X509Certificate::from_der(leaf)
            .map_err(|error| PresentedError::Certificate(error.to_string()))?;
        let names = leaf.subject_alternative_name().ok().flatten();
        let uris = names.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
        let uris: Vec<&str> = uris.collect();
        // Exactly one: SPIFFE X509-SVID, section 2.
        let id = match uris.as_slice() {
            [uri] => uri.parse().ok(),
            _ => None,
        };
        let names = one_line(&format!("subject {}, issuer {}", leaf.subject(), leaf.issuer()));
        Ok(Self { chain, id, names })
    }

    /// Returns the certificates in DER, the endpoint's own first.
    #[must_use]
    pub fn certificates(&self) -> &[Vec<u8>] {
        &self.chain
    }

    /// Returns the CA certificate with this subject key identifier (hexadecimal), where the endpoint presents it: a server whose CA
    /// certificate an upstream authority signed sends it along.
    #[must_use]
    pub fn authority(&self, key_id: &str) -> Option<Authority> {
        let authorities = self.chain.iter().skip(1).filter_map(|der| Authority::from_der(der.clone()).ok());
        authorities.into_iter().find(|authority| authority.key_id() == Some(key_id))
    }

    /// Returns the IDs (hexadecimal) of the authorities that signed the presented certificates, as far as these say so.
    #[must_use]
    pub fn signers(&self) -> Vec<String> {
        let signer = |der: &Vec<u8>| {
            let (_, certificate) = X509Certificate::from_der(der).ok()?;
            certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::AuthorityKeyIdentifier(id) => Some(hex(id.key_identifier.as_ref()?.0)),
                _ => None,
            })
        };
        self.chain.iter().filter_map(signer).collect()
    }

    /// Judges the presented certificate as an SVID, with the bundle of its trust domain, at a time. Returns in words what is wrong.
    #[must_use]
    pub fn broken(&self, bundle: &TrustBundle, at: Timestamp) -> Vec<String> {
        match Chain::from_ders(self.chain.clone()) {
            Ok(chain) => svid::verify(&chain, bundle, at).broken.iter().map(ToString::to_string).collect(),
            Err(error) => vec![error.to_string()],
        }
    }
}

/// Looks at what a pod presents on a port, through the API server.
///
/// # Errors
/// [`PresentedError`] when there is no way to the pod, or no handshake.
pub async fn of_pod(
    connection: &Connection,
    namespace: &str,
    pod: &str,
    port: u16,
) -> Result<Presented, PresentedError> {
    let pods: Api<Pod> = Api::namespaced(connection.client().clone(), namespace);
    let mut forwarder = pods.portforward(pod, &[port]).await.map_err(RequestError::from)?;
    let stream =
        forwarder.take_stream(port).ok_or_else(|| PresentedError::Handshake("no stream".to_owned()))?;
    let presented = handshake(stream).await.map(|(presented, _)| presented);
    forwarder.abort();
    presented
}

/// Looks at what a server presents, and at the page it serves there: for a bundle endpoint, its bundle.
///
/// # Errors
/// [`PresentedError`] when there is no way to the server from here, no handshake, or no page.
///
/// # Caveats
/// Nothing is verified: the page is from whoever answered.
pub async fn of_server(url: &http::Uri) -> Result<(Presented, Vec<u8>), PresentedError> {
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let port = url.port_u16().unwrap_or(443);
    let connected = timeout(DEADLINE, TcpStream::connect((host, port))).await;
    let stream = match connected {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(PresentedError::Unreachable(error.to_string())),
        Err(_) => {
            return Err(PresentedError::Unreachable(format!("no answer within {} s", DEADLINE.as_secs())));
        }
    };
    let (presented, stream) = handshake(stream).await?;
    let stream = stream.ok_or_else(|| PresentedError::Handshake("the server ended it".to_owned()))?;
    let path = url.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let page = timeout(DEADLINE, ask(stream, url.authority().map_or(host, |at| at.as_str()), path)).await;
    match page {
        Ok(Ok(answer)) if answer.status == 200 => Ok((presented, answer.body)),
        Ok(Ok(answer)) => Err(PresentedError::Page(format!("status {}", answer.status))),
        Ok(Err(problem)) => Err(PresentedError::Page(problem.to_string())),
        Err(_) => Err(PresentedError::Page(format!("none within {} s", DEADLINE.as_secs()))),
    }
}

/// Makes a TLS handshake and keeps what was presented. The connection comes along where the handshake came to its end.
async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
) -> Result<(Presented, Option<TlsStream<S>>), PresentedError> {
    let failed = |why: String| PresentedError::Handshake(why);
    let provider = CryptoProvider::get_default().cloned();
    let provider = provider.unwrap_or_else(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let witness = Arc::new(Witness { provider: Arc::clone(&provider), seen: Mutex::default() });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&witness) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    // Neither a bundle endpoint nor istiod takes notice of the name.
    let name = ServerName::try_from("bundle-endpoint.invalid").map_err(|error| failed(error.to_string()))?;
    let connected = timeout(DEADLINE, TlsConnector::from(Arc::new(config)).connect(name, stream)).await;
    let seen = std::mem::take(&mut *witness.seen.lock().unwrap_or_else(PoisonError::into_inner));
    match connected {
        Ok(Ok(stream)) => Ok((Presented::of(seen)?, Some(stream))),
        // It asks for a certificate of ours, for example; what it presents is known by then.
        _ if !seen.is_empty() => Ok((Presented::of(seen)?, None)),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!("none within {} s", DEADLINE.as_secs()))),
    }
}

/// Takes note of every certificate and believes none: nothing that is secret is sent over the connection, and nothing that comes is
/// trusted.
#[derive(Debug)]
struct Witness {
    provider: Arc<CryptoProvider>,
    seen: Mutex<Vec<Vec<u8>>>,
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain = std::iter::once(leaf).chain(intermediates).take(MOST_CERTIFICATES);
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = chain.map(|der| der.to_vec()).collect();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
