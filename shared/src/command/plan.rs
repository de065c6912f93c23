//! A plan as it is printed, and what stands in its way.

use serde::Serialize;

use super::Asked;
use crate::entry::{Failure, Outcome};
use crate::fleet::{ClusterErrors, Member};
use crate::hint::{Hint, Place};
use crate::manifest::{MeshPlan, ObjectKey, Verdict};
use crate::report::{Cell, Report, Table};

impl Asked {
    /// Prints what would be done, and does nothing.
    pub fn show(&self, plan: &MeshPlan) -> Result<Outcome, Failure> {
        self.printer.report(&PlanReport(plan))?;
        self.printer.note(&summary(plan));
        Ok(Outcome::Done)
    }
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
    format!(
        "{} clusters: {created} to create, {changed} to change{deleted}, {unchanged} unchanged",
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
    use crate::manifest::{ClusterPlan, FieldChange, Kind, Later, Plan, Planned};
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
            clusters: vec![
                cluster("foo", &[Verdict::Create, Verdict::Unchanged]),
                cluster("bar", &[Verdict::Kept, Verdict::Unchanged]),
                ClusterPlan { later: vec![later], ..third },
            ],
        };
        assert_eq!(summary(&plan), "3 clusters: 3 to create, 2 to change, 4 unchanged");
    }

    #[test]
    fn what_is_in_the_way_in_any_cluster_stops_all_and_is_named_with_its_owner() {
        let foreign = |owner: &str| Verdict::Foreign { owner: owner.to_owned() };
        let plan = |third: &[Verdict]| MeshPlan {
            mesh: "m".to_owned(),
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
