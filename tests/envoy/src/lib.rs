//! A real Envoy with the SPIFFE validator as SPIRE's agent configures it, asked about chains of certificates by handshakes.
//!
//! It is one process: as the client it has a cluster for each chain, as the server a filter chain, and TLS' name of the server
//! says which chain is meant.

mod config;
mod openssl;
mod tls;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use spire_mesh_chains::{Case, Says};
use tempfile::TempDir;

pub use openssl::openssl;

/// How long Envoy may take to start, and to answer.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running Envoy, which ends with this.
pub struct Envoy {
    process: Child,
    folder: TempDir,
    ports: Ports,
    client: tls::Client,
}

/// Where everybody listens, on loopback.
#[derive(Clone, Copy)]
struct Ports {
    /// Envoy as the server of TLS.
    server: u16,
    /// Envoy as the client of TLS: what takes requests that it sends on.
    client: u16,
    /// The servers that it then connects to.
    upstream: u16,
}

impl Envoy {
    /// Starts Envoy with the bundles of all chains, and the servers that present these.
    ///
    /// # Errors
    /// When it does not start; with its log.
    pub fn start(binary: &Path, cases: &[Case]) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let upstream = TcpListener::bind("127.0.0.1:0")?;
        let ports =
            Ports { server: free_port()?, client: free_port()?, upstream: upstream.local_addr()?.port() };
        let certificate = tls::own_certificate();
        let config = config::of(cases, ports, &certificate);
        fs::write(folder.path().join("envoy.json"), config.to_string())?;
        let (servers, client) = (tls::Servers::of(cases), tls::Client::of(cases, &certificate));
        thread::spawn(move || servers.serve(&upstream));
        let log = fs::File::create(folder.path().join("log"))?;
        let process = Command::new(binary)
            .args(["--concurrency", "2", "--log-level", "warning", "--use-dynamic-base-id", "--config-path"])
            .arg(folder.path().join("envoy.json"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let mut envoy = Self { process, folder, ports, client };
        envoy.wait()?;
        Ok(envoy)
    }

    fn wait(&mut self) -> io::Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if TcpStream::connect(("127.0.0.1", self.ports.client)).is_ok() {
                return Ok(());
            }
            if self.process.try_wait()?.is_some() {
                break;
            }
            thread::sleep(Duration::from_millis(100));
        }
        Err(io::Error::other(format!("Envoy does not start: {}", self.log())))
    }

    /// Returns what it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Connects as a client that presents the chain of a case, by its index.
    ///
    /// # Errors
    /// When Envoy neither answers nor refuses.
    pub fn of_client(&self, index: usize) -> io::Result<Says> {
        self.client.connects(index, self.ports.server)
    }

    /// Has Envoy connect to the server that presents the chain of a case, by its index.
    ///
    /// # Errors
    /// When Envoy neither reaches it nor refuses it.
    pub fn of_server(&self, index: usize) -> io::Result<Says> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.ports.client))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET /{index}/ HTTP/1.1\r\nHost: {SUFFIX}\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer);
        match answer.split(' ').nth(1) {
            Some("200") => Ok(Says::Accepts),
            Some("503") if answer.contains("remote connection failure") => Ok(Says::Refuses),
            _ => Err(io::Error::other(format!("no answer about chain {index}: {answer}"))),
        }
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The name with which TLS says which chain is meant.
fn server_name(index: usize) -> String {
    format!("c{index}.{SUFFIX}")
}

/// What follows the index in such a name.
const SUFFIX: &str = "chains.test";

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
