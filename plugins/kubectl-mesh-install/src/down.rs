//! `down`: takes away what `up` and `demo` made.

use serde::Serialize;
use spire_mesh::command::{Asked, Shown, deletion_question, each_cluster, named, place, taking, tell_others};
use spire_mesh::entry::{Failure, Outcome};
use spire_mesh::fleet::{Member, each};
use spire_mesh::hint::{Advice, Place, Plugin};
use spire_mesh::manifest::{Deadline, Guests};
use spire_mesh::mesh::Mesh;
use spire_mesh::multicluster::{self, ReaderTokens, Removal};
use spire_mesh::report::{Cell, Report, Table};

use crate::cli::DownArgs;
use crate::up::failure;

/// How many pods are named in a message.
const MOST_NAMED: usize = 5;

pub(crate) async fn run(asked: &Asked, args: DownArgs) -> Result<Outcome, Failure> {
    let deadline = Deadline::after(args.wait.timeout);
    let (mesh, members) = asked.reach_all().await?;
    let work = take_down(asked, &args, &mesh, &members, deadline);
    asked.exclusively("down", taking(args.confirm), &mesh, &members, work).await
}

async fn take_down(
    asked: &Asked,
    args: &DownArgs,
    mesh: &Mesh,
    members: &[Member],
    deadline: Deadline<'_>,
) -> Result<Outcome, Failure> {
    let only =
        args.cluster.as_deref().map(|name| named(members, name)).transpose()?.map(|member| member.name());
    let guests = if args.force { Guests::Delete } else { Guests::Keep };
    let tokens = if args.keep_tokens { ReaderTokens::Keep } else { ReaderTokens::TakeBack };
    let removals = each(members, |member| async move {
        match only {
            Some(leaver) if leaver != member.name() => {
                multicluster::removal_of_access(mesh, member, leaver, tokens).await
            }
            _ => multicluster::removal(mesh, member, guests).await,
        }
    });
    let removals = removals.await.into_all().map_err(|errors| each_cluster(members, errors))?;
    if args.confirm.dry_run {
        asked.printer.report(&RemovalReport { clusters: &removals })?;
        return Ok(Outcome::Done);
    }
    for removal in &removals {
        tell_others(&asked.printer, &removal.cluster, &removal.leftovers, &removal.lost);
    }
    if let (Some(cluster), true) = (only, args.keep_tokens) {
        let take_back = Plugin::MeshInstall.command(["down", cluster]);
        asked.printer.warn(&format!(
            "the tokens that {cluster} reads the others with stay, and never end; to take them back: {take_back}"
        ));
    }
    let count: usize = removals.iter().map(|removal| removal.objects.len()).sum();
    if count == 0 {
        let place = only.map(|cluster| format!(" of {cluster}")).unwrap_or_default();
        asked.printer.note(&format!("nothing{place} of mesh {} is there", mesh.name));
        return Ok(Outcome::Done);
    }
    if !args.force {
        refuse_with_sidecars(&removals, members, only)?;
    }
    let touched = removals.iter().filter(|removal| !removal.objects.is_empty()).count();
    let lost = removals.iter().map(|removal| removal.lost.len()).sum();
    let question = deletion_question(count, &mesh.name, touched, lost);
    if !asked.printer.confirm(&question, args.confirm.yes).await? {
        asked.printer.note("nothing was deleted");
        return Ok(Outcome::Done);
    }
    let removed = {
        let shown = Shown::of(&asked.printer, members);
        multicluster::down(&removals, members, deadline, &shown).await
    };
    for removal in &removals {
        for pod in &removal.sidecars {
            asked
                .printer
                .note(&format!("{}: the sidecar of {pod} stays until the pod is made anew", removal.cluster));
        }
    }
    let failed: Vec<(Place, Failure)> = removed
        .clusters
        .into_iter()
        .filter_map(|(cluster, result)| Some((place(members, &cluster), failure(result.err()?))))
        .collect();
    if !failed.is_empty() {
        return Err(Failure::clusters(members.len(), failed));
    }
    if let Some(cluster) = only {
        let leave = Plugin::SpireFederate.command(["leave", cluster]);
        asked.printer.note(&format!(
            "{cluster} is still in the mesh file, and `up` would install Istio there again; to take it out: {leave}"
        ));
    }
    Ok(Outcome::Done)
}

/// Refuses as long as pods of somebody else have a sidecar: without istiod it learns nothing new any more. `only` is the cluster that
/// was asked for, where it is not all.
fn refuse_with_sidecars(removals: &[Removal], members: &[Member], only: Option<&str>) -> Result<(), Failure> {
    let total = removals.len();
    let failed: Vec<(Place, Failure)> = removals
        .iter()
        .filter(|removal| !removal.sidecars.is_empty())
        .map(|removal| {
            let mut named: Vec<&str> = removal.sidecars.iter().take(MOST_NAMED).map(String::as_str).collect();
            let more = format!("{} more", removal.sidecars.len().saturating_sub(MOST_NAMED));
            if removal.sidecars.len() > MOST_NAMED {
                named.push(&more);
            }
            let error = anyhow::anyhow!(
                "pods have a sidecar that would be left without istiod: {}",
                named.join(", ")
            );
            (place(members, &removal.cluster), Failure::from(error))
        })
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    let down = Plugin::MeshInstall.command(["down"]).and(only).and(["--force"]);
    let hint = "take the label istio-injection off their namespaces and make the pods anew, or leave them as they are: ";
    Err(Failure::clusters(total, failed).with_hint(Advice::from(hint).then(down)))
}

/// What would be removed. The shape of its JSON is a promise.
#[derive(Serialize)]
struct RemovalReport<'r> {
    clusters: &'r [Removal],
}

impl Report for RemovalReport<'_> {
    fn table(&self, _wide: bool) -> Table {
        let mut table = Table::new(["CLUSTER", "ACTION", "OBJECT", "NAMESPACE", "DETAIL"])
            .when_empty("nothing would be deleted");
        for removal in self.clusters {
            let cluster = || Cell::from(removal.cluster.as_str());
            for key in &removal.objects {
                let object = format!("{}/{}", key.kind, key.name);
                table.row([
                    cluster(),
                    Cell::bad("delete"),
                    object.into(),
                    key.namespace.clone().into(),
                    "".into(),
                ]);
            }
            for object in &removal.lost {
                let detail = "somebody else made it";
                table.row([cluster(), Cell::bad("delete"), object.as_str().into(), "".into(), detail.into()]);
            }
            for left in &removal.leftovers {
                table.row([
                    cluster(),
                    Cell::from("keep"),
                    left.what.as_str().into(),
                    "".into(),
                    left.reason.as_str().into(),
                ]);
            }
        }
        table
    }
}
