//! Blocking, resetting and delaying connections between clusters: rules on the host, where all of them pass.
//!
//! The chain that they are in sees a connection only in the direction it was opened in. So blocking foo→bar leaves bar→foo alone, answers
//! included. Connections that exist suffer too. What stays within one cluster does not pass the host.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::delay;
use super::record::Traffic;
use crate::error::{Error, Result};
use crate::network::firewall::{FAULTS, iptables};
use crate::state::StateDir;
use crate::topology::Shape;

/// What happens to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Packets disappear: connections hang until they time out.
    Block,
    /// Connections are refused at once, and existing ones reset.
    Reset,
    /// Packets to the destination arrive later; those back are not delayed, so this is added to the round trip once.
    Delay {
        /// How much later.
        milliseconds: u32,
    },
}

/// Where connections go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Destination {
    /// Everything in a cluster.
    Cluster(String),
    /// One address.
    Address(Ipv4Addr),
    /// One TCP port of one address.
    Port(Ipv4Addr, u16),
}

impl FromStr for Destination {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.starts_with(|first: char| first.is_ascii_alphabetic()) {
            return Ok(Self::Cluster(text.to_owned()));
        }
        let (address, port) = match text.split_once(':') {
            Some((address, port)) => (address, Some(port)),
            None => (text, None),
        };
        let invalid =
            |why: &str| Error::Invalid { what: "destination", value: text.to_owned(), why: why.to_owned() };
        let address = address.parse().map_err(|_| invalid("expected a cluster or ADDRESS[:PORT]"))?;
        let port = port.map(str::parse).transpose().map_err(|_| invalid("the port is 1 to 65535"))?;
        Ok(port.map_or(Self::Address(address), |port| Self::Port(address, port)))
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster(name) => f.write_str(name),
            Self::Address(address) => write!(f, "{address}"),
            Self::Port(address, port) => write!(f, "{address}:{port}"),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block => f.write_str("blocked"),
            Self::Reset => f.write_str("reset"),
            Self::Delay { milliseconds } => write!(f, "delayed by {milliseconds} ms"),
        }
    }
}

pub(super) fn apply(state: &StateDir, shape: Shape, id: u16, fault: &Traffic) -> Result<()> {
    if let Action::Delay { milliseconds } = fault.action {
        delay::start(state, id, milliseconds)?;
    }
    rules(shape, id, fault)?.iter().try_for_each(|rule| change("-A", rule))
}

pub(super) fn undo(state: &StateDir, shape: Shape, id: u16, fault: &Traffic) -> Result<()> {
    for rule in rules(shape, id, fault)? {
        // A rule that is not there any more, or never was, is as good as removed.
        if change("-C", &rule).is_ok() {
            change("-D", &rule)?;
        }
    }
    delay::stop(state, id)
}

fn change(verb: &str, rule: &[String]) -> Result<()> {
    iptables([verb, FAULTS].into_iter().chain(rule.iter().map(String::as_str))).map(drop)
}

fn rules(shape: Shape, id: u16, fault: &Traffic) -> Result<Vec<Vec<String>>> {
    let mut common = Vec::new();
    if let Some(from) = &fault.from {
        common.extend(["-i".to_owned(), shape.cluster(from)?.bridge()]);
    }
    let mut tcp_only = false;
    match &fault.to {
        Destination::Cluster(to) => {
            let to = shape.cluster(to)?;
            common.extend(["-o".to_owned(), to.bridge()]);
            if fault.from.is_none() {
                // Nodes of a cluster among themselves pass its bridge, which some hosts filter too.
                common.extend(["!".to_owned(), "-i".to_owned(), to.bridge()]);
            }
        }
        Destination::Address(address) => common.extend(["-d".to_owned(), address.to_string()]),
        Destination::Port(address, port) => {
            tcp_only = true;
            let words = ["-d", &address.to_string(), "-p", "tcp", "--dport", &port.to_string()];
            common.extend(words.map(str::to_owned));
        }
    }
    common.push("-j".to_owned());
    let rule = |before: &str, target: &str| {
        words(before).into_iter().chain(common.clone()).chain(words(target)).collect::<Vec<_>>()
    };
    Ok(match fault.action {
        Action::Block => vec![rule("", "DROP")],
        Action::Delay { .. } => {
            vec![rule("", &format!("NFQUEUE --queue-num {} --queue-bypass", delay::queue(id)))]
        }
        Action::Reset if tcp_only => vec![rule("", "REJECT --reject-with tcp-reset")],
        Action::Reset => vec![
            rule("-p tcp", "REJECT --reject-with tcp-reset"),
            rule("", "REJECT --reject-with icmp-port-unreachable"),
        ],
    })
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_the_firewall() {
        let delay = Action::Delay { milliseconds: 100 };
        let cases = [
            (Action::Block, Some("foo"), "bar"),
            (Action::Reset, None, "bar"),
            (Action::Reset, Some("foo"), "10.3.0.129:443"),
            (delay, None, "10.3.0.10"),
        ];
        let lines: Vec<String> = cases
            .into_iter()
            .flat_map(|(action, from, to)| {
                let fault =
                    Traffic { action, from: from.map(str::to_owned), to: to.parse().expect("a destination") };
                rules(Shape::default(), 3, &fault).expect("known clusters")
            })
            .map(|rule| rule.join(" "))
            .collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn a_destination_is_a_cluster_or_an_address() {
        assert_eq!("bar".parse::<Destination>().expect("valid"), Destination::Cluster("bar".to_owned()));
        assert_eq!(
            "10.3.0.1:80".parse::<Destination>().expect("valid"),
            Destination::Port(Ipv4Addr::new(10, 3, 0, 1), 80)
        );
        assert!("10.3.0.1:x".parse::<Destination>().is_err());
        let unknown =
            Traffic { action: Action::Block, from: None, to: Destination::Cluster("nowhere".to_owned()) };
        assert!(rules(Shape::default(), 1, &unknown).is_err());
    }
}
