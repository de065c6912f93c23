//! Who answered: from what the client's sidecar counted of each host, and from what answers say about themselves.

use std::collections::{BTreeMap, HashMap};

use crate::envoy::{Host, HostAddress};

/// What stands for an answer of which nobody knows where it came from.
pub const UNKNOWN: &str = "unknown";

/// A pod that may answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Name of its cluster in the mesh.
    pub cluster: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub pod: String,
    /// Its workload.
    pub workload: String,
    /// What its labels say about its version.
    pub version: Option<String>,
    /// Its addresses, where the client reaches it without a gateway; else none: addresses of other networks may be the same.
    pub addresses: Vec<String>,
}

/// The pods that may answer, by name and by address. Each keeps its number when more become known.
#[derive(Clone, Debug, Default)]
pub struct Places {
    all: Vec<Place>,
    by_name: HashMap<Vec<u8>, Named>,
    by_address: HashMap<String, usize>,
}

#[derive(Clone, Copy, Debug)]
enum Named {
    One(usize),
    /// Pods of `StatefulSet`s have the same name in every cluster.
    Several,
}

impl Places {
    /// Adds pods; those that are known already stay as they are.
    pub fn learn(&mut self, places: impl IntoIterator<Item = Place>) {
        for place in places {
            let same = |known: &&Place| {
                (&known.cluster, &known.namespace, &known.pod)
                    == (&place.cluster, &place.namespace, &place.pod)
            };
            if self.all.iter().any(|known| same(&known)) {
                continue;
            }
            let number = self.all.len();
            for address in &place.addresses {
                self.by_address.insert(address.clone(), number);
            }
            let named = self.by_name.entry(place.pod.clone().into_bytes());
            named.and_modify(|named| *named = Named::Several).or_insert(Named::One(number));
            self.all.push(place);
        }
    }

    /// Returns a pod by its number.
    #[must_use]
    pub fn get(&self, number: usize) -> Option<&Place> {
        self.all.get(number)
    }

    /// Goes through all pods.
    pub fn iter(&self) -> impl Iterator<Item = &Place> {
        self.all.iter()
    }

    /// Finds the number of the first pod that a text names, as a word of its own.
    #[must_use]
    pub fn named_in(&self, text: &[u8]) -> Option<usize> {
        let is_of_name =
            |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
        let words = text.split(|byte| !is_of_name(byte)).filter(|word| !word.is_empty());
        words
            .filter_map(|word| {
                // A full stop may end a sentence.
                let trimmed = word.strip_suffix(b".").unwrap_or(word);
                self.by_name.get(word).or_else(|| self.by_name.get(trimmed))
            })
            .find_map(|named| match named {
                Named::One(number) => Some(*number),
                Named::Several => None,
            })
    }
}

/// Whose hosts a sidecar sends requests to.
#[derive(Clone, Debug, Default)]
pub struct Gateways(BTreeMap<(String, u16), String>);

impl Gateways {
    /// Adds a gateway of a network, by its address and port, with the cluster behind it. Where there are several, all are named.
    pub fn add(&mut self, address: &str, port: u16, cluster: &str) {
        let known = self.0.entry((address.to_owned(), port)).or_insert_with(|| cluster.to_owned());
        if !known.split(" or ").any(|name| name == cluster) {
            known.extend([" or ", cluster].map(str::to_owned));
        }
    }

    fn cluster(&self, address: &HostAddress) -> Option<&str> {
        match address {
            HostAddress::Socket { address, port } => {
                self.0.get(&(address.clone(), *port)).map(String::as_str)
            }
            HostAddress::Pipe(_) | HostAddress::Internal => None,
        }
    }
}

/// What a sidecar counted between two looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Requests by the cluster that they went to.
    pub by_cluster: BTreeMap<String, u64>,
    /// Requests by the number of the pod that they went to, of those that are reached without a gateway.
    pub by_place: BTreeMap<usize, u64>,
    /// Connections that failed, by the cluster that they should have gone to.
    pub broken: BTreeMap<String, u64>,
    /// Clusters with at least one host at the second look.
    pub hosts: BTreeMap<String, usize>,
}

impl Counted {
    /// Returns how many requests there were.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_cluster.values().sum()
    }
}

