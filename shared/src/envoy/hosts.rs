use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

use super::json::{self, AnswerError};
use crate::report::escape;

/// The hosts that a proxy knows, and what it counted, by name of Envoy's cluster.
///
/// A host that is removed takes its counters with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ProxyHosts {
    /// The hosts by name of the cluster. A cluster without hosts is there with none.
    pub clusters: BTreeMap<String, Vec<Host>>,
}

impl ProxyHosts {
    /// Returns the clusters of a service of the mesh (`helloworld.sample.svc.cluster.local`), whatever port or subset.
    pub fn of_service<'a>(&'a self, host: &'a str) -> impl Iterator<Item = (ClusterName<'a>, &'a [Host])> {
        let named = move |(name, hosts): (&'a String, &'a Vec<Host>)| {
            let name = ClusterName::parse(name)?;
            (name.direction == "outbound" && name.host == host).then_some((name, hosts.as_slice()))
        };
        self.clusters.iter().filter_map(named)
    }
}

/// One host of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Host {
    /// Where it is reached. For a workload of another network that is its east-west gateway.
    pub address: HostAddress,
    /// Region of its locality; empty where it has none.
    pub region: String,
    /// Zone of its locality; empty where it has none.
    pub zone: String,
    /// Its health as the control plane gives it: `HEALTHY`, `UNHEALTHY`, `DRAINING`, … .
    pub health: String,
    /// What Envoy itself holds against it: `failed_outlier_check`, for example. Sorted.
    pub failures: Vec<String>,
    /// Its share of the load, relative to the other hosts.
    pub weight: u32,
    /// What was counted since Envoy knows it.
    pub counters: Counters,
}

/// Where a host is reached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum HostAddress {
    /// An IP address and a port.
    Socket {
        /// The address.
        address: String,
        /// The port.
        port: u16,
    },
    /// A Unix domain socket: that of an SDS server, for example.
    Pipe(String),
    /// Inside of Envoy.
    Internal,
}

impl fmt::Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket { address, port } if address.contains(':') => write!(f, "[{address}]:{port}"),
            Self::Socket { address, port } => write!(f, "{address}:{port}"),
            Self::Pipe(path) => f.write_str(path),
            Self::Internal => f.write_str("internal"),
        }
    }
}

/// What Envoy counted of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counters {
    /// Connections, those that failed among them.
    pub connections: u64,
    /// Connections that failed, which includes failed TLS handshakes.
    pub connect_failures: u64,
    /// Requests that were sent. One whose connection failed was not.
    pub requests: u64,
    /// Requests with an answer that is no error.
    pub successes: u64,
    /// Requests that failed, those whose connection failed among them.
    pub errors: u64,
    /// Requests without an answer in time.
    pub timeouts: u64,
}

/// The parts of the name that Istio gives a cluster: `outbound|5000|v1|helloworld.sample.svc.cluster.local`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterName<'a> {
    /// `outbound` or `inbound`.
    pub direction: &'a str,
    /// The port of the service.
    pub port: u16,
    /// The subset of a `DestinationRule`; empty for none.
    pub subset: &'a str,
    /// The service's name.
    pub host: &'a str,
}

impl<'a> ClusterName<'a> {
    /// Takes a name apart. `None` where it is not of this form (Istio, `pilot/pkg/model`, `BuildSubsetKey` and
    /// `BuildDNSSrvSubsetKey`).
    #[must_use]
    pub fn parse(name: &'a str) -> Option<Self> {
        // An east-west gateway has `outbound_.5000_.v1_.helloworld.sample.svc.cluster.local`.
        let separator = if name.contains('|') { "|" } else { "_." };
        let mut parts = name.splitn(4, separator);
        let mut next = || parts.next();
        let (direction, port, subset, host) = (next()?, next()?, next()?, next()?);
        Some(Self { direction, port: port.parse().ok()?, subset, host })
    }
}

