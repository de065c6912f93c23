//! Checks on the identities of pods.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;
use kube::core::{Selector, SelectorExt};
use regex_lite::Regex;
use serde_json::json;

use super::{Findings, Reached, Repair, of_each};
use crate::check::{Fault, Finding};
use crate::federation::examined::{Examined, Parts, SeenWorkload};
use crate::federation::observed::{ObservedCluster, SeenServer};
use crate::hint::word;
use crate::mesh::Spire;
use crate::spire::crd::ClusterSPIFFEID;
use crate::spire::server::Entry;
use crate::trust::TrustDomain;

/// How long a new pod may be without an entry, and a new identity object without a status: the controller-manager looks every ten seconds (`gcInterval`).
const SETTLING: SignedDuration = SignedDuration::from_secs(15);

pub(super) fn identity_objects(examined: &Examined) -> Findings {
    of_each(examined, |reached| {
        let (server, objects) = match (&reached.seen.server, &reached.details.identity_objects) {
            (Ok(server), Ok(objects)) => (server, objects),
            (Err(unread), _) | (_, Err(unread)) => return vec![Finding::skip(reached.scope(), &unread.why)],
        };
        objects.iter().map(|object| identity_object(&reached, server, object)).collect()
    })
}

fn identity_object(reached: &Reached<'_>, server: &SeenServer, object: &ClusterSPIFFEID) -> Finding<Repair> {
    let name = object.name_any();
    let scope = reached.object(format!("ClusterSPIFFEID {name}"));
    if !acts_on(reached, object) {
        let class = object.spec.class_name.as_deref().unwrap_or("none");
        let manager = reached.cluster.spire().and_then(|found| found.class_name()).unwrap_or("none");
        let cause =
            format!("it is ignored: its className is {class}, that of the controller-manager is {manager}");
        let patch = json!({"spec": {"className": manager}}).to_string();
        let hint =
            format!("{} patch clusterspiffeid {name} --type merge -p {}", reached.kubectl(), word(&patch));
        return Finding::warn(scope, Fault::new(cause, hint));
    }
    let missing = missing_bundles(server, object);
    let stats = object.status.clone().unwrap_or_default().stats;
    let figures = format!(
        "status.stats: podsSelected {}, entriesToSet {}, entryFailures {}, podEntryRenderFailures {}, entriesMasked {}",
        stats.pods_selected,
        stats.entries_to_set,
        stats.entry_failures,
        stats.pod_entry_render_failures,
        stats.entries_masked
    );
    if let Some(domain) = missing.first() {
        if let Some(peer) = reached.peers().find(|peer| peer.trust_domain() == domain) {
            return Finding::skip(
                scope,
                format!("bundle-stored of {}→{} comes first", reached.name(), peer.name()),
            );
        }
        let hint = format!(
            "take {domain} out of federatesWith, or add its cluster to the mesh file: {} edit clusterspiffeid {name}",
            reached.kubectl()
        );
        let cause = format!(
            "its pods get no entry at all, because the server holds no bundle of {domain}, which federatesWith names"
        );
        return Finding::fail(scope, Fault::new(cause, hint).seen(figures));
    }
    if stats.pod_entry_render_failures > 0 {
        let cause = "its spiffeIDTemplate gives no valid SPIFFE ID for some pods";
        return Finding::fail(scope, Fault::new(cause, manager_log(reached, server)).seen(figures));
    }
    if stats.entry_failures > 0 {
        return Finding::fail(
            scope,
            Fault::new("the server refuses some of its entries", manager_log(reached, server)).seen(figures),
        );
    }
    if stats.entries_masked > 0 {
        let cause = "another ClusterSPIFFEID gives some of its pods the same entry";
        return Finding::warn(
            scope,
            Fault::new(cause, format!("{} get clusterspiffeids", reached.kubectl())).seen(figures),
        );
    }
    if is_fresh(object, reached.all.at) {
        let cause = "the controller-manager has not acted on it yet: its pods have no identity from it";
        let fault = Fault::new(cause, manager_log(reached, server)).seen("it has no status");
        return Finding::fail(scope, fault.under_way());
    }
    Finding::pass(scope, figures)
}

