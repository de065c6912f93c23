//! A failover before it happens: which workload goes away, whether it may, and whether anybody can take over.

use std::collections::BTreeMap;
use std::str::FromStr;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use serde_json::Value;

use super::ask::Known;
use super::client::Client;
use super::error::TrafficError;
use super::explain::Evidence;
use super::followed::{self, followed};
use super::request::Request;
use super::restore::RECORD;
use crate::fleet::{Member, Need, list_pages};
use crate::hint::Plugin;
use crate::istio::NAMESPACE;
use crate::path::ServiceName;
use crate::workload::{WorkloadKind, WorkloadName, WorkloadRef};

/// Labels and annotations of those who would scale the workload back at once, or see that it differs from what they hold.
const KEEPERS: [(&str, &str); 6] = [
    ("argocd.argoproj.io/", "Argo CD"),
    ("kustomize.toolkit.fluxcd.io/", "Flux"),
    ("helm.toolkit.fluxcd.io/", "Flux"),
    ("fleet.cattle.io/", "Fleet"),
    ("configmanagement.gke.io/", "Config Sync"),
    ("objectset.rio.cattle.io/", "Fleet"),
];

/// Which workload is to go away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Victim {
    /// The one behind the service in the client's cluster.
    #[default]
    Nearest,
    /// One of these behind the service in the client's cluster.
    Named(String),
    /// One in another cluster.
    In {
        /// Name of the cluster.
        cluster: String,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

impl FromStr for Victim {
    type Err = TrafficError;

    /// Parses `NAME` or `CLUSTER/NAMESPACE/NAME`; nothing for the nearest.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Ok(Self::Nearest);
        }
        let refuse =
            || TrafficError::Victim(crate::report::one_line(&text.chars().take(100).collect::<String>()));
        let WorkloadRef { place, name: WorkloadName { kind, name } } = text.parse().map_err(|_| refuse())?;
        // Only a Deployment is scaled.
        if kind.is_some_and(|kind| kind != WorkloadKind::Deployment) {
            return Err(refuse());
        }
        Ok(match place {
            None => Self::Named(name),
            Some((cluster, namespace)) => Self::In { cluster, namespace, name },
        })
    }
}

/// A failover before it happens.
#[derive(Clone, Debug)]
pub struct Prepared<'m> {
    /// The cluster of the workload.
    pub member: &'m Member,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// How many pods it has.
    pub replicas: i32,
    /// What it was read at: it is scaled only as long as it is the same.
    pub(super) resource_version: String,
    /// Why it must not be touched without being told to: somebody else looks after it.
    pub refusals: Vec<String>,
    /// Why it cannot work.
    pub obstacles: Vec<String>,
    /// Why it may not work as well as it could.
    pub warnings: Vec<String>,
}

impl Prepared<'_> {
    /// Returns who goes away, for people.
    #[must_use]
    pub fn workload(&self) -> String {
        format!("{}/{}/{}", self.member.name(), self.namespace, self.name)
    }
}

/// Finds the workload, and finds out whether a failover may and can happen. Changes nothing.
///
/// # Errors
/// [`TrafficError`] when there is no such workload, or it cannot be read.
pub async fn prepare<'m>(
    client: &Client<'_>,
    known: &Known,
    request: &Request,
    members: &'m [Member],
    victim: &Victim,
) -> Result<Prepared<'m>, TrafficError> {
    let service = known.service.as_ref().ok_or_else(|| {
        TrafficError::NoFailover("the host of the URL is no service of the mesh".to_owned())
    })?;
    let (cluster, namespace, name) = find(client, known, service, victim)?;
    let member = Member::named(members, &cluster).ok_or_else(|| TrafficError::NoCluster {
        name: cluster.clone(),
        known: members.iter().map(|member| member.name().to_owned()).collect(),
    })?;
    let api: Api<Deployment> = Api::namespaced(member.client().clone(), &namespace);
    let deployment = api.get(&name).await.map_err(|error| {
        TrafficError::request(member.name(), Need::new("get", "apps", "deployments", Some(&namespace)), error)
    })?;
    let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let mut refusals = keepers(&deployment);
    refusals.extend(scalers(member, &namespace, &name).await);
    let mut obstacles = Vec::new();
    if deployment.annotations().contains_key(RECORD) {
        let restore = Plugin::XclusterCurl.command(["restore"]);
        obstacles.push(format!("a failover of it was interrupted before: {restore}"));
    } else if replicas < 1 {
        obstacles.push("it has no pods that could go away".to_owned());
    }
    let counted = known
        .hosts
        .as_ref()
        .map(|hosts| super::attribution::counted(hosts, hosts, &known.places, &known.gateways));
    if let Some(path) = followed(client, request, members).await {
        obstacles.extend(followed::obstacles(&path, &cluster));
    } else {
        let evidence = known.evidence(client, members, counted.as_ref()).await;
        obstacles.extend(no_way(&cluster, &evidence));
    }
    let mut warnings = Vec::new();
    match rules(client.member, service).await {
        Ok(rules) => judge_rules(&rules, &mut obstacles, &mut warnings),
        Err(why) => warnings.push(format!("the DestinationRules are not known: {why}")),
    }
    Ok(Prepared {
        member,
        namespace,
        name,
        replicas,
        resource_version: deployment.resource_version().unwrap_or_default(),
        refusals,
        obstacles,
        warnings,
    })
}

