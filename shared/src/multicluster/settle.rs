//! `up` is done when the checks of the catalogue pass: the same ones that `verify` takes, taken again until nothing is under way any more.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, sleep};

use super::checks::{ENDPOINT_IDENTITIES, WAY_OPEN, settles_by_itself};
use super::examined::Examined;
use super::restart::restart_istiod;
use super::up::Run;
use super::{Repair, Step, examine, verify};
use crate::check::{CheckId, CheckResult, Scope, Status, Verification};
use crate::fleet::Member;

/// How long Istio and SPIRE may take until what was applied is everywhere: their agents look every few seconds.
const SETTLES_WITHIN: Duration = super::access::SETTLES_WITHIN;
/// How long a new load balancer may take to let something through.
const WAY_WITHIN: Duration = Duration::from_mins(2);
/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// What failed, and since when.
type Failing = BTreeMap<(CheckId, Scope), Instant>;

/// Whether what fails may pass by itself when it is looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// What was applied takes effect in a moment.
    Some,
    /// A cluster did not come up, so what fails will go on failing.
    None,
}

/// Takes the checks of the catalogue until nothing fails that may still pass by itself, or until the deadline. An istiod that has given up
/// another cluster is started again once.
pub(super) async fn settle(
    run: &Run<'_>,
    members: &[Member],
    patience: Patience,
) -> (Examined, Verification<Repair>) {
    let mut failing = Failing::new();
    let mut restarted: Vec<String> = Vec::new();
    for member in members {
        run.step(member, &Step::Verifying(None));
    }
    loop {
        let examined = Box::pin(examine(run.mesh, members, &BTreeMap::new())).await;
        let found = verify(&examined);
        let now = Instant::now();
        remember(&mut failing, &found, now);
        let due: Vec<&Member> = members
            .iter()
            .filter(|member| !restarted.iter().any(|name| name == member.name()))
            .filter(|member| is_due(member.name(), &found, &failing, now))
            .collect();
        let under_way = found.results().iter().find(|result| is_under_way(result, &failing, now));
        if patience == Patience::None
            || run.deadline.left().is_zero()
            || (due.is_empty() && under_way.is_none())
        {
            return (examined, found);
        }
        if due.is_empty() {
            for member in members {
                let own = found.results().iter().find(|result| {
                    is_under_way(result, &failing, now) && result.scope.begins_in(member.name())
                });
                run.step(member, &Step::Verifying(own.and_then(|result| result.cause.clone())));
            }
            sleep(PAUSE.min(run.deadline.left())).await;
            continue;
        }
        restarted.extend(due.iter().map(|member| member.name().to_owned()));
        join_all(due.into_iter().map(|member| async {
            // Whether it helped is what the next look is for.
            let _ = restart_istiod(member, &run.mesh.clusters, run.deadline, run.watch).await;
        }))
        .await;
        // What the new one has to do begins now.
        failing.clear();
    }
}

/// Remembers since when something fails, and forgets what passes.
fn remember(failing: &mut Failing, found: &Verification<Repair>, now: Instant) {
    let fails = |result: &&CheckResult| result.status == Status::Fail;
    let keys: Vec<(CheckId, Scope)> =
        found.results().iter().filter(fails).map(|result| (result.id, result.scope.clone())).collect();
    failing.retain(|key, _| keys.contains(key));
    for key in keys {
        failing.entry(key).or_insert(now);
    }
}

/// Tells whether something fails that may still pass by itself.
fn is_under_way(result: &CheckResult, failing: &Failing, now: Instant) -> bool {
    let within = match result.id {
        id if !settles_by_itself(id) => Duration::ZERO,
        WAY_OPEN => WAY_WITHIN,
        _ => SETTLES_WITHIN,
    };
    failing.get(&(result.id, result.scope.clone())).is_some_and(|since| now.duration_since(*since) < within)
}

