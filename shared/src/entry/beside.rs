//! What a plugin does beside its command, for whoever installs it: completion, and man pages.

use std::ffi::OsString;
use std::path::Path;

use clap::Command;

use super::{Failure, man};
use crate::completion;
use crate::report::Printer;

/// The word behind which a folder for man pages stands. For whoever packs the plugin, so the help does not name it.
const MAN: &str = "__man";

/// Does it, where it was asked for.
pub(super) fn run(
    command: &Command,
    arguments: &[OsString],
    printer: &Printer,
) -> Option<Result<(), Failure>> {
    if let Some(words) = completion::words(arguments) {
        let answer = completion::answer(command.clone(), words);
        return Some(printer.data(&answer.to_string()).map_err(Failure::from));
    }
    if let Some(place) = completion::asked(arguments) {
        return Some(link(command, arguments, &place, printer));
    }
    match arguments {
        [_, word, folder] if word == MAN => Some(man_pages(command, Path::new(folder), printer)),
        _ => None,
    }
}

/// Has kubectl find the completer of this plugin, and says what else it takes.
fn link(
    command: &Command,
    arguments: &[OsString],
    place: &completion::Place,
    printer: &Printer,
) -> Result<(), Failure> {
    let program = arguments.first().map_or_else(|| command.get_name().as_ref(), OsString::as_os_str);
    let link = completion::link(command.get_name(), program, place)?;
    let path = link.path.display();
    printer.note(&if link.is_new { format!("made {path}") } else { format!("{path} is there already") });
    if !link.is_on_path {
        printer.warn("its folder is not on the PATH: kubectl does not find it there");
    }
    printer.hint("kubectl's own completion has to be on: kubectl completion --help");
    Ok(())
}

fn man_pages(command: &Command, folder: &Path, printer: &Printer) -> Result<(), Failure> {
    let written = man::write(command.clone(), folder).map_err(|error| {
        anyhow::Error::from(error).context(format!("cannot write to {}", folder.display()))
    })?;
    printer.note(&format!("man pages written to {}: {}", folder.display(), written.len()));
    Ok(())
}
