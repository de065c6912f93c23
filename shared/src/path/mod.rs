//! The path of a request, stage by stage, and where it stops.
//!
//! [`observe()`] reads what Envoy has in the client's pod, at the gateways and in a pod behind the service, and the objects that it
//! comes from. [`follow()`] is a pure function of that: it walks from the client to the application in every cluster, and names at the
//! first stage that does not let the request through the object, the field and the command that changes it.

mod client;
mod endpoints;
mod name;
mod observe;
mod observed;
mod policy;
mod rbac;
mod route;
mod selector;
mod server;
mod service;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::BTreeSet;

pub use observe::observe;
use observed::SeenCluster;
pub use observed::{Observed, Question};
pub use service::ServiceName;
pub use verdict::{Stage, Stop, Verdict};

/// One stage, and what it does with the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leg {
    /// The stage.
    pub stage: Stage,
    /// The cluster that the request is on its way to; `None` for what comes before one is chosen.
    pub cluster: Option<String>,
    /// What it does.
    pub verdict: Verdict,
}

/// The path of a request: first what all of it takes, then what it takes to each cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path {
    /// The stages, in the order in which they are taken. What comes after a stop is left out.
    pub legs: Vec<Leg>,
    /// Clusters that have nothing of the service, so that nobody expects an answer of theirs.
    pub without: BTreeSet<String>,
}

impl Path {
    /// Returns what stops all requests, whatever cluster they are for.
    #[must_use]
    pub fn stop(&self) -> Option<(Stage, &Stop)> {
        self.stops().find(|(_, cluster, _)| cluster.is_none()).map(|(stage, _, stop)| (stage, stop))
    }

    /// Returns what stops requests to one cluster.
    #[must_use]
    pub fn stop_to(&self, cluster: &str) -> Option<(Stage, &Stop)> {
        self.stop().or_else(|| {
            self.stops().find(|(_, to, _)| *to == Some(cluster)).map(|(stage, _, stop)| (stage, stop))
        })
    }

    /// Returns all that stops requests, with the cluster that they are for.
    pub fn stops(&self) -> impl Iterator<Item = (Stage, Option<&str>, &Stop)> {
        self.legs.iter().filter_map(|leg| match &leg.verdict {
            Verdict::Stops(stop) => Some((leg.stage, leg.cluster.as_deref(), stop.as_ref())),
            _ => None,
        })
    }

    /// Returns the clusters that requests reach: every stage to them lets requests through.
    #[must_use]
    pub fn reached(&self) -> BTreeSet<&str> {
        self.clusters()
            .filter(|cluster| self.all_to(cluster, |verdict| matches!(verdict, Verdict::Passes(_))))
            .collect()
    }

    /// Returns the clusters that requests may reach: nothing stops them, and a stage could not be judged.
    #[must_use]
    pub fn unproven(&self) -> BTreeSet<&str> {
        let reached = self.reached();
        self.clusters()
            .filter(|cluster| self.stop_to(cluster).is_none() && !reached.contains(cluster))
            .collect()
    }

    fn clusters(&self) -> impl Iterator<Item = &str> {
        self.legs.iter().filter_map(|leg| leg.cluster.as_deref())
    }

    fn all_to(&self, cluster: &str, holds: fn(&Verdict) -> bool) -> bool {
        let of_cluster = |leg: &&Leg| leg.cluster.as_deref().is_none_or(|to| to == cluster);
        self.legs.iter().filter(of_cluster).all(|leg| holds(&leg.verdict))
    }
}

/// Judges a stage that all requests take.
type Judge = fn(&Observed) -> Verdict;
/// Judges a stage on the way to one cluster; nothing where that way has no such stage.
type JudgeOne = fn(&Observed, &SeenCluster) -> Option<Verdict>;

/// Walks the path of a request.
#[must_use]
pub fn follow(observed: &Observed) -> Path {
    let mut path = Path::default();
    let shared: [(Stage, Judge); 4] = [
        (Stage::Client, client::client),
        (Stage::Name, name::name),
        (Stage::Route, route::route),
        (Stage::Policy, policy::policy),
    ];
    for (stage, judge) in shared {
        let verdict = judge(observed);
        let stops = matches!(verdict, Verdict::Stops(_));
        path.legs.push(Leg { stage, cluster: None, verdict });
        if stops {
            return path;
        }
    }
    let each: [(Stage, JudgeOne); 5] = [
        (Stage::Endpoints, |observed, cluster| Some(endpoints::endpoints(observed, cluster))),
        (Stage::Gateway, server::gateway),
        (Stage::Server, server::server),
        (Stage::Authorization, server::authorization),
        (Stage::Application, server::application),
    ];
    for cluster in &observed.clusters {
        if cluster.has_nothing() {
            path.without.insert(cluster.name.clone());
            continue;
        }
        let first = path.legs.len();
        let mut is_open = true;
        for (stage, judge) in each {
            let Some(verdict) = judge(observed, cluster) else { continue };
            is_open = !matches!(verdict, Verdict::Stops(_));
            path.legs.push(Leg { stage, cluster: Some(cluster.name.clone()), verdict });
            if !is_open {
                break;
            }
        }
        // Endpoints that failed are left out: that is the cause only where nothing behind them is.
        if is_open
            && let Some(verdict) = endpoints::ejected(observed, cluster)
            && let Some(leg) = path.legs.get_mut(first)
        {
            leg.verdict = verdict;
        }
    }
    path
}
