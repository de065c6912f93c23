//! `remote-secret`: the access that clusters give each other, and replacing its tokens.

use jiff::Timestamp;
use serde::Serialize;
use spire_mesh::command::{Asked, Shown, each_cluster, named, refuse_unchecked, taking};
use spire_mesh::entry::{Failure, Outcome};
use spire_mesh::fleet::{Kubeconfig, Member};
use spire_mesh::manifest::Deadline;
use spire_mesh::mesh::Mesh;
use spire_mesh::multicluster::{self, RemoteSecretStatus, RotatedToken, age};
use spire_mesh::report::{Cell, Report, Table};

use crate::addresses::{addresses, by_cluster};
use crate::cli::{RemoteSecretArgs, RemoteSecretVerb, RotateSecretArgs};
use crate::up::failure;

pub(crate) async fn run(asked: &Asked, args: RemoteSecretArgs) -> Result<Outcome, Failure> {
    match args.verb {
        None | Some(RemoteSecretVerb::List) => list(asked).await,
        Some(RemoteSecretVerb::Rotate(args)) => rotate(asked, &args).await,
    }
}

async fn list(asked: &Asked) -> Result<Outcome, Failure> {
    let (_, members) = asked.reach_all().await?;
    let secrets =
        multicluster::remote_secret_list(&members).await.map_err(|errors| each_cluster(&members, errors))?;
    asked.printer.report(&ListReport { remote_secrets: &secrets, now: Timestamp::now() })?;
    let half = multicluster::half_rotated(&members).await.map_err(|errors| each_cluster(&members, errors))?;
    for cluster in &half {
        let rotate = asked.plugin.command(["remote-secret", "rotate", cluster]);
        asked
            .printer
            .warn(&format!("{cluster}: a rotation of its token is half done; to finish it: {rotate}"));
    }
    let healthy = half.is_empty() && secrets.iter().all(|secret| secret.problem.is_none());
    Ok(if healthy { Outcome::Done } else { Outcome::Findings })
}

async fn rotate(asked: &Asked, args: &RotateSecretArgs) -> Result<Outcome, Failure> {
    let deadline = Deadline::after(args.wait.timeout);
    let (mesh, members) = asked.reach_all().await?;
    refuse_unchecked(&members)?;
    let work = Box::pin(one_by_one(asked, args, &mesh, &members, deadline));
    asked.exclusively("remote-secret rotate", taking(args.confirm), &mesh, &members, work).await
}

async fn one_by_one(
    asked: &Asked,
    args: &RotateSecretArgs,
    mesh: &Mesh,
    members: &[Member],
    deadline: Deadline<'_>,
) -> Result<Outcome, Failure> {
    let chosen: Vec<&Member> = match &args.cluster {
        Some(name) => vec![named(members, name)?],
        None => members.iter().collect(),
    };
    let servers = by_cluster(&addresses(mesh, &Kubeconfig::read(&asked.kube)?).await?);
    let names: Vec<&str> = chosen.iter().map(|member| member.name()).collect();
    if args.confirm.dry_run {
        asked.printer.note(&format!(
            "the tokens with which the other clusters read {} would be replaced",
            names.join(", ")
        ));
        return Ok(Outcome::Done);
    }
    let question = format!("Replace the tokens with which the other clusters read {}?", names.join(", "));
    if !asked.printer.confirm(&question, args.confirm.yes).await? {
        asked.printer.note("nothing was changed");
        return Ok(Outcome::Done);
    }
    let mut rotated = Vec::new();
    for member in chosen {
        let result = {
            let shown = Shown::of(&asked.printer, members);
            multicluster::rotate_token(mesh, members, member, &servers, deadline, &shown).await
        };
        match result {
            Ok(done) => rotated.push(done),
            Err(error) => {
                asked.printer.report(&RotateReport { clusters: &rotated })?;
                let failed = vec![(member.place(), failure(error))];
                return Err(Failure::clusters(members.len(), failed)
                    .with_hint("the old token still works; run the same command again to go on"));
            }
        }
    }
    asked.printer.report(&RotateReport { clusters: &rotated })?;
    Ok(Outcome::Done)
}

