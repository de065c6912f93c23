use std::net::IpAddr;

/// A service of the mesh, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ServiceName {
    /// Reads the host of a URL as a pod in `namespace` resolves it. `None` where it is an address.
    #[must_use]
    pub fn of_host(host: &str, namespace: &str) -> Option<Self> {
        if host.parse::<IpAddr>().is_ok() {
            return None;
        }
        let labels: Vec<&str> = host.trim_end_matches('.').split('.').collect();
        // Before `svc`, whatever comes behind it: `cluster.local`, or `clusterset.local` of the Multi-Cluster Services API.
        let end = labels.iter().skip(1).position(|label| *label == "svc").map_or(labels.len(), |at| at + 1);
        let (name, namespace) = match &labels[..end] {
            [name] => (*name, namespace),
            [name, namespace] => (*name, *namespace),
            // One pod of a StatefulSet: `web-0.web.shop`.
            [pod, name, namespace] if is_numbered(pod) => (*name, *namespace),
            _ => return None,
        };
        let own = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Some(Self { namespace: own(namespace)?, name: own(name)? })
    }

    /// Returns the name that Istio gives it.
    #[must_use]
    pub fn host(&self) -> String {
        format!("{}.{}.svc.cluster.local", self.name, self.namespace)
    }
}

/// Tells whether a name is that of a pod of a `StatefulSet`, by its number.
fn is_numbered(pod: &str) -> bool {
    pod.rsplit_once('-').is_some_and(|(set, number)| {
        !set.is_empty() && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

impl std::fmt::Display for ServiceName {
    /// Writes `namespace/name`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_as_a_pod_resolves_them() {
        let of = |host| ServiceName::of_host(host, "sleep").map(|service| service.host());
        assert_eq!(of("helloworld").as_deref(), Some("helloworld.sleep.svc.cluster.local"));
        assert_eq!(of("helloworld.shop").as_deref(), Some("helloworld.shop.svc.cluster.local"));
        assert_eq!(of("helloworld.shop.svc").as_deref(), Some("helloworld.shop.svc.cluster.local"));
        assert_eq!(
            of("helloworld.shop.svc.cluster.local.").as_deref(),
            Some("helloworld.shop.svc.cluster.local")
        );
        assert_eq!(of("helloworld.shop.svc.clusterset.local"), of("helloworld.shop"));
        for host in ["web-0.web.shop", "web-0.web.shop.svc", "web-0.web.shop.svc.cluster.local"] {
            assert_eq!(of(host).as_deref(), Some("web.shop.svc.cluster.local"), "{host}");
        }
        assert_eq!(of("svc").as_deref(), Some("svc.sleep.svc.cluster.local"));
        for host in [
            "10.0.0.1",
            "fd00::1",
            "www.example.com",
            "v-x.example.com",
            "-1.example.com",
            "a-.b.c",
            "a.b.c.svc.d",
            "",
            ".",
        ] {
            assert_eq!(of(host), None, "{host}");
        }
    }
}
