//! A plan as it is printed, and what stands in its way.

use serde::Serialize;

use super::Asked;
use crate::cli::PlanArgs;
use crate::entry::{Failure, Outcome};
use crate::fleet::{ClusterErrors, Member};
use crate::hint::{Hint, Place};
use crate::manifest::{ApplyError, MeshPlan, ObjectKey, Owner, Tool, Verdict};
use crate::report::{Cell, Report, Table};

impl Asked {
    /// Prints what would be done, and does nothing.
    pub fn show(&self, plan: &MeshPlan) -> Result<Outcome, Failure> {
        self.printer.report(&PlanReport(plan))?;
        self.printer.note(&summary(plan));
        Ok(Outcome::Done)
    }

    /// Prints what would be done, and has the exit code tell it where that was asked for.
    pub fn show_as_asked(&self, plan: &MeshPlan, args: PlanArgs) -> Result<Outcome, Failure> {
        let shown = self.show(plan)?;
        Ok(if args.exit_code && !plan.is_unchanged() { Outcome::Findings } else { shown })
    }
}

/// Refuses to do what was planned where somebody else declares other values: the two would take turns.
///
/// # Errors
/// [`Failure`] with every object that this is about.
pub fn refuse_declared(members: &[Member], plan: &MeshPlan, tool: Tool) -> Result<(), Failure> {
    let mut refused = Vec::new();
    for cluster in &plan.clusters {
        let objects = cluster.declared().into_iter().map(|(key, by)| (key.clone(), by.to_vec()));
        let objects: Vec<_> = objects.collect();
        if !objects.is_empty() {
            let owner = Some(Owner::new(tool, plan.mesh.clone()));
            let error = ApplyError::Declared { objects, owner };
            refused.push((place(members, &cluster.cluster), Failure::from(error)));
        }
    }
    if refused.is_empty() {
        return Ok(());
    }
    Err(Failure::clusters(plan.clusters.len(), refused).with_hint("nothing was changed"))
}

/// Refuses a plan with objects in it that belong to somebody else.
///
/// # Errors
/// [`Failure`] with every one of them.
pub fn refuse_foreign(members: &[Member], plan: MeshPlan) -> Result<MeshPlan, Failure> {
    let mut foreign = Vec::new();
    for cluster in &plan.clusters {
        let objects = cluster.foreign();
        if !objects.is_empty() {
            let names: Vec<String> =
                objects.iter().map(|(key, owner)| format!("{key} (of {owner})")).collect();
            let error =
                anyhow::anyhow!("objects that this tool did not make are in the way: {}", names.join(", "));
            foreign.push((place(members, &cluster.cluster), Failure::from(error)));
        }
    }
    if foreign.is_empty() {
        return Ok(plan);
    }
    Err(Failure::clusters(plan.clusters.len(), foreign)
        .with_hint("nothing was changed; remove these objects, or rename them"))
}

/// Returns how the cluster with this name is reached.
#[must_use]
pub fn place(members: &[Member], name: &str) -> Place {
    let member = members.iter().find(|member| member.name() == name);
    // Of a cluster that is not there, nobody knows the context: a command then says that one is missing.
    member.map_or_else(|| Place::new(name, "CONTEXT"), |member| member.place())
}

/// Makes one failure of those of several clusters.
#[must_use]
pub fn each_cluster<E>(members: &[Member], errors: ClusterErrors<E>) -> Failure
where
    E: std::error::Error + Hint + Send + Sync + 'static,
{
    let failed = errors.into_iter().map(|(place, error)| (place, error.into()));
    Failure::clusters(members.len(), failed.collect())
}

