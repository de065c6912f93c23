//! A namespace that is being deleted and does not end: what in it has a finalizer that nobody takes off.

use std::collections::BTreeSet;
use std::fmt;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};

use crate::hint::{Advice, Command};
use crate::report::{cut, one_line};

/// How many of the objects that hold a namespace are named.
const MOST_NAMED: usize = 3;
/// The longest text of an API server that is repeated, in characters.
const LONGEST: usize = 300;
/// The end of the domain of finalizers that Kubernetes takes off itself in a moment.
const OF_KUBERNETES: &str = "kubernetes.io";

/// A namespace that is ending, and is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Its name.
    pub namespace: String,
    /// Since when it is ending.
    pub since: Timestamp,
    /// What holds it; empty where that cannot be read.
    pub held_by: Vec<Held>,
    /// What the API server says of it.
    pub words: String,
}

/// An object that holds its namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// What it is, as kubectl takes it: `configmaps`, `widgets.example.com`.
    pub resource: String,
    /// Its name.
    pub name: String,
    /// Its finalizers.
    pub finalizers: Vec<String>,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "namespace {} is ending since {:.0}, ", self.namespace, self.since)?;
        if self.held_by.is_empty() {
            return write!(f, "and does not end: {}", self.words);
        }
        let held = self.held_by.iter().map(|held| {
            format!("{}/{} with finalizer {}", held.resource, held.name, held.finalizers.join(", "))
        });
        write!(f, "held by {}", held.collect::<Vec<_>>().join(" and "))
    }
}

impl Ending {
    /// Says what to do about it.
    pub(super) fn advice(&self) -> Advice {
        let Some(held) = self.held_by.first() else {
            return Command::kubectl(["get", "namespace", &self.namespace, "-o", "yaml"]).into();
        };
        let patch = r#"{"metadata":{"finalizers":null}}"#;
        let take_off =
            ["-n", &self.namespace, "patch", &held.resource, &held.name, "--type=merge", "-p", patch];
        Advice::from("let whoever put the finalizer there take it off; where nobody does any more: ")
            .then(Command::kubectl(take_off))
    }
}

/// Looks at a namespace: `None` where it is not ending, or ends by itself, or cannot be read.
pub(super) async fn ending(client: &kube::Client, name: &str) -> Option<Ending> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = namespaces.get_opt(name).await.ok()??;
    let since = namespace.metadata.deletion_timestamp.as_ref()?.0;
    let conditions = || namespace.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let said = |kind: &str| {
        let mut of_kind =
            conditions().filter(|condition| condition.type_ == kind && condition.status == "True");
        of_kind.next().and_then(|condition| condition.message.as_deref())
    };
    let remaining = said("NamespaceFinalizersRemaining")?;
    if !finalizers(remaining).any(is_foreign) {
        return None;
    }
    let resources = resources(said("NamespaceContentRemaining").unwrap_or_default());
    let listed = join_all(resources.iter().map(|resource| held(client, name, resource))).await;
    let is_known = !listed.is_empty() && listed.iter().all(Option::is_some);
    let mut held_by: Vec<Held> = listed.into_iter().flatten().flatten().collect();
    if held_by.is_empty() && is_known {
        // The finalizer has been taken off since the API server looked last.
        return None;
    }
    held_by.truncate(MOST_NAMED);
    Some(Ending { namespace: name.to_owned(), since, held_by, words: cut(one_line(remaining), LONGEST) })
}

/// Reads the names of finalizers: `Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances, …`.
fn finalizers(message: &str) -> impl Iterator<Item = &str> {
    let (_, list) = message.split_once(": ").unwrap_or_default();
    list.split(", ").filter_map(|part| part.split_whitespace().next())
}

/// Reads the names of resources: `Some resources are remaining: configmaps. has 1 resource instances, …`.
fn resources(message: &str) -> BTreeSet<String> {
    let (_, list) = message.split_once(": ").unwrap_or_default();
    let names = list.split(", ").filter_map(|part| part.split_once(" has "));
    names.map(|(name, _)| name.trim_end_matches('.').to_owned()).filter(|name| !name.is_empty()).collect()
}

fn is_foreign(finalizer: &str) -> bool {
    finalizer.split_once('/').is_some_and(|(domain, _)| !domain.ends_with(OF_KUBERNETES))
}

