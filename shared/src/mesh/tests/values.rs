//! Values that are wrong on their own or together.

use super::*;

#[test]
fn trust_domains_are_checked_where_they_stand() {
    let text = format!("{HEAD}{THREE}").replace("bar.com", "spiffe://bar.com/x");
    insta::assert_snapshot!(refused(&text), @r"
    spire-mesh.yaml:7:32: `spiffe://bar.com/x` is a SPIFFE ID; its trust domain is written `bar.com`
      7 |     - {name: bar, trustDomain: spiffe://bar.com/x}
        |                                ^
    ");
}

#[test]
fn a_value_as_long_as_the_file_is_repeated_in_part_only() {
    let long = "X\\e".repeat(100_000);
    for text in [
        format!("{HEAD}{THREE}").replace("bar.com", &format!("\"{long}\"")),
        format!("{HEAD}{THREE}").replace("{name: bar", &format!("{{context: \"{long}\", name: bar")),
        format!("{HEAD}{THREE}").replace("{name: bar", &format!("{{\"{long}\": 1, name: bar")),
    ] {
        let text = refused(&text);
        assert!(text.len() < 4000, "{text}");
    }
}

#[test]
fn what_belongs_to_one_cluster_is_refused_for_two() {
    insta::assert_snapshot!(refused(&format!("{HEAD}{THREE}").replace("bar.com", "foo.com")), @r"
    spire-mesh.yaml:7:32: trust domain `foo.com` belongs to two clusters
      7 |     - {name: bar, trustDomain: foo.com}
        |                                ^
      6 |     - {name: foo, trustDomain: foo.com}
        |                                ^ and this
    ");
    insta::assert_snapshot!(refused(&format!("{HEAD}{THREE}").replace("name: bar", "name: foo")), @r"
    spire-mesh.yaml:7:14: cluster name `foo` belongs to two clusters
      7 |     - {name: foo, trustDomain: bar.com}
        |              ^
      6 |     - {name: foo, trustDomain: foo.com}
        |              ^ and this
    ");
    insta::assert_snapshot!(refused(&format!("{HEAD}{THREE}").replace("name: bar", "name: bar, context: foo")), @r"
    spire-mesh.yaml:7:28: context `foo` belongs to two clusters
      7 |     - {name: bar, context: foo, trustDomain: bar.com}
        |                            ^
      6 |     - {name: foo, trustDomain: foo.com}
        |              ^ and this
    ");
}

#[test]
fn one_cluster_is_no_mesh() {
    insta::assert_snapshot!(refused(&format!("{HEAD}  clusters:\n    - {{name: foo, trustDomain: foo.com}}\n")), @r"
    spire-mesh.yaml:6:5: one cluster only: a mesh has at least two, to trust each other
      6 |     - {name: foo, trustDomain: foo.com}
        |     ^
    ");
    insta::assert_snapshot!(refused(&format!("{HEAD}  clusters: []\n")), @r"
    spire-mesh.yaml:5:13: no cluster: a mesh has at least two, to trust each other
      5 |   clusters: []
        |             ^
    ");
}

#[test]
fn lives_have_to_fit_together() {
    insta::assert_snapshot!(refused_defaults("{caTTL: 2h}"), @r"
    spire-mesh.yaml:5:18: `caTTL` must be at least 3h, not 2h: peers need time to see each new CA
      5 |   spire: {caTTL: 2h}
        |                  ^
    ");
    insta::assert_snapshot!(refused_defaults("{caTTL: soon, svidTTL: 5}"), @r"
    mesh file `spire-mesh.yaml` has 2 problems
    spire-mesh.yaml:5:18: `soon` is not a duration such as 30s, 5m, 4h or 7d
      5 |   spire: {caTTL: soon, svidTTL: 5}
        |                  ^
    spire-mesh.yaml:5:33: `svidTTL` must be text, not a number; put it in quotes
      5 |   spire: {caTTL: soon, svidTTL: 5}
        |                                 ^
    ");
    insta::assert_snapshot!(refused_defaults("{caTTL: 12h, svidTTL: 3h}"), @r"
    spire-mesh.yaml:5:32: `svidTTL` is 3h, and SPIRE guarantees no more than 2h (a sixth of `caTTL`, and 7d)
      5 |   spire: {caTTL: 12h, svidTTL: 3h}
        |                                ^
      5 |   spire: {caTTL: 12h, svidTTL: 3h}
        |                  ^ and this
    ");
    insta::assert_snapshot!(refused_defaults("{svidTTL: 30s}"), @r"
    spire-mesh.yaml:5:20: `svidTTL` must be at least 1m, not 30s
      5 |   spire: {svidTTL: 30s}
        |                    ^
    ");
    insta::assert_snapshot!(refused_defaults("{agentSyncInterval: 2m}"), @r"
    spire-mesh.yaml:5:30: `agentSyncInterval` must be between 1s and 1m, not 2m
      5 |   spire: {agentSyncInterval: 2m}
        |                              ^
    ");
    insta::assert_snapshot!(refused_defaults("{caTTL: 3h, bundleEndpoint: {refreshHint: 1h}}"), @r"
    spire-mesh.yaml:5:52: `refreshHint` is 1h, and peers would miss a new CA with this `caTTL`: at most 12m
      5 |   spire: {caTTL: 3h, bundleEndpoint: {refreshHint: 1h}}
        |                                                    ^
    ");
    insta::assert_snapshot!(refused(&format!("{HEAD}  spire: {{svidTTL: 4h}}\n{THREE}").replace("trustDomain: bar.com", "trustDomain: bar.com, spire: {caTTL: 6h}")), @r"
    spire-mesh.yaml:5:20: `svidTTL` is 4h, and SPIRE guarantees no more than 1h (a sixth of `caTTL`, and 7d)
      5 |   spire: {svidTTL: 4h}
        |                    ^
      8 |     - {name: bar, trustDomain: bar.com, spire: {caTTL: 6h}}
        |                                                        ^ and this
    ");
}

#[test]
fn contradictions_are_refused() {
    insta::assert_snapshot!(refused(&with_cluster("{bundleEndpoint: {url: 'https://foo.com'}}")), @r"
    spire-mesh.yaml:8:32: `url` is used with `expose: URL` only
      8 |       spire: {bundleEndpoint: {url: 'https://foo.com'}}
        |                                ^
    ");
    insta::assert_snapshot!(refused(&with_cluster("{bundleEndpoint: {expose: NodePort, annotations: {}, loadBalancerClass: x}}")), @r"
    mesh file `spire-mesh.yaml` has 2 problems
    spire-mesh.yaml:8:50: `annotations` is used with `expose: LoadBalancer` only
      8 |       spire: {bundleEndpoint: {expose: NodePort, annotations: {}, loadBalancerClass: x}}
        |                                                  ^
    spire-mesh.yaml:8:67: `loadBalancerClass` is used with `expose: LoadBalancer` only
      8 | …spire: {bundleEndpoint: {expose: NodePort, annotations: {}, loadBalancerClass: x}}
        |                                                              ^
    ");
    insta::assert_snapshot!(refused(&with_cluster("{bundleEndpoint: {expose: URL}}")), @r"
    spire-mesh.yaml:8:40: `expose: URL` needs `url` for every cluster
      8 |       spire: {bundleEndpoint: {expose: URL}}
        |                                        ^
    ");
    insta::assert_snapshot!(refused_defaults("{bundleEndpoint: {expose: URL}}"), @r"
    spire-mesh.yaml:5:36: `expose: URL` needs `url` for every cluster
      5 |   spire: {bundleEndpoint: {expose: URL}}
        |                                    ^
    ");
    insta::assert_snapshot!(refused_defaults("{bundleEndpoint: {expose: URL, url: 'https://foo.com'}}"), @r"
    mesh file `spire-mesh.yaml` has 2 problems
    spire-mesh.yaml:5:36: `expose: URL` needs `url` for every cluster
      5 |   spire: {bundleEndpoint: {expose: URL, url: 'https://foo.com'}}
        |                                    ^
    spire-mesh.yaml:5:41: `url` cannot be a default: an address belongs to one cluster
      5 |   spire: {bundleEndpoint: {expose: URL, url: 'https://foo.com'}}
        |                                         ^
    ");
    insta::assert_snapshot!(refused_defaults("{bundleEndpoint: {nodePort: 30010}}"), @r"
    spire-mesh.yaml:5:28: `nodePort` is used with `expose: NodePort` only
      5 |   spire: {bundleEndpoint: {nodePort: 30010}}
        |                            ^
    ");
    insta::assert_snapshot!(refused(&with_cluster("{bundleEndpoint: {expose: URL, url: 'https://me@foo.com'}}")), @r"
    spire-mesh.yaml:8:50: `https://me@foo.com` holds `@`; only https://HOST:PORT/PATH is allowed, without user, query and fragment
      8 |       spire: {bundleEndpoint: {expose: URL, url: 'https://me@foo.com'}}
        |                                                  ^
    ");
}

#[test]
fn a_spire_of_somebody_else_takes_no_settings() {
    insta::assert_snapshot!(refused(&with_cluster("{managed: false, caTTL: 24h, bundleEndpoint: {expose: URL, url: 'https://foo.com'}}")), @r"
    mesh file `spire-mesh.yaml` has 2 problems
    spire-mesh.yaml:8:31: `caTTL` does nothing with `managed: false`: somebody else installed that SPIRE; only `serverNamespace`, `agentNamespace` and `bundleEndpoint.url` are used
      8 |       spire: {managed: false, caTTL: 24h, bundleEndpoint: {expose: URL, url: 'https://foo.…
        |                               ^
    spire-mesh.yaml:8:60: `bundleEndpoint.expose` does nothing with `managed: false`: somebody else installed that SPIRE; only `serverNamespace`, `agentNamespace` and `bundleEndpoint.url` are used
      8 |       spire: {managed: false, caTTL: 24h, bundleEndpoint: {expose: URL, url: 'https://foo.com'}}
        |                                                            ^
    ");
    insta::assert_snapshot!(refused_defaults("{managed: false, keyType: ec-p384}"), @r"
    spire-mesh.yaml:5:27: `keyType` does nothing with `managed: false`: somebody else installed that SPIRE; only `serverNamespace`, `agentNamespace` and `bundleEndpoint.url` are used
      5 |   spire: {managed: false, keyType: ec-p384}
        |                           ^
    ");
}

#[test]
fn names_are_what_kubernetes_takes() {
    insta::assert_snapshot!(refused_defaults("{serverNamespace: kube-system, agentNamespace: Spire, images: {agent: '-x'}, storage: {class: 'a b', size: 1GB}}"), @r"
    mesh file `spire-mesh.yaml` has 5 problems
    spire-mesh.yaml:5:28: namespace `kube-system` belongs to Kubernetes; SPIRE needs one of its own
      5 |   spire: {serverNamespace: kube-system, agentNamespace: Spire, images: {agent: '-x'}, s…
        |                            ^
    spire-mesh.yaml:5:57: `Spire` is not a DNS label: at most 63 lower-case letters, digits and `-`, with a letter or digit at both ends
      5 |   spire: {serverNamespace: kube-system, agentNamespace: Spire, images: {agent: '-x'}, storage: {class: 'a b', size: …
        |                                                         ^
    spire-mesh.yaml:5:80: `-x` is not a container image
      5 | …espace: kube-system, agentNamespace: Spire, images: {agent: '-x'}, storage: {class: 'a b', size: 1GB}}
        |                                                              ^
    spire-mesh.yaml:5:104: `a b` is not a DNS name: lower-case letters, digits, `-` and `.`
      5 | …ntNamespace: Spire, images: {agent: '-x'}, storage: {class: 'a b', size: 1GB}}
        |                                                              ^
    spire-mesh.yaml:5:117: `1GB` is not a size such as 1Gi
      5 | …Spire, images: {agent: '-x'}, storage: {class: 'a b', size: 1GB}}
        |                                                              ^
    ");
    insta::assert_snapshot!(refused_defaults("{serverNamespace: spire, agentNamespace: spire}"), @r"
    spire-mesh.yaml:5:51: `serverNamespace` and `agentNamespace` must differ: the agents' pods are privileged
      5 |   spire: {serverNamespace: spire, agentNamespace: spire}
        |                                                   ^
    ");
    insta::assert_snapshot!(refused_defaults("{bundleEndpoint: {loadBalancerClass: '', annotations: {'a b': c}}}"), @r"
    mesh file `spire-mesh.yaml` has 2 problems
    spire-mesh.yaml:5:47: `` is not a qualified name such as `example.com/name`
      5 |   spire: {bundleEndpoint: {loadBalancerClass: '', annotations: {'a b': c}}}
        |                                               ^
    spire-mesh.yaml:5:72: `a b` is not a qualified name such as `example.com/name`
      5 | …undleEndpoint: {loadBalancerClass: '', annotations: {'a b': c}}}
        |                                                              ^
    ");
    insta::assert_snapshot!(refused(&format!("{HEAD}{THREE}").replace("name: bar", "name: bar, context: ' '")), @r"
    spire-mesh.yaml:7:28: the name of a context must not be empty
      7 |     - {name: bar, context: ' ', trustDomain: bar.com}
        |                            ^
    ");
}

#[test]
fn an_upstream_authority_needs_an_issuer_with_valid_names() {
    insta::assert_snapshot!(refused(&with_cluster("{upstreamAuthority: {}}")), @r"
    spire-mesh.yaml:8:34: `upstreamAuthority` names no authority; leave it out, or give it `certManager`
      8 |       spire: {upstreamAuthority: {}}
        |                                  ^
    ");
    insta::assert_snapshot!(refused(&with_cluster("{upstreamAuthority: {certManager: {kind: ClusterIssuer}}}")), @r"
    spire-mesh.yaml:8:48: `certManager` needs `issuer`, the name of one
      8 |       spire: {upstreamAuthority: {certManager: {kind: ClusterIssuer}}}
        |                                                ^
    ");
    insta::assert_snapshot!(refused_defaults("{upstreamAuthority: {certManager: {namespace: pki}}}"), @r"
    spire-mesh.yaml:5:44: `certManager` needs `issuer`, the name of one
      5 |   spire: {upstreamAuthority: {certManager: {namespace: pki}}}
        |                                            ^
    ");
    insta::assert_snapshot!(refused_defaults("{upstreamAuthority: {certManager: {issuer: Spire, group: 'a b', namespace: a.b}}}"), @r"
    mesh file `spire-mesh.yaml` has 3 problems
    spire-mesh.yaml:5:53: `Spire` is not a DNS name: lower-case letters, digits, `-` and `.`
      5 |   spire: {upstreamAuthority: {certManager: {issuer: Spire, group: 'a b', namespace: a.b}}}
        |                                                     ^
    spire-mesh.yaml:5:67: `a b` is not a DNS name: lower-case letters, digits, `-` and `.`
      5 | …e: {upstreamAuthority: {certManager: {issuer: Spire, group: 'a b', namespace: a.b}}}
        |                                                              ^
    spire-mesh.yaml:5:85: `a.b` is not a DNS label: at most 63 lower-case letters, digits and `-`, with a letter or digit at both ends
      5 | …ity: {certManager: {issuer: Spire, group: 'a b', namespace: a.b}}}
        |                                                              ^
    ");
    insta::assert_snapshot!(refused_defaults("{upstreamAuthority: {certManager: {issuer: ca, group: x.io, kind: a-b}}}"), @"
    spire-mesh.yaml:5:76: `a-b` is not the kind of an issuer: letters and digits, such as `AWSPCAIssuer`
      5 | …eamAuthority: {certManager: {issuer: ca, group: x.io, kind: a-b}}}
        |                                                              ^
    ");
    insta::assert_snapshot!(refused_defaults("{upstreamAuthority: {certManager: {issuer: spire-ca, kind: Certificate}}}"), @r"
    spire-mesh.yaml:5:69: `kind` of cert-manager.io must be one of `Issuer`, `ClusterIssuer`, not `Certificate`; for another one give its `group`, too
      5 | … {upstreamAuthority: {certManager: {issuer: spire-ca, kind: Certificate}}}
        |                                                              ^
    ");
    insta::assert_snapshot!(refused_defaults("{upstreamAuthority: {vault: {}}}"), @r"
    mesh file `spire-mesh.yaml` has 2 problems
    spire-mesh.yaml:5:30: `upstreamAuthority` names no authority; leave it out, or give it `certManager`
      5 |   spire: {upstreamAuthority: {vault: {}}}
        |                              ^
    spire-mesh.yaml:5:31: unknown key `vault` in `spec.spire.upstreamAuthority`; known keys are certManager
      5 |   spire: {upstreamAuthority: {vault: {}}}
        |                               ^
    ");
    insta::assert_snapshot!(refused(&with_cluster("{upstreamAuthority: {certManager: {issuer: spire-ca}}}").replace("foo.com", "foo.com.")), @r"
    spire-mesh.yaml:7:20: `foo.com.` cannot be a label, which `certManager` needs: at most 63 characters, with a letter or digit at both ends
      7 |       trustDomain: foo.com.
        |                    ^
    ");
    insta::assert_snapshot!(refused(&with_cluster("{managed: false, upstreamAuthority: {certManager: {issuer: spire-ca}}}")), @r"
    spire-mesh.yaml:8:31: `upstreamAuthority` does nothing with `managed: false`: somebody else installed that SPIRE; only `serverNamespace`, `agentNamespace` and `bundleEndpoint.url` are used
      8 |       spire: {managed: false, upstreamAuthority: {certManager: {issuer: spire-ca}}}
        |                               ^
    ");
}

#[test]
fn every_life_is_accepted_up_to_its_limit_and_not_a_second_longer() {
    let limits = [
        // A sixth of the CA's, and seven days.
        ("{caTTL: 12h, svidTTL: LIFE}", "2h", "2h1s"),
        ("{caTTL: 720h, svidTTL: LIFE}", "5d", "5d1s"),
        ("{caTTL: 8760h, svidTTL: LIFE}", "7d", "7d1s"),
        ("{caTTL: 8760h, svidTTL: LIFE}", "1m", "59s"),
        ("{agentSyncInterval: LIFE}", "1m", "61s"),
        ("{agentSyncInterval: LIFE}", "1s", "0s"),
        // A fifth of the time between the next CA's preparation and its activation.
        ("{caTTL: 3h, bundleEndpoint: {refreshHint: LIFE}}", "12m", "12m1s"),
        ("{caTTL: 720h, bundleEndpoint: {refreshHint: LIFE}}", "2d", "2d1s"),
        ("{caTTL: 8760h, bundleEndpoint: {refreshHint: LIFE}}", "397440s", "397441s"),
        ("{caTTL: 24h, bundleEndpoint: {refreshHint: LIFE}}", "1m", "59s"),
        ("{caTTL: LIFE}", "3h", "179m"),
    ];
    for (keys, accepted, refused) in limits {
        let read = |life: &str| {
            let text = format!("{HEAD}  spire: {}\n{THREE}", keys.replace("LIFE", life));
            Mesh::parse(&text, "spire-mesh.yaml")
        };
        assert!(read(accepted).is_ok(), "{keys}: {accepted}");
        assert!(read(refused).is_err(), "{keys}: {refused}");
    }
}

#[test]
fn the_lives_of_istiods_ca_are_accepted_up_to_their_limits() {
    let limits = [
        ("duration: LIFE", "1h", "59m"),
        ("duration: 240h, renewBefore: LIFE", "5m", "4m59s"),
        ("duration: 240h, renewBefore: LIFE", "239h", "240h"),
    ];
    for (keys, accepted, refused) in limits {
        let read = |life: &str| {
            let keys = keys.replace("LIFE", life);
            let text = format!("{HEAD}  istio: {{ca: {{certManager: {{issuer: a}}, {keys}}}}}\n{THREE}");
            Mesh::parse(&text, "spire-mesh.yaml")
        };
        assert!(read(accepted).is_ok(), "{keys}: {accepted}");
        assert!(read(refused).is_err(), "{keys}: {refused}");
    }
}

#[test]
fn no_namespace_of_kubernetes_is_taken_for_spire() {
    for namespace in ["default", "kube-node-lease", "kube-public", "kube-system"] {
        for key in ["serverNamespace", "agentNamespace"] {
            let problems = refused_defaults(&format!("{{{key}: {namespace}}}"));
            assert!(problems.contains("belongs to Kubernetes"), "{problems}");
        }
    }
}

#[test]
fn a_key_of_another_way_to_the_bundle_endpoint_is_refused() {
    let ways = ["LoadBalancer", "NodePort", "URL"];
    let keys = [
        ("url: 'https://foo.com'", "URL"),
        ("nodePort: 30010", "NodePort"),
        ("loadBalancerClass: a", "LoadBalancer"),
        ("annotations: {a: b}", "LoadBalancer"),
    ];
    for (key, way) in keys {
        for expose in ways {
            let url = if expose == "URL" && way != "URL" { "url: 'https://foo.com', " } else { "" };
            let text = with_cluster(&format!("{{bundleEndpoint: {{expose: {expose}, {url}{key}}}}}"));
            let read = Mesh::parse(&text, "spire-mesh.yaml");
            let told = read.as_ref().err().map(ToString::to_string);
            assert_eq!(read.is_ok(), expose == way, "{expose} with {key}: {told:?}");
            let reason = format!("is used with `expose: {way}` only");
            assert!(told.is_none_or(|told| told.contains(&reason)), "{expose} with {key}");
        }
    }
}

#[test]
fn what_stands_in_the_third_cluster_is_compared_with_the_first() {
    let three = |third: &str| {
        let first = "{name: foo, trustDomain: foo.com, context: one, endpoint: {server: 'https://one:6443'}}";
        let second = "{name: bar, trustDomain: bar.com, context: two, endpoint: {eks: {name: two}}}";
        let text = format!("{HEAD}  clusters:\n    - {first}\n    - {second}\n    - {third}\n");
        Mesh::parse(&text, "spire-mesh.yaml")
    };
    let fine =
        "{name: baz, trustDomain: baz.com, context: three, endpoint: {eks: {name: two, region: eu-west-1}}}";
    assert_eq!(three(fine).unwrap().clusters.len(), 3);
    let twice = [
        ("name: baz", "name: foo", "cluster name `foo` belongs to two clusters"),
        ("trustDomain: baz.com", "trustDomain: foo.com", "trust domain `foo.com` belongs to two clusters"),
        ("context: three", "context: one", "context `one` belongs to two clusters"),
        ("context: three, ", "", "fine"),
        ("context: three", "context: bar", "fine"),
        (", region: eu-west-1", "", "EKS cluster `two` belongs to two clusters"),
        (
            "eks: {name: two, region: eu-west-1}",
            "server: 'https://one:6443/'",
            "API server `https://one:6443` belongs to two clusters",
        ),
    ];
    for (from, to, problem) in twice {
        let told =
            three(&fine.replace(from, to)).map_or_else(|error| error.to_string(), |_| "fine".to_owned());
        assert!(told.contains(problem), "{to}: {told}");
    }
}

#[test]
fn no_key_of_istio_that_follows_from_the_rest_of_the_file_is_taken() {
    let keys = [
        "meshConfig: {trustDomain: a}",
        "meshConfig: {trustDomainAliases: [a]}",
        "meshConfig: {caCertificates: []}",
        "values: {meshConfig: {}}",
        "values: {global: {meshID: a}}",
        "values: {global: {network: a}}",
        "values: {global: {multiCluster: {}}}",
        "values: {sidecarInjectorWebhook: {templates: {spire: a}}}",
    ];
    for key in keys {
        let problems = refused(&format!("{HEAD}  istio: {{{key}}}\n{THREE}"));
        let is_named = problems.contains("follows from the rest") || problems.contains("is written as");
        assert!(is_named && problems.starts_with("spire-mesh.yaml:5:"), "{key}: {problems}");
    }
    let free = "values: {global: {proxy: {}}, trustDomain: a}, meshConfig: {global: {network: a}}";
    assert!(Mesh::parse(&format!("{HEAD}  istio: {{{free}}}\n{THREE}"), "spire-mesh.yaml").is_ok());
}

#[test]
fn what_istio_must_not_be_told_twice_is_refused() {
    insta::assert_snapshot!(refused(&format!(
        "{HEAD}  istio:\n    profile: ambient\n    tag: '-1'\n    istioctl: -x\n    meshConfig: {{trustDomain: a, caCertificates: []}}\n    \
         values: {{global: {{network: a, meshID: b, proxy: {{}}}}, meshConfig: {{}}, sidecarInjectorWebhook: {{templates: {{spire: x}}}}}}\n{THREE}"
    )));
}

#[test]
fn every_wrong_image_of_a_demo_is_reported_at_its_place() {
    insta::assert_snapshot!(refused(&format!("{HEAD}  demo: {{images: {{helloworldV2: 'a b', reviewsV1: '', review: x}}}}\n{THREE}")), @r"
    mesh file `spire-mesh.yaml` has 3 problems
    spire-mesh.yaml:5:33: `a b` is not a container image
      5 |   demo: {images: {helloworldV2: 'a b', reviewsV1: '', review: x}}
        |                                 ^
    spire-mesh.yaml:5:51: `` is not a container image
      5 |   demo: {images: {helloworldV2: 'a b', reviewsV1: '', review: x}}
        |                                                   ^
    spire-mesh.yaml:5:55: unknown key `review` in `spec.demo.images`; did you mean `reviewsV1`?
      5 |   demo: {images: {helloworldV2: 'a b', reviewsV1: '', review: x}}
        |                                                       ^
    ");
}

#[test]
fn what_is_wrong_with_istiods_ca_is_said_at_its_place() {
    let with = |ca: &str| refused(&format!("{HEAD}  istio: {{ca: {ca}}}\n{THREE}"));
    let refusals = [
        with("{}"),
        with("{duration: 720h}"),
        with("{certManager: {}}"),
        with("{certManager: {issuer: 'a b', kind: Issuers}, duration: 10m, renewBefore: 1m}"),
        with("{certManager: {issuer: a}, duration: 240h, renewBefore: 240h}"),
        with("{certManager: {issuer: a, namespace: b}, renewBefor: 5m}"),
    ];
    insta::assert_snapshot!(refusals.join("\n\n"));
}
