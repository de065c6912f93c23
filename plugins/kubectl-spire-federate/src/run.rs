//! Which verb was asked for.

use spire_mesh::command::Asked;
use spire_mesh::entry::{Context, Failure, Outcome};
use spire_mesh::hint::Plugin;

use crate::cli::{Cli, ConnectArgs, UpArgs, Verb};
use crate::status::Seen;
use crate::{bundle, down, init, join, leave, plan, render, rotate, up, verify};

/// Runs the verb that was asked for, `up` where there is none.
pub(crate) async fn run(cli: Cli, context: Context) -> Result<Outcome, Failure> {
    let Cli { verb, up: bare, global } = cli;
    let asked = Asked::new(Plugin::SpireFederate, global, context);
    if verb.is_some() && bare != UpArgs::default() {
        return Err(asked.refuse_flags_before_a_verb());
    }
    match verb {
        None => up::run(&asked, bare).await,
        Some(Verb::Up(args)) => up::run(&asked, args).await,
        Some(Verb::Init(args)) => init::run(&asked, &args),
        Some(Verb::Plan(args)) => plan::run(&asked, args).await,
        Some(Verb::Render(args)) => render::run(&asked, &args),
        Some(Verb::Connect(ConnectArgs { confirm, wait })) => up::connect(&asked, confirm, wait).await,
        Some(Verb::Status(args)) => asked.status::<Seen>(args.watch).await,
        Some(Verb::Verify(args)) => verify::run(&asked, &args).await,
        Some(Verb::Join(args)) => join::run(&asked, args).await,
        Some(Verb::Leave(args)) => leave::run(&asked, args).await,
        Some(Verb::Bundle(args)) => bundle::run(&asked, args).await,
        Some(Verb::Rotate(args)) => rotate::run(&asked, &args).await,
        Some(Verb::Down(args)) => down::run(&asked, args).await,
    }
}
