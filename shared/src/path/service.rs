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
        let mut labels = host.trim_end_matches('.').split('.');
        let name = labels.next().filter(|name| !name.is_empty())?.to_owned();
        let namespace = labels.next().unwrap_or(namespace).to_owned();
        match labels.next() {
            None | Some("svc") => Some(Self { namespace, name }),
            Some(_) => None,
        }
    }

    /// Returns the name that Istio gives it.
    #[must_use]
    pub fn host(&self) -> String {
        format!("{}.{}.svc.cluster.local", self.name, self.namespace)
    }
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
        for host in ["10.0.0.1", "fd00::1", "www.example.com", "", "."] {
            assert_eq!(of(host), None, "{host}");
        }
    }
}
