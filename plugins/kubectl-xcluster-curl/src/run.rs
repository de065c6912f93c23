//! Which verb was asked for.

use spire_mesh::command::Asked;
use spire_mesh::entry::{Context, Failure, Outcome};
use spire_mesh::hint::Plugin;

use crate::cli::{Cli, Verb};
use crate::{ask, restore};

/// Runs the verb that was asked for, or asks.
pub(crate) async fn run(cli: Cli, context: Context) -> Result<Outcome, Failure> {
    let Cli { verb, ask: args, mesh, kube, output, verbosity: _ } = cli;
    let asked = Asked {
        mesh: mesh.mesh,
        kube: kube.settings(),
        printer: context.printer.clone(),
        plugin: Plugin::XclusterCurl,
        at_interrupt: context.at_interrupt.clone(),
    };
    if verb.is_some() && (args.url.is_some() || args.yes) {
        let error = anyhow::anyhow!("`restore` takes no URL, and --yes goes after it");
        return Err(Failure::usage(error).with_hint(Plugin::XclusterCurl.command(["restore", "--yes"])));
    }
    match verb {
        Some(Verb::Restore(args)) => restore::run(&asked, args).await,
        None => ask::run(&asked, &context, args, output.junit).await,
    }
}
