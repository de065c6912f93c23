//! The SPIRE server's own command line, run inside its pod: JSON in, types out.
//!
//! The image holds nothing but the binary, so nothing else is run: no shell. Every call has a deadline of its own, because
//! the server's HTTP client for bundle endpoints has none (SPIRE 1.15.3, `pkg/server/bundle/client/client.go`).

mod error;
mod output;
mod refresh;

use std::time::Duration;

pub use error::{RefreshError, ServerError};
pub use output::{
    Agent, Entry, LocalAuthorities, LocalAuthority, OutputError, Profile, Relationship, Selector,
    parse_agents, parse_authorities, parse_bundle, parse_bundles, parse_count, parse_entries, parse_prepared,
    parse_relationships, parse_set_results,
};
pub use refresh::RefreshCause;

use crate::fleet::{ExecOutput, ExecTarget, Member};
use crate::trust::{BundleDocument, TrustBundle, TrustDomain};

/// Path of the binary in SPIRE's own image (`Dockerfile`, stage `spire-server`).
pub const BINARY: &str = "/opt/spire/bin/spire-server";
/// How long reading from the server may take.
const READ_DEADLINE: Duration = Duration::from_secs(15);
/// How long fetching a bundle from a peer may take. A connection that nobody answers ends after 30 seconds in Go.
const REFRESH_DEADLINE: Duration = Duration::from_secs(35);

/// One running SPIRE server.
#[derive(Clone, Debug)]
pub struct Server<'a> {
    /// The cluster it runs in.
    pub member: &'a Member,
    /// Its container.
    pub target: ExecTarget,
    /// Path of the binary in the container; [`BINARY`] in SPIRE's own image.
    pub binary: String,
    /// Path of its socket, where it is not the default.
    pub socket_path: Option<String>,
}

impl<'a> Server<'a> {
    /// Returns a server as these plugins install it.
    #[must_use]
    pub fn new(member: &'a Member, target: ExecTarget) -> Self {
        Self { member, target, binary: BINARY.to_owned(), socket_path: None }
    }

    /// Checks that the server answers and that its data store works.
    pub async fn healthcheck(&self) -> Result<(), ServerError> {
        // Has no -output (SPIRE, `cmd/spire-server/cli/healthcheck`).
        self.run("healthcheck", &[], None, READ_DEADLINE).await.map(drop)
    }

    /// Returns the server's version, as it prints it.
    pub async fn version(&self) -> Result<String, ServerError> {
        let argv = [self.binary.as_str(), "--version"];
        let output = self.exec("--version", &argv, None, READ_DEADLINE).await?;
        // It goes to stderr.
        let text = [&output.stdout[..], &output.stderr[..]].concat();
        Ok(String::from_utf8_lossy(&text).trim().to_owned())
    }

    /// Returns the bundle of the server's own trust domain.
    pub async fn bundle(&self) -> Result<TrustBundle, ServerError> {
        self.read("bundle show", parse_bundle).await
    }

    /// Returns the bundle of the server's own trust domain, in the form that [`Server::set_bundle`] of a peer takes.
    ///
    /// `trust_domain` is that of this server; [`Server::bundle`] tells.
    pub async fn bundle_document(&self, trust_domain: &TrustDomain) -> Result<BundleDocument, ServerError> {
        self.document("bundle show", &["-format", "spiffe"], trust_domain).await
    }

    /// Returns the bundle of another trust domain that the server holds, in SPIFFE's JSON.
    pub async fn stored_document(&self, peer: &TrustDomain) -> Result<BundleDocument, ServerError> {
        self.document("bundle list", &["-id", &peer.id(), "-format", "spiffe"], peer).await
    }

    async fn document(
        &self,
        command: &'static str,
        arguments: &[&str],
        trust_domain: &TrustDomain,
    ) -> Result<BundleDocument, ServerError> {
        let output = self.run(command, arguments, None, READ_DEADLINE).await?;
        let text =
            String::from_utf8(output.stdout).map_err(|_| self.unreadable(command, OutputError::Text))?;
        BundleDocument::parse(trust_domain.clone(), &text).map_err(|source| {
            self.unreadable(command, OutputError::Bundle { trust_domain: trust_domain.clone(), source })
        })
    }

    /// Returns the bundles of other trust domains that the server holds.
    pub async fn stored_bundles(&self) -> Result<Vec<TrustBundle>, ServerError> {
        self.read("bundle list", parse_bundles).await
    }

    /// Sets the bundle of another trust domain. It replaces the one that is stored.
    pub async fn set_bundle(&self, bundle: &BundleDocument) -> Result<(), ServerError> {
        let command = "bundle set";
        let id = bundle.trust_domain().id();
        let arguments = ["-id", &id, "-format", "spiffe", "-output", "json"];
        let output = self.run(command, &arguments, Some(bundle.to_json().as_bytes()), READ_DEADLINE).await?;
        // The exit code is 0 even when the server refused.
        parse_set_results(&output.stdout).map_err(|error| self.unreadable(command, error))
    }

    /// Makes the server forget the bundle of another trust domain. Refused while registration entries federate with it.
    ///
    /// Without a relationship nothing brings it back; with one the server could not fetch it any more.
    pub async fn delete_bundle(&self, peer: &TrustDomain) -> Result<(), ServerError> {
        let command = "bundle delete";
        let id = peer.id();
        let arguments = ["-id", &id, "-mode", "restrict", "-output", "json"];
        let output = self.run(command, &arguments, None, READ_DEADLINE).await?;
        parse_set_results(&output.stdout).map_err(|error| self.unreadable(command, error))
    }

