//! What was asked for.

use jiff::Timestamp;
use spire_mesh::entry::{Context, Failure, Outcome};
use spire_mesh::hint::{Advice, Plugin};
use spire_mesh::trustchain::{Inspected, Standing};

use crate::cli::{ChainFormat, Cli};
use crate::clusters::{Known, place_in, service_in};
use crate::elsewhere::{self, Elsewhere};
use crate::render::{ChainReport, Shown};
use crate::{accepts, inspect, save, watch};

pub(crate) async fn run(cli: Cli, context: Context) -> Result<Outcome, Failure> {
    let printer = &context.printer;
    if let Some(path) = &cli.file {
        let inspected = elsewhere::file(path, printer)?;
        let shown = if inspected.len() == 1 { Shown::One } else { Shown::Parts };
        return show(&cli, &context, inspected, shown);
    }
    let elsewhere = cli.subject.as_deref().map(Elsewhere::parse).transpose()?.flatten();
    if let Some(elsewhere) = &elsewhere
        && (cli.watch || cli.accepts.is_some())
    {
        let error =
            anyhow::anyhow!("--watch and --accepts are about workloads, and this is none: {elsewhere}");
        return Err(Failure::usage(error));
    }
    if let Some(Elsewhere::Server(uri)) = &elsewhere {
        return show(&cli, &context, vec![elsewhere::server(uri, printer).await?], Shown::One);
    }
    if cli.subject.is_none() && !cli.all_namespaces && cli.selector.is_none() && cli.namespace.is_none() {
        let command = |word: &str| {
            let command = Plugin::Trustchain.command([word]);
            match &cli.context {
                Some(context) => command.in_context(context),
                None => command,
            }
        };
        return Err(Failure::usage(anyhow::anyhow!("name a workload, or -A for all of them"))
            .with_hint(Advice::from(command("productpage-v1")).then(", or ").then(command("-A"))));
    }
    let known = Known::read(&cli)?;
    let reached = known.reach(&cli, printer).await?;
    let first = cli
        .subject
        .as_deref()
        .and_then(place_in)
        .and_then(|name| reached.iter().find(|one| one.is_called(name)));
    let first = first.unwrap_or(&reached[0]);
    match &elsewhere {
        Some(Elsewhere::Secret(namespace, name)) => {
            let inspected = elsewhere::secret(&cli, first, namespace.as_deref(), name, printer).await?;
            return show(&cli, &context, vec![inspected], Shown::One);
        }
        Some(Elsewhere::Istiod) => {
            return show(&cli, &context, vec![elsewhere::istiod(first).await?], Shown::One);
        }
        Some(Elsewhere::Server(_)) | None => {}
    }
    if let (Some(subject), Some(other)) = (&cli.subject, &cli.accepts) {
        return accepts::run(&cli, &known, &reached, (subject, other), printer).await;
    }
    if cli.watch {
        return watch::run(&cli, &known, &reached, printer).await;
    }
    let (inspected, shown) = match &cli.subject {
        // Behind a service there may be several workloads.
        Some(subject) if service_in(subject).is_some() => {
            let inspected = inspect::pods_of(&cli, &known, &reached, subject).await?;
            let shown = if inspected.len() == 1 { Shown::One } else { Shown::All };
            (inspected, shown)
        }
        Some(subject) => (vec![inspect::one(&cli, &known, &reached, subject, printer).await?], Shown::One),
        None => (inspect::all(&cli, &known, &reached).await?, Shown::All),
    };
    show(&cli, &context, inspected, shown)
}

/// Prints what was inspected, writes it to files, and says how it is.
pub(crate) fn show(
    cli: &Cli,
    context: &Context,
    mut inspected: Vec<Inspected>,
    shown: Shown,
) -> Result<Outcome, Failure> {
    let (printer, at) = (&context.printer, Timestamp::now());
    let mut expiring = Vec::new();
    if let Some(threshold) = cli.expiring {
        let passed = |one: &Inspected| threshold.passed_in(one, at).is_some();
        expiring = inspected.iter().filter(|one| passed(one)).map(|one| one.subject.to_string()).collect();
        if shown != Shown::One {
            inspected.retain(|one| passed(one) || one.chain.is_empty());
        }
    }
    match cli.printed.output {
        ChainFormat::Pem => {
            let chains = inspected.iter().flat_map(|one| &one.chain);
            printer.data(&save::pem(chains))?;
        }
        ChainFormat::Text => {
            let certificates = inspected.iter().flat_map(|one| &one.chain);
            certificates
                .into_iter()
                .try_for_each(|listed| printer.data(&spire_mesh::trustchain::text::text(&listed.0)))?;
        }
        _ => {
            let when_empty = match cli.expiring {
                Some(_) => "nothing that was found is about to expire",
                None => "no pod with a proxy was found",
            };
            printer.report(&ChainReport { workloads: &inspected, shown, when_empty, at })?;
        }
    }
    if let Some(folder) = &cli.save {
        let written = save::write(folder, &inspected)?;
        printer.note(&format!("{written} written to {}", folder.display()));
    }
    if let (Some(threshold), false) = (cli.expiring, expiring.is_empty()) {
        printer.warn(&format!("less than {threshold} left: {}", expiring.join(", ")));
    }
    // Of what is no proxy, a bundle alone for example, there may be nothing to judge.
    let well = |one: &Inspected| match one.verdict.status {
        Standing::Good => true,
        Standing::Unknown => one.subject.source.is_some() && one.is_read(),
        Standing::Bad => false,
    };
    let well = inspected.iter().all(well) && expiring.is_empty();
    Ok(if well { Outcome::Done } else { Outcome::Findings })
}
