//! A bug, said in a way that helps whoever meets it.

use std::panic::PanicHookInfo;

use super::Exit;
use crate::report::{Printer, one_line};

/// Makes a panic end the process with a short message instead of a dump.
pub(super) fn explain(command: String) {
    std::panic::set_hook(Box::new(move |panic| {
        // No progress of its own: it must not touch the locks of the printer in use.
        let printer = Printer::new(crate::report::Format::Table, false, false);
        print(&command, &describe(panic), &printer);
        #[expect(
            clippy::exit,
            reason = "a panic in any task ends the command; there is nothing to unwind to"
        )]
        std::process::exit(Exit::Failed.code().into());
    }));
}

fn describe(panic: &PanicHookInfo<'_>) -> String {
    let message = panic.payload_as_str().unwrap_or("unknown reason");
    match panic.location() {
        Some(location) => format!("{message} ({}:{})", location.file(), location.line()),
        None => message.to_owned(),
    }
}

fn print(command: &str, description: &str, printer: &Printer) {
    printer.error(&format!("{command} has a bug: {}", one_line(description)));
    printer.hint(concat!(
        "please report it with this message and what you ran (version ",
        env!("CARGO_PKG_VERSION"),
        "): ",
        env!("CARGO_PKG_REPOSITORY"),
        "/issues"
    ));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Format;

    #[test]
    fn a_bug_is_two_lines() {
        let (printer, captured) = Printer::captured(Format::Table);
        print("kubectl spire-federate", "index out of bounds\nnote: x (src/a.rs:7)", &printer);
        insta::with_settings!({filters => vec![(r"version [0-9.]+", "version [version]")]}, {
            insta::assert_snapshot!(captured.stderr(), @r"
            error: kubectl spire-federate has a bug: index out of bounds note: x (src/a.rs:7)
            hint: please report it with this message and what you ran (version [version]): https://github.com/spire-mesh/spire-mesh/issues
            ");
        });
    }
}
