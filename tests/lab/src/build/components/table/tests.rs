use std::collections::BTreeSet;
use std::path::Path;

use super::*;

fn components() -> Vec<Component> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("components");
    all(&Versions::read(&dir, versions::ISTIO[0]).unwrap())
}

#[test]
fn covers_everything_that_the_lab_runs() {
    let components = components();
    let programs: BTreeSet<&str> = components
        .iter()
        .flat_map(|c| c.outputs().into_iter().chain(c.links.iter().map(|(link, _)| *link)))
        .collect();
    for name in [
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kubelet",
        "kube-proxy",
        "kubectl",
        "cloud-controller-manager",
        "volume-provisioner",
        "etcd",
        "coredns",
        "spire-server",
        "spire-agent",
        "spire-controller-manager",
        "spiffe-csi-driver",
        "csi-node-driver-registrar",
        "pilot-discovery",
        "pilot-agent",
        "istioctl",
        "envoy",
        "cert-manager-controller",
        "cert-manager-cainjector",
        "cert-manager-webhook",
        "helm",
        "krew",
        "validate-krew-manifest",
        "helloworld",
        "bookinfo",
        "pause",
    ] {
        assert!(programs.contains(name), "nothing builds {name}");
    }
}

#[test]
fn every_directory_is_a_component_and_the_reverse() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("components");
    let on_disk: BTreeSet<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    let mut in_table: BTreeSet<String> = components().iter().map(|c| c.folder.to_owned()).collect();
    in_table.extend(versions::ISTIO.map(|release| release.folder.to_owned()));
    assert_eq!(on_disk, in_table);
}

#[test]
fn linker_flags_carry_versions() {
    let components = components();
    let flags = |output: &str| {
        components
            .iter()
            .find_map(|c| match &c.recipe {
                Recipe::Go { programs, .. } => {
                    programs.iter().find(|p| p.output == output).map(|p| p.ldflags.clone())
                }
                _ => None,
            })
            .unwrap()
    };
    assert!(flags("k8s").contains("component-base/version.gitMinor=34"), "{}", flags("k8s"));
    assert!(flags("spire-server").starts_with("-s -w -extldflags -static -X "), "{}", flags("spire-server"));
    assert!(flags("istioctl").contains("version.buildHub=lab.local/istio"), "{}", flags("istioctl"));
}
