//! Rights that a command needs, asked for before it starts.

use std::fmt;

use futures::future::try_join_all;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::api::{Api, PostParams};
use serde::Serialize;

use super::member::Member;
use super::request::RequestError;
use crate::hint::{Advice, Command};

const EXEC: &str = "pods/exec";
const FORWARD: &str = "pods/portforward";
/// The first minor version of Kubernetes that asks for `create` where a WebSocket to a pod is opened.
const ALSO_CREATE: u32 = 35;

/// A right: `create deployments.apps in namespace x`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Need {
    /// `get`, `list`, `create`, `patch`, `delete`…
    pub verb: String,
    /// API group; empty for the core group.
    pub group: String,
    /// Plural name, with the subresource where there is one: `pods/exec`.
    pub resource: String,
    /// Namespace; `None` for cluster-wide.
    pub namespace: Option<String>,
    /// Name of the only object that it is about; `None` for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl Need {
    /// Makes a need.
    #[must_use]
    pub fn new(verb: &str, group: &str, resource: &str, namespace: Option<&str>) -> Self {
        Self {
            verb: verb.to_owned(),
            group: group.to_owned(),
            resource: resource.to_owned(),
            namespace: namespace.map(str::to_owned),
            name: None,
        }
    }

    /// Makes the need to run commands in pods. It is a `get` because the connection is a web socket: kubectl, which turns to a POST where it
    /// is refused, gets on with `create` alone.
    #[must_use]
    pub fn exec(namespace: Option<&str>) -> Self {
        Self::new("get", "", EXEC, namespace)
    }

    /// Makes the need to forward ports of pods.
    #[must_use]
    pub fn forward(namespace: Option<&str>) -> Self {
        Self::new("get", "", FORWARD, namespace)
    }

    /// Returns what it takes on a cluster of a version (`v1.34.2`): from Kubernetes 1.35 on, web sockets to pods need `create`, too
    /// (its feature gate `AuthorizePodWebsocketUpgradeCreatePermission`).
    fn on(&self, version: &str) -> Vec<Self> {
        // Some providers write `36+`.
        let minor =
            version.split('.').nth(1).and_then(|minor| minor.trim_end_matches('+').parse::<u32>().ok());
        let is_streamed = self.verb == "get" && [EXEC, FORWARD].contains(&self.resource.as_str());
        let mut needs = vec![self.clone()];
        if is_streamed && minor.is_some_and(|minor| minor >= ALSO_CREATE) {
            needs.push(Self { verb: "create".to_owned(), ..self.clone() });
        }
        needs
    }

    /// Limits it to one object, so that a role that is limited to it suffices.
    #[must_use]
    pub fn of(self, name: &str) -> Self {
        Self { name: Some(name.to_owned()), ..self }
    }

    /// Writes what it is about as kubectl takes it: `deployments.apps`, `leases.coordination.k8s.io/NAME`.
    fn target(&self) -> String {
        let group = if self.group.is_empty() { String::new() } else { format!(".{}", self.group) };
        let name = self.name.as_ref().map(|name| format!("/{name}")).unwrap_or_default();
        format!("{}{group}{name}", self.resource)
    }

    fn review(&self) -> SelfSubjectAccessReview {
        let (resource, subresource) = match self.resource.split_once('/') {
            Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
            None => (self.resource.as_str(), None),
        };
        let attributes = ResourceAttributes {
            verb: Some(self.verb.clone()),
            group: Some(self.group.clone()),
            resource: Some(resource.to_owned()),
            subresource,
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            ..ResourceAttributes::default()
        };
        SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(attributes),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        }
    }
}

impl Need {
    /// Returns the command that asks whether one has it.
    pub(crate) fn can_i(&self) -> Command {
        let namespace = self.namespace.iter().flat_map(|name| ["-n", name]);
        // kubectl takes what stands behind a slash for a name.
        let (target, subresource) = match self.resource.split_once('/') {
            Some((resource, subresource)) => {
                let whole = Self { resource: resource.to_owned(), ..self.clone() };
                (whole.target(), Some(format!("--subresource={subresource}")))
            }
            None => (self.target(), None),
        };
        Command::kubectl(["auth", "can-i", &self.verb, &target]).and(subresource).and(namespace)
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.target())?;
        match &self.namespace {
            Some(namespace) => write!(f, " in namespace {namespace}"),
            None => Ok(()),
        }
    }
}

/// Lists rights by resource, so that each is named once: `get/create/patch services in namespace x`.
pub(crate) fn listed(needs: &[Need]) -> String {
    let about = |need: &Need| {
        let Need { verb: _, group, resource, namespace, name } = need.clone();
        (group, resource, namespace, name)
    };
    let same = |a: &Need, b: &Need| about(a) == about(b);
    let texts = needs.chunk_by(same).filter_map(|needs| {
        let verbs: Vec<&str> = needs.iter().map(|need| need.verb.as_str()).collect();
        Some(Need { verb: verbs.join("/"), ..needs.first()?.clone() }.to_string())
    });
    texts.collect::<Vec<_>>().join(", ")
}