/// Tells whether an object was made a moment ago and nobody has written its status. One that selects nothing never gets one.
fn is_fresh(object: &ClusterSPIFFEID, now: Timestamp) -> bool {
    let made = object.metadata.creation_timestamp.as_ref().map(|time| time.0);
    object.status.is_none() && made.is_some_and(|made| now.duration_since(made) < SETTLING)
}

fn manager_log(reached: &Reached<'_>, server: &SeenServer) -> String {
    let (namespace, pod) = server.pod.split_once('/').unwrap_or_default();
    format!("{} -n {namespace} logs {pod} -c spire-controller-manager", reached.kubectl())
}

/// Lists the trust domains that an object federates with and whose bundles the server does not hold.
fn missing_bundles(server: &SeenServer, object: &ClusterSPIFFEID) -> Vec<TrustDomain> {
    let named = object.spec.federates_with.iter().filter_map(|name| name.parse::<TrustDomain>().ok());
    named.filter(|domain| server.stored_bundle(domain).is_none()).collect()
}

fn acts_on(reached: &Reached<'_>, object: &ClusterSPIFFEID) -> bool {
    let manager = reached.cluster.spire().and_then(|found| found.controller_manager.as_ref());
    manager.is_none_or(|manager| manager.acts_on(object.spec.class_name.as_deref()))
}

pub(super) fn entries(examined: &Examined) -> Findings {
    of_each(examined, |reached| {
        let (Ok(server), Ok(entries), Ok(objects), Ok(workloads)) = (
            &reached.seen.server,
            &reached.details.entries,
            &reached.details.identity_objects,
            &reached.details.workloads,
        ) else {
            return vec![Finding::skip(
                reached.scope(),
                "entries, identity objects or pods could not be read",
            )];
        };
        let objects: Vec<&ClusterSPIFFEID> =
            objects.iter().filter(|object| acts_on(&reached, object)).collect();
        let mut of_pod: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
        for entry in entries {
            of_pod.entry(entry.pod_uid().unwrap_or_default()).or_default().push(entry);
        }
        let check = |workload: &SeenWorkload| {
            let entries = of_pod.get(workload.uid.as_str()).map(Vec::as_slice).unwrap_or_default();
            OfPod { workload, entries, objects: &objects, server, reached, examined }.check()
        };
        workloads.iter().map(check).collect()
    })
}

/// A pod, with what is held against it.
struct OfPod<'e> {
    workload: &'e SeenWorkload,
    entries: &'e [&'e Entry],
    objects: &'e [&'e ClusterSPIFFEID],
    server: &'e SeenServer,
    reached: Reached<'e>,
    examined: &'e Examined,
}

