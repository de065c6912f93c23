//! Work that no other run may disturb.

use super::{Asked, each_cluster, place};
use crate::cli::ConfirmArgs;
use crate::entry::Failure;
use crate::fleet::Member;
use crate::hint::Place;
use crate::lease::{self, Claim, Holder, Taking};
use crate::mesh::Mesh;

/// Returns whose Leases a verb takes that was asked for like this; `None` where it changes nothing.
#[must_use]
pub fn taking(confirm: ConfirmArgs) -> Option<Taking> {
    let ConfirmArgs { yes: _, dry_run, break_lock } = confirm;
    let taking = if break_lock { Taking::Anybodys } else { Taking::Free };
    (!dry_run).then_some(taking)
}

impl Asked {
    /// Does the work of a verb while it holds the Lease of every cluster, so that it does not meet another run's. The Leases are given back at
    /// its end, whatever it comes to, and at an interruption.
    ///
    /// What is confirmed and then done has to be read within the work: nobody else changes it then. Without `taking` the work is done as it
    /// is: it changes nothing.
    ///
    /// # Errors
    /// Where another run is at work; where the Lease of a cluster was lost meanwhile; and what the work fails with.
    pub async fn exclusively<T>(
        &self,
        verb: &str,
        taking: Option<Taking>,
        mesh: &Mesh,
        members: &[Member],
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let Some(taking) = taking else { return work.await };
        let claim = Claim::new(&mesh.name, &format!("{} {verb}", self.plugin));
        // Promised before the first one is taken: what an interruption finds is told from the Leases themselves.
        let promise = self.at_interrupt.promise({
            let (members, claim) = (members.to_vec(), claim.clone());
            async move { drop(lease::release(&members, &claim).await) }
        });
        let worked = match lease::take(members, &claim, taking).await {
            Err(errors) => Err(each_cluster(members, errors).with_hint("nothing was changed")),
            Ok(held) => {
                for (cluster, holder) in held.taken_over() {
                    self.printer.warn(&format!("{cluster}: {}", taken_over(holder, taking)));
                }
                let worked = held.during(work).await;
                self.give_back(members, &claim).await;
                worked.unwrap_or_else(|(cluster, lost)| {
                    Err(Failure::clusters(members.len(), vec![(place(members, &cluster), lost.into())]))
                })
            }
        };
        promise.release();
        worked
    }

    async fn give_back(&self, members: &[Member], claim: &Claim) {
        for (Place { cluster, .. }, result) in lease::release(members, claim).await {
            if let Err(error) = result {
                let problem = "the Lease of this run could not be given back, and ends by itself in a minute";
                self.printer.warn(&format!("{cluster}: {problem}: {error}"));
            }
        }
    }
}