/// Compares two looks at the hosts of a service. A host that was taken away took its counters along: what it answered is not counted.
#[must_use]
pub fn counted(before: &[Host], after: &[Host], places: &Places, gateways: &Gateways) -> Counted {
    let mut counted = Counted::default();
    for host in after {
        let old =
            before.iter().find(|old| old.address == host.address).map(|old| old.counters).unwrap_or_default();
        // Lower than before, it is counted anew: the host was away.
        let since = |now: u64, old: u64| if now >= old { now - old } else { now };
        let requests = since(host.counters.requests, old.requests);
        let broken = since(host.counters.connect_failures, old.connect_failures);
        let place = match &host.address {
            HostAddress::Socket { address, .. } => places.by_address.get(address).copied(),
            HostAddress::Pipe(_) | HostAddress::Internal => None,
        };
        let cluster = match place.and_then(|number| places.get(number)) {
            Some(place) => place.cluster.as_str(),
            None => gateways.cluster(&host.address).unwrap_or(UNKNOWN),
        };
        *counted.hosts.entry(cluster.to_owned()).or_default() += 1;
        if requests > 0 {
            *counted.by_cluster.entry(cluster.to_owned()).or_default() += requests;
            if let Some(number) = place {
                *counted.by_place.entry(number).or_default() += requests;
            }
        }
        if broken > 0 {
            *counted.broken.entry(cluster.to_owned()).or_default() += broken;
        }
    }
    counted
}

/// Where it is known from who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Every answer named its pod.
    Answers,
    /// From the counters of the client's sidecar: at least one answer named no pod that is known.
    Sidecar,
    /// From nowhere: the answers name no pods, and the sidecar could not be asked or knows no such service.
    Nothing,
}

/// Who answered, as far as that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribution {
    /// Answers by cluster, [`UNKNOWN`] among them.
    pub by_cluster: BTreeMap<String, u64>,
    /// Where that is known from.
    pub source: Source,
    /// What does not agree, one sentence each.
    pub remarks: Vec<String>,
}

