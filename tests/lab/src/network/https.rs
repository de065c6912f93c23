//! One request to an API server, from a program that must not cost anything: polled many times a second.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, Stream};

const LIMIT: Duration = Duration::from_secs(2);

/// Whether the API server at this address, with a certificate of this authority, says that it is ready.
#[must_use]
pub fn is_ready(address: Ipv4Addr, authority: &Path) -> bool {
    ask(address, authority).is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 200 "))
}

fn ask(address: Ipv4Addr, authority: &Path) -> io::Result<Vec<u8>> {
    let certificate = CertificateDer::from_pem_file(authority).map_err(io::Error::other)?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate).map_err(io::Error::other)?;
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::from(std::net::IpAddr::V4(address));
    let mut connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;

    let mut socket = TcpStream::connect_timeout(&SocketAddr::from((address, 6443)), LIMIT)?;
    socket.set_read_timeout(Some(LIMIT))?;
    socket.set_write_timeout(Some(LIMIT))?;
    let mut stream = Stream::new(&mut connection, &mut socket);
    write!(stream, "GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = vec![0; 64];
    let length = stream.read(&mut answer)?;
    answer.truncate(length);
    Ok(answer)
}