    /// Makes the server fetch the bundle of `peer` now, and waits for it.
    pub async fn refresh(&self, peer: &TrustDomain) -> Result<(), RefreshError> {
        let id = peer.id();
        match self.run("federation refresh", &["-id", &id], None, REFRESH_DEADLINE).await {
            Ok(_) => Ok(()),
            Err(ServerError::Failed { stderr, .. }) => Err(RefreshError::Failed {
                cluster: self.member.name().to_owned(),
                peer: peer.clone(),
                cause: RefreshCause::from_stderr(&stderr),
                message: stderr,
            }),
            Err(other) => Err(RefreshError::Server(other)),
        }
    }

    /// Returns the server's dynamic federation relationships. Static ones (`federates_with` in its configuration) are not
    /// among them.
    pub async fn relationships(&self) -> Result<Vec<Relationship>, ServerError> {
        self.read("federation list", parse_relationships).await
    }

    /// Returns the agents that have attested.
    pub async fn agents(&self) -> Result<Vec<Agent>, ServerError> {
        self.read("agent list", parse_agents).await
    }

    /// Returns the registration entries.
    pub async fn entries(&self) -> Result<Vec<Entry>, ServerError> {
        self.read("entry show", parse_entries).await
    }

    /// Returns how many registration entries there are.
    pub async fn entry_count(&self) -> Result<u64, ServerError> {
        self.read("entry count", parse_count).await
    }

    /// Returns the server's own CA certificates: the one in use, the next, and the one before.
    pub async fn authorities(&self) -> Result<LocalAuthorities, ServerError> {
        self.read("localauthority x509 show", parse_authorities).await
    }

    /// Makes the server's next CA and publishes it in the bundle. It signs nothing until it is activated.
    ///
    /// One that was prepared before and not activated is replaced, and stays in the bundle.
    pub async fn prepare_authority(&self) -> Result<LocalAuthority, ServerError> {
        self.read("localauthority x509 prepare", parse_prepared).await
    }

    /// Makes the prepared CA sign from now on. What the one before it has signed stays as it is.
    pub async fn activate_authority(&self, id: &str) -> Result<(), ServerError> {
        self.run("localauthority x509 activate", &["-authorityID", id], None, READ_DEADLINE).await.map(drop)
    }

    /// Makes agents and server replace what the old CA has signed. Refused where an upstream authority signs. Tainting again
    /// changes nothing.
    pub async fn taint_authority(&self, id: &str) -> Result<(), ServerError> {
        match self.run("localauthority x509 taint", &["-authorityID", id], None, READ_DEADLINE).await {
            // SPIRE 1.15.3, `TaintX509CA` in `pkg/server/datastore/sqlstore/sqlstore.go`.
            Err(ServerError::Failed { stderr, .. }) if stderr.contains("already tainted") => Ok(()),
            result => result.map(drop),
        }
    }

    /// Takes a tainted CA out of the bundle: nothing that it has signed is trusted any more.
    pub async fn revoke_authority(&self, id: &str) -> Result<(), ServerError> {
        self.run("localauthority x509 revoke", &["-authorityID", id], None, READ_DEADLINE).await.map(drop)
    }

    async fn read<T>(
        &self,
        command: &'static str,
        parse: impl FnOnce(&[u8]) -> Result<T, OutputError>,
    ) -> Result<T, ServerError> {
        let output = self.run(command, &["-output", "json"], None, READ_DEADLINE).await?;
        parse(&output.stdout).map_err(|error| self.unreadable(command, error))
    }

    async fn run(
        &self,
        command: &'static str,
        arguments: &[&str],
        stdin: Option<&[u8]>,
        deadline: Duration,
    ) -> Result<ExecOutput, ServerError> {
        let mut argv = vec![self.binary.as_str()];
        argv.extend(command.split(' '));
        argv.extend(arguments);
        if let Some(path) = &self.socket_path {
            argv.extend(["-socketPath", path]);
        }
        let output = self.exec(command, &argv, stdin, deadline).await?;
        if output.exit == 0 {
            return Ok(output);
        }
        Err(ServerError::Failed {
            cluster: self.member.name().to_owned(),
            context: self.member.context().to_owned(),
            namespace: self.target.namespace.clone(),
            pod: self.target.pod.clone(),
            command,
            exit: output.exit,
            stderr: first_lines(&output.stderr),
        })
    }

    async fn exec(
        &self,
        command: &'static str,
        argv: &[&str],
        stdin: Option<&[u8]>,
        deadline: Duration,
    ) -> Result<ExecOutput, ServerError> {
        tracing::debug!(cluster = self.member.name(), pod = %self.target.pod, command, "running spire-server");
        self.member.exec(&self.target, argv, stdin, deadline).await.map_err(|source| ServerError::Exec {
            cluster: self.member.name().to_owned(),
            command,
            source: Box::new(source),
        })
    }

    fn unreadable(&self, command: &'static str, source: OutputError) -> ServerError {
        ServerError::Output {
            cluster: self.member.name().to_owned(),
            namespace: self.target.namespace.clone(),
            pod: self.target.pod.clone(),
            command,
            source,
        }
    }
}

/// Takes what a person needs of stderr: one line, without Go's usage text and the prefix that SPIRE puts first.
pub(super) fn first_lines(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    line.strip_prefix("Error: ").unwrap_or(line).chars().filter(|c| !c.is_control()).take(1000).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_of_stderr_is_kept() {
        assert_eq!(first_lines(b"\nError: there is no\x1b[0m\nUsage of x:\n"), "there is no[0m");
        assert_eq!(first_lines(b""), "");
    }
}
