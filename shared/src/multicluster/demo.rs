//! Putting a demo on the clusters, and taking it away.

use futures::future::{join_all, try_join_all};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::ListParams;

use super::plan::owner;
use super::remove::Removal;
use super::{InstallError, Step};
use crate::fleet::{ClusterErrors, Member, each};
use crate::istio::demo::{Demo, Role, installed, objects, workloads};
use crate::manifest::{self, ClusterPlan, Counts, Deadline, Guests, Kind, MeshPlan, Scope, workload_ready};
use crate::mesh::Mesh;
use crate::watch::Watch;

/// Holds what there has to be of a demo against what there is. Changes nothing.
///
/// # Errors
/// Every cluster that cannot be read, or would refuse an object.
pub async fn plan_demo(
    mesh: &Mesh,
    members: &[Member],
    demo: Demo,
) -> Result<MeshPlan, ClusterErrors<InstallError>> {
    let clusters = each(members, |member| async move {
        injects(mesh, member).await?;
        let plan = manifest::plan(member.client(), &objects(demo, mesh, &member.cluster)).await?;
        let (later, stale) = (Vec::new(), Vec::new());
        Ok::<_, InstallError>(ClusterPlan { cluster: member.name().to_owned(), plan, later, stale })
    });
    Ok(MeshPlan { mesh: mesh.name.clone(), scope: Scope::Everything, clusters: clusters.await.into_all()? })
}

/// Refuses a cluster in which pods would get no sidecar.
async fn injects(mesh: &Mesh, member: &Member) -> Result<(), InstallError> {
    let injectors = Kind::MutatingWebhookConfiguration.api(member.client(), None);
    let params = ListParams::default().labels(&owner(mesh).selector());
    let found = injectors
        .list_metadata(&params)
        .await
        .map_err(|error| InstallError::request("webhooks of Istio", &error))?;
    if found.items.is_empty() { Err(InstallError::NoIstio { mesh: mesh.name.clone() }) } else { Ok(()) }
}

/// Puts a demo on the clusters that it is for, and waits until it is ready.
///
/// # Errors
/// The first error of each cluster, with its name.
pub async fn install_demo(
    mesh: &Mesh,
    members: &[Member],
    demo: Demo,
    deadline: Deadline<'_>,
    watch: &dyn Watch<Step>,
) -> Vec<(String, Result<Counts, InstallError>)> {
    let wanted = members.iter().map(|member| (member, objects(demo, mesh, &member.cluster)));
    // Not every demo is on every cluster.
    let wanted = wanted.filter(|(_, objects)| !objects.is_empty());
    join_all(wanted.map(|(member, objects)| async move {
        let done = async {
            watch.step(member.name(), &Step::ApplyingDemo(demo));
            let applied = manifest::apply(member.client(), &objects, deadline, &|_, _| {}).await?;
            watch.step(member.name(), &Step::WaitingFor("its pods"));
            let ready =
                workloads(demo, Role::of(mesh, &member.cluster)).into_iter().map(|(namespace, name)| {
                    workload_ready::<Deployment>(member.client(), namespace, name, deadline)
                });
            try_join_all(ready).await?;
            Ok::<_, InstallError>(Counts::of(&applied))
        };
        let result = done.await;
        watch.step(member.name(), &Step::ended(&result));
        (member.name().to_owned(), result)
    }))
    .await
}

/// Lists what there is to remove of a demo in each cluster, in the order of the members.
///
/// # Errors
/// Every cluster that cannot be read.
pub async fn removal_of_demo(
    mesh: &Mesh,
    members: &[Member],
    demo: Demo,
) -> Result<Vec<Removal>, ClusterErrors<InstallError>> {
    let removals = each(members, |member| async move {
        let client = member.client();
        let mut objects = installed(client, mesh, demo).await?;
        let spared = manifest::spare(client, &owner(mesh), &mut objects, &[], Guests::Keep).await?;
        let (cluster, leftovers) = (member.name().to_owned(), spared.leftovers);
        Ok(Removal { cluster, objects, sidecars: Vec::new(), leftovers, lost: spared.lost })
    });
    removals.await.into_all()
}

