//! Rendered manifests, in the parts in which a person has to apply them by hand.

/// The manifests of one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parts {
    /// Server, rights and settings: what can be applied at once.
    pub(super) server: String,
    /// What runs on every node. Its pods mount what the server publishes.
    pub(super) nodes: String,
    /// Which pods get which identity. SPIRE takes them only when it holds the bundles that they name.
    pub(super) identities: String,
}

impl Parts {
    /// Sorts the documents of a rendered file. Relationships are left out: by hand they are written when the addresses are known.
    pub(super) fn of(yaml: &str) -> Self {
        let mut parts = Self { server: String::new(), nodes: String::new(), identities: String::new() };
        let documents = yaml.split("\n---\n").map(|text| text.trim_start_matches("---\n").trim_end());
        for document in documents.filter(|document| !document.is_empty()) {
            let is = |kind: &str| document.lines().any(|line| line == format!("kind: {kind}"));
            let part = if is("ClusterFederatedTrustDomain") {
                continue;
            } else if is("DaemonSet") {
                &mut parts.nodes
            } else if is("ClusterSPIFFEID") {
                &mut parts.identities
            } else {
                &mut parts.server
            };
            part.push_str("---\n");
            part.push_str(document);
            part.push('\n');
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_document_goes_where_it_is_applied() {
        let document = |kind: &str, name: &str| format!("---\nkind: {kind}\nmetadata:\n  name: {name}\n");
        let yaml = [
            document("Namespace", "a"),
            document("ClusterSPIFFEID", "b"),
            document("DaemonSet", "c"),
            document("ClusterFederatedTrustDomain", "d"),
            // It is about a kind, and is not of it.
            "---\nkind: CustomResourceDefinition\nspec:\n  names:\n    kind: ClusterSPIFFEID\n".to_owned(),
        ]
        .concat();
        let parts = Parts::of(&yaml);
        let definition = "---\nkind: CustomResourceDefinition\nspec:\n  names:\n    kind: ClusterSPIFFEID\n";
        assert_eq!(parts.server, document("Namespace", "a") + definition);
        assert_eq!(parts.nodes, document("DaemonSet", "c"));
        assert_eq!(parts.identities, document("ClusterSPIFFEID", "b"));
    }
}
