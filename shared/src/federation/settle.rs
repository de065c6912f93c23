//! What changes something is done when the checks of the catalogue pass: those that `verify` takes, taken again until nothing is under way
//! any more.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::checks::{Repair, settles_by_itself, verify};
use super::examine::examine;
use super::examined::Examined;
use super::step::Step;
use crate::check::{CheckId, Patience, Settling, Verification};
use crate::fleet::Member;
use crate::manifest::Deadline;
use crate::mesh::Mesh;
use crate::watch::Watch;

/// How long SPIRE may take until what was applied is everywhere: its agents and its controller-manager look every few seconds.
const SETTLES_WITHIN: Duration = Duration::from_secs(40);
/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// Takes the checks of the catalogue until nothing fails that may still pass by itself, or until the deadline. `unreachable` are the
/// clusters of the mesh that have no member, with the reason.
pub async fn settle(
    mesh: &Mesh,
    members: &[Member],
    unreachable: &BTreeMap<String, String>,
    patience: Patience,
    deadline: Deadline<'_>,
    watch: &dyn Watch<Step>,
) -> (Examined, Verification<Repair>) {
    let mut settling = Settling::new(settles_within);
    for member in members {
        watch.step(member.name(), &Step::Verifying(None));
    }
    loop {
        let examined = Box::pin(examine(mesh, members, unreachable)).await;
        let found = verify(&examined);
        settling.look(&found, Instant::now());
        let is_over = patience == Patience::None || deadline.left().is_zero();
        if is_over || settling.under_way(&found, None).is_none() {
            return (examined, found);
        }
        settling.tell(&found, members.iter().map(|member| member.name()), |cluster, cause| {
            watch.step(cluster, &Step::Verifying(cause));
        });
        sleep(PAUSE.min(deadline.left())).await;
    }
}

fn settles_within(id: CheckId) -> Duration {
    if settles_by_itself(id) { SETTLES_WITHIN } else { Duration::ZERO }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_spire_does_in_a_moment_is_waited_for_and_what_somebody_has_to_mend_is_not() {
        for id in ["bundle-fetched", "agents", "identity-objects", "entries"] {
            assert_eq!(settles_within(CheckId(id)), SETTLES_WITHIN, "{id}");
        }
        for id in ["ca-lifetime", "clocks", "trust-domain", "pods-on-spire"] {
            assert_eq!(settles_within(CheckId(id)), Duration::ZERO, "{id}");
        }
    }
}