/// Parses the answer to `clusters?format=json`.
///
/// # Errors
/// [`AnswerError`] when it is no such answer.
pub fn parse_hosts(answer: &[u8]) -> Result<ProxyHosts, AnswerError> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(default)]
        cluster_statuses: Vec<RawCluster>,
    }
    let answer: Answer = json::parse(answer)?;
    let clusters = answer.cluster_statuses.into_iter().map(|cluster| {
        let hosts = cluster.host_statuses.into_iter().map(Host::from).collect();
        (escape(&cluster.name).into_owned(), hosts)
    });
    Ok(ProxyHosts { clusters: clusters.collect() })
}

impl From<RawHost> for Host {
    fn from(raw: RawHost) -> Self {
        let text = |text: &str| escape(text).into_owned();
        let address = match (raw.address.socket_address, raw.address.pipe) {
            (Some(socket), _) => {
                HostAddress::Socket { address: text(&socket.address), port: socket.port_value }
            }
            (None, Some(pipe)) => HostAddress::Pipe(text(&pipe.path)),
            (None, None) => HostAddress::Internal,
        };
        let mut counters = Counters::default();
        for Stat { name, value } in &raw.stats {
            let Some(counter) = counters.named(name) else { continue };
            *counter = value.0;
        }
        let RawHealth { eds_health_status: health, failures } = raw.health_status;
        Self {
            address,
            region: text(&raw.locality.region),
            zone: text(&raw.locality.zone),
            health: if health.is_empty() { "UNKNOWN".to_owned() } else { text(&health) },
            failures,
            weight: raw.weight,
            counters,
        }
    }
}

impl Counters {
    fn named(&mut self, name: &str) -> Option<&mut u64> {
        Some(match name {
            "cx_total" => &mut self.connections,
            "cx_connect_fail" => &mut self.connect_failures,
            "rq_total" => &mut self.requests,
            "rq_success" => &mut self.successes,
            "rq_error" => &mut self.errors,
            "rq_timeout" => &mut self.timeouts,
            _ => return None,
        })
    }
}

#[derive(Deserialize)]
struct RawCluster {
    name: String,
    /// Absent where there is none.
    #[serde(default)]
    host_statuses: Vec<RawHost>,
}

#[derive(Deserialize)]
struct RawHost {
    #[serde(default)]
    address: RawAddress,
    #[serde(default)]
    stats: Vec<Stat>,
    #[serde(default)]
    health_status: RawHealth,
    #[serde(default)]
    weight: u32,
    #[serde(default)]
    locality: RawLocality,
}

#[derive(Deserialize, Default)]
struct RawAddress {
    socket_address: Option<RawSocket>,
    pipe: Option<RawPipe>,
}

#[derive(Deserialize)]
struct RawSocket {
    address: String,
    #[serde(default)]
    port_value: u16,
}

#[derive(Deserialize)]
struct RawPipe {
    path: String,
}

#[derive(Deserialize, Default)]
struct RawLocality {
    #[serde(default)]
    region: String,
    #[serde(default)]
    zone: String,
}

#[derive(Deserialize)]
struct Stat {
    #[serde(default)]
    name: String,
    /// Absent for 0.
    #[serde(default)]
    value: Count,
}

/// A 64-bit number, which protobuf's JSON writes as text.
#[derive(Default)]
struct Count(u64);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(u64),
            Text(String),
        }
        match Either::deserialize(deserializer)? {
            Either::Number(number) => Ok(Self(number)),
            Either::Text(text) => u64::from_str(&text).map(Self).map_err(serde::de::Error::custom),
        }
    }
}

/// Health as Envoy prints it: what holds is there with `true`, what does not is absent.
#[derive(Default)]
struct RawHealth {
    eds_health_status: String,
    failures: Vec<String>,
}

impl<'de> Deserialize<'de> for RawHealth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Field {
            Flag(bool),
            Text(String),
            Other(IgnoredAny),
        }
        let mut health = Self::default();
        for (name, value) in BTreeMap::<String, Field>::deserialize(deserializer)? {
            match value {
                Field::Text(text) if name == "eds_health_status" => health.eds_health_status = text,
                Field::Flag(true) => health.failures.push(escape(&name).into_owned()),
                Field::Flag(false) | Field::Text(_) | Field::Other(_) => (),
            }
        }
        Ok(health)
    }
}
