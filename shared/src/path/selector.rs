use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt};
use serde_json::Value;

/// Tells whether a label selector, as it stands in an object, selects these labels. One that cannot be read selects everything, so that
/// nothing is blamed for it.
pub(super) fn selects(selector: &Value, labels: &BTreeMap<String, String>) -> bool {
    let parsed = serde_json::from_value::<LabelSelector>(selector.clone());
    let selector = parsed.ok().and_then(|selector| Selector::try_from(selector).ok());
    selector.is_none_or(|selector| selector.matches(labels))
}

/// Tells whether any of istiod's `discoverySelectors` selects a namespace; without any, all namespaces are selected.
pub(super) fn is_discovered(mesh_config: &Value, namespace: &BTreeMap<String, String>) -> bool {
    match mesh_config["discoverySelectors"].as_array() {
        Some(selectors) if !selectors.is_empty() => {
            selectors.iter().any(|selector| selects(selector, namespace))
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn namespaces_are_discovered_that_one_selector_selects() {
        let config = json!({"discoverySelectors": [
            {"matchLabels": {"mesh": "on"}},
            {"matchExpressions": [{"key": "team", "operator": "In", "values": ["a", "b"]}]},
        ]});
        let of = |pairs: &[(&str, &str)]| is_discovered(&config, &labels(pairs));
        assert_eq!([of(&[("mesh", "on")]), of(&[("team", "b")])], [true, true]);
        assert_eq!([of(&[("mesh", "off")]), of(&[("team", "c")]), of(&[])], [false, false, false]);
        assert!(
            is_discovered(&json!({}), &labels(&[]))
                && is_discovered(&json!({"discoverySelectors": []}), &labels(&[]))
        );
    }

    #[test]
    fn an_empty_selector_selects_everything_and_so_does_one_that_is_none() {
        assert!(selects(&json!({}), &labels(&[])) && selects(&json!("x"), &labels(&[])));
        assert!(!selects(&json!({"matchLabels": {"a": "b"}}), &labels(&[])));
    }
}
