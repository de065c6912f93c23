//! `leave`: the others forget a cluster, it loses its SPIRE, and the mesh file loses it.

use std::collections::BTreeMap;

use serde::Serialize;
use spire_mesh::command::{Asked, Shown, each_cluster, place, taking, tell_others};
use spire_mesh::entry::{Failure, Outcome};
use spire_mesh::federation::{self, CaVolume, Removal, Ties};
use spire_mesh::fleet::{Member, each};
use spire_mesh::hint::{Advice, Command, Place, Plugin};
use spire_mesh::manifest::{Deadline, Guests, ObjectKey};
use spire_mesh::mesh::{Cluster, Mesh, MeshText};
use spire_mesh::report::{Cell, Printer, Report, Table};

use crate::cli::LeaveArgs;
use crate::down::{RemovalRow, ca_volumes, guests, refuse_while_mounted, remove};
use crate::up::failure;

pub(crate) async fn run(asked: &Asked, args: LeaveArgs) -> Result<Outcome, Failure> {
    let deadline = Deadline::after(args.wait.timeout);
    let before = asked.text()?;
    let after = before.without_cluster(&args.cluster).map_err(Failure::usage)?;
    if !args.confirm.dry_run {
        before.can_be_replaced()?;
    }
    let meant = Meant::reach(asked, &args, &before).await?;
    let work = part(asked, &args, &meant, (&before, &after), deadline);
    asked.exclusively("leave", taking(args.confirm), &meant.mesh, &meant.members, work).await
}

async fn part(
    asked: &Asked,
    args: &LeaveArgs,
    meant: &Meant,
    (before, after): (&MeshText, &MeshText),
    deadline: Deadline<'_>,
) -> Result<Outcome, Failure> {
    let parting = Parting::find(meant, after.mesh()?, guests(args.force)).await?;
    if args.confirm.dry_run {
        asked.printer.report(&LeaveReport::of(&parting))?;
        return Ok(Outcome::Done);
    }
    parting.refuse_while_trusted()?;
    if !args.force {
        // Of this cluster only: the others go on.
        let without_istio = Plugin::MeshInstall.command(["down", &args.cluster]);
        refuse_while_mounted(&parting.removals, &parting.leaving, without_istio)?;
    }
    parting.tell(&asked.printer);
    if !asked.printer.confirm(&parting.question(), args.confirm.yes).await? {
        asked.printer.note("nothing was changed");
        return Ok(Outcome::Done);
    }
    // Asked before the first change: nobody may be there to answer in the middle.
    let ca_volumes = ca_volumes(asked, args.ca_volume, args.confirm, &parting.removals).await?;
    let file = before.path().display().to_string();
    let as_it_was = |failure: Failure| {
        failure.with_hint(format!("{file} is as it was: run the same command again to go on from here"))
    };
    parting.untie(asked, deadline).await.map_err(as_it_was)?;
    if !parting.leaving.is_empty() {
        let removed = remove(asked, &parting.removals, &parting.leaving, &ca_volumes, deadline).await;
        removed.map_err(as_it_was)?;
    }
    before.replace_by(after)?;
    let names: Vec<&str> = parting.left.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
    asked.printer.note(&format!("wrote {file}; the mesh is {} now", names.join(", ")));
    parting.tell_what_stays(&asked.printer, &ca_volumes);
    Ok(Outcome::Done)
}

/// A mesh, and the cluster that is to leave it.
struct Meant {
    mesh: Mesh,
    /// The cluster that leaves.
    leaver: Cluster,
    /// The clusters that can be reached.
    members: Vec<Member>,
    /// Why the one that leaves cannot be reached, and is left as it is.
    skipped: Option<Failure>,
}

/// A cluster that leaves, and those that stay.
struct Parting<'m> {
    /// The cluster that leaves.
    leaver: &'m Cluster,
    /// The mesh without it.
    left: Mesh,
    /// The clusters that stay.
    staying: Vec<Member>,
    /// What of each of them still trusts the leaver.
    ties: Vec<Ties>,
    /// The cluster that leaves; nobody where it cannot be reached.
    leaving: Vec<Member>,
    /// What is removed from it.
    removals: Vec<Removal>,
    /// Why it cannot be reached, and is left as it is.
    skipped: Option<&'m Failure>,
}

