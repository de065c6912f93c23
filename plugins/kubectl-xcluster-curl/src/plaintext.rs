//! `--plaintext`: the same requests with mutual TLS and without.

use spire_mesh::command::{Asked, Shown};
use spire_mesh::entry::{Context, Failure, Outcome};
use spire_mesh::fleet::Member;
use spire_mesh::mesh::Mesh;
use spire_mesh::traffic::{self, Amount, Client, Load, PlaintextReport, Question};

use crate::clients::{make, remove};
use crate::wanted::{Wanted, failure, print};

/// How many requests there are where nothing is said: they are all the same.
const REQUESTS: u32 = 5;

pub(crate) async fn run(
    asked: &Asked,
    context: &Context,
    mesh: &Mesh,
    members: &[Member],
    wanted: &Wanted,
) -> Result<Outcome, Failure> {
    let from = wanted.args.from.clone().unwrap_or_default();
    let senders = traffic::senders(members, &from).map_err(failure)?;
    let [(member, namespace, workload)] = senders.as_slice() else {
        return Err(Failure::usage(anyhow::anyhow!(
            "plain requests come from one cluster: name it with --from"
        )));
    };
    let client = Client::find(member, namespace, workload).await.map_err(failure)?;
    let question = format!(
        "Start a pod without sidecar in namespace {namespace} of {}, for as long as this takes?",
        member.name()
    );
    if !asked.printer.confirm(&question, wanted.args.yes).await? {
        asked.printer.note("nothing was changed");
        return Ok(Outcome::Done);
    }
    let (plain, promise) = make(asked, context, mesh, member, namespace, false).await?;
    let load = Load { amount: amount(wanted.args.requests, wanted.load.amount), ..wanted.load };
    let question = Question { load: &load, ..wanted.question(&[]) };
    let asked_both = async {
        let shown = Shown::of(&asked.printer, std::slice::from_ref(*member));
        let (in_mesh, _) = traffic::ask(&client, question, members, &shown).await?;
        let (plain, _) = traffic::ask(&plain, question, members, &shown).await?;
        Ok::<_, traffic::TrafficError>(PlaintextReport::judge(in_mesh, plain))
    };
    let judged = asked_both.await;
    remove(asked, &plain).await;
    promise.release();
    let report = judged.map_err(failure)?;
    let refused = report.refused;
    if wanted.junit {
        print(asked, members, vec![report.in_mesh], false, wanted)?;
    } else {
        asked.printer.report(&report)?;
    }
    Ok(if refused { Outcome::Done } else { Outcome::Findings })
}

/// Returns how much is sent: what was asked for, and fewer requests than otherwise where no number was.
fn amount(requests: Option<u32>, amount: Amount) -> Amount {
    match (requests, amount) {
        (None, Amount::Requests(_)) => Amount::Requests(REQUESTS),
        (_, amount) => amount,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn five_plain_requests_are_enough_where_nothing_is_said() {
        assert_eq!(amount(None, Amount::Requests(20)), Amount::Requests(5));
        assert_eq!(amount(Some(20), Amount::Requests(20)), Amount::Requests(20));
        let time = Amount::For(Duration::from_secs(3));
        assert_eq!(amount(None, time), time);
    }
}
