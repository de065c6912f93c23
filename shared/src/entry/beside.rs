//! What a plugin does beside its command, for whoever installs it: completion, and man pages.

use std::ffi::OsString;
use std::path::Path;

use clap::Command;

use super::{Failure, man};
use crate::completion;
use crate::hint::{self, Advice};
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
    let help = hint::Command::local(["completion", "--help"]);
    printer.hint(Advice::from("kubectl's own completion has to be on: ").then(help));
    Ok(())
}

fn man_pages(command: &Command, folder: &Path, printer: &Printer) -> Result<(), Failure> {
    let written = man::write(command.clone(), folder).map_err(|error| {
        anyhow::Error::from(error).context(format!("cannot write to {}", folder.display()))
    })?;
    printer.note(&format!("man pages written to {}: {}", folder.display(), written.len()));
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;

    use clap::{Arg, Args};

    use super::*;
    use crate::cli::KubeArgs;
    use crate::report::Format;

    fn command() -> Command {
        KubeArgs::augment_args(Command::new("kubectl-an_example"))
            .bin_name("kubectl an-example")
            .about("Do something")
            .arg(Arg::new("yes").long("yes").num_args(0).help("Do not ask"))
            .subcommand(Command::new("up").about("Do it"))
    }

    /// What is printed; `None` where the command itself was asked for.
    fn ran(arguments: &[&str]) -> Option<(String, String)> {
        let (printer, captured) = Printer::captured(Format::Table);
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        run(&command(), &arguments, &printer)?.expect("it is printed");
        Some((captured.stdout(), captured.stderr()))
    }

    #[test]
    fn only_what_is_beside_the_command_is_done_here() {
        for arguments in [
            &["kubectl-an_example"][..],
            &["kubectl-an_example", "up"],
            &["kubectl-an_example", "up", "--yes"],
            &["kubectl-an_example", "man", "folder"],
            &["kubectl-an_example", "__man"],
        ] {
            assert_eq!(ran(arguments), None, "{arguments:?}");
        }
        let completed = ran(&["kubectl-an_example", "__complete", "u"]).unwrap();
        assert_eq!(completed, ("up\tDo it\n:4\n".to_owned(), String::new()));
    }

    #[test]
    fn man_pages_are_written_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("man1");
        let (stdout, stderr) = ran(&["kubectl-an_example", "__man", below.to_str().unwrap()]).unwrap();
        assert_eq!(stdout, "");
        assert_eq!(stderr, format!("man pages written to {}: 2\n", below.display()));
        let mut names: Vec<_> = fs::read_dir(&below)
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["kubectl-an-example-up.1", "kubectl-an-example.1"]);
        let page = fs::read_to_string(below.join("kubectl-an-example-up.1")).unwrap();
        assert!(page.contains("Do it") && page.contains("kubectl\\-an\\-example(1)"), "{page}");
        let (printer, _) = Printer::captured(Format::Table);
        let file = below.join("kubectl-an-example.1");
        let failure = man_pages(&command(), &file, &printer).unwrap_err().one_line();
        assert!(failure.starts_with(&format!("cannot write to {}: ", file.display())), "{failure}");
    }

    #[test]
    fn a_link_in_a_folder_in_which_nobody_looks_is_warned_of() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let program = folder.path().join("kubectl-an_example");
        fs::write(&program, "a plugin").unwrap();
        let flag = format!("--install-completion={}", elsewhere.path().display());
        let link = elsewhere.path().join("kubectl_complete-an_example");
        let said = |first: &str| {
            format!(
                "{first}\nwarning: its folder is not on the PATH: kubectl does not find it there\n\
                 hint: kubectl's own completion has to be on: kubectl completion --help\n"
            )
        };
        let install = || ran(&[program.to_str().unwrap(), &flag]).unwrap();
        assert_eq!(install(), (String::new(), said(&format!("made {}", link.display()))));
        assert_eq!(fs::read_link(&link).unwrap(), program);
        assert_eq!(install(), (String::new(), said(&format!("{} is there already", link.display()))));
    }
}