impl Meant {
    /// Connects to all clusters. Without the leaver only with `--force`.
    async fn reach(asked: &Asked, args: &LeaveArgs, before: &MeshText) -> Result<Self, Failure> {
        let is_leaver = |name: &str| name == args.cluster;
        let mut reached = asked.reach_those_of(before.mesh()?).await?;
        let lost = reached.unreachable.iter().position(|(place, _)| is_leaver(&place.cluster));
        let skipped = lost.filter(|_| args.force).map(|index| reached.unreachable.remove(index).1);
        let is_only_the_leaver = lost.is_some() && reached.unreachable.len() == 1;
        let (mesh, members) = reached.all(&asked.printer).map_err(|failure| {
            if !is_only_the_leaver {
                return failure;
            }
            let name = &args.cluster;
            failure.with_hint(format!("--force makes the others forget {name}, and leaves {name} as it is"))
        })?;
        let leaver = mesh.clusters.iter().find(|cluster| is_leaver(&cluster.name)).cloned();
        let leaver = leaver.ok_or_else(|| anyhow::anyhow!("there is no cluster {}", args.cluster))?;
        Ok(Self { mesh, leaver, members, skipped })
    }
}

impl<'m> Parting<'m> {
    /// Reads what there is to do. `left` is the mesh without the leaver.
    async fn find(meant: &'m Meant, left: Mesh, guests: Guests) -> Result<Self, Failure> {
        let Meant { mesh, leaver, members, skipped } = meant;
        let (leaving, staying): (Vec<Member>, Vec<Member>) =
            members.iter().cloned().partition(|member| member.name() == leaver.name);
        let ties = each(&staying, |member| federation::ties(mesh, &leaver.trust_domain, member)).await;
        let ties = ties.into_all().map_err(|errors| each_cluster(&staying, errors))?;
        let removals = each(&leaving, |member| federation::removal(mesh, member, guests)).await;
        let removals = removals.into_all().map_err(|errors| each_cluster(&leaving, errors))?;
        Ok(Self { leaver, left, staying, ties, leaving, removals, skipped: skipped.as_ref() })
    }

    /// Refuses where objects of somebody else would keep a server from forgetting the leaver.
    fn refuse_while_trusted(&self) -> Result<(), Failure> {
        let trusting = self.ties.iter().filter_map(|ties| {
            let error = ties.refusal()?;
            Some((place(&self.staying, &ties.cluster), Failure::from(error)))
        });
        let trusting: Vec<(Place, Failure)> = trusting.collect();
        if trusting.is_empty() {
            return Ok(());
        }
        Err(Failure::clusters(self.ties.len(), trusting).with_hint("nothing was changed"))
    }

    /// Says what still trusts the leaver, and what is to become of the leaver itself.
    fn tell(&self, printer: &Printer) {
        for ties in &self.ties {
            printer.note(&format!("{}: {}", ties.cluster, told(ties)));
        }
        for removal in &self.removals {
            printer.note(&format!("{}: {} objects to delete", removal.cluster, removal.objects.len()));
            tell_others(printer, &removal.cluster, &removal.leftovers, &removal.lost);
        }
        if let Some(why) = &self.skipped {
            printer.warn(&format!("{} is left as it is: {}", self.leaver.name, why.one_line()));
        }
    }

    fn question(&self) -> String {
        format!("Take {} out of mesh {}?", self.leaver.name, self.left.name)
    }

    /// Makes the clusters that stay forget the leaver.
    async fn untie(&self, asked: &Asked, deadline: Deadline<'_>) -> Result<(), Failure> {
        let untied = {
            let shown = Shown::of(&asked.printer, &self.staying);
            federation::untie(&self.left, &self.ties, &self.staying, deadline, &shown).await
        };
        let failed = untied
            .into_iter()
            .filter_map(|(cluster, result)| Some((place(&self.staying, &cluster), failure(result.err()?))));
        let failed: Vec<(Place, Failure)> = failed.collect();
        if failed.is_empty() { Ok(()) } else { Err(Failure::clusters(self.staying.len(), failed)) }
    }