/// Says in one line what a plan comes to.
#[must_use]
pub fn summary(plan: &MeshPlan) -> String {
    let count =
        |is: fn(&Verdict) -> bool| plan.clusters.iter().map(|cluster| cluster.count(is)).sum::<usize>();
    let later: usize = plan.clusters.iter().map(|cluster| cluster.later.len()).sum();
    let created = count(|verdict| matches!(verdict, Verdict::Create)) + later;
    let changed = count(|verdict| matches!(verdict, Verdict::Change { .. }));
    let unchanged = count(|verdict| matches!(verdict, Verdict::Unchanged | Verdict::Kept));
    let stale: usize = plan.clusters.iter().map(|cluster| cluster.stale.len()).sum();
    let deleted = if stale > 0 { format!(", {stale} to delete") } else { String::new() };
    let declared: usize = plan.clusters.iter().map(|cluster| cluster.declared().len()).sum();
    let declared =
        if declared > 0 { format!(", {declared} declared otherwise by others") } else { String::new() };
    format!(
        "{} clusters: {created} to create, {changed} to change{deleted}{declared}, {unchanged} unchanged",
        plan.clusters.len()
    )
}

/// A plan as it is printed.
#[derive(Serialize)]
#[serde(transparent)]
struct PlanReport<'p>(&'p MeshPlan);

