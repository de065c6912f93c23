//! Which verb was asked for.

use spire_mesh::command::Asked;
use spire_mesh::entry::{Context, Failure, Outcome};
use spire_mesh::hint::Plugin;

use crate::cli::{Cli, ConnectArgs, UpArgs, Verb};
use crate::status::Seen;
use crate::{demo, down, endpoints, plan, remote_secret, render, rotate_ca, up, verify};

/// Runs the verb that was asked for, `up` where there is none.
pub(crate) async fn run(cli: Cli, context: Context) -> Result<Outcome, Failure> {
    let Cli { verb, up: bare, global } = cli;
    let asked = Asked::new(Plugin::MeshInstall, global, context);
    if verb.is_some() && bare != UpArgs::default() {
        return Err(asked.refuse_flags_before_a_verb());
    }
    match verb {
        None => up::run(&asked, bare).await,
        Some(Verb::Up(args)) => up::run(&asked, args).await,
        Some(Verb::Plan(args)) => plan::run(&asked, args).await,
        Some(Verb::Render(args)) => render::run(&asked, &args).await,
        Some(Verb::Connect(ConnectArgs { confirm, wait })) => up::connect(&asked, confirm, wait).await,
        Some(Verb::Endpoints) => endpoints::run(&asked).await,
        Some(Verb::Status(args)) => asked.status::<Seen>(args.watch).await,
        Some(Verb::RemoteSecret(args)) => remote_secret::run(&asked, args).await,
        Some(Verb::RotateCa(args)) => rotate_ca::run(&asked, &args).await,
        Some(Verb::Verify(args)) => verify::run(&asked, &args).await,
        Some(Verb::Demo(args)) => demo::run(&asked, args).await,
        Some(Verb::Down(args)) => down::run(&asked, args).await,
    }
}
