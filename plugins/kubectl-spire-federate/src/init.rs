//! `init`: writes a mesh file.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use anyhow::Context as _;
use spire_mesh::command::Asked;
use spire_mesh::entry::{Failure, Outcome};
use spire_mesh::mesh::{DEFAULT_FILE, new_file};

use crate::cli::InitArgs;

pub(crate) fn run(asked: &Asked, args: &InitArgs) -> Result<Outcome, Failure> {
    let text = new_file(&args.clusters).map_err(Failure::usage)?;
    let path = asked.mesh.as_deref().unwrap_or(Path::new(DEFAULT_FILE));
    if path == Path::new("-") {
        asked.printer.data(&text)?;
        return Ok(Outcome::Done);
    }
    let mut options = OpenOptions::new();
    options.write(true);
    if args.force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    let mut file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let error = anyhow::anyhow!("{} is there already", path.display());
            return Err(Failure::usage(error).with_hint("look at it first; --force replaces it"));
        }
        Err(error) => {
            return Err(anyhow::Error::from(error)
                .context(format!("cannot write {}", path.display()))
                .into());
        }
    };
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    asked.printer.note(&format!("wrote {}", path.display()));
    asked.printer.hint(asked.plugin.command(["plan"]));
    Ok(Outcome::Done)
}
