//! `render`: the manifests that `up` would apply.

use spire_mesh::command::{Asked, Reached, each_cluster, write_manifests};
use spire_mesh::entry::{Failure, Outcome};
use spire_mesh::federation::{self, Desired, Endpoints};
use spire_mesh::fleet::Member;
use spire_mesh::manifest::to_yaml;
use spire_mesh::mesh::{Cluster, Mesh, Spire};
use spire_mesh::spire::desired::CLASS_NAME;

use crate::cli::RenderArgs;

pub(crate) async fn run(asked: &Asked, args: &RenderArgs) -> Result<Outcome, Failure> {
    let mesh = asked.load()?;
    let given = federation::given_endpoints(&mesh);
    // Without a cluster where the mesh file says everything.
    let needs_clusters = given.values().any(Result::is_err)
        || mesh.clusters.iter().any(|cluster| matches!(cluster.spire, Spire::Existing(_)));
    let (members, endpoints) = if needs_clusters { look(asked, given).await? } else { (Vec::new(), given) };
    for cluster in &mesh.clusters {
        let desired = render(&mesh, cluster, &members, &endpoints).await?;
        write(asked, args, cluster, &desired)?;
    }
    let up = asked.plugin.up();
    asked.printer.note(&format!("the first bundles are not part of the manifests; this carries them: {up}"));
    Ok(Outcome::Done)
}

/// Reads the addresses from the clusters that can be reached.
async fn look(asked: &Asked, mut endpoints: Endpoints) -> Result<(Vec<Member>, Endpoints), Failure> {
    let Reached { members, unreachable, .. } = asked.reach().await?;
    for (place, failure) in &unreachable {
        asked.printer.warn(&format!("{}: {}", place.cluster, failure.one_line()));
    }
    let found = federation::endpoints(&members).await.map_err(|errors| each_cluster(&members, errors))?;
    for (domain, endpoint) in found {
        endpoints.insert(domain, endpoint);
    }
    Ok((members, endpoints))
}

async fn render(
    mesh: &Mesh,
    cluster: &Cluster,
    members: &[Member],
    endpoints: &Endpoints,
) -> Result<Desired, Failure> {
    let class_name = match (&cluster.spire, members.iter().find(|member| member.name() == cluster.name)) {
        (Spire::Managed(_), _) => Some(CLASS_NAME.to_owned()),
        (Spire::Existing(_), Some(member)) => federation::class_name(member).await?,
        (Spire::Existing(_), None) => {
            let error =
                anyhow::anyhow!("{}: its SPIRE has to be looked at, and it cannot be reached", cluster.name);
            return Err(error.into());
        }
    };
    Ok(federation::desired(mesh, cluster, class_name.as_deref(), endpoints))
}

fn write(asked: &Asked, args: &RenderArgs, cluster: &Cluster, desired: &Desired) -> Result<(), Failure> {
    let yaml = to_yaml(&desired.objects);
    for later in &desired.later {
        asked.printer.warn(&format!("{}: {} is left out: {}", cluster.name, later.key, later.reason));
    }
    write_manifests(asked, args.to.as_deref(), cluster, &yaml)
}