impl Report for PlanReport<'_> {
    /// Shows what would change; `wide` shows what would not, too.
    fn table(&self, wide: bool) -> Table {
        let mut table = Table::new(["CLUSTER", "ACTION", "OBJECT", "NAMESPACE", "DETAIL"])
            .when_empty("nothing would change: everything is as the mesh file wants it");
        for cluster in &self.0.clusters {
            let row = |action: Cell, key: &ObjectKey, detail: String| {
                let object = format!("{}/{}", key.kind, key.name);
                let namespace = Cell::from(key.namespace.clone());
                [Cell::from(cluster.cluster.as_str()), action, object.into(), namespace, detail.into()]
            };
            for planned in &cluster.plan.objects {
                let (action, detail) = match &planned.verdict {
                    Verdict::Create => (Cell::good("create"), String::new()),
                    Verdict::Change { fields } => {
                        let fields: Vec<&str> = fields.iter().map(|field| field.path.as_str()).collect();
                        (Cell::attention("change"), fields.join(", "))
                    }
                    Verdict::Foreign { owner } => (Cell::bad("refuse"), format!("belongs to {owner}")),
                    Verdict::Declared { by } => {
                        let by: Vec<String> = by.iter().map(ToString::to_string).collect();
                        (Cell::bad("refuse"), by.join("; "))
                    }
                    Verdict::Unchanged if wide => (Cell::from("unchanged"), String::new()),
                    Verdict::Kept if wide => {
                        (Cell::from("keep"), "made by somebody else, used as it is".to_owned())
                    }
                    Verdict::Unchanged | Verdict::Kept => continue,
                };
                table.row(row(action, &planned.key, detail));
            }
            for later in &cluster.later {
                table.row(row(Cell::good("create"), &later.key, format!("later: {}", later.reason)));
            }
            for key in &cluster.stale {
                table.row(row(Cell::bad("delete"), key, "no longer wanted".to_owned()));
            }
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::GlobalArgs;
    use crate::entry::Context;
    use crate::hint::Plugin;
    use crate::manifest::{ClusterPlan, Declared, FieldChange, Kind, Later, Plan, Planned, Scope};
    use crate::report::{Format, Printer};

    use super::*;

    fn mesh() -> MeshPlan {
        let planned = |kind, namespace, name: &str, verdict| Planned {
            key: ObjectKey::new(kind, namespace, name),
            verdict,
        };
        let server = Some("spire-server");
        let field = FieldChange {
            path: "data.server.conf".to_owned(),
            before: Some("old".into()),
            after: Some("new".into()),
        };
        MeshPlan {
            mesh: "example".to_owned(),
            scope: Scope::Everything,
            clusters: vec![ClusterPlan {
                cluster: "foo".to_owned(),
                plan: Plan {
                    objects: vec![
                        planned(Kind::Namespace, None, "spire-server", Verdict::Kept),
                        planned(
                            Kind::ConfigMap,
                            server,
                            "spire-server",
                            Verdict::Change { fields: vec![field] },
                        ),
                        planned(Kind::Service, server, "spire-server", Verdict::Unchanged),
                        planned(Kind::StatefulSet, server, "spire-server", Verdict::Create),
                    ],
                },
                later: vec![Later {
                    key: ObjectKey::new(Kind::ClusterFederatedTrustDomain, None, "bar.com"),
                    reason: "bar: Service spire-server/spire-server-bundle does not exist yet".to_owned(),
                }],
                stale: vec![ObjectKey::new(Kind::Secret, Some("istio-system"), "istio-remote-secret-baz")],
            }],
        }
    }

    fn printed(format: Format) -> String {
        let (printer, captured) = Printer::captured(format);
        printer.report(&PlanReport(&mesh())).unwrap();
        captured.stdout()
    }

    #[test]
    fn a_plan_shows_what_would_change_and_wide_shows_the_rest() {
        insta::assert_snapshot!(printed(Format::Table));
        insta::assert_snapshot!(printed(Format::Wide));
    }

    #[test]
    fn the_json_of_a_plan_is_a_promise() {
        insta::assert_snapshot!(printed(Format::Json));
    }

    #[test]
    fn a_plan_is_summed_up_over_all_clusters() {
        assert_eq!(summary(&mesh()), "1 clusters: 2 to create, 1 to change, 1 to delete, 2 unchanged");
    }

    fn cluster(name: &str, verdicts: &[Verdict]) -> ClusterPlan {
        let planned = |(index, verdict): (usize, &Verdict)| Planned {
            key: ObjectKey::new(Kind::Secret, Some("spire"), &format!("s{index}")),
            verdict: verdict.clone(),
        };
        let objects = verdicts.iter().enumerate().map(planned).collect();
        let (later, stale) = (Vec::new(), Vec::new());
        ClusterPlan { cluster: name.to_owned(), plan: Plan { objects }, later, stale }
    }

    #[test]
    fn what_every_cluster_adds_counts_and_nothing_to_delete_is_not_said() {
        let later = Later { key: ObjectKey::new(Kind::Secret, Some("a"), "b"), reason: String::new() };
        let change = Verdict::Change { fields: Vec::new() };
        let foreign = Verdict::Foreign { owner: "Helm".to_owned() };
        let third = cluster("baz", &[Verdict::Create, change.clone(), change, foreign, Verdict::Unchanged]);
        let plan = MeshPlan {
            mesh: "m".to_owned(),
            scope: Scope::Everything,
            clusters: vec![
                cluster("foo", &[Verdict::Create, Verdict::Unchanged]),
                cluster("bar", &[Verdict::Kept, Verdict::Unchanged]),
                ClusterPlan { later: vec![later], ..third },
            ],
        };
        assert_eq!(summary(&plan), "3 clusters: 3 to create, 2 to change, 4 unchanged");
    }

    #[test]
    fn the_exit_code_tells_that_something_would_change_only_where_that_was_asked_for() {
        let (printer, _) = Printer::captured(Format::Table);
        let asked = Asked::new(Plugin::SpireFederate, GlobalArgs::default(), Context::new(printer));
        let of = |clusters| MeshPlan { mesh: "m".to_owned(), scope: Scope::Everything, clusters };
        let outcome = |plan: &MeshPlan, exit_code| asked.show_as_asked(plan, PlanArgs { exit_code }).unwrap();
        let unchanged = of(vec![cluster("foo", &[Verdict::Kept]), cluster("bar", &[Verdict::Unchanged])]);
        assert_eq!(outcome(&unchanged, true), Outcome::Done);
        let changed = of(vec![cluster("foo", &[Verdict::Unchanged]), cluster("bar", &[Verdict::Create])]);
        assert_eq!(outcome(&changed, true), Outcome::Findings);
        assert_eq!(outcome(&changed, false), Outcome::Done);
        // What is yet to come and what is to go is a change, too.
        let later = Later { key: ObjectKey::new(Kind::Secret, Some("a"), "b"), reason: String::new() };
        let later = ClusterPlan { later: vec![later], ..cluster("foo", &[]) };
        let stale =
            ClusterPlan { stale: vec![ObjectKey::new(Kind::Secret, None, "b")], ..cluster("foo", &[]) };
        let declared = cluster("foo", &[Verdict::Declared { by: vec![argo()] }]);
        for changed in [later, stale, declared] {
            assert_eq!(outcome(&of(vec![changed]), true), Outcome::Findings);
        }
    }

    fn argo() -> Declared {
        Declared { manager: "argocd-controller".to_owned(), fields: vec!["spec.replicas".to_owned()] }
    }

    #[test]
    fn what_others_declare_is_shown_by_a_plan_and_stops_all_where_something_would_be_done() {
        let plan = |third: &[Verdict]| MeshPlan {
            mesh: "m".to_owned(),
            scope: Scope::Everything,
            clusters: vec![cluster("foo", &[Verdict::Create]), cluster("bar", &[]), cluster("baz", third)],
        };
        let free = plan(&[Verdict::Change { fields: Vec::new() }]);
        assert!(refuse_declared(&[], &free, Tool::MeshInstall).is_ok());
        let kubectl = Declared {
            manager: "kubectl".to_owned(),
            fields: vec!["data.a".to_owned(), "data.b".to_owned()],
        };
        let refused = plan(&[Verdict::Unchanged, Verdict::Declared { by: vec![argo(), kubectl] }]);
        assert_eq!(
            summary(&refused),
            "3 clusters: 1 to create, 0 to change, 1 declared otherwise by others, 1 unchanged"
        );
        let (printer, captured) = Printer::captured(Format::Table);
        printer.report(&PlanReport(&refused)).unwrap();
        refuse_declared(&[], &refused, Tool::MeshInstall).unwrap_err().print(&printer);
        let json = serde_json::to_string_pretty(&refused.clusters[2].plan.objects[1]).unwrap();
        insta::assert_snapshot!(format!("{}{}{json}", captured.stdout(), captured.stderr()));
    }

    #[test]
    fn what_is_in_the_way_in_any_cluster_stops_all_and_is_named_with_its_owner() {
        let foreign = |owner: &str| Verdict::Foreign { owner: owner.to_owned() };
        let plan = |third: &[Verdict]| MeshPlan {
            mesh: "m".to_owned(),
            scope: Scope::Everything,
            clusters: vec![cluster("foo", &[Verdict::Create]), cluster("bar", &[]), cluster("baz", third)],
        };
        let free = plan(&[Verdict::Kept]);
        assert_eq!(refuse_foreign(&[], free.clone()).unwrap(), free);
        let refused = plan(&[Verdict::Create, foreign("Helm"), foreign("kubectl")]);
        let (printer, captured) = Printer::captured(Format::Table);
        refuse_foreign(&[], refused.clone()).unwrap_err().print(&printer);
        insta::assert_snapshot!(captured.stderr(), @r"
        error: 1 of 3 clusters failed
          baz: objects that this tool did not make are in the way: Secret/s1 in namespace spire (of Helm), Secret/s2 in namespace spire (of kubectl)
        hint: nothing was changed; remove these objects, or rename them
        ");
        let (printer, captured) = Printer::captured(Format::Table);
        printer.report(&PlanReport(&refused)).unwrap();
        insta::assert_snapshot!(captured.stdout(), @r"
        CLUSTER   ACTION   OBJECT      NAMESPACE   DETAIL
        foo       create   Secret/s0   spire       <none>
        baz       create   Secret/s0   spire       <none>
        baz       refuse   Secret/s1   spire       belongs to Helm
        baz       refuse   Secret/s2   spire       belongs to kubectl
        ");
    }
}
