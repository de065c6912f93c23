//! Asking: from arguments to a report.

use futures::future::join_all;
use spire_mesh::command::{Asked, Shown, named};
use spire_mesh::entry::{Context, Failure, Outcome};
use spire_mesh::fleet::Member;
use spire_mesh::hint::Plugin;
use spire_mesh::mesh::Mesh;
use spire_mesh::traffic::{self, Amount, Client, Expectation, Load, PathReport, Request, Senders, Url};

use crate::cli::AskArgs;
use crate::wanted::{Wanted, failure, late, print, usage};
use crate::{clients, failover, plaintext};

/// How many requests there are where nothing is said.
const REQUESTS: u32 = 20;

pub(crate) async fn run(
    asked: &Asked,
    context: &Context,
    args: AskArgs,
    junit: bool,
) -> Result<Outcome, Failure> {
    let (wanted, via) = wanted(args, junit)?;
    let (mesh, members) = asked.reach_all().await?;
    if wanted.args.plaintext {
        return plaintext::run(asked, context, &mesh, &members, &wanted).await;
    }
    let ingress = match &via {
        Some(cluster) => Some(traffic::ingress(gateway_member(&members, cluster)?).await?),
        None => None,
    };
    let mut clients = senders(asked, context, &mesh, &members, &wanted, via.as_ref()).await?;
    if let Some(ingress) = &ingress {
        let (cluster, host, port) = (ingress.member.name(), &ingress.host, ingress.port);
        asked.printer.note(&format!("through the ingress gateway of {cluster} at {host}:{port}"));
        for client in &mut clients.list {
            client.via = Some(ingress.clone());
        }
    }
    let result = if wanted.args.explain {
        explain(asked, &members, &clients.list, &wanted).await
    } else if let Some(victim) = &wanted.args.failover {
        failover::run(asked, context, &members, &clients.list, victim, &wanted).await
    } else {
        send(asked, &members, &clients.list, &wanted).await
    };
    clients.remove(asked).await;
    result
}

/// Joins the arguments to what is wanted. Returns the cluster of `--via ingress` separately: an empty name for the last one.
fn wanted(mut args: AskArgs, junit: bool) -> Result<(Wanted, Option<String>), Failure> {
    let via = via(&mut args)?;
    let url = args.url.clone().ok_or_else(|| Failure::usage(anyhow::anyhow!("there is no URL")))?;
    let request =
        Request::new(url, args.method.clone(), args.headers.clone(), args.data.clone()).map_err(usage)?;
    let amount = match (args.requests, args.duration) {
        (_, Some(time)) => Amount::For(time),
        (requests, None) => Amount::Requests(requests.unwrap_or(REQUESTS)),
    };
    let load = Load { amount, streams: args.concurrency, rate: args.rate, patience: args.request_max_time };
    let lenient = args.expectations.iter().any(Expectation::is_about_success);
    Ok((Wanted { request, load, args, lenient, junit }, via))
}

/// Reads `--via ingress [CLUSTER]`. What stands behind it may be the URL.
fn via(args: &mut AskArgs) -> Result<Option<String>, Failure> {
    let wrong = || {
        let error = anyhow::anyhow!("requests go through nothing but `--via ingress [CLUSTER]`");
        Failure::usage(error).with_hint(Plugin::XclusterCurl.command([
            "URL",
            "--via",
            "ingress",
            "bar-eks-cluster",
        ]))
    };
    match args.via.as_slice() {
        [] => Ok(None),
        [way] if way == "ingress" => Ok(Some(String::new())),
        [way, url] if way == "ingress" && url.contains("://") && args.url.is_none() => {
            args.url = Some(url.parse::<Url>().map_err(usage)?);
            Ok(Some(String::new()))
        }
        [way, cluster] if way == "ingress" => Ok(Some(cluster.clone())),
        _ => Err(wrong()),
    }
}

fn gateway_member<'m>(members: &'m [Member], cluster: &str) -> Result<&'m Member, Failure> {
    match members.last() {
        Some(last) if cluster.is_empty() => Ok(last),
        _ => named(members, cluster),
    }
}

/// Returns who sends what comes in through the gateway of a cluster: somebody in another one, where nobody is named.
fn outside_of(gateway: &str, from: Senders, clusters: &[&str]) -> Senders {
    match clusters.iter().find(|cluster| **cluster != gateway) {
        Some(other) if from == Senders::First => {
            Senders::One { cluster: (*other).to_owned(), workload: None }
        }
        _ => from,
    }
}

