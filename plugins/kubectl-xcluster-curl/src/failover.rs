//! `--failover`: ask first, take pods away, and bring them back whatever happens.

use spire_mesh::command::{Asked, Shown};
use spire_mesh::entry::{Context, Failure, Outcome};
use spire_mesh::fleet::Member;
use spire_mesh::hint::{Advice, Plugin};
use spire_mesh::report::Printer;
use spire_mesh::traffic::{self, Amount, Client, Failover, Judged, Known, Load, Prepared, Victim};

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
    let prepared =
        traffic::prepare(client, &known, &wanted.request, members, victim).await.map_err(failure)?;
    for warning in &prepared.warnings {
        asked.printer.warn(warning);
    }
    let Prepared { refusals, obstacles, .. } = &prepared;
    refuse(&asked.printer, &prepared.workload(), refusals, obstacles, wanted)?;
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
    let load = load(wanted);
    let promise = context.at_interrupt.promise(undo(asked, &prepared));
    let result = {
        let shown = Shown::of(&asked.printer, std::slice::from_ref(client.member));
        let question = traffic::Question { load: &load, ..wanted.question(&wanted.args.expectations) };
        traffic::fail_over(client, question, members, &prepared, known, &shown).await
    };
    promise.release();
    let (report, timed_out) = result.map_err(|error| {
        let restore = Plugin::XclusterCurl.command(["restore", "--dry-run"]);
        failure(error).with_hint(Advice::from("see whether its pods are back: ").then(restore))
    })?;
    let fine = is_fine(&report.expectations, report.failover.as_ref());
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
                printer.hint(Plugin::XclusterCurl.command(["restore"]));
            }
        }
    }
}

/// Returns what is sent while pods go away and come back: for as long as that may take.
fn load(wanted: &Wanted) -> Load {
    Load {
        amount: Amount::For(wanted.args.timeout),
        // Two streams that begin their curls at different times leave no gap between them.
        streams: wanted.load.streams.max(2),
        rate: wanted.load.rate.or_else(|| RATE.parse().ok()),
        patience: wanted.load.patience,
    }
}

/// Tells whether another cluster took over, the pods are back, and all is as expected. Requests that fail while pods go
/// away are what is measured; how many may is for expectations to say.
fn is_fine(expectations: &[Judged], failover: Option<&Failover>) -> bool {
    let took_over =
        failover.is_some_and(|failover| failover.first_remote_answer_ms.is_some() && failover.restored);
    expectations.iter().all(|judged| judged.met) && took_over
}

/// Says why it may not (refusals) or cannot (obstacles) work, and refuses unless told otherwise.
fn refuse(
    printer: &Printer,
    workload: &str,
    refusals: &[String],
    obstacles: &[String],
    wanted: &Wanted,
) -> Result<(), Failure> {
    let reasons: Vec<&str> = refusals.iter().chain(obstacles).map(String::as_str).collect();
    if reasons.is_empty() {
        return Ok(());
    }
    if wanted.args.force {
        for reason in &reasons {
            printer.warn(reason);
        }
        return Ok(());
    }
    let error = anyhow::anyhow!("{workload} is left as it is: {}", reasons.join("; "));
    let hint = if obstacles.is_empty() {
        Advice::from("if it may be scaled all the same, add --force")
    } else {
        Advice::from("find out why with: ")
            .then(Plugin::XclusterCurl.command([wanted.request.url.as_str(), "--explain"]))
            .then("; to try all the same, add --force")
    };
    Err(Failure::from(error).with_hint(hint))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use spire_mesh::report::Format;

    use super::*;
    use crate::cli::tests::{URL, parsed};

    fn wanted(words: &[&str]) -> Wanted {
        let args = parsed(&[&[URL, "--failover"], words].concat());
        let load = Load { streams: args.concurrency, rate: args.rate, ..Load::of(20) };
        let request = spire_mesh::traffic::Request::get(URL.parse().unwrap());
        Wanted { request, load, args, lenient: false, junit: false }
    }

    #[test]
    fn requests_go_on_for_as_long_as_a_failover_may_take_and_leave_no_gap() {
        let plain = load(&wanted(&["--timeout", "90s"]));
        let expected = Load {
            amount: Amount::For(Duration::from_secs(90)),
            streams: 2,
            rate: Some(RATE.parse().unwrap()),
            patience: Duration::from_secs(5),
        };
        assert_eq!(plain, expected);
        let given = load(&wanted(&["--rate", "7/s", "-c", "5"]));
        assert_eq!((given.streams, given.rate), (5, Some("7/s".parse().unwrap())));
    }

    #[test]
    fn it_is_fine_when_another_cluster_took_over_the_pods_are_back_and_all_is_as_expected() {
        let judged = |met| Judged { text: "bar>=1%".to_owned(), met, actual: String::new() };
        let fine = Failover {
            workload: "foo/helloworld/helloworld-v1".to_owned(),
            replicas: 2,
            first_remote_answer_ms: Some(80.0),
            failed: 3,
            failed_for_ms: 20.0,
            first_answer_back_ms: Some(900.0),
            failed_on_return: 0,
            failed_on_return_for_ms: 0.0,
            restored: true,
        };
        assert!(is_fine(&[], Some(&fine)));
        assert!(is_fine(&[judged(true), judged(true)], Some(&fine)));
        assert!(!is_fine(&[judged(true), judged(false)], Some(&fine)));
        assert!(!is_fine(&[], None));
        assert!(!is_fine(&[], Some(&Failover { first_remote_answer_ms: None, ..fine.clone() })));
        assert!(!is_fine(&[], Some(&Failover { restored: false, ..fine })));
    }

    /// What is said, and whether pods are taken away.
    fn refused(refusals: &[&str], obstacles: &[&str], force: bool) -> (bool, String) {
        let (printer, captured) = Printer::captured(Format::Table);
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let words: &[&str] = if force { &[URL, "--failover", "--force"] } else { &[URL, "--failover"] };
        let request = spire_mesh::traffic::Request::get(URL.parse().unwrap());
        let wanted = Wanted { request, load: Load::of(1), args: parsed(words), lenient: false, junit: false };
        let result = refuse(&printer, "foo/shop/cart", &texts(refusals), &texts(obstacles), &wanted);
        if let Err(failure) = &result {
            failure.print(&printer);
        }
        (result.is_ok(), captured.stderr())
    }

    #[test]
    fn what_somebody_else_looks_after_or_cannot_work_is_left_unless_that_is_forced() {
        assert_eq!(refused(&[], &[], false), (true, String::new()));
        let (goes_on, said) = refused(&["an autoscaler looks after it"], &[], false);
        assert!(!goes_on);
        insta::assert_snapshot!(said, @r"
        error: foo/shop/cart is left as it is: an autoscaler looks after it
        hint: if it may be scaled all the same, add --force
        ");
        let (goes_on, said) = refused(&["an autoscaler looks after it"], &["nobody else has it"], false);
        assert!(!goes_on);
        insta::assert_snapshot!(said, @r"
        error: foo/shop/cart is left as it is: an autoscaler looks after it; nobody else has it
        hint: find out why with: kubectl xcluster-curl http://helloworld.helloworld:5000/hello --explain; to try all the same, add --force
        ");
        let (goes_on, said) = refused(&["an autoscaler looks after it"], &["nobody else has it"], true);
        assert!(goes_on);
        insta::assert_snapshot!(said, @r"
        warning: an autoscaler looks after it
        warning: nobody else has it
        ");
    }
}
