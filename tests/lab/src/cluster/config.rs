//! Configuration files of a node's services.

use std::path::Path;

use serde_json::{Value, json};

use crate::cgroups;
use crate::pki;
use crate::state::StateDir;
use crate::topology::{Cluster, Node};

/// Configuration of containerd.
///
/// `restrict_oom_score_adj`: in a container or a restricted machine nobody may lower that score, and runc would fail.
pub(super) fn containerd(state: &StateDir, node: Node) -> String {
    let dir = state.node(node);
    format!(
        r#"version = 2
root = "{root}"
state = "/run/containerd"

[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{cni}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"#,
        root = dir.containerd().display(),
        pause = super::layout::PAUSE_IMAGE,
        plugins = cni_plugins().display(),
        cni = dir.cni().display(),
    )
}

/// Where the CNI plugins are: Debian's place, else the one that most others use.
fn cni_plugins() -> &'static Path {
    let places = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"].map(Path::new);
    places.into_iter().find(|place| place.join("bridge").exists()).unwrap_or(places[0])
}

/// Network of the pods. Leases are kept in `/run`, which a restarted node has empty, as it has no pods.
///
/// Masquerading is the node's own rule and not the plugin's, which would hide pods of one node from those of another.
pub(super) fn cni(node: Node) -> Value {
    json!({
        "cniVersion": "0.4.0",
        "name": "lab",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": true,
                "ipMasq": false,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "dataDir": "/run/cni-leases",
                    "ranges": [[{"subnet": node.pods().to_string()}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

/// Configuration of the kubelet.
///
/// `cgroupRoot` differs from node to node: two kubelets on one kernel would delete each other's pods. Images are never
/// collected: there is no registry to get them back from. The back-off of crashing containers ends at 10 s, so that
/// tests do not wait for minutes.
pub(super) fn kubelet(state: &StateDir, node: Node) -> Value {
    let pki = state.cluster(node.cluster()).pki();
    let file = |name: String| pki.join(name).display().to_string();
    let user = pki::kubelet_user(&node.name());
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": file("ca.crt".to_owned())},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": file(format!("{user}.crt")),
        "tlsPrivateKeyFile": file(format!("{user}.key")),
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "clusterDomain": "cluster.local",
        "clusterDNS": [node.cluster().dns_service().to_string()],
        "resolvConf": "/etc/resolv.conf",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroups::of_node(state, &node.name()),
        "failCgroupV1": false,
        "failSwapOn": false,
        "maxPods": 200,
        "serializeImagePulls": false,
        // How often a pod is given what has changed in its ConfigMaps and Secrets; a minute otherwise, which tests would spend waiting.
        "syncFrequency": "10s",
        "imageGCHighThresholdPercent": 100,
        // What a node sees of memory and disk is the whole machine's, with the page cache of a build in it: a lab would taint
        // its only node for what somebody else does. `0%` means never; whether there is room is asked once, at the start.
        "evictionHard": {
            "memory.available": "0%",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
            "imagefs.inodesFree": "0%",
        },
        "nodeStatusUpdateFrequency": "5s",
        "shutdownGracePeriod": "0s",
        "featureGates": {"KubeletCrashLoopBackOffMax": true},
        "crashLoopBackOff": {"maxContainerRestartPeriod": "10s"},
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
    })
}

/// Configuration of kube-proxy. It leaves the limits of connection tracking alone: they are the host's.
pub(super) fn kube_proxy(state: &StateDir, node: Node) -> Value {
    let cluster = node.cluster();
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clusterCIDR": cluster.pods().to_string(),
        "hostnameOverride": node.name(),
        "clientConnection": {"kubeconfig": state.cluster(cluster).kubeconfig("kube-proxy")},
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
        "iptables": {"minSyncPeriod": "200ms"},
    })
}

/// `/etc/hosts` of the nodes of a cluster, and the part of it that DNS serves to pods.
pub(super) fn hosts<'a>(clusters: impl Iterator<Item = Cluster> + 'a) -> impl Iterator<Item = String> + 'a {
    clusters.flat_map(Cluster::nodes).map(|node| format!("{} {}", node.address(), node.name()))
}

/// What the cloud controller manager reads: the addresses that it may give away.
pub(super) fn cloud(cluster: Cluster) -> String {
    let (first, last) = cluster.load_balancer_range();
    format!("{first} {last}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Shape;

    fn second_node() -> Node {
        Shape { clusters: 2, nodes: 2 }.node("bar-node-2").expect("it exists")
    }

    #[test]
    fn files_of_a_node() {
        let state = StateDir::new("/lab");
        let node = second_node();
        let pretty = |value: Value| serde_json::to_string_pretty(&value).expect("JSON");
        insta::assert_snapshot!("cni", pretty(cni(node)));
        insta::assert_snapshot!("kubelet", pretty(kubelet(&state, node)));
        insta::assert_snapshot!("kube_proxy", pretty(kube_proxy(&state, node)));
        assert!(containerd(&state, node).contains("root = \"/lab/nodes/bar-node-2/containerd\"\n"));
    }

    #[test]
    fn the_cloud_gets_the_upper_half_of_the_network() {
        assert_eq!(cloud(second_node().cluster()), "10.3.0.128 10.3.0.254\n");
    }

    #[test]
    fn every_node_knows_all_nodes_by_name() {
        let all: Vec<String> = hosts(Shape::default().clusters()).collect();
        assert_eq!(all, ["10.2.0.10 foo-node-1", "10.3.0.10 bar-node-1"]);
    }
}
