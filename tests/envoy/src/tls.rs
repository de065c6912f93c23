//! Those that Envoy shakes hands with: they present a chain, whatever is wrong with it.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use rcgen::{CertificateParams, KeyPair};
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, SignatureScheme,
    StreamOwned,
};
use spire_mesh_chains::{Case, Says};

use crate::{PATIENCE, SUFFIX, server_name};

/// What Envoy presents as a server.
pub(crate) struct OwnCertificate {
    /// PEM.
    pub(crate) chain: String,
    /// PEM.
    pub(crate) key: String,
    der: CertificateDer<'static>,
}

pub(crate) fn own_certificate() -> OwnCertificate {
    let key = KeyPair::generate().expect("a key is generated");
    let params = CertificateParams::new([format!("*.{SUFFIX}")]).expect("it is a name");
    let certificate = params.self_signed(&key).expect("it signs itself");
    OwnCertificate { chain: certificate.pem(), key: key.serialize_pem(), der: certificate.der().clone() }
}

fn presented(case: &Case) -> Arc<CertifiedKey> {
    let ders = [&case.leaf].into_iter().chain(&case.sent);
    let key = PrivateKeyDer::try_from(case.key.serialize_der()).expect("rcgen writes PKCS #8");
    let key = aws_lc_rs::sign::any_supported_type(&key).expect("rustls knows all kinds of keys here");
    // Not held against each other: some certificates are no DER.
    Arc::new(CertifiedKey::new(ders.map(|der| der.clone().into()).collect(), key))
}

/// The servers that Envoy connects to, at one address.
#[derive(Debug)]
pub(crate) struct Servers(Vec<Arc<CertifiedKey>>);

impl Servers {
    pub(crate) fn of(cases: &[Case]) -> Self {
        Self(cases.iter().map(presented).collect())
    }

    /// Answers whoever connects, until the process ends.
    pub(crate) fn serve(self, listener: &TcpListener) {
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has both versions")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(self));
        let config = Arc::new(config);
        for stream in listener.incoming().filter_map(Result::ok) {
            let config = Arc::clone(&config);
            // Whether it succeeds is for Envoy to say.
            thread::spawn(move || answer(config, stream));
        }
    }
}

fn answer(config: Arc<ServerConfig>, stream: TcpStream) -> io::Result<()> {
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, stream);
    if stream.read(&mut [0; 4096])? > 0 {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
        stream.conn.send_close_notify();
        stream.flush()?;
    }
    Ok(())
}

impl ResolvesServerCert for Servers {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name()?;
        let index: usize = name.strip_prefix('c')?.strip_suffix(SUFFIX)?.strip_suffix('.')?.parse().ok()?;
        self.0.get(index).map(Arc::clone)
    }
}

/// The clients that connect to Envoy.
pub(crate) struct Client {
    presented: Vec<Arc<CertifiedKey>>,
    roots: Arc<RootCertStore>,
}

impl Client {
    pub(crate) fn of(cases: &[Case], server: &OwnCertificate) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(server.der.clone()).expect("it is a certificate");
        Self { presented: cases.iter().map(presented).collect(), roots: Arc::new(roots) }
    }

    /// Connects with the chain of a case, and waits for the first bytes.
    pub(crate) fn connects(&self, index: usize, port: u16) -> io::Result<Says> {
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(Arc::clone(&self.roots))
            .with_client_cert_resolver(Arc::new(Presents(Arc::clone(&self.presented[index]))));
        let name = ServerName::try_from(server_name(index)).map_err(io::Error::other)?;
        let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut stream = StreamOwned::new(connection, stream);
        let mut answer = [0; ACCEPTED.len()];
        let request = b"GET / HTTP/1.1\r\nhost: chains.test\r\nconnection: close\r\n\r\n";
        match stream.write_all(request).and_then(|()| stream.read_exact(&mut answer)) {
            Ok(()) if answer == *ACCEPTED => Ok(Says::Accepts),
            Ok(()) => Err(io::Error::other("Envoy answers with something else")),
            // An alert of Envoy's, which has closed the connection.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::InvalidData
                        | io::ErrorKind::UnexpectedEof
                        | io::ErrorKind::ConnectionReset
                ) =>
            {
                Ok(Says::Refuses)
            }
            Err(error) => Err(error),
        }
    }
}

/// What an answer to a request begins with.
const ACCEPTED: &[u8; 12] = b"HTTP/1.1 200";

#[derive(Debug)]
struct Presents(Arc<CertifiedKey>);

impl ResolvesClientCert for Presents {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