    /// Says what stays although the leaver is gone, and who can take it away.
    fn tell_what_stays(&self, printer: &Printer, ca_volumes: &BTreeMap<String, CaVolume>) {
        let domain = &self.leaver.trust_domain;
        let mut is_theirs = false;
        for (ties, leftover) in
            self.ties.iter().flat_map(|ties| ties.leftovers().into_iter().map(move |left| (ties, left)))
        {
            is_theirs = true;
            printer.note(&format!("{}: {} stays: {}", ties.cluster, leftover.what, leftover.reason));
        }
        if is_theirs {
            printer.hint(format!(
                "their owner has to take {domain} out of them, and can then forget it: spire-server bundle delete -id {}",
                domain.id()
            ));
        }
        let kept =
            self.removals.iter().filter(|removal| ca_volumes.get(&removal.cluster) == Some(&CaVolume::Keep));
        for claim in kept.filter_map(|removal| removal.ca_volume.as_ref()) {
            let delete = Command::kubectl(["delete"]).and(claim.kubectl()).at(&self.leaver.context);
            printer.hint(Advice::from("to delete the CA's keys as well: ").then(delete));
        }
        if self.skipped.is_some() {
            printer.hint(format!(
                "{} still trusts the others; to clean it once it is back: join it again, and let it leave",
                self.leaver.name
            ));
        }
    }
}

/// Says in one line what of a cluster trusts the leaver.
fn told(ties: &Ties) -> String {
    if ties.is_empty() {
        return format!("nothing trusts {}", ties.leaver);
    }
    let counted = |count: usize, one: &str, several: &str| match count {
        0 => None,
        1 => Some(format!("1 {one}")),
        _ => Some(format!("{count} {several}")),
    };
    let parts = [
        counted(ties.workload_ids.len(), "ClusterSPIFFEID object", "ClusterSPIFFEID objects"),
        counted(ties.entries, "registration entry", "registration entries"),
        counted(ties.relationships.len(), "relationship", "relationships"),
        ties.holds_bundle.then(|| "its bundle in the SPIRE server".to_owned()),
        counted(ties.others.len(), "object of somebody else", "objects of somebody else"),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    format!("what trusts {}: {}", ties.leaver, parts.join(", "))
}

/// What `leave --dry-run` prints.
#[derive(Serialize)]
struct LeaveReport {
    staying: Vec<StayingRow>,
    /// Absent where it cannot be reached.
    leaving: Option<RemovalRow>,
}

/// What would be done in a cluster that stays.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StayingRow {
    cluster: String,
    change: Vec<String>,
    delete: Vec<String>,
    forget_bundles_of: Vec<String>,
    blocked_by: Vec<String>,
    stays: Vec<String>,
}

impl LeaveReport {
    fn of(parting: &Parting<'_>) -> Self {
        Self {
            staying: parting.ties.iter().map(StayingRow::of).collect(),
            leaving: parting.removals.first().map(RemovalRow::of),
        }
    }
}

impl StayingRow {
    fn of(ties: &Ties) -> Self {
        let named = |keys: &[ObjectKey]| keys.iter().map(ToString::to_string).collect();
        let blocking = if ties.refusal().is_some() { ties.others.as_slice() } else { &[] };
        Self {
            cluster: ties.cluster.clone(),
            change: named(&ties.workload_ids),
            delete: named(&ties.relationships),
            forget_bundles_of: ties.forgotten().into_iter().map(ToString::to_string).collect(),
            blocked_by: named(blocking),
            stays: ties.leftovers().iter().map(|left| format!("{}: {}", left.what, left.reason)).collect(),
        }
    }