/// Says what to do about missing rights: the command asks for the first of them.
pub(crate) fn ask_for(needs: &[Need]) -> Option<Advice> {
    let need = needs.first()?;
    Some(Advice::from("ask for these rights; check with: ").then(need.can_i()))
}

/// Asks the API server which of the rights are missing, all at the same time, and keeps their order.
///
/// # Errors
/// [`RequestError`] when the server cannot be asked.
pub async fn missing(member: &Member, needs: &[Need]) -> Result<Vec<Need>, RequestError> {
    let reviews = Api::<SelfSubjectAccessReview>::all(member.client().clone());
    let ask = |need: &Need| {
        let (reviews, review, need) = (reviews.clone(), need.review(), need.clone());
        async move {
            let answer = reviews.create(&PostParams::default(), &review).await?;
            let allowed = answer.status.is_some_and(|status| status.allowed);
            Ok::<_, RequestError>((!allowed).then_some(need))
        }
    };
    let needs: Vec<Need> = needs.iter().flat_map(|need| need.on(member.version())).collect();
    Ok(try_join_all(needs.iter().map(ask)).await?.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_websocket_to_a_pod_is_a_get_and_since_135_a_create_besides() {
        let of = |need: Need, version: &str| listed(&need.on(version));
        let exec = || Need::exec(Some("spire"));
        assert_eq!(of(exec(), "v1.34.2"), "get pods/exec in namespace spire");
        assert_eq!(of(exec(), "v1.35.0-eks-1"), "get/create pods/exec in namespace spire");
        assert_eq!(of(Need::forward(None), "v1.36+"), "get/create pods/portforward");
        assert_eq!(of(Need::new("get", "", "pods", None), "v1.36.1"), "get pods");
        assert_eq!(of(exec(), ""), "get pods/exec in namespace spire");
        insta::assert_snapshot!(exec().can_i(), @"kubectl --context CONTEXT auth can-i get pods --subresource=exec -n spire");
    }

    #[test]
    fn needs_read_like_sentences() {
        let need = Need::new("create", "apps", "deployments", Some("x"));
        assert_eq!(need.to_string(), "create deployments.apps in namespace x");
        assert_eq!(Need::new("get", "", "namespaces", None).to_string(), "get namespaces");
    }

    #[test]
    fn a_subresource_is_asked_for_as_one() {
        let attributes = Need::exec(None).review().spec.resource_attributes.unwrap();
        assert_eq!(attributes.resource.as_deref(), Some("pods"));
        assert_eq!(attributes.subresource.as_deref(), Some("exec"));
    }

    #[test]
    fn the_rest_of_a_right_is_asked_for_as_it_is() {
        let need = Need::new("list", "apps", "deployments", Some("shop"));
        let asked = need.review().spec.resource_attributes.unwrap();
        let expected = ResourceAttributes {
            verb: Some("list".to_owned()),
            group: Some("apps".to_owned()),
            resource: Some("deployments".to_owned()),
            namespace: Some("shop".to_owned()),
            ..ResourceAttributes::default()
        };
        assert_eq!(asked, expected);
    }

    #[test]
    fn rights_to_one_resource_are_listed_together_and_others_apart() {
        let needs = [
            Need::new("get", "", "secrets", Some("spire")),
            Need::new("list", "", "secrets", Some("spire")),
            Need::new("list", "", "secrets", Some("shop")),
            Need::new("list", "apps", "secrets", Some("shop")),
            Need::new("list", "apps", "deployments", Some("shop")),
            Need::new("create", "apps", "deployments", None),
        ];
        assert_eq!(
            listed(&needs),
            "get/list secrets in namespace spire, list secrets in namespace shop, list secrets.apps in namespace shop, \
             list deployments.apps in namespace shop, create deployments.apps"
        );
        assert_eq!(listed(&[]), "");
    }

    #[test]
    fn a_right_to_one_object_is_asked_for_with_its_name() {
        let need = Need::new("update", "coordination.k8s.io", "leases", Some("kube-system")).of("a");
        assert_eq!(need.review().spec.resource_attributes.unwrap().name.as_deref(), Some("a"));
        let create = Need { name: None, verb: "create".to_owned(), ..need.clone() };
        let delete = Need { verb: "delete".to_owned(), ..need.clone() };
        assert_eq!(
            listed(&[create, need.clone(), delete]),
            "create leases.coordination.k8s.io in namespace kube-system, \
             update/delete leases.coordination.k8s.io/a in namespace kube-system"
        );
        assert_eq!(
            ask_for(&[need]).unwrap(),
            "ask for these rights; check with: kubectl --context CONTEXT auth can-i update leases.coordination.k8s.io/a -n kube-system"
        );
    }

    #[test]
    fn the_first_right_is_the_one_to_check() {
        let hint = |need: Need| ask_for(&[need, Need::new("x", "y", "z", None)]).unwrap();
        let check = "ask for these rights; check with: kubectl --context CONTEXT auth can-i";
        assert_eq!(hint(Need::new("get", "", "pods", None)), format!("{check} get pods").as_str());
        assert_eq!(
            hint(Need::new("list", "apps", "deployments", Some("shop"))),
            format!("{check} list deployments.apps -n shop").as_str()
        );
        assert_eq!(ask_for(&[]), None);
    }
}
