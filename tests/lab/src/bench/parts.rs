//! Rendered manifests, in the parts in which a person has to apply them by hand.

/// The manifests of one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parts {
    /// Server, rights and settings: what can be applied at once.
    pub(super) server: String,
    /// What runs on every node. Its pods mount what the server publishes.
    pub(super) nodes: String,
}

impl Parts {
    /// Sorts the documents of a rendered file. Comments are left out.
    pub(super) fn of(yaml: &str) -> Self {
        let mut parts = Self { server: String::new(), nodes: String::new() };
        let documents = yaml.split("\n---\n").map(|text| text.trim_start_matches("---\n").trim_end());
        let is_object = |document: &&str| document.lines().any(|line| !line.starts_with('#'));
        for document in documents.filter(is_object) {
            let is = |kind: &str| document.lines().any(|line| line == format!("kind: {kind}"));
            let part = if is("DaemonSet") { &mut parts.nodes } else { &mut parts.server };
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
        // It is about a kind, and is not of it.
        let definition = "---\nkind: CustomResourceDefinition\nspec:\n  names:\n    kind: DaemonSet\n";
        let comment = "# Not in this file:\n# - kind: Secret\n".to_owned();
        let yaml = [comment, document("Namespace", "a"), document("DaemonSet", "c"), definition.to_owned()];
        let parts = Parts::of(&yaml.concat());
        assert_eq!(parts.server, document("Namespace", "a") + definition);
        assert_eq!(parts.nodes, document("DaemonSet", "c"));
    }
}