/// Tells whether a cluster's istiod has to be started again: wrong identities stay wrong for ever, everything else gets its time first.
fn is_due(cluster: &str, found: &Verification<Repair>, failing: &Failing, now: Instant) -> bool {
    let is_wanted = found
        .repairs()
        .iter()
        .any(|repair| matches!(repair, Repair::RestartIstiod { cluster: wanted } if wanted == cluster));
    let own = |result: &&CheckResult| result.fix.is_some() && result.scope.begins_in(cluster);
    is_wanted
        && found
            .results()
            .iter()
            .filter(own)
            .any(|result| result.id == ENDPOINT_IDENTITIES || !is_under_way(result, failing, now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Check, Fault, Finding, run};
    use crate::multicluster::checks::{ISTIOD_SYNCED, MUTUAL_TLS};

    /// What fails in a look, with a repair or without.
    fn found(fails: &[(CheckId, &str, &str, bool)]) -> Verification<Repair> {
        type World = Vec<(CheckId, String, String, bool)>;
        let world: World = fails
            .iter()
            .map(|(id, from, to, fix)| (*id, (*from).to_owned(), (*to).to_owned(), *fix))
            .collect();
        fn of(world: &World, id: CheckId) -> Vec<Finding<Repair>> {
            let own = world.iter().filter(|(failing, ..)| *failing == id);
            own.map(|(_, from, to, fix)| {
                let fault = Fault::new("it fails", "");
                let fault = if *fix {
                    fault.repaired_by(Repair::RestartIstiod { cluster: from.clone() })
                } else {
                    fault
                };
                Finding::fail(Scope::pair(from, to), fault)
            })
            .collect()
        }
        let catalogue: [Check<World, Repair>; 4] = [
            Check { id: ISTIOD_SYNCED, title: "", needs: &[], run: |world| of(world, ISTIOD_SYNCED) },
            Check { id: WAY_OPEN, title: "", needs: &[], run: |world| of(world, WAY_OPEN) },
            Check {
                id: ENDPOINT_IDENTITIES,
                title: "",
                needs: &[],
                run: |world| of(world, ENDPOINT_IDENTITIES),
            },
            Check { id: MUTUAL_TLS, title: "", needs: &[], run: |world| of(world, MUTUAL_TLS) },
        ];
        run(&catalogue, &world)
    }

    /// What is under way after something has failed for a time.
    fn under_way(fails: &[(CheckId, &str, &str, bool)], after: Duration) -> Vec<String> {
        let (mut failing, start) = (Failing::new(), Instant::now());
        let found = found(fails);
        remember(&mut failing, &found, start);
        remember(&mut failing, &found, start + after);
        let results = found.results().iter().filter(|result| is_under_way(result, &failing, start + after));
        results.map(|result| format!("{} {}", result.id, result.scope)).collect()
    }

    #[test]
    fn what_up_sets_in_motion_gets_its_time_and_what_does_not_change_by_itself_gets_none() {
        let fails = [
            (ISTIOD_SYNCED, "foo", "baz", false),
            (WAY_OPEN, "foo", "bar", false),
            (MUTUAL_TLS, "foo", "bar", false),
        ];
        assert_eq!(under_way(&fails, Duration::ZERO), ["istiod-synced foo→baz", "way-open foo→bar"]);
        assert_eq!(under_way(&fails, Duration::from_secs(41)), ["way-open foo→bar"]);
        assert!(under_way(&fails, Duration::from_secs(121)).is_empty());
    }

    #[test]
    fn the_time_of_something_begins_anew_when_it_has_passed_in_between() {
        let (mut failing, start) = (Failing::new(), Instant::now());
        let fails = found(&[(ISTIOD_SYNCED, "foo", "baz", false)]);
        remember(&mut failing, &fails, start);
        remember(&mut failing, &found(&[]), start + Duration::from_secs(30));
        remember(&mut failing, &fails, start + Duration::from_secs(60));
        assert!(is_under_way(&fails.results()[0], &failing, start + Duration::from_secs(61)));
    }

    #[test]
    fn an_istiod_is_started_again_at_once_for_wrong_identities_and_else_when_its_time_is_over() {
        let due = |fails: &[(CheckId, &str, &str, bool)], cluster: &str, after: u64| {
            let (mut failing, start) = (Failing::new(), Instant::now());
            let found = found(fails);
            remember(&mut failing, &found, start);
            is_due(cluster, &found, &failing, start + Duration::from_secs(after))
        };
        let wrong = [(ENDPOINT_IDENTITIES, "baz", "foo", true)];
        assert!(due(&wrong, "baz", 0));
        assert!(!due(&wrong, "foo", 0), "only the istiod that expects them");
        let closed = [(ISTIOD_SYNCED, "baz", "foo", true), (ISTIOD_SYNCED, "foo", "baz", false)];
        assert!(!due(&closed, "baz", 39));
        assert!(due(&closed, "baz", 41));
        assert!(!due(&closed, "foo", 41), "starting it again would not help");
    }
}