impl OfPod<'_> {
    fn check(&self) -> Finding<Repair> {
        let scope = self.reached.object(self.workload.object());
        match self.entries {
            [] => self.without_entry(),
            [entry] => self.with_entry(entry),
            entries => {
                let fault = self.with_many(entries);
                let seen = entries.iter().map(|entry| format!("entry {} of {}", entry.id, entry.spiffe_id));
                Finding::fail(scope, seen.fold(fault, Fault::seen))
            }
        }
    }

    fn with_many(&self, entries: &[&Entry]) -> Fault<Repair> {
        let chance = format!(
            "it has {} registration entries, so which identity it gets is a matter of chance",
            entries.len()
        );
        if self.selecting().count() > 1 {
            let objects =
                list(self.selecting().map(|object| format!("ClusterSPIFFEID {}", object.name_any())));
            let hint = format!(
                "let one of them exclude it: {} get clusterspiffeids -o yaml",
                self.reached.kubectl()
            );
            return Fault::new(format!("{chance}: {objects} select it"), hint);
        }
        let hint = format!("see who made them: {}", self.entry_show());
        Fault::new(format!("{chance}: they are not of several ClusterSPIFFEIDs"), hint)
    }

    /// Writes the command that shows the pod's entries.
    fn entry_show(&self) -> String {
        self.reached.spire_server(&format!("entry show -selector k8s:pod-uid:{}", self.workload.uid))
    }

    fn with_entry(&self, entry: &Entry) -> Finding<Repair> {
        let scope = self.reached.object(self.workload.object());
        let SeenWorkload { namespace, service_account, .. } = self.workload;
        let expected = format!("/ns/{namespace}/sa/{service_account}");
        if self.workload.parts != Parts::Volume && entry.spiffe_id.path() != expected {
            let cause = format!(
                "its identity is not the one that Istio expects: {} instead of …{expected}",
                entry.spiffe_id
            );
            let hint = match self.selecting().next() {
                Some(object) => format!(
                    "set spiffeIDTemplate as Istio expects it: {} edit clusterspiffeid {}",
                    self.reached.kubectl(),
                    object.name_any()
                ),
                None => format!("see who made the entry: {}", self.entry_show()),
            };
            return Finding::fail(scope, Fault::new(cause, hint).seen(format!("entry {}", entry.id)));
        }
        let lacks = |peer: &&ObservedCluster| !entry.federates_with.contains(peer.trust_domain());
        // Without the bundle the server refuses an entry with that peer, whatever the object says.
        let (lacking, unheld): (Vec<&ObservedCluster>, Vec<&ObservedCluster>) = self
            .reached
            .peers()
            .filter(lacks)
            .partition(|peer| self.server.stored_bundle(peer.trust_domain()).is_some());
        let lacking: Vec<String> = lacking.iter().map(|peer| peer.trust_domain().to_string()).collect();
        match (lacking.first(), unheld.first()) {
            (None, None) => return Finding::pass(scope, entry.spiffe_id.to_string()),
            (None, Some(peer)) => {
                let reason = format!("bundle-stored of {}→{} comes first", self.reached.name(), peer.name());
                return Finding::skip(scope, reason);
            }
            (Some(_), _) => {}
        }
        let fault = self.without_peers(&lacking);
        Finding::fail(scope, fault.seen(format!("entry {} of {}", entry.id, entry.spiffe_id)))
    }

    fn without_peers(&self, lacking: &[String]) -> Fault<Repair> {
        let domains = lacking.join(", ");
        let cause = format!("its entry does not federate with {domains}, so it does not get that bundle");
        let Some(object) = self.selecting().next() else {
            let hint = format!("see who made the entry: {}", self.entry_show());
            return Fault::new(format!("{cause}: it is not of a ClusterSPIFFEID"), hint);
        };
        let name = object.name_any();
        if lacking.iter().all(|domain| object.spec.federates_with.contains(domain)) {
            // So it is for some seconds where the bundle was away: the server took it out of its entries.
            let cause = format!(
                "{cause}: ClusterSPIFFEID {name} says so, and the controller-manager has not done it yet"
            );
            return Fault::new(cause, format!("look again in ten seconds, then: {}", self.manager_log()));
        }
        let hint = self.reached.next(format!(
            "add {domains} to federatesWith: {} edit clusterspiffeid {name}",
            self.reached.kubectl()
        ));
        Fault::new(format!("{cause}: ClusterSPIFFEID {name} lacks it in federatesWith"), hint)
    }

    fn manager_log(&self) -> String {
        manager_log(&self.reached, self.server)
    }

    fn without_entry(&self) -> Finding<Repair> {
        let scope = self.reached.object(self.workload.object());
        let young = self
            .workload
            .created
            .is_some_and(|created| self.examined.observed.at.duration_since(created) < SETTLING);
        if young {
            return Finding::skip(scope, "it has only just been made, and its entry may still come");
        }
        if let Some(pattern) = self.ignored_by() {
            let cause = format!(
                "it waits for an identity: the controller-manager ignores its namespace (`{pattern}` in ignoreNamespaces)"
            );
            return Finding::fail(
                scope,
                Fault::new(cause, "run it in another namespace").seen(self.no_entry()),
            );
        }
        let selecting: Vec<&ClusterSPIFFEID> = self.selecting().collect();
        if let Some(object) = selecting.iter().find(|object| !missing_bundles(self.server, object).is_empty())
        {
            return Finding::skip(
                scope,
                format!("identity-objects of ClusterSPIFFEID {} comes first", object.name_any()),
            );
        }
        if let Some(object) = selecting.first() {
            let cause = format!(
                "it waits for an identity: ClusterSPIFFEID {} selects it, and there is no entry",
                object.name_any()
            );
            return Finding::fail(scope, Fault::new(cause, self.manager_log()).seen(self.no_entry()));
        }
        let mut fault =
            Fault::new("it waits for an identity: no ClusterSPIFFEID selects it", self.label_hint());
        for object in self.objects {
            fault =
                fault.seen(format!("ClusterSPIFFEID {}: {}", object.name_any(), self.excluded_by(object)));
        }
        Finding::fail(scope, fault)
    }

    fn no_entry(&self) -> String {
        format!("`entry show` has none with the selector k8s:pod-uid:{}", self.workload.uid)
    }

    fn label_hint(&self) -> String {
        match &self.reached.cluster.cluster.spire {
            Spire::Managed(_) => format!(
                "{} -n {} label pod {} spiffe.io/spire-managed-identity=true, and the same in its controller's template",
                self.reached.kubectl(),
                self.workload.namespace,
                self.workload.name
            ),
            Spire::Existing(_) => {
                format!("let one select it: {} get clusterspiffeids -o yaml", self.reached.kubectl())
            }
        }
    }

    /// Goes through the objects that select the pod.
    fn selecting(&self) -> impl Iterator<Item = &ClusterSPIFFEID> {
        self.objects.iter().copied().filter(|object| {
            matches(object.spec.pod_selector.as_ref(), &self.workload.labels)
                && matches(object.spec.namespace_selector.as_ref(), &self.workload.namespace_labels)
        })
    }

    fn excluded_by(&self, object: &ClusterSPIFFEID) -> String {
        if matches(object.spec.pod_selector.as_ref(), &self.workload.labels) {
            return format!("its namespaceSelector excludes namespace {}", self.workload.namespace);
        }
        let selector =
            object.spec.pod_selector.clone().and_then(|selector| Selector::try_from(selector).ok());
        format!(
            "its podSelector excludes the pod: {}",
            selector.map(|selector| selector.to_string()).unwrap_or_default()
        )
    }

    fn ignored_by(&self) -> Option<&str> {
        let manager = self.reached.cluster.spire()?.controller_manager.as_ref()?;
        let ignores = |pattern: &&String| {
            Regex::new(pattern).is_ok_and(|regex| regex.is_match(&self.workload.namespace))
        };
        manager.ignore_namespaces.iter().find(ignores).map(String::as_str)
    }
}