    fn add_to(&self, table: &mut Table) {
        let mut row = |action: Cell, object: &str| {
            table.row([Cell::from(self.cluster.as_str()), action, object.into()]);
        };
        self.change.iter().for_each(|object| row(Cell::attention("change"), object));
        self.delete.iter().for_each(|object| row(Cell::bad("delete"), object));
        self.forget_bundles_of.iter().for_each(|domain| row(Cell::bad("forget"), domain));
        self.blocked_by.iter().for_each(|object| row(Cell::bad("blocks"), object));
        self.stays.iter().for_each(|what| row(Cell::from("keep"), what));
    }
}

impl Report for LeaveReport {
    fn table(&self, _: bool) -> Table {
        let mut table = Table::new(["CLUSTER", "ACTION", "OBJECT"])
            .when_empty("only the mesh file would be changed: nothing of this cluster is there");
        self.staying.iter().for_each(|row| row.add_to(&mut table));
        self.leaving.iter().for_each(|row| row.add_to(&mut table));
        table
    }
}

#[cfg(test)]
mod tests {
    use spire_mesh::federation::Keeper;
    use spire_mesh::manifest::Kind;
    use spire_mesh::report::Format;

    use super::*;

    fn ties(cluster: &str, keeper: Keeper) -> Ties {
        let id = |name| ObjectKey::new(Kind::ClusterSPIFFEID, None, name);
        let ours = if keeper == Keeper::Nobody {
            vec![id("labelled-workloads"), id("mesh-workloads")]
        } else {
            Vec::new()
        };
        Ties {
            cluster: cluster.to_owned(),
            leaver: "baz.com".parse().unwrap(),
            workload_ids: ours,
            entries: 12,
            relationships: vec![ObjectKey::new(Kind::ClusterFederatedTrustDomain, None, "baz.com")],
            holds_bundle: true,
            others: Vec::new(),
            keeper,
        }
    }

    fn report() -> LeaveReport {
        let theirs = vec![ObjectKey::new(Kind::ClusterSPIFFEID, None, "theirs")];
        let blocked = Ties { others: theirs.clone(), ..ties("bar", Keeper::Nobody) };
        let existing = Ties { others: theirs, ..ties("qux", Keeper::Owner) };
        let removal = Removal {
            cluster: "baz".to_owned(),
            objects: vec![ObjectKey::new(Kind::StatefulSet, Some("spire-server"), "spire-server")],
            mounted_by: vec!["shop/cart-0".to_owned()],
            ca_volume: Some(ObjectKey::new(
                Kind::PersistentVolumeClaim,
                Some("spire-server"),
                "data-spire-server-0",
            )),
            leftovers: Vec::new(),
            lost: Vec::new(),
            bundles: Vec::new(),
        };
        LeaveReport {
            staying: [&ties("foo", Keeper::Nobody), &blocked, &existing].map(StayingRow::of).into(),
            leaving: Some(RemovalRow::of(&removal)),
        }
    }

    fn printed(format: Format) -> String {
        let (printer, captured) = Printer::captured(format);
        printer.report(&report()).unwrap();
        captured.stdout()
    }

    #[test]
    fn a_dry_run_shows_what_each_cluster_would_lose() {
        insta::assert_snapshot!(printed(Format::Table));
    }

    #[test]
    fn the_json_of_a_dry_run_is_a_promise() {
        insta::assert_snapshot!(printed(Format::Json));
    }

    #[test]
    fn what_trusts_the_leaver_is_said_in_one_line() {
        let none = Ties {
            workload_ids: Vec::new(),
            entries: 0,
            relationships: Vec::new(),
            holds_bundle: false,
            ..ties("foo", Keeper::Nobody)
        };
        insta::assert_snapshot!(told(&none), @"nothing trusts baz.com");
        insta::assert_snapshot!(told(&ties("foo", Keeper::Nobody)), @"what trusts baz.com: 2 ClusterSPIFFEID objects, 12 registration entries, 1 relationship, its bundle in the SPIRE server");
        insta::assert_snapshot!(told(&ties("qux", Keeper::Owner)), @"what trusts baz.com: 12 registration entries, 1 relationship, its bundle in the SPIRE server");
    }
}
