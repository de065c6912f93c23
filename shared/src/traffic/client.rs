//! Which pod sends requests.

use std::fmt;
use std::str::FromStr;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use super::error::TrafficError;
use super::ingress::Ingress;
use super::report::Sender;
use crate::envoy::{CONTAINER, Proxy};
use crate::fleet::{ExecTarget, Member, Need};
use crate::istio::NAMESPACE;
use crate::istio::demo::Demo;
use crate::manifest::pod_is_ready;
use crate::report::one_line;
use crate::workload::WorkloadRef;

/// The longest name of a cluster or context.
const LONGEST_CLUSTER: usize = 500;
/// The annotation that names the container that kubectl takes, too.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// Who shall send requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Senders {
    /// `sleep` in the first cluster.
    #[default]
    First,
    /// `sleep` in every cluster.
    All,
    /// The curl of this machine, which has to be able to reach what is asked.
    Here,
    /// A workload in one cluster.
    One {
        /// Name of the cluster.
        cluster: String,
        /// Namespace and name of the workload; `sleep` without it.
        workload: Option<(String, String)>,
    },
}

impl FromStr for Senders {
    type Err = TrafficError;

    /// Parses `all`, `here`, `CLUSTER` or `CLUSTER/NAMESPACE/WORKLOAD`, the last also with its kind: `deploy/sleep`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_no_letter = |c: char| c.is_control() || c.is_whitespace();
        let refuse = || TrafficError::From(one_line(&text.chars().take(100).collect::<String>()));
        let is_context = |name: &str| {
            (1..=LONGEST_CLUSTER).contains(&name.len())
                && !name.contains(is_no_letter)
                && !name.starts_with('-')
        };
        match text {
            "all" => return Ok(Self::All),
            "here" => return Ok(Self::Here),
            _ => {}
        }
        match text.parse::<WorkloadRef>() {
            Ok(WorkloadRef { place: Some((cluster, namespace)), name }) if is_context(&cluster) => {
                Ok(Self::One { cluster, workload: Some((namespace, name.name)) })
            }
            // The name of a context alone may have slashes behind a colon, as an ARN has.
            _ if is_context(text) && (!text.contains('/') || text.contains(':')) => {
                Ok(Self::One { cluster: text.to_owned(), workload: None })
            }
            _ => Err(refuse()),
        }
    }
}

/// Returns the members that send, each with namespace and name of the workload that does.
///
/// # Errors
/// [`TrafficError::NoCluster`].
pub fn senders<'m>(
    members: &'m [Member],
    from: &Senders,
) -> Result<Vec<(&'m Member, String, String)>, TrafficError> {
    let sleep = || (Demo::Sleep.name().to_owned(), Demo::Sleep.name().to_owned());
    let with = |member: &'m Member, workload: Option<(String, String)>| {
        let (namespace, name) = workload.unwrap_or_else(sleep);
        (member, namespace, name)
    };
    match from {
        // The cluster is only that from which the mesh is looked at.
        Senders::First | Senders::Here => {
            Ok(members.iter().take(1).map(|member| with(member, None)).collect())
        }
        Senders::All => Ok(members.iter().map(|member| with(member, None)).collect()),
        Senders::One { cluster, workload } => {
            let member = Member::named(members, cluster).ok_or_else(|| TrafficError::NoCluster {
                name: cluster.clone(),
                known: members.iter().map(|member| member.name().to_owned()).collect(),
            })?;
            Ok(vec![with(member, workload.clone())])
        }
    }
}

/// A pod that sends requests.
#[derive(Clone, Debug)]
pub struct Client<'m> {
    /// Its cluster.
    pub member: &'m Member,
    /// Its container with curl.
    pub target: ExecTarget,
    /// Whether it has a sidecar.
    pub has_sidecar: bool,
    /// The gateway that it sends its requests to, where it does not send them to the service itself.
    pub via: Option<Ingress<'m>>,
    /// Whether it is no pod, but this machine.
    pub is_here: bool,
}

impl<'m> Client<'m> {
    /// Finds a ready pod of a workload, by the workload's name, the label `app`, or the pod's own name.
    ///
    /// # Errors
    /// [`TrafficError`] when there is none, or pods cannot be listed.
    pub async fn find(member: &'m Member, namespace: &str, workload: &str) -> Result<Self, TrafficError> {
        let pods: Api<Pod> = Api::namespaced(member.client().clone(), namespace);
        let list = pods.list(&ListParams::default()).await.map_err(|error| {
            TrafficError::request(member.name(), Need::new("list", "", "pods", Some(namespace)), error)
        })?;
        let mut pods: Vec<&Pod> =
            list.items.iter().filter(|pod| pod_is_ready(pod) && is_of(pod, workload)).collect();
        pods.sort_by_key(|pod| pod.name_any());
        let pod = pods.first().ok_or_else(|| TrafficError::NoClient {
            cluster: member.name().to_owned(),
            context: member.cluster.context.clone(),
            namespace: namespace.to_owned(),
            workload: workload.to_owned(),
        })?;
        let target = ExecTarget {
            namespace: namespace.to_owned(),
            pod: pod.name_any(),
            container: container(pod).unwrap_or_default(),
        };
        Ok(Self { member, target, has_sidecar: has_sidecar(pod), via: None, is_here: false })
    }

