//! Chains and bundles that no proxy has: in a file, in a Secret, in what a server presents.

use std::fmt;
use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use spire_mesh::entry::Failure;
use spire_mesh::envoy::Issuer;
use spire_mesh::fleet::RequestError;
use spire_mesh::hint::{Advice, Command, Hint as _, Plugin};
use spire_mesh::istio;
use spire_mesh::report::Printer;
use spire_mesh::spire::presented;
use spire_mesh::trust::svid::Chain;
use spire_mesh::trustchain::source::{self, Bundles, Part, Source};
use spire_mesh::trustchain::{Evidence, Expected, Inspected, Presented, Subject, judge, with_origin};
use spire_mesh::workload::Placed;

use crate::cli::Cli;
use crate::clusters::Reached;

/// What is looked at instead of a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Elsewhere {
    /// A server of TLS, `https://…`: the bundle endpoint of a SPIRE server.
    Server(http::Uri),
    /// A Secret: its namespace, where it was named, and its name.
    Secret(Option<String>, String),
    /// istiod, at the port that proxies call.
    Istiod,
}

impl Elsewhere {
    /// Recognises what is no workload: `https://…`, `secret/NAME`, `CLUSTER/NAMESPACE/secret/NAME`, `istiod`.
    pub(crate) fn parse(text: &str) -> Result<Option<Self>, Failure> {
        if text.contains("://") {
            // Not repeated: a password would end in logs.
            if text.contains('@') {
                return Err(wrong_url("https://…@…"));
            }
            let uri: http::Uri = text.parse().map_err(|_| wrong_url(text))?;
            let fits = uri.scheme_str() == Some("https") && uri.host().is_some_and(|host| !host.is_empty());
            return if fits { Ok(Some(Self::Server(uri))) } else { Err(wrong_url(text)) };
        }
        let is_kind = |kind: &str| matches!(kind, "secret" | "secrets");
        // What is no name at all is said where workloads are looked for.
        let Ok(Placed { place, kind, name }) = Placed::parse(text) else { return Ok(None) };
        Ok(match kind {
            None if name == "istiod" && place.is_none() => Some(Self::Istiod),
            Some(kind) if is_kind(kind) => {
                Some(Self::Secret(place.map(|(_, namespace)| namespace.to_owned()), name.to_owned()))
            }
            _ => None,
        })
    }
}

impl fmt::Display for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(uri) => write!(f, "{uri}"),
            Self::Secret(_, name) => write!(f, "secret/{name}"),
            Self::Istiod => f.write_str("istiod"),
        }
    }
}

fn wrong_url(text: &str) -> Failure {
    let text = spire_mesh::report::one_line(text);
    Failure::usage(anyhow::anyhow!("`{text}` is no address of a bundle endpoint"))
        .with_hint("write it as https://HOST:PORT")
}

/// Judges what a file says, all that is in it; `-` is standard input.
pub(crate) fn file(path: &Path, printer: &Printer) -> Result<Vec<Inspected>, Failure> {
    let limit = source::LONGEST as u64 + 1;
    let mut bytes = Vec::new();
    let (name, read) = if path == Path::new("-") {
        ("standard input".to_owned(), std::io::stdin().lock().take(limit).read_to_end(&mut bytes))
    } else {
        let opened = std::fs::File::open(path);
        (path.display().to_string(), opened.and_then(|file| file.take(limit).read_to_end(&mut bytes)))
    };
    read.with_context(|| format!("cannot read {name}")).map_err(Failure::usage)?;
    let parts = source::parse_all(&bytes).map_err(|error| {
        let hint = error.hint();
        let failure = Failure::usage(anyhow::Error::from(error).context(format!("{name} cannot be used")));
        hint.into_iter().fold(failure, Failure::with_hint)
    })?;
    Ok(parts.into_iter().map(|part| of_part(&name, part, printer)).collect())
}

fn of_part(file: &str, part: Part, printer: &Printer) -> Inspected {
    let named = |of: &str| match &part.name {
        Some(part) if of.is_empty() => part.clone(),
        Some(part) => format!("{part}: {of}"),
        None => format!("{file} ({of})"),
    };
    match part.source {
        Ok(source) => {
            tell(part.name.as_deref(), &source, printer);
            let subject = Subject::source(named(&source.kind.to_string()));
            judge(Evidence::of_source(subject, source), Timestamp::now())
        }
        Err(error) => {
            let (fix, words) = (error.hint(), Failure::from(error).one_line());
            Inspected::unread(Subject::source(named("")), words, fix)
        }
    }
}

/// Says what is remarkable about a source, and which of several it is.
fn tell(part: Option<&str>, source: &Source, printer: &Printer) {
    let of = part.map(|part| format!("{part}: ")).unwrap_or_default();
    source.notes.iter().for_each(|note| printer.note(&format!("{of}{note}")));
    if !source.others.is_empty() {
        printer.note(&format!("{of}not looked at: {}", source.others.join(", ")));
    }
}

/// Returns the command that shows the bundles that servers hold.
fn bundles() -> Command {
    Plugin::SpireFederate.command(["bundle", "show"])
}

