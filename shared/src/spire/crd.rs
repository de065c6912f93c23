//! Typed views of spire-controller-manager's custom resources, as far as they are read here
//! (spire-controller-manager 0.6.3, `api/v1alpha1`). Fields that it may add later are ignored.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use serde::{Deserialize, Serialize};

/// Which pods get which SPIFFE ID, and which other trust domains they trust (`clusterspiffeid_types.go`).
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "spire.spiffe.io",
    version = "v1alpha1",
    kind = "ClusterSPIFFEID",
    plural = "clusterspiffeids",
    status = "ClusterSpiffeIdStatus",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSpiffeIdSpec {
    /// Template of the SPIFFE ID.
    #[serde(rename = "spiffeIDTemplate")]
    pub spiffe_id_template: String,
    /// The controller-manager that acts on the object: one with the same `className`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_name: Option<String>,
    /// Names of the trust domains whose bundles the pods get beside their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub federates_with: Vec<String>,
    /// Which namespaces; all without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// Which pods; all without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<LabelSelector>,
    /// Applies only to pods that no other object selects.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fallback: bool,
}

/// What the last reconciliation did for the object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSpiffeIdStatus {
    /// The figures.
    #[serde(default)]
    pub stats: ClusterSpiffeIdStats,
}

/// Figures of the last reconciliation. After a change of the object they lag by one reconciliation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterSpiffeIdStats {
    /// Namespaces selected.
    pub namespaces_selected: u32,
    /// Selected namespaces that the controller-manager's configuration ignores.
    pub namespaces_ignored: u32,
    /// Pods selected.
    pub pods_selected: u32,
    /// Pods for which the template gave no valid entry.
    pub pod_entry_render_failures: u32,
    /// Entries that lost against the same entry of another object.
    pub entries_masked: u32,
    /// Entries that there should be.
    pub entries_to_set: u32,
    /// Entries that the server refused, for example because it holds no bundle of a trust domain in `federatesWith`.
    pub entry_failures: u32,
}

/// One trust domain that this cluster's server trusts (`clusterfederatedtrustdomain_types.go`). Has no status: whether the
/// server took it on is seen in the server only.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "spire.spiffe.io",
    version = "v1alpha1",
    kind = "ClusterFederatedTrustDomain",
    plural = "clusterfederatedtrustdomains",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterFederatedTrustDomainSpec {
    /// Name of the trust domain.
    pub trust_domain: String,
    /// Address of its bundle endpoint.
    #[serde(rename = "bundleEndpointURL")]
    pub bundle_endpoint_url: String,
    /// How the endpoint proves who it is.
    pub bundle_endpoint_profile: BundleEndpointProfile,
    /// A bundle that the controller-manager sets when the relationship is made or changed. Objects made here never hold one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust_domain_bundle: Option<String>,
    /// The controller-manager that acts on the object: one with the same `className`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_name: Option<String>,
}

/// How a bundle endpoint proves who it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleEndpointProfile {
    /// `https_spiffe` or `https_web`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The SPIFFE ID that it has to present; `https_spiffe` only.
    #[serde(rename = "endpointSPIFFEID", default, skip_serializing_if = "Option::is_none")]
    pub endpoint_spiffe_id: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_of_a_cluster_spiffe_id_is_read() {
        let object: ClusterSPIFFEID = serde_json::from_value(serde_json::json!({
            "apiVersion": "spire.spiffe.io/v1alpha1", "kind": "ClusterSPIFFEID", "metadata": {"name": "a"},
            "spec": {"spiffeIDTemplate": "spiffe://x", "ttl": "0s", "className": "spire-mesh"},
            "status": {"stats": {"podsSelected": 3, "entriesToSet": 3, "entryFailures": 1, "addedLater": 7}},
        }))
        .unwrap();
        let stats = object.status.unwrap().stats;
        assert_eq!((stats.pods_selected, stats.entries_to_set, stats.entry_failures), (3, 3, 1));
    }

    #[test]
    fn a_relationship_without_a_bundle_has_no_key_for_it() {
        let spec = ClusterFederatedTrustDomainSpec {
            trust_domain: "bar.com".into(),
            bundle_endpoint_url: "https://192.0.2.1:8443".into(),
            bundle_endpoint_profile: BundleEndpointProfile {
                kind: "https_web".into(),
                endpoint_spiffe_id: None,
            },
            trust_domain_bundle: None,
            class_name: None,
        };
        insta::assert_json_snapshot!(spec, @r#"
        {
          "trustDomain": "bar.com",
          "bundleEndpointURL": "https://192.0.2.1:8443",
          "bundleEndpointProfile": {
            "type": "https_web"
          }
        }
        "#);
    }
}