fn find(
    client: &Client<'_>,
    known: &Known,
    service: &ServiceName,
    victim: &Victim,
) -> Result<(String, String, String), TrafficError> {
    let here = client.viewpoint().name();
    let mut names: Vec<&str> = known
        .places
        .iter()
        .filter(|place| place.cluster == here)
        .map(|place| place.workload.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    let found = |name: &str| (here.to_owned(), service.namespace.clone(), name.to_owned());
    match (victim, names.as_slice()) {
        (Victim::In { cluster, namespace, name }, _) => {
            Ok((cluster.clone(), namespace.clone(), name.clone()))
        }
        (Victim::Named(name), names) if names.contains(&name.as_str()) => Ok(found(name)),
        (Victim::Named(name), names) => Err(TrafficError::NoFailover(format!(
            "no pod of {name} is behind {} in {here}; there is {}",
            service.host(),
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        ))),
        (Victim::Nearest, [name]) => Ok(found(name)),
        (Victim::Nearest, []) => Err(TrafficError::NoFailover(format!(
            "no pod is behind {} in {here}: nothing could go away",
            service.host()
        ))),
        (Victim::Nearest, names) => Err(TrafficError::NoFailover(format!(
            "several workloads are behind {} in {here}: name one of {}",
            service.host(),
            names.join(", ")
        ))),
    }
}

/// Says who else looks after a workload, by its labels and annotations.
fn keepers(deployment: &Deployment) -> Vec<String> {
    let keys = deployment.labels().keys().chain(deployment.annotations().keys());
    let mut found: Vec<String> = keys
        .filter_map(|key| KEEPERS.iter().find(|(prefix, _)| key.starts_with(prefix)))
        .map(|(_, keeper)| format!("{keeper} looks after it, and would scale it back"))
        .collect();
    found.sort();
    found.dedup();
    found
}

/// Says which autoscalers scale a workload. Where they cannot be listed there may be some.
async fn scalers(member: &Member, namespace: &str, name: &str) -> Vec<String> {
    let api: Api<HorizontalPodAutoscaler> = Api::namespaced(member.client().clone(), namespace);
    match api.list(&ListParams::default()).await {
        Ok(list) => list
            .items
            .iter()
            .filter(|scaler| {
                scaler.spec.as_ref().is_some_and(|spec| {
                    spec.scale_target_ref.kind == "Deployment" && spec.scale_target_ref.name == name
                })
            })
            .map(|scaler| format!("HorizontalPodAutoscaler {} scales it", scaler.name_any()))
            .collect(),
        Err(_) => vec!["it cannot be found out whether a HorizontalPodAutoscaler scales it".to_owned()],
    }
}

/// Says why nobody else could answer.
fn no_way(cluster: &str, evidence: &Evidence) -> Vec<String> {
    let others: BTreeMap<&String, &String> =
        evidence.ready.iter().filter(|(name, _)| *name != cluster).collect();
    if others.is_empty() {
        return vec!["no pod of the service is ready in another cluster: nobody could take over".to_owned()];
    }
    let mut found = Vec::new();
    if let Some(hosts) = &evidence.hosts
        && !others
            .keys()
            .any(|name| hosts.keys().any(|host| host.split(" or ").any(|host| host == name.as_str())))
    {
        found.push(
            "the client's sidecar knows no endpoint in another cluster (check istiod-synced)".to_owned(),
        );
    }
    let all = |domains: &Option<std::collections::BTreeSet<String>>| {
        domains.as_ref().is_some_and(|domains| others.values().all(|domain| domains.contains(*domain)))
    };
    if all(&evidence.without_bundle) {
        found.push(
            "the client's sidecar has no trust bundle of the other clusters (check proxy-bundles)".to_owned(),
        );
    }
    if all(&evidence.not_expected) {
        found.push("the client's sidecar accepts no identity of the other clusters from this service (check endpoint-identities)".to_owned());
    }
    if others.keys().all(|name| evidence.plaintext_only.contains(*name)) {
        found.push("the pods in the other clusters take no mutual TLS, and nothing else comes through gateways (check mutual-tls)".to_owned());
    }
    if others.keys().all(|name| evidence.not_admitted.contains(*name)) {
        found.push(
            "the sidecars in the other clusters do not let the client in (check proxy-admits)".to_owned(),
        );
    }
    found
}

/// Reads the `DestinationRule`s for a service that the client's sidecar may follow.
async fn rules(member: &Member, service: &ServiceName) -> Result<Vec<Value>, String> {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("networking.istio.io", "v1", "DestinationRule"));
    let api: Api<DynamicObject> = Api::all_with(member.client().clone(), &kind);
    let of_service = |object: DynamicObject| {
        let namespace = object.namespace().unwrap_or_default();
        let host = object.data.pointer("/spec/host").and_then(Value::as_str).unwrap_or_default();
        let is_near = namespace == service.namespace || namespace == NAMESPACE;
        let is_its = is_near && ServiceName::of_host(host, &namespace).as_ref() == Some(service);
        is_its.then_some(object.data)
    };
    list_pages(&api, &ListParams::default(), of_service).await.map_err(|error| error.to_string())
}