    /// Makes this machine the client. `member` is the cluster from which the mesh is looked at, and `namespace` the one in which short names
    /// of services are looked for.
    #[must_use]
    pub fn here(member: &'m Member, namespace: &str) -> Self {
        let (pod, container) = Default::default();
        let target = ExecTarget { namespace: namespace.to_owned(), pod, container };
        Self { member, target, has_sidecar: false, via: None, is_here: true }
    }

    /// Returns the cluster from which the service is seen: that of the gateway where there is one between.
    #[must_use]
    pub fn viewpoint(&self) -> &'m Member {
        self.via.as_ref().map_or(self.member, |via| via.member)
    }

    /// Returns the proxy that chooses who answers: the gateway's where there is one between, else the pod's own; `None` where it has none.
    #[must_use]
    pub fn proxy(&self) -> Option<Proxy<'m>> {
        if let Some(via) = &self.via {
            return Some(Proxy::of_pod(via.member, NAMESPACE, &via.pod));
        }
        self.has_sidecar.then(|| Proxy::of_pod(self.member, &self.target.namespace, &self.target.pod))
    }

    /// Returns who this is, for reports.
    #[must_use]
    pub fn sender(&self) -> Sender {
        if self.is_here {
            let (namespace, pod) = Default::default();
            return Sender { cluster: "here".to_owned(), namespace, pod };
        }
        Sender {
            cluster: self.member.name().to_owned(),
            namespace: self.target.namespace.clone(),
            pod: self.target.pod.clone(),
        }
    }
}

impl fmt::Display for Client<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sender().fmt(f)
    }
}

fn has_sidecar(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    spec.containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
        .any(|container| container.name == CONTAINER)
}

fn is_of(pod: &Pod, workload: &str) -> bool {
    pod.name_any() == workload
        || super::service::workload(pod) == workload
        || pod.labels().get("app").is_some_and(|app| app == workload)
}

