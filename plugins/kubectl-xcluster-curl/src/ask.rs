//! Asking: from arguments to a report.

use futures::future::join_all;
use spire_mesh::command::{Asked, Shown, named};
use spire_mesh::entry::{Context, Failure, Outcome};
use spire_mesh::fleet::Member;
use spire_mesh::mesh::Mesh;
use spire_mesh::traffic::{self, Amount, Client, Expectation, Load, Request, Senders, Url};

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
    let result = if let Some(victim) = &wanted.args.failover {
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
        Failure::usage(error).with_hint("kubectl xcluster-curl URL --via ingress bar-eks-cluster")
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
    if let (Senders::First, Some(cluster)) = (&from, via) {
        // Who comes in from outside is in another cluster.
        let gateway = gateway_member(members, cluster)?;
        if let Some(other) = members.iter().find(|member| member.name() != gateway.name()) {
            from = Senders::One { cluster: other.name().to_owned(), workload: None };
        }
    }
    if from == Senders::Here && (wanted.args.deploy_client || wanted.args.failover.is_some()) {
        let error = anyhow::anyhow!("from here nothing but an address outside the mesh can be asked");
        return Err(Failure::usage(error).with_hint("kubectl xcluster-curl URL --from here --via ingress"));
    }
    if wanted.args.failover.is_some() && from == Senders::All {
        let error = anyhow::anyhow!("a failover is seen from one cluster: name it with --from");
        return Err(Failure::usage(error));
    }
    clients::find(asked, context, mesh, members, &from, &wanted.args).await
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
            Err(error) => failed.push((client.member.name().to_owned(), failure(error))),
        }
    }
    if reports.is_empty() && failed.len() == 1 {
        return Err(failed.swap_remove(0).1);
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
