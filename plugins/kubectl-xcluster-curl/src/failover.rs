//! `--failover`: ask first, take pods away, and bring them back whatever happens.

use spire_mesh::command::{Asked, Shown};
use spire_mesh::entry::{Context, Failure, Outcome};
use spire_mesh::fleet::Member;
use spire_mesh::traffic::{self, Amount, Client, Known, Load, Prepared, Victim};

use crate::wanted::{Wanted, failure, late, print};

/// How often requests are sent where nothing is said.
const RATE: &str = "20/s";

pub(crate) async fn run(
    asked: &Asked,
    context: &Context,
    members: &[Member],
    clients: &[Client<'_>],
    victim: &Victim,
    wanted: &Wanted,
) -> Result<Outcome, Failure> {
    let Some(client) = clients.first() else {
        return Err(Failure::usage(anyhow::anyhow!("there is nobody to send requests")));
    };
    let known = Known::look(client, &wanted.request, members).await;
    let prepared = traffic::prepare(client, &known, members, victim).await.map_err(failure)?;
    refuse(asked, &prepared, wanted.args.force)?;
    let question = format!(
        "Scale {} from {} to 0 while requests are sent to {}, and back afterwards?",
        prepared.workload(),
        prepared.replicas,
        wanted.request.url
    );
    if !asked.printer.confirm(&question, wanted.args.yes).await? {
        asked.printer.note("nothing was changed");
        return Ok(Outcome::Done);
    }
    let load = Load {
        amount: Amount::For(wanted.args.timeout),
        // Two streams that begin their curls at different times leave no gap between them.
        streams: wanted.load.streams.max(2),
        rate: wanted.load.rate.or_else(|| RATE.parse().ok()),
        patience: wanted.load.patience,
    };
    let promise = context.at_interrupt.promise(undo(asked, &prepared));
    let result = {
        let shown = Shown::of(&asked.printer, std::slice::from_ref(client.member));
        let question = traffic::Question { load: &load, ..wanted.question(&wanted.args.expectations) };
        traffic::fail_over(client, question, members, &prepared, known, &shown).await
    };
    promise.release();
    let (report, timed_out) = result.map_err(|error| {
        failure(error).with_hint("see whether its pods are back: kubectl xcluster-curl restore --dry-run")
    })?;
    let took_over = report
        .failover
        .as_ref()
        .is_some_and(|failover| failover.first_remote_answer_ms.is_some() && failover.restored);
    // Requests that fail while pods go away are what is measured; how many may is for expectations to say.
    let fine = report.expectations.iter().all(|judged| judged.met) && took_over;
    print(asked, members, vec![report], false, wanted)?;
    if timed_out {
        return Err(late(wanted));
    }
    Ok(if fine { Outcome::Done } else { Outcome::Findings })
}

/// Returns what brings the pods back after an interruption.
fn undo(asked: &Asked, prepared: &Prepared<'_>) -> impl Future<Output = ()> + use<> {
    let (printer, member) = (asked.printer.clone(), prepared.member.clone());
    let (namespace, name) = (prepared.namespace.clone(), prepared.name.clone());
    async move {
        match traffic::bring_back(&member, &namespace, &name).await {
            Ok(Some(replicas)) => {
                printer.note(&format!("scaled {}/{namespace}/{name} back to {replicas}", member.name()));
            }
            Ok(None) => {}
            Err(error) => {
                printer.warn(&format!("{}/{namespace}/{name} has no pods: {error}", member.name()));
                printer.hint("kubectl xcluster-curl restore");
            }
        }
    }
}

/// Says why it may not or cannot work, and refuses unless told otherwise.
fn refuse(asked: &Asked, prepared: &Prepared<'_>, force: bool) -> Result<(), Failure> {
    for warning in &prepared.warnings {
        asked.printer.warn(warning);
    }
    let reasons: Vec<&str> =
        prepared.refusals.iter().chain(&prepared.obstacles).map(String::as_str).collect();
    if reasons.is_empty() {
        return Ok(());
    }
    if force {
        for reason in &reasons {
            asked.printer.warn(reason);
        }
        return Ok(());
    }
    let error = anyhow::anyhow!("{} is left as it is: {}", prepared.workload(), reasons.join("; "));
    let hint = if prepared.obstacles.is_empty() {
        "if it may be scaled all the same, add --force"
    } else {
        "find out why with: kubectl mesh-install verify; to try all the same, add --force"
    };
    Err(Failure::from(error).with_hint(hint))
}