/// Refuses what these senders cannot do.
fn refuse(from: &Senders, args: &AskArgs) -> Result<(), Failure> {
    if *from == Senders::Here && (args.deploy_client || args.failover.is_some()) {
        let error = anyhow::anyhow!("from here nothing but an address outside the mesh can be asked");
        let words = ["URL", "--from", "here", "--via", "ingress"];
        return Err(Failure::usage(error).with_hint(Plugin::XclusterCurl.command(words)));
    }
    if *from == Senders::All && args.failover.is_some() {
        let error = anyhow::anyhow!("a failover is seen from one cluster: name it with --from");
        return Err(Failure::usage(error));
    }
    Ok(())
}

/// Finds, or makes, the pods that send.
async fn senders<'m>(
    asked: &Asked,
    context: &Context,
    mesh: &Mesh,
    members: &'m [Member],
    wanted: &Wanted,
    via: Option<&String>,
) -> Result<clients::Clients<'m>, Failure> {
    let mut from = wanted.args.from.clone().unwrap_or_default();
    if let Some(cluster) = via {
        let clusters: Vec<&str> = members.iter().map(|member| member.name()).collect();
        from = outside_of(gateway_member(members, cluster)?.name(), from, &clusters);
    }
    refuse(&from, &wanted.args)?;
    clients::find(asked, context, mesh, members, &from, &wanted.args).await
}

