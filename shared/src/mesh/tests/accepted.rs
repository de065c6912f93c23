//! What is accepted, and what it means.

use std::time::Duration;

use super::*;

#[test]
fn the_short_form_has_every_default() {
    insta::assert_debug_snapshot!(parse(&format!("{HEAD}{THREE}")).clusters[0]);
}

#[test]
fn a_clusters_own_keys_win_one_by_one() {
    let mesh = parse(&format!(
        "{HEAD}  spire:\n    caTTL: 24h\n    images: {{server: mirror/server:1, agent: mirror/agent:1}}\n    storage: {{class: gp3}}\n    \
         bundleEndpoint: {{annotations: {{example.com/a: b}}}}\n  clusters:\n    - {{name: foo, trustDomain: foo.com}}\n    - name: bar\n      \
         trustDomain: bar.com\n      context: me@bar\n      spire:\n        svidTTL: 1h\n        images: {{server: own/server:2}}\n        \
         storage: {{size: 5Gi}}\n        bundleEndpoint: {{expose: NodePort, nodePort: 30010}}\n        keyType: rsa-4096\n"
    ));
    let (foo, bar) = (managed(&mesh.clusters[0]), managed(&mesh.clusters[1]));
    assert_eq!((foo.ca_ttl, bar.ca_ttl), (Duration::from_hours(24), Duration::from_hours(24)));
    assert_eq!((foo.svid_ttl, bar.svid_ttl), (Duration::from_hours(4), Duration::from_hours(1)));
    assert_eq!((foo.images.server.as_str(), bar.images.server.as_str()), ("mirror/server:1", "own/server:2"));
    assert_eq!(bar.images.agent, "mirror/agent:1");
    assert_eq!((foo.storage.size.as_str(), bar.storage.size.as_str()), ("1Gi", "5Gi"));
    assert_eq!(bar.storage.class.as_deref(), Some("gp3"));
    assert_eq!((foo.key_type, bar.key_type), (KeyType::EcP256, KeyType::Rsa4096));
    assert_eq!(bar.bundle_endpoint.exposure, Exposure::NodePort { port: Some(30010) });
    assert_eq!(mesh.clusters[1].context, "me@bar");
    let annotations = [("example.com/a".to_owned(), "b".to_owned())].into();
    assert_eq!(foo.bundle_endpoint.exposure, Exposure::LoadBalancer { class: None, annotations });
}

#[test]
fn every_key_of_the_third_cluster_wins_and_the_others_keep_those_of_the_mesh() {
    let spire = |name: &str, number: u32| {
        format!(
            "{{serverNamespace: {name}-server, agentNamespace: {name}-agent, keyType: rsa-{number}, caTTL: {number}h, svidTTL: {number}m, \
             agentSyncInterval: {}s, storage: {{class: {name}, size: {number}Gi}}, \
             images: {{server: '{name}/server:1', agent: '{name}/agent:1', controllerManager: '{name}/manager:1', \
             csiDriver: '{name}/csi:1', nodeDriverRegistrar: '{name}/registrar:1'}}, \
             bundleEndpoint: {{refreshHint: {}m, loadBalancerClass: {name}, annotations: {{{name}: a}}}}, \
             upstreamAuthority: {{certManager: {{issuer: {name}, kind: ClusterIssuer, group: {name}.example, namespace: {name}-pki}}}}}}",
            number / 1024,
            number / 100,
        )
    };
    let istio = |name: &str, number: u32| {
        format!(
            "{{istioctl: {name}ctl, hub: {name}/istio, tag: '{number}', profile: {name}, \
             eastWestGateway: {{loadBalancerClass: {name}-east, annotations: {{{name}: e}}}}, \
             ingressGateway: {{enabled: true, loadBalancerClass: {name}-in, annotations: {{{name}: i}}}}, \
             ca: {{certManager: {{issuer: {name}, kind: ClusterIssuer, group: {name}.example}}, duration: {number}h, renewBefore: {number}m}}, \
             meshConfig: {{{name}: {number}, both: {name}}}, values: {{{name}: {number}, both: {name}}}}}"
        )
    };
    let mesh = parse(&format!(
        "{HEAD}  spire: {}\n  istio: {}\n  clusters:\n    - {{name: foo, trustDomain: foo.com}}\n    - {{name: bar, trustDomain: bar.com}}\n    \
         - {{name: baz, trustDomain: baz.com, context: me@baz, network: vpc-3, spire: {}, istio: {}}}\n",
        spire("all", 2048),
        istio("all", 2048),
        spire("own", 4096),
        istio("own", 4096),
    ));
    let [foo, bar, baz] = mesh.clusters.as_slice() else { panic!() };
    assert_eq!((&foo.spire, &foo.istio), (&bar.spire, &bar.istio));
    insta::assert_debug_snapshot!("all_keys_of_the_mesh", foo);
    insta::assert_debug_snapshot!("all_keys_of_the_cluster", baz);
}