/// Deletes what was found of a demo, where there is any.
///
/// # Errors
/// The first error of each cluster, with its name.
pub async fn remove_demo(
    members: &[Member],
    removals: &[Removal],
    deadline: Deadline<'_>,
    watch: &dyn Watch<Step>,
) -> Vec<(String, Result<(), InstallError>)> {
    let found = members.iter().zip(removals).filter(|(_, removal)| !removal.objects.is_empty());
    join_all(found.map(|(member, Removal { objects: keys, .. })| async move {
        watch.step(member.name(), &Step::Deleting);
        let result =
            manifest::delete(member.client(), keys, deadline, &|_, _| {}).await.map_err(InstallError::from);
        let outcome = match &result {
            Ok(()) => Step::Done(format!("{} objects deleted", keys.len())),
            Err(error) => Step::Failed(error.to_string()),
        };
        watch.step(member.name(), &outcome);
        (member.name().to_owned(), result)
    }))
    .await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::fleet::fake::FakeServer;

    fn mesh() -> Mesh {
        let text = "apiVersion: spire-mesh/v1alpha1\nkind: Mesh\nmetadata: {name: devup}\nspec:\n  clusters:\n  \
             - {name: foo, trustDomain: foo.com}\n  - {name: bar, trustDomain: bar.com}\n  - {name: baz, trustDomain: baz.com}\n";
        Mesh::parse(text, "test").unwrap()
    }

    struct Silent;

    impl Watch<Step> for Silent {
        fn step(&self, _: &str, _: &Step) {}
    }

    fn put_injector(server: &FakeServer, mesh: &str) {
        let labels = json!({"app.kubernetes.io/managed-by": "mesh-install", "spire-mesh.dev/mesh": mesh});
        let path =
            "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/istio-sidecar-injector";
        server.put(path, json!({"metadata": {"labels": labels}}));
    }

    #[tokio::test]
    async fn a_demo_needs_an_istio_of_the_mesh_that_injects_sidecars() {
        let servers = ["foo", "bar", "baz"].map(|name| (name, FakeServer::default()));
        for (_, server) in &servers {
            put_injector(server, "devup");
        }
        let members = servers.clone().map(|(name, server)| server.member(name));
        let plan = plan_demo(&mesh(), &members, Demo::Bookinfo).await.unwrap();
        let counts: Vec<_> = plan
            .clusters
            .iter()
            .map(|planned| (planned.cluster.as_str(), planned.plan.objects.len() > 5))
            .collect();
        assert_eq!(counts, [("foo", true), ("bar", false), ("baz", false)]);
        put_injector(&servers[2].1, "other");
        let error = plan_demo(&mesh(), &members, Demo::Sleep).await.unwrap_err();
        assert!(error.to_string().contains("baz") || format!("{error:?}").contains("NoIstio"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_demo_is_put_where_it_belongs_found_again_and_taken_away() {
        let servers = ["foo", "bar"].map(|name| (name, FakeServer::default()));
        let members = servers.clone().map(|(name, server)| server.member(name));
        let found = async || {
            let removals = removal_of_demo(&mesh(), &members, Demo::Bookinfo).await.unwrap();
            (removals.iter().map(|removal| removal.objects.len()).collect::<Vec<_>>(), removals)
        };
        assert_eq!(found().await.0, [0, 0]);
        let deadline = || Deadline::after(Duration::from_secs(1));
        let installed = install_demo(&mesh(), &members, Demo::Bookinfo, deadline(), &Silent).await;
        let names: Vec<_> = installed.iter().map(|(name, result)| (name.as_str(), result.is_err())).collect();
        assert_eq!(names, [("foo", true)], "no pod of it gets ready, and it is of one cluster only");
        servers[0].1.put("/api/v1/namespaces/bookinfo/secrets/theirs", json!({}));
        let (counts, removals) = found().await;
        assert!(counts[0] > 5 && counts[1] == 0);
        assert_eq!(removals[0].leftovers[0].reason, "objects of somebody else: Secret/theirs");
        let removed = remove_demo(&members, &removals, deadline(), &Silent).await;
        assert_eq!(
            removed.iter().map(|(name, result)| (name.as_str(), result.is_ok())).collect::<Vec<_>>(),
            [("foo", true)]
        );
        assert_eq!(found().await.0, [0, 0]);
        let is_there = |path: &str| servers[0].1.object(path).is_some();
        assert!(
            is_there("/api/v1/namespaces/bookinfo") && is_there("/api/v1/namespaces/bookinfo/secrets/theirs")
        );
    }
}
