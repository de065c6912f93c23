use super::*;

#[test]
fn hosts_have_their_region_and_counters() {
    let hosts = parse_hosts(CLUSTERS).unwrap();
    let (name, of_helloworld) = hosts.of_service("helloworld.sample.svc.cluster.local").next().unwrap();
    assert_eq!((name.port, name.subset), (5000, ""));
    let lines: Vec<String> = of_helloworld
        .iter()
        .map(|host| format!("{} {} {} {}", host.address, host.region, host.health, host.counters.requests))
        .collect();
    assert_eq!(lines, ["10.3.0.129:15443 bar HEALTHY 5", "10.12.0.10:5000 foo HEALTHY 3"]);
    assert_eq!(of_helloworld[0].counters.connect_failures, 0);
    let agent = &hosts.clusters["sds-grpc"][0];
    assert_eq!(agent.address.to_string(), "./var/run/secrets/workload-spiffe-uds/spire-agent.sock");
    assert_eq!(hosts.clusters["PassthroughCluster"], []);
    assert_eq!(hosts.of_service("world.sample.svc.cluster.local").count(), 0);
}

#[test]
fn a_service_has_the_clusters_of_all_its_ports_and_subsets_and_no_inbound_one() {
    let cluster = |name: &str| json!({"name": name});
    let answer = json!({"cluster_statuses": [
        cluster("outbound|5000||a.svc"),
        cluster("inbound|5000||a.svc"),
        cluster("outbound|5000||b.svc"),
        cluster("outbound|5000|v1|a.svc"),
        cluster("outbound_.80_._.a.svc"),
        cluster("a.svc"),
    ]});
    let hosts = parse_hosts(&serde_json::to_vec(&answer).unwrap()).unwrap();
    assert_eq!(hosts.clusters.len(), 6);
    let names: Vec<(u16, &str)> =
        hosts.of_service("a.svc").map(|(name, _)| (name.port, name.subset)).collect();
    assert_eq!(names, [(80, ""), (5000, "v1"), (5000, "")]);
}

#[test]
fn an_address_is_written_as_it_is_called() {
    let socket = |address: &str| HostAddress::Socket { address: address.to_owned(), port: 80 }.to_string();
    assert_eq!(socket("10.0.0.7"), "10.0.0.7:80");
    assert_eq!(socket("fd00::7"), "[fd00::7]:80");
    assert_eq!(HostAddress::Pipe("/run/a.sock".to_owned()).to_string(), "/run/a.sock");
    assert_eq!(HostAddress::Internal.to_string(), "internal");
}

#[test]
fn every_counter_is_taken_for_what_it_counts() {
    let names =
        ["cx_total", "cx_connect_fail", "rq_total", "rq_success", "rq_error", "rq_timeout", "cx_active"];
    let stats: Vec<Value> = names
        .iter()
        .zip(1..)
        .map(|(name, value)| json!({"name": name, "value": value.to_string()}))
        .collect();
    let host = json!({
        "address": {"socket_address": {"address": "10.0.0.7", "port_value": 80}},
        "stats": stats,
        "health_status": {"eds_health_status": "DRAINING", "other": "text"},
        "weight": 7,
        "locality": {"region": "eu", "zone": "eu-1"},
    });
    let answer = json!({"cluster_statuses": [{"name": "a", "host_statuses": [host]}]});
    let hosts = parse_hosts(&serde_json::to_vec(&answer).unwrap()).unwrap();
    let counters =
        Counters { connections: 1, connect_failures: 2, requests: 3, successes: 4, errors: 5, timeouts: 6 };
    let expected = Host {
        address: HostAddress::Socket { address: "10.0.0.7".to_owned(), port: 80 },
        region: "eu".to_owned(),
        zone: "eu-1".to_owned(),
        health: "DRAINING".to_owned(),
        failures: Vec::new(),
        weight: 7,
        counters,
    };
    assert_eq!(hosts.clusters["a"], [expected]);
}

#[test]
fn what_envoy_holds_against_a_host_is_listed() {
    let answer = json!({"cluster_statuses": [{"name": "a", "host_statuses": [{
        "health_status": {"failed_outlier_check": true, "failed_active_health_check": true, "pending_dynamic_removal": false, "new": {}},
        "stats": [{"name": "rq_total", "value": 7}, {"name": "rq_error", "value": "18446744073709551615"}],
    }]}]});
    let hosts = parse_hosts(&serde_json::to_vec(&answer).unwrap()).unwrap();
    let host = &hosts.clusters["a"][0];
    assert_eq!(host.failures, ["failed_active_health_check", "failed_outlier_check"]);
    assert_eq!((host.health.as_str(), &host.address), ("UNKNOWN", &HostAddress::Internal));
    assert_eq!((host.counters.requests, host.counters.errors), (7, u64::MAX));
}

#[test]
fn numbers_that_are_none_are_an_error() {
    for value in [json!("-1"), json!("x"), json!(-1), json!(1.5), json!("18446744073709551616"), json!([])] {
        let answer = json!({"cluster_statuses": [{"name": "a", "host_statuses": [{"stats": [{"name": "rq_total", "value": value}]}]}]});
        assert!(parse_hosts(&serde_json::to_vec(&answer).unwrap()).is_err(), "{value}");
    }
}

#[test]
fn names_of_clusters_are_taken_apart() {
    let name = ClusterName::parse("outbound|5000|v1|helloworld.sample.svc.cluster.local").unwrap();
    assert_eq!(
        (name.direction, name.port, name.subset, name.host),
        ("outbound", 5000, "v1", "helloworld.sample.svc.cluster.local")
    );
    let gateway = ClusterName::parse("outbound_.5000_._.helloworld.sample.svc.cluster.local").unwrap();
    assert_eq!(
        (gateway.direction, gateway.port, gateway.subset, gateway.host),
        ("outbound", 5000, "", "helloworld.sample.svc.cluster.local")
    );
    for other in ["", "PassthroughCluster", "outbound|x||y", "outbound|70000||y", "sds-grpc"] {
        assert_eq!(ClusterName::parse(other), None, "{other}");
    }
}

#[test]
fn hosts_are_written_into_queries_literally() {
    assert_eq!(literally("|a-b.svc"), "%5C%7Ca-b%5C%2Esvc");
    assert_eq!(literally("&mask=*"), "%5C%26mask%5C%3D%5C%2A");
    // Letters of other scripts and blanks are no punctuation.
    assert_eq!(literally("Az09_ ä"), "Az09_%20%C3%A4");
}
