//! One workload, or all that are in reach.

use futures::future::join_all;
use jiff::Timestamp;
use spire_mesh::entry::Failure;
use spire_mesh::hint::Plugin;
use spire_mesh::mesh::Spire;
use spire_mesh::report::Printer;
use spire_mesh::trustchain::{Inspected, inspect_pod, inspect_pods, with_origin};
use spire_mesh::workload::{ProxyState, Scope};

use crate::cli::Cli;
use crate::clusters::{Known, Reached, representative};

/// Inspects the workload that was named, and says which of its pods it took.
pub(crate) async fn one(
    cli: &Cli,
    known: &Known,
    reached: &[Reached],
    subject: &str,
    printer: &Printer,
) -> Result<Inspected, Failure> {
    let found = known.workload(cli, reached, subject).await?;
    let (one, pod) = representative(&found);
    if found.len() > 1 {
        let selector = pod.labels.get("app").map(|app| {
            let words = ["-n", &pod.namespace, "-l", &format!("app={app}")];
            let all = Plugin::Trustchain.command(words).in_context(one.connection.context());
            format!("; all of them: {all}")
        });
        let selector = selector.unwrap_or_default();
        printer.note(&format!("{} has {} pods, this is {}{selector}", pod.workload, found.len(), pod.name));
    }
    let inspected = inspect_pod(&one.connection, pod, one.trust_domain(), Timestamp::now()).await;
    Ok(with_origin(&one.connection, inspected, server_namespace(one)).await)
}

/// Returns the namespace of the cluster's SPIRE server.
fn server_namespace(one: &Reached) -> &str {
    let spire = one.cluster.as_ref().map(|cluster| &cluster.spire);
    match spire {
        Some(Spire::Managed(managed)) => &managed.server_namespace,
        Some(Spire::Existing(existing)) => existing.server_namespace.as_deref().unwrap_or("spire-server"),
        None => "spire-server",
    }
}

/// Inspects every pod with a proxy in reach, in all clusters at the same time.
pub(crate) async fn all(cli: &Cli, known: &Known, reached: &[Reached]) -> Result<Vec<Inspected>, Failure> {
    let scope = Scope { namespace: cli.namespace.clone(), selector: cli.selector.clone() };
    let mut found = known.pods(reached, &scope).await?;
    found.retain(|(_, pod)| pod.proxy != ProxyState::Absent);
    let at = Timestamp::now();
    let each = reached.iter().map(|one| {
        let own = found.extract_if(.., |(of, _)| std::ptr::eq(*of, one));
        let pods: Vec<_> = own.map(|(_, pod)| pod).collect();
        async move { inspect_pods(&one.connection, pods, one.trust_domain(), at).await }
    });
    let each: Vec<_> = each.collect();
    drop(found);
    Ok(join_all(each).await.into_iter().flatten().collect())
}

/// Inspects every pod of the workload that was named, or one of each workload behind a service: what a watch follows.
pub(crate) async fn pods_of(
    cli: &Cli,
    known: &Known,
    reached: &[Reached],
    subject: &str,
) -> Result<Vec<Inspected>, Failure> {
    let found = known.subject(cli, reached, subject).await?;
    let at = Timestamp::now();
    let each = found.iter().map(|(one, pod)| inspect_pod(&one.connection, pod, one.trust_domain(), at));
    Ok(join_all(each).await)
}