/// Finds the objects of a resource that somebody else's finalizer holds.
async fn held(client: &kube::Client, namespace: &str, resource: &str) -> Option<Vec<Held>> {
    let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
    let version = if group.is_empty() {
        "v1".to_owned()
    } else {
        let groups = client.list_api_groups().await.ok()?;
        groups.groups.into_iter().find(|one| one.name == group)?.preferred_version?.version
    };
    let api_version = if group.is_empty() { version.clone() } else { format!("{group}/{version}") };
    let of = ApiResource {
        group: group.to_owned(),
        version,
        api_version,
        kind: plural.to_owned(),
        plural: plural.to_owned(),
    };
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &of);
    let listed = api.list_metadata(&ListParams::default().limit(100)).await.ok()?;
    let held = listed.items.into_iter().filter_map(|object| {
        let finalizers = object.finalizers();
        finalizers.iter().any(|finalizer| is_foreign(finalizer)).then(|| Held {
            resource: resource.to_owned(),
            name: object.name_any(),
            finalizers: finalizers.iter().map(|finalizer| cut(one_line(finalizer), LONGEST)).collect(),
        })
    });
    Some(held.collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fleet::fake::FakeServer;

    fn ending_for(finalizer: &str) -> FakeServer {
        with_content(finalizer, "configmaps.")
    }

    fn with_content(finalizer: &str, resource: &str) -> FakeServer {
        let server = FakeServer::default();
        let condition = |kind: &str, message: String| json!({"type": kind, "status": "True", "reason": "x", "message": message});
        server.put(
            "/api/v1/namespaces/spire-server",
            json!({
                "metadata": {"deletionTimestamp": "2026-11-25T10:00:00Z"},
                "status": {"phase": "Terminating", "conditions": [
                    condition("NamespaceContentRemaining", format!("Some resources are remaining: {resource} has 1 resource instances")),
                    condition("NamespaceFinalizersRemaining", format!("Some content in the namespace has finalizers remaining: {finalizer} in 1 resource instances")),
                ]},
            }),
        );
        server
    }

    async fn told(server: &FakeServer) -> String {
        let member = server.member("baz");
        let found = ending(member.client(), "spire-server").await;
        found.map_or_else(String::new, |ending| format!("{ending}\n{}", ending.advice()))
    }

    #[tokio::test]
    async fn a_namespace_that_does_not_end_is_told_with_what_holds_it() {
        let unknown = with_content("example.com/hold", "widgets.example.com");
        insta::assert_snapshot!(told(&unknown).await, @"
        namespace spire-server is ending since 2026-11-25T10:00:00Z, and does not end: Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances
        kubectl --context CONTEXT get namespace spire-server -o yaml
        ");
        let server = ending_for("example.com/hold");
        assert_eq!(told(&server).await, "", "the finalizer has just been taken off");
        let map = |name: &str, finalizer: &str| {
            server.put(
                &format!("/api/v1/namespaces/spire-server/configmaps/{name}"),
                json!({"metadata": {"finalizers": [finalizer]}}),
            );
        };
        map("held", "example.com/hold");
        map("other", "kubernetes.io/pvc-protection");
        insta::assert_snapshot!(told(&server).await, @r#"
        namespace spire-server is ending since 2026-11-25T10:00:00Z, held by configmaps/held with finalizer example.com/hold
        let whoever put the finalizer there take it off; where nobody does any more: kubectl --context CONTEXT -n spire-server patch configmaps held --type=merge -p '{"metadata":{"finalizers":null}}'
        "#);
    }

    #[tokio::test]
    async fn a_namespace_that_ends_by_itself_is_waited_for() {
        assert_eq!(told(&FakeServer::default()).await, "");
        assert_eq!(told(&ending_for("kubernetes.io/pvc-protection")).await, "");
        assert_eq!(told(&ending_for("service.kubernetes.io/load-balancer-cleanup")).await, "");
        let server = FakeServer::default();
        server.put("/api/v1/namespaces/spire-server", json!({"status": {"phase": "Active"}}));
        assert_eq!(told(&server).await, "");
    }

    #[test]
    fn resources_are_read_with_and_without_a_group() {
        let said = "Some resources are remaining: configmaps. has 1 resource instances, widgets.example.com has 2 resource instances";
        let read: Vec<String> = resources(said).into_iter().collect();
        assert_eq!(read, ["configmaps", "widgets.example.com"]);
        assert!(resources("").is_empty());
    }
}