/// Returns the container that commands run in: the one that kubectl would take, else the first that is no sidecar.
fn container(pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let named = pod.annotations().get(DEFAULT_CONTAINER);
    let named = named.filter(|name| spec.containers.iter().any(|container| container.name == **name));
    let first = || spec.containers.iter().map(|container| &container.name).find(|name| *name != CONTAINER);
    named.or_else(first).cloned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fleet::fake::FakeServer;

    fn from(text: &str) -> Option<Senders> {
        text.parse().ok()
    }

    #[test]
    fn senders_are_a_cluster_a_workload_or_all() {
        assert_eq!(from("all"), Some(Senders::All));
        assert_eq!(from("here"), Some(Senders::Here));
        assert_eq!(from("foo"), Some(Senders::One { cluster: "foo".to_owned(), workload: None }));
        let workload = Some(("shop".to_owned(), "cart".to_owned()));
        assert_eq!(from("foo/shop/cart"), Some(Senders::One { cluster: "foo".to_owned(), workload }));
        for cluster in ["foo", "arn:aws:eks:eu-central-1:111122223333:cluster/foo", "kind-Foo"] {
            let cluster = cluster.to_owned();
            assert_eq!(from(&cluster), Some(Senders::One { cluster: cluster.clone(), workload: None }));
            let workload = Some(("sleep".to_owned(), "sleep".to_owned()));
            let one = Senders::One { cluster: cluster.clone(), workload };
            for rest in ["sleep/sleep", "sleep/deploy/sleep", "sleep/deployments.apps/sleep"] {
                assert_eq!(from(&format!("{cluster}/{rest}")).as_ref(), Some(&one), "{rest}");
            }
        }
        for text in ["", "/", "foo/bar", "a/b/c/d", "-x", "x y", "foo//x", "foo/shop/service/cart"] {
            assert_eq!(from(text), None, "{text}");
        }
    }

    fn pod(value: serde_json::Value) -> Pod {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_container_is_the_one_that_kubectl_takes_and_never_the_sidecar() {
        let of = |annotation: &str| {
            container(&pod(json!({
                "metadata": {"name": "p", "annotations": {DEFAULT_CONTAINER: annotation}},
                "spec": {"containers": [{"name": "istio-proxy"}, {"name": "a"}, {"name": "b"}]},
            })))
        };
        assert_eq!(of("b").as_deref(), Some("b"));
        assert_eq!(of("gone").as_deref(), Some("a"));
    }

    #[test]
    fn a_sidecar_may_be_an_init_container() {
        let native =
            json!({"spec": {"containers": [{"name": "a"}], "initContainers": [{"name": "istio-proxy"}]}});
        assert!(has_sidecar(&pod(native)));
        assert!(!has_sidecar(&pod(json!({"spec": {"containers": [{"name": "a"}]}}))));
    }

    #[test]
    fn names_of_senders_have_an_end() {
        assert!(from(&"a".repeat(500)).is_some() && from(&"a".repeat(501)).is_none());
        assert!(from(&format!("a/b/{}", "c".repeat(253))).is_some());
        assert!(from(&format!("a/b/{}", "c".repeat(254))).is_none());
        assert!(from("a-1.b/c/d").is_some() && from("a/b_c/d").is_none());
    }

    #[tokio::test]
    async fn senders_are_the_members_that_were_named() {
        let members = ["foo", "bar", "baz"].map(|name| FakeServer::default().member(name));
        let of = |from: &Senders| {
            let found = senders(&members, from).unwrap();
            found
                .into_iter()
                .map(|(member, namespace, name)| format!("{}/{namespace}/{name}", member.name()))
                .collect::<Vec<_>>()
        };
        assert_eq!(of(&Senders::First), ["foo/sleep/sleep"]);
        assert_eq!(of(&Senders::Here), ["foo/sleep/sleep"]);
        assert_eq!(of(&Senders::All), ["foo/sleep/sleep", "bar/sleep/sleep", "baz/sleep/sleep"]);
        assert_eq!(of(&"baz".parse().unwrap()), ["baz/sleep/sleep"]);
        assert_eq!(of(&"baz/shop/cart".parse().unwrap()), ["baz/shop/cart"]);
        let error = senders(&members, &"qux".parse().unwrap()).unwrap_err();
        insta::assert_snapshot!(error.to_string(), @"cluster `qux` is not in the mesh file; there is foo, bar, baz");
    }

    fn member_pod(labels: &serde_json::Value, ready: &str) -> serde_json::Value {
        json!({
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "app"}, {"name": "istio-proxy"}]},
            "status": {"conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": ready}]},
        })
    }

    #[tokio::test]
    async fn the_client_is_the_first_pod_of_the_workload_that_is_ready() {
        let server = FakeServer::default();
        let put = |name: &str, pod: serde_json::Value| {
            server.put(&format!("/api/v1/namespaces/shop/pods/{name}"), pod);
        };
        let app = || json!({"app": "cart"});
        put("a-other", member_pod(&json!({"app": "other"}), "True"));
        put("b-waits", member_pod(&app(), "False"));
        let mut ends = member_pod(&app(), "True");
        ends["metadata"]["deletionTimestamp"] = json!("2026-11-25T10:00:00Z");
        put("c-ends", ends);
        put("d-cart", member_pod(&app(), "True"));
        put("e-cart", member_pod(&app(), "True"));
        let member = server.member("baz");
        let found = |workload: &'static str| {
            let member = &member;
            async move {
                Client::find(member, "shop", workload)
                    .await
                    .map(|client| client.target.pod)
                    .map_err(|error| error.to_string())
            }
        };
        assert_eq!(found("cart").await.unwrap(), "d-cart");
        assert_eq!(found("e-cart").await.unwrap(), "e-cart");
        insta::assert_snapshot!(found("gone").await.unwrap_err(), @"no pod of shop/gone in baz is ready to send requests");
        assert!(found("b-waits").await.is_err() && found("c-ends").await.is_err());
        let client = Client::find(&member, "shop", "cart").await.unwrap();
        assert_eq!(
            (client.target.container.as_str(), client.has_sidecar, client.is_here),
            ("app", true, false)
        );
        assert_eq!(client.to_string(), "baz/shop/d-cart");
        assert!(
            client.proxy().is_some() && Client { has_sidecar: false, ..client.clone() }.proxy().is_none()
        );
        let gateway = FakeServer::default().member("foo");
        let via =
            Ingress { member: &gateway, pod: "ingress-1".to_owned(), host: "10.0.0.1".to_owned(), port: 80 };
        let through = Client { via: Some(via), has_sidecar: false, ..client.clone() };
        assert_eq!((through.viewpoint().name(), client.viewpoint().name()), ("foo", "baz"));
        assert!(through.proxy().is_some());
    }

    #[tokio::test]
    async fn this_machine_is_called_here() {
        let member = FakeServer::default().member("baz");
        let here = Client::here(&member, "shop");
        assert_eq!(
            (here.to_string().as_str(), here.is_here, here.target.namespace.as_str()),
            ("here", true, "shop")
        );
        assert!(here.proxy().is_none());
    }
}
