//! `down`: takes away what `up` made.

use std::collections::BTreeMap;

use serde::Serialize;
use spire_mesh::cli::ConfirmArgs;
use spire_mesh::command::{Asked, Shown, deletion_question, each_cluster, place, taking, tell_others};
use spire_mesh::entry::{Failure, Outcome};
use spire_mesh::federation::{self, CaVolume, Removal};
use spire_mesh::fleet::{Member, each};
use spire_mesh::hint::{Advice, Command, Place, Plugin};
use spire_mesh::lease;
use spire_mesh::manifest::{Deadline, Guests};
use spire_mesh::mesh::Mesh;
use spire_mesh::report::{Cell, Report, Table};

use crate::cli::{self, DownArgs};
use crate::up::failure;

pub(crate) async fn run(asked: &Asked, args: DownArgs) -> Result<Outcome, Failure> {
    let deadline = Deadline::after(args.wait.timeout);
    let (mesh, members) = asked.reach_all().await?;
    let taking = taking(args.confirm);
    let besides = taking.map(|_| lease::needs(&mesh.name)).unwrap_or_default();
    federation::preflight_removal(&members, &besides)
        .await
        .map_err(|errors| each_cluster(&members, errors))?;
    let work = take_down(asked, &args, &mesh, &members, deadline);
    asked.exclusively("down", taking, &mesh, &members, work).await
}

async fn take_down(
    asked: &Asked,
    args: &DownArgs,
    mesh: &Mesh,
    members: &[Member],
    deadline: Deadline<'_>,
) -> Result<Outcome, Failure> {
    let removals = each(members, |member| federation::removal(mesh, member, guests(args.force))).await;
    let removals = removals.into_all().map_err(|errors| each_cluster(members, errors))?;
    if args.confirm.dry_run {
        asked.printer.report(&RemovalReport { clusters: removals.iter().map(RemovalRow::of).collect() })?;
        return Ok(Outcome::Done);
    }
    if !args.force {
        refuse_while_mounted(&removals, members, Plugin::MeshInstall.command(["down"]))?;
    }
    for removal in &removals {
        tell_others(&asked.printer, &removal.cluster, &removal.leftovers, &removal.lost);
    }
    if removals.iter().all(is_empty) {
        asked.printer.note(&format!("nothing of mesh {} is there", mesh.name));
        return Ok(Outcome::Done);
    }
    federation::preflight_down(&removals, members, at_most(args))
        .await
        .map_err(|errors| each_cluster(members, errors))?;
    let count: usize = removals.iter().map(|removal| removal.objects.len()).sum();
    let lost = removals.iter().map(|removal| removal.lost.len()).sum();
    let question = deletion_question(count, &mesh.name, members.len(), lost);
    if !asked.printer.confirm(&question, args.confirm.yes).await? {
        asked.printer.note("nothing was deleted");
        return Ok(Outcome::Done);
    }
    let ca_volumes = ca_volumes(asked, args.ca_volume, args.confirm, &removals).await?;
    let removed = remove(asked, &removals, members, &ca_volumes, deadline).await;
    if ca_volumes.values().any(|volume| *volume == CaVolume::Keep) {
        let down = asked.plugin.command(["down", "--ca-volume", "delete"]);
        asked.printer.hint(Advice::from("to delete the CA's keys as well: ").then(down));
    }
    removed?;
    Ok(Outcome::Done)
}

/// Says what becomes of what others have in the namespaces of SPIRE.
pub(crate) fn guests(force: bool) -> Guests {
    if force { Guests::Delete } else { Guests::Keep }
}

/// Tells whether there is nothing to remove.
pub(crate) fn is_empty(removal: &Removal) -> bool {
    removal.objects.is_empty() && removal.ca_volume.is_none()
}

/// Removes what was found, and says which volumes stay.
pub(crate) async fn remove(
    asked: &Asked,
    removals: &[Removal],
    members: &[Member],
    ca_volumes: &BTreeMap<String, CaVolume>,
    deadline: Deadline<'_>,
) -> Result<(), Failure> {
    let removed = {
        let shown = Shown::of(&asked.printer, members);
        federation::down(removals, members, ca_volumes, deadline, &shown).await
    };
    for removal in removals {
        if let Some(claim) = &removal.ca_volume
            && ca_volumes.get(&removal.cluster) == Some(&CaVolume::Keep)
        {
            asked
                .printer
                .note(&format!("{}: {claim} with the CA's keys stays, and its namespace", removal.cluster));
        }
    }
    let failed: Vec<(Place, Failure)> = removed
        .clusters
        .into_iter()
        .filter_map(|(cluster, result)| Some((place(members, &cluster), failure(result.err()?))))
        .collect();
    if failed.is_empty() { Ok(()) } else { Err(Failure::clusters(members.len(), failed)) }
}

