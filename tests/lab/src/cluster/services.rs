//! The services of a node, with their arguments.

use std::path::{Path, PathBuf};

use super::layout::Programs;
use crate::node::{Gate, Service};
use crate::pki;
use crate::state::StateDir;
use crate::topology::Node;

const ETCD: &str = "127.0.0.1:2379";

/// Everything that runs on a node besides its pods.
pub(super) fn of(state: &StateDir, programs: &Programs, node: Node) -> Vec<Service> {
    let all = Builder { state, programs, node };
    let mut services = Vec::new();
    if node.is_first() {
        services.extend([all.etcd(), all.apiserver(), all.controller_manager(), all.scheduler()]);
        services.extend([all.cloud_controller_manager(), all.volume_provisioner()]);
    }
    services.extend([all.containerd(), all.kubelet(), all.kube_proxy()]);
    services
}

struct Builder<'a> {
    state: &'a StateDir,
    programs: &'a Programs,
    node: Node,
}

/// `--name=value`.
fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("--{name}={value}")
}

fn file(name: &str, path: &Path) -> String {
    flag(name, path.display())
}

impl Builder<'_> {
    fn service(&self, name: &str, after: Option<Gate>, args: Vec<String>) -> Service {
        Service { name: name.to_owned(), program: self.programs.path(name), args, after }
    }

    fn pki(&self, name: &str) -> PathBuf {
        self.state.cluster(self.node.cluster()).pki().join(name)
    }

    fn kubeconfig(&self, user: &str) -> PathBuf {
        self.state.cluster(self.node.cluster()).kubeconfig(user)
    }

    fn after_api(&self) -> Gate {
        let address = self.node.cluster().first_node().address();
        Gate::Api { address, authority: self.pki("ca.crt") }
    }

    /// No other machine and no power failure threaten the data, so nothing waits for the disk.
    fn etcd(&self) -> Service {
        let (client, peer) = (format!("http://{ETCD}"), "http://127.0.0.1:2380");
        let name = self.node.name();
        let args = vec![
            flag("name", &name),
            file("data-dir", &self.state.cluster(self.node.cluster()).etcd()),
            flag("listen-client-urls", &client),
            flag("advertise-client-urls", &client),
            flag("listen-peer-urls", peer),
            flag("initial-advertise-peer-urls", peer),
            flag("initial-cluster", format!("{name}={peer}")),
            "--unsafe-no-fsync".to_owned(),
            flag("log-level", "warn"),
        ];
        self.service("etcd", None, args)
    }

    fn apiserver(&self) -> Service {
        let cluster = self.node.cluster();
        let args = vec![
            flag("etcd-servers", format!("http://{ETCD}")),
            flag("advertise-address", self.node.address()),
            flag("bind-address", "0.0.0.0"),
            flag("secure-port", 6443),
            flag("service-cluster-ip-range", cluster.services()),
            flag("authorization-mode", "Node,RBAC"),
            flag("enable-admission-plugins", "NodeRestriction"),
            flag("allow-privileged", true),
            flag("profiling", false),
            file("client-ca-file", &self.pki("ca.crt")),
            // Nobody has such a certificate; without the flags, the managers complain that they cannot check one.
            file("requestheader-client-ca-file", &self.pki("ca.crt")),
            flag("requestheader-allowed-names", "front-proxy-client"),
            flag("requestheader-username-headers", "X-Remote-User"),
            flag("requestheader-group-headers", "X-Remote-Group"),
            flag("requestheader-extra-headers-prefix", "X-Remote-Extra-"),
            file("tls-cert-file", &self.pki("kube-apiserver.crt")),
            file("tls-private-key-file", &self.pki("kube-apiserver.key")),
            file("kubelet-client-certificate", &self.pki("kubelet-client.crt")),
            file("kubelet-client-key", &self.pki("kubelet-client.key")),
            file("kubelet-certificate-authority", &self.pki("ca.crt")),
            flag("kubelet-preferred-address-types", "InternalIP"),
            flag("service-account-issuer", "https://kubernetes.default.svc.cluster.local"),
            file("service-account-key-file", &self.pki("service-account.pub")),
            file("service-account-signing-key-file", &self.pki("service-account.key")),
        ];
        self.service("kube-apiserver", ETCD.parse().ok().map(Gate::Port), args)
    }

    /// Flags that every manager shares: one copy each, so nobody is elected, and no limit on requests, which alone takes
    /// the controller manager five seconds at its start.
    fn manager(&self, name: &str) -> Vec<String> {
        let kubeconfig = self.kubeconfig(name);
        vec![
            file("kubeconfig", &kubeconfig),
            file("authentication-kubeconfig", &kubeconfig),
            file("authorization-kubeconfig", &kubeconfig),
            flag("leader-elect", false),
            flag("bind-address", "127.0.0.1"),
            flag("kube-api-qps", 1000),
            flag("kube-api-burst", 1000),
        ]
    }

    fn controller_manager(&self) -> Service {
        let name = "kube-controller-manager";
        let mut args = self.manager(name);
        args.extend([
            file("root-ca-file", &self.pki("ca.crt")),
            file("service-account-private-key-file", &self.pki("service-account.key")),
            flag("use-service-account-credentials", true),
            file("cluster-signing-cert-file", &self.pki("ca.crt")),
            file("cluster-signing-key-file", &self.pki("ca.key")),
            // Which node has which pods is fixed: the configuration of the CNI plugins is written before it starts.
            flag("allocate-node-cidrs", false),
        ]);
        self.service(name, Some(self.after_api()), args)
    }

    fn scheduler(&self) -> Service {
        let name = "kube-scheduler";
        self.service(name, Some(self.after_api()), self.manager(name))
    }

    fn cloud_controller_manager(&self) -> Service {
        let name = "cloud-controller-manager";
        let mut args = self.manager(name);
        args.extend([
            flag("cloud-provider", "lab"),
            file("cloud-config", &self.state.cluster(self.node.cluster()).cloud_config()),
            flag("cluster-name", self.node.cluster().context()),
            flag("configure-cloud-routes", false),
        ]);
        self.service(name, Some(self.after_api()), args)
    }

    fn volume_provisioner(&self) -> Service {
        let name = "volume-provisioner";
        let args = vec![
            file("kubeconfig", &self.kubeconfig(name)),
            file("root", &self.state.cluster(self.node.cluster()).volumes()),
            flag("mount-path", super::layout::VOLUMES),
        ];
        self.service(name, Some(self.after_api()), args)
    }

    fn containerd(&self) -> Service {
        let config = self.state.node(self.node).config("containerd.toml");
        self.service("containerd", None, vec![file("config", &config)])
    }

    fn kubelet(&self) -> Service {
        let node = self.node;
        let zone = format!("{}-{}", node.cluster().name(), if node.is_first() { "a" } else { "b" });
        let labels = [
            ("topology.kubernetes.io/region", node.cluster().name().to_owned()),
            ("topology.kubernetes.io/zone", zone),
            ("topology.istio.io/network", node.cluster().network()),
        ];
        let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let args = vec![
            file("config", &self.state.node(node).config("kubelet.json")),
            file("kubeconfig", &self.kubeconfig(&pki::kubelet_user(&node.name()))),
            flag("hostname-override", node.name()),
            flag("node-ip", node.address()),
            flag("node-labels", labels.join(",")),
        ];
        self.service("kubelet", Some(self.after_api()), args)
    }

    fn kube_proxy(&self) -> Service {
        let config = self.state.node(self.node).config("kube-proxy.json");
        self.service("kube-proxy", Some(self.after_api()), vec![file("config", &config)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Shape;

    #[test]
    fn only_the_first_node_has_a_control_plane() {
        let state = StateDir::new("/lab");
        let programs = Programs::in_dir("/lab/bin");
        let shape = Shape { clusters: 1, nodes: 2 };
        let text: Vec<String> = shape
            .nodes()
            .flat_map(|node| {
                let services = of(&state, &programs, node);
                services.into_iter().map(move |s| {
                    let after = s.after.map_or_else(String::new, |gate| format!(" after {gate:?}"));
                    format!("{} {}{after}\n  {}", node.name(), s.program.display(), s.args.join("\n  "))
                })
            })
            .collect();
        insta::assert_snapshot!(text.join("\n"));
    }
}
