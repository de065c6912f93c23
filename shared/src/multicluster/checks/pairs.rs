//! Checks on one cluster's access to, and knowledge of, another.

use super::{Findings, Reached, Repair, fix, of_each, up};
use crate::check::{Fault, Finding};
use crate::envoy::ClusterName;
use crate::hint::{Advice, Command, Plugin};
use crate::istio::remote::remote_secret_key;
use crate::istio::{EAST_WEST_GATEWAY, NAMESPACE};
use crate::manifest::ServiceAddress;
use crate::mesh::Cluster;
use crate::multicluster::examined::{Examined, SeenIstiod, ServerAuthority};
use crate::multicluster::probe::Way;

/// Asks something of every pair of a cluster with another.
fn of_pairs(examined: &Examined, check: impl Fn(&Reached<'_>, &Cluster) -> Finding<Repair>) -> Findings {
    of_each(examined, |own| own.peers().map(|peer| check(&own, peer)).collect())
}

pub(super) fn remote_secret(examined: &Examined) -> Findings {
    let mut findings = of_pairs(examined, one_remote_secret);
    findings.extend(super::reached(examined).flat_map(|own| strangers(&own)));
    findings
}

fn one_remote_secret(own: &Reached<'_>, peer: &Cluster) -> Finding<Repair> {
    let scope = own.pair(peer);
    let secrets = match &own.seen.remote_secrets {
        Ok(secrets) => secrets,
        Err(unread) => return Finding::skip(scope, &unread.why),
    };
    let name = &peer.name;
    let named = secrets.iter().find_map(|secret| {
        let (_, access) = secret.found.clusters.iter().find(|(cluster, _)| cluster == name)?;
        Some((secret, access))
    });
    let Some((secret, access)) = named else {
        let cause = format!("istiod has no remote secret for {name}: it knows none of its workloads");
        let fault = Fault::new(cause, up())
            .seen(format!("Secret {NAMESPACE}/{} does not exist", remote_secret_key(name).name));
        return Finding::fail(scope, fault);
    };
    let object = format!("Secret {NAMESPACE}/{}", secret.found.name);
    let access = match access {
        Ok(access) => access,
        Err(problem) => {
            let cause = format!("the remote secret for {name} cannot be used: {problem}");
            return Finding::fail(scope, Fault::new(cause, up()).seen(object));
        }
    };
    let server = format!("{object}: server {}", access.server);
    match secret.accepted_by.get(name) {
        Some(Ok(accepted)) if accepted.iter().any(|accepted| accepted == name) => {
            if let Some(Ok(ServerAuthority::Other { found, wanted })) = secret.authority.get(name) {
                let cause = format!(
                    "the CA in the remote secret for {name} did not sign the certificate of that API server: istiod does not trust it, and reads nothing"
                );
                let fault = Fault::new(cause, up())
                    .seen(server)
                    .seen(format!("CA in the remote secret: {}", names(found.iter().map(String::as_str))))
                    .seen(format!(
                        "CA of the API server: {}, another one",
                        names(wanted.iter().map(String::as_str))
                    ));
                return Finding::fail(scope, fault);
            }
            let made = secret.found.made.map(|made| format!("made {made:.0}")).unwrap_or_default();
            Finding::pass(scope, format!("{server} {made}").trim_end().to_owned())
        }
        Some(Ok(accepted)) => {
            let fault = if let Some(other) = accepted.first() {
                let cause = format!(
                    "the remote secret for {name} lets istiod into {other}: its workloads are taken for those of {name}"
                );
                Fault::new(cause, up()).seen(server).seen(format!("{other} takes its token"))
            } else {
                let cause = format!(
                    "{name} does not take the token in its remote secret: it was deleted, or is of another cluster"
                );
                Fault::new(cause, up()).seen(server)
            };
            Finding::fail(scope, fault)
        }
        Some(Err(unread)) => Finding::skip(scope, &unread.why),
        None => Finding::skip(scope, "nobody was asked about its token"),
    }
}

/// Names remote secrets for clusters that the mesh file does not have.
fn strangers(own: &Reached<'_>) -> Findings {
    let Ok(secrets) = &own.seen.remote_secrets else { return Vec::new() };
    let known = |name: &String| own.mesh().clusters.iter().any(|cluster| cluster.name == *name);
    let entries = secrets
        .iter()
        .flat_map(|secret| secret.found.clusters.iter().map(move |(cluster, _)| (secret, cluster)));
    entries
        .filter(|(_, cluster)| !known(cluster))
        .map(|(secret, cluster)| {
            let object = format!("Secret {NAMESPACE}/{}", secret.found.name);
            let accepted = secret.accepted_by.get(cluster).and_then(|accepted| accepted.as_ref().ok());
            let of = accepted.and_then(|accepted| accepted.first());
            let cause = match of {
                Some(of) => format!(
                    "a remote secret calls {of} `{cluster}`: that is not the name of the cluster in its own istiod, so that its workloads count twice, or not at all"
                ),
                None => format!("a remote secret is for cluster `{cluster}`, which the mesh file does not have"),
            };
            let hint = format!("{} -n {NAMESPACE} delete secret {}", own.kubectl(), secret.found.name);
            let fault = Fault::new(cause, hint).seen(object.as_str());
            if of.is_some() { Finding::fail(own.object(object), fault) } else { Finding::warn(own.object(object), fault) }
        })
        .collect()
}

/// Asks something of every pod of istiod: the first fault counts.
fn of_istiods(
    own: &Reached<'_>,
    peer: &Cluster,
    ask: impl Fn(&SeenIstiod) -> Result<Option<Fault<Repair>>, String>,
) -> Finding<Repair> {
    let scope = own.pair(peer);
    let Ok(istiods) = &own.seen.istiods else { return Finding::skip(scope, "istiod does not answer") };
    for istiod in istiods {
        match ask(istiod) {
            Ok(None) => {}
            Ok(Some(fault)) => return Finding::fail(scope, fault),
            Err(why) => return Finding::skip(scope, why),
        }
    }
    Finding::pass(scope, format!("asked {} pods of istiod", istiods.len()))
}

pub(super) fn synced(examined: &Examined) -> Findings {
    of_pairs(examined, |own, peer| {
        of_istiods(own, peer, |istiod| {
            let known = istiod.clusters.as_ref().map_err(|unread| unread.why.clone())?;
            let name = &peer.name;
            let logs = format!("{} -n {NAMESPACE} logs {} | grep {name}", own.kubectl(), istiod.pod);
            Ok(match known.iter().find(|known| known.id == *name) {
                Some(known) if known.is_synced() => None,
                Some(known) if known.is_closed() => {
                    let cause =
                        format!("istiod has closed {name}, and does not read it again before its next start");
                    let repair = Repair::RestartIstiod { cluster: own.name().to_owned() };
                    let fault = Fault::new(cause, fix()).repaired_by(repair);
                    Some(fault.seen(format!("{}: {name} is {}", istiod.pod, known.sync_status)))
                }
                Some(known) => {
                    let cause = format!(
                        "istiod has not read {name}: its API server is not reached from here, or refuses to be read"
                    );
                    let fault = Fault::new(cause, logs)
                        .seen(format!("{}: {name} is {}", istiod.pod, known.sync_status));
                    Some(server(own, peer).into_iter().fold(fault, Fault::seen))
                }
                None => {
                    let cause =
                        format!("istiod does not know {name}, although there is a remote secret for it");
                    let known = names(known.iter().map(|known| known.id.as_str()));
                    Some(Fault::new(cause, logs).seen(format!("{} knows {known}", istiod.pod)))
                }
            })
        })
    })
}

/// Lists names for evidence.
fn names<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let all: Vec<&str> = names.collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

/// Says where the remote secret for a cluster leads.
fn server(own: &Reached<'_>, peer: &Cluster) -> Option<String> {
    let secrets = own.seen.remote_secrets.as_ref().ok()?;
    let mut entries = secrets.iter().flat_map(|secret| &secret.found.clusters);
    let (_, access) = entries.find(|(cluster, _)| *cluster == peer.name)?;
    Some(format!("its remote secret says {}", access.as_ref().ok()?.server))
}

pub(super) fn way_open(examined: &Examined) -> Findings {
    of_each(examined, |own| {
        let find = |peer: &Cluster| {
            let scope = own.pair(peer);
            match examined.ways.get(&(own.name().to_owned(), peer.name.clone())) {
                None => Finding::skip(scope, "its gateway has no address"),
                Some(Err(unread)) => Finding::skip(scope, &unread.why),
                Some(Ok(Way::Open)) => Finding::pass(scope, address(examined, peer).unwrap_or_default()),
                Some(Ok(Way::Closed(reason))) => {
                    let address = address(examined, peer).unwrap_or_default();
                    let cause = format!(
                        "the gateway of {} at {address} is not reached from here: {reason}",
                        peer.name
                    );
                    let tried = format!("tried from the east-west gateway of {}", own.name());
                    let new = examined.clusters.get(&peer.name).and_then(|seen| seen.new_load_balancer);
                    if let Some(new) = new {
                        let look_again = Plugin::MeshInstall.command(["verify"]);
                        let fault = Fault::new(format!("{cause}; {new}"), new.advice(look_again));
                        return Finding::fail(scope, fault.seen(tried).under_way());
                    }
                    let describe =
                        Command::kubectl(["-n", NAMESPACE, "describe", "service", EAST_WEST_GATEWAY]);
                    let hint = Advice::from(
                        "let port 15443 through between the networks (on EKS: route tables and security groups), and see: ",
                    )
                    .then(describe.at(&peer.context));
                    Finding::fail(scope, Fault::new(cause, hint).seen(tried))
                }
            }
        };
        own.other_networks().map(find).collect()
    })
}

fn address(examined: &Examined, peer: &Cluster) -> Option<String> {
    match &examined.clusters.get(&peer.name)?.gateway {
        Ok(ServiceAddress::Ready(address)) => Some(address.to_string()),
        _ => None,
    }
}

pub(super) fn network_known(examined: &Examined) -> Findings {
    of_each(examined, |own| {
        let find = |peer: &Cluster| {
            of_istiods(&own, peer, |istiod| {
                let known = istiod.networks.as_ref().map_err(|unread| unread.why.clone())?;
                if known.iter().any(|gateway| gateway.network == peer.network) {
                    return Ok(None);
                }
                let cause = format!(
                    "istiod knows no way into network {}: calls to its workloads go nowhere",
                    peer.network
                );
                let known = names(known.iter().map(|gateway| gateway.network.as_str()));
                let seen = format!("networks whose gateways {} knows: {known}", istiod.pod);
                let hint = format!(
                    "the service of {EAST_WEST_GATEWAY} there needs the label topology.istio.io/network={}: {}",
                    peer.network,
                    up()
                );
                Ok(Some(Fault::new(cause, hint).seen(seen)))
            })
        };
        own.other_networks().map(find).collect()
    })
}

pub(super) fn identities(examined: &Examined) -> Findings {
    of_pairs(examined, |own, peer| {
        of_istiods(own, peer, |istiod| {
            let expected = istiod.identities.as_ref().map_err(|unread| unread.why.clone())?;
            let clusters = std::slice::from_ref(peer);
            Ok(crate::multicluster::identities::wrong_identity(clusters, expected).map(|wrong| {
                let cause = format!(
                    "istiod assigns the workloads of {} to the wrong trust domain: calls to them fail, and retries hide it while there \
                     are local ones",
                    peer.name
                );
                Fault::new(cause, fix())
                    .seen(format!("{} expects {} for {}", istiod.pod, wrong.found.join(", "), wrong.service))
                    .seen(format!("the trust domain of {} is {}", peer.name, peer.trust_domain))
                    .repaired_by(Repair::RestartIstiod { cluster: own.name().to_owned() })
            }))
        })
    })
}

/// Holds the names that one sidecar accepts of a service against the identities that istiod expects behind it in the other cluster.
pub(super) fn expects(examined: &Examined) -> Findings {
    of_pairs(examined, |own, peer| {
        let scope = own.pair(peer);
        let (pod, rules) = match &own.seen.outbound {
            Ok(Some((pod, rules))) => (pod, rules),
            Ok(None) => return Finding::skip(scope, "there is no sidecar to ask"),
            Err(unread) => return Finding::skip(scope, &unread.why),
        };
        let istiods = own.seen.istiods.as_ref().ok().into_iter().flatten();
        let Some(expected) = istiods.into_iter().find_map(|istiod| istiod.identities.as_ref().ok()) else {
            return Finding::skip(scope, "istiod did not say what it expects");
        };
        let mut looked_at = 0;
        for (name, rule) in rules.clusters.iter().filter(|(_, rule)| rule.mutual && !rule.names.is_empty()) {
            let Some(cluster) = ClusterName::parse(name) else { continue };
            let Some(identities) =
                expected.get(cluster.host).and_then(|by_cluster| by_cluster.get(&peer.name))
            else {
                continue;
            };
            let missing = identities.iter().find(|identity| {
                identity.parse().is_ok_and(|id| !rule.names.iter().any(|rule| rule.admits(&id)))
            });
            if let Some(missing) = missing {
                let cause = format!(
                    "a sidecar does not accept {missing} as a server of {}: calls to {} fail",
                    cluster.host, peer.name
                );
                let names: Vec<String> = rule.names.iter().map(ToString::to_string).collect();
                let hint = format!(
                    "{} -n {NAMESPACE} rollout restart deployment istiod, which sends its configuration anew",
                    own.kubectl()
                );
                return Finding::fail(
                    scope,
                    Fault::new(cause, hint).seen(format!("Pod {pod}: {name} accepts {}", names.join(", "))),
                );
            }
            looked_at += 1;
        }
        Finding::pass(scope, format!("Pod {pod}: {looked_at} services"))
    })
}