/// Refuses as long as pods mount the CSI driver: the kubelet could never unmount it for them. `without_istio` is the command that takes
/// away those of Istio.
pub(crate) fn refuse_while_mounted(
    removals: &[Removal],
    members: &[Member],
    without_istio: Command,
) -> Result<(), Failure> {
    let mounted: Vec<(Place, Failure)> = removals
        .iter()
        .filter(|removal| !removal.mounted_by.is_empty())
        .map(|removal| {
            let pods = removal.mounted_by.join(", ");
            let error = anyhow::anyhow!(
                "pods still mount the SPIFFE CSI driver and would hang when they stop: {pods}"
            );
            (place(members, &removal.cluster), Failure::from(error))
        })
        .collect();
    if mounted.is_empty() {
        return Ok(());
    }
    let hint = Advice::from("nothing was deleted; stop these pods first (those of Istio: ")
        .then(without_istio)
        .then("), or take SPIRE away regardless with --force");
    Err(Failure::clusters(removals.len(), mounted).with_hint(hint))
}

/// Says what may become of the CA volumes, before anybody is asked.
fn at_most(args: &DownArgs) -> CaVolume {
    match args.ca_volume {
        Some(cli::CaVolume::Keep) => CaVolume::Keep,
        None if args.confirm.yes => CaVolume::Keep,
        Some(cli::CaVolume::Delete) | None => CaVolume::Delete,
    }
}

/// Finds out what becomes of each CA volume: as the flag says, else asked, else kept.
pub(crate) async fn ca_volumes(
    asked: &Asked,
    wanted: Option<cli::CaVolume>,
    confirm: ConfirmArgs,
    removals: &[Removal],
) -> Result<BTreeMap<String, CaVolume>, Failure> {
    let mut volumes = BTreeMap::new();
    for removal in removals.iter().filter(|removal| removal.ca_volume.is_some()) {
        let volume = match wanted {
            Some(cli::CaVolume::Keep) => CaVolume::Keep,
            Some(cli::CaVolume::Delete) => CaVolume::Delete,
            None if confirm.yes => CaVolume::Keep,
            None => {
                let question = format!(
                    "Delete the volume with the CA's keys of {} too? Every peer then has to learn a new CA.",
                    removal.cluster
                );
                if asked.printer.confirm(&question, false).await? { CaVolume::Delete } else { CaVolume::Keep }
            }
        };
        volumes.insert(removal.cluster.clone(), volume);
    }
    Ok(volumes)
}

/// What `down --dry-run` prints.
#[derive(Serialize)]
struct RemovalReport {
    clusters: Vec<RemovalRow>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RemovalRow {
    cluster: String,
    delete: Vec<String>,
    ca_volume: Option<String>,
    mounted_by: Vec<String>,
    forget_bundles_of: Vec<String>,
    stays: Vec<String>,
    /// What others lose.
    lost: Vec<String>,
}

impl RemovalRow {
    pub(crate) fn of(removal: &Removal) -> Self {
        Self {
            cluster: removal.cluster.clone(),
            delete: removal.objects.iter().map(ToString::to_string).collect(),
            ca_volume: removal.ca_volume.as_ref().map(ToString::to_string),
            mounted_by: removal.mounted_by.clone(),
            forget_bundles_of: removal.bundles.iter().map(ToString::to_string).collect(),
            stays: removal.leftovers.iter().map(|left| format!("{}: {}", left.what, left.reason)).collect(),
            lost: removal.lost.clone(),
        }
    }

    /// Adds one row for each thing to a table of cluster, action and object.
    pub(crate) fn add_to(&self, table: &mut Table) {
        let mut row = |action: Cell, object: &str| {
            table.row([Cell::from(self.cluster.as_str()), action, object.into()]);
        };
        self.delete.iter().for_each(|object| row(Cell::bad("delete"), object));
        let theirs = self.lost.iter().map(|object| format!("{object}, which somebody else made"));
        theirs.for_each(|object| row(Cell::bad("delete"), &object));
        self.ca_volume.iter().for_each(|claim| row(Cell::attention("ask"), claim));
        self.mounted_by.iter().for_each(|pod| row(Cell::bad("blocks"), pod));
        self.forget_bundles_of.iter().for_each(|domain| row(Cell::bad("forget"), domain));
        self.stays.iter().for_each(|what| row(Cell::from("keep"), what));
    }
}

impl Report for RemovalReport {
    fn table(&self, _: bool) -> Table {
        let mut table = Table::new(["CLUSTER", "ACTION", "OBJECT"]).when_empty("nothing would be deleted");
        self.clusters.iter().for_each(|cluster| cluster.add_to(&mut table));
        table
    }
}
