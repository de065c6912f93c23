//! What changes something is done when the checks of the catalogue pass: those that `verify` takes, taken again until nothing is under way
//! any more.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, sleep};

use super::checks::{ENDPOINT_IDENTITIES, settles_by_itself};
use super::examined::Examined;
use super::restart::restart_istiod;
use super::{Repair, Step, examine, verify};
use crate::check::{CheckId, Patience, Settling, Verification};
use crate::fleet::Member;
use crate::manifest::Deadline;
use crate::mesh::Mesh;
use crate::watch::Watch;

/// How long Istio and SPIRE may take until what was applied is everywhere: their agents look every few seconds.
const SETTLES_WITHIN: Duration = super::access::SETTLES_WITHIN;
/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// Whether an istiod that has given up another cluster may be started again while its mesh settles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Istiods {
    /// Once each.
    MayStartAgain,
    /// Nobody asked for that.
    StayUp,
}

/// Takes the checks of the catalogue until nothing fails that may still pass by itself, or until the deadline. `unreachable` are the
/// clusters of the mesh that have no member, with the reason.
pub async fn settle(
    mesh: &Mesh,
    members: &[Member],
    unreachable: &BTreeMap<String, String>,
    patience: Patience,
    istiods: Istiods,
    deadline: Deadline<'_>,
    watch: &dyn Watch<Step>,
) -> (Examined, Verification<Repair>) {
    let mut settling = Settling::new(settles_within);
    let mut may_start: Vec<&Member> = match istiods {
        Istiods::MayStartAgain => members.iter().collect(),
        Istiods::StayUp => Vec::new(),
    };
    for member in members {
        watch.step(member.name(), &Step::Verifying(None));
    }
    loop {
        let examined = Box::pin(examine(mesh, members, unreachable)).await;
        let found = verify(&examined);
        settling.look(&found, Instant::now());
        if patience == Patience::None || deadline.left().is_zero() {
            return (examined, found);
        }
        let due: Vec<&Member> =
            may_start.extract_if(.., |member| is_due(member.name(), &found, &settling)).collect();
        if !due.is_empty() {
            join_all(due.into_iter().map(|member| async {
                // Whether it helped is what the next look is for.
                let _ = restart_istiod(member, &mesh.clusters, deadline, watch).await;
            }))
            .await;
            settling.restart();
        } else if settling.under_way(&found, None).is_some() {
            settling.tell(&found, members.iter().map(|member| member.name()), |cluster, cause| {
                watch.step(cluster, &Step::Verifying(cause));
            });
            sleep(PAUSE.min(deadline.left())).await;
        } else {
            return (examined, found);
        }
    }
}

fn settles_within(id: CheckId) -> Duration {
    if settles_by_itself(id) { SETTLES_WITHIN } else { Duration::ZERO }
}

/// Tells whether a cluster's istiod has to be started again: wrong identities stay wrong for ever, everything else gets its time first.
fn is_due(cluster: &str, found: &Verification<Repair>, settling: &Settling) -> bool {
    let restart = Repair::RestartIstiod { cluster: cluster.to_owned() };
    let repaired = found.results().iter().filter(|result| result.fix == Some(restart.to_string()));
    repaired.into_iter().any(|result| result.id == ENDPOINT_IDENTITIES || !settling.is_under_way(result))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Check, Fault, Finding, Scope, run};
    use crate::multicluster::checks::{ISTIOD_SYNCED, MUTUAL_TLS};

    /// What fails in a look: the check, whose istiod, and whether a start of it would help.
    type Fails = [(CheckId, &'static str, bool)];

    fn found(fails: &Fails) -> Verification<Repair> {
        type World = Vec<(CheckId, &'static str, bool)>;
        fn of(world: &World, id: CheckId) -> Vec<Finding<Repair>> {
            let own = world.iter().filter(|(failing, ..)| *failing == id);
            own.map(|(_, cluster, helps)| {
                let fault = Fault::new("it fails", "");
                let restart = Repair::RestartIstiod { cluster: (*cluster).to_owned() };
                Finding::fail(
                    Scope::pair(*cluster, "foo"),
                    if *helps { fault.repaired_by(restart) } else { fault },
                )
            })
            .collect()
        }
        let catalogue: [Check<World, Repair>; 2] = [
            Check { id: ISTIOD_SYNCED, title: "", needs: &[], run: |world| of(world, ISTIOD_SYNCED) },
            Check {
                id: ENDPOINT_IDENTITIES,
                title: "",
                needs: &[],
                run: |world| of(world, ENDPOINT_IDENTITIES),
            },
        ];
        run(&catalogue, &fails.to_vec())
    }

    fn due(fails: &Fails, cluster: &str, after: u64) -> bool {
        let (mut settling, start) = (Settling::new(settles_within), Instant::now());
        let found = found(fails);
        settling.look(&found, start);
        settling.look(&found, start + Duration::from_secs(after));
        is_due(cluster, &found, &settling)
    }

    #[test]
    fn an_istiod_is_started_again_at_once_for_wrong_identities_and_else_when_its_time_is_over() {
        let wrong = [(ENDPOINT_IDENTITIES, "baz", true)];
        assert!(due(&wrong, "baz", 0));
        assert!(!due(&wrong, "bar", 0), "only the istiod that expects them");
        let closed = [(ISTIOD_SYNCED, "baz", true), (ISTIOD_SYNCED, "bar", false)];
        assert!(!due(&closed, "baz", 39));
        assert!(due(&closed, "baz", 40));
        assert!(!due(&closed, "bar", 40), "it would not help");
    }

    #[test]
    fn what_istio_does_in_a_moment_is_waited_for_and_a_rule_does_not_change_by_itself() {
        assert_eq!(settles_within(ISTIOD_SYNCED), Duration::from_secs(40));
        assert_eq!(settles_within(CheckId("bundle-fetched")), Duration::from_secs(40));
        assert_eq!(settles_within(MUTUAL_TLS), Duration::ZERO);
    }
}