/// Brings together what answers say and what the sidecar counted. `named` are answers by the cluster of the pod that they named,
/// `unnamed` those that named none; `errors` are requests that failed without an answer of a pod.
#[must_use]
pub fn reconcile(
    named: &BTreeMap<String, u64>,
    unnamed: u64,
    errors: u64,
    counted: Option<&Counted>,
) -> Attribution {
    let answered: u64 = named.values().sum::<u64>() + unnamed;
    let counted = counted.filter(|counted| counted.total() > 0 || answered == 0);
    let mut remarks = Vec::new();
    if let Some(counted) = counted {
        // Those of hosts that nobody knows may be anybody's.
        let anybodys = counted.by_cluster.get(UNKNOWN).copied().unwrap_or(0);
        for (cluster, &said) in named {
            let seen = counted.by_cluster.get(cluster).copied().unwrap_or(0);
            if seen + anybodys < said {
                remarks.push(format!(
                    "{said} answers name pods of {cluster}, and the client's sidecar counted {seen} requests to it"
                ));
            }
        }
        for (cluster, &seen) in &counted.by_cluster {
            let said = named.get(cluster).copied().unwrap_or(0);
            if cluster != UNKNOWN && seen > said + unnamed + errors {
                remarks.push(format!(
                    "the client's sidecar counted {seen} requests to {cluster}, and {said} answers name pods of it: retries, or requests \
                     of somebody else in the same pod"
                ));
            }
        }
    }
    let mut by_cluster = named.clone();
    let source = match counted {
        _ if unnamed == 0 => Source::Answers,
        Some(counted) if counted.total() >= answered => {
            by_cluster.clone_from(&counted.by_cluster);
            if counted.total() > answered + errors {
                remarks.push(format!(
                    "the client's sidecar counted {} requests, and {} were sent: its numbers have retries, or requests of somebody else, in \
                     them",
                    counted.total(),
                    answered + errors
                ));
            }
            Source::Sidecar
        }
        Some(counted) => {
            // Hosts that went away took their counters with them: what is left is the least that can be said.
            for (cluster, &seen) in &counted.by_cluster {
                let known = by_cluster.entry(cluster.clone()).or_default();
                *known = (*known).max(seen);
            }
            let known: u64 = by_cluster.values().sum();
            if answered > known {
                *by_cluster.entry(UNKNOWN.to_owned()).or_default() += answered - known;
            }
            Source::Sidecar
        }
        None => {
            by_cluster.insert(UNKNOWN.to_owned(), unnamed);
            Source::Nothing
        }
    };
    by_cluster.retain(|_, count| *count > 0);
    Attribution { by_cluster, source, remarks }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::envoy::Counters;

    pub(crate) fn place(cluster: &str, pod: &str, version: &str, address: &str) -> Place {
        Place {
            cluster: cluster.to_owned(),
            namespace: "helloworld".to_owned(),
            pod: pod.to_owned(),
            workload: format!("helloworld-{version}"),
            version: Some(version.to_owned()),
            addresses: if address.is_empty() { Vec::new() } else { vec![address.to_owned()] },
        }
    }

    pub(crate) fn places() -> Places {
        let mut places = Places::default();
        places.learn([
            place("foo", "helloworld-v1-abc", "v1", "10.12.0.16"),
            place("bar", "helloworld-v2-def", "v2", ""),
            place("foo", "web-0", "v1", "10.12.0.17"),
            place("bar", "web-0", "v1", ""),
        ]);
        places
    }

    fn host(address: &str, port: u16, requests: u64, connect_failures: u64) -> Host {
        Host {
            address: HostAddress::Socket { address: address.to_owned(), port },
            region: String::new(),
            zone: String::new(),
            health: "HEALTHY".to_owned(),
            failures: Vec::new(),
            weight: 1,
            counters: Counters { connect_failures, requests, ..Counters::default() },
        }
    }

    fn gateways() -> Gateways {
        let mut gateways = Gateways::default();
        gateways.add("10.3.0.129", 15443, "bar");
        gateways.add("10.3.0.129", 15443, "bar");
        gateways
    }

    fn map(counts: &[(&str, u64)]) -> BTreeMap<String, u64> {
        counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn a_pod_is_found_where_a_text_names_it_as_a_word() {
        let places = places();
        let pod = |text: &str| {
            places
                .named_in(text.as_bytes())
                .and_then(|number| places.get(number))
                .map(|place| place.pod.as_str())
        };
        assert_eq!(pod("Hello version: v1, instance: helloworld-v1-abc\n"), Some("helloworld-v1-abc"));
        assert_eq!(pod("{\"pod\":\"helloworld-v2-def\"}"), Some("helloworld-v2-def"));
        assert_eq!(pod("I am helloworld-v2-def."), Some("helloworld-v2-def"));
        assert_eq!(pod("xhelloworld-v2-def"), None);
        assert_eq!(pod("web-0"), None, "both clusters have one");
        assert_eq!(places.named_in(&[0xff, 0, 0x80]), None);
    }

    #[test]
    fn known_pods_keep_their_numbers() {
        let mut places = places();
        places.learn([
            place("foo", "helloworld-v1-abc", "v1", ""),
            place("foo", "helloworld-v1-new", "v1", ""),
        ]);
        assert_eq!(places.named_in(b"helloworld-v1-abc"), Some(0));
        assert_eq!(places.named_in(b"helloworld-v1-new"), Some(4));
    }

    #[test]
    fn hosts_are_those_of_a_pod_or_of_a_networks_gateway() {
        let before =
            [host("10.3.0.129", 15443, 103, 0), host("10.12.0.16", 5000, 3, 0), host("10.9.9.9", 5000, 1, 0)];
        let after = [
            host("10.3.0.129", 15443, 115, 2),
            host("10.12.0.16", 5000, 11, 0),
            host("10.9.9.9", 5000, 2, 0),
        ];
        let counted = counted(&before, &after, &places(), &gateways());
        assert_eq!(counted.by_cluster, map(&[("bar", 12), ("foo", 8), (UNKNOWN, 1)]));
        assert_eq!(counted.by_place, [(0, 8)].into());
        assert_eq!(counted.broken, map(&[("bar", 2)]));
    }

    #[test]
    fn a_host_that_came_back_is_counted_anew() {
        let counted = counted(
            &[host("10.12.0.16", 5000, 100, 0)],
            &[host("10.12.0.16", 5000, 4, 0)],
            &places(),
            &gateways(),
        );
        assert_eq!(counted.by_cluster, map(&[("foo", 4)]));
    }

    #[test]
    fn several_clusters_behind_a_gateway_are_all_named() {
        let mut gateways = gateways();
        gateways.add("10.3.0.129", 15443, "baz");
        let counted = counted(&[], &[host("10.3.0.129", 15443, 1, 0)], &places(), &gateways);
        assert_eq!(counted.by_cluster, map(&[("bar or baz", 1)]));
    }

    fn of(counts: &[(&str, u64)]) -> Counted {
        Counted { by_cluster: map(counts), ..Counted::default() }
    }

    #[test]
    fn answers_that_name_their_pods_are_believed_and_a_sidecar_that_disagrees_is_mentioned() {
        let named = map(&[("foo", 8), ("bar", 12)]);
        let agreed = reconcile(&named, 0, 0, Some(&of(&[("foo", 8), ("bar", 12)])));
        assert_eq!(
            (agreed.by_cluster, agreed.source, agreed.remarks),
            (named.clone(), Source::Answers, Vec::new())
        );
        let other = reconcile(&named, 0, 0, Some(&of(&[("foo", 20)])));
        insta::assert_snapshot!(other.remarks.join("\n"), @r"
        12 answers name pods of bar, and the client's sidecar counted 0 requests to it
        the client's sidecar counted 20 requests to foo, and 8 answers name pods of it: retries, or requests of somebody else in the same pod
        ");
    }

    #[test]
    fn answers_that_name_nobody_are_counted_by_the_sidecar() {
        let seen = reconcile(&map(&[]), 20, 0, Some(&of(&[("foo", 8), ("bar", 12)])));
        assert_eq!((seen.by_cluster, seen.source), (map(&[("foo", 8), ("bar", 12)]), Source::Sidecar));
        assert_eq!(seen.remarks, Vec::<String>::new());
        let more = reconcile(&map(&[]), 20, 0, Some(&of(&[("foo", 8), ("bar", 13)])));
        assert_eq!(more.remarks.len(), 1);
        let fewer = reconcile(&map(&[("foo", 2)]), 20, 0, Some(&of(&[("foo", 1), ("bar", 13)])));
        assert_eq!(fewer.by_cluster, map(&[("foo", 2), ("bar", 13), (UNKNOWN, 7)]));
    }

    #[test]
    fn without_a_sidecar_nobody_knows() {
        let seen = reconcile(&map(&[("foo", 1)]), 4, 0, None);
        assert_eq!((seen.by_cluster, seen.source), (map(&[("foo", 1), (UNKNOWN, 4)]), Source::Nothing));
    }

    #[test]
    fn a_host_that_nobody_knows_is_no_disagreement() {
        let seen = reconcile(&map(&[("foo", 8), ("bar", 12)]), 0, 0, Some(&of(&[("foo", 8), (UNKNOWN, 12)])));
        assert_eq!(seen.remarks, Vec::<String>::new());
    }

    #[test]
    fn requests_that_failed_after_they_were_sent_are_no_disagreement() {
        let seen = reconcile(&map(&[("foo", 8)]), 0, 2, Some(&of(&[("foo", 10)])));
        assert_eq!(seen.remarks, Vec::<String>::new());
    }

    #[test]
    fn a_pod_of_another_namespace_is_another_pod() {
        let mut places = places();
        let elsewhere =
            Place { namespace: "shop".to_owned(), ..place("bar", "helloworld-v2-def", "v2", "10.9.9.1") };
        places.learn([elsewhere.clone(), elsewhere]);
        assert_eq!(places.iter().count(), 5, "it is learnt once");
        assert_eq!(places.named_in(b"helloworld-v2-def"), None, "there are two of that name");
        assert_eq!(places.get(4).map(|place| place.namespace.as_str()), Some("shop"));
        assert!(places.get(5).is_none());
        assert_eq!(
            places.named_in(b"seen by web-0, and by helloworld-v1-abc"),
            Some(0),
            "the first of whom it is known"
        );
    }

    #[test]
    fn pipes_and_pods_behind_the_same_address_and_another_port_are_nobodys() {
        let pipe = Host { address: HostAddress::Pipe("/a".to_owned()), ..host("", 0, 3, 1) };
        let found = counted(
            &[],
            &[pipe, host("10.3.0.129", 80, 2, 0), host("10.12.0.17", 5000, 0, 0)],
            &places(),
            &gateways(),
        );
        assert_eq!(found.by_cluster, map(&[(UNKNOWN, 5)]));
        assert_eq!(found.broken, map(&[(UNKNOWN, 1)]));
        assert_eq!(found.hosts, [("foo".to_owned(), 1), (UNKNOWN.to_owned(), 2)].into());
        assert_eq!((found.total(), found.by_place.len()), (5, 0));
    }

    #[test]
    fn counters_are_compared_host_by_host() {
        let before = [host("10.12.0.16", 5000, 5, 2), host("10.12.0.17", 5000, 5, 2)];
        let after = [host("10.12.0.16", 5000, 5, 2), host("10.12.0.17", 5000, 9, 3)];
        let found = counted(&before, &after, &places(), &gateways());
        assert_eq!((found.by_cluster, found.broken), (map(&[("foo", 4)]), map(&[("foo", 1)])));
        assert_eq!(found.by_place, [(2, 4)].into());
        let both = counted(
            &[],
            &[host("10.12.0.16", 5000, 1, 1), host("10.12.0.17", 5000, 2, 2)],
            &places(),
            &gateways(),
        );
        assert_eq!((both.by_cluster, both.broken), (map(&[("foo", 3)]), map(&[("foo", 3)])));
    }

    #[test]
    fn a_gateway_is_named_for_each_cluster_behind_it_once() {
        let mut gateways = Gateways::default();
        for cluster in ["foo", "foo-2", "foo", "bar", "foo-2"] {
            gateways.add("10.3.0.129", 15443, cluster);
        }
        let found = counted(&[], &[host("10.3.0.129", 15443, 1, 0)], &Places::default(), &gateways);
        assert_eq!(found.by_cluster, map(&[("foo or foo-2 or bar", 1)]));
    }

    #[test]
    fn a_sidecar_that_counted_nothing_is_not_asked() {
        let named = map(&[("foo", 8)]);
        let nothing = reconcile(&named, 2, 0, Some(&of(&[])));
        assert_eq!((nothing.by_cluster, nothing.source), (map(&[("foo", 8), (UNKNOWN, 2)]), Source::Nothing));
        assert_eq!(nothing.remarks, [""; 0]);
        let idle = reconcile(&map(&[]), 0, 3, Some(&of(&[])));
        assert_eq!((idle.by_cluster, idle.source), (map(&[]), Source::Answers));
    }

    #[test]
    fn what_a_sidecar_counted_beyond_what_was_sent_is_mentioned_once() {
        let more = reconcile(&map(&[("foo", 2)]), 3, 1, Some(&of(&[("foo", 3), ("bar", 4)])));
        insta::assert_snapshot!(more.remarks.join("\n"), @"the client's sidecar counted 7 requests, and 6 were sent: its numbers have retries, or requests of somebody else, in them");
        assert_eq!((more.by_cluster, more.source), (map(&[("foo", 3), ("bar", 4)]), Source::Sidecar));
        let exact = reconcile(&map(&[("foo", 2)]), 3, 1, Some(&of(&[("foo", 2), ("bar", 4)])));
        assert_eq!(exact.remarks, [""; 0], "the one that failed was counted, too");
        let too_many = reconcile(&map(&[("foo", 2)]), 1, 1, Some(&of(&[("foo", 5)])));
        assert_eq!(too_many.remarks.len(), 2);
        let fewest = reconcile(&map(&[("foo", 3)]), 2, 0, Some(&of(&[("foo", 4)])));
        assert_eq!(fewest.by_cluster, map(&[("foo", 4), (UNKNOWN, 1)]));
        let all_known = reconcile(&map(&[("foo", 3)]), 1, 0, Some(&of(&[("bar", 1), ("foo", 2)])));
        assert_eq!(all_known.by_cluster, map(&[("foo", 3), ("bar", 1)]));
    }
}
