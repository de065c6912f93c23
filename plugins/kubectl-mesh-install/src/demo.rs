//! `demo`: applications to see a mesh at work with.

use spire_mesh::command::{
    Asked, Shown, each_cluster, place, refuse_declared, refuse_foreign, summary, taking, tell_others,
};
use spire_mesh::entry::{Failure, Outcome};
use spire_mesh::fleet::Member;
use spire_mesh::hint::{Advice, Place, Plugin};
use spire_mesh::istio::demo::Demo;
use spire_mesh::manifest::{Deadline, Tool};
use spire_mesh::mesh::Mesh;
use spire_mesh::multicluster;

use crate::cli::DemoArgs;
use crate::up::failure;

pub(crate) async fn run(asked: &Asked, args: DemoArgs) -> Result<Outcome, Failure> {
    let deadline = Deadline::after(args.wait.timeout);
    let (mesh, members) = asked.reach_all().await?;
    let (taking, mesh, members) = (taking(args.confirm), &mesh, &members);
    if args.remove {
        let work = remove(asked, args, mesh, members, deadline);
        return asked.exclusively("demo --remove", taking, mesh, members, work).await;
    }
    asked.exclusively("demo", taking, mesh, members, install(asked, args, mesh, members, deadline)).await
}

async fn install(
    asked: &Asked,
    args: DemoArgs,
    mesh: &Mesh,
    members: &[Member],
    deadline: Deadline<'_>,
) -> Result<Outcome, Failure> {
    let plan = multicluster::plan_demo(mesh, members, args.demo)
        .await
        .map_err(|errors| each_cluster(members, errors))?;
    let plan = refuse_foreign(members, plan)?;
    if args.confirm.dry_run {
        return asked.show(&plan);
    }
    refuse_declared(members, &plan, Tool::MeshInstall)?;
    asked.printer.note(&summary(&plan));
    if !plan.is_unchanged() && !asked.printer.confirm("Go on?", args.confirm.yes).await? {
        asked.printer.note("nothing was changed");
        return Ok(Outcome::Done);
    }
    let installed = {
        let shown = Shown::of(&asked.printer, members);
        multicluster::install_demo(mesh, members, args.demo, deadline, &shown).await
    };
    finish(members, installed)?;
    asked.printer.hint(next(args.demo, members.first().map_or("", |first| first.name())));
    Ok(Outcome::Done)
}

async fn remove(
    asked: &Asked,
    args: DemoArgs,
    mesh: &Mesh,
    members: &[Member],
    deadline: Deadline<'_>,
) -> Result<Outcome, Failure> {
    let removals = multicluster::removal_of_demo(mesh, members, args.demo)
        .await
        .map_err(|errors| each_cluster(members, errors))?;
    for removal in &removals {
        tell_others(&asked.printer, &removal.cluster, &removal.leftovers, &removal.lost);
    }
    let count: usize = removals.iter().map(|removal| removal.objects.len()).sum();
    if count == 0 {
        asked.printer.note(&format!("nothing of {} is there", args.demo));
        return Ok(Outcome::Done);
    }
    let question = format!("Delete {count} objects of {} from {} clusters?", args.demo, members.len());
    if args.confirm.dry_run {
        asked.printer.note(&format!("{count} objects of {} would be deleted", args.demo));
        return Ok(Outcome::Done);
    }
    if !asked.printer.confirm(&question, args.confirm.yes).await? {
        asked.printer.note("nothing was deleted");
        return Ok(Outcome::Done);
    }
    let removed = {
        let shown = Shown::of(&asked.printer, members);
        multicluster::remove_demo(members, &removals, deadline, &shown).await
    };
    finish(members, removed)?;
    Ok(Outcome::Done)
}

fn finish<T>(
    members: &[Member],
    results: Vec<(String, Result<T, multicluster::InstallError>)>,
) -> Result<(), Failure> {
    let failed: Vec<(Place, Failure)> = results
        .into_iter()
        .filter_map(|(cluster, result)| Some((place(members, &cluster), failure(result.err()?))))
        .collect();
    if failed.is_empty() { Ok(()) } else { Err(Failure::clusters(members.len(), failed)) }
}

/// What to try next; `first` is the cluster with bookinfo.
fn next(demo: Demo, first: &str) -> Advice {
    let ask = || Plugin::XclusterCurl.command(["http://helloworld.helloworld:5000/hello", "-n", "100"]);
    match demo {
        Demo::Helloworld => Advice::from("ask it from a pod of the mesh: ")
            .then(Plugin::MeshInstall.command(["demo", "sleep"]))
            .then(", then ")
            .then(ask()),
        Demo::Sleep => ask().into(),
        Demo::Bookinfo => {
            let page = "http://productpage.bookinfo:9080/productpage";
            Advice::from("ask it through the ingress gateway: ")
                .then(Plugin::XclusterCurl.command([page, "--via", "ingress", first]))
        }
    }
}