/// Shows the path of the request from every client.
async fn explain(
    asked: &Asked,
    members: &[Member],
    clients: &[Client<'_>],
    wanted: &Wanted,
) -> Result<Outcome, Failure> {
    let paths =
        join_all(clients.iter().map(|client| traffic::followed(client, &wanted.request, members))).await;
    let mut outcome = Outcome::Done;
    for (client, path) in clients.iter().zip(paths) {
        let path = path.ok_or_else(|| {
            Failure::usage(anyhow::anyhow!(
                "nothing can be followed: --explain is about a pod of the mesh that asks a service of it, such as {}",
                "http://helloworld.helloworld:5000/hello"
            ))
        })?;
        let report = PathReport::new(wanted.request.url.to_string(), client.sender(), &path);
        asked.printer.report(&report)?;
        if !report.is_open() {
            outcome = Outcome::Findings;
        }
    }
    Ok(outcome)
}

async fn send(
    asked: &Asked,
    members: &[Member],
    clients: &[Client<'_>],
    wanted: &Wanted,
) -> Result<Outcome, Failure> {
    let results = {
        let sending: Vec<Member> = members.iter().filter(|member| is_of(clients, member)).cloned().collect();
        let shown = Shown::of(&asked.printer, &sending);
        let question = wanted.question(&wanted.args.expectations);
        join_all(clients.iter().map(|client| traffic::ask(client, question, members, &shown))).await
    };
    let (mut reports, mut failed, mut timed_out) = (Vec::new(), Vec::new(), false);
    for (client, result) in clients.iter().zip(results) {
        match result {
            Ok((report, late)) => {
                timed_out |= late;
                reports.push(report);
            }
            Err(error) => failed.push((client.member.place(), failure(error))),
        }
    }
    if reports.is_empty() && failed.len() == 1 {
        let (place, failure) = failed.swap_remove(0);
        return Err(failure.at(&place));
    }
    let is_matrix = wanted.args.from == Some(Senders::All);
    let outcome = print(asked, members, reports, is_matrix, wanted)?;
    if !failed.is_empty() {
        return Err(Failure::clusters(clients.len(), failed));
    }
    if timed_out {
        return Err(late(wanted));
    }
    Ok(outcome)
}

fn is_of(clients: &[Client<'_>], member: &Member) -> bool {
    clients.iter().any(|client| client.member.name() == member.name())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use spire_mesh::entry::Exit;

    use super::*;
    use crate::cli::tests::{URL, parsed};

    fn asked_for(words: &[&str]) -> Wanted {
        wanted(parsed(words), false).unwrap().0
    }

    fn one(cluster: &str) -> Senders {
        Senders::One { cluster: cluster.to_owned(), workload: None }
    }

    #[test]
    fn without_a_number_and_a_time_there_are_twenty_requests_one_after_the_other() {
        assert_eq!(asked_for(&[URL]).load, Load::of(20));
    }

    #[test]
    fn number_time_rate_streams_and_patience_are_those_that_were_given() {
        let given =
            ["--for", "10s", "--rate", "50/s", "-c", "3", "--request-max-time", "700ms", "--timeout", "1m"];
        let wanted = asked_for(&[&[URL][..], &given].concat());
        let load = Load {
            amount: Amount::For(Duration::from_secs(10)),
            streams: 3,
            rate: Some("50/s".parse().unwrap()),
            patience: Duration::from_millis(700),
        };
        assert_eq!(wanted.load, load);
        assert_eq!(wanted.question(&[]).timeout, Duration::from_mins(1));
        assert_eq!(asked_for(&[URL, "-n", "7"]).load.amount, Amount::Requests(7));
    }

    #[test]
    fn only_expectations_of_success_say_how_many_requests_may_fail() {
        assert!(!asked_for(&[URL]).lenient);
        assert!(!asked_for(&[URL, "--expect", "p99<1s"]).lenient);
        assert!(asked_for(&[URL, "--expect", "p99<1s", "--expect", "success>=90%"]).lenient);
    }

    #[test]
    fn what_is_asked_for_is_the_url_with_its_method_headers_and_body() {
        let wanted = asked_for(&[URL, "-X", "PUT", "-H", "X-One: 1", "-H", "X-Two: 2", "-d", "body"]);
        let request = Request::new(
            URL.parse().unwrap(),
            Some("PUT".parse().unwrap()),
            vec!["X-One: 1".parse().unwrap(), "X-Two: 2".parse().unwrap()],
            Some("body".parse().unwrap()),
        );
        assert_eq!(format!("{:?}", wanted.request), format!("{:?}", request.unwrap()));
    }

    #[test]
    fn a_gateway_is_that_of_a_cluster_or_of_the_last_one_and_the_url_may_stand_behind_it() {
        let via = |words: &[&str]| {
            let (wanted, via) = wanted(parsed(words), false).unwrap();
            (wanted.request.url.to_string(), via)
        };
        let of = |cluster: Option<&str>| (URL.to_owned(), cluster.map(str::to_owned));
        assert_eq!(via(&[URL]), of(None));
        assert_eq!(via(&[URL, "--via", "ingress"]), of(Some("")));
        assert_eq!(via(&["--via", "ingress", URL]), of(Some("")));
        assert_eq!(via(&[URL, "--via", "ingress", "bar"]), of(Some("bar")));
        assert_eq!(via(&["--via", "ingress", "bar", "--", URL]), of(Some("bar")));
    }

    #[test]
    fn requests_go_through_nothing_but_a_gateway_and_have_one_url() {
        let refused = |words: &[&str]| {
            let failure = wanted(parsed(words), false).err().unwrap();
            assert_eq!(failure.exit(), Exit::Usage, "{words:?}");
            failure.one_line()
        };
        let wrong = "requests go through nothing but `--via ingress [CLUSTER]`";
        assert_eq!(refused(&[URL, "--via", "egress"]), wrong);
        assert_eq!(refused(&[URL, "--via", "egress", "bar"]), wrong);
        assert_eq!(refused(&["--via", "egress", URL]), wrong);
        assert_eq!(refused(&["--via", "ingress", "bar"]), "there is no URL");
        // Two of them: the second is taken for the name of a cluster.
        let (_, via) = wanted(parsed(&[URL, "--via", "ingress", "http://other"]), false).unwrap();
        assert_eq!(via.as_deref(), Some("http://other"));
    }

    #[test]
    fn who_comes_in_through_a_gateway_is_in_another_cluster_unless_somebody_is_named() {
        let clusters = ["foo", "bar", "baz"];
        assert_eq!(outside_of("foo", Senders::First, &clusters), one("bar"));
        assert_eq!(outside_of("bar", Senders::First, &clusters), one("foo"));
        assert_eq!(outside_of("baz", Senders::First, &clusters), one("foo"));
        assert_eq!(outside_of("foo", Senders::First, &["foo"]), Senders::First);
        for named in [Senders::All, Senders::Here, one("foo")] {
            assert_eq!(outside_of("foo", named.clone(), &clusters), named);
        }
    }

    #[test]
    fn from_here_no_pod_is_made_or_taken_away_and_a_failover_is_seen_from_one_cluster() {
        let refused = |from: &Senders, words: &[&str]| {
            refuse(from, &parsed(words)).err().map(|failure| (failure.exit().code(), failure.one_line()))
        };
        let here = "from here nothing but an address outside the mesh can be asked".to_owned();
        assert_eq!(refused(&Senders::Here, &[URL, "--deploy-client"]), Some((2, here.clone())));
        assert_eq!(refused(&Senders::Here, &[URL, "--failover"]), Some((2, here)));
        assert_eq!(refused(&Senders::Here, &[URL]), None);
        let one_cluster = "a failover is seen from one cluster: name it with --from".to_owned();
        assert_eq!(refused(&Senders::All, &[URL, "--failover"]), Some((2, one_cluster)));
        assert_eq!(refused(&Senders::All, &[URL, "--deploy-client"]), None);
        assert_eq!(refused(&Senders::First, &[URL, "--failover"]), None);
        assert_eq!(refused(&one("bar"), &[URL, "--deploy-client"]), None);
    }
}