fn list(names: impl Iterator<Item = String>) -> String {
    let names: BTreeSet<String> = names.collect();
    names.into_iter().collect::<Vec<_>>().join(" and ")
}

/// Tells whether a selector accepts labels; none accepts all.
fn matches(selector: Option<&LabelSelector>, labels: &BTreeMap<String, String>) -> bool {
    selector.is_none_or(|selector| {
        Selector::try_from(selector.clone()).is_ok_and(|selector| selector.matches(labels))
    })
}

pub(super) fn on_spire(examined: &Examined) -> Findings {
    of_each(examined, |reached| {
        let workloads = match &reached.details.workloads {
            Ok(workloads) => workloads,
            Err(unread) => return vec![Finding::skip(reached.scope(), &unread.why)],
        };
        let check = |workload: &SeenWorkload| {
            let scope = reached.object(workload.object());
            match workload.parts {
                Parts::Volume => None,
                Parts::ProxyAndVolume => Some(Finding::pass(scope, "its proxy mounts the SPIFFE CSI driver")),
                Parts::Proxy => {
                    let cause = "its proxy does not mount the SPIFFE CSI driver, so its certificate comes from istiod";
                    let hint = format!(
                        "inject it with SPIRE's template, and make it again: {} -n {} delete pod {}",
                        reached.kubectl(),
                        workload.namespace,
                        workload.name
                    );
                    let seen = "it has a container istio-proxy, and no volume of csi.spiffe.io";
                    Some(Finding::fail(scope, Fault::new(cause, hint).seen(seen)))
                }
            }
        };
        workloads.iter().filter_map(check).collect()
    })
}
