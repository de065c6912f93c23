//! Making repairs that a check has found.

use futures::future::join_all;

use super::restart::restart_istiod;
use super::{InstallError, Repair, Step};
use crate::federation::{self, FederationError};
use crate::fleet::Member;
use crate::manifest::Deadline;
use crate::mesh::Mesh;
use crate::watch::Watch;

/// Why a repair did not work.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// Of SPIRE.
    #[error(transparent)]
    Spire(#[from] FederationError),
    /// Of Istio.
    #[error(transparent)]
    Istio(#[from] InstallError),
}

/// Makes every repair once: first those of SPIRE. Returns what did not work, by cluster.
pub async fn repair(
    mesh: &Mesh,
    members: &[Member],
    repairs: &[Repair],
    deadline: Deadline<'_>,
    watch: &(impl Watch<Step> + Watch<federation::Step>),
) -> Vec<(String, RepairError)> {
    let of_spire: Vec<federation::Repair> = repairs
        .iter()
        .filter_map(|repair| match repair {
            Repair::Spire(repair) => Some(repair.clone()),
            Repair::RestartIstiod { .. } => None,
        })
        .collect();
    let of_spire = federation::merged(&of_spire);
    let mut failed: Vec<(String, RepairError)> = federation::repair(members, &of_spire, deadline, watch)
        .await
        .into_iter()
        .map(|(cluster, error)| (cluster, error.into()))
        .collect();
    let restarted = members.iter().filter(|member| {
        repairs
            .iter()
            .any(|repair| matches!(repair, Repair::RestartIstiod { cluster } if cluster == member.name()))
    });
    let done = join_all(restarted.map(|member| async {
        (member.name().to_owned(), restart_istiod(member, &mesh.clusters, deadline, watch).await)
    }));
    failed
        .extend(done.await.into_iter().filter_map(|(cluster, result)| Some((cluster, result.err()?.into()))));
    failed
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fleet::fake::FakeServer;

    struct Nobody;

    impl Watch<Step> for Nobody {
        fn step(&self, _: &str, _: &Step) {}
    }

    impl Watch<federation::Step> for Nobody {
        fn step(&self, _: &str, _: &federation::Step) {}
    }

    #[tokio::test(start_paused = true)]
    async fn istiod_is_started_again_in_the_cluster_of_the_repair_and_what_fails_is_said_of_it() {
        let text = "apiVersion: spire-mesh/v1alpha1\nkind: Mesh\nmetadata: {name: m}\nspec:\n  clusters:\n  \
             - {name: foo, trustDomain: foo.com}\n  - {name: bar, trustDomain: bar.com}\n  - {name: baz, trustDomain: baz.com}\n";
        let mesh = Mesh::parse(text, "test").unwrap();
        let members = ["foo", "bar", "baz"].map(|name| FakeServer::default().member(name));
        let spire = federation::Repair::CarryBundle { from: "foo".to_owned(), to: "bar".to_owned() };
        let repairs = [Repair::RestartIstiod { cluster: "baz".to_owned() }, Repair::Spire(spire)];
        let deadline = Deadline::after(Duration::from_secs(5));
        let failed = repair(&mesh, &members, &repairs, deadline, &Nobody).await;
        let told: Vec<String> = failed.iter().map(|(cluster, error)| format!("{cluster}: {error}")).collect();
        insta::assert_snapshot!(told.join("\n"), @r"
        foo: no SPIRE server was found in namespace spire-server
        baz: cannot read Deployment istio-system/istiod
        ");
        assert!(repair(&mesh, &members, &[], deadline, &Nobody).await.is_empty());
    }
}