/// Says what the rules for a service mean for a failover.
fn judge_rules(rules: &[Value], obstacles: &mut Vec<String>, warnings: &mut Vec<String>) {
    let has = |path: &str| rules.iter().any(|rule| rule.pointer(path).is_some());
    if !has("/spec/trafficPolicy/outlierDetection") {
        warnings.push(
            "no DestinationRule of the service has outlierDetection: requests fail for as long as istiod needs to take endpoints away, and where \
             pods hang instead of ending nobody takes over"
                .to_owned(),
        );
    }
    if has("/spec/trafficPolicy/loadBalancer/localityLbSetting/distribute") {
        warnings.push(
            "localityLbSetting.distribute of its DestinationRule says where requests go: another cluster answers only where it is named there"
                .to_owned(),
        );
    }
    let mode = |rule: &Value| {
        rule.pointer("/spec/trafficPolicy/tls/mode").and_then(Value::as_str).map(str::to_owned)
    };
    if rules.iter().filter_map(mode).any(|mode| mode == "DISABLE") {
        obstacles.push(
            "its DestinationRule switches mutual TLS off (tls.mode DISABLE), and nothing else comes through the gateways of other networks"
                .to_owned(),
        );
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fleet::fake::FakeServer;

    #[test]
    fn a_workload_is_named_alone_or_with_its_cluster() {
        assert_eq!("".parse::<Victim>().unwrap(), Victim::Nearest);
        assert_eq!("helloworld-v1".parse::<Victim>().unwrap(), Victim::Named("helloworld-v1".to_owned()));
        let full =
            Victim::In { cluster: "bar".to_owned(), namespace: "shop".to_owned(), name: "cart".to_owned() };
        assert_eq!("bar/shop/cart".parse::<Victim>().unwrap(), full);
        assert_eq!("bar/shop/deploy/cart".parse::<Victim>().unwrap(), full);
        for text in ["a/b", "/", "A", "-x y", "bar/shop/sts/cart"] {
            assert!(text.parse::<Victim>().is_err(), "{text}");
        }
    }

    #[test]
    fn whoever_else_looks_after_a_workload_is_named() {
        let of = |labels: Value, annotations: Value| {
            let json = json!({"metadata": {"name": "a", "labels": labels, "annotations": annotations}});
            keepers(&serde_json::from_value(json).unwrap())
        };
        assert_eq!(of(json!({"app": "a"}), json!({"deployment.kubernetes.io/revision": "1"})), [""; 0]);
        let argo =
            of(json!({"argocd.argoproj.io/instance": "x"}), json!({"argocd.argoproj.io/tracking-id": "x"}));
        assert_eq!(argo, ["Argo CD looks after it, and would scale it back"]);
        let flux = of(json!({"kustomize.toolkit.fluxcd.io/name": "x"}), json!({}));
        assert_eq!(flux, ["Flux looks after it, and would scale it back"]);
    }

    fn evidence() -> Evidence {
        Evidence {
            ready: [("foo".to_owned(), "foo.com".to_owned()), ("bar".to_owned(), "bar.com".to_owned())]
                .into(),
            hosts: Some([("foo".to_owned(), 1), ("bar or baz".to_owned(), 1)].into()),
            ..Evidence::default()
        }
    }

    #[test]
    fn a_failover_that_cannot_work_is_said_beforehand() {
        assert_eq!(no_way("foo", &evidence()), [""; 0]);
        let alone = Evidence { ready: [("foo".to_owned(), "foo.com".to_owned())].into(), ..evidence() };
        insta::assert_snapshot!(no_way("foo", &alone).join("\n"), @"no pod of the service is ready in another cluster: nobody could take over");
        let unknown = Evidence { hosts: Some([("foo".to_owned(), 1)].into()), ..evidence() };
        insta::assert_snapshot!(no_way("foo", &unknown).join("\n"), @"the client's sidecar knows no endpoint in another cluster (check istiod-synced)");
        let set = Some(["bar.com".to_owned()].into());
        let broken = Evidence {
            without_bundle: set.clone(),
            not_expected: set,
            plaintext_only: ["bar".to_owned()].into(),
            not_admitted: ["bar".to_owned()].into(),
            ..evidence()
        };
        assert_eq!(no_way("foo", &broken).len(), 4);
    }

    #[test]
    fn rules_without_outlier_detection_or_mutual_tls_are_mentioned() {
        let judged = |rules: &[Value]| {
            let (mut obstacles, mut warnings) = (Vec::new(), Vec::new());
            judge_rules(rules, &mut obstacles, &mut warnings);
            (obstacles.len(), warnings.len())
        };
        let good = json!({"spec": {"trafficPolicy": {"outlierDetection": {}}}});
        assert_eq!(judged(&[good]), (0, 0));
        assert_eq!(judged(&[]), (0, 1));
        let bad = json!({"spec": {"trafficPolicy": {"tls": {"mode": "DISABLE"}, "loadBalancer": {"localityLbSetting": {"distribute": []}}}}});
        assert_eq!(judged(&[bad]), (1, 2));
    }

    #[test]
    fn every_part_of_a_name_is_one() {
        assert!("a".repeat(253).parse::<Victim>().is_ok() && "a".repeat(254).parse::<Victim>().is_err());
        for text in ["a/b/", "a//c", "a/b/C", "a/b/c/d", "a b"] {
            assert!(text.parse::<Victim>().is_err(), "{text}");
        }
        assert!("a-1.b".parse::<Victim>().is_ok());
    }

    #[test]
    fn what_keeps_only_some_of_the_other_clusters_keeps_nobody_from_taking_over() {
        let three = || Evidence {
            ready: ["foo", "bar", "baz"].map(|name| (name.to_owned(), format!("{name}.com"))).into(),
            ..evidence()
        };
        let domains = |names: &[&str]| Some(names.iter().map(|name| format!("{name}.com")).collect());
        let clusters = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let said = |change: fn(
            &mut Evidence,
            std::collections::BTreeSet<String>,
            Option<std::collections::BTreeSet<String>>,
        ),
                    names: &[&str]| {
            let mut evidence = three();
            change(&mut evidence, clusters(names), domains(names));
            no_way("foo", &evidence)
        };
        let changes: [fn(&mut Evidence, _, _); 4] = [
            |evidence, _, domains| evidence.without_bundle = domains,
            |evidence, _, domains| evidence.not_expected = domains,
            |evidence, clusters, _| evidence.plaintext_only = clusters,
            |evidence, clusters, _| evidence.not_admitted = clusters,
        ];
        for change in changes {
            assert_eq!(said(change, &["foo", "bar"]), [""; 0], "baz can take over");
            assert_eq!(said(change, &["bar", "baz"]).len(), 1);
        }
        let unknown = Evidence { hosts: None, ..three() };
        assert_eq!(no_way("foo", &unknown), [""; 0]);
        assert_eq!(
            no_way("foo", &Evidence { hosts: Some([("unknown".to_owned(), 3)].into()), ..three() }).len(),
            1
        );
    }

    fn place(cluster: &str, workload: &str) -> super::super::attribution::Place {
        super::super::attribution::Place {
            cluster: cluster.to_owned(),
            namespace: "shop".to_owned(),
            pod: format!("{workload}-1"),
            workload: workload.to_owned(),
            version: None,
            addresses: Vec::new(),
        }
    }

    #[tokio::test]
    async fn the_workload_that_goes_away_is_the_only_one_here_or_the_one_that_was_named() {
        let member = FakeServer::default().member("foo");
        let client = Client::here(&member, "shop");
        let service = ServiceName { namespace: "shop".to_owned(), name: "cart".to_owned() };
        let of = |here: &[&str], victim: &str| {
            let mut places = super::super::attribution::Places::default();
            places.learn(here.iter().map(|workload| place("foo", workload)).chain([place("bar", "cart-v9")]));
            let known = Known {
                service: Some(service.clone()),
                behind: super::super::service::Behind::default(),
                places,
                gateways: super::super::attribution::Gateways::default(),
                hosts: None,
                remarks: Vec::new(),
            };
            let found = find(&client, &known, &service, &victim.parse().unwrap());
            found.map_or_else(
                |error| error.to_string(),
                |(cluster, namespace, name)| format!("{cluster}/{namespace}/{name}"),
            )
        };
        assert_eq!(of(&["cart-v1"], ""), "foo/shop/cart-v1");
        assert_eq!(of(&["cart-v2", "cart-v1"], "cart-v2"), "foo/shop/cart-v2");
        assert_eq!(of(&[], "baz/a/b"), "baz/a/b");
        insta::assert_snapshot!(of(&["cart-v2", "cart-v1"], ""), @"several workloads are behind cart.shop.svc.cluster.local in foo: name one of cart-v1, cart-v2");
        insta::assert_snapshot!(of(&[], ""), @"no pod is behind cart.shop.svc.cluster.local in foo: nothing could go away");
        insta::assert_snapshot!(of(&["cart-v2", "cart-v1"], "cart-v9"), @"no pod of cart-v9 is behind cart.shop.svc.cluster.local in foo; there is cart-v1, cart-v2");
        insta::assert_snapshot!(of(&[], "cart-v1"), @"no pod of cart-v1 is behind cart.shop.svc.cluster.local in foo; there is none");
    }

    #[tokio::test]
    async fn autoscalers_of_the_workload_are_named() {
        let server = FakeServer::default();
        let put = |name: &str, kind: &str, target: &str| {
            let path = format!("/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers/{name}");
            server.put(
                &path,
                json!({"spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": kind, "name": target}}}),
            );
        };
        put("other", "Deployment", "other");
        put("set", "StatefulSet", "cart");
        put("cart-hpa", "Deployment", "cart");
        let member = server.member("baz");
        assert_eq!(scalers(&member, "shop", "cart").await, ["HorizontalPodAutoscaler cart-hpa scales it"]);
        server.refuse("/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers", 403);
        assert_eq!(
            scalers(&member, "shop", "cart").await,
            ["it cannot be found out whether a HorizontalPodAutoscaler scales it"]
        );
    }

    #[tokio::test]
    async fn rules_of_the_service_are_those_near_it() {
        let server = FakeServer::default();
        let put = |namespace: &str, name: &str, host: &str| {
            let path = format!("/apis/networking.istio.io/v1/namespaces/{namespace}/destinationrules/{name}");
            server.put(&path, json!({"spec": {"host": host, "of": name}}));
        };
        put("shop", "short", "cart");
        put("shop", "other", "db");
        put("istio-system", "of-mesh", "cart.shop.svc.cluster.local");
        put("istio-system", "of-another", "cart");
        put("elsewhere", "far", "cart.shop.svc.cluster.local");
        let service = ServiceName { namespace: "shop".to_owned(), name: "cart".to_owned() };
        let found = rules(&server.member("baz"), &service).await.unwrap();
        let names: Vec<_> = found.iter().map(|rule| rule["spec"]["of"].as_str().unwrap()).collect();
        assert_eq!(names, ["of-mesh", "short"]);
    }
}