fn taken_over(holder: &Holder, taking: Taking) -> String {
    let who = &holder.who;
    match taking {
        Taking::Free => format!("took over the Lease of a run that did not give it back: {who}"),
        Taking::Anybodys => format!("took over the Lease of {who}; if that run is still at work, it stops"),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::cli::GlobalArgs;
    use crate::entry::Context;
    use crate::fleet::fake::FakeServer;
    use crate::hint::Plugin;
    use crate::report::{Captured, Format, Printer};

    const MESH: &str = "apiVersion: spire-mesh/v1alpha1\nkind: Mesh\nmetadata: {name: m}\nspec:\n  clusters:\n  \
                        - {name: foo, trustDomain: foo.com}\n  - {name: bar, trustDomain: bar.com}\n";
    const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/spire-mesh-m";

    struct Bench {
        servers: [FakeServer; 2],
        members: Vec<Member>,
        mesh: Mesh,
        asked: Asked,
        context: Context,
        captured: Captured,
    }

    impl Bench {
        fn new() -> Self {
            let servers = [FakeServer::default(), FakeServer::default()];
            let members =
                servers.iter().zip(["foo", "bar"]).map(|(server, name)| server.member(name)).collect();
            let (printer, captured) = Printer::captured(Format::Table);
            let context = Context::new(printer);
            let asked = Asked::new(Plugin::SpireFederate, GlobalArgs::default(), context.clone());
            let mesh = Mesh::parse(MESH, "m").unwrap();
            Self { servers, members, mesh, asked, context, captured }
        }

        fn holders(&self) -> [Option<String>; 2] {
            self.servers.each_ref().map(|server| {
                let lease = server.object(LEASE)?;
                Some(lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned())
            })
        }

        /// Has somebody else at work in the second cluster.
        fn with_another(self) -> Self {
            let renewed = jiff::Timestamp::now().to_string();
            let spec = serde_json::json!({"holderIdentity": "ann@desk", "renewTime": renewed, "leaseDurationSeconds": 60});
            self.servers[1]
                .put(LEASE, serde_json::json!({"metadata": {"resourceVersion": "1"}, "spec": spec}));
            self
        }

        async fn run<T>(
            &self,
            confirm: ConfirmArgs,
            work: impl Future<Output = Result<T, Failure>>,
        ) -> Result<T, Failure> {
            self.asked.exclusively("up", taking(confirm), &self.mesh, &self.members, work).await
        }
    }

    const DRY: ConfirmArgs = ConfirmArgs { yes: true, dry_run: true, break_lock: true };
    const BREAK: ConfirmArgs = ConfirmArgs { yes: true, dry_run: false, break_lock: true };

    #[tokio::test]
    async fn what_changes_nothing_takes_no_lease_and_meets_nobody() {
        let bench = Bench::new().with_another();
        bench.run(DRY, async { Ok(()) }).await.unwrap();
        assert_eq!(bench.servers.each_ref().map(FakeServer::writes), [[""; 0]; 2]);
    }

    #[tokio::test]
    async fn a_lease_is_held_while_the_work_goes_on_and_given_back_even_where_it_fails() {
        let bench = Bench::new();
        let work = async {
            assert!(bench.holders().iter().flatten().all(|who| who.contains("kubectl spire-federate up")));
            assert_eq!(bench.holders().iter().flatten().count(), 2);
            Err::<(), _>(Failure::from(anyhow::anyhow!("it broke")))
        };
        let failure = bench.run(ConfirmArgs::default(), work).await.unwrap_err();
        assert_eq!(failure.one_line(), "it broke");
        assert_eq!(bench.holders(), [None, None]);
        bench.context.at_interrupt.keep().await;
        assert_eq!(bench.captured.stderr(), "");
    }

    #[tokio::test]
    async fn no_work_is_begun_where_somebody_else_is_at_work() {
        let bench = Bench::new().with_another();
        let begun = Cell::new(false);
        let work = async {
            begun.set(true);
            Ok(())
        };
        let failure = bench.run(ConfirmArgs::default(), work).await.unwrap_err();
        assert!(!begun.get());
        assert_eq!(bench.holders(), [None, Some("ann@desk".to_owned())]);
        failure.print(&bench.asked.printer);
        insta::with_settings!({filters => vec![(r"\d{4}-[-T:0-9]+Z", "[time]")]}, {
            insta::assert_snapshot!(bench.captured.stderr());
        });
    }

    #[tokio::test]
    async fn who_breaks_a_lease_is_told_whose_it_was() {
        let bench = Bench::new().with_another();
        bench.run(BREAK, async { Ok(()) }).await.unwrap();
        assert_eq!(bench.holders(), [None, None]);
        insta::assert_snapshot!(bench.captured.stderr(), @"warning: bar: took over the Lease of ann@desk; if that run is still at work, it stops");
    }

    #[tokio::test]
    async fn an_interruption_gives_the_leases_back() {
        let bench = Bench::new();
        {
            let run = bench.run(ConfirmArgs::default(), std::future::pending::<Result<(), Failure>>());
            let second = tokio::time::timeout(std::time::Duration::from_millis(200), run).await;
            assert!(second.is_err());
        }
        assert_eq!(bench.holders().iter().flatten().count(), 2, "nothing has been done yet");
        bench.context.at_interrupt.keep().await;
        assert_eq!(bench.holders(), [None, None]);
    }
}
