//! `plan`: what `up` would change.

use spire_mesh::cli::PlanArgs;
use spire_mesh::command::{Asked, each_cluster, refuse_foreign, refuse_unchecked};
use spire_mesh::entry::{Failure, Outcome};
use spire_mesh::fleet::{Kubeconfig, Member};
use spire_mesh::manifest::{MeshPlan, Scope};
use spire_mesh::mesh::Mesh;
use spire_mesh::multicluster::{self, ApiServers, RenderError, Rendered};

use crate::addresses::{addresses, by_cluster};

/// Everything that it takes to plan, and to do what was planned.
pub(crate) struct Prepared {
    pub(crate) mesh: Mesh,
    pub(crate) members: Vec<Member>,
    pub(crate) rendered: Vec<Rendered>,
    pub(crate) servers: ApiServers,
    scope: Scope,
}

pub(crate) async fn run(asked: &Asked, args: PlanArgs) -> Result<Outcome, Failure> {
    asked.show_as_asked(&prepare(asked, Scope::Everything).await?.plan().await?, args)
}

/// Has istioctl write Istio's objects for every cluster.
pub(crate) async fn render(mesh: &Mesh) -> Result<Vec<Rendered>, Failure> {
    multicluster::render(mesh).await.map_err(|error| match error {
        RenderError::Istioctl(error) => error.into(),
        RenderError::Clusters(refused) => Failure::clusters(
            mesh.clusters.len(),
            refused.into_iter().map(|(place, error)| (place, error.into())).collect(),
        ),
    })
}

/// Renders, and checks that every cluster can take part. Changes nothing.
pub(crate) async fn prepare(asked: &Asked, scope: Scope) -> Result<Prepared, Failure> {
    let mesh = asked.load()?;
    let rendered = render(&mesh).await?;
    let (mesh, members) = asked.reach_those_of(mesh).await?.all(&asked.printer)?;
    // Before the plan: its dry run shows each API server the remote secrets that are to be there, with the tokens of the other clusters.
    refuse_unchecked(&members)?;
    let servers = by_cluster(&addresses(&mesh, &Kubeconfig::read(&asked.kube)?).await?);
    multicluster::preflight(&mesh, &members, (&rendered, &servers), scope)
        .await
        .map_err(|errors| each_cluster(&members, errors).with_hint("nothing was changed"))?;
    Ok(Prepared { mesh, members, rendered, servers, scope })
}

impl Prepared {
    /// Plans. Changes nothing.
    pub(crate) async fn plan(&self) -> Result<MeshPlan, Failure> {
        let Self { mesh, members, rendered, servers, scope } = self;
        let plan = multicluster::plan(mesh, members, (rendered, servers), *scope)
            .await
            .map_err(|errors| each_cluster(members, errors))?;
        refuse_foreign(members, plan)
    }
}
