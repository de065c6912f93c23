//! The kinds of objects that these plugins know: the one place that says how each is addressed and when it is applied.

use std::fmt;

use kube::api::{Api, DynamicObject};
use kube::core::{ApiResource, GroupVersionKind};
use serde::{Serialize, Serializer};

use super::tool::Tool;

/// When a kind is applied; deleting goes the other way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wave {
    Namespaces,
    Definitions,
    /// What workloads need to start.
    Settings,
    /// What another controller makes settings of. Deleted before these, or it would make them again.
    Orders,
    Workloads,
    /// Webhooks refuse objects until their workload answers.
    Webhooks,
    CustomResources,
}

struct Row {
    kind: Kind,
    name: &'static str,
    api_version: &'static str,
    plural: &'static str,
    namespaced: bool,
    wave: Wave,
}

macro_rules! kinds {
    ($($kind:ident $api_version:literal $plural:literal $scope:ident $wave:ident;)*) => {
        /// A kind of object that these plugins apply. Its place in the list is its order within one wave.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $(#[doc = concat!("`", stringify!($kind), "` of `", $api_version, "`.")] $kind,)*
        }

        const ROWS: &[Row] = &[$(Row {
            kind: Kind::$kind,
            name: stringify!($kind),
            api_version: $api_version,
            plural: $plural,
            namespaced: kinds!(@$scope),
            wave: Wave::$wave,
        },)*];
    };
    (@namespaced) => { true };
    (@cluster) => { false };
}

kinds! {
    Namespace "v1" "namespaces" cluster Namespaces;
    CustomResourceDefinition "apiextensions.k8s.io/v1" "customresourcedefinitions" cluster Definitions;
    PriorityClass "scheduling.k8s.io/v1" "priorityclasses" cluster Settings;
    ServiceAccount "v1" "serviceaccounts" namespaced Settings;
    ClusterRole "rbac.authorization.k8s.io/v1" "clusterroles" cluster Settings;
    ClusterRoleBinding "rbac.authorization.k8s.io/v1" "clusterrolebindings" cluster Settings;
    Role "rbac.authorization.k8s.io/v1" "roles" namespaced Settings;
    RoleBinding "rbac.authorization.k8s.io/v1" "rolebindings" namespaced Settings;
    Secret "v1" "secrets" namespaced Settings;
    ConfigMap "v1" "configmaps" namespaced Settings;
    PersistentVolumeClaim "v1" "persistentvolumeclaims" namespaced Settings;
    NetworkPolicy "networking.k8s.io/v1" "networkpolicies" namespaced Settings;
    PodDisruptionBudget "policy/v1" "poddisruptionbudgets" namespaced Settings;
    CSIDriver "storage.k8s.io/v1" "csidrivers" cluster Settings;
    Service "v1" "services" namespaced Settings;
    Certificate "cert-manager.io/v1" "certificates" namespaced Orders;
    StatefulSet "apps/v1" "statefulsets" namespaced Workloads;
    DaemonSet "apps/v1" "daemonsets" namespaced Workloads;
    Deployment "apps/v1" "deployments" namespaced Workloads;
    HorizontalPodAutoscaler "autoscaling/v2" "horizontalpodautoscalers" namespaced Workloads;
    MutatingWebhookConfiguration "admissionregistration.k8s.io/v1" "mutatingwebhookconfigurations" cluster Webhooks;
    ValidatingWebhookConfiguration "admissionregistration.k8s.io/v1" "validatingwebhookconfigurations" cluster Webhooks;
    ClusterFederatedTrustDomain "spire.spiffe.io/v1alpha1" "clusterfederatedtrustdomains" cluster CustomResources;
    ClusterSPIFFEID "spire.spiffe.io/v1alpha1" "clusterspiffeids" cluster CustomResources;
    ClusterStaticEntry "spire.spiffe.io/v1alpha1" "clusterstaticentries" cluster CustomResources;
    PeerAuthentication "security.istio.io/v1" "peerauthentications" namespaced CustomResources;
    DestinationRule "networking.istio.io/v1" "destinationrules" namespaced CustomResources;
    EnvoyFilter "networking.istio.io/v1alpha3" "envoyfilters" namespaced CustomResources;
    Gateway "networking.istio.io/v1" "gateways" namespaced CustomResources;
    VirtualService "networking.istio.io/v1" "virtualservices" namespaced CustomResources;
    Telemetry "telemetry.istio.io/v1" "telemetries" namespaced CustomResources;
}

impl Kind {
    /// Goes through all kinds, in the order in which they are applied.
    pub fn all() -> impl Iterator<Item = Self> {
        ROWS.iter().map(|row| row.kind)
    }

    /// Finds the kind of an object by its `apiVersion` and `kind`.
    #[must_use]
    pub fn find(api_version: &str, kind: &str) -> Option<Self> {
        ROWS.iter().find(|row| row.api_version == api_version && row.name == kind).map(|row| row.kind)
    }

    fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }

    /// Returns `kind`, as `StatefulSet`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Returns `apiVersion`, as `apps/v1`.
    #[must_use]
    pub fn api_version(self) -> &'static str {
        self.row().api_version
    }

    /// Returns the API group; empty for the core group.
    #[must_use]
    pub fn group(self) -> &'static str {
        self.api_version().split_once('/').map_or("", |(group, _)| group)
    }

    /// Returns the name in addresses and RBAC rules, as `statefulsets`.
    #[must_use]
    pub fn plural(self) -> &'static str {
        self.row().plural
    }

    /// Returns the name that kubectl understands without doubt, as `statefulsets.apps`.
    #[must_use]
    pub fn resource(self) -> String {
        match self.group() {
            "" => self.plural().to_owned(),
            group => format!("{}.{group}", self.plural()),
        }
    }

    /// Tells whether objects of this kind live in a namespace.
    #[must_use]
    pub fn is_namespaced(self) -> bool {
        self.row().namespaced
    }

    /// Returns the plugin that alone makes objects of this kind; `None` where several do.
    pub(super) fn only_of(self) -> Option<Tool> {
        match self {
            Self::Certificate | Self::HorizontalPodAutoscaler | Self::MutatingWebhookConfiguration => {
                Some(Tool::MeshInstall)
            }
            _ if self.group().ends_with("istio.io") => Some(Tool::MeshInstall),
            _ if self.group() == "spire.spiffe.io" => Some(Tool::SpireFederate),
            _ => None,
        }
    }

    pub(super) fn wave(self) -> Wave {
        self.row().wave
    }

    /// Returns it as the client of an API server takes it.
    #[must_use]
    pub fn api_resource(self) -> ApiResource {
        let version = self.api_version().rsplit('/').next().unwrap_or_default();
        ApiResource::from_gvk_with_plural(
            &GroupVersionKind::gvk(self.group(), version, self.name()),
            self.plural(),
        )
    }

    /// Addresses the objects of this kind in one namespace, or in all when it is `None` or the kind has none.
    pub(crate) fn api(self, client: &kube::Client, namespace: Option<&str>) -> Api<DynamicObject> {
        match namespace {
            Some(namespace) if self.is_namespaced() => {
                Api::namespaced_with(client.clone(), namespace, &self.api_resource())
            }
            _ => Api::all_with(client.clone(), &self.api_resource()),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_again_and_stands_at_its_own_row() {
        for kind in Kind::all() {
            assert_eq!(Kind::find(kind.api_version(), kind.name()), Some(kind));
            assert_eq!(kind.row().kind, kind);
        }
        assert_eq!(Kind::find("apps/v1beta1", "Deployment"), None);
        assert_eq!(Kind::StatefulSet.resource(), "statefulsets.apps");
        assert_eq!(Kind::Namespace.resource(), "namespaces");
    }

    #[test]
    fn a_kind_that_one_plugin_alone_makes_is_looked_for_by_no_other() {
        let only = |tool: Tool| -> Vec<&str> {
            Kind::all().filter(|kind| kind.only_of() == Some(tool)).map(Kind::name).collect()
        };
        assert_eq!(
            only(Tool::SpireFederate),
            ["ClusterFederatedTrustDomain", "ClusterSPIFFEID", "ClusterStaticEntry"]
        );
        assert_eq!(
            only(Tool::MeshInstall),
            [
                "Certificate",
                "HorizontalPodAutoscaler",
                "MutatingWebhookConfiguration",
                "PeerAuthentication",
                "DestinationRule",
                "EnvoyFilter",
                "Gateway",
                "VirtualService",
                "Telemetry"
            ]
        );
        let count = |tool: Tool| tool.kinds().count();
        assert_eq!((count(Tool::SpireFederate), count(Tool::MeshInstall)), (ROWS.len() - 9, ROWS.len() - 3));
        assert!(Tool::SpireFederate.kinds().any(|kind| kind == Kind::ClusterSPIFFEID));
        assert!(Tool::MeshInstall.kinds().all(|kind| kind != Kind::ClusterSPIFFEID));
    }

    #[test]
    fn a_kind_has_the_group_version_and_plural_of_its_row() {
        let resource = Kind::EnvoyFilter.api_resource();
        let told = (resource.group.as_str(), resource.version.as_str(), resource.plural.as_str());
        assert_eq!(told, ("networking.istio.io", "v1alpha3", "envoyfilters"));
        assert_eq!(resource.api_version, "networking.istio.io/v1alpha3");
        let core = Kind::ConfigMap.api_resource();
        assert_eq!((core.group.as_str(), core.version.as_str()), ("", "v1"));
        assert!(Kind::ConfigMap.is_namespaced() && !Kind::Namespace.is_namespaced());
        assert_eq!(serde_json::to_value(Kind::ConfigMap).unwrap(), "ConfigMap");
    }

    #[test]
    fn kinds_are_listed_in_the_order_of_their_waves() {
        let waves: Vec<_> = Kind::all().map(Kind::wave).collect();
        assert!(waves.is_sorted());
        assert!(Kind::Namespace < Kind::CustomResourceDefinition && Kind::Deployment < Kind::ClusterSPIFFEID);
    }
}
