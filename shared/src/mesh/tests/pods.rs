//! Keys of pods: where they may be, what they take, how many there are.

use super::*;

#[test]
fn what_is_said_of_pods_is_read_and_a_clusters_own_keys_win_one_by_one() {
    let text = "
  spire:
    server:
      placement:
        nodeSelector: {pool: system}
        tolerations: [{key: system, operator: Exists, effect: NoSchedule}]
        priorityClassName: mesh
        affinity:
          nodeAffinity:
            requiredDuringSchedulingIgnoredDuringExecution:
              nodeSelectorTerms:
              - matchExpressions: [{key: topology.kubernetes.io/zone, operator: In, values: [eu-west-1a]}]
      resources: {requests: {memory: 256Mi}}
      podAnnotations: {karpenter.sh/do-not-disrupt: 'true'}
    agent:
      placement: {nodeSelector: {pool: all}, tolerations: []}
      resources: {limits: {memory: 1Gi}}
  istio:
    istiod: {replicas: 3, resources: {requests: {cpu: 100m}}}
    eastWestGateway: {placement: {nodeSelector: {pool: edge}}}
  clusters:
    - {name: foo, trustDomain: foo.com}
    - name: bar
      trustDomain: bar.com
      spire:
        server: {placement: {nodeSelector: {pool: bar}, tolerations: []}, resources: {requests: {cpu: '1'}}}
      istio:
        istiod: {replicas: 1}
        eastWestGateway: {replicas: 4}
        ingressGateway: {podAnnotations: {a: b}, placement: {tolerations: [{key: edge, value: 'yes', effect: NoExecute, tolerationSeconds: 60}]}}
";
    let mesh = parse(&format!("{HEAD}{text}"));
    let of = |cluster: &Cluster| {
        let spire = managed(cluster);
        let istio = &cluster.istio;
        let gateway = istio.ingress_gateway.as_ref().unwrap();
        (
            spire.server.clone(),
            spire.agent.clone(),
            istio.istiod.clone(),
            istio.east_west_gateway.pods.clone(),
            gateway.pods.clone(),
        )
    };
    insta::assert_debug_snapshot!(of(&mesh.clusters[0]));
    insta::assert_debug_snapshot!(of(&mesh.clusters[1]));
}

#[test]
fn what_no_pod_can_have_is_refused_with_its_place() {
    let text = "
  spire:
    server:
      placement:
        nodeSelector: {a/b/c: x, pool: -x}
        priorityClassName: A_b
        tolerations:
        - {operator: Exist}
        - {key: a, operator: Exists, value: b}
        - {value: b}
        - {key: a, tolerationSeconds: 60}
        affinity:
          nodeAfinity: {}
          podAntiAffinity:
            requiredDuringSchedulingIgnoredDuringExecution:
            - labelSelector: {matchExpressions: [{key: app, operator: Inn, values: [a]}]}
      resources: {requests: {memory: 2Gi, cpu: 1x}, limits: {disk: 1Gi}}
      podAnnotations: {spire-mesh.dev/config-sha256: x, 'a b': c}
    agent:
      placement: {affinity: {}}
  istio:
    istiod: {replicas: 0, resources: {requests: {cpu: 2}, limits: {cpu: 500m}}}
    eastWestGateway: {replica: 2}
    ingressGateway: {placement: {affinity: {nodeAffinity: []}}}
    values: {pilot: {replicaCount: 3}, gateways: {istio-ingressgateway: {replicaCount: 3}}}
";
    insta::assert_snapshot!(refused(&format!("{HEAD}{text}{THREE}")));
    let told = refused(&with_cluster("{server: {resources: {requests: {cpu: 500m}, limits: {cpu: 250m}}}}"));
    insta::assert_snapshot!(told);
}

#[test]
fn nothing_is_said_of_the_pods_of_somebody_elses_spire() {
    insta::assert_snapshot!(refused(&with_cluster(
        "{managed: false, server: {podAnnotations: {}}, agent: {}}"
    )));
}