#[test]
fn images_of_the_demos_have_defaults_one_by_one() {
    let mesh = parse(&format!(
        "{HEAD}  demo: {{images: {{sleep: 'mirror/curl:1', reviewsV3: mirror/reviews:3}}}}\n{THREE}"
    ));
    insta::assert_debug_snapshot!(mesh.demo, @r#"
    DemoImages {
        helloworld_v1: "docker.io/istio/examples-helloworld-v1:1.0",
        helloworld_v2: "docker.io/istio/examples-helloworld-v2:1.0",
        sleep: "mirror/curl:1",
        productpage: "docker.io/istio/examples-bookinfo-productpage-v1:1.20.3",
        details: "docker.io/istio/examples-bookinfo-details-v1:1.20.3",
        ratings: "docker.io/istio/examples-bookinfo-ratings-v1:1.20.3",
        reviews_v1: "docker.io/istio/examples-bookinfo-reviews-v1:1.20.3",
        reviews_v2: "docker.io/istio/examples-bookinfo-reviews-v2:1.20.3",
        reviews_v3: "mirror/reviews:3",
    }
    "#);
}

#[test]
fn the_default_life_of_svids_follows_a_short_ca() {
    let mesh = parse(&with_cluster("{caTTL: 3h}"));
    assert_eq!(managed(&mesh.clusters[0]).svid_ttl, Duration::from_mins(30));
}

#[test]
fn a_spire_of_somebody_else_needs_nothing() {
    let mesh = parse(&with_cluster("{managed: false}"));
    assert_eq!(mesh.clusters[0].spire, Spire::Existing(ExistingSpire::default()));
    let mesh = parse(&with_cluster(
        "{managed: false, serverNamespace: spire, agentNamespace: nodes, bundleEndpoint: {url: 'https://spire.foo.com:8443'}}",
    ));
    let existing = ExistingSpire {
        server_namespace: Some("spire".to_owned()),
        agent_namespace: Some("nodes".to_owned()),
        bundle_endpoint_url: Some("https://spire.foo.com:8443".parse().unwrap()),
    };
    assert_eq!(mesh.clusters[0].spire, Spire::Existing(existing));
}

#[test]
fn an_upstream_authority_has_every_default_but_the_issuers_name() {
    let issuer = |mesh: &Mesh, cluster: usize| managed(&mesh.clusters[cluster]).upstream_authority.clone();
    let mesh = parse(&with_cluster(
        "{serverNamespace: trust, upstreamAuthority: {certManager: {issuer: spire-ca}}}",
    ));
    let short = CertManagerIssuer {
        name: "spire-ca".to_owned(),
        kind: IssuerKind::Issuer,
        group: "cert-manager.io".to_owned(),
        namespace: "trust".to_owned(),
    };
    assert_eq!(issuer(&mesh, 0), UpstreamAuthority::CertManager(short));
    assert_eq!(issuer(&mesh, 1), UpstreamAuthority::SelfSigned);
}

#[test]
fn clusters_can_have_an_issuer_each_with_the_rest_in_common() {
    let mesh = parse(&format!(
        "{HEAD}  spire:\n    upstreamAuthority: {{certManager: {{kind: ClusterIssuer, group: ca.example.com, namespace: pki}}}}\n  clusters:\n    \
         - {{name: foo, trustDomain: foo.com, spire: {{upstreamAuthority: {{certManager: {{issuer: foo-ca}}}}}}}}\n    \
         - {{name: bar, trustDomain: bar.com, spire: {{upstreamAuthority: {{certManager: {{issuer: bar-ca, kind: AWSPCAIssuer}}}}}}}}\n"
    ));
    let issuer = |name: &str, kind| {
        UpstreamAuthority::CertManager(CertManagerIssuer {
            name: name.to_owned(),
            kind,
            group: "ca.example.com".to_owned(),
            namespace: "pki".to_owned(),
        })
    };
    assert_eq!(managed(&mesh.clusters[0]).upstream_authority, issuer("foo-ca", IssuerKind::ClusterIssuer));
    assert_eq!(
        managed(&mesh.clusters[1]).upstream_authority,
        issuer("bar-ca", IssuerKind::Other("AWSPCAIssuer".to_owned()))
    );
}

#[test]
fn clusters_can_wait_for_their_own_address() {
    let mesh = parse(&format!(
        "{HEAD}  spire: {{bundleEndpoint: {{expose: URL}}}}\n  clusters:\n    - {{name: foo, trustDomain: foo.com, spire: {{bundleEndpoint: \
         {{url: 'https://foo.com'}}}}}}\n    - {{name: bar, trustDomain: bar.com, spire: {{bundleEndpoint: {{expose: NodePort}}}}}}\n"
    ));
    assert_eq!(
        managed(&mesh.clusters[0]).bundle_endpoint.exposure,
        Exposure::Url("https://foo.com".parse().unwrap())
    );
    assert_eq!(managed(&mesh.clusters[1]).bundle_endpoint.exposure, Exposure::NodePort { port: None });
}

#[test]
fn json_line_ends_of_windows_and_a_byte_order_mark_are_yaml_too() {
    let text = format!("\u{feff}{HEAD}{THREE}").replace('\n', "\r\n");
    assert_eq!(parse(&text), parse(&format!("{HEAD}{THREE}")));
    parse(
        r#"{"apiVersion":"spire-mesh/v1alpha1","kind":"Mesh","metadata":{"name":"m"},"spec":{"clusters":[{"name":"foo","trustDomain":"foo.com"},{"name":"bar","trustDomain":"bar.com"}]}}"#,
    );
}

#[test]
fn istio_has_defaults_and_a_clusters_own_keys_win_at_every_depth() {
    let short = parse(&format!("{HEAD}{THREE}"));
    insta::assert_debug_snapshot!(short.clusters[0].istio);
    assert_eq!(short.clusters[0].network, "foo");
    let mesh = parse(&format!(
        "{HEAD}  istio:\n    istioctl: /opt/istio/istioctl\n    hub: mirror/istio\n    tag: 1.31.0\n    meshConfig: {{accessLogFile: /dev/stdout}}\n    \
         values:\n      pilot: {{env: {{A: '1', B: '2'}}, traceSampling: 0.5}}\n    eastWestGateway: {{annotations: {{a/b: c}}}}\n  clusters:\n    \
         - name: foo\n      trustDomain: foo.com\n      network: vpc-1\n      istio:\n        ingressGateway: {{enabled: false}}\n        \
         values: {{pilot: {{env: {{B: '3'}}, replicas: 2}}}}\n        eastWestGateway: {{loadBalancerClass: eks.amazonaws.com/nlb}}\n    \
         - {{name: bar, trustDomain: bar.com}}\n"
    ));
    assert_eq!(mesh.clusters[0].network, "vpc-1");
    insta::assert_debug_snapshot!(mesh.clusters[0].istio);
}

#[test]
fn istiods_ca_is_layered_key_by_key_and_renewed_in_the_last_quarter_of_its_life() {
    let mesh = parse(&format!(
        "{HEAD}  istio: {{ca: {{certManager: {{issuer: istio-ca}}, renewBefore: 240h}}}}\n  clusters:\n    - {{name: foo, trustDomain: foo.com}}\n    \
         - name: bar\n      trustDomain: bar.com\n      istio: {{ca: {{certManager: {{kind: ClusterIssuer, group: pki.example.com}}, duration: 720h}}}}\n"
    ));
    let ca = |cluster: &Cluster| match &cluster.istio.ca {
        IstioCa::CertManager(ca) => ca.clone(),
        IstioCa::SelfSigned => panic!("it has an issuer"),
    };
    let (foo, bar) = (ca(&mesh.clusters[0]), ca(&mesh.clusters[1]));
    assert_eq!((foo.duration, foo.renew_before), (Duration::from_hours(1440), Duration::from_hours(240)));
    assert_eq!((bar.duration, bar.renew_before), (Duration::from_hours(720), Duration::from_hours(240)));
    assert_eq!((foo.issuer.kind, bar.issuer.kind), (IssuerKind::Issuer, IssuerKind::ClusterIssuer));
    assert_eq!((foo.issuer.namespace.as_str(), bar.issuer.name.as_str()), ("istio-system", "istio-ca"));
    let short = parse(&format!("{HEAD}  istio: {{ca: {{certManager: {{issuer: a}}}}}}\n{THREE}"));
    assert_eq!(ca(&short.clusters[0]).renew_before, Duration::from_hours(360));
}