/// Judges what a server presents, by the bundle that it serves itself.
pub(crate) async fn server(uri: &http::Uri, printer: &Printer) -> Result<Inspected, Failure> {
    let (presented, page) = presented::of_server(uri)
        .await
        .with_context(|| format!("cannot look at {uri}"))
        .map_err(|error| {
            let hint =
                "from here it has to be reached as the other clusters reach it; this shows what they have: ";
            Failure::from(error).with_hint(Advice::from(hint).then(bundles()))
        })?;
    let chain = Chain::from_ders(presented.certificates().iter().cloned())
        .with_context(|| format!("{uri} presents no chain of certificates"))?;
    let parsed = source::parse(&page).with_context(|| format!("{uri} serves no bundle"))?;
    printer.note(&format!(
        "what a server says of itself agrees with itself at best: compare the authority with {}",
        bundles()
    ));
    Ok(judge(
        by_itself(Subject::source(uri.to_string()), chain, parsed.bundles, Issuer::Unknown),
        Timestamp::now(),
    ))
}

fn by_itself(subject: Subject, chain: Chain, bundles: Bundles, issued_by: Issuer) -> Evidence {
    let presented = if chain.leaf.uris.is_empty() { Presented::Other(chain) } else { Presented::Svid(chain) };
    Evidence { subject, expected: Expected::Anything, issued_by, presented, bundles, key_was_shown: false }
}

/// Judges the certificates of a Secret. Its keys are dropped as they are read.
pub(crate) async fn secret(
    cli: &Cli,
    one: &Reached,
    namespace: Option<&str>,
    name: &str,
    printer: &Printer,
) -> Result<Inspected, Failure> {
    let namespace = namespace.or(cli.namespace.as_deref()).unwrap_or(istio::NAMESPACE);
    let (cluster, context) = (one.connection.name(), one.connection.context());
    let secrets: Api<Secret> = Api::namespaced(one.connection.client().clone(), namespace);
    let secret = secrets.get(name).await.map_err(RequestError::from).map_err(|error| {
        Failure::from(anyhow::anyhow!("{cluster}: cannot read Secret {namespace}/{name}: {error}"))
            .with_hint(Command::kubectl(["-n", namespace, "get", "secrets"]).at(context))
    })?;
    let json = serde_json::to_vec(&secret).context("cannot write the Secret as JSON")?;
    let parsed = source::parse(&json)
        .with_context(|| format!("{cluster}: Secret {namespace}/{name} holds no certificates"))?;
    // That a key is in it is what a Secret is for.
    let parsed = Source { notes: Vec::new(), ..parsed };
    tell(None, &parsed, printer);
    let subject = Subject {
        cluster: Some(cluster.to_owned()),
        namespace: Some(namespace.to_owned()),
        ..Subject::source(format!("secret/{name}"))
    };
    Ok(judge(Evidence::of_source(subject, parsed), Timestamp::now()).in_context(context))
}

/// Judges what istiod presents to proxies, by the roots that it publishes for them.
pub(crate) async fn istiod(one: &Reached) -> Result<Inspected, Failure> {
    let seen = istio::ca::served(&one.connection)
        .await
        .map_err(|error| Failure::from(error).at(&one.connection.place()))?;
    let chain = Chain::from_ders(seen.presented.iter().map(|certificate| certificate.der().to_vec()))
        .context("istiod presents no chain of certificates")?;
    let subject = Subject {
        cluster: Some(one.connection.name().to_owned()),
        namespace: Some(istio::NAMESPACE.to_owned()),
        pod: Some(seen.pod),
        ..Subject::source(format!("port {}", istio::ca::XDS_PORT))
    };
    let bundles = Bundles::Pooled(seen.published);
    let evidence = by_itself(subject, chain, bundles, Issuer::Istiod);
    let inspected = judge(evidence, Timestamp::now()).in_context(one.connection.context());
    Ok(with_origin(&one.connection, inspected, istio::NAMESPACE).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Option<Elsewhere>, Failure> {
        Elsewhere::parse(text)
    }

    #[test]
    fn what_is_no_workload_is_recognised() {
        assert_eq!(parsed("productpage-v1").unwrap(), None);
        assert_eq!(parsed("istiod").unwrap(), Some(Elsewhere::Istiod));
        assert_eq!(parsed("secret/cacerts").unwrap(), Some(Elsewhere::Secret(None, "cacerts".to_owned())));
        assert_eq!(
            parsed("foo/istio-system/secret/cacerts").unwrap(),
            Some(Elsewhere::Secret(Some("istio-system".to_owned()), "cacerts".to_owned()))
        );
        assert!(matches!(parsed("https://10.0.0.1:8443").unwrap(), Some(Elsewhere::Server(_))));
        let arn = "arn:aws:eks:eu-central-1:111122223333:cluster/foo/istio-system/secret/cacerts";
        assert_eq!(
            parsed(arn).unwrap(),
            Some(Elsewhere::Secret(Some("istio-system".to_owned()), "cacerts".to_owned()))
        );
        let Err(failure) = parsed("https://me:hunter2@host:8443") else { panic!("a password") };
        assert!(!failure.one_line().contains("hunter2"));
        for wrong in ["http://a", "https://", "file:///etc/passwd", "://"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }
}
