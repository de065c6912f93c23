//! Where API servers are, for the other clusters.

use super::*;

/// A file whose first cluster is called `name` and has this `endpoint`.
fn with_endpoint(endpoint: &str) -> String {
    format!("{HEAD}{THREE}").replace("name: foo,", &format!("name: foo, endpoint: {endpoint},"))
}

fn endpoint(endpoint: &str) -> ApiEndpoint {
    parse(&with_endpoint(endpoint)).clusters[0].endpoint.clone()
}

fn eks(name: &str, region: Option<&str>, profile: Option<&str>) -> ApiEndpoint {
    ApiEndpoint::Eks(EksCluster {
        name: name.to_owned(),
        region: region.map(str::to_owned),
        profile: profile.map(str::to_owned),
        role_arn: None,
    })
}

#[test]
fn a_cluster_of_another_account_is_reached_through_a_role_there() {
    let ApiEndpoint::Eks(found) = endpoint("{eks: {roleArn: 'arn:aws:iam::123456789012:role/mesh'}}") else {
        panic!("it is asked of AWS");
    };
    assert_eq!(found.role_arn.as_deref(), Some("arn:aws:iam::123456789012:role/mesh"));
    insta::assert_snapshot!(refused(&with_endpoint("{eks: {roleArn: mesh}}")), @r"
    spire-mesh.yaml:6:45: `mesh` is not the ARN of a role such as arn:aws:iam::123456789012:role/NAME
      6 |     - {name: foo, endpoint: {eks: {roleArn: mesh}}, trustDomain: foo.com}
        |                                             ^
    ");
}

#[test]
fn an_api_server_is_where_the_kubeconfig_has_it_unless_the_file_says_where() {
    assert_eq!(parse(&format!("{HEAD}{THREE}")).clusters[0].endpoint, ApiEndpoint::Kubeconfig);
    let server = "https://10.0.1.1:6443".parse().unwrap();
    assert_eq!(endpoint("{server: 'https://10.0.1.1:6443'}"), ApiEndpoint::Server(server));
    assert_eq!(endpoint("{eks: {}}"), eks("foo", None, None));
    assert_eq!(
        endpoint("{eks: {name: Prod_1, region: us-gov-west-1, profile: my admin}}"),
        eks("Prod_1", Some("us-gov-west-1"), Some("my admin"))
    );
}

#[test]
fn an_endpoint_says_one_thing() {
    insta::assert_snapshot!(refused(&with_endpoint("{}")), @r"
    spire-mesh.yaml:6:29: `endpoint` says nothing; leave it out, or give it `server` or `eks`
      6 |     - {name: foo, endpoint: {}, trustDomain: foo.com}
        |                             ^
    ");
    insta::assert_snapshot!(refused(&with_endpoint("{server: 'https://foo.com', eks: {}}")), @r"
    spire-mesh.yaml:6:57: `endpoint` takes one of `server` and `eks`, not both
      6 |     - {name: foo, endpoint: {server: 'https://foo.com', eks: {}}, trustDomain: foo.com}
        |                                                         ^
      6 |     - {name: foo, endpoint: {server: 'https://foo.com', eks: {}}, trustDomain: foo.com}
        |                              ^ and this
    ");
    insta::assert_snapshot!(refused(&with_endpoint("https://foo.com")), @r"
    spire-mesh.yaml:6:29: `endpoint` must be a map of keys and values, not text
      6 |     - {name: foo, endpoint: https://foo.com, trustDomain: foo.com}
        |                             ^
    ");
    insta::assert_snapshot!(refused(&with_endpoint("{eks: }")), @r"
    mesh file `spire-mesh.yaml` has 2 problems
    spire-mesh.yaml:6:29: `endpoint` says nothing; leave it out, or give it `server` or `eks`
      6 |     - {name: foo, endpoint: {eks: }, trustDomain: foo.com}
        |                             ^
    spire-mesh.yaml:6:33: `eks` has no value
      6 |     - {name: foo, endpoint: {eks: }, trustDomain: foo.com}
        |                                 ^
    ");
    insta::assert_snapshot!(refused(&with_endpoint("{region: eu-west-1}")), @r"
    mesh file `spire-mesh.yaml` has 2 problems
    spire-mesh.yaml:6:29: `endpoint` says nothing; leave it out, or give it `server` or `eks`
      6 |     - {name: foo, endpoint: {region: eu-west-1}, trustDomain: foo.com}
        |                             ^
    spire-mesh.yaml:6:30: unknown key `region` in `spec.clusters[0].endpoint`; it belongs below `eks`
      6 |     - {name: foo, endpoint: {region: eu-west-1}, trustDomain: foo.com}
        |                              ^
    ");
}

#[test]
fn values_of_endpoints_are_checked_where_they_stand() {
    insta::assert_snapshot!(refused(&with_endpoint("{server: 'http://foo.com'}")), @r"
    spire-mesh.yaml:6:38: `http://foo.com` does not start with `https://`
      6 |     - {name: foo, endpoint: {server: 'http://foo.com'}, trustDomain: foo.com}
        |                                      ^
    ");
    insta::assert_snapshot!(refused(&with_endpoint("{eks: {name: -foo, region: Ireland, profile: ''}}")), @r"
    mesh file `spire-mesh.yaml` has 3 problems
    spire-mesh.yaml:6:42: `-foo` is not the name of an EKS cluster: at most 100 letters, digits, `-` and `_`, with a letter or digit first
      6 |     - {name: foo, endpoint: {eks: {name: -foo, region: Ireland, profile: ''}}, trustDomain: foo.com}
        |                                          ^
    spire-mesh.yaml:6:56: `Ireland` is not an AWS region such as eu-west-1
      6 |     - {name: foo, endpoint: {eks: {name: -foo, region: Ireland, profile: ''}}, trustDomain: foo.com}
        |                                                        ^
    spire-mesh.yaml:6:74: the name of a profile must not be empty
      6 | …foo, endpoint: {eks: {name: -foo, region: Ireland, profile: ''}}, trustDomain: foo.com}
        |                                                              ^
    ");
    insta::assert_snapshot!(refused(&with_endpoint("{eks: {name: 'arn:aws:eks:eu-west-1:123456789012:cluster/foo', region: eu-west-1a, profile: 'a]b'}}")), @r"
    mesh file `spire-mesh.yaml` has 3 problems
    spire-mesh.yaml:6:42: `arn:aws:eks:eu-west-1:123456789012:cluster/foo` is an ARN; its cluster is called `foo`
      6 |     - {name: foo, endpoint: {eks: {name: 'arn:aws:eks:eu-west-1:123456789012:cluster/foo', region: eu…
        |                                          ^
    spire-mesh.yaml:6:100: `eu-west-1a` is an availability zone; its region is `eu-west-1`
      6 | …: 'arn:aws:eks:eu-west-1:123456789012:cluster/foo', region: eu-west-1a, profile: 'a]b'}}, trustDomain: foo.com}
        |                                                              ^
    spire-mesh.yaml:6:121: `a]b` is not the name of a profile
      6 | …t-1:123456789012:cluster/foo', region: eu-west-1a, profile: 'a]b'}}, trustDomain: foo.com}
        |                                                              ^
    ");
    insta::assert_snapshot!(refused(&with_endpoint("{eks: {region: 'evil.example.com/1'}}")), @r"
    spire-mesh.yaml:6:44: `evil.example.com/1` is not an AWS region such as eu-west-1
      6 |     - {name: foo, endpoint: {eks: {region: 'evil.example.com/1'}}, trustDomain: foo.com}
        |                                            ^
    ");
}

#[test]
fn an_api_server_belongs_to_one_cluster() {
    let both = |foo: &str, bar: &str| {
        with_endpoint(foo).replace("name: bar,", &format!("name: bar, endpoint: {bar},"))
    };
    insta::assert_snapshot!(refused(&both("{server: 'https://foo.com'}", "{server: 'https://foo.com/'}")), @r"
    spire-mesh.yaml:7:38: API server `https://foo.com` belongs to two clusters
      7 |     - {name: bar, endpoint: {server: 'https://foo.com/'}, trustDomain: bar.com}
        |                                      ^
      6 |     - {name: foo, endpoint: {server: 'https://foo.com'}, trustDomain: foo.com}
        |                                      ^ and this
    ");
    insta::assert_snapshot!(refused(&both("{eks: {region: eu-west-1}}", "{eks: {name: foo, region: eu-west-1}}")), @r"
    spire-mesh.yaml:7:42: EKS cluster `foo (eu-west-1)` belongs to two clusters
      7 |     - {name: bar, endpoint: {eks: {name: foo, region: eu-west-1}}, trustDomain: bar.com}
        |                                          ^
      6 |     - {name: foo, endpoint: {eks: {region: eu-west-1}}, trustDomain: foo.com}
        |                                   ^ and this
    ");
    parse(&both("{eks: {name: prod, region: eu-west-1}}", "{eks: {name: prod, region: eu-west-2}}"));
    parse(&both("{eks: {name: prod, profile: us}}", "{eks: {name: prod, profile: them}}"));
}