/// What `remote-secret` prints. The shape of its JSON is a promise.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListReport<'r> {
    remote_secrets: &'r [RemoteSecretStatus],
    #[serde(skip)]
    now: Timestamp,
}

impl Report for ListReport<'_> {
    fn table(&self, wide: bool) -> Table {
        let narrow = ["FROM", "TO", "API SERVER", "TOKEN AGE", "STATE"];
        let more: &[&'static str] = if wide { &["SECRET", "TOKEN MADE"] } else { &[] };
        let mut table =
            Table::new(narrow.iter().chain(more).copied()).when_empty("there are no remote secrets");
        for secret in self.remote_secrets {
            let state = match &secret.problem {
                Some(problem) => Cell::bad(problem),
                None => Cell::good("usable"),
            };
            let mut row = vec![
                Cell::from(secret.from.as_str()),
                secret.to.as_str().into(),
                secret.server.clone().into(),
                age(secret.token_made.as_deref(), self.now).into(),
                state,
            ];
            if wide {
                row.extend([Cell::from(secret.secret.as_str()), secret.token_made.clone().into()]);
            }
            table.row(row);
        }
        table
    }
}

/// What `remote-secret rotate` prints. The shape of its JSON is a promise.
#[derive(Serialize)]
struct RotateReport<'r> {
    clusters: &'r [RotatedToken],
}

impl Report for RotateReport<'_> {
    fn table(&self, _wide: bool) -> Table {
        let mut table = Table::new(["CLUSTER", "TOKEN MADE", "READ BY", "ISTIOD STARTED AGAIN"])
            .when_empty("no token was replaced");
        for rotated in self.clusters {
            table.row([
                Cell::from(rotated.cluster.as_str()),
                rotated.made.clone().into(),
                rotated.readers.join(", ").into(),
                rotated.restarted.join(", ").into(),
            ]);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use spire_mesh::report::{Format, Printer};

    use super::*;

    fn secrets() -> Vec<RemoteSecretStatus> {
        let secret = |from: &str, to: &str, made: Option<&str>, problem: Option<&str>| RemoteSecretStatus {
            from: from.to_owned(),
            to: to.to_owned(),
            secret: format!("istio-remote-secret-{to}"),
            server: Some("https://10.2.0.10:6443".to_owned()),
            token_made: made.map(str::to_owned),
            problem: problem.map(str::to_owned),
        };
        vec![
            secret("foo", "bar", Some("2026-11-20T18:00:00Z"), None),
            secret("bar", "foo", None, Some("its token is none of those that the cluster has")),
        ]
    }

    fn printed(format: Format) -> String {
        let (printer, captured) = Printer::captured(format);
        let now = "2026-11-25T18:00:00Z".parse().expect("a time");
        printer.report(&ListReport { remote_secrets: &secrets(), now }).expect("a report");
        captured.stdout()
    }

    #[test]
    fn remote_secrets_are_shown_with_the_age_of_their_tokens_and_without_the_tokens() {
        insta::assert_snapshot!(printed(Format::Table));
        insta::assert_snapshot!(printed(Format::Wide));
        insta::assert_snapshot!(printed(Format::Json));
    }

    #[test]
    fn what_was_rotated_is_shown() {
        let rotated = RotatedToken {
            cluster: "foo".to_owned(),
            made: Some("2026-11-25T18:00:00Z".to_owned()),
            readers: vec!["bar".to_owned(), "baz".to_owned()],
            restarted: Vec::new(),
        };
        let (printer, captured) = Printer::captured(Format::Table);
        printer.report(&RotateReport { clusters: &[rotated] }).expect("a report");
        insta::assert_snapshot!(captured.stdout());
    }
}
