use std::fmt;

use serde_json::Value;

/// The object of Istio's API that a part of Envoy's configuration was made from: istiod writes it beside that part
/// (`filter_metadata.istio.config`, Istio's `util.BuildConfigInfoMetadata`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IstioObject {
    /// Its kind, as kubectl calls it: `virtualservice`.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl IstioObject {
    /// Reads it from the metadata of a route or a cluster; `None` where nobody's object is behind it.
    pub(super) fn of_metadata(metadata: &Value) -> Option<Self> {
        Self::parse(metadata["filter_metadata"]["istio"]["config"].as_str()?)
    }

    /// Reads `/apis/networking.istio.io/v1/namespaces/bookinfo/virtual-service/reviews`.
    fn parse(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.split('/').collect();
        let ["", "apis", _, _, "namespaces", namespace, kind, name] = parts.as_slice() else { return None };
        // They end in commands that are there to be pasted, where a name that begins with a dash is a flag.
        let is_name = |text: &str| {
            let of_name =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
            (1..=253).contains(&text.len()) && !text.starts_with('-') && text.bytes().all(of_name)
        };
        if ![namespace, kind, name].into_iter().all(|text| is_name(text)) {
            return None;
        }
        let text = |text: &str| text.to_owned();
        Some(Self { kind: text(&kind.replace('-', "")), namespace: text(namespace), name: text(name) })
    }
}

impl fmt::Display for IstioObject {
    /// Writes `VirtualService bookinfo/reviews`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind.as_str() {
            "virtualservice" => "VirtualService",
            "destinationrule" => "DestinationRule",
            "serviceentry" => "ServiceEntry",
            other => other,
        };
        write!(f, "{kind} {}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_is_named_by_its_path() {
        let of = |path: &str| IstioObject::parse(path).map(|object| object.to_string());
        let rule = "/apis/networking.istio.io/v1alpha3/namespaces/shop/destination-rule/cart";
        assert_eq!(of(rule).as_deref(), Some("DestinationRule shop/cart"));
        assert_eq!(IstioObject::parse(rule).unwrap().kind, "destinationrule");
        assert_eq!(of("/apis/a/v1/namespaces/n/service-entry/e").as_deref(), Some("ServiceEntry n/e"));
        assert_eq!(of("/apis/a/v1/namespaces/n/wasm-plugin/e").as_deref(), Some("wasmplugin n/e"));
        for path in [
            "",
            "/apis/a/v1/shop/destination-rule/cart",
            "x/apis/a/v1/namespaces/n/k/e",
            "/apis/a/v1/namespaces/n/k",
            "/apis/a/v1/namespaces/n/virtual-service/--kubeconfig=x",
            "/apis/a/v1/namespaces/-n/virtual-service/a",
            "/apis/a/v1/namespaces/n/virtual-service/a\u{1b}[2J",
        ] {
            assert_eq!(of(path), None, "{path}");
        }
        assert_eq!(IstioObject::of_metadata(&Value::Null), None);
    }
}
